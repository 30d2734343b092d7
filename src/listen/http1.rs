//! The life of an HTTP/1 connection: one request after the other.
//!
//! The engine has a loop for this too. It makes the session of the next request, with a buffer to read it into, when the
//! last one is answered; most connections of a farm's clients are idle most of the time, and each would hold some
//! 12 KiB for a request that may never come. Here nothing is made before there is something to read, and for a plain
//! request (see [`super::plain`]) no session at all.

use std::future::{Future, poll_fn};
use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use pingora::ErrorType;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v1::server::HttpSession;
use pingora::server::ShutdownWatch;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, Sleep, sleep};

use super::connection::Connection;
use super::gather::Outgoing;
use super::info::{ConnectionInfo, info_of};
use super::plain::Beginning;
use super::respond::{FIRST_REQUEST, Plainly, Respond};

/// What is read at once where nothing was read yet: dozens of lookups.
const READ: usize = 8 * 1024;
/// Heads of plain requests are shorter than this.
const LARGEST_PLAIN: usize = 8 * 1024;

/// Serves a connection until it ends. When `stop` turns true, that is after the request that is being answered, or
/// that has come already.
pub(super) async fn serve<A: Respond>(
    connection: Connection,
    app: Arc<A>,
    idle: Duration,
    mut stop: ShutdownWatch,
) {
    let idle = idle.max(Duration::from_secs(1));
    let (facts, outgoing) = (connection.facts(), connection.outgoing());
    let mut between = Between { outgoing, idle, timer: None };
    let mut stream: Stream = Box::new(connection);
    // What was read beyond the last request.
    let mut rest = BytesMut::new();
    let mut is_first = true;
    loop {
        if rest.is_empty() {
            let is_first = mem::take(&mut is_first);
            if !is_first && !between.wait(&mut stop).await {
                break;
            }
            match read_more(&mut stream, &mut rest).await {
                More::Came => {}
                More::End => break,
                More::Nothing => {
                    // While nothing comes, there is no buffer either.
                    rest = BytesMut::new();
                    if !is_first {
                        continue;
                    }
                }
            }
        }
        let begun =
            match plainly(&*app, &mut stream, &mut rest, info_of(&facts), &between.outgoing, &stop).await {
                Plainly::Answered => continue,
                Plainly::Lost => break,
                Plainly::Passed(begun) => begun,
            };
        let mut session = Box::new(HttpSession::new(stream));
        session.set_server_keepalive(Some(idle.as_secs()));
        session.set_pipelining_enabled(true);
        if !rest.is_empty() {
            session.set_pipelined_prefix(mem::take(&mut rest));
        }
        // Boxed: an idle connection waits above, and would hold the room for all that an answer may need.
        match Box::pin(exchange(&*app, session, begun, &mut stop)).await {
            Some((kept, more)) => (stream, rest) = (kept, more.unwrap_or_default()),
            None => break,
        }
    }
}

/// Has the next request answered, if it is here and plain.
async fn plainly<A: Respond>(
    app: &A,
    stream: &mut Stream,
    read: &mut BytesMut,
    info: &ConnectionInfo,
    outgoing: &Outgoing,
    stop: &ShutdownWatch,
) -> Plainly<A::Begun> {
    loop {
        let request = match Beginning::of(read) {
            // The last answer says so, and the engine says it.
            Beginning::Plain(request) if !*stop.borrow() => request,
            // There is always some room left, and a read into none would look like the end.
            Beginning::Partial if !read.is_empty() && read.len() < LARGEST_PLAIN => {
                match read_more(stream, read).await {
                    More::Came => continue,
                    More::Nothing | More::End => return Plainly::Passed(None),
                }
            }
            _ => return Plainly::Passed(None),
        };
        let answered = Box::pin(app.respond_plain(&request, info, outgoing)).await;
        if matches!(answered, Plainly::Answered) {
            read.advance(request.size);
            if read.is_empty() {
                // An idle connection holds no buffer.
                *read = BytesMut::new();
            }
        }
        return answered;
    }
}

/// What a look at a connection gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum More {
    Came,
    Nothing,
    /// There will be no more, or it cannot be read.
    End,
}

/// Reads what is there, without waiting for it.
async fn read_more(stream: &mut Stream, buffer: &mut BytesMut) -> More {
    buffer.reserve(READ);
    let mut reading = pin!(stream.read_buf(buffer));
    poll_fn(|cx| {
        Poll::Ready(match reading.as_mut().poll(cx) {
            Poll::Ready(Ok(1..)) => More::Came,
            Poll::Ready(Ok(0) | Err(_)) => More::End,
            Poll::Pending => More::Nothing,
        })
    })
    .await
}

/// Reads a request and has it answered. Gives back the stream, and what was read beyond, when it is good for another.
async fn exchange<A: Respond>(
    app: &A,
    mut session: Box<HttpSession>,
    begun: Option<A::Begun>,
    stop: &mut ShutdownWatch,
) -> Option<(Stream, Option<BytesMut>)> {
    if !read(&mut session, stop).await {
        return None;
    }
    if *stop.borrow() {
        session.set_server_keepalive(None);
    }
    let mut session = app.respond_http1(session, begun).await?;
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
