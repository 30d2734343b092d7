//! What the gate served, over the last hour, day and week: totals that are read every few seconds, kept in memory
//! and in one small file; and the last errors, in memory only.
//!
//! There is nothing about anybody in it, only sums. The file (`history` in the state folder) has a bounded size,
//! is replaced whole, and is thrown away when it is damaged: it is worth nothing but a look.

mod errors;
mod figures;
mod file;
mod series;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tracing::warn;

pub use self::errors::{Errors, Failed};
pub use self::figures::{Counts, Figure};
pub use self::series::{Bucket, Series, Window};
use crate::files::{self, SECRET};

/// A moment by both clocks: the one that can be wrong, and be set, says when; the other one says how long.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Seconds since 1970, as the system's clock has it.
    pub unix: u64,
    /// The clock that only goes on.
    pub steady: Instant,
}

impl Moment {
    /// The present one.
    pub fn now() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self { unix, steady: Instant::now() }
    }
}

/// The history of one gate, shared by who writes it and who shows it.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    state: Mutex<State>,
    /// Held by who writes the file: there is one temporary name.
    writing: Mutex<()>,
}

#[derive(Debug)]
struct State {
    series: [Series; Window::ALL.len()],
    /// What was read last, and when. Totals begin at zero with the process.
    last: (Counts, Instant),
}

impl History {
    /// Goes on with what is in the state folder `state`. A file that cannot be used is a line in the log, and is
    /// replaced at the next [`Self::save`].
    ///
    /// `started` is when the totals began to count.
    pub fn load(state: &Path, started: Instant) -> Self {
        let path = state.join("history");
        let series = file::read(&path).unwrap_or_else(|reason| {
            warn!("{}: {reason}; the history begins anew", path.display());
            None
        });
        let series = series.unwrap_or_else(|| Window::ALL.map(Series::new));
        let state = Mutex::new(State { series, last: (Counts::default(), started) });
        Self { path, state, writing: Mutex::default() }
    }

    /// Takes in what was counted since the start, and how many connections are open.
    pub fn record(&self, now: Moment, totals: &Counts, connections: u64) {
        let mut state = self.lock();
        let (earlier, since) = state.last;
        let part = Bucket {
            covered: now.steady.saturating_duration_since(since),
            counts: totals.since(&earlier),
            connections,
        };
        state.last = (*totals, now.steady);
        for series in &mut state.series {
            series.add(now.unix, &part);
        }
    }

    /// Writes the file anew. When this returns it is on disk, and whoever reads meanwhile sees the old one whole.
    ///
    /// # Errors
    ///
    /// Where it cannot be written. The old one stays.
    pub fn save(&self) -> io::Result<()> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let text = file::encode(&self.lock().series)?;
        files::replace(&self.path, text.as_bytes(), SECRET)
    }

    /// The buckets of `window`, oldest first, the last one being that of `now`; none where nothing was counted
    /// because no gate was running, or the clock jumped.
    pub fn view(&self, window: Window, now: u64) -> Vec<Option<Bucket>> {
        self.lock().series[window as usize].view(now)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Sums of numbers: a panic elsewhere leaves them whole, or one figure short.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
