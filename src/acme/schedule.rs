//! When anything happens. Pure: no clock, no disk, no network; what is known goes in, and a time comes out.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clock::Time;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long after the first, second, … failure in a row the next try is made; then daily.
///
/// Four tries in the first hour: Let's Encrypt closes the door for an hour after five failed validations.
pub const BACKOFF: [Duration; 8] = [
    MINUTE,
    Duration::from_secs(5 * 60),
    Duration::from_secs(15 * 60),
    HOUR,
    Duration::from_secs(3 * 3600),
    Duration::from_secs(6 * 3600),
    Duration::from_secs(12 * 3600),
    DAY,
];

/// Orders for one name in any 24 hours, whatever goes wrong and whoever asks.
pub const ORDERS_PER_DAY: usize = 8;

/// After this many failures in a row at the first CA, every other try is made at the second.
pub const FALLBACK_AFTER: u32 = 4;

/// A CA that asks for more patience than this is asked again after this.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);

/// Renewal information is fetched again when the CA says, within these bounds (RFC 9773 section 4.3.2 wants some).
const WINDOW_ASKED_AGAIN: (Duration, Duration) = (HOUR, DAY);
/// After a failure, and where the CA does not say (RFC 9773 section 4.3.2).
pub const WINDOW_RETRY: Duration = Duration::from_secs(6 * 3600);

/// What is known about a certificate, and about the tries to get a better one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// The certificate in use.
    pub certificate: Option<Lifetime>,
    /// When the CA wants it renewed; only what was said of this very certificate.
    pub window: Option<Window>,
    /// When the last order succeeded.
    pub succeeded: Option<Time>,
    /// The failures since.
    pub failures: u32,
    /// When the last of them was.
    pub failed: Option<Time>,
    /// When the CA lets us come back.
    pub retry_after: Option<Time>,
    /// When the names may be ordered again, as far as our own cap goes.
    pub capped_until: Option<Time>,
}

/// How long a certificate counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lifetime {
    /// From.
    pub not_before: Time,
    /// Until.
    pub not_after: Time,
    /// Whether it is for all of the names.
    pub complete: bool,
    /// Makes the jitter.
    pub seed: u64,
}

impl Lifetime {
    fn length(self) -> Duration {
        self.not_after.since(self.not_before)
    }

    /// Two thirds of the lifetime, and up to a twentieth of it earlier, so that certificates of one day spread out.
    fn two_thirds(self) -> Time {
        let jitter = share(self.length() / 20, self.seed);
        self.not_before.plus(self.length() / 3 * 2).minus(jitter)
    }

    /// Whatever a CA suggests, a certificate is not used down to its last hours.
    fn latest(self) -> Time {
        self.not_after.minus(self.length() / 12)
    }
}

/// When a CA wants a certificate renewed (RFC 9773 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// From.
    pub start: Time,
    /// Until. Later than `start`, or the window counts for nothing.
    pub end: Time,
}

impl Window {
    /// A moment of it, the same one for the same seed (RFC 9773 section 4.2 wants a random one).
    fn moment(self, seed: u64) -> Option<Time> {
        (self.start < self.end).then(|| self.start.plus(share(self.end.since(self.start), seed)))
    }
}

/// When an order is due, and what decides that.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Due {
    /// The time; past is now.
    pub at: Time,
    /// What decides.
    pub why: Why,
}

/// What decides when an order is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// There is no certificate.
    None,
    /// The certificate is not for all of the names.
    Names,
    /// Two thirds of its lifetime.
    Lifetime,
    /// The CA's suggestion.
    Suggested,
    /// The failures before.
    Backoff,
    /// The CA's patience.
    RetryAfter,
    /// Our own.
    Cap,
    /// Somebody asked for it.
    Asked,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "there is no certificate",
            Self::Names => "the certificate lacks a name",
            Self::Lifetime => "two thirds of its lifetime",
            Self::Suggested => "the CA suggests it",
            Self::Backoff => "after the failures before",
            Self::RetryAfter => "the CA asked for patience",
            Self::Cap => "enough was ordered for a day",
            Self::Asked => "asked for",
        })
    }
}

/// When the next order is due.
pub fn next(known: &Known, now: Time) -> Due {
    let wanted = wanted(known, now);
    let held_back = [
        (backoff(known, now), Why::Backoff),
        (known.retry_after.map(|at| at.min(now.plus(LONGEST_RETRY_AFTER))), Why::RetryAfter),
        (known.capped_until, Why::Cap),
    ];
    held_back.into_iter().filter_map(|(at, why)| Some(Due { at: at?, why })).fold(wanted, later)
}

/// When somebody who asks for it now gets it: only the caps hold it back, the CA's and ours.
pub fn next_if_asked(known: &Known, now: Time) -> Due {
    let retry_after = known.retry_after.map(|at| at.min(now.plus(LONGEST_RETRY_AFTER)));
    [(retry_after, Why::RetryAfter), (known.capped_until, Why::Cap)]
        .into_iter()
        .filter_map(|(at, why)| Some(Due { at: at?, why }))
        .fold(Due { at: now, why: Why::Asked }, later)
}

fn later(one: Due, other: Due) -> Due {
    if other.at > one.at { other } else { one }
}

/// When there would be an order if nothing had ever failed.
fn wanted(known: &Known, now: Time) -> Due {
    let Some(lifetime) = known.certificate else {
        return Due { at: now, why: Why::None };
    };
    if !lifetime.complete {
        return Due { at: now, why: Why::Names };
    }
    match known.window.and_then(|window| window.moment(lifetime.seed)) {
        Some(moment) => {
            // A CA that wants each certificate renewed as soon as it is made gets four of them a day.
            let settled =
                known.succeeded.map(|at| at.min(now).plus((lifetime.length() / 6).min(WINDOW_RETRY)));
            let at = settled.map_or(moment, |settled| moment.max(settled)).min(lifetime.latest());
            Due { at, why: Why::Suggested }
        }
        None => Due { at: lifetime.two_thirds(), why: Why::Lifetime },
    }
}

fn backoff(known: &Known, now: Time) -> Option<Time> {
    let step = usize::try_from(known.failures.checked_sub(1)?).unwrap_or(usize::MAX);
    let wait = BACKOFF.get(step).copied().unwrap_or(DAY);
    // A failure in the future is one from before the clock was set back.
    Some(known.failed?.min(now).plus(wait))
}

/// Which directory to ask after so many failures of CAs in a row. `patience` has for each how long its CA wants to be
/// left alone yet: the first, and the one to fall back on where there is one.
pub fn directory(failures: u32, patience: &[Duration]) -> usize {
    let &[of_first, of_second, ..] = patience else { return 0 };
    let second = failures >= FALLBACK_AFTER && failures % 2 == FALLBACK_AFTER % 2;
    let (wanted, other) = if second { (of_second, of_first) } else { (of_first, of_second) };
    // Whose patience is asked for too long gives way to who can be asked before.
    let gives_way = wanted > HOUR && other < wanted;
    usize::from(second != gives_way)
}

/// Until when a name may not be ordered that was ordered at `orders`; none when it may.
pub fn capped_until(orders: &[Time], now: Time) -> Option<Time> {
    // What lies in the future was ordered before the clock was set back: recently, for all we know.
    let mut recent: Vec<Time> =
        orders.iter().map(|&at| at.min(now)).filter(|at| now.since(*at) < DAY).collect();
    recent.sort_unstable();
    let oldest_that_counts = recent.len().checked_sub(ORDERS_PER_DAY)?;
    recent.get(oldest_that_counts).map(|at| at.plus(DAY))
}

/// When to ask for renewal information again, `retry_after` being what the CA said.
pub fn window_asked_again(now: Time, retry_after: Duration) -> Time {
    let (shortest, longest) = WINDOW_ASKED_AGAIN;
    now.plus(retry_after.clamp(shortest, longest))
}

/// Whether it is time to ask for renewal information, `planned` being when it was to be. A plan further away than
/// any that is made is from before the clock was set back.
pub fn window_is_due(planned: Option<Time>, now: Time) -> bool {
    planned.is_none_or(|at| at <= now || at > now.plus(WINDOW_ASKED_AGAIN.1))
}

/// A part of `whole` that `seed` decides, evenly spread.
fn share(whole: Duration, seed: u64) -> Duration {
    let part = (u128::from(whole.as_secs()) * u128::from(seed)) >> 64;
    Duration::from_secs(u64::try_from(part).unwrap_or(u64::MAX))
}
