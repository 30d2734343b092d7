//! Whether the disk works.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{error, info};

/// How long nothing may have failed for something that was written to be good news: on a disk that is nearly full, what is
/// small still fits, and what was under way may come to its end.
const CALM: Duration = Duration::from_secs(1);

/// Says once that the disk of all spaces does not work, and once that it does again.
pub struct Health {
    place: String,
    broken: AtomicBool,
    last_failure: Mutex<Option<Instant>>,
}

impl Health {
    /// Of the disk with this folder.
    pub fn new(place: String) -> Self {
        Self { place, broken: AtomicBool::new(false), last_failure: Mutex::new(None) }
    }

    /// Something did not work.
    pub fn failed(&self, doing: &str, error: &io::Error) {
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        if !self.broken.swap(true, Ordering::Relaxed) {
            error!("{}: cannot {doing}: {error}; the backend answers until it can", self.place);
        }
    }

    /// Something was written.
    pub fn works(&self) {
        if self.broken.load(Ordering::Relaxed) && self.is_calm() && self.broken.swap(false, Ordering::Relaxed)
        {
            info!("{}: works again", self.place);
        }
    }

    fn is_calm(&self) -> bool {
        let last = *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_none_or(|last| last.elapsed() >= CALM)
    }
}
