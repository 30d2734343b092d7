//! Connecting to a backend: every address of its name, and patience while it is being restarted.

use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use pingora::{Error, ErrorType, Result};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::stream::BackendStream;
use crate::config::{Backend, Host};
use crate::metrics::BackendShard;

/// Between two rounds of trying, while a backend refuses connections.
const RETRY: Duration = Duration::from_millis(50);

/// Connects to one backend.
///
/// A connection that is refused has cost the backend nothing and carried no byte of the request, so waiting
/// for the backend to come back is right for every method.
#[derive(Debug)]
pub(super) struct Connector {
    backend: Backend,
    /// For one address.
    connect: Duration,
    /// For a backend that refuses connections, in all.
    restart: Duration,
    // The address that answered last. Names rarely move, and `localhost` is asked for at every connection.
    last_good: Mutex<Option<SocketAddr>>,
}

impl Connector {
    pub(super) fn new(backend: Backend, connect: Duration, restart: Duration) -> Self {
        Self { backend, connect, restart, last_good: Mutex::new(None) }
    }

    /// A new connection, as soon as the backend takes one.
    pub(super) async fn open(&self, counted: &BackendShard) -> Result<BackendStream> {
        let tcp = self.connect_patiently(counted).await?;
        counted.connections.increment();
        tcp.set_nodelay(true).map_err(|error| self.explain(error))?;
        Ok(BackendStream::new(tcp))
    }

    async fn connect_patiently(&self, counted: &BackendShard) -> Result<TcpStream> {
        let began = Instant::now();
        let mut waiting = false;
        loop {
            match self.connect_once().await {
                Ok(tcp) => {
                    if waiting {
                        info!("backend {} is back after {:?}", self.backend, began.elapsed());
                    }
                    return Ok(tcp);
                }
                Err(error) if is_away(&error) && began.elapsed() + RETRY < self.restart => {
                    if !waiting {
                        waiting = true;
                        counted.restart_waits.increment();
                        warn!("backend {}: {error}; waiting up to {:?} for it", self.backend, self.restart);
                    }
                    sleep(RETRY).await;
                }
                Err(error) => return Err(self.explain(error)),
            }
        }
    }

    /// Tries each address once. When all fail, the error of the last one tells.
    async fn connect_once(&self) -> io::Result<TcpStream> {
        let last_good = *self.lock();
        if let Some(address) = last_good {
            if let Ok(tcp) = self.connect_to(address).await {
                return Ok(tcp);
            }
            *self.lock() = None;
        }
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in self.addresses().await? {
            match self.connect_to(address).await {
                Ok(tcp) => {
                    *self.lock() = Some(address);
                    return Ok(tcp);
                }
                // A refusal tells more than a timeout: somebody is there, and may be back soon.
                Err(error) if !is_away(&failure) => failure = error,
                Err(_) => {}
            }
        }
        Err(failure)
    }

    async fn connect_to(&self, address: SocketAddr) -> io::Result<TcpStream> {
        timeout(self.connect, TcpStream::connect(address)).await?
    }

    async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        match &self.backend.host {
            Host::Address(address) => Ok(vec![SocketAddr::new(*address, self.backend.port)]),
            Host::Name(name) => {
                Ok(tokio::net::lookup_host((name.as_str(), self.backend.port)).await?.collect())
            }
        }
    }

    fn explain(&self, error: io::Error) -> Box<Error> {
        let kind = match error.kind() {
            io::ErrorKind::TimedOut => ErrorType::ConnectTimedout,
            io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
            _ => ErrorType::ConnectError,
        };
        Error::because(kind, format!("backend {}", self.backend), error)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<SocketAddr>> {
        self.last_good.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Whether the backend is there but not listening, as while it is restarted.
fn is_away(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset)
}
