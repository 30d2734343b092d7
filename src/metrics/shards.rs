//! What is counted by one thread each: about workers, sites and their backends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::counter::Distribution;
use super::labels::{
    CacheOutcome, Compression, HandshakeFailure, Http2Refusal, Protocol, Refused, Role, Route, Share, Space,
    Status, TlsVersion, Verdict,
};
use super::{Counter, Histogram, Spent};

/// What one worker thread counts that is no site's. Aligned so that two of them share no cache line, nor a pair of
/// lines that are fetched together.
#[derive(Debug)]
#[repr(align(128))]
pub struct Worker {
    number: usize,
    /// Handshakes with a full key exchange, by version.
    pub handshakes_full: [Counter; TlsVersion::COUNT],
    /// Handshakes that took up an earlier session, by version.
    pub handshakes_resumed: [Counter; TlsVersion::COUNT],
    /// Handshakes that came to nothing.
    pub handshakes_failed: [Counter; HandshakeFailure::COUNT],
    /// What was refused on HTTP/2 connections.
    pub http2_refused: [Counter; Http2Refusal::COUNT],
    /// What was said about those who wanted to see an admin page.
    pub verdicts: [Counter; Verdict::COUNT],
    /// What the cache did.
    pub cache: [[Counter; CacheOutcome::COUNT]; Space::COUNT],
    /// Requests that the limits did not allow.
    pub refused: [Counter; Refused::COUNT],
    /// Times that something had to wait for its share.
    pub waits: [Counter; Share::COUNT],
}

impl Worker {
    pub(super) fn new(number: usize) -> Self {
        Self {
            number,
            handshakes_full: Default::default(),
            handshakes_resumed: Default::default(),
            handshakes_failed: Default::default(),
            http2_refused: Default::default(),
            verdicts: Default::default(),
            cache: Default::default(),
            refused: Default::default(),
            waits: Default::default(),
        }
    }
}

/// What is counted about one site.
#[derive(Debug)]
pub struct Site {
    name: String,
    shards: Box<[SiteShard]>,
    backends: [Arc<Backend>; Role::COUNT],
}

/// One worker's share of it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct SiteShard {
    pub routes: [RouteShard; Route::COUNT],
    pub narinfos_found: Counter,
    pub narinfos_absent: Counter,
    pub nar_bytes: [Counter; Compression::COUNT],
}

/// What is counted about one route of it.
#[derive(Debug, Default)]
pub(super) struct RouteShard {
    pub requests: [[Counter; Status::COUNT]; Protocol::COUNT],
    pub bytes_out: Counter,
    pub bytes_in: Counter,
    pub whole: Histogram,
    pub backend: Histogram,
    pub own: Histogram,
}

/// A request that was answered, or whose client has left.
#[derive(Debug)]
pub struct Request<'a> {
    /// What was asked for.
    pub route: Route,
    /// What it came over.
    pub protocol: Protocol,
    /// The status code sent; 499 where the client left before there was one.
    pub status: u16,
    /// Bytes of its body.
    pub bytes_in: u64,
    /// Bytes of the answer's body that were sent.
    pub bytes_out: u64,
    /// How the answer is compressed, if it is a nar.
    pub compression: Option<Compression>,
    /// From its head to the end of the answer; none where there was no head.
    pub took: Option<Duration>,
    /// Where that time went.
    pub spent: &'a Spent,
}

impl Site {
    pub(super) fn new(name: &str, workers: usize) -> Self {
        Self {
            name: name.to_owned(),
            shards: (0..workers).map(|_| SiteShard::default()).collect(),
            backends: Role::ALL.map(|_| Arc::new(Backend::new(workers))),
        }
    }

    /// Its first name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is counted about one of its backends.
    pub fn backend(&self, role: Role) -> &Arc<Backend> {
        &self.backends[role.index()]
    }

    /// Counts a request; on `worker`'s own thread.
    pub fn record(&self, worker: &Worker, request: &Request<'_>) {
        let shard = &self.shards[worker.number];
        let route = &shard.routes[request.route.index()];
        route.requests[request.protocol.index()][Status::from(request.status).index()].increment();
        route.bytes_out.add(request.bytes_out);
        if request.bytes_in > 0 {
            route.bytes_in.add(request.bytes_in);
        }
        if let Some(took) = request.took {
            route.whole.observe(took);
            route.own.observe(request.spent.own_share(took));
            // An answer may be there before we come to wait for it.
            if request.spent.asked.get() > 0 {
                route.backend.observe(request.spent.on_backend());
            }
        }
        match (request.route, request.status) {
            (Route::Narinfo, 200) => shard.narinfos_found.increment(),
            (Route::Narinfo, 404) => shard.narinfos_absent.increment(),
            _ => {}
        }
        if let Some(compression) = request.compression {
            shard.nar_bytes[compression.index()].add(request.bytes_out);
        }
    }

    pub(super) fn shards(&self) -> &[SiteShard] {
        &self.shards
    }
}

/// What is counted about one backend of a site.
#[derive(Debug)]
pub struct Backend {
    shards: Box<[BackendShard]>,
    configured: AtomicBool,
    /// Whether it can be reached.
    pub health: Health,
}

/// One worker's share of it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct BackendShard {
    /// Connections made.
    pub connections: Counter,
    /// Connections that could not be made, in the end.
    pub connect_failures: Counter,
    /// Requests that had to wait for it while it refused connections.
    pub restart_waits: Counter,
    /// Requests sent again because it dropped them.
    pub retries: Counter,
    /// Requests that got an error page of ours in place of its answer.
    pub errors: Counter,
    /// Requests that had to wait for their turn.
    pub queued: Counter,
    /// How long those waited that wait no more.
    pub queue_wait: Histogram,
    /// Requests that were refused, as their turn did not come.
    pub refused: Counter,
    /// Requests it was asked.
    pub asked: Counter,
    /// Requests it is done with, one way or another.
    pub done: Counter,
}

impl Backend {
    fn new(workers: usize) -> Self {
        let shards = (0..workers).map(|_| BackendShard::default()).collect();
        Self { shards, configured: AtomicBool::new(false), health: Health::default() }
    }

    /// The site has it: its figures are worth showing.
    pub fn configured(&self) {
        self.configured.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_configured(&self) -> bool {
        self.configured.load(Ordering::Relaxed)
    }

    /// The counters for `worker`'s own thread.
    pub fn shard(&self, worker: &Worker) -> &BackendShard {
        &self.shards[worker.number]
    }

    /// The sum of one counter over all workers.
    pub(super) fn sum(&self, counter: impl Fn(&BackendShard) -> &Counter) -> u64 {
        self.shards.iter().map(|shard| counter(shard).get()).sum()
    }

    /// How long requests waited for their turn.
    pub(super) fn queue_waits(&self) -> Distribution {
        let mut all = Distribution::default();
        self.shards.iter().for_each(|shard| all.add(&shard.queue_wait));
        all
    }

    /// Requests that wait for their turn now.
    pub fn waiting(&self) -> u64 {
        // As below.
        let waited = self.queue_waits().count();
        self.sum(|shard| &shard.queued).saturating_sub(waited)
    }

    /// Requests it is at now.
    pub fn in_flight(&self) -> u64 {
        // The end is counted after the beginning: read in the other order there are never fewer than none.
        let done = self.sum(|shard| &shard.done);
        self.sum(|shard| &shard.asked).saturating_sub(done)
    }
}

/// Whether a backend could be reached when that was last tried.
#[derive(Debug, Default)]
pub struct Health {
    state: AtomicU8,
    last: Mutex<Option<Outage>>,
}

/// A time when a backend could not be reached, or did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// When.
    pub at: SystemTime,
    /// Why, in words that quote nobody.
    pub why: String,
}

impl Health {
    const UNKNOWN: u8 = 0;
    const UP: u8 = 1;
    const DOWN: u8 = 2;

    /// It was reached.
    pub fn reached(&self) {
        // Looked at first: while all is well, workers share a line that nobody writes.
        if self.state.load(Ordering::Relaxed) != Self::UP {
            self.state.store(Self::UP, Ordering::Relaxed);
        }
    }

    /// It could not be reached.
    pub fn unreachable(&self, why: String) {
        self.state.store(Self::DOWN, Ordering::Relaxed);
        self.failed(why);
    }

    /// It was reached, and failed.
    pub fn failed(&self, why: String) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Outage { at: SystemTime::now(), why });
    }

    /// Whether it could be reached; none: nobody has tried.
    pub fn is_up(&self) -> Option<bool> {
        match self.state.load(Ordering::Relaxed) {
            Self::UNKNOWN => None,
            state => Some(state == Self::UP),
        }
    }

    /// The last time it failed.
    pub fn last_outage(&self) -> Option<Outage> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
