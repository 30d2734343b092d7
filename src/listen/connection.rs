//! One client's connection, as the HTTP engine sees it.
//!
//! pingora takes any stream that implements its `IO` parts. Ours adds what a public server needs and the
//! engine does not have: writes are gathered so that a response's head and body leave in one TLS record and
//! one system call, a request head has to arrive within a deadline, refusals by the engine's parser are
//! dressed as our own error page, and a connection that is closed with requests still unread is closed
//! *lingering*, so that the client gets what was already sent instead of a reset.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora::http::ResponseHeader;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;

use super::caps::Permit;
use super::linger;

/// Writes are gathered up to this size; a larger one goes straight through.
const GATHER: usize = 64 * 1024;
/// A flush of less than this may wait for the next read that has nothing to give: the engine reads again
/// right after it has sent a request upstream, so that is a matter of microseconds.
const SMALL: usize = 4 * 1024;
/// A head that is not complete after this many bytes gets 431. The engine would take a megabyte.
const LARGEST_HEAD: usize = 64 * 1024;
/// The buffer of a connection that has gone quiet is given back above this size.
const KEEP_BUFFER: usize = 8 * 1024;

/// What is known of a connection, for as long as it lives. Requests reach it through the engine's digest.
#[derive(Debug)]
pub struct ConnectionInfo {
    /// The client. An IPv4-mapped IPv6 address is the IPv4 address it holds.
    pub peer: SocketAddr,
    /// The address the client connected to.
    pub local: SocketAddr,
    /// What the TLS handshake told; none on plain HTTP.
    pub tls: Option<TlsInfo>,
    phase: AtomicU8,
}

/// What a TLS handshake told.
#[derive(Debug)]
pub struct TlsInfo {
    /// The name the client asked for (SNI, RFC 6066 section 3), lower-case.
    pub server_name: Option<String>,
    /// The client's certificate and what it sent with it; its key was proven, nothing else was judged.
    pub client_chain: Vec<CertificateDer<'static>>,
    /// HTTP/2 was agreed on (ALPN, RFC 7301).
    pub http2: bool,
}

/// Where a HTTP/1 connection is. HTTP/2 ones are always `Serving`.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// Between requests.
    Idle = 0,
    /// A request's first bytes are here, its head is not complete.
    Head = 1,
    /// A request is being answered.
    Serving = 2,
}

impl ConnectionInfo {
    /// Describes a connection just accepted.
    pub fn new(peer: SocketAddr, local: SocketAddr, tls: Option<TlsInfo>) -> Self {
        let phase = match &tls {
            Some(tls) if tls.http2 => Phase::Serving,
            _ => Phase::Idle,
        };
        Self { peer, local, tls, phase: AtomicU8::new(phase as u8) }
    }

    /// A request's head was read and accepted: its deadline no longer runs.
    pub fn request_begins(&self) {
        self.set_phase(Phase::Serving);
    }

    /// The request was answered. The next byte begins a new head.
    pub fn request_ends(&self) {
        if !self.tls.as_ref().is_some_and(|tls| tls.http2) {
            self.set_phase(Phase::Idle);
        }
    }

    // Only the connection's own task touches the phase; the atomic is for `Sync`, not for ordering.
    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Head,
            _ => Phase::Serving,
        }
    }

    fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }
}

/// Answers for requests that never became one: the engine's parser refused them.
pub trait Refusals: Send + Sync {
    /// The whole response for `status`, ready for the wire. Called once per refused connection.
    fn response(&self, status: u16, connection: &ConnectionInfo) -> Vec<u8>;
}

/// The transport below HTTP.
pub(super) enum Transport {
    Plain(TcpStream),
    // Boxed: a TLS session is more than a kilobyte, and the plain variant should not pay for it.
    Tls(Box<TlsStream<TcpStream>>),
}

/// A client connection with gathered writes, a deadline for request heads, and a lingering close.
pub struct Connection {
    // `None` only while the connection is being dropped, when `Drop` has handed it to the lingering close.
    transport: Option<Transport>,
    pending: BytesMut,
    info: Arc<ProxyDigest>,
    refusals: Arc<dyn Refusals>,
    refused: bool,
    /// A flush was put off, and what it should have sent is still pending.
    flush_deferred: bool,
    head_timeout: Duration,
    head_deadline: Option<Pin<Box<Sleep>>>,
    head_began: Instant,
    head_bytes: usize,
    peer_closed: bool,
    fd: RawFd,
    permit: Option<Permit>,
}

impl Connection {
    pub(super) fn new(
        transport: Transport,
        info: ConnectionInfo,
        permit: Permit,
        head_timeout: Duration,
        refusals: Arc<dyn Refusals>,
    ) -> io::Result<Self> {
        let fd = match &transport {
            Transport::Plain(tcp) => tcp.as_raw_fd(),
            Transport::Tls(tls) => tls.get_ref().0.as_raw_fd(),
        };
        // The engine's one place for data of ours on a connection is meant for CONNECT proxies and wants a
        // response beside it; an empty one costs two small allocations per connection.
        let response = ResponseHeader::build(200, Some(0)).map_err(io::Error::other)?;
        let digest = ProxyDigest::new(Box::new(response), Some(Box::new(info)));
        Ok(Self {
            transport: Some(transport),
            pending: BytesMut::new(),
            info: Arc::new(digest),
            refusals,
            refused: false,
            flush_deferred: false,
            head_timeout,
            head_deadline: None,
            head_began: Instant::now(),
            head_bytes: 0,
            peer_closed: false,
            fd,
            permit: Some(permit),
        })
    }

    fn info(&self) -> &ConnectionInfo {
        info_of(&self.info)
    }

    fn is_http2(&self) -> bool {
        self.info().tls.as_ref().is_some_and(|tls| tls.http2)
    }

    fn transport(&mut self) -> Pin<&mut dyn Duplex> {
        // Only `Drop` takes the transport, and nothing is polled after that.
        match self.transport.as_mut().expect("the transport is there until drop") {
            Transport::Plain(tcp) => Pin::new(tcp as &mut dyn Duplex),
            Transport::Tls(tls) => Pin::new(tls.as_mut() as &mut dyn Duplex),
        }
    }

    /// Sends what was gathered.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let pending = std::mem::take(&mut self.pending);
            let sent = self.transport().poll_write(cx, &pending);
            self.pending = pending;
            match ready!(sent)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.pending.advance(n),
            }
        }
        self.flush_deferred = false;
        if self.pending.capacity() > KEEP_BUFFER {
            self.pending = BytesMut::new();
        } else {
            self.pending.clear();
        }
        self.transport().poll_flush(cx)
    }

    /// Takes the engine's refusal of a request it could not parse, and puts ours in its place.
    fn refuse(&mut self, engine_response: &[u8]) {
        if self.refused {
            return;
        }
        self.refused = true;
        let status = engine_response
            .get(9..12)
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| digits.parse().ok())
            .unwrap_or(400);
        let response = self.refusals.response(status, self.info());
        self.pending.extend_from_slice(&response);
    }

    /// Notes that `read` bytes have come, and minds the size of the head they may belong to.
    fn count_head(&mut self, read: usize) -> io::Result<()> {
        match self.info().phase() {
            Phase::Serving => return Ok(()),
            Phase::Idle => {
                self.info().set_phase(Phase::Head);
                self.head_began = Instant::now();
                self.head_bytes = read;
            }
            Phase::Head => self.head_bytes += read,
        }
        // One read may bring many pipelined heads at once; only what is read after it is this head's alone.
        if self.head_bytes - read > LARGEST_HEAD {
            self.refuse(b"HTTP/1.1 431");
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(())
    }

    /// Whether the head being read is late. Arms the deadline at the first wait, which most requests never see.
    fn poll_head_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.info().phase() != Phase::Head {
            self.head_deadline = None;
            return Poll::Pending;
        }
        let until = self.head_began + self.head_timeout;
        let sleep = self.head_deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if sleep.deadline() != until {
            sleep.as_mut().reset(until);
        }
        sleep.as_mut().poll(cx)
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match self.transport().poll_read(cx, buf) {
            Poll::Ready(result) => {
                let read = buf.filled().len() - before;
                if result.is_err() || (read == 0 && buf.remaining() > 0) {
                    self.peer_closed = true;
                    return Poll::Ready(result);
                }
                Poll::Ready(self.count_head(read))
            }
            Poll::Pending => {
                // The client waits for us, or we for it: now is the time to send what was gathered.
                if !self.pending.is_empty()
                    && let Poll::Ready(Err(error)) = self.poll_send(cx)
                {
                    return Poll::Ready(Err(error));
                }
                if self.poll_head_deadline(cx).is_ready() {
                    self.refuse(b"HTTP/1.1 408");
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.info().phase() != Phase::Serving {
            self.refuse(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        if self.pending.is_empty() && buf.len() >= GATHER / 4 {
            return self.transport().poll_write(cx, buf);
        }
        if self.pending.len() >= GATHER {
            ready!(self.poll_send(cx))?;
        }
        let n = buf.len().min(GATHER);
        self.pending.extend_from_slice(&buf[..n]);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_http2() {
            return if self.pending.len() < SMALL { Poll::Ready(Ok(())) } else { self.poll_send(cx) };
        }
        if self.pending.is_empty() || self.pending.len() >= GATHER || self.flush_deferred {
            return self.poll_send(cx);
        }
        // HTTP/2 flushes after every frame, and does not always read after that. Polled once more, it does, and
        // by then it has written all the frames it has. Once: with a client that does not read, a flush that
        // was put off again and again would keep the core busy.
        self.flush_deferred = true;
        cx.waker().wake_by_ref();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        self.transport().poll_shutdown(cx)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let (Some(transport), Some(permit)) = (self.transport.take(), self.permit.take()) else {
            return;
        };
        // With the client gone there is nobody to be polite to.
        if self.peer_closed && self.pending.is_empty() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(linger::close(transport, self.pending.split(), permit));
        }
    }
}

/// A connection's facts, as the engine carries them to the request.
pub fn info_of(digest: &ProxyDigest) -> &ConnectionInfo {
    digest
        .user_data
        .as_ref()
        .and_then(|data| data.downcast_ref())
        // `Connection::new` is the only maker of streams for the engine, and always puts it there.
        .expect("every connection carries its ConnectionInfo")
}

trait Duplex: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the peer: what is printed may end up in a log.
        f.debug_struct("Connection").field("fd", &self.fd).finish_non_exhaustive()
    }
}

#[async_trait]
impl Shutdown for Connection {
    async fn shutdown(&mut self) {
        // A client that is already gone is no news.
        let _ = tokio::io::AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Connection {
    fn id(&self) -> UniqueIDType {
        self.fd
    }
}

impl Ssl for Connection {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        None
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.info().tls.as_ref().map(|tls| if tls.http2 { ALPN::H2 } else { ALPN::H1 })
    }
}

impl GetTimingDigest for Connection {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Connection {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(self.info.clone())
    }
}

impl GetSocketDigest for Connection {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

impl Peek for Connection {}
