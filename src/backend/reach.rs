//! Whether a backend can be reached, learned from requests alone: nobody connects to it only to see.
//!
//! While it cannot, one request at a time tries, and the others wait for what comes of that. A dead backend costs each
//! of them a place to wait in, and no connection of its own.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;
use tracing::{info, warn};

/// Failures in a row after which a backend that does not refuse connections counts as down. One that has more to do
/// than it can take lets a connection wait now and then: that is no outage, and must not be made one. Attempts that were
/// under way at the same time met the same moment, and are one failure.
const IN_A_ROW: u32 = 3;

const UP: u8 = 0;
/// The last attempt failed, which may not mean anything.
const SHAKY: u8 = 1;
const DOWN: u8 = 2;

/// What is known about reaching one backend. All workers share it.
#[derive(Debug, Default)]
pub(super) struct Reach {
    state: AtomicU8,
    outage: Mutex<Option<Outage>>,
    changed: Notify,
}

#[derive(Debug)]
struct Outage {
    since: Instant,
    failures: u32,
    /// When the last of them was counted.
    counted: Instant,
    last: Failure,
    /// It counts as one.
    is_certain: bool,
    /// A request that failed by it was told of in the log.
    is_told: bool,
    /// A request is trying.
    is_tried: bool,
}

/// Why a connection could not be made. Many may wait for one attempt.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub kind: io::ErrorKind,
    pub text: String,
}

/// An outage as it is now.
#[derive(Debug)]
pub(super) struct Seen {
    pub age: Duration,
    pub failures: u32,
    pub last: Failure,
}

/// The right to try, while the backend is down. Giving it up is dropping it.
#[derive(Debug)]
pub(super) struct Trying<'a>(&'a Reach);

/// What a request may do that wants to connect.
#[derive(Debug)]
pub(super) enum Attempt<'a> {
    /// Try: nothing speaks against it.
    Free,
    /// Try, as the only one.
    Mine(Trying<'a>),
    /// Wait: another one is trying.
    Others,
}

impl Reach {
    /// Whether it was down when that was last tried. Costs a look.
    pub fn is_down(&self) -> bool {
        self.state.load(Ordering::Relaxed) == DOWN
    }

    /// What a request may do now.
    pub fn attempt(&self) -> Attempt<'_> {
        match &mut *self.lock() {
            Some(outage) if outage.is_certain && outage.is_tried => Attempt::Others,
            Some(outage) if outage.is_certain => {
                outage.is_tried = true;
                Attempt::Mine(Trying(self))
            }
            _ => Attempt::Free,
        }
    }

    /// The outage, if there is one.
    pub fn outage(&self) -> Option<Seen> {
        let outage = self.lock();
        let outage = outage.as_ref()?;
        Some(Seen { age: outage.since.elapsed(), failures: outage.failures, last: outage.last.clone() })
    }

    /// Ends when the backend is back, or when whoever tries gives up.
    pub fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// A connection was made.
    pub fn reached(&self, name: &dyn fmt::Display) {
        // Looked at first: while all is well, workers share a line that nobody writes.
        if self.state.load(Ordering::Relaxed) == UP {
            return;
        }
        let over = {
            let mut outage = self.lock();
            self.state.store(UP, Ordering::Relaxed);
            outage.take()
        };
        if let Some(outage) = over.filter(|outage| outage.is_certain) {
            info!("backend {name} is back after {:?}", outage.since.elapsed());
        }
        self.changed.notify_waiters();
    }

    /// A connection that was tried from `began` on could not be made; requests wait up to `patience` for one that refuses
    /// them.
    pub fn failed(&self, name: &dyn fmt::Display, error: &io::Error, began: Instant, patience: Duration) {
        let mut outage = self.lock();
        let now = Instant::now();
        let last = Failure { kind: error.kind(), text: error.to_string() };
        let outage = outage.get_or_insert_with(|| Outage {
            since: now,
            failures: 0,
            counted: began,
            last: last.clone(),
            is_certain: false,
            is_told: false,
            is_tried: false,
        });
        if began >= outage.counted {
            outage.failures = outage.failures.saturating_add(1);
            outage.counted = now;
        }
        outage.last = last;
        let was_certain = outage.is_certain;
        outage.is_certain |= is_away(error.kind()) || outage.failures >= IN_A_ROW;
        self.state.store(if outage.is_certain { DOWN } else { SHAKY }, Ordering::Relaxed);
        // What is not waited for is told by the request that fails.
        if outage.is_certain && !was_certain && is_away(error.kind()) && !patience.is_zero() {
            warn!("backend {name}: {error}; waiting up to {patience:?} for it");
        }
    }

    /// Whether a request that fails by it is yet to be told of: once in an outage, and each where there is none.
    pub fn is_to_be_told(&self) -> bool {
        match &mut *self.lock() {
            Some(outage) if outage.is_certain => !std::mem::replace(&mut outage.is_told, true),
            _ => true,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Outage>> {
        // Nothing that happens inside of it can panic.
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        if let Some(outage) = &mut *self.0.lock() {
            outage.is_tried = false;
        }
        self.0.changed.notify_waiters();
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        Self::new(failure.kind, failure.text)
    }
}

/// Whether the backend is there but not listening, as while it is restarted.
pub(super) fn is_away(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset)
}
