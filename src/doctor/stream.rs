//! Bytes to and from a server, with an end to every wait.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// A socket on which nothing takes longer than it may: neither a single read or write, nor all of them together.
#[derive(Debug)]
pub(super) struct Timed {
    tcp: TcpStream,
    /// How long the other side may be silent.
    silence: Duration,
    /// When all must be over.
    end: Instant,
}

impl Timed {
    /// Connects, within `patience`. Then the other side may be silent for as long, and all may take three times as
    /// long.
    pub(super) fn connect(address: SocketAddr, patience: Duration) -> io::Result<Self> {
        let tcp = TcpStream::connect_timeout(&address, patience).map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => timed_out(patience),
            _ => error,
        })?;
        tcp.set_nodelay(true)?;
        Ok(Self::over(tcp, patience))
    }

    /// The same on a connection that is there.
    pub(super) fn over(tcp: TcpStream, patience: Duration) -> Self {
        Self { tcp, silence: patience, end: Instant::now() + patience * 3 }
    }

    /// From now on it may be silent for `silence`, and all may take `whole`.
    pub(super) fn allow(&mut self, silence: Duration, whole: Duration) {
        (self.silence, self.end) = (silence, Instant::now() + whole);
    }

    /// How long the next wait may be.
    fn left(&self) -> io::Result<Duration> {
        match self.end.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(too_long()),
            left => Ok(left.min(self.silence)),
        }
    }

    /// What a wait that was too long is called depends on the system.
    fn named(&self, error: io::Error) -> io::Error {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => match self.left() {
                Ok(_) => timed_out(self.silence),
                Err(too_long) => too_long,
            },
            _ => error,
        }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.tcp.set_read_timeout(Some(self.left()?))?;
        self.tcp.read(buffer).map_err(|error| self.named(error))
    }
}

impl Write for Timed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.tcp.set_write_timeout(Some(self.left()?))?;
        self.tcp.write(buffer).map_err(|error| self.named(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it takes too long altogether")
}

fn timed_out(silence: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("nothing came for {} s", silence.as_secs_f32()))
}

/// A connection, with TLS or without.
pub(super) enum Stream {
    Plain(Timed),
    Tls(Box<StreamOwned<ClientConnection, Timed>>),
}

impl Stream {
    /// Goes through the handshake on `tcp`.
    pub(super) fn tls(
        mut tcp: Timed,
        name: ServerName<'static>,
        config: Arc<ClientConfig>,
    ) -> io::Result<Self> {
        let mut tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            if tls.complete_io(&mut tcp)? == (0, 0) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Self::Tls(Box::new(StreamOwned::new(tls, tcp))))
    }

    /// The TLS side of it.
    pub(super) fn session(&self) -> Option<&ClientConnection> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => Some(&tls.conn),
        }
    }

    /// See [`Timed::allow`].
    pub(super) fn allow(&mut self, silence: Duration, whole: Duration) {
        match self {
            Self::Plain(tcp) => tcp.allow(silence, whole),
            Self::Tls(tls) => tls.sock.allow(silence, whole),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.write(buffer),
            Self::Tls(tls) => tls.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

/// An error of a connection, for people.
pub(super) fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "the connection was refused".into(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "the connection was reset".into(),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => "there is no way to it".into(),
        io::ErrorKind::UnexpectedEof => match error.get_ref() {
            // rustls says much about a missing close_notify, which only means this.
            Some(own) if own.is::<Early>() => own.to_string(),
            _ => "the connection was closed early".into(),
        },
        _ => error.to_string(),
    }
}

/// Where an answer ended before its time.
#[derive(Debug)]
pub(super) struct Early(pub(super) String);

impl std::fmt::Display for Early {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the connection was closed {}", self.0)
    }
}

impl std::error::Error for Early {}
