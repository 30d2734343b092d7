//! `Cache-Status` (RFC 9211): what this cache did with a request.

use std::fmt::{self, Write};
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::origin::Failure;

/// What a cache did with a request (RFC 9211).
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// What was done with a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheStatus {
    /// Why the origin was asked; none: it was not (sections 2.1 and 2.2).
    pub forwarded: Option<Forwarded>,
    /// The origin's answer, where it is not the one sent on (section 2.3).
    pub forwarded_status: Option<u16>,
    /// It is kept (section 2.4).
    pub stored: bool,
    /// Another request's fetch brought it (section 2.5).
    pub collapsed: bool,
    /// How much longer it is fresh, in seconds; negative when it is not (section 2.6).
    pub ttl: Option<i64>,
    /// More, in a word (section 2.8).
    pub detail: Option<&'static str>,
}

/// Why the origin was asked (section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarded {
    /// Nothing was stored for the target.
    UriMiss,
    /// Something was, for other requests.
    VaryMiss,
    /// What was stored is stale.
    Stale,
    /// The client wanted it.
    Request,
}

/// In short: what was done with a request, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered from what was stored, fresh.
    Hit,
    /// Answered from what was stored, past its time.
    Stale,
    /// Answered from what was stored after the origin said that it is still good.
    Validated,
    /// Answered with what the origin sent, or not at all.
    Missed,
}

impl CacheStatus {
    /// What was done with a request that was answered from what is stored.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self { forwarded: Some(_), .. } => Outcome::Validated,
            // A client may say that it takes what is stale (RFC 9111 section 5.2.1.2).
            Self { ttl: Some(..0), .. } | Self { detail: Some(_), .. } => Outcome::Stale,
            _ => Outcome::Hit,
        }
    }

    /// The seconds left of a lifetime.
    pub fn ttl(lifetime: Duration, age: Duration) -> Option<i64> {
        let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        Some(seconds(lifetime).saturating_sub(seconds(age)))
    }

    /// What was done with a request that `failure` came of.
    pub fn of_failure(failure: &Failure) -> Self {
        Self { forwarded: failure.forwarded, detail: Some(failure.in_a_word()), ..Self::default() }
    }

    /// As a field of an answer that has not come by way of another cache.
    pub fn value(&self) -> Option<HeaderValue> {
        // Hardly any is longer: one allocation, where growing would be four.
        let mut text = String::with_capacity(64);
        // Writing to a string does not fail.
        let _ = write!(text, "{self}");
        HeaderValue::try_from(text).ok()
    }

    /// Adds this cache behind those that were nearer to the origin (section 2).
    pub fn append_to(&self, headers: &mut HeaderMap) {
        // Made of what a header may hold.
        if let Some(value) = self.value() {
            headers.append(CACHE_STATUS, value);
        }
    }
}

impl fmt::Display for CacheStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("farmgate; ")?;
        match self.forwarded {
            None => f.write_str("hit")?,
            Some(Forwarded::UriMiss) => f.write_str("fwd=uri-miss")?,
            Some(Forwarded::VaryMiss) => f.write_str("fwd=vary-miss")?,
            Some(Forwarded::Stale) => f.write_str("fwd=stale")?,
            Some(Forwarded::Request) => f.write_str("fwd=request")?,
        }
        if let Some(status) = self.forwarded_status {
            write!(f, "; fwd-status={status}")?;
        }
        if self.stored {
            f.write_str("; stored")?;
        }
        if self.collapsed {
            f.write_str("; collapsed")?;
        }
        if let Some(ttl) = self.ttl {
            write!(f, "; ttl={ttl}")?;
        }
        if let Some(detail) = self.detail {
            write!(f, "; detail={detail}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9211_2_parameters_stand_as_structured_fields() {
        let hit = CacheStatus {
            ttl: CacheStatus::ttl(Duration::from_secs(9), Duration::from_secs(12)),
            ..CacheStatus::default()
        };
        assert_eq!(hit.to_string(), "farmgate; hit; ttl=-3");
        let miss = CacheStatus {
            forwarded: Some(Forwarded::UriMiss),
            stored: true,
            collapsed: true,
            ..CacheStatus::default()
        };
        assert_eq!(miss.to_string(), "farmgate; fwd=uri-miss; stored; collapsed");
    }

    #[test]
    fn rfc9211_2_the_cache_nearest_to_the_origin_comes_first() {
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_STATUS, HeaderValue::from_static("Origin; hit"));
        CacheStatus::default().append_to(&mut headers);
        let lines: Vec<_> =
            headers.get_all(CACHE_STATUS).iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!(lines, ["Origin; hit", "farmgate; hit"]);
    }
}
