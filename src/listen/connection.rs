//! One client's connection, as the HTTP engine sees it.
//!
//! pingora takes any stream that implements its `IO` parts. Ours adds what a public server needs and the
//! engine does not have: writes are gathered ([`super::gather`]), a request head has to arrive within a
//! deadline, refusals by the engine's parser are dressed as our own error page, and a connection that is closed
//! with requests still unread is closed *lingering*, so that the client gets what was already sent instead of a
//! reset.

use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use pingora::http::ResponseHeader;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::caps::Permit;
use super::gather::{GATHER, Gather, Outgoing, Transport};
use super::info::{ConnectionInfo, Phase, info_of};
use super::linger;

/// A flush of less than this may wait for the next read that has nothing to give: the engine reads again for
/// the next request, and a batch of small answers leaves as one.
const SMALL: usize = 4 * 1024;
/// A head that is not complete after this many bytes gets 431. The engine would take a megabyte.
const LARGEST_HEAD: usize = 64 * 1024;

/// How long things may take on a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    /// For a whole request head.
    pub head: Duration,
    /// For a client that takes nothing of what is sent to it.
    pub send: Duration,
}

/// Answers for requests that never became one: the engine's parser refused them.
pub trait Refusals: Send + Sync {
    /// The whole response for `status`, ready for the wire. Called once per refused connection.
    fn response(&self, status: u16, connection: &ConnectionInfo) -> Vec<u8>;
}

/// A client connection.
pub struct Connection {
    outgoing: Outgoing,
    digest: Arc<ProxyDigest>,
    refusals: Arc<dyn Refusals>,
    refused: bool,
    head: HeadClock,
    peer_closed: bool,
    /// Whoever spoke to the client has said all it had to say.
    is_shut: bool,
    fd: RawFd,
    permit: Option<Permit>,
}

/// Minds the head that is being read.
struct HeadClock {
    timeout: Duration,
    /// Which head it is, counted in requests before it.
    number: usize,
    /// Bytes read for it.
    bytes: usize,
    /// When it was first waited for.
    began: Option<Instant>,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Connection {
    pub(super) fn new(
        transport: Transport,
        make_info: impl FnOnce(Outgoing) -> ConnectionInfo,
        permit: Permit,
        deadlines: Deadlines,
        refusals: Arc<dyn Refusals>,
    ) -> io::Result<Self> {
        let fd = match &transport {
            Transport::Plain(tcp) => tcp.as_raw_fd(),
            Transport::Tls(tls) => tls.get_ref().0.as_raw_fd(),
        };
        let outgoing = Outgoing::new(Gather::new(transport, deadlines.send));
        // The engine's one place for data of ours on a connection is meant for CONNECT proxies and wants a
        // response beside it; an empty one costs two small allocations per connection.
        let response = ResponseHeader::build(200, Some(0)).map_err(io::Error::other)?;
        let info = make_info(outgoing.clone());
        let digest = Arc::new(ProxyDigest::new(Box::new(response), Some(Box::new(info))));
        let head = HeadClock { timeout: deadlines.head, number: 0, bytes: 0, began: None, deadline: None };
        Ok(Self {
            outgoing,
            digest,
            refusals,
            refused: false,
            head,
            peer_closed: false,
            is_shut: false,
            fd,
            permit: Some(permit),
        })
    }

    /// What is known of it, as the engine carries it.
    pub(super) fn facts(&self) -> Arc<ProxyDigest> {
        self.digest.clone()
    }

    /// What is on its way to the client.
    pub(super) fn outgoing(&self) -> Outgoing {
        self.outgoing.clone()
    }

    /// Whether HTTP/2 is spoken.
    pub(super) fn is_http2(&self) -> bool {
        self.info().is_http2()
    }

    fn info(&self) -> &ConnectionInfo {
        info_of(&self.digest)
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
        self.outgoing.lock().append(&response);
    }

    /// Notes that `read` bytes have come, and minds the size of the head they may belong to.
    fn count_head(&mut self, read: usize) -> io::Result<()> {
        self.info().bytes_came(read);
        if self.info().phase() == Phase::Serving {
            return Ok(());
        }
        self.info().set_phase(Phase::Head);
        let before = self.head(self.info().requests()).bytes;
        self.head.bytes += read;
        // One read may bring many pipelined heads at once; only what was read before it is this head's alone.
        if before > LARGEST_HEAD {
            self.refuse(b"HTTP/1.1 431");
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(())
    }

    /// Whether the head being read is late. Arms the deadline at the first wait, which most requests never see.
    fn poll_head_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.info().phase() != Phase::Head {
            self.head.deadline = None;
            return Poll::Pending;
        }
        let head = self.head(self.info().requests());
        let until = *head.began.get_or_insert_with(Instant::now) + head.timeout;
        let sleep = head.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if sleep.deadline() != until {
            sleep.as_mut().reset(until);
        }
        sleep.as_mut().poll(cx)
    }

    /// The clock of head `number`, which starts anew when the last one was another's.
    fn head(&mut self, number: usize) -> &mut HeadClock {
        if self.head.number != number {
            (self.head.number, self.head.bytes, self.head.began) = (number, 0, None);
        }
        &mut self.head
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = self.outgoing.lock().poll_read(cx, buf);
        match result {
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
                let mut outgoing = self.outgoing.lock();
                if outgoing.is_unsent()
                    && let Poll::Ready(sent) = outgoing.poll_send(cx)
                {
                    sent?;
                }
                drop(outgoing);
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
        self.outgoing.lock().poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // HTTP/1 reads for its next request after every answer, which sends what waits. The h2 crate flushes after every
        // frame; its task sends what came together when there are no more of them: see `http2::serve`.
        let enough = if self.info().is_http2() { GATHER } else { SMALL };
        let mut outgoing = self.outgoing.lock();
        match outgoing.len() {
            gathered if gathered > 0 && gathered < enough => Poll::Ready(Ok(())),
            _ => outgoing.poll_send(cx),
        }
    }

    /// Sends everything. What follows is the lingering close's.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_shut = true;
        self.outgoing.lock().poll_send(cx)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut outgoing = self.outgoing.lock();
        let is_unsent = outgoing.is_unsent();
        let taken = outgoing.take();
        drop(outgoing);
        let (Some((transport, pending, patience)), Some(permit)) = (taken, self.permit.take()) else {
            return;
        };
        // With the client gone there is nobody to be polite to. One that has only ended its side still reads.
        if self.peer_closed && !is_unsent && !self.is_shut {
            return transport.say_goodbye();
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(linger::close(transport, pending, patience, permit));
        }
    }
}

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
        Some(self.digest.clone())
    }
}

impl GetSocketDigest for Connection {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

impl Peek for Connection {}
