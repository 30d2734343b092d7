//! What an exchange needs to know of a backend.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use pingora::Result;
use pingora::protocols::Stream;

use super::connect::Connector;
use crate::config::{Backend, Timeouts};

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
}

impl Peers {
    /// Describes `backend`.
    pub fn new(backend: &Backend, timeouts: &Timeouts) -> Self {
        let connector = Arc::new(Connector::new(backend.clone(), timeouts.connect, timeouts.backend_restart));
        let key = key_of(backend);
        Self {
            name: backend.to_string(),
            connector,
            key,
            usual: (timeouts.read, timeouts.send),
            nar: timeouts.nar,
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

    /// A new connection.
    pub async fn connect(&self) -> Result<Stream> {
        Ok(Box::new(self.connector.open().await?))
    }
}

/// Keeps the connections of different backends apart.
fn key_of(backend: &Backend) -> u64 {
    let mut hasher = DefaultHasher::new();
    backend.to_string().hash(&mut hasher);
    hasher.finish()
}
