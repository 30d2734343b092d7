//! Whether a stored response may answer a request (RFC 9111 section 4).

use std::time::{Duration, SystemTime};

use super::control::Directives;
use super::freshness::Terms;

/// What may be done with a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// It answers the request.
    Fresh,
    /// It answers the request though it is stale: the client accepts that (section 5.2.1.2).
    Stale,
    /// It answers the request, and a new one is to be fetched in the meantime (RFC 5861 section 3).
    StaleWhileRevalidate,
    /// The origin is to be asked first, for this reason.
    Ask(Because),
}

/// Why the origin has to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// The response is stale, or always to be validated.
    Stale,
    /// The client wants it so.
    Request,
}

/// The age of a stored response (section 4.2.3). A clock that was set back does not make it negative.
pub fn age(terms: &Terms, arrived: SystemTime, now: SystemTime) -> Duration {
    terms.initial_age + now.duration_since(arrived).unwrap_or_default()
}

/// What may be done with a response of `age` for a request that `wants`.
pub fn judge(terms: &Terms, age: Duration, wants: &Directives) -> Reuse {
    // Section 5.2.1.4.
    if wants.has("no-cache") {
        return Reuse::Ask(Because::Request);
    }
    if terms.always_validate {
        return Reuse::Ask(Because::Stale);
    }
    let is_fresh = terms.lifetime > age;
    // Section 5.2.1.1. A response that says it will not change is no younger for being asked for again
    // (RFC 8246 section 2.1).
    let old = !(terms.immutable && is_fresh) && wants.seconds("max-age").is_some_and(|most| age > most);
    // Section 5.2.1.3.
    let too_soon = wants.seconds("min-fresh").is_some_and(|least| terms.lifetime < age + least);
    let accepts_stale = wants.seconds_or_all("max-stale").filter(|_| !terms.never_stale);
    let overdue = age.saturating_sub(terms.lifetime);
    match (is_fresh, old || too_soon) {
        (true, false) => Reuse::Fresh,
        (false, false) if accepts_stale.is_some_and(|most| overdue <= most) => Reuse::Stale,
        (false, false) if overdue < terms.while_revalidate => Reuse::StaleWhileRevalidate,
        (false, false) => Reuse::Ask(Because::Stale),
        (_, true) => Reuse::Ask(Because::Request),
    }
}

/// Whether a response of `age` may stand in when the origin fails (RFC 5861 section 4). The request may say so
/// as well as the response.
pub fn on_error(terms: &Terms, age: Duration, wants: &Directives) -> bool {
    if terms.never_stale || wants.has("no-cache") {
        return false;
    }
    let overdue = age.saturating_sub(terms.lifetime);
    let allowed = terms.if_error.max(wants.seconds("stale-if-error").unwrap_or_default());
    !allowed.is_zero() && overdue <= allowed
}

/// The statuses that count as failure there.
pub fn is_error(status: u16) -> bool {
    matches!(status, 500 | 502 | 503 | 504)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::headers;
    use super::*;

    fn wants(value: &str) -> Directives {
        Directives::of_request(&headers(&[("cache-control", value)]))
    }

    fn terms(lifetime: u64) -> Terms {
        Terms { lifetime: Duration::from_secs(lifetime), ..Terms::default() }
    }

    fn at(terms: &Terms, age: u64, request: &str) -> Reuse {
        judge(terms, Duration::from_secs(age), &wants(request))
    }

    #[test]
    fn rfc9111_4_2_fresh_while_the_lifetime_exceeds_the_age() {
        assert_eq!(at(&terms(10), 9, ""), Reuse::Fresh);
        assert_eq!(at(&terms(10), 10, ""), Reuse::Ask(Because::Stale));
        assert_eq!(at(&terms(0), 0, ""), Reuse::Ask(Because::Stale));
    }

    #[test]
    fn rfc9111_4_2_3_the_clock_may_go_back() {
        let now = SystemTime::now();
        let terms = Terms { initial_age: Duration::from_secs(5), ..terms(10) };
        assert_eq!(age(&terms, now, now - Duration::from_secs(99)).as_secs(), 5);
        assert_eq!(age(&terms, now, now + Duration::from_secs(2)).as_secs(), 7);
    }

    #[test]
    fn rfc9111_5_2_1_1_max_age_limits_the_age() {
        assert_eq!(at(&terms(100), 10, "max-age=10"), Reuse::Fresh);
        assert_eq!(at(&terms(100), 11, "max-age=10"), Reuse::Ask(Because::Request));
        assert_eq!(at(&terms(100), 1, "max-age=0"), Reuse::Ask(Because::Request));
        assert_eq!(at(&terms(100), 11, "max-age=10, max-stale"), Reuse::Ask(Because::Request));
    }

    #[test]
    fn rfc9111_5_2_1_2_max_stale_accepts_what_is_stale() {
        assert_eq!(at(&terms(10), 99, "max-stale"), Reuse::Stale);
        assert_eq!(at(&terms(10), 15, "max-stale=5"), Reuse::Stale);
        assert_eq!(at(&terms(10), 16, "max-stale=5"), Reuse::Ask(Because::Stale));
        // What is no number is not the same as none.
        for bad in ["max-stale=abc", "max-stale=", "max-stale=-1"] {
            assert_eq!(at(&terms(10), 15, bad), Reuse::Ask(Because::Stale), "{bad}");
        }
        let strict = Terms { never_stale: true, ..terms(10) };
        assert_eq!(at(&strict, 15, "max-stale"), Reuse::Ask(Because::Stale));
    }

    #[test]
    fn rfc9111_5_2_1_3_min_fresh_wants_some_time_left() {
        assert_eq!(at(&terms(10), 5, "min-fresh=5"), Reuse::Fresh);
        assert_eq!(at(&terms(10), 6, "min-fresh=5"), Reuse::Ask(Because::Request));
    }

    #[test]
    fn rfc9111_5_2_1_4_no_cache_asks_always() {
        assert_eq!(at(&terms(10), 0, "no-cache"), Reuse::Ask(Because::Request));
    }

    #[test]
    fn rfc9111_5_2_2_4_what_says_no_cache_is_validated_always() {
        let terms = Terms { always_validate: true, never_stale: true, ..terms(10) };
        for request in ["", "max-stale"] {
            assert_eq!(at(&terms, 0, request), Reuse::Ask(Because::Stale));
        }
    }

    #[test]
    fn rfc5861_3_stale_while_revalidate_lasts_as_long_as_it_says() {
        let terms = Terms { while_revalidate: Duration::from_secs(5), ..terms(10) };
        assert_eq!(at(&terms, 9, ""), Reuse::Fresh);
        assert_eq!(at(&terms, 14, ""), Reuse::StaleWhileRevalidate);
        assert_eq!(at(&terms, 15, ""), Reuse::Ask(Because::Stale));
    }

    #[test]
    fn rfc5861_4_stale_if_error_from_either_side() {
        let allowed =
            |terms: &Terms, age, request| on_error(terms, Duration::from_secs(age), &wants(request));
        let patient = Terms { if_error: Duration::from_secs(5), ..terms(10) };
        assert!(allowed(&patient, 15, "") && !allowed(&patient, 16, ""));
        assert!(allowed(&terms(10), 15, "stale-if-error=5") && !allowed(&terms(10), 15, ""));
        let strict = Terms { never_stale: true, ..terms(10) };
        assert!(!allowed(&strict, 15, "stale-if-error=5"));
        assert!([500, 502, 503, 504].into_iter().all(is_error) && !is_error(501));
    }

    #[test]
    fn rfc8246_2_1_what_is_immutable_is_not_asked_for_because_of_its_age() {
        let immutable = Terms { immutable: true, ..terms(10) };
        assert_eq!(at(&immutable, 5, "max-age=0"), Reuse::Fresh);
        assert_eq!(at(&immutable, 5, "no-cache"), Reuse::Ask(Because::Request));
        assert_eq!(at(&immutable, 11, "max-age=0"), Reuse::Ask(Because::Request));
    }
}
