//! A beat every few milliseconds, for those who wait a moment and then look around.
//!
//! A timer for each request is dear where the wait nearly always ends before it: the runtime's driver is woken by a
//! system call whenever a timer becomes the first of all, also on the driver's own thread. A worker's requests share
//! one, which runs only while somebody waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

/// Between beats.
const INTERVAL: Duration = Duration::from_millis(5);
/// Between slow beats.
const SLOW: Duration = Duration::from_millis(250);

thread_local! {
    static PULSE: Arc<Pulse> = Arc::default();
    static SLOW_PULSE: Arc<Pulse> = Arc::default();
}

#[derive(Default)]
struct Pulse {
    beat: Notify,
    /// The next beat is under way.
    running: AtomicBool,
}

/// Waits for this worker's next beat: 5 ms, less where others are waiting already.
pub async fn beat() {
    PULSE.with(Arc::clone).beat(INTERVAL).await;
}

/// The same with 250 ms, for those who wait longer than usual and need not be exact.
pub async fn slow_beat() {
    SLOW_PULSE.with(Arc::clone).beat(SLOW).await;
}

impl Pulse {
    async fn beat(self: Arc<Self>, interval: Duration) {
        // From here on no beat is missed (see `Notify::notify_waiters`).
        let notified = self.beat.notified();
        if !self.running.swap(true, Ordering::Relaxed) {
            let beat = Beat(self.clone());
            tokio::spawn(async move {
                sleep(interval).await;
                drop(beat);
            });
        }
        notified.await;
    }
}

/// Beats when it is dropped: at its time, or when the runtime ends before.
struct Beat(Arc<Pulse>);

impl Drop for Beat {
    fn drop(&mut self) {
        self.0.running.store(false, Ordering::Relaxed);
        self.0.beat.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_that_ends_before_the_beat_does_not_stop_the_next_ones() {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ended = runtime();
        ended.block_on(async {
            tokio::select! { biased; () = beat() => {} () = std::future::ready(()) => {} }
        });
        drop(ended);
        runtime().block_on(beat());
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_wait_share_a_beat_and_the_next_one_comes_only_when_asked_for() {
        let began = tokio::time::Instant::now();
        tokio::join!(beat(), beat());
        assert_eq!(began.elapsed().as_millis(), 5);
        sleep(Duration::from_secs(1)).await;
        beat().await;
        assert_eq!(began.elapsed().as_millis(), 1010);
        tokio::join!(slow_beat(), beat());
        assert_eq!(began.elapsed().as_millis(), 1260);
    }
}
