//! A request's exchange with its backend, and the answer on its way to the client.
//!
//! This stands in for the upstream half of the engine, on the engine's own client and server sessions, and for
//! two reasons.
//!
//! *Bodies.* Guile's web server reads a whole request before it serves anybody else, so one client that is slow
//! with its upload would stall the farm; and it does not know chunked request bodies, whose bytes would become
//! the next request. A body has to be here in full before the backend hears of it, and the engine, which
//! streams, has no way to be given one.
//!
//! *Cost.* The engine runs the two directions of a request as two state machines joined by channels, which is
//! what HTTP/2 backends, upgrades and uploads need. A narinfo needs one after the other.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, header};
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorType, Result};
use tokio::time::{Instant, timeout};
use tracing::{Instrument, debug_span};

use super::ask::{MakeRequest, Question, UnderWay};
use super::context::connection;
use super::error_page::Problem;
use super::forward::adapt_response;
use super::pace::{self, Pace};
use super::pulse;
use super::session::Session;
use crate::backend::{Asked, Incoming, Use};
use crate::limits::Held;
use crate::metrics::{Refused, Share, Spent, Worker, waiting};

/// A request body is small, and is not waited for longer than this.
const WHOLE_BODY: Duration = Duration::from_secs(60);

/// Where a request goes, and how.
pub struct Exchange<'a> {
    /// What is asked.
    pub question: Question<'a>,
    /// Where the request's time goes.
    pub spent: &'a Spent,
    /// Told of the answer's head, before the client is, where the request may have changed something (RFC 9110
    /// section 9.2.1).
    pub changed: &'a (dyn Fn(&ResponseHeader) + Send + Sync),
}

/// A request's body, and its place in memory.
pub struct Body {
    /// The bytes.
    pub bytes: Bytes,
    _held: Option<Held>,
}

/// What a body may be, and take.
pub struct BodyLimits<'a> {
    /// Bytes of it.
    pub size: u64,
    /// How long each part of it may take.
    pub patience: Duration,
    /// What this worker counts.
    pub worker: &'a Worker,
}

/// Reads the request's body into places that are `held` for it, if it has to have some; what is wrong with it where
/// that cannot be.
pub async fn read_body(
    session: &mut Session,
    limits: BodyLimits<'_>,
    held: Option<Held>,
) -> Result<Result<Body, Problem>> {
    // Nobody else minds either over HTTP/2, and over HTTP/1 the engine minds the parts only.
    let deadline = Instant::now() + WHOLE_BODY;
    match timeout(WHOLE_BODY, read_parts(session, limits, held, deadline)).await {
        Ok(body) => body,
        Err(_) => Err(Error::new_down(ErrorType::ReadTimedout)),
    }
}

async fn read_parts(
    session: &mut Session,
    limits: BodyLimits<'_>,
    mut held: Option<Held>,
    deadline: Instant,
) -> Result<Result<Body, Problem>> {
    let announced = session
        .get_header(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limits.size) {
        return Ok(Err(Problem::BodyTooLarge));
    }
    if session.req_header().headers.contains_key(header::EXPECT) {
        // With a body that is still to come the engine gives up the connection, for this answer as for a final one.
        let keepalive = session.get_keepalive();
        session.write_continue_response().await.map_err(|error| error.into_down())?;
        session.set_keepalive(keepalive);
    }
    let mut body = BytesMut::new();
    loop {
        let part = timeout(limits.patience, session.read_request_body())
            .await
            .map_err(|_| Error::new_down(ErrorType::ReadTimedout))?
            .map_err(|error| error.into_down())?;
        let Some(part) = part else { break };
        if (body.len() + part.len()) as u64 > limits.size {
            return Ok(Err(Problem::BodyTooLarge));
        }
        if let Some(held) = &mut held
            && !held.try_add(part.len())
        {
            limits.worker.waits[Share::Bodies.index()].increment();
            // A stream that was taken back no longer counts as one of the client's: nor may its body as one that waits.
            let room = tokio::select! {
                biased;
                gone = session.client_gone() => return Err(gone.into_down()),
                room = held.add(part.len(), deadline) => room,
            };
            if room.is_err() {
                limits.worker.refused[Refused::Bodies.index()].increment();
                return Ok(Err(Problem::Unavailable));
            }
        }
        body.extend_from_slice(&part);
    }
    Ok(Ok(Body { bytes: body.freeze(), _held: held }))
}

impl Exchange<'_> {
    /// Sends the request that `make` makes, with `body` if there is one, and the answer to the client, at its pace.
    pub async fn run(
        &self,
        session: &mut Session,
        make: &MakeRequest<'_, Session>,
        body: Option<Body>,
        mut pace: Option<Box<Pace>>,
    ) -> Result<()> {
        self.spent.asked.increment();
        let (incoming, asked) = self.ask(session, make, body.as_ref().map(|body| &body.bytes)).await?;
        // However long the client takes for the answer, nobody needs it any more.
        drop(body);
        self.pass_on(session, incoming, asked, &mut pace).await
    }

    /// The same for a request without a body that was sent already.
    pub async fn go_on(
        &self,
        session: &mut Session,
        make: &MakeRequest<'_, Session>,
        under_way: UnderWay,
        mut pace: Option<Box<Pace>>,
    ) -> Result<()> {
        self.spent.asked.increment();
        let answer = self.question.go_on(session, make, under_way);
        let answer = answer.instrument(debug_span!("backend", name = self.question.peers.name()));
        let (incoming, asked) = waiting(&self.spent.backend, pin!(answer)).await?;
        self.pass_on(session, incoming, asked, &mut pace).await
    }

    /// Sends the request until there is the head of an answer.
    pub(super) async fn ask(
        &self,
        session: &mut Session,
        make: &MakeRequest<'_, Session>,
        body: Option<&Bytes>,
    ) -> Result<(Incoming, Asked)> {
        let ask = self.question.ask(session, make, body);
        let ask = ask.instrument(debug_span!("backend", name = self.question.peers.name()));
        waiting(&self.spent.backend, pin!(ask)).await
    }

    /// Sends an answer to the client, at its pace.
    pub(super) async fn pass_on(
        &self,
        session: &mut Session,
        mut incoming: Incoming,
        _asked: Asked,
        pace: &mut Option<Box<Pace>>,
    ) -> Result<()> {
        let Some(response) = incoming.take_head() else {
            return Err(Error::new(ErrorType::InternalError));
        };
        if !session.req_header().method.is_safe() {
            (self.changed)(&response);
        }
        let head_only = session.req_header().method == Method::HEAD;
        send_head(session, response).await?;
        if !head_only {
            send_body(session, &mut incoming, self.question.patience(), self.spent, pace).await?;
        }
        if self.question.usage == Use::Pooled
            && let Some(pool) = self.question.pool
            && let Some(stream) = incoming.into_reusable().await
        {
            pool.put(self.question.peers.key(), stream);
        }
        Ok(())
    }
}

pub(super) async fn send_head(session: &mut Session, mut response: ResponseHeader) -> Result<()> {
    let sized = response.headers.contains_key(header::CONTENT_LENGTH);
    if !sized && !matches!(response.status.as_u16(), 204 | 304) {
        response.insert_header(header::TRANSFER_ENCODING, "chunked")?;
    }
    adapt_response(session, &mut response);
    session.write_response_header(Box::new(response)).await.map_err(|error| error.into_down())
}

async fn send_body(
    session: &mut Session,
    incoming: &mut Incoming,
    patience: Duration,
    spent: &Spent,
    pace: &mut Option<Box<Pace>>,
) -> Result<()> {
    loop {
        let part = {
            let part = pin!(incoming.part());
            waiting(&spent.backend, pin!(while_client_waits(session, part, patience))).await?
        };
        let Some(part) = part else { break };
        // Nothing, where a chunk of the backend's ends, is not the end of ours.
        pace::send(session, part, false, pace, spent).await?;
    }
    session.finish_response_body().await.map_err(|error| error.into_down())
}

/// Waits for the backend, `patience` at the most, and after a moment for the client to leave as well: then nobody
/// needs the answer. Pinned where it is, as for [`waiting`].
pub(super) async fn while_client_waits<T>(
    session: &mut Session,
    mut backend: impl Future<Output = Result<T>> + Unpin,
    patience: Duration,
) -> Result<T> {
    let prompt = tokio::select! {
        biased;
        answer = &mut backend => Some(answer),
        () = pulse::beat() => None,
    };
    let answer = match prompt {
        Some(answer) => answer,
        None => {
            let mut answer = pin!(timeout(patience, &mut backend));
            // This may take a while. What the client has been answered so far should not wait for it, nor this for a client
            // that does not take it.
            let ended = tokio::select! {
                biased;
                ended = &mut answer => Some(ended),
                sent = send_gathered(session) => {
                    sent?;
                    None
                }
            };
            let ended = match ended {
                Some(ended) => ended,
                None => tokio::select! {
                    biased;
                    ended = &mut answer => ended,
                    gone = session.client_gone() => return Err(gone.into_down()),
                },
            };
            ended.unwrap_or_else(|_| Err(Error::new(ErrorType::ReadTimedout)))
        }
    };
    answer.map_err(|error| error.into_up())
}

/// Sends what was gathered for the client. Over HTTP/2 the connection's own task does so by itself.
pub(super) async fn send_gathered(session: &Session) -> Result<()> {
    let outgoing = connection(session).outgoing().cloned();
    match outgoing {
        Some(outgoing) => outgoing
            .send()
            .await
            .map_err(|error| Error::because(ErrorType::WriteError, "to the client", error).into_down()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use pingora::protocols::http::v1::server::HttpSession;
    use pingora::protocols::l4::stream::Stream as TcpSession;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::limits::Bodies;
    use crate::metrics::Metrics;

    /// A session whose client has sent `bytes`, and the client.
    async fn session(bytes: &str) -> (Session, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.write_all(bytes.as_bytes()).await.unwrap();
        let (tcp, _) = listener.accept().await.unwrap();
        let mut http1 = Box::new(HttpSession::new(Box::new(TcpSession::from(tcp))));
        assert!(http1.read_request().await.unwrap().is_some());
        (Session::H1(http1), client)
    }

    fn room(bytes: u64) -> Bodies {
        let bodies = Bodies::default();
        bodies.set_limit(bytes, bytes);
        bodies
    }

    async fn read(session: &mut Session, size: u64, bodies: &Bodies) -> Result<Result<Body, Problem>> {
        let worker = Metrics::new(1).worker(0);
        let limits = BodyLimits { size, patience: Duration::from_secs(3600), worker: &worker };
        read_body(session, limits, Some(bodies.none())).await
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_given_up_after_a_minute_however_patient_the_reads_are() {
        let (mut session, _client) =
            session("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc").await;
        // With the clock stopped, time goes on to the next timer whenever there is nothing else to do.
        tokio::time::pause();
        let began = tokio::time::Instant::now();
        let read = read(&mut session, 100, &room(100)).await;
        assert_eq!(*read.err().unwrap().etype(), ErrorType::ReadTimedout);
        assert_eq!(began.elapsed().as_secs(), WHOLE_BODY.as_secs());
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_none_whether_it_is_announced_or_not() {
        let announced = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabcdefghi";
        let chunked =
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabcdefghi\r\n0\r\n\r\n";
        for request in [announced, chunked] {
            let (mut session, _client) = session(request).await;
            let refused = read(&mut session, 8, &room(100)).await.unwrap().err();
            assert!(matches!(refused, Some(Problem::BodyTooLarge)), "{request}");
            let (mut session, _client) = self::session(request).await;
            assert_eq!(read(&mut session, 9, &room(100)).await.unwrap().ok().unwrap().bytes, "abcdefghi");
        }
    }

    #[tokio::test]
    async fn a_body_for_which_there_is_no_room_waits_for_some_and_gets_503_when_there_is_none_in_time() {
        let request = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabcdefghi";
        let bodies = room(12);
        let (mut first, _client) = session(request).await;
        let first = read(&mut first, 9, &bodies).await.unwrap().ok().unwrap();
        assert_eq!(bodies.taken(), 9);
        let (mut waiting, _second_client) = session(request).await;
        tokio::time::pause();
        let began = tokio::time::Instant::now();
        let refused = read(&mut waiting, 9, &bodies).await.unwrap().err();
        assert!(matches!(refused, Some(Problem::Unavailable)));
        assert_eq!(began.elapsed().as_secs(), WHOLE_BODY.as_secs());
        tokio::time::resume();
        let (mut patient, _third_client) = session(request).await;
        let (second, ()) = tokio::join!(read(&mut patient, 9, &bodies), async { drop(first) });
        assert_eq!(second.unwrap().ok().unwrap().bytes, "abcdefghi");
        assert_eq!(bodies.taken(), 0);
    }
}
