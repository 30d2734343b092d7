//! The accept loop of one worker on one socket.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora::server::ShutdownWatch;
use rustls::{HandshakeKind, ProtocolVersion, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::caps::{Caps, Permit};
use super::connection::{Connection, Deadlines, Refusals};
use super::gather::Transport;
use super::http1;
use super::http2::{self, Terms};
use super::info::{ConnectionInfo, TlsInfo};
use super::respond::Respond;
use crate::metrics::{HandshakeFailure, TlsVersion, Worker};

/// How long to pause when the process has no file descriptors left.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(50);

/// What rustls may hold of a connection's answers before the socket takes them, in bytes.
const TLS_BUFFER: usize = 160 * 1024;

/// What is spoken on a socket.
#[derive(Clone)]
pub enum Protocol {
    /// HTTP in the clear.
    Http,
    /// HTTP within TLS.
    Https(Arc<ServerConfig>),
}

/// The limits on connections in force when one is accepted.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// Connections per client: an IPv4 address or an IPv6 /64.
    pub per_client: usize,
    /// For a TLS handshake, and for a whole request head.
    pub header_timeout: Duration,
    /// For a client that takes nothing of what is sent to it.
    pub send_timeout: Duration,
    /// For a connection without requests.
    pub idle: Duration,
    /// Requests on a connection over HTTP/2. Over HTTP/1 the answers count.
    pub requests: usize,
    /// How old such a connection may be when it takes another request.
    pub age: Duration,
}

/// Accepts connections and hands them to the HTTP engine.
pub struct Acceptor<A> {
    /// The HTTP engine of this worker.
    pub app: Arc<A>,
    /// What is spoken.
    pub protocol: Protocol,
    /// Who is connected.
    pub caps: Arc<Caps>,
    /// The limits in force; asked for at each connection, so that a reload counts from the next one on.
    pub limits: Arc<dyn Fn() -> Limits + Send + Sync>,
    /// Answers to requests that do not parse.
    pub refusals: Arc<dyn Refusals>,
    /// What this worker counts.
    pub worker: Arc<Worker>,
}

impl<A: Respond> Acceptor<A> {
    /// Accepts until `shutdown` turns true, then takes what the kernel had already accepted for us, and ends.
    pub async fn run(self, socket: std::net::TcpListener, mut shutdown: ShutdownWatch) -> io::Result<()> {
        let socket = TcpListener::from_std(socket)?;
        // Waiting for it marks it as seen, for copies made then as well; the engine waits for what it has not seen.
        let unseen = shutdown.clone();
        let acceptor = Arc::new(self);
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                _ = shutdown.wait_for(|down| *down) => break,
            };
            match accepted {
                Ok((tcp, peer)) => acceptor.clone().admit(tcp, peer, &unseen),
                Err(error) if is_connections_own(&error) => debug!("accept: {error}"),
                Err(error) => {
                    if acceptor.caps.fails_anew() {
                        warn!("cannot accept connections: {error}; trying until it can");
                    }
                    tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
                }
            }
        }
        // Connections the kernel completed before the socket closes would otherwise be reset.
        let socket = socket.into_std()?;
        while let Ok((tcp, peer)) = socket.accept() {
            tcp.set_nonblocking(true)?;
            acceptor.clone().admit(TcpStream::from_std(tcp)?, peer, &unseen);
        }
        Ok(())
    }

    fn admit(self: Arc<Self>, tcp: TcpStream, peer: SocketAddr, shutdown: &ShutdownWatch) {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let limits = (self.limits)();
        let Some(permit) = self.caps.admit(peer.ip(), limits.connections, limits.per_client) else {
            return;
        };
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            // What goes wrong before there is a request is the client's, and there are many such clients.
            // Boxed: a handshake has kilobytes of state, and the connection would carry the room for it to its end.
            let connection = match Box::pin(self.establish(tcp, peer, permit, limits)).await {
                Ok(connection) => connection,
                Err(error) => return debug!("connection not established: {error}"),
            };
            let (app, worker) = (self.app.clone(), self.worker.clone());
            drop(self);
            if connection.is_http2() {
                let terms = Terms {
                    head: limits.header_timeout,
                    idle: limits.idle,
                    requests: limits.requests,
                    age: limits.age,
                };
                // Boxed, so that the task of an HTTP/1 connection need not make room for it.
                Box::pin(http2::serve(connection, app, worker, terms, shutdown)).await;
            } else {
                http1::serve(connection, app, limits.idle, shutdown).await;
            }
        });
    }

    async fn establish(
        &self,
        tcp: TcpStream,
        peer: SocketAddr,
        permit: Permit,
        limits: Limits,
    ) -> io::Result<Connection> {
        tcp.set_nodelay(true)?;
        let local = tcp.local_addr()?;
        let (transport, tls) = match &self.protocol {
            Protocol::Http => (Transport::Plain(tcp), None),
            Protocol::Https(config) => {
                let handshake = TlsAcceptor::from(config.clone()).accept(tcp);
                let shaken = async { timeout(limits.header_timeout, handshake).await? }.await;
                let mut stream = shaken.inspect_err(|error| self.count_failure(error))?;
                // rustls would take no more than 64 KiB at a time, which is a gathered write less a few bytes.
                stream.get_mut().1.set_buffer_limit(Some(TLS_BUFFER));
                let session = stream.get_ref().1;
                self.count_handshake(session.protocol_version(), session.handshake_kind());
                let info = TlsInfo {
                    server_name: session.server_name().map(str::to_ascii_lowercase),
                    client_chain: session
                        .peer_certificates()
                        .map(|chain| chain.iter().map(|cert| cert.clone().into_owned()).collect())
                        .unwrap_or_default(),
                    http2: session.alpn_protocol() == Some(b"h2"),
                };
                (Transport::Tls(Box::new(stream)), Some(info))
            }
        };
        let info = |outgoing| ConnectionInfo::new(peer, local, tls, Some(outgoing));
        let deadlines = Deadlines { head: limits.header_timeout, send: limits.send_timeout };
        Connection::new(transport, info, permit, deadlines, self.refusals.clone())
    }

    fn count_handshake(&self, version: Option<ProtocolVersion>, kind: Option<HandshakeKind>) {
        let counters = match kind {
            Some(HandshakeKind::Resumed) => &self.worker.handshakes_resumed,
            _ => &self.worker.handshakes_full,
        };
        let version = match version {
            Some(ProtocolVersion::TLSv1_2) => TlsVersion::Tls12,
            _ => TlsVersion::Tls13,
        };
        counters[version.index()].increment();
    }

    fn count_failure(&self, error: &io::Error) {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof};
        let failure = match error.kind() {
            TimedOut => HandshakeFailure::Timeout,
            UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe => HandshakeFailure::Closed,
            _ => HandshakeFailure::Protocol,
        };
        self.worker.handshakes_failed[failure.index()].increment();
    }
}

/// Errors that concern the one connection that was to be accepted (accept(2), "Error handling").
fn is_connections_own(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | WouldBlock)
}
