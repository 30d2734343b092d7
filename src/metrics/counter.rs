//! Counters with one writer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts, for one thread that writes and any number that read.
///
/// A load and a store, where `fetch_add` would lock the bus: of two threads that wrote at once, one would be lost.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn increment(&self) {
        self.add(1);
    }

    /// `count` more. Wraps, as Prometheus expects of a counter that is full.
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// How many there are.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The upper ends of the buckets, in microseconds: from what a narinfo takes to what a page of a large farm does.
const BOUNDS: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 10_000_000, 60_000_000,
];

/// How long things took, for one thread that writes and any number that read.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One for each of `BOUNDS`, and one for what took longer.
    buckets: [Counter; BOUNDS.len() + 1],
    nanoseconds: Counter,
}

impl Histogram {
    /// Something took `time`.
    pub fn observe(&self, time: Duration) {
        let microseconds = time.as_micros();
        // Linear: most of what is observed here is in one of the first buckets.
        let bucket = BOUNDS.iter().position(|&bound| microseconds <= u128::from(bound));
        self.buckets[bucket.unwrap_or(BOUNDS.len())].increment();
        self.nanoseconds.add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }
}

/// Several histograms, added up.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Distribution {
    buckets: [u64; BOUNDS.len() + 1],
    nanoseconds: u64,
}

impl Distribution {
    pub(super) fn add(&mut self, histogram: &Histogram) {
        for (sum, bucket) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *sum += bucket.get();
        }
        self.nanoseconds = self.nanoseconds.wrapping_add(histogram.nanoseconds.get());
    }

    /// How many things were observed. Made of the buckets, so that it agrees with them at any moment.
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// How long they took together, in seconds.
    pub(super) fn sum(&self) -> f64 {
        self.nanoseconds as f64 / 1e9
    }

    /// Upper ends in seconds, and how many were in each bucket alone.
    pub(super) fn buckets(&self) -> Vec<(f64, u64)> {
        let ends = BOUNDS.iter().map(|&bound| bound as f64 / 1e6).chain([f64::INFINITY]);
        ends.zip(self.buckets).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_as_long_as_a_bucket_is_in_it() {
        let histogram = Histogram::default();
        for microseconds in [0, 100, 101, 60_000_000, 60_000_001] {
            histogram.observe(Duration::from_micros(microseconds));
        }
        // What is a nanosecond longer still is, too: buckets count whole microseconds.
        histogram.observe(Duration::from_nanos(100_001));
        let mut all = Distribution::default();
        all.add(&histogram);
        assert_eq!(all.buckets()[0], (0.0001, 3));
        assert_eq!(all.buckets()[1], (0.00025, 1));
        assert_eq!(all.buckets()[15], (60.0, 1));
        assert_eq!(all.buckets()[16], (f64::INFINITY, 1));
        assert_eq!(all.count(), 6);
    }

    #[test]
    fn histograms_of_several_workers_add_up() {
        let (one, two) = (Histogram::default(), Histogram::default());
        one.observe(Duration::from_millis(3));
        two.observe(Duration::from_millis(3));
        two.observe(Duration::from_secs(7));
        let mut all = Distribution::default();
        all.add(&one);
        all.add(&two);
        assert_eq!(all.count(), 3);
        assert!((all.sum() - 7.006).abs() < 1e-9, "{}", all.sum());
        assert_eq!(all.buckets().iter().map(|(_, count)| count).sum::<u64>(), 3);
    }
}
