//! Patience with an order.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::clock::time_in_words;
use super::failure::Failure;
use super::settings::Settings;

/// Looks at an order again and again, less and less often, and not for ever.
pub(super) struct Wait {
    next: Duration,
    longest: Duration,
    deadline: Instant,
}

impl Wait {
    pub(super) fn new(settings: &Settings) -> Self {
        let timings = &settings.timings;
        Self { next: timings.poll, longest: timings.poll_longest, deadline: Instant::now() + timings.order }
    }

    /// Waits as long as the CA wants, or as long as is usual. Fails when that is beyond the end of patience.
    pub(super) async fn pause(&mut self, told: Option<Duration>) -> Result<(), Failure> {
        let wait = told.map_or(self.next, |told| told.max(self.next));
        let left = self.deadline.saturating_duration_since(Instant::now());
        if wait > left {
            let words = time_in_words(wait);
            let failure =
                Failure::ca("the CA is still at work on the order; it stays open, and is looked at again");
            return Err(match told {
                Some(told) => Failure { message: format!("{} in {words}", failure.message), ..failure }
                    .retry_after(told),
                None => failure,
            });
        }
        self.next = (self.next * 2).min(self.longest);
        sleep(wait).await;
        Ok(())
    }
}
