//! What is known of a connection, for as long as it lives.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pingora::protocols::raw_connect::ProxyDigest;
use rustls::pki_types::CertificateDer;

use super::gather::Outgoing;
use crate::limits::Paced;

/// The facts of a connection. Requests reach it through the engine's digest.
#[derive(Debug)]
pub struct ConnectionInfo {
    /// The client. An IPv4-mapped IPv6 address is the IPv4 address it holds.
    pub peer: SocketAddr,
    /// The address the client connected to.
    pub local: SocketAddr,
    /// What the TLS handshake told; none on plain HTTP.
    pub tls: Option<TlsInfo>,
    /// When it was made.
    pub since: Instant,
    /// What large answers it may be sent.
    pub paced: Paced,
    /// What is on its way to the client; none where there is no client, as in tests of decisions.
    outgoing: Option<Outgoing>,
    // Only the connection's own thread touches these; the atomics are for `Sync`, not for ordering.
    phase: AtomicU8,
    requests: AtomicUsize,
    unread: AtomicUsize,
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
pub(super) enum Phase {
    /// Between requests.
    Idle = 0,
    /// A request's first bytes are here, its head is not complete.
    Head = 1,
    /// A request is being answered.
    Serving = 2,
}

impl ConnectionInfo {
    /// Describes a connection just accepted.
    pub fn new(
        peer: SocketAddr,
        local: SocketAddr,
        tls: Option<TlsInfo>,
        outgoing: Option<Outgoing>,
    ) -> Self {
        let phase = match &tls {
            Some(tls) if tls.http2 => Phase::Serving,
            _ => Phase::Idle,
        };
        Self {
            peer,
            local,
            tls,
            since: Instant::now(),
            paced: Paced::default(),
            outgoing,
            phase: AtomicU8::new(phase as u8),
            requests: AtomicUsize::new(0),
            unread: AtomicUsize::new(0),
        }
    }

    /// Whether HTTP/2 is spoken.
    pub fn is_http2(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.http2)
    }

    /// What is on its way to the client, where whoever answers a request may send it: on HTTP/1.
    pub fn outgoing(&self) -> Option<&Outgoing> {
        self.outgoing.as_ref().filter(|_| !self.is_http2())
    }

    /// A request's head of `head` bytes was read and accepted: its deadline no longer runs. Over HTTP/2 there is
    /// none, and the size is not known.
    pub fn request_begins(&self, head: usize) {
        self.set_phase(Phase::Serving);
        self.requests.fetch_add(1, Ordering::Relaxed);
        let left = self.unread.load(Ordering::Relaxed).saturating_sub(head);
        self.unread.store(left, Ordering::Relaxed);
    }

    /// The request was answered. `body` is how many bytes of it were its body; none where that cannot be told, as
    /// with chunks.
    pub fn request_ends(&self, body: Option<usize>) {
        if self.is_http2() {
            return;
        }
        // Taking an idle connection for one with half a head would end it before its time: when in doubt, idle.
        let unread = self.unread.load(Ordering::Relaxed);
        self.unread.store(body.map_or(0, |body| unread.saturating_sub(body)), Ordering::Relaxed);
        // What the engine has read beyond this request is the beginning of the next head.
        let next = if self.unread.load(Ordering::Relaxed) > 0 { Phase::Head } else { Phase::Idle };
        self.set_phase(next);
    }

    pub(super) fn bytes_came(&self, read: usize) {
        self.unread.fetch_add(read, Ordering::Relaxed);
    }

    /// Requests so far.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Whether the answer to a request that has come, with a head of `head` bytes, should be the last one: it is number
    /// `most`, or the connection is older than `age` and nothing that was sent behind the request is here yet. HTTP/2 has
    /// other ways to end.
    pub fn is_worn_out(&self, head: usize, most: usize, age: Duration, now: Instant) -> bool {
        !self.is_http2()
            && (self.requests() + 1 >= most
                // A batch of lookups goes on to its end.
                || (self.unread.load(Ordering::Relaxed) <= head && now.duration_since(self.since) >= age))
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Head,
            _ => Phase::Serving,
        }
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
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
