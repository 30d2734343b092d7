//! A client's transport with gathered writes.
//!
//! A response's head and body, and the answers to pipelined requests, leave in one TLS record and one system
//! call where they can. What was gathered leaves when it is large, when the client has nothing more to say, and
//! when somebody asks for it: see `Connection` and [`Outgoing`].

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use http::HeaderValue;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;

use crate::tls::RECORD;

/// Writes are gathered up to this size, in bytes.
pub(super) const GATHER: usize = 64 * 1024;
/// A write of this size goes straight through, behind what waits before it. Longer than a record.
const LARGE: usize = GATHER / 4;
/// An answer that fits in here leaves in one write: to copy it costs less than a second system call.
const ONE_WRITE: usize = GATHER / 2;
/// The buffer of a connection that has gone quiet is given back above this size.
const KEEP_BUFFER: usize = 8 * 1024;

/// The transport below HTTP.
pub(super) enum Transport {
    Plain(TcpStream),
    // Boxed: a TLS session is more than a kilobyte, and the plain variant should not pay for it.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Transport {
    fn as_duplex(&mut self) -> Pin<&mut dyn Duplex> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp as &mut dyn Duplex),
            Self::Tls(tls) => Pin::new(tls.as_mut() as &mut dyn Duplex),
        }
    }

    /// Ends a session of TLS, if that can be said at once, so that a client that still reads can tell the end from a cut
    /// (RFC 8446 section 6.1).
    pub(super) fn say_goodbye(self) {
        if let Self::Tls(mut tls) = self {
            let (tcp, session) = tls.get_mut();
            session.send_close_notify();
            // Whoever is gone does not miss it.
            let _ = session.write_tls(&mut Now(tcp));
        }
    }
}

/// Takes what there is room for now.
struct Now<'a>(&'a TcpStream);

impl io::Write for Now<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

trait Duplex: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

/// A transport, and what waits to be sent on it.
pub(super) struct Gather {
    /// `None` only when the connection was handed to the lingering close.
    transport: Option<Transport>,
    pending: BytesMut,
    /// The `Date` of the head that is written next.
    date: Option<HeaderValue>,
    /// The transport has taken bytes that the socket may not have: rustls keeps what a full socket refused.
    unflushed: bool,
    /// For a client that takes nothing, in all between two steps forward.
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Gather {
    pub(super) fn new(transport: Transport, patience: Duration) -> Self {
        Self {
            transport: Some(transport),
            pending: BytesMut::new(),
            date: None,
            unflushed: false,
            patience,
            stalled: None,
        }
    }

    /// Bytes gathered and not yet given to the transport.
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether anything has not reached the socket.
    pub(super) fn is_unsent(&self) -> bool {
        !self.pending.is_empty() || self.unflushed
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The transport, what is pending, and how long a client may take nothing, for the lingering close. Afterwards there is
    /// nothing here.
    pub(super) fn take(&mut self) -> Option<(Transport, BytesMut, Duration)> {
        Some((self.transport.take()?, self.pending.split(), self.patience))
    }

    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.transport()?.as_duplex().poll_read(cx, buf)
    }

    /// Ready when there is something to read, or the end. Until then, what was gathered leaves.
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let readable = match self.transport()? {
            Transport::Plain(tcp) => tcp.poll_read_ready(cx),
            // Within TLS, not all that comes is for us to read.
            Transport::Tls(tls) => Pin::new(tls.as_mut()).poll_fill_buf(cx).map_ok(|_| ()),
        };
        if readable.is_pending()
            && self.is_unsent()
            && let Poll::Ready(Err(error)) = self.poll_send(cx)
        {
            return Poll::Ready(Err(error));
        }
        readable
    }

    /// Ready when the client has ended its side, and there is nothing before that to read. Takes nothing away.
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let is_end = match self.transport()? {
            Transport::Plain(tcp) => ready!(tcp.poll_peek(cx, &mut ReadBuf::new(&mut [0])))? == 0,
            Transport::Tls(tls) => ready!(Pin::new(tls.as_mut()).poll_fill_buf(cx))?.is_empty(),
        };
        // The end stands behind what there is to read, and whoever reads that comes to it.
        if is_end { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(date) = self.date.take()
            && let Some((before, after)) = around_date(buf)
        {
            self.append(before);
            self.append(date.as_bytes());
            self.append(after);
            return Poll::Ready(Ok(buf.len()));
        }
        if buf.len() >= LARGE && self.pending.len() + buf.len() > ONE_WRITE {
            return self.poll_write_large(cx, buf);
        }
        if self.pending.len() >= GATHER {
            ready!(self.poll_send(cx))?;
        }
        let n = buf.len().min(GATHER);
        self.append(&buf[..n]);
        Poll::Ready(Ok(n))
    }

    /// Writes what is pending and `buf` behind it without copying `buf`, in whole records. What does not fill the
    /// last one is gathered for the next, so that a long body is not cut into records of a few bytes.
    fn poll_write_large(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let whole = ((self.pending.len() + buf.len()) / RECORD * RECORD).min(GATHER / RECORD * RECORD);
            let direct = whole.saturating_sub(self.pending.len());
            let transport = self.transport.as_mut().ok_or(io::ErrorKind::NotConnected)?;
            let slices = [IoSlice::new(&self.pending), IoSlice::new(&buf[..direct])];
            let written = transport.as_duplex().poll_write_vectored(cx, &slices);
            self.unflushed = true;
            let written = ready!(self.unless_stalled(cx, written))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let from_pending = written.min(self.pending.len());
            self.pending.advance(from_pending);
            let taken = written - from_pending;
            if taken == 0 {
                continue;
            }
            let rest = &buf[taken..];
            if taken < direct || rest.len() >= RECORD {
                return Poll::Ready(Ok(taken));
            }
            self.pending.extend_from_slice(rest);
            return Poll::Ready(Ok(buf.len()));
        }
    }

    /// Sends everything, down to the socket.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let mut pending = std::mem::take(&mut self.pending);
            let sent = self.poll_write_through(cx, &pending);
            if let Poll::Ready(Ok(n)) = sent {
                pending.advance(n);
            }
            self.pending = pending;
            if ready!(sent)? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        if self.pending.capacity() > KEEP_BUFFER {
            self.pending = BytesMut::new();
        } else {
            self.pending.clear();
        }
        let flushed = self.transport()?.as_duplex().poll_flush(cx);
        let flushed = ready!(self.unless_stalled(cx, flushed));
        self.unflushed = flushed.is_err();
        Poll::Ready(flushed)
    }

    fn poll_write_through(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.transport()?.as_duplex().poll_write(cx, buf);
        self.unflushed = true;
        self.unless_stalled(cx, written)
    }

    /// Passes `result` on, and turns a wait that has lasted too long into an error.
    fn unless_stalled<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stalled = None;
            return result;
        }
        let patience = self.patience;
        let stalled =
            self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + patience)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn transport(&mut self) -> io::Result<&mut Transport> {
        self.transport.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

/// What stands before and behind the value of `Date` in a head, which the engine writes in one piece.
fn around_date(head: &[u8]) -> Option<(&[u8], &[u8])> {
    const NAME: &[u8] = b"\r\nDate: ";
    let value = head.windows(NAME.len()).position(|part| part.eq_ignore_ascii_case(NAME))? + NAME.len();
    let length = head[value..].windows(2).position(|part| part == b"\r\n")?;
    Some((&head[..value], &head[value + length..]))
}

/// What is on its way to the client of one connection, for those who know that it should leave now.
#[derive(Clone)]
pub struct Outgoing(Arc<Mutex<Gather>>);

impl Outgoing {
    pub(super) fn new(gather: Gather) -> Self {
        Self(Arc::new(Mutex::new(gather)))
    }

    /// Sends what was gathered.
    ///
    /// On HTTP/1 connections only: there the request that asks is the only one that writes. With HTTP/2 the
    /// connection's own task does, and the runtime tells only one task of a socket's readiness.
    pub async fn send(&self) -> io::Result<()> {
        poll_fn(|cx| self.lock().poll_send(cx)).await
    }

    /// Waits until there is room for another answer that is not large.
    pub async fn room(&self) -> io::Result<()> {
        poll_fn(|cx| {
            let mut gather = self.lock();
            if gather.len() < LARGE { Poll::Ready(Ok(())) } else { gather.poll_send(cx) }
        })
        .await
    }

    /// Gathers what `write` appends: a whole answer, on a connection over HTTP/1 whose request is the one that asks.
    pub fn gather<T>(&self, write: impl FnOnce(&mut BytesMut) -> T) -> T {
        write(&mut self.lock().pending)
    }

    /// Waits for the client to end its side, or to break off. What it sends before that stays unread; as long as it does,
    /// this waits. On HTTP/1 connections only, as above.
    ///
    /// # Errors
    ///
    /// Where it broke off: it takes nothing any more either.
    pub async fn ended(&self) -> io::Result<()> {
        poll_fn(|cx| self.lock().poll_ended(cx)).await
    }

    /// Puts `date` into the head that is written next, in place of the time at which the engine writes it.
    pub fn date_next_head(&self, date: HeaderValue) {
        self.lock().date = Some(date);
    }

    // A connection's tasks are on one thread: the lock is never waited for.
    pub(super) fn lock(&self) -> MutexGuard<'_, Gather> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outgoing").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    /// Writes pieces of these sizes to a reader that takes its time, and gives what arrives.
    async fn through_a_socket(sizes: &[usize], step: usize) -> (Vec<u8>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let reader = tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let (mut all, mut part) = (Vec::new(), vec![0; step]);
            loop {
                match stream.read(&mut part).await.unwrap() {
                    0 => return all,
                    n => all.extend_from_slice(&part[..n]),
                }
            }
        });
        let (tcp, _) = listener.accept().await.unwrap();
        let mut gather = Gather::new(Transport::Plain(tcp), Duration::from_secs(30));
        let mut sent = Vec::new();
        for (number, size) in sizes.iter().enumerate() {
            let piece: Vec<u8> = (0..*size).map(|at| (at * 31 + number * 7 + at / 251) as u8).collect();
            let mut rest = &piece[..];
            while !rest.is_empty() {
                let n = poll_fn(|cx| gather.poll_write(cx, rest)).await.unwrap();
                rest = &rest[n..];
            }
            sent.extend_from_slice(&piece);
        }
        poll_fn(|cx| gather.poll_send(cx)).await.unwrap();
        drop(gather);
        (sent, reader.await.unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn small_and_large_writes_arrive_whole_and_in_order(
            sizes in proptest::collection::vec(
                prop_oneof![0..500usize, RECORD - 2..RECORD + 2, LARGE - 2..LARGE + 2, 50_000..300_000usize],
                1..20,
            ),
            step in prop_oneof![Just(700usize), Just(65_536)],
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let (sent, got) = runtime.block_on(through_a_socket(&sizes, step));
            prop_assert!(sent == got, "{} bytes sent, {} arrived", sent.len(), got.len());
        }
    }
}
