//! Whether the disk works.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{error, info};

/// Says once that the disk of all spaces does not work, and once that it does again.
pub struct Health {
    place: String,
    broken: AtomicBool,
}

impl Health {
    /// Of the disk with this folder.
    pub fn new(place: String) -> Self {
        Self { place, broken: AtomicBool::new(false) }
    }

    /// Something did not work.
    pub fn failed(&self, doing: &str, error: &io::Error) {
        if !self.broken.swap(true, Ordering::Relaxed) {
            error!("{}: cannot {doing}: {error}; the backend answers until it can", self.place);
        }
    }

    /// Something was written.
    pub fn works(&self) {
        if self.broken.load(Ordering::Relaxed) && self.broken.swap(false, Ordering::Relaxed) {
            info!("{}: works again", self.place);
        }
    }
}
