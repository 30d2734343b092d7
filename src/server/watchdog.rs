//! The watchdog: the service manager hears that we are alive for as long as each worker is.
//!
//! Each worker counts, on its own thread, between the requests that it is at. One that is stuck in a request, or waits for
//! something that it must not wait for, counts no more; then the manager hears nothing, and restarts us.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How often a worker counts while the manager waits to hear of it once.
const BEATS: u32 = 8;

/// The counts of all workers; nothing is counted where nobody wants to know.
#[derive(Debug)]
pub(super) struct Watchdog {
    interval: Option<Duration>,
    beats: Box<[AtomicU64]>,
    seen: Mutex<Box<[u64]>>,
    /// Any of them was stuck when last looked at.
    was_stuck: AtomicBool,
}

impl Watchdog {
    /// For so many workers; of a manager that wants to hear of us after `interval` at the latest.
    pub(super) fn new(interval: Option<Duration>, workers: usize) -> Self {
        Self {
            interval,
            beats: (0..workers).map(|_| AtomicU64::new(0)).collect(),
            seen: Mutex::new(vec![0; workers].into()),
            was_stuck: AtomicBool::new(false),
        }
    }

    /// How often to look, and tell the manager: twice as often as it asks for (sd_watchdog_enabled(3)).
    pub(super) fn period(&self) -> Option<Duration> {
        self.interval.map(|interval| interval / 2)
    }

    /// The heart of worker `number`, to be run on its thread.
    pub(super) async fn beat(&self, number: usize) {
        let (Some(interval), Some(beats)) = (self.interval, self.beats.get(number)) else { return };
        let mut ticks = tokio::time::interval((interval / BEATS).max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            beats.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes whether any is stuck, and tells whether any was.
    pub(super) fn note(&self, stuck: bool) -> bool {
        self.was_stuck.swap(stuck, Ordering::Relaxed)
    }

    /// The workers that have not counted since this was last asked.
    pub(super) fn stuck(&self) -> Vec<usize> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stuck = Vec::new();
        for (number, (beats, seen)) in self.beats.iter().zip(seen.iter_mut()).enumerate() {
            let now = beats.load(Ordering::Relaxed);
            if now == *seen {
                stuck.push(number);
            }
            *seen = now;
        }
        stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_does_not_count_is_stuck() {
        let watchdog = std::sync::Arc::new(Watchdog::new(Some(Duration::from_secs(8)), 2));
        let beating = watchdog.clone();
        let heart = tokio::spawn(async move { beating.beat(0).await });
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(watchdog.stuck(), [1]);
        heart.abort();
        assert!(heart.await.unwrap_err().is_cancelled());
        assert_eq!(watchdog.stuck(), [0, 1]);
    }

    #[tokio::test]
    async fn where_nobody_asks_nothing_is_counted() {
        let watchdog = Watchdog::new(None, 1);
        watchdog.beat(0).await;
        assert_eq!((watchdog.period(), watchdog.stuck()), (None, vec![0]));
    }
}
