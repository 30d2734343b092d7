//! What could not be written down, said once.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Mutex, PoisonError};

use tracing::{info, warn};

/// What is not written at the moment.
#[derive(Debug, Default)]
pub(super) struct Unwritten(Mutex<BTreeSet<&'static str>>);

impl Unwritten {
    /// Says that `what` is not written, and that it is again: when that changes, and not each time.
    pub(super) fn tell(&self, what: &'static str, result: io::Result<()>) {
        let mut unwritten = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(()) if unwritten.remove(what) => info!("{what} is written again"),
            Ok(()) => {}
            Err(error) if unwritten.insert(what) => {
                warn!("{what} is not written: {error}; trying every minute")
            }
            Err(_) => {}
        }
    }
}
