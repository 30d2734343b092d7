//! The last errors, for somebody who has an id from an error page, or wonders what goes wrong.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// How many are kept. Those that say the same as the one before them count as one.
const KEPT: usize = 50;

/// A request that was not answered as it should have been: 5xx. There is nothing of the client in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// When, in seconds since 1970.
    pub at: u64,
    /// What the error page says, and the logs.
    pub id: String,
    /// The first name of the site.
    pub site: String,
    /// A row of the route table.
    pub route: &'static str,
    /// The status code.
    pub status: u16,
    /// Why, in words of our own.
    pub reason: String,
}

/// The last ones, newest last. Cheap to tell: it happens when something else was expensive already.
#[derive(Debug, Default)]
pub struct Errors(Mutex<VecDeque<(Failed, u64)>>);

impl Errors {
    /// Remembers one.
    pub fn record(&self, failed: Failed) {
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A backend that is down says the same thousands of times, and must not push out what came before.
        if let Some((last, times)) = ring.back_mut()
            && (&last.site, last.route, last.status, &last.reason)
                == (&failed.site, failed.route, failed.status, &failed.reason)
        {
            (*last, *times) = (failed, times.saturating_add(1));
            return;
        }
        if ring.len() >= KEPT {
            ring.pop_front();
        }
        ring.push_back((failed, 1));
    }

    /// All that are remembered, newest first, and how often each came in a row.
    pub fn recent(&self) -> Vec<(Failed, u64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().cloned().collect()
    }
}
