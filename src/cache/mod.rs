//! The cache: a shared one by RFC 9111, on disk, for the CI's static files, downloads and finished build logs.
//!
//! [`Cache::respond`] is where to begin reading. It looks into the index (`space`), judges what it finds
//! (`reuse`), and has the origin asked where that is needed (`fetch`), once for all who want the same
//! (`flight`). What comes is judged (`freshness`), written to disk (`storage`) and read by those who wait
//! while it comes (`miss`). `deliver` cuts out what a client asked for.
//!
//! Nothing here fails a request that the origin could answer: a disk that does not work is logged once, and the
//! origin asked as if nothing had been stored.
//!
//! The engine's own cache phases are not used. There the fetch belongs to the request that began it: it moves
//! no faster than that client reads, and a disk that fails half-way, or a file that outgrows its space, ends
//! the request with an error. The stored fields are updated by a 304 only in part, and a background fetch has
//! no connection of ours to look at.

mod charge;
mod conditions;
mod control;
mod deliver;
mod entry;
mod fetch;
#[cfg(test)]
mod fixture;
mod flight;
mod freshness;
mod health;
mod hit;
mod key;
mod memory;
mod meta;
mod miss;
mod object;
mod origin;
mod purge;
mod range;
mod report;
mod respond;
mod reuse;
mod space;
mod status_header;
mod storage;
mod sweep;
#[cfg(test)]
mod tests;
mod vary;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use deliver::Delivery;
pub use freshness::Rules;
pub use key::Key;
pub use origin::{Answer, Arriving, Failure, Origin};
pub use purge::Purge;
pub use report::{Item, SpaceStats, Stats};
pub use respond::{Ask, Response};
pub use status_header::{CACHE_STATUS, Outcome};
pub use storage::{Faults, NoFaults, Op, examine};

use self::charge::Charge;
use self::flight::Flights;
use self::health::Health;
use self::key::Digest;
use self::memory::Memory;
use self::report::Counters;
use self::space::{Limits, Space};
use self::sweep::Indexed;
use crate::config;

/// How long a target whose answers may not be stored is asked for by each client on its own: waiting for one
/// another would only make them slow.
const PASS: Duration = Duration::from_secs(5);

/// A part of the cache with limits of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// `/static` and `/download`.
    Static,
    /// Finished build logs.
    Logs,
}

/// The cache. One for all workers.
pub struct Cache {
    files: Arc<Space>,
    logs: Arc<Space>,
    memory: Memory,
    flights: Flights,
    /// Targets whose answers may not be stored.
    passed: moka::sync::Cache<Digest, ()>,
    counters: Counters,
    indexed: Indexed,
    charge: Arc<Charge>,
}

impl Cache {
    /// The cache in `folder`. What is there from before is taken up in the background.
    pub fn open(folder: &Path, settings: &config::Cache) -> Arc<Self> {
        Self::open_with(folder, settings, Arc::new(NoFaults))
    }

    /// The same, on a disk that may fail.
    pub fn open_with(folder: &Path, settings: &config::Cache, faults: Arc<dyn Faults>) -> Arc<Self> {
        let (chores, to_do) = std::sync::mpsc::channel();
        let health = Arc::new(Health::new(folder.display().to_string()));
        let (files, logs) = limits(settings);
        let charge = Arc::new(Charge::default());
        let space = |name: &'static str, limits| {
            let (chores, faults, health) = (chores.clone(), faults.clone(), health.clone());
            Arc::new(Space::new(name, folder.join(name), limits, chores, faults, health))
        };
        let cache = Arc::new(Self {
            files: space("static", files),
            logs: space("logs", logs),
            memory: Memory::new(settings.memory),
            flights: Flights::default(),
            passed: moka::sync::Cache::builder().max_capacity(10_000).time_to_live(PASS).build(),
            counters: Counters::default(),
            indexed: Indexed::default(),
            charge,
        });
        sweep::start(&cache, to_do);
        cache
    }

    /// Puts other settings in force.
    pub fn reconfigure(&self, settings: &config::Cache) {
        let (files, logs) = limits(settings);
        self.files.resize(files);
        self.logs.resize(logs);
        self.memory.resize(settings.memory);
    }

    /// Leaves the folder to another process: from now on nothing is stored, removed, or answered from what is stored. What
    /// is being fetched goes on for those who wait for it. It blocks.
    pub fn give_up(&self) {
        self.charge.give_up(|| {
            for flight in self.flights.matching(|_| true) {
                flight.purge();
            }
            // What was replaced or invalidated has to be gone before the other one looks.
            self.files.wait_until_removed();
            self.logs.wait_until_removed();
        });
        self.memory.clear();
    }

    /// Takes the folder back from a process that has ended, with what that one left in it.
    pub fn take_back(self: &Arc<Self>) {
        self.charge.take();
        sweep::look_again(self);
    }

    fn space(&self, which: Which) -> &Arc<Space> {
        match which {
            Which::Static => &self.files,
            Which::Logs => &self.logs,
        }
    }
}

fn limits(settings: &config::Cache) -> (Limits, Limits) {
    let config::CacheSpace { max_size, inactive, .. } = settings.static_files;
    let files = Limits { max_size, inactive };
    (files, Limits { max_size: settings.logs.max_size, inactive: settings.logs.inactive })
}
