//! Token buckets, each as one number: when it will be full again.
//!
//! This is the "virtual scheduling" of ITU-T I.371, also called GCRA. A bucket that was left alone needs no refilling,
//! and one that is full is nothing that has to be kept.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// When a bucket will be full again, in nanoseconds on a clock of the owner's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bucket(u64);

impl Bucket {
    /// Takes what needs `cost` nanoseconds to flow in again, from a bucket that is filled in `depth` nanoseconds.
    ///
    /// # Errors
    ///
    /// Where there is not as much in it; then with the nanoseconds until there will be. More than `depth` never is.
    pub fn take(&mut self, now: u64, cost: u64, depth: u64) -> Result<(), u64> {
        let full_at = self.0.max(now).saturating_add(cost);
        match full_at.saturating_sub(now.saturating_add(depth)) {
            0 => {
                self.0 = full_at;
                Ok(())
            }
            wait => Err(wait),
        }
    }

    /// Whether nothing would be lost if it were forgotten.
    pub fn is_full(self, now: u64) -> bool {
        self.0 <= now
    }
}

/// What one connection may be sent by `limits.nar_rate`. For one thread at a time.
#[derive(Debug, Default)]
pub struct Paced(AtomicU64);

impl Paced {
    /// The most that can be taken at once, in bytes.
    pub fn most(rate: u64) -> usize {
        usize::try_from(burst_of(rate)).unwrap_or(usize::MAX)
    }

    /// Takes `bytes`, which are not more than [`most`](Self::most), at `rate` bytes per second; `now` is counted from
    /// when the connection was made.
    ///
    /// # Errors
    ///
    /// Where that is too early; then with how long to wait.
    pub fn take(&self, now: Duration, bytes: usize, rate: u64) -> Result<(), Duration> {
        let mut bucket = Bucket(self.0.load(Ordering::Relaxed));
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        bucket
            .take(now, time_for(bytes as u64, rate), time_for(burst_of(rate), rate))
            .map_err(Duration::from_nanos)?;
        self.0.store(bucket.0, Ordering::Relaxed);
        Ok(())
    }
}

/// What may go at once at a rate: what flows in 50 ms, and a TLS record at least.
pub(super) fn burst_of(rate: u64) -> u64 {
    (rate / 20).max(16 * 1024)
}

/// How long `bytes` take at `rate` bytes per second, in nanoseconds, rounded up.
pub(super) fn time_for(bytes: u64, rate: u64) -> u64 {
    let nanoseconds = (u128::from(bytes) * 1_000_000_000).div_ceil(u128::from(rate.max(1)));
    u64::try_from(nanoseconds).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bucket_gives_what_is_in_it_and_then_what_flows_in() {
        let mut bucket = Bucket::default();
        // Three at once, one each 10.
        for _ in 0..3 {
            assert_eq!(bucket.take(1000, 10, 30), Ok(()));
        }
        assert_eq!(bucket.take(1000, 10, 30), Err(10));
        assert_eq!(bucket.take(1009, 10, 30), Err(1));
        assert_eq!(bucket.take(1010, 10, 30), Ok(()));
        assert!(!bucket.is_full(1039) && bucket.is_full(1040));
    }

    proptest! {
        #[test]
        fn a_connection_never_gets_more_than_its_rate_and_a_burst(
            rate in 16_384u64..1 << 34,
            steps in proptest::collection::vec((0u64..200_000_000, 1usize..200_000), 1..200),
        ) {
            let (paced, mut now, mut sent) = (Paced::default(), 0, Vec::new());
            for (wait, wanted) in steps {
                now += wait;
                let bytes = wanted.min(Paced::most(rate));
                // Who waits as told gets it.
                if let Err(wait) = paced.take(Duration::from_nanos(now), bytes, rate) {
                    now += u64::try_from(wait.as_nanos()).unwrap();
                    prop_assert_eq!(paced.take(Duration::from_nanos(now), bytes, rate), Ok(()));
                }
                sent.push((now, bytes as u64));
            }
            for from in 0..sent.len() {
                let mut sum = 0;
                for &(at, count) in &sent[from..] {
                    sum += count;
                    let flowed = u128::from(rate) * u128::from(at - sent[from].0) / 1_000_000_000;
                    prop_assert!(u128::from(sum) <= flowed + u128::from(burst_of(rate)) + 1);
                }
            }
        }
    }
}
