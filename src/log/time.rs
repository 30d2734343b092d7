//! Dates in UTC, as the two formats and the names of files write them.

use std::time::{Duration, SystemTime};

use crate::date::civil_date;

const DAY: u64 = 86_400;
const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// One second, written out. Lines come by the thousand in a second, and so are made with one of these.
#[derive(Debug)]
pub struct Dates {
    second: Option<u64>,
    /// "22/Nov/2026:20:32:00 +0000"
    pub common: [u8; 26],
    /// "2026-11-22T20:32:00", to which a fraction may be added (RFC 3339 section 5.6).
    pub rfc3339: [u8; 19],
}

impl Default for Dates {
    fn default() -> Self {
        Self { second: None, common: *b"00/Jan/0000:00:00:00 +0000", rfc3339: *b"0000-00-00T00:00:00" }
    }
}

impl Dates {
    /// Makes them those of `seconds` since 1970.
    pub fn set(&mut self, seconds: u64) {
        if self.second == Some(seconds) {
            return;
        }
        let civil = Civil::of(seconds);
        let Civil { year, month, day, hour, minute, second } = civil;
        for (at, digits, value) in
            [(0, 2, day), (7, 4, year), (12, 2, hour), (15, 2, minute), (18, 2, second)]
        {
            put(&mut self.common[at..at + digits], value);
        }
        self.common[3..6].copy_from_slice(MONTHS[(month - 1) as usize]);
        for (at, digits, value) in
            [(0, 4, year), (5, 2, month), (8, 2, day), (11, 2, hour), (14, 2, minute), (17, 2, second)]
        {
            put(&mut self.rfc3339[at..at + digits], value);
        }
        self.second = Some(seconds);
    }
}

/// What is between 1970 and `time`. Before 1970 the clock is wrong, and any date will do.
pub fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// "20261122T203200Z": the length is the same for all, and names sort as the times do.
pub fn stamp(seconds: u64) -> String {
    let Civil { year, month, day, hour, minute, second } = Civil::of(seconds);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Seconds since 1970 of what [`stamp`] made.
pub fn parse_stamp(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| {
        let digits = text.get(from..to)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u64>().ok())?
    };
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(9, 11)?, number(11, 13)?, number(13, 15)?);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let seconds = days_before(year, month, day) * DAY + hour * 3600 + minute * 60 + second;
    // There is one way to write a time, and no 30th of February.
    (stamp(seconds) == text).then_some(seconds)
}

/// A time in the Gregorian calendar; month and day count from 1.
struct Civil {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

impl Civil {
    fn of(seconds: u64) -> Self {
        let (year, month, day) = civil_date(seconds / DAY);
        let month = month as u64;
        Self { year, month, day, hour: seconds / 3600 % 24, minute: seconds / 60 % 60, second: seconds % 60 }
    }
}

/// The days from 1970-01-01 to a date of 1970 or later.
fn days_before(year: u64, month: u64, day: u64) -> u64 {
    let years: u64 = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum();
    years + months(year).iter().take((month - 1) as usize).sum::<u64>() + day - 1
}

fn months(year: u64) -> [u64; 12] {
    [31, if is_leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400)
}

/// Writes the last digits of `value`, as many as there is room for.
fn put(room: &mut [u8], mut value: u64) {
    for byte in room.iter_mut().rev() {
        *byte = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_written_in_both_ways_and_anew_when_it_is_over() {
        let mut dates = Dates::default();
        dates.set(1_795_379_520);
        assert_eq!(&dates.common, b"22/Nov/2026:20:32:00 +0000");
        assert_eq!(&dates.rfc3339, b"2026-11-22T20:32:00");
        dates.set(1_795_379_521);
        assert_eq!(&dates.common, b"22/Nov/2026:20:32:01 +0000");
        assert_eq!(&dates.rfc3339, b"2026-11-22T20:32:01");
    }

    #[test]
    fn stamps_are_read_as_they_were_written_and_nothing_else_is() {
        for seconds in [0, 951_782_400, 1_795_379_520, 253_402_300_799] {
            assert_eq!(parse_stamp(&stamp(seconds)), Some(seconds), "{}", stamp(seconds));
        }
        assert_eq!(stamp(1_795_379_520), "20261122T203200Z");
        for text in ["", "20261122T203200", "20260230T203200Z", "20261122t203200Z", "2026112é203200Z", "x"] {
            assert_eq!(parse_stamp(text), None, "{text}");
        }
        // A clock that is wrong by ages writes a date that is wrong, and no more.
        Dates::default().set(u64::MAX);
        stamp(u64::MAX);
    }
}
