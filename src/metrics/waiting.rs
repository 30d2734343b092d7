//! How much of a request's time was spent waiting, and for whom.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::time::{Duration, Instant};

use super::Counter;

/// Where the time of one request went. What is neither is the gate's own.
#[derive(Debug, Default)]
pub struct Spent {
    /// Times that a backend was asked.
    pub asked: Counter,
    /// Nanoseconds of waiting for a backend: to connect, to take the request, to answer.
    pub backend: Counter,
    /// Nanoseconds of waiting for the client: to send the rest of its request, to take the answer.
    pub client: Counter,
}

impl Spent {
    /// What is left of `whole`.
    pub fn own_share(&self, whole: Duration) -> Duration {
        whole.saturating_sub(self.on_backend()).saturating_sub(Duration::from_nanos(self.client.get()))
    }

    /// The time spent waiting for a backend.
    pub fn on_backend(&self) -> Duration {
        Duration::from_nanos(self.backend.get())
    }
}

/// Awaits `future`, and adds to `nanoseconds` how long it kept us waiting: from when it first had to wait. What is
/// ready at once costs no look at the clock. A future that is dropped has been waited for until then. It is pinned where it
/// is: room for it here would be room for it twice.
pub async fn waiting<T>(nanoseconds: &Counter, mut future: impl Future<Output = T> + Unpin) -> T {
    let mut wait = Wait { nanoseconds, since: None };
    poll_fn(|cx| {
        let polled = Pin::new(&mut future).poll(cx);
        if polled.is_pending() && wait.since.is_none() {
            wait.since = Some(Instant::now());
        }
        polled
    })
    .await
}

struct Wait<'a> {
    nanoseconds: &'a Counter,
    since: Option<Instant>,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if let Some(since) = self.since {
            self.nanoseconds.add(u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    /// Asks for its timer when it is polled, which is where there is a runtime.
    async fn sleep(time: Duration) {
        tokio::time::sleep(time).await;
    }

    #[test]
    fn what_is_ready_was_not_waited_for() {
        let spent = Spent::default();
        block_on(waiting(&spent.backend, std::future::ready(())));
        assert_eq!(spent.backend.get(), 0);
    }

    #[test]
    fn what_was_waited_for_is_not_the_gates_own() {
        let spent = Spent::default();
        let nap = Duration::from_millis(5);
        block_on(waiting(&spent.client, pin!(sleep(nap))));
        block_on(waiting(&spent.backend, pin!(sleep(nap))));
        // A timer runs from when it is made, which is a moment before it is waited for.
        assert!(spent.on_backend() >= nap / 2 && spent.client.get() >= 2_500_000);
        let whole = Duration::from_secs(60);
        let waited = spent.on_backend() + Duration::from_nanos(spent.client.get());
        assert_eq!(spent.own_share(whole), whole - waited);
        assert_eq!(spent.own_share(Duration::from_millis(1)), Duration::ZERO);
    }

    #[test]
    fn a_wait_that_is_given_up_counts_until_then() {
        let spent = Spent::default();
        block_on(async {
            let forever = waiting(&spent.backend, std::future::pending::<()>());
            let _ = tokio::time::timeout(Duration::from_millis(5), forever).await;
        });
        assert!(spent.on_backend() >= Duration::from_millis(2));
    }
}
