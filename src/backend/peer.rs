//! What an exchange needs to know of a backend.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pingora::{Error, ErrorType, Result};
use tracing::{info, warn};

use super::connect::Connector;
use super::nars::Nars;
use super::slots::{Slot, Slots};
use super::standing::{Backends, Standing};
use super::stream::BackendStream;
use crate::config::{Backend, Config, Timeouts};
use crate::metrics::{self, BackendShard, Role, Worker};

/// How a connection to a backend is to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Use {
    /// Short answers: the connection goes back to the pool.
    Pooled,
    /// Answers that end their connection, or that may not be asked for twice: a fresh one each time.
    Fresh,
    /// A store item: fresh, and with time for the backend to compress.
    Nar,
}

/// A slot for a nar or a file.
pub type NarSlot = Slot<Arc<Slots>>;

/// One backend: how to reach it, and how long to wait for it.
#[derive(Clone, Debug)]
pub struct Peers {
    name: String,
    connector: Arc<Connector>,
    standing: Arc<Standing>,
    key: u64,
    usual: (Duration, Duration),
    nar: Duration,
    queue: Duration,
    counted: Arc<metrics::Backend>,
}

impl Peers {
    /// Describes `backend`, of which `backends` knows how it stands; what happens to it is `counted`.
    pub fn new(
        backend: &Backend,
        role: Role,
        config: &Config,
        backends: &Backends,
        counted: Arc<metrics::Backend>,
    ) -> Self {
        let Timeouts { connect, backend_restart, read, send, nar, queue, .. } = config.timeouts;
        let standing = backends.get(backend, &config.limits.backend);
        let connector = Connector::new(backend.clone(), connect, backend_restart, standing.known.clone());
        counted.configured();
        // The Guix client takes any error for an answer, and remembers it for minutes. It does not mind a wait.
        let queue = if role == Role::Publish { queue.max(nar) } else { queue };
        Self {
            name: backend.to_string(),
            connector: Arc::new(connector),
            standing,
            key: key_of(backend),
            usual: (read, send),
            nar,
            queue,
            counted,
        }
    }

    /// Host and port, as configured.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells this backend's connections from another's.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// How long to wait for the backend to say something, and to take something.
    pub fn timeouts(&self, usage: Use) -> (Duration, Duration) {
        match usage {
            Use::Nar => (self.nar, self.nar),
            Use::Pooled | Use::Fresh => self.usual,
        }
    }

    /// Whether it could not be reached when that was last tried.
    pub fn is_down(&self) -> bool {
        self.standing.known.reach.is_down()
    }

    /// Whether a request that could not reach it is yet to be told of in the log: one for each outage is enough.
    pub fn is_to_be_told(&self) -> bool {
        self.standing.known.reach.is_to_be_told()
    }

    /// Waits for a backend that is down. The connection, if it was this request that tried to reach it.
    pub async fn wait_until_up(&self, worker: &Worker) -> Result<Option<Box<BackendStream>>> {
        let waited = self.connector.wait(self.counted(worker)).await;
        self.note(worker, waited.as_ref().map(Option::is_some).map_err(|error| &**error));
        Ok(waited?.map(Box::new))
    }

    /// A new connection, for a request on `worker`'s thread.
    pub async fn connect(&self, worker: &Worker) -> Result<Box<BackendStream>> {
        let opened = self.connector.open(self.counted(worker)).await;
        self.note(worker, opened.as_ref().map(|_| true).map_err(|error| &**error));
        opened.map(Box::new)
    }

    fn note(&self, worker: &Worker, reached: std::result::Result<bool, &Error>) {
        match reached {
            Ok(true) => self.counted.health.reached(),
            Ok(false) => {}
            Err(error) => {
                self.counted(worker).connect_failures.increment();
                self.counted.health.unreachable(why(error));
            }
        }
    }

    /// A slot for a request of `client`, if there is one now: to be kept until the answer begins.
    pub fn try_slot(&self, client: IpAddr) -> Option<Slot<&Slots>> {
        Slots::try_take(&*self.standing.requests, client)
    }

    /// The same, to be passed on.
    pub fn try_own_slot(&self, client: IpAddr) -> Option<Slot<Arc<Slots>>> {
        Slots::try_take(self.standing.requests.clone(), client)
    }

    /// The same, in its turn.
    pub async fn slot(&self, client: IpAddr, worker: &Arc<Worker>) -> Result<Slot<Arc<Slots>>> {
        self.in_turn(self.standing.requests.clone(), client, worker).await
    }

    /// A slot for a nar or a file, if there is one now: to be kept until its end.
    pub fn try_nar_slot(&self, client: IpAddr) -> Option<NarSlot> {
        Slots::try_take(self.standing.nars.clone(), client)
    }

    /// The same, in its turn.
    pub async fn nar_slot(&self, client: IpAddr, worker: &Arc<Worker>) -> Result<NarSlot> {
        self.in_turn(self.standing.nars.clone(), client, worker).await
    }

    async fn in_turn(
        &self,
        slots: Arc<Slots>,
        client: IpAddr,
        worker: &Arc<Worker>,
    ) -> Result<Slot<Arc<Slots>>> {
        let counted = self.counted(worker);
        if slots.waiting() == 0 && self.standing.refuses.swap(false, Ordering::Relaxed) {
            info!("backend {}: keeps up again", self.name);
        }
        let queued = self.queued(worker);
        let slot = Slots::wait(slots, client, self.queue).await;
        drop(queued);
        slot.map_err(|_| {
            counted.refused.increment();
            if !self.standing.refuses.swap(true, Ordering::Relaxed) {
                warn!("backend {}: more requests than it can answer; some are refused (503)", self.name);
            }
            Error::new_up(ErrorType::HTTPStatus(503))
        })
    }

    fn queued(&self, worker: &Arc<Worker>) -> Queued {
        self.counted(worker).queued.increment();
        Queued { backend: self.counted.clone(), worker: worker.clone(), since: Instant::now() }
    }

    /// Nars that it compresses just now.
    pub fn live_nars(&self) -> &Arc<Nars> {
        &self.standing.live
    }

    /// What `worker`'s thread counts about it.
    pub fn counted(&self, worker: &Worker) -> &BackendShard {
        self.counted.shard(worker)
    }

    /// Counts a request to it, until the guard is dropped; both on `worker`'s thread.
    pub fn asked(&self, worker: &Arc<Worker>) -> Asked {
        self.counted(worker).asked.increment();
        Asked { backend: self.counted.clone(), worker: worker.clone() }
    }
}

/// A request that a backend is at.
#[derive(Debug)]
pub struct Asked {
    backend: Arc<metrics::Backend>,
    worker: Arc<Worker>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.backend.shard(&self.worker).done.increment();
    }
}

/// A request that waits for its turn.
struct Queued {
    backend: Arc<metrics::Backend>,
    worker: Arc<Worker>,
    since: Instant,
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.backend.shard(&self.worker).queue_wait.observe(self.since.elapsed());
    }
}

/// What the system said.
fn why(error: &Error) -> String {
    let system = error.cause.as_deref().and_then(|cause| cause.downcast_ref::<std::io::Error>());
    system.map_or_else(|| error.etype().as_str().to_owned(), |system| system.kind().to_string())
}

/// Keeps the connections of different backends apart.
fn key_of(backend: &Backend) -> u64 {
    let mut hasher = DefaultHasher::new();
    backend.to_string().hash(&mut hasher);
    hasher.finish()
}
