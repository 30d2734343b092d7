//! One request that came over HTTP/2, and its answer.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, Method, Response, StatusCode, header, response};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::date::get_cached_date;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::{Error, ErrorType, Result};
use tokio::time::{Instant, Sleep};

use super::request::is_well_formed;
use crate::listen::{ConnectionInfo, info_of};
use crate::metrics::{Http2Refusal, Worker};

/// For a client that takes nothing, until whoever answers says how long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request and its answer. Dropped before the answer is complete, it resets the stream.
pub struct Stream {
    request: RequestHeader,
    malformed: bool,
    body: RecvStream,
    respond: SendResponse<Bytes>,
    /// Once the head of the answer is sent.
    sending: Option<SendStream<Bytes>>,
    status: Option<StatusCode>,
    /// Bytes of the answer's body that its `Content-Length` leaves.
    left: Option<u64>,
    ended: bool,
    body_read: usize,
    /// Bytes of it for which the client has not been given room to send others.
    unreleased: usize,
    body_sent: usize,
    /// For a client that takes nothing of what is sent.
    patience: Duration,
    /// Kept from one wait to the next: to move a timer costs less than to make one.
    stalled: Option<Pin<Box<Sleep>>>,
    origin: Origin,
}

/// Where a request came from.
#[derive(Clone)]
pub(super) struct Origin {
    /// What is known of the connection.
    pub facts: Arc<ProxyDigest>,
    pub worker: Arc<Worker>,
    pub active: Arc<Active>,
}

/// The requests of a connection that are being answered.
// All on one thread; the atomics are for `Send`, not for ordering.
pub(super) struct Active {
    count: AtomicUsize,
    began: Instant,
    /// When there was the last one, in milliseconds since then.
    last: AtomicU64,
}

impl Active {
    pub(super) fn new() -> Self {
        Self { count: AtomicUsize::new(0), began: Instant::now(), last: AtomicU64::new(0) }
    }

    /// Since when there is none.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        (self.count.load(Ordering::Relaxed) == 0).then(|| self.began + last)
    }
}

impl Stream {
    pub(super) fn new(
        origin: &Origin,
        request: http::Request<RecvStream>,
        respond: SendResponse<Bytes>,
    ) -> Self {
        origin.active.count.fetch_add(1, Ordering::Relaxed);
        let (parts, body) = request.into_parts();
        let request = RequestHeader::from(parts);
        Self {
            malformed: !is_well_formed(&request),
            request,
            body,
            respond,
            sending: None,
            status: None,
            left: None,
            ended: false,
            body_read: 0,
            unreleased: 0,
            body_sent: 0,
            patience: PATIENCE,
            stalled: None,
            origin: origin.clone(),
        }
    }

    /// What is known of the connection it came on.
    pub fn connection(&self) -> &ConnectionInfo {
        info_of(&self.origin.facts)
    }

    /// The head of the request.
    pub fn request(&self) -> &RequestHeader {
        &self.request
    }

    /// The same, to be changed.
    pub fn request_mut(&mut self) -> &mut RequestHeader {
        &mut self.request
    }

    /// Whether two readers could disagree on it. It is answered, and goes no further.
    pub fn is_malformed(&self) -> bool {
        self.malformed
    }

    /// Gives up on a client that takes nothing of an answer's body for this long.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// The next part of the request's body; none when it is over. Trailers are not looked at.
    pub async fn read_body(&mut self) -> Result<Option<Bytes>> {
        // Whoever asks for more has found room for the last part. Fails when the stream is reset, which is found out below.
        let _ = self.body.flow_control().release_capacity(std::mem::take(&mut self.unreleased));
        let Some(part) = poll_fn(|cx| self.body.poll_data(cx)).await else { return Ok(None) };
        let part = part.map_err(|error| failed(ErrorType::ReadError, error))?;
        self.body_read += part.len();
        self.unreleased = part.len();
        Ok(Some(part))
    }

    /// Whether there is, or was, no body.
    pub fn is_body_empty(&self) -> bool {
        self.body_read == 0
            && (self.body.is_end_stream()
                || self.request.headers.get(header::CONTENT_LENGTH).is_some_and(|length| length == "0"))
    }

    /// Whether there is nothing more to read.
    pub fn is_body_done(&self) -> bool {
        self.is_body_empty() || self.body.is_end_stream()
    }

    /// Bytes of the request's body that were read.
    pub fn body_read(&self) -> usize {
        self.body_read
    }

    /// Bytes of the answer's body that were sent, or wait for the socket.
    pub fn body_sent(&self) -> usize {
        self.body_sent
    }

    /// The status that was sent.
    pub fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// Waits for the client to take the request back, or to leave.
    pub async fn taken_back(&mut self) -> Box<Error> {
        let reset = poll_fn(|cx| match &mut self.sending {
            Some(sending) => sending.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        });
        match reset.await {
            Ok(_) => Error::new(ErrorType::ConnectionClosed),
            Err(error) => failed(ErrorType::ConnectionClosed, error),
        }
    }

    /// Asks for the body (RFC 9110 section 10.1.1).
    pub fn send_continue(&mut self) -> Result<()> {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::CONTINUE;
        self.respond.send_informational(response).map_err(|error| failed(ErrorType::WriteError, error))
    }

    /// Sends the head of the answer. One that can have no body is whole with that.
    pub fn send_head(&mut self, response: ResponseHeader) -> Result<()> {
        if self.sending.is_some() {
            return Err(Error::explain(ErrorType::InternalError, "a second head"));
        }
        let mut parts = response::Parts::from(response);
        adapt(&mut parts.headers);
        let is_whole = is_bodiless(&self.request.method, &parts);
        let status = parts.status;
        let length = parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        self.left = length.and_then(|length| length.parse().ok());
        let sending = self
            .respond
            .send_response(Response::from_parts(parts, ()), is_whole)
            .map_err(|error| failed(ErrorType::WriteError, error))?;
        (self.sending, self.status, self.ended) = (Some(sending), Some(status), is_whole);
        Ok(())
    }

    /// Sends a part of the answer's body, as fast as the client lets us. The last one is the one with `end`, or with
    /// which there is as much as the head says; what follows that is dropped.
    pub async fn send_body(&mut self, mut part: Bytes, end: bool) -> Result<()> {
        while !part.is_empty() && !self.ended {
            let room = self.room(part.len()).await?;
            let mut now = part.split_to(room.min(part.len()));
            if let Some(left) = &mut self.left {
                now.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= now.len() as u64;
            }
            let sent = now.len();
            self.send(now, (end && part.is_empty()) || self.left == Some(0))?;
            self.body_sent += sent;
        }
        if end { self.finish() } else { Ok(()) }
    }

    /// Ends an answer whose head was sent.
    pub fn finish(&mut self) -> Result<()> {
        if self.ended || self.sending.is_none() {
            return Ok(());
        }
        self.send(Bytes::new(), true)
    }

    /// Resets the stream, so that nobody takes what was sent for the whole answer.
    pub fn abandon(&mut self) {
        if !self.ended {
            self.respond.send_reset(Reason::INTERNAL_ERROR);
        }
    }

    fn send(&mut self, data: Bytes, end: bool) -> Result<()> {
        if end && self.left.is_some_and(|left| left > 0) {
            // It would be malformed (RFC 9113 section 8.1.1).
            return Err(Error::explain(ErrorType::InternalError, "a body shorter than its head says"));
        }
        let sending = self.sending.as_mut().ok_or_else(headless)?;
        sending.send_data(data, end).map_err(|error| failed(ErrorType::WriteError, error))?;
        self.ended = end;
        Ok(())
    }

    /// Waits until the client, and what waits to be sent to it, have room for some of `wanted` bytes.
    async fn room(&mut self, wanted: usize) -> Result<usize> {
        let sending = self.sending.as_mut().ok_or_else(headless)?;
        sending.reserve_capacity(wanted);
        let room = sending.capacity();
        if room > 0 {
            return Ok(room);
        }
        let until = Instant::now() + self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        stalled.as_mut().reset(until);
        let room = poll_fn(|cx| match sending.poll_capacity(cx) {
            Poll::Ready(Some(Ok(room))) => Poll::Ready(Ok(room)),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Err(failed(ErrorType::WriteError, error))),
            Poll::Ready(None) => Poll::Ready(Err(Error::new(ErrorType::ConnectionClosed))),
            Poll::Pending => stalled.as_mut().poll(cx).map(|()| Err(Error::new(ErrorType::WriteTimedout))),
        })
        .await;
        if room.as_ref().is_err_and(|error| *error.etype() == ErrorType::WriteTimedout) {
            self.origin.worker.http2_refused[Http2Refusal::Stalled.index()].increment();
            self.respond.send_reset(Reason::CANCEL);
        }
        room
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let active = &self.origin.active;
        if active.count.fetch_sub(1, Ordering::Relaxed) == 1 {
            // Good for half a billion years.
            active.last.store(active.began.elapsed().as_millis() as u64, Ordering::Relaxed);
        }
    }
}

/// An answer tells when it was made (RFC 9110 section 6.6.1), and nothing of an HTTP/1 connection (RFC 9113 section
/// 8.2.2).
fn adapt(headers: &mut HeaderMap) {
    if !headers.contains_key(header::DATE) {
        headers.insert(header::DATE, get_cached_date());
    }
    // One look, so that what is not there need not be looked for five times.
    if headers.keys().any(is_connections_own) {
        let names: Vec<_> = headers.keys().filter(|name| is_connections_own(name)).cloned().collect();
        for name in names {
            headers.remove(name);
        }
    }
}

fn is_connections_own(name: &HeaderName) -> bool {
    matches!(*name, header::CONNECTION | header::TRANSFER_ENCODING | header::UPGRADE)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

/// Whether there is no body (RFC 9110 section 6.4.1).
fn is_bodiless(method: &Method, response: &response::Parts) -> bool {
    *method == Method::HEAD
        || matches!(response.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || response.headers.get(header::CONTENT_LENGTH).is_some_and(|length| length == "0")
}

fn headless() -> Box<Error> {
    Error::explain(ErrorType::InternalError, "a body before its head")
}

fn failed(kind: ErrorType, error: h2::Error) -> Box<Error> {
    Error::because(kind, "HTTP/2", error)
}
