//! Numbers and times as people read them.

use std::fmt::{self, Display};

use crate::date::civil_date;

/// A number that may be large: `7`, `12.5`, `4.7 k`, `1.2 M`.
pub(super) struct Amount(pub f64);

impl Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        scaled(f, self.0, &["", "k", "M", "G", "T", "P"])
    }
}

/// Bytes, in powers of a thousand.
pub(super) struct Bytes(pub f64);

impl Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        scaled(f, self.0, &["B", "kB", "MB", "GB", "TB", "PB"])
    }
}

/// A share of 1 as per cent. Only all of it is 100 %, and only none of it 0 %.
pub(super) struct Percent(pub f64);

impl Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.0 * 100.0;
        match percent {
            _ if percent <= 0.0 => f.write_str("0 %"),
            _ if percent >= 100.0 => f.write_str("100 %"),
            _ if percent < 0.1 => f.write_str("under 0.1 %"),
            _ if percent > 99.9 => f.write_str("over 99.9 %"),
            _ => write!(f, "{percent:.1} %"),
        }
    }
}

/// A count, its thousands apart: `12 345 678`, with spaces that are narrow and do not break.
pub(super) struct Count(pub u64);

impl Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (at, digit) in digits.char_indices() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                f.write_str("\u{202f}")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

/// A length of time in its two largest units: `3 d 4 h`.
pub(super) struct Span(pub u64);

impl Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0;
        match seconds {
            0..60 => write!(f, "{seconds} s"),
            60..3600 => write!(f, "{} min", seconds / 60),
            3600..86_400 => write!(f, "{} h {} min", seconds / 3600, seconds / 60 % 60),
            _ => write!(f, "{} d {} h", seconds / 86_400, seconds / 3600 % 24),
        }
    }
}

/// A moment, given in seconds since 1970, in UTC.
pub(super) struct Utc(pub u64);

impl Utc {
    /// `2026-11-22`
    pub(super) fn date(&self) -> String {
        let (year, month, day) = civil_date(self.0 / 86_400);
        format!("{year:04}-{month:02}-{day:02}")
    }

    /// `14:05`
    pub(super) fn time(&self) -> String {
        format!("{:02}:{:02}", self.0 / 3600 % 24, self.0 / 60 % 60)
    }

    /// `14:05:09`
    pub(super) fn time_with_seconds(&self) -> String {
        format!("{}:{:02}", self.time(), self.0 % 60)
    }

    /// `2026-11-22T14:05:09Z`, for programs.
    pub(super) fn rfc_3339(&self) -> String {
        format!("{}T{}Z", self.date(), self.time_with_seconds())
    }
}

impl Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} UTC", self.date(), self.time())
    }
}

/// Three digits at least, as far as there are any behind the point.
fn scaled(f: &mut fmt::Formatter<'_>, value: f64, units: &[&str]) -> fmt::Result {
    let (mut value, mut at) = (value.max(0.0), 0);
    // What would be rounded up to 1000 is one of the next unit.
    while value >= 999.5 && at + 1 < units.len() {
        value /= 1000.0;
        at += 1;
    }
    let digits = if value >= 99.95 || value == value.trunc() && at == 0 {
        format!("{value:.0}")
    } else if value >= 9.995 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    };
    match units[at] {
        "" => f.write_str(&digits),
        unit => write!(f, "{digits}\u{a0}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_never_lie_about_all_and_nothing() {
        let amounts = [0.0, 0.25, 7.0, 12.54, 340.4, 999.4, 999.6, 4711.0, 12_345_678.0, -1.0, 1e30];
        let shown = amounts.map(|amount| Amount(amount).to_string().replace('\u{a0}', " "));
        let expected =
            ["0", "0.25", "7", "12.5", "340", "999", "1.00 k", "4.71 k", "12.3 M", "0", "1000000000000000 P"];
        assert_eq!(shown, expected);
        let percents = [0.0, 0.0001, 0.5, 0.9995, 0.99999, 1.0].map(|share| Percent(share).to_string());
        assert_eq!(percents, ["0 %", "under 0.1 %", "50.0 %", "over 99.9 %", "over 99.9 %", "100 %"]);
        assert_eq!(Count(1_234_567).to_string(), "1\u{202f}234\u{202f}567");
        assert_eq!(Bytes(1_500_000.0).to_string(), "1.50\u{a0}MB");
    }

    #[test]
    fn times_are_in_utc() {
        assert_eq!(Utc(1_795_380_905).to_string(), "2026-11-22 20:55 UTC");
        assert_eq!(Utc(1_795_380_905).rfc_3339(), "2026-11-22T20:55:05Z");
        let spans = [5, 65, 3600 * 5 + 120, 86_400 * 3 + 3600 * 4].map(|seconds| Span(seconds).to_string());
        assert_eq!(spans, ["5 s", "1 min", "5 h 2 min", "3 d 4 h"]);
    }
}
