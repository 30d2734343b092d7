//! What an operator can see of the cache.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::{Cache, Purge, Which};

/// What was done with requests so far.
#[derive(Default)]
pub(super) struct Counters {
    hits: AtomicU64,
    validated: AtomicU64,
    misses: AtomicU64,
    passed: AtomicU64,
}

impl Counters {
    pub fn hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    pub fn validated(&self) {
        self.validated.fetch_add(1, Ordering::Relaxed);
    }

    pub fn missed(&self) {
        self.misses.fetch_add(1, Ordering::Relaxed);
    }

    pub fn passed(&self) {
        self.passed.fetch_add(1, Ordering::Relaxed);
    }
}

/// Figures of the whole cache.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Requests answered from what was stored.
    pub hits: u64,
    /// Requests answered from it after the backend said that it is still good.
    pub validated: u64,
    /// Requests answered with what the backend sent, which was stored.
    pub misses: u64,
    /// Requests answered with what the backend sent, which was not.
    pub passed: u64,
    /// Bytes of memory in use for hot responses.
    pub memory: u64,
    /// Bytes of memory that may be.
    pub memory_limit: u64,
    /// Everything from before the start is known.
    pub indexed: bool,
    /// The spaces.
    pub spaces: Vec<SpaceStats>,
}

/// Figures of one space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpaceStats {
    /// Its name.
    pub name: String,
    /// Responses in it.
    pub count: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Bytes that there may be.
    pub max_size: u64,
    /// Responses that had to go, for others or because nobody wanted them.
    pub evicted: u64,
}

/// One stored response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its space.
    pub space: String,
    /// The first name of its site.
    pub site: String,
    /// The host it was asked for as.
    pub host: String,
    /// Its target; what is not UTF-8 is replaced.
    pub target: String,
    /// Bytes of its body.
    pub bytes: u64,
}

impl Cache {
    /// Figures.
    pub fn stats(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (memory, memory_limit) = self.memory.used();
        let spaces = [Which::Static, Which::Logs].map(|which| {
            let space = self.space(which);
            space.settle();
            let (count, bytes, evicted) = space.totals();
            SpaceStats { name: space.name.into(), count, bytes, max_size: space.limits().max_size, evicted }
        });
        Stats {
            hits: read(&self.counters.hits),
            validated: read(&self.counters.validated),
            misses: read(&self.counters.misses),
            passed: read(&self.counters.passed),
            memory,
            memory_limit,
            indexed: self.indexed.is_set(),
            spaces: spaces.into(),
        }
    }

    /// Every stored response that `which` picks, by target.
    pub fn list(&self, which: &Purge) -> Vec<Item> {
        let mut items = Vec::new();
        for space in [&self.files, &self.logs] {
            items.extend(space.entries().iter().filter(|entry| which.picks(&entry.key)).map(|entry| Item {
                space: space.name.into(),
                site: entry.key.site().into(),
                host: entry.key.host().into(),
                target: String::from_utf8_lossy(entry.key.target()).into_owned(),
                bytes: entry.length,
            }));
        }
        items.sort_by(|one, two| (&one.target, &one.host).cmp(&(&two.target, &two.host)));
        items
    }
}
