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

thread_local! {
    static PULSE: Arc<Pulse> = Arc::default();
}

#[derive(Default)]
struct Pulse {
    beat: Notify,
    /// The next beat is under way.
    running: AtomicBool,
}

/// Waits for this worker's next beat: 5 ms, less where others are waiting already.
pub async fn beat() {
    let pulse = PULSE.with(Arc::clone);
    // From here on no beat is missed (see `Notify::notify_waiters`).
    let notified = pulse.beat.notified();
    if !pulse.running.swap(true, Ordering::Relaxed) {
        let beat = Beat(pulse.clone());
        tokio::spawn(async move {
            sleep(INTERVAL).await;
            drop(beat);
        });
    }
    notified.await;
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
    }
}
