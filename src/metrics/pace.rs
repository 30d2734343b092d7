//! How much there is to do right now.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Metrics;

/// What is averaged over.
const WINDOW: Duration = Duration::from_secs(10);

/// Totals of the last seconds.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<VecDeque<Sample>>);

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    requests: u64,
    bytes_out: u64,
}

/// What happens in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pace {
    /// Requests answered.
    pub requests: f64,
    /// Bytes of bodies sent.
    pub bytes_out: f64,
}

impl Metrics {
    /// Notes where the totals are. To be called every second or so.
    pub fn tick(&self) {
        let sample = self.sample();
        self.recent.note(sample);
    }

    /// What happens in a second, as far as the last ten tell.
    pub fn pace(&self) -> Pace {
        self.recent.pace(self.sample())
    }

    fn sample(&self) -> Sample {
        let totals = self.totals();
        Sample { at: Instant::now(), requests: totals.requests, bytes_out: totals.bytes_out }
    }
}

impl Recent {
    fn note(&self, sample: Sample) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        samples.push_back(sample);
        while samples.front().is_some_and(|first| sample.at.duration_since(first.at) > WINDOW) {
            samples.pop_front();
        }
    }

    fn pace(&self, now: Sample) -> Pace {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(first) = samples.front() else { return Pace::default() };
        let seconds = now.at.duration_since(first.at).as_secs_f64();
        // A moment after the start, a few requests would make thousands in a second.
        if seconds < 0.1 {
            return Pace::default();
        }
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        Pace { requests: rate(now.requests, first.requests), bytes_out: rate(now.bytes_out, first.bytes_out) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_that_of_the_last_seconds() {
        let (recent, began) = (Recent::default(), Instant::now());
        let sample = |seconds: u64, requests| Sample {
            at: began + Duration::from_secs(seconds),
            requests,
            bytes_out: requests * 10,
        };
        assert_eq!(recent.pace(sample(0, 9)), Pace::default());
        // Busy for a minute, then nothing for ten seconds.
        for second in 0..=60 {
            recent.note(sample(second, second * 100));
        }
        assert_eq!(recent.pace(sample(60, 6000)), Pace { requests: 100.0, bytes_out: 1000.0 });
        for second in 61..=71 {
            recent.note(sample(second, 6000));
        }
        assert_eq!(recent.pace(sample(71, 6000)), Pace::default());
        assert!(recent.0.lock().unwrap().len() <= 12);
    }
}
