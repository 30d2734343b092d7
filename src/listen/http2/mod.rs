//! HTTP/2 connections (RFC 9113), driven by the h2 crate.
//!
//! The engine has sessions for HTTP/2 too. They put the time of sending into every answer, which on one from the cache
//! is wrong (RFC 9110 section 6.6.1), copy its fields to send them, and let a client send as many frames that ask for
//! nothing as it likes. These do not.
//!
//! A connection is one task ([`serve`]), which is all that touches the socket, and gives each request that comes to a
//! task of its own as a [`Stream`]. [`watched`] counts frames on their way to the h2 crate.

mod budget;
mod request;
mod stream;
mod watched;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use pingora::server::ShutdownWatch;
use tokio::time::{Instant, Sleep, sleep, timeout};

pub use self::stream::Stream;
use self::stream::{Active, Origin};
use self::watched::{Verdict, Watch, Watched};
use super::connection::Connection;
use super::gather::Outgoing;
use super::respond::{FIRST_REQUEST, Respond};
use crate::metrics::{Http2Refusal, Worker};

/// A request head larger than this gets 431 (RFC 9113 section 6.5.2 has how it is measured).
const LARGEST_HEAD: u32 = 64 * 1024;
/// Requests at a time.
const STREAMS: u32 = 100;
/// A stream's share of what may be on its way to us; request bodies are small (RFC 9113 section 6.9.2).
const WINDOW: u32 = 64 * 1024;
/// What may wait to be sent to one slow stream.
const SEND_BUFFER: usize = 256 * 1024;
/// Requests that were taken back before we came to look at them. All that a client may have open, twice: whoever
/// leaves a page takes back all of it at once.
const UNSEEN_RESETS: usize = 2 * STREAMS as usize;
/// Streams on a connection that the h2 crate had to refuse, as those beyond `STREAMS`.
const LOCAL_RESETS: usize = 256;
/// Requests on a connection that were no requests.
const MALFORMED: u32 = 32;
/// Requests that may cross with our word that we are leaving.
const LATE: usize = 2 * STREAMS as usize;
/// How long a client without requests may take to answer that we are leaving.
const GOODBYE: Duration = Duration::from_secs(3);

/// The terms on which a connection is served.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// For the client's preface, and for each request head.
    pub head: Duration,
    /// For a connection without requests.
    pub idle: Duration,
    /// Requests on one connection, which is then closed in good order.
    pub requests: usize,
    /// How old a connection may be when it takes another request.
    pub age: Duration,
}

/// Serves a connection until it ends. When `stop` turns true, that is when what was asked is answered.
pub(super) async fn serve<A: Respond>(
    connection: Connection,
    app: Arc<A>,
    worker: Arc<Worker>,
    terms: Terms,
    mut stop: ShutdownWatch,
) {
    let (facts, outgoing) = (connection.facts(), connection.outgoing());
    let watch = Arc::new(Watch::default());
    let io = Watched::new(connection, watch.clone(), terms.head);
    let mut early = stop.clone();
    let handshake = tokio::select! {
        biased;
        handshake = timeout(terms.head, options().handshake::<_, Bytes>(io)) => handshake,
        () = async { drop(early.wait_for(|down| *down).await); sleep(FIRST_REQUEST).await } => return,
    };
    let http2 = match handshake {
        Ok(Ok(http2)) => http2,
        Ok(Err(error)) => return count_end(&worker, &error),
        Err(_) => return worker.http2_refused[Http2Refusal::SlowHead.index()].increment(),
    };
    let terms = Terms { idle: terms.idle.max(Duration::from_secs(1)), ..terms };
    let origin = Origin { facts, worker, active: Arc::new(Active::new()) };
    let timer = Box::pin(sleep(terms.idle));
    let state = State::Serving;
    let served = Serving {
        http2,
        outgoing,
        app,
        watch,
        origin,
        terms,
        timer,
        state,
        began: Instant::now(),
        accepted: 0,
        late: 0,
        malformed: 0,
    };
    served.run(pin!(async move { drop(stop.wait_for(|down| *down).await) })).await;
}

fn options() -> Builder {
    let mut options = Builder::new();
    options
        .max_header_list_size(LARGEST_HEAD)
        .max_concurrent_streams(STREAMS)
        .initial_window_size(WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(UNSEEN_RESETS)
        .max_local_error_reset_streams(Some(LOCAL_RESETS));
    options
}

struct Serving<A> {
    http2: h2::server::Connection<Watched, Bytes>,
    outgoing: Outgoing,
    app: Arc<A>,
    watch: Arc<Watch>,
    origin: Origin,
    terms: Terms,
    /// What it stands for depends on the state. It is not set anew for each request: when it fires, it is looked
    /// up whether it should have.
    timer: Pin<Box<Sleep>>,
    state: State,
    began: Instant,
    accepted: usize,
    /// Requests that came after the client was told that we are leaving.
    late: usize,
    malformed: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// As usual.
    Serving,
    /// The gate is stopping, and the client has not asked for anything yet. Told to leave now, it would take that for
    /// a fault.
    FirstRequest,
    /// The client was told that no further request is taken. Those it has sent by then are.
    Leaving,
    /// It was told in no uncertain terms. What is left to do is to send that.
    Ended,
}

/// A request, and the means to answer it.
type Asked = (http::Request<RecvStream>, SendResponse<Bytes>);

// There is one at a time: to box the large one would only cost each request an allocation.
#[allow(clippy::large_enum_variant)]
enum Event {
    Stop,
    /// None when the connection has ended.
    Accepted(Option<Result<Asked, h2::Error>>),
    Unbearable(Verdict),
    Timer,
}

impl<A: Respond> Serving<A> {
    async fn run(mut self, mut stop: Pin<&mut (impl Future<Output = ()> + Send)>) {
        loop {
            match poll_fn(|cx| self.poll_event(cx, stop.as_mut())).await {
                Event::Stop if self.accepted == 0 => self.enter(State::FirstRequest, FIRST_REQUEST),
                Event::Stop => self.leave(),
                Event::Accepted(Some(Ok(asked))) => self.accept(asked),
                Event::Accepted(Some(Err(error))) => return count_end(&self.origin.worker, &error),
                Event::Accepted(None) => return,
                Event::Unbearable(verdict) => self.end(match verdict {
                    Verdict::SlowHead => Http2Refusal::SlowHead,
                    Verdict::Bearable | Verdict::Flood => Http2Refusal::Flood,
                }),
                Event::Timer if !self.time_is_up() => return,
                Event::Timer => {}
            }
        }
    }

    fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        stop: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> Poll<Event> {
        // Ready once: any other state is left for good.
        if self.state == State::Serving && stop.poll(cx).is_ready() {
            return Poll::Ready(Event::Stop);
        }
        if let Poll::Ready(accepted) = pin!(self.http2.accept()).poll(cx) {
            return Poll::Ready(Event::Accepted(accepted));
        }
        // Frames that became ready together leave together: in a record for each 16 KiB, and mostly one system call.
        let mut outgoing = self.outgoing.lock();
        if outgoing.is_unsent()
            && let Poll::Ready(Err(_)) = outgoing.poll_send(cx)
        {
            // The client has left, or takes nothing. Neither is news.
            return Poll::Ready(Event::Accepted(None));
        }
        drop(outgoing);
        let verdict = self.watch.verdict();
        if verdict != Verdict::Bearable && self.state != State::Ended {
            return Poll::Ready(Event::Unbearable(verdict));
        }
        self.timer.as_mut().poll(cx).map(|()| Event::Timer)
    }

    fn accept(&mut self, (request, mut respond): Asked) {
        self.accepted += 1;
        if respond.poll_reset(&mut Context::from_waker(Waker::noop())).is_ready() {
            // Taken back before we came to look at it: nobody else need hear of it.
            self.origin.worker.http2_refused[Http2Refusal::Reset.index()].increment();
        } else {
            let stream = Stream::new(&self.origin, request, respond);
            if stream.is_malformed() {
                self.origin.worker.http2_refused[Http2Refusal::Malformed.index()].increment();
                self.malformed += 1;
            }
            tokio::spawn(self.app.clone().respond_http2(stream));
        }
        // Until it has said that it knows, it may go on for a while; not for ever.
        self.late += usize::from(self.state == State::Leaving);
        if self.malformed > MALFORMED || self.late > LATE {
            self.end(Http2Refusal::Flood);
        } else if self.state == State::FirstRequest || self.is_worn_out() {
            self.leave();
        }
    }

    fn is_worn_out(&self) -> bool {
        self.accepted >= self.terms.requests || self.began.elapsed() >= self.terms.age
    }

    /// Says that no further request will be taken, in two steps (RFC 9113 section 6.8).
    fn leave(&mut self) {
        if matches!(self.state, State::Serving | State::FirstRequest) {
            self.http2.graceful_shutdown();
            self.enter(State::Leaving, GOODBYE);
        }
    }

    fn end(&mut self, why: Http2Refusal) {
        self.origin.worker.http2_refused[why.index()].increment();
        self.http2.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        self.enter(State::Ended, GOODBYE);
    }

    fn enter(&mut self, state: State, timer: Duration) {
        self.state = state;
        self.timer.as_mut().reset(Instant::now() + timer);
    }

    /// The timer has fired. False when the connection has no more time.
    fn time_is_up(&mut self) -> bool {
        // The last of an answer may still be on its way when whoever gave it is done.
        let is_unsent = self.http2.has_streams() || self.outgoing.lock().is_unsent();
        let idle_since = self.origin.active.idle_since().filter(|_| !is_unsent);
        match (self.state, idle_since) {
            (State::Serving, Some(since)) if since.elapsed() >= self.terms.idle => self.leave(),
            (State::Serving, Some(since)) => self.timer.as_mut().reset(since + self.terms.idle),
            (State::Serving, None) => self.enter(State::Serving, self.terms.idle),
            (State::FirstRequest, _) => self.leave(),
            (State::Leaving, None) => self.enter(State::Leaving, GOODBYE),
            (State::Leaving, Some(_)) => {
                // It has not said that it knows. What it may have sent by now is nobody's: this tells it so.
                self.http2.abrupt_shutdown(Reason::NO_ERROR);
                self.enter(State::Ended, GOODBYE);
            }
            (State::Ended, _) => return false,
        }
        true
    }
}

/// Counts a connection that the h2 crate would not bear any longer. Clients that leave are no news.
fn count_end(worker: &Worker, error: &h2::Error) {
    if !error.is_library() {
        return;
    }
    let why = match error.reason() {
        Some(Reason::ENHANCE_YOUR_CALM) => Http2Refusal::Flood,
        _ => Http2Refusal::Protocol,
    };
    worker.http2_refused[why.index()].increment();
}
