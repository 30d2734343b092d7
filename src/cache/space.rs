//! One space: an index in memory over files on disk, limited in bytes and in idle time.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use http::HeaderMap;
use moka::policy::EvictionPolicy;

use super::entry::Entry;
use super::health::Health;
use super::key::Key;
use super::storage::{Faults, Files, Name};

/// Responses to one target that are told apart by what they vary with. A client that makes up values should
/// not push everything else out, nor make the search for a match long.
const VARIANTS: usize = 32;
const SHARDS: usize = 16;

/// What a space may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of bodies.
    pub max_size: u64,
    /// Unused for longer: removed.
    pub inactive: Duration,
}

/// What is done where waiting does no harm.
pub(super) enum Chore {
    /// Remove a file that is no longer in the index.
    Remove(Files, Name),
    /// Say when everything before this is done.
    Tell(Sender<()>),
}

/// What was found for a request.
#[derive(Default)]
pub struct Lookup {
    /// The newest response that matches.
    pub entry: Option<Arc<Entry>>,
    /// There are some that do not match.
    pub others: bool,
}

/// One space.
pub struct Space {
    /// What operators know it by.
    pub name: &'static str,
    /// Its files.
    pub files: Files,
    /// Whether the disk works.
    pub health: Arc<Health>,
    shelf: Arc<Shelf>,
    index: ArcSwap<Index>,
}

type Bodies = moka::sync::Cache<u64, Arc<Entry>>;

struct Index {
    limits: Limits,
    entries: Bodies,
}

/// Entries by the hash of their key.
type Shard = HashMap<u64, Vec<Arc<Entry>>>;

/// Entries by key, and the way out for those that leave the index.
struct Shelf {
    by_key: [Mutex<Shard>; SHARDS],
    /// Makes a key's hash for this process: a tenth of what its digest costs, which names files. Whoever looks compares
    /// whole keys; two that ever met in one hash would push each other out.
    hasher: RandomState,
    files: Files,
    chores: Sender<Chore>,
    evicted: AtomicU64,
}

impl Space {
    /// A space whose files are in `root`. Touches no disk.
    pub(super) fn new(
        name: &'static str,
        root: PathBuf,
        limits: Limits,
        chores: Sender<Chore>,
        faults: Arc<dyn Faults>,
        health: Arc<Health>,
    ) -> Self {
        let files = Files::new(root, faults);
        let by_key = std::array::from_fn(|_| Mutex::default());
        let (hasher, evicted) = (RandomState::new(), AtomicU64::new(0));
        let shelf = Arc::new(Shelf { by_key, hasher, files: files.clone(), chores, evicted });
        let index = ArcSwap::from_pointee(Index::new(limits, &shelf));
        Self { name, health, files, shelf, index }
    }

    /// What it may use.
    pub fn limits(&self) -> Limits {
        self.index.load().limits
    }

    /// Puts other limits in force. What is too much by them goes, the least recently used first.
    pub fn resize(&self, limits: Limits) {
        let old = self.index.load_full();
        if old.limits == limits {
            return;
        }
        let mut entries: Vec<_> = old.entries.iter().map(|(_, entry)| entry).collect();
        entries.sort_by_key(|entry| (entry.used(), entry.name.id));
        let new = Index::new(limits, &self.shelf);
        for entry in entries {
            new.entries.insert(entry.name.id, entry);
        }
        new.entries.run_pending_tasks();
        self.index.store(Arc::new(new));
    }

    /// The response for `key` that a request with these fields may be answered with `now`.
    pub fn find(&self, key: &Key, request: &HeaderMap, now: SystemTime) -> Lookup {
        let mut lookup = Lookup::default();
        {
            let (shard, hash) = self.shelf.shard(key);
            for entry in shard.get(&hash).into_iter().flatten().filter(|entry| entry.key == *key) {
                let newer = lookup.entry.as_ref().is_none_or(|best| best.name.id < entry.name.id);
                match entry.selecting.matches(request) {
                    true if newer => lookup.entry = Some(entry.clone()),
                    _ => lookup.others = true,
                }
            }
        }
        // Counts as a use, and finds what has been idle for too long. Once a second is enough for both: what was used in
        // this one is among those that go last.
        lookup.entry = lookup.entry.and_then(|entry| {
            let is_counted = entry.is_counted();
            if is_counted && entry.is_used(now) {
                return Some(entry);
            }
            self.index.load().entries.get(&entry.name.id).or_else(|| (!is_counted).then_some(entry))
        });
        lookup
    }

    /// Takes a response up. It stands in for those that answer the same requests, if it is the newest.
    pub fn insert(&self, entry: Entry) {
        let entry = Arc::new(entry);
        let mut leaving = Vec::new();
        {
            let (mut shard, hash) = self.shelf.shard(&entry.key);
            let variants = shard.entry(hash).or_default();
            if variants.iter().any(|other| {
                other.name.id >= entry.name.id && other.key == entry.key && other.selecting == entry.selecting
            }) {
                // Known already, or superseded: a restart comes across both.
                if variants.iter().all(|other| other.name != entry.name) {
                    self.shelf.send_away(entry.name);
                }
                return;
            }
            variants.retain(|other| {
                let stays = other.key == entry.key && other.selecting != entry.selecting;
                if !stays {
                    leaving.push(other.name.id);
                    self.shelf.send_away(other.name);
                }
                stays
            });
            if variants.len() >= VARIANTS {
                let oldest = variants.remove(0);
                leaving.push(oldest.name.id);
                self.shelf.send_away(oldest.name);
            }
            variants.push(entry.clone());
        }
        loop {
            let index = self.index.load_full();
            index.entries.insert(entry.name.id, entry.clone());
            for id in &leaving {
                index.entries.invalidate(id);
            }
            // Other limits may have been put in force meanwhile, with another index.
            if Arc::ptr_eq(&index, &self.index.load()) {
                break;
            }
        }
        entry.set_counted();
    }

    /// Lets go of a response, and of its file some time soon.
    pub fn discard(&self, key: &Key, name: &Name) {
        self.index.load().entries.invalidate(&name.id);
        // It may have been on its way there.
        self.shelf.forget(key, name);
    }

    /// All responses for `key`.
    pub fn of_key(&self, key: &Key) -> Vec<Arc<Entry>> {
        let (shard, hash) = self.shelf.shard(key);
        shard.get(&hash).into_iter().flatten().filter(|entry| entry.key == *key).cloned().collect()
    }

    /// Lets go of the responses that `which` picks. Their files are gone when this returns: it blocks.
    pub fn purge(&self, which: impl Fn(&Entry) -> bool) -> io::Result<Vec<Arc<Entry>>> {
        let mut purged = Vec::new();
        for shard in &self.shelf.by_key {
            let shard = lock(shard);
            purged.extend(shard.values().flatten().filter(|entry| which(entry)).cloned());
        }
        let mut result = Ok(());
        for entry in &purged {
            self.discard(&entry.key, &entry.name);
            result = result.and(self.files.remove(&entry.name));
        }
        // Others may have left the index just before, with their files still there.
        self.wait_until_removed();
        result.map(|()| purged)
    }

    /// Waits until the files of all that has left the index so far are gone. It blocks.
    pub fn wait_until_removed(&self) {
        let (tell, done) = std::sync::mpsc::channel();
        if self.shelf.chores.send(Chore::Tell(tell)).is_ok() {
            // An end of the thread is an answer too.
            let _ = done.recv();
        }
    }

    /// Lets go of what has become too much or idle for too long.
    pub fn settle(&self) {
        self.index.load().entries.run_pending_tasks();
    }

    /// Every response there is.
    pub fn entries(&self) -> Vec<Arc<Entry>> {
        self.shelf
            .by_key
            .iter()
            .flat_map(|shard| lock(shard).values().flatten().cloned().collect::<Vec<_>>())
            .collect()
    }

    /// How many responses there are, the bytes of their bodies, and how many had to go so far.
    pub fn totals(&self) -> (u64, u64, u64) {
        let (mut count, mut bytes) = (0, 0);
        for shard in &self.shelf.by_key {
            for entry in lock(shard).values().flatten() {
                count += 1;
                bytes += entry.length;
            }
        }
        (count, bytes, self.shelf.evicted.load(Ordering::Relaxed))
    }
}

impl Index {
    fn new(limits: Limits, shelf: &Arc<Shelf>) -> Self {
        let shelf = shelf.clone();
        let entries = moka::sync::Cache::builder()
            // In KiB: the weight of one entry has 32 bits.
            .max_capacity(limits.max_size / 1024)
            .weigher(|_: &u64, entry: &Arc<Entry>| {
                u32::try_from(entry.length.div_ceil(1024).max(1)).unwrap_or(u32::MAX)
            })
            .eviction_policy(EvictionPolicy::lru())
            .time_to_idle(limits.inactive)
            .eviction_listener(move |_, entry: Arc<Entry>, cause| {
                if cause.was_evicted() {
                    shelf.evicted.fetch_add(1, Ordering::Relaxed);
                }
                shelf.forget(&entry.key, &entry.name);
            })
            .build();
        Self { limits, entries }
    }
}

impl Shelf {
    /// Where `key` is, and under which hash.
    fn shard(&self, key: &Key) -> (MutexGuard<'_, Shard>, u64) {
        let hash = self.hasher.hash_one(key);
        (lock(&self.by_key[hash as usize % SHARDS]), hash)
    }

    fn forget(&self, key: &Key, name: &Name) {
        let (mut shard, hash) = self.shard(key);
        if let Some(variants) = shard.get_mut(&hash) {
            variants.retain(|other| other.name != *name);
            if variants.is_empty() {
                shard.remove(&hash);
            }
        }
        drop(shard);
        self.send_away(*name);
    }

    fn send_away(&self, name: Name) {
        // Nobody sweeps any more when the program ends; the next start finds the file.
        let _ = self.chores.send(Chore::Remove(self.files.clone(), name));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked left a list with or without an entry: both are lists.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
