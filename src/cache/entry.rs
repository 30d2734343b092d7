//! A stored response as the index knows it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::key::Key;
use super::storage::Name;
use super::vary::Selecting;

/// How exactly the time of the last use is written down, for a restart to go by.
const TOUCH_EVERY: u64 = 3600;

/// A stored response as the index knows it.
#[derive(Debug)]
pub struct Entry {
    /// Its file.
    pub name: Name,
    /// What it answers.
    pub key: Key,
    /// Which requests for that.
    pub selecting: Selecting,
    /// Bytes of its body.
    pub length: u64,
    /// Bytes of its file; 0 when that is not known.
    file_length: AtomicU64,
    /// How often it was read from disk.
    read: AtomicU32,
    /// When it was last used.
    used: AtomicU64,
    /// When that was last written down.
    touched: AtomicU64,
    /// How often it was validated.
    validations: AtomicU64,
    /// It was put where use and size are counted: if it is not there any more, it has to go.
    counted: AtomicBool,
}

impl Entry {
    /// A response that was last used at `used`.
    pub fn new(name: Name, key: Key, selecting: Selecting, length: u64, used: SystemTime) -> Self {
        let used = seconds(used);
        Self {
            name,
            key,
            selecting,
            length,
            file_length: AtomicU64::new(0),
            read: AtomicU32::new(0),
            used: AtomicU64::new(used),
            touched: AtomicU64::new(used),
            validations: AtomicU64::new(0),
            counted: AtomicBool::new(false),
        }
    }

    /// Bytes of its file, as far as is known.
    pub(super) fn file_length(&self) -> u64 {
        self.file_length.load(Ordering::Relaxed)
    }

    pub(super) fn set_file_length(&self, length: u64) {
        self.file_length.store(length, Ordering::Relaxed);
    }

    /// Notes that it is read from disk, and says how often it was before.
    pub(super) fn is_read(&self) -> u32 {
        self.read.fetch_add(1, Ordering::Relaxed)
    }

    /// When it was last used, in seconds.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether a use at `now` has been noted already, give or take a second.
    pub(super) fn is_used(&self, now: SystemTime) -> bool {
        self.used.load(Ordering::Relaxed) == seconds(now)
    }

    /// Notes a use at `now`, and says whether it is to be written down, which blocks: see
    /// [`Files::touch`](super::storage::Files::touch).
    pub(super) fn is_touch_due(&self, now: SystemTime) -> bool {
        let now = seconds(now);
        self.used.store(now, Ordering::Relaxed);
        let last = self.touched.load(Ordering::Relaxed);
        now.saturating_sub(last) >= TOUCH_EVERY
            && self.touched.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    pub(super) fn is_counted(&self) -> bool {
        self.counted.load(Ordering::SeqCst)
    }

    pub(super) fn set_counted(&self) {
        self.counted.store(true, Ordering::SeqCst);
    }

    /// How often the origin has said that it is still good.
    pub fn validations(&self) -> u64 {
        self.validations.load(Ordering::SeqCst)
    }

    /// The origin has said so.
    pub(super) fn is_validated(&self) {
        self.validations.fetch_add(1, Ordering::SeqCst);
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
