//! The threads that do what may take its time: reading what is there at the start, and removing files.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, SystemTime};

use tracing::{error, info};

use super::entry::Entry;
use super::space::{Chore, Space};
use super::{Cache, Which};

/// How often what has been idle for too long is looked for.
const SETTLE: Duration = Duration::from_secs(1);

/// How many of those that are found are put into the index at a time.
const BATCH: usize = 4096;

/// Whether everything that was there at the start is in the index.
#[derive(Default)]
pub(super) struct Indexed {
    done: Mutex<bool>,
    changed: Condvar,
}

impl Indexed {
    fn set(&self) {
        *self.done.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    fn begin_anew(&self) {
        *self.done.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }

    pub(super) fn is_set(&self) -> bool {
        *self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        while !*done {
            done = self.changed.wait(done).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Cache {
    /// Waits until everything that was there at the start is in the index. It blocks.
    pub fn wait_until_indexed(&self) {
        self.indexed.wait();
    }
}

/// Starts them. They end when the cache does. Two, because what leaves the index has to go from the disk also while
/// a million files are still being looked at: see [`Space::wait_until_removed`].
pub(super) fn start(cache: &Arc<Cache>, chores: Receiver<Chore>) {
    let removing = Arc::downgrade(cache);
    read(cache);
    let remover = thread::Builder::new().name("cache-files".into()).spawn(move || sweep(&removing, &chores));
    if let Err(error) = remover {
        error!("the cache removes no files: {error}");
    }
}

/// Has the folder read once more, as another process may have changed it.
pub(super) fn look_again(cache: &Arc<Cache>) {
    cache.indexed.begin_anew();
    read(cache);
}

fn read(cache: &Arc<Cache>) {
    let reading = Arc::downgrade(cache);
    let reader = thread::Builder::new().name("cache-index".into()).spawn(move || take_up(&reading));
    if let Err(error) = reader {
        error!("what is in the cache's folder is not known: {error}");
        cache.indexed.set();
    }
}

fn take_up(cache: &Weak<Cache>) {
    let began = std::time::Instant::now();
    let mut count = 0;
    for which in [Which::Static, Which::Logs] {
        let Some(space) = cache.upgrade().map(|cache| cache.space(which).clone()) else { return };
        count += take_up_space(&space, cache);
    }
    if let Some(cache) = cache.upgrade() {
        cache.indexed.set();
        if count > 0 {
            info!("cache: {count} responses found in {:.1?}", began.elapsed());
        }
    }
}

fn take_up_space(space: &Arc<Space>, cache: &Weak<Cache>) -> usize {
    let in_charge = || cache.upgrade().is_some_and(|cache| cache.charge.is_held());
    let inactive = space.limits().inactive;
    let (mut found, mut count) = (Vec::new(), 0);
    let scanned = space.files.scan(|file| {
        let idle = SystemTime::now().duration_since(file.used).unwrap_or_default();
        if idle > inactive {
            // It may be in the index: this may not be the first look.
            space.discard(&file.meta.key, &file.name);
        } else {
            let entry = Entry::new(file.name, file.meta.key, file.meta.selecting, file.length, file.used);
            entry.set_file_length(file.file_length);
            found.push((file.used, entry));
            // Those that are there may be served while the rest is looked for.
            if found.len() >= BATCH {
                count += insert(space, &mut found);
            }
        }
        in_charge()
    });
    if let Err(error) = scanned {
        space.health.failed("read", &error);
    }
    count + insert(space, &mut found)
}

/// The least recently used first, so that they go first.
fn insert(space: &Space, found: &mut Vec<(SystemTime, Entry)>) -> usize {
    found.sort_by_key(|(used, entry)| (*used, entry.name.id));
    let count = found.len();
    for (_, entry) in found.drain(..) {
        space.insert(entry);
    }
    space.settle();
    count
}

fn sweep(cache: &Weak<Cache>, chores: &Receiver<Chore>) {
    loop {
        match chores.recv_timeout(SETTLE) {
            Ok(Chore::Remove(files, name)) => {
                let cache = cache.upgrade();
                let in_charge = cache.as_ref().map(|cache| cache.charge.hold());
                // One that cannot be removed is found again by the next start. One that is another process's to remove may
                // be in its index.
                if in_charge.is_none_or(|held| held.is_some()) {
                    let _ = files.remove(&name);
                }
                if let Some(cache) = cache {
                    cache.memory.remove(name.id);
                }
            }
            // Whoever wanted to know may have gone.
            Ok(Chore::Tell(done)) => drop(done.send(())),
            Err(RecvTimeoutError::Timeout) => {
                let Some(cache) = cache.upgrade() else { return };
                cache.files.settle();
                cache.logs.settle();
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
