//! Figures about what the gate does: counted where it happens, added up when somebody asks.
//!
//! A request must not pay for being counted. Each worker thread therefore has counters of its own ([`Worker`], and a
//! shard of each [`Site`]), which nobody else writes: an increment is a load and a store of a cache line that is
//! already here. Labels are indices into arrays, known when the program is built, or sites of the configuration:
//! nothing that a client sends makes a new one. [`Metrics::totals`] and [`exposition`] add the shards up.
//!
//! What others keep anyway, such as the cache's bytes, is asked of them at a scrape ([`Surroundings`]).

mod counter;
pub mod endpoint;
pub mod exposition;
mod labels;
mod pace;
mod process;
mod shards;
mod totals;
mod waiting;

use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::SystemTime;

pub use counter::{Counter, Histogram};
pub use labels::{
    CacheOutcome, Compression, HandshakeFailure, Http2Refusal, Protocol, Refused, Role, Route, Share, Space,
    Status, TlsVersion, Verdict,
};
pub use pace::Pace;
pub use shards::{Backend, BackendShard, Health, Outage, Request, Site, Worker};
pub use totals::{Narinfos, Totals};
pub use waiting::{Spent, waiting};

use crate::cache;

/// The figures of one gate.
pub struct Metrics {
    workers: Box<[Arc<Worker>]>,
    /// In the order in which they were first configured. A site that is taken out of the configuration stays: its
    /// requests have been served.
    sites: Mutex<Vec<Arc<Site>>>,
    reloads_done: AtomicU64,
    reloads_refused: AtomicU64,
    started: SystemTime,
    phase: AtomicU8,
    recent: pace::Recent,
    surroundings: OnceLock<Weak<dyn Surroundings>>,
}

/// Whether the gate serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Its sockets are bound, its workers are being started.
    Starting = 0,
    /// It takes connections.
    Serving = 1,
    /// It takes no more, and finishes those it has.
    Stopping = 2,
}

/// The rest of the program, for figures that others keep. Called where blocking is allowed.
pub trait Surroundings: Send + Sync {
    /// What they are now.
    fn observe(&self) -> Observed;

    /// Connections of clients that are open now: cheap, as it is asked for every few seconds.
    fn open_connections(&self) -> u64;
}

/// Figures that others keep.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Of the cache.
    pub cache: cache::Stats,
    /// Connections refused by the limits since the start.
    pub connections_refused: u64,
    /// Bytes of request bodies in memory.
    pub bodies: u64,
    /// How many there may be.
    pub bodies_limit: u64,
    /// Lines of the access log dropped since the start.
    pub log_lines_dropped: u64,
    /// The certificates that are shown.
    pub certificates: Vec<Shown>,
    /// Certificates that were ordered since the start.
    pub renewals: u64,
    /// Tries of that which failed.
    pub renewals_failed: u64,
    /// Whether administrators are let in.
    pub admin_open: bool,
}

/// A certificate that is shown.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The first name of its site.
    pub site: String,
    /// "file", "acme" or "self-signed".
    pub source: &'static str,
    /// When it ends, in seconds since 1970.
    pub not_after: i64,
}

impl Metrics {
    /// Figures of a gate with that many worker threads.
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self {
            workers: (0..workers.max(1)).map(|number| Arc::new(Worker::new(number))).collect(),
            sites: Mutex::default(),
            reloads_done: AtomicU64::new(0),
            reloads_refused: AtomicU64::new(0),
            started: SystemTime::now(),
            phase: AtomicU8::new(Phase::Starting as u8),
            recent: pace::Recent::default(),
            surroundings: OnceLock::new(),
        })
    }

    /// The counters of worker `number`; for its own thread, and no other.
    pub fn worker(&self, number: usize) -> Arc<Worker> {
        // A worker that is not among those that were announced would write to another's counters: some of what
        // both count could be lost, and nothing else.
        self.workers[number % self.workers.len()].clone()
    }

    /// The counters of the site whose first name is `name`: the same ones as before a reload.
    pub fn site(&self, name: &str) -> Arc<Site> {
        let mut sites = self.lock();
        if let Some(site) = sites.iter().find(|site| site.name() == name) {
            return site.clone();
        }
        let site = Arc::new(Site::new(name, self.workers.len()));
        sites.push(site.clone());
        site
    }

    /// A reload was done, or refused.
    pub fn reloaded(&self, done: bool) {
        if done { &self.reloads_done } else { &self.reloads_refused }.fetch_add(1, Ordering::Relaxed);
    }

    /// From now on the gate is in `phase`.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Whether the gate serves.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Starting,
            1 => Phase::Serving,
            _ => Phase::Stopping,
        }
    }

    /// Where to ask for what others keep. Counts once.
    pub fn surround(&self, surroundings: Weak<dyn Surroundings>) {
        // The one that came first is the one of this gate.
        let _ = self.surroundings.set(surroundings);
    }

    /// What others keep; nothing where there are none, as before the start.
    fn observe(&self) -> Observed {
        self.surroundings().map(|surroundings| surroundings.observe()).unwrap_or_default()
    }

    fn surroundings(&self) -> Option<Arc<dyn Surroundings>> {
        self.surroundings.get().and_then(Weak::upgrade)
    }

    fn sites(&self) -> Vec<Arc<Site>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Site>>> {
        // It is whole between any two statements.
        self.sites.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("phase", &self.phase()).finish_non_exhaustive()
    }
}
