//! When a certificate begins and ends.
//!
//! All times are seconds since 1970. `time`'s types are seen here only in passing: rcgen wants them.

use std::time::{SystemTime, UNIX_EPOCH};

use x509_parser::time::ASN1Time;

use super::error::CaError;

const DAY: i64 = 24 * 60 * 60;
/// How far in the past a certificate begins: clocks differ, and it is often tried at once.
const SKEW: i64 = 5 * 60;
/// The last second that a certificate can say (RFC 5280 section 4.1.2.5): 9999-12-31 23:59:59.
const LAST: i64 = 253_402_300_799;

/// The dates of a certificate; both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Validity {
    pub(super) not_before: i64,
    pub(super) not_after: i64,
}

impl Validity {
    /// From a little before `now` for so many days.
    pub(super) fn days(now: i64, days: u32) -> Result<Self, CaError> {
        let not_after = now + i64::from(days) * DAY;
        if days == 0 || not_after > LAST {
            return Err(CaError::Argument(format!(
                "{days} days: expected at least 1, and an end before the year 10000"
            )));
        }
        Ok(Self { not_before: now - SKEW, not_after })
    }

    /// The part of it that lies within `outer`, and whether its end was cut off; none if nothing does.
    pub(super) fn within(self, outer: Self) -> Option<(Self, bool)> {
        let inner = Self {
            not_before: self.not_before.max(outer.not_before),
            not_after: self.not_after.min(outer.not_after),
        };
        (inner.not_before < inner.not_after).then_some((inner, inner.not_after < self.not_after))
    }
}

/// The current time.
pub(super) fn now() -> i64 {
    seconds(SystemTime::now())
}

/// Seconds since 1970; a clock before that is taken for 1970.
pub(super) fn seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(LAST))
}

/// As rcgen takes it. It writes UTCTime through 2049 and GeneralizedTime from 2050 on, as RFC 5280 wants.
pub(super) fn asn1(seconds: i64) -> Result<ASN1Time, CaError> {
    ASN1Time::from_timestamp(seconds).map_err(CaError::crypto("write a date"))
}

/// `2026-11-22`, in UTC.
pub(super) fn day(seconds: i64) -> String {
    ASN1Time::from_timestamp(seconds).map_or("?".into(), |time| time.to_datetime().date().to_string())
}
