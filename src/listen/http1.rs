//! The life of an HTTP/1 connection: one request after the other.
//!
//! The engine has a loop for this too. It makes the session of the next request, with a buffer to read it into, when the
//! last one is answered; most connections of a farm's clients are idle most of the time, and each would hold some
//! 12 KiB for a request that may never come. Here nothing is made before there is something to read.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use pingora::ErrorType;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v1::server::HttpSession;
use pingora::server::ShutdownWatch;
use tokio::time::{Instant, Sleep, sleep};

use super::connection::Connection;
use super::gather::Outgoing;
use super::respond::{FIRST_REQUEST, Respond};

/// Serves a connection until it ends. When `stop` turns true, that is after the request that is being answered, or
/// that has come already.
pub(super) async fn serve<A: Respond>(
    connection: Connection,
    app: Arc<A>,
    idle: Duration,
    mut stop: ShutdownWatch,
) {
    let idle = idle.max(Duration::from_secs(1));
    let outgoing = connection.outgoing();
    let mut between = Between { outgoing, idle, timer: None };
    let mut stream: Stream = Box::new(connection);
    // What was read beyond the last request.
    let mut rest = None;
    let mut is_first = true;
    loop {
        if !is_first && rest.is_none() && !between.wait(&mut stop).await {
            break;
        }
        let mut session = HttpSession::new(stream);
        session.set_server_keepalive(Some(idle.as_secs()));
        session.set_pipelining_enabled(true);
        if let Some(rest) = rest {
            session.set_pipelined_prefix(rest);
        }
        // Boxed: an idle connection waits above, and would hold the room for all that an answer may need.
        match Box::pin(exchange(&*app, session, &mut stop)).await {
            Some(parts) => (stream, rest) = parts,
            None => break,
        }
        is_first = false;
    }
}

/// Reads a request and has it answered. Gives back the stream, and what was read beyond, when it is good for another.
async fn exchange(
    app: &impl Respond,
    mut session: HttpSession,
    stop: &mut ShutdownWatch,
) -> Option<(Stream, Option<BytesMut>)> {
    if !read(&mut session, stop).await {
        return None;
    }
    if *stop.borrow() {
        session.set_server_keepalive(None);
    }
    let mut session = app.respond_http1(session).await?;
    session.finish_body().await.ok()?;
    Some(session.reuse().await.ok().flatten()?.into_parts())
}

/// Reads the head of a request; false when there is none.
async fn read(session: &mut HttpSession, stop: &mut ShutdownWatch) -> bool {
    let read = tokio::select! {
        // What has arrived already is answered, also when the gate is stopping.
        biased;
        read = session.read_request() => read,
        () = stopped(stop) => return false,
    };
    match read {
        Ok(read) => read.is_some(),
        Err(error) => {
            if *error.etype() == ErrorType::InvalidHTTPHeader {
                // Our `Connection` puts its own page in the place of this one.
                let refusal = Box::new(ServerSession::generate_error(400));
                let _ = session.write_response_header(refusal).await;
            }
            session.shutdown().await;
            false
        }
    }
}

/// Waits until this connection should wait no longer. Who has just connected, or sent a part of a head, is about to ask, and
/// would take the end for a fault, where the end of a connection that was idle is only its end.
async fn stopped(stop: &mut ShutdownWatch) {
    // A closed channel means that the main thread is gone; either way it is time.
    let _ = stop.wait_for(|down| *down).await;
    sleep(FIRST_REQUEST).await;
}

/// What a connection holds between two requests.
struct Between {
    outgoing: Outgoing,
    idle: Duration,
    /// Not set anew for each request: when it fires, it is looked up whether it should have.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Between {
    /// Waits for the first byte of the next request; false when there will be none.
    async fn wait(&mut self, stop: &mut ShutdownWatch) -> bool {
        // Most have the next request at hand, or soon: they need neither the time nor a place among the waiting.
        if let Some(readable) = poll_fn(|cx| Poll::Ready(self.poll_readable(cx))).await {
            return readable;
        }
        let since = Instant::now();
        let mut stopped = pin!(stop.wait_for(|down| *down));
        poll_fn(|cx| {
            if let Some(readable) = self.poll_readable(cx) {
                return Poll::Ready(readable);
            }
            // A client that still takes the last answer is not idle; one that takes nothing any more has ended above.
            if self.outgoing.lock().is_unsent() {
                return Poll::Pending;
            }
            if stopped.as_mut().poll(cx).is_ready() {
                return Poll::Ready(false);
            }
            self.poll_idle(cx, since).map(|()| false)
        })
        .await
    }

    /// Whether there is something to read, once that is known. What was gathered for the client leaves meanwhile.
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Option<bool> {
        match self.outgoing.lock().poll_readable(cx) {
            Poll::Ready(readable) => Some(readable.is_ok()),
            Poll::Pending => None,
        }
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>, since: Instant) -> Poll<()> {
        let idle = self.idle;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(idle)));
        loop {
            ready!(timer.as_mut().poll(cx));
            if since.elapsed() >= idle {
                return Poll::Ready(());
            }
            timer.as_mut().reset(since + idle);
        }
    }
}
