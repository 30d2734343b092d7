//! The listener for metrics, as it comes and goes with the configuration.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::AbortHandle;
use tracing::{error, info};

use crate::config;
use crate::listen::{self, Bound};
use crate::metrics::{Metrics, endpoint};

/// How long another gate may take to say that it is stopping.
const PROMPT: Duration = Duration::from_millis(500);
/// How often the address of one that is stopping is tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// Where metrics are to be asked for.
pub(super) enum Place {
    /// There.
    Bound(Bound),
    /// There, as soon as a gate that finishes its last requests has let go of it. It says until the end that it is
    /// no longer ready, and the next one should not have to wait for that.
    Awaited(SocketAddr),
}

impl Place {
    /// Takes `address`, or finds that it will be free soon.
    pub(super) fn take(address: SocketAddr) -> io::Result<Self> {
        match listen::bind(address, 1) {
            Ok(bound) => Ok(Self::Bound(bound)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stopping(address) => {
                Ok(Self::Awaited(address))
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        match self {
            Self::Bound(bound) => bound.address,
            Self::Awaited(address) => *address,
        }
    }
}

/// Who answers Prometheus. Dropped, it stops.
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    /// Its address as the configuration has it.
    configured: SocketAddr,
    /// A copy of its socket, as soon as it has one.
    socket: Arc<OnceLock<TcpListener>>,
    task: AbortHandle,
}

impl Endpoint {
    /// Answers at `place` from now on, which is `configured` so; within a runtime.
    pub(super) fn start(place: Place, configured: SocketAddr, metrics: &Arc<Metrics>) -> Self {
        let (address, metrics) = (place.address(), metrics.clone());
        let socket = Arc::new(OnceLock::new());
        let copy = socket.clone();
        let task = tokio::spawn(async move {
            if let Err(error) = answer(place, &copy, metrics).await {
                error!("metrics are not served: {error}");
            }
        });
        Self { address, configured, socket, task: task.abort_handle() }
    }

    /// Its address as the configuration has it, and a copy of its socket, if it has one already.
    pub(super) fn copy(&self) -> Option<(SocketAddr, TcpListener)> {
        Some((self.configured, self.socket.get()?.try_clone().ok()?))
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a reload makes of the endpoint.
pub(super) enum Change {
    /// It stays as it is.
    Keep,
    /// There is none any more.
    Close,
    /// There is another one.
    Move(Place, SocketAddr),
}

impl Change {
    /// What leads from `old` to `new`. Fails where the new address cannot be had.
    pub(super) fn between(old: &config::Metrics, new: &config::Metrics) -> Result<Self, String> {
        match new.listen {
            _ if old == new => Ok(Self::Keep),
            None => Ok(Self::Close),
            Some(address) => Place::take(address)
                .map(|place| Self::Move(place, address))
                .map_err(|error| format!("metrics.listen: cannot listen on {address}: {error}")),
        }
    }

    /// Makes it so; within a runtime.
    pub(super) fn carry_out(self, endpoint: &mut Option<Endpoint>, metrics: &Arc<Metrics>) {
        match self {
            Self::Keep => {}
            Self::Close => *endpoint = None,
            Self::Move(place, configured) => *endpoint = Some(Endpoint::start(place, configured, metrics)),
        }
    }
}

async fn answer(place: Place, copy: &OnceLock<TcpListener>, metrics: Arc<Metrics>) -> io::Result<()> {
    let bound = match place {
        Place::Bound(bound) => bound,
        Place::Awaited(address) => {
            info!("metrics: another gate at {address} is stopping; waiting for it to let go");
            loop {
                match listen::bind(address, 1) {
                    Ok(bound) => break bound,
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse => tokio::time::sleep(AGAIN).await,
                    Err(error) => return Err(error),
                }
            }
        }
    };
    info!("listening metrics {}", bound.address);
    for socket in bound.sockets {
        // There is one.
        let _ = copy.set(socket.try_clone()?);
        endpoint::serve(socket, metrics.clone()).await?;
    }
    Ok(())
}

/// Whether a gate that is stopping answers at `address`.
fn is_stopping(address: SocketAddr) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect_timeout(&address, PROMPT)?;
        stream.set_read_timeout(Some(PROMPT))?;
        stream.set_write_timeout(Some(PROMPT))?;
        stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(4096).read_to_string(&mut answer)?;
        Ok::<_, io::Error>(answer)
    };
    ask().is_ok_and(|answer| answer.contains(" 503 ") && answer.contains(endpoint::STOPPING))
}
