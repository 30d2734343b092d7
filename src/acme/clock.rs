//! Points in time that survive a restart, and a clock that may be wrong.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::date::civil_date;

/// Seconds since 1970 by the system's clock. Arithmetic saturates: certificates may hold any date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(i64);

impl Time {
    /// What the system's clock says.
    pub fn now() -> Self {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => Self(i64::try_from(since.as_secs()).unwrap_or(i64::MAX)),
            Err(before) => Self(i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |s| -s)),
        }
    }

    /// `seconds` after 1970 began, or before.
    pub const fn from_unix(seconds: i64) -> Self {
        Self(seconds)
    }

    /// Seconds since 1970.
    pub const fn unix(self) -> i64 {
        self.0
    }

    /// Later by `time`.
    #[must_use]
    pub fn plus(self, time: Duration) -> Self {
        Self(self.0.saturating_add(seconds(time)))
    }

    /// Earlier by `time`.
    #[must_use]
    pub fn minus(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(seconds(time)))
    }

    /// How long after `earlier`; zero if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// How long ago, or until when: for people, in the largest unit that says enough.
pub fn time_in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

impl fmt::Display for Time {
    /// As RFC 3339 has it, in UTC: `2026-08-01T12:00:00Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // RFC 3339 has four digits for the year.
        let last = 253_402_300_799;
        let seconds = self.0.clamp(0, last).unsigned_abs();
        let (year, month, day) = civil_date(seconds / 86_400);
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339_has_them() {
        for (seconds, written) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_704_067_199, "2023-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
            (i64::MAX, "9999-12-31T23:59:59Z"),
            (-5, "1970-01-01T00:00:00Z"),
        ] {
            assert_eq!(Time(seconds).to_string(), written);
        }
    }

    #[test]
    fn arithmetic_ends_where_the_numbers_do() {
        assert_eq!(Time(i64::MAX).plus(Duration::MAX), Time(i64::MAX));
        assert_eq!(Time(i64::MIN).minus(Duration::MAX), Time(i64::MIN));
        assert_eq!(Time(5).since(Time(9)), Duration::ZERO);
        assert_eq!(Time(i64::MAX).since(Time(i64::MIN)), Duration::from_secs(i64::MAX.unsigned_abs()));
    }
}
