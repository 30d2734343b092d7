//! Sums in buckets of time.

use std::collections::VecDeque;
use std::time::Duration;

use super::figures::{Counts, Figure};

/// How far back to look. Each is kept by itself, the longer ones in coarser steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// The last hour, in steps of ten seconds.
    Hour,
    /// The last day, in steps of five minutes.
    Day,
    /// The last week, in steps of half an hour.
    Week,
}

impl Window {
    /// All of them, shortest first.
    pub const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Week];

    /// One word, for addresses and for the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
        }
    }

    /// Seconds in a bucket.
    pub const fn step(self) -> u64 {
        match self {
            Self::Hour => 10,
            Self::Day => 5 * 60,
            Self::Week => 30 * 60,
        }
    }

    /// Seconds in all.
    pub const fn length(self) -> u64 {
        match self {
            Self::Hour => 60 * 60,
            Self::Day => 24 * 60 * 60,
            Self::Week => 7 * 24 * 60 * 60,
        }
    }

    /// Buckets in all.
    pub const fn buckets(self) -> usize {
        // At most 360.
        (self.length() / self.step()) as usize
    }
}

/// What was counted in some stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// How long somebody counted: what a rate is to be taken over. Shorter than the stretch when the gate was
    /// started or stopped within it, or when it is not over.
    pub covered: Duration,
    /// What was counted.
    pub counts: Counts,
    /// The most connections that were seen open at once.
    pub connections: u64,
}

impl Bucket {
    /// How many a second.
    pub fn rate(&self, count: u64) -> Option<f64> {
        let seconds = self.covered.as_secs_f64();
        (seconds > 0.0).then(|| count as f64 / seconds)
    }

    /// The share of the first figure in both, 0 to 1; none where there was neither.
    pub fn share(&self, of: &[Figure], against: &[Figure]) -> Option<f64> {
        let sum = |figures: &[Figure]| {
            figures.iter().fold(0_u64, |sum, &figure| sum.saturating_add(self.counts[figure]))
        };
        let (part, rest) = (sum(of), sum(against));
        let whole = part.saturating_add(rest);
        (whole > 0).then(|| part as f64 / whole as f64)
    }

    /// Adds another stretch of time.
    pub fn merge(&mut self, other: &Self) {
        self.covered = self.covered.saturating_add(other.covered);
        self.counts.add(&other.counts);
        self.connections = self.connections.max(other.connections);
    }
}

/// The buckets of one window. Those that nothing was counted in are not there.
///
/// Buckets have the number of their step since 1970. Nothing is dropped for being old, only for want of room: a clock
/// that is set ahead for a while, and back again, costs nothing but what was counted in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    window: Window,
    buckets: VecDeque<(u64, Bucket)>,
}

impl Series {
    pub(super) fn new(window: Window) -> Self {
        Self { window, buckets: VecDeque::with_capacity(window.buckets()) }
    }

    /// From what was written. Numbers must rise; none without.
    pub(super) fn restore(window: Window, buckets: Vec<(u64, Bucket)>) -> Option<Self> {
        let rising = buckets.iter().zip(buckets.iter().skip(1)).all(|((one, _), (next, _))| one < next);
        let surplus = buckets.len().saturating_sub(window.buckets());
        rising.then(|| Self { window, buckets: buckets.into_iter().skip(surplus).collect() })
    }

    pub(super) fn window(&self) -> Window {
        self.window
    }

    pub(super) fn written(&self) -> impl Iterator<Item = &(u64, Bucket)> {
        self.buckets.iter()
    }

    /// Adds what was counted until `now`.
    pub(super) fn add(&mut self, now: u64, part: &Bucket) {
        let number = now / self.window.step();
        // What is later than now was written under a clock that was wrong.
        while self.buckets.back().is_some_and(|(last, _)| *last > number) {
            self.buckets.pop_back();
        }
        match self.buckets.back_mut() {
            Some((last, bucket)) if *last == number => bucket.merge(part),
            _ => {
                if self.buckets.len() >= self.window.buckets() {
                    self.buckets.pop_front();
                }
                self.buckets.push_back((number, *part));
            }
        }
    }

    /// One place for each step of the window that ends with `now`.
    pub(super) fn view(&self, now: u64) -> Vec<Option<Bucket>> {
        let (size, number) = (self.window.buckets(), now / self.window.step());
        let first = (number + 1).saturating_sub(size as u64);
        let mut view = vec![None; size];
        for (at, bucket) in &self.buckets {
            let place = at.checked_sub(first).and_then(|place| usize::try_from(place).ok());
            if let Some(place) = place.and_then(|place| view.get_mut(place)) {
                *place = Some(*bucket);
            }
        }
        view
    }
}
