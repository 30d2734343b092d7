//! What an exchange needs to know of a backend.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use pingora::Result;

use super::connect::Connector;
use super::stream::BackendStream;
use crate::config::{Backend, Timeouts};
use crate::metrics::{self, BackendShard, Worker};

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

/// One backend: how to reach it, and how long to wait for it.
#[derive(Clone, Debug)]
pub struct Peers {
    name: String,
    connector: Arc<Connector>,
    key: u64,
    usual: (Duration, Duration),
    nar: Duration,
    counted: Arc<metrics::Backend>,
}

impl Peers {
    /// Describes `backend`; what happens to it is `counted`.
    pub fn new(backend: &Backend, timeouts: &Timeouts, counted: Arc<metrics::Backend>) -> Self {
        let connector = Arc::new(Connector::new(backend.clone(), timeouts.connect, timeouts.backend_restart));
        let key = key_of(backend);
        counted.configured();
        Self {
            name: backend.to_string(),
            connector,
            key,
            usual: (timeouts.read, timeouts.send),
            nar: timeouts.nar,
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

    /// A new connection, for a request on `worker`'s thread.
    pub async fn connect(&self, worker: &Worker) -> Result<Box<BackendStream>> {
        match self.connector.open(self.counted(worker)).await {
            Ok(stream) => {
                self.counted.health.reached();
                Ok(Box::new(stream))
            }
            Err(error) => {
                self.counted(worker).connect_failures.increment();
                self.counted.health.unreachable(why(&error));
                Err(error)
            }
        }
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

/// What the system said.
fn why(error: &pingora::Error) -> String {
    let system = error.cause.as_deref().and_then(|cause| cause.downcast_ref::<std::io::Error>());
    system.map_or_else(|| error.etype().as_str().to_owned(), |system| system.kind().to_string())
}

/// Keeps the connections of different backends apart.
fn key_of(backend: &Backend) -> u64 {
    let mut hasher = DefaultHasher::new();
    backend.to_string().hash(&mut hasher);
    hasher.finish()
}
