//! From the text of the RFCs, section by section.

use std::time::UNIX_EPOCH;

use super::super::fixture::headers;
use super::*;

const RULES: Rules =
    Rules { fallback: Duration::from_secs(1000), fallback_other: Some(Duration::from_secs(100)) };
/// "Tue, 01 Jul 2025 10:00:00 GMT"
const NOON: Duration = Duration::from_secs(1_751_364_000);

fn at(
    request: &[(&'static str, &str)],
    status: u16,
    response: &[(&'static str, &str)],
) -> Result<Terms, Refusal> {
    let (request, response) = (headers(request), headers(response));
    let now = UNIX_EPOCH + NOON;
    judge(&Arrival { request: &request, status, response: &response, asked: now, arrived: now }, &RULES)
}

fn of(response: &[(&'static str, &str)]) -> Result<Terms, Refusal> {
    at(&[], 200, response)
}

fn cache_control(value: &str) -> Result<Terms, Refusal> {
    of(&[("cache-control", value)])
}

fn lifetime(response: &[(&'static str, &str)]) -> u64 {
    of(response).unwrap().lifetime.as_secs()
}

#[test]
fn rfc9111_3_no_store_and_private_are_not_stored() {
    assert_eq!(cache_control("no-store, max-age=60"), Err(Refusal("no-store")));
    assert_eq!(cache_control("private, max-age=60"), Err(Refusal("private")));
    let request = [("cache-control", "no-store")];
    assert_eq!(at(&request, 200, &[("cache-control", "max-age=60")]), Err(Refusal("request-no-store")));
}

#[test]
fn rfc9111_3_only_final_whole_responses_are_stored() {
    for status in [100, 103, 206, 304] {
        assert_eq!(at(&[], status, &[("cache-control", "max-age=60")]), Err(Refusal("partial")), "{status}");
    }
}

#[test]
fn rfc9111_3_any_status_may_be_stored_that_says_so() {
    for status in [200, 201, 302, 403, 404, 500, 503] {
        assert!(at(&[], status, &[("cache-control", "max-age=60")]).is_ok(), "{status}");
    }
}

#[test]
fn rfc9111_3_1_fields_of_one_hop_are_not_stored() {
    let fields = headers(&[
        ("connection", "close, X-Hop"),
        ("x-hop", "1"),
        ("keep-alive", "1"),
        ("transfer-encoding", "chunked"),
        ("proxy-authenticate", "x"),
        ("trailer", "x"),
        ("x-kept", "1"),
        ("date", "Tue, 01 Jul 2025 10:00:00 GMT"),
    ]);
    let stored = storable_fields(&fields, UNIX_EPOCH + NOON);
    let names: Vec<_> = stored.keys().map(HeaderName::as_str).collect();
    assert_eq!(names, ["x-kept", "date"]);
}

#[test]
fn rfc9111_3_2_a_304_updates_the_stored_fields_but_not_what_describes_the_body() {
    let stored =
        headers(&[("etag", "\"1\""), ("content-length", "5"), ("x-a", "1"), ("x-b", "1"), ("age", "9")]);
    let fields = [("x-a", "2"), ("x-a", "3"), ("content-length", "0"), ("connection", "x-c"), ("x-c", "1")];
    let updated = updated_fields(&stored, &headers(&fields), UNIX_EPOCH + NOON);
    let all = |name: &str| {
        updated.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((all("x-a"), all("x-b")), (vec!["2".into(), "3".into()], vec!["1".to_owned()]));
    assert_eq!((all("content-length"), all("etag")), (vec!["5".to_owned()], vec!["\"1\"".to_owned()]));
    assert!(!updated.contains_key("age") && !updated.contains_key("x-c"));
    assert_eq!(all("date"), ["Tue, 01 Jul 2025 10:00:00 GMT"]);
}

#[test]
fn rfc9111_3_5_authorized_requests_need_permission() {
    let ask = |value: &str| at(&[("authorization", "x")], 200, &[("cache-control", value)]);
    assert_eq!(ask("max-age=60"), Err(Refusal("authorization")));
    for permission in ["public, max-age=60", "s-maxage=60", "must-revalidate, max-age=60"] {
        assert!(ask(permission).is_ok(), "{permission}");
    }
}

#[test]
fn rfc9111_4_2_1_s_maxage_before_max_age_before_expires() {
    let expires = ("expires", "Tue, 01 Jul 2025 10:00:30 GMT");
    let date = ("date", "Tue, 01 Jul 2025 10:00:00 GMT");
    assert_eq!(lifetime(&[expires, date, ("cache-control", "max-age=20, s-maxage=10")]), 10);
    assert_eq!(lifetime(&[expires, date, ("cache-control", "max-age=20")]), 20);
    assert_eq!(lifetime(&[expires, date]), 30);
    assert_eq!(lifetime(&[]), 1000);
}

#[test]
fn rfc9111_4_2_1_expires_counts_from_the_date_of_the_response() {
    let fields = [
        ("expires", "Tue, 01 Jul 2025 09:30:00 GMT"),
        ("date", "Tue, 01 Jul 2025 09:00:00 GMT"),
        ("etag", "\"1\""),
    ];
    assert_eq!(lifetime(&fields), 1800);
    assert_eq!(of(&fields).unwrap().initial_age, Duration::from_secs(3600));
}

#[test]
fn rfc9111_5_3_an_invalid_expires_is_in_the_past() {
    for expires in ["0", "-1", "", "tomorrow", "Tue, 01 Jul 2025"] {
        assert_eq!(lifetime(&[("expires", expires), ("etag", "\"1\"")]), 0, "{expires}");
        assert_eq!(of(&[("expires", expires)]), Err(Refusal("stale-on-arrival")), "{expires}");
    }
    let two = [
        ("expires", "Tue, 01 Jul 2025 10:00:30 GMT"),
        ("expires", "Tue, 01 Jul 2025 10:00:40 GMT"),
        ("etag", "x"),
    ];
    assert_eq!(lifetime(&two), 0);
}

#[test]
fn rfc9111_4_2_2_a_guess_only_where_it_is_allowed() {
    for status in [203, 204, 300, 301, 308, 404, 405, 410, 414, 501] {
        assert_eq!(at(&[], status, &[]).unwrap().lifetime, Duration::from_secs(100), "{status}");
    }
    for status in [201, 302, 303, 307, 400, 403, 500, 502, 503] {
        assert_eq!(at(&[], status, &[]), Err(Refusal("no-freshness")), "{status}");
        assert!(at(&[], status, &[("cache-control", "public")]).is_ok(), "{status}");
    }
}

#[test]
fn a_fallback_of_zero_never_guesses() {
    let rules = Rules { fallback: Duration::ZERO, fallback_other: Some(Duration::ZERO) };
    let nothing = HeaderMap::new();
    let now = UNIX_EPOCH + NOON;
    for status in [200, 404, 504] {
        let arrival = Arrival { request: &nothing, status, response: &nothing, asked: now, arrived: now };
        assert_eq!(judge(&arrival, &rules), Err(Refusal("no-freshness")));
    }
}

#[test]
fn a_504_is_kept_half_a_minute_and_of_logs_nothing_but_a_200() {
    assert_eq!(at(&[], 504, &[]).unwrap().lifetime, GATEWAY_TIMEOUT);
    let rules = Rules { fallback_other: None, ..RULES };
    let (nothing, says) = (HeaderMap::new(), headers(&[("cache-control", "max-age=60")]));
    let now = UNIX_EPOCH + NOON;
    for status in [404, 504] {
        let arrival = Arrival { request: &nothing, status, response: &says, asked: now, arrived: now };
        assert_eq!(judge(&arrival, &rules), Err(Refusal("status")));
    }
}

#[test]
fn rfc9111_4_2_3_the_age_on_arrival_counts_what_others_kept_it_and_the_way_here() {
    let (request, response) =
        (HeaderMap::new(), headers(&[("age", "100"), ("date", "Tue, 01 Jul 2025 09:59:00 GMT")]));
    let arrived = UNIX_EPOCH + NOON;
    let age = |asked| {
        initial_age(&Arrival { request: &request, status: 200, response: &response, asked, arrived })
            .as_secs()
    };
    assert_eq!(age(arrived), 100);
    assert_eq!(age(arrived - Duration::from_secs(5)), 105);
    let old = headers(&[("age", "1"), ("date", "Tue, 01 Jul 2025 09:59:00 GMT")]);
    let arrival = Arrival { request: &request, status: 200, response: &old, asked: arrived, arrived };
    assert_eq!(initial_age(&arrival).as_secs(), 60);
    let odd = headers(&[("age", "7, 9"), ("date", "Tue, 01 Jul 2025 11:00:00 GMT")]);
    assert_eq!(initial_age(&Arrival { response: &odd, ..arrival }).as_secs(), 7);
    for huge in ["18446744073709551615", "99999999999999999999999"] {
        // Section 1.2.2: what is too large to be held is for ever.
        let kept = headers(&[("age", huge)]);
        let age =
            initial_age(&Arrival { response: &kept, asked: arrived - Duration::from_secs(9), ..arrival });
        assert!(age >= Duration::from_secs(1 << 31) && age < Duration::from_secs(1 << 32), "{age:?}");
    }
    let bad = headers(&[("age", "-5")]);
    assert_eq!(initial_age(&Arrival { response: &bad, ..arrival }).as_secs(), 0);
}

#[test]
fn rfc9111_5_2_2_3_must_understand_overrides_no_store_for_known_statuses() {
    let says = [("cache-control", "must-understand, no-store, max-age=60")];
    assert!(at(&[], 200, &says).is_ok());
    assert_eq!(at(&[], 299, &says), Err(Refusal("must-understand")));
}

#[test]
fn rfc9111_5_2_2_4_no_cache_is_stored_to_be_validated() {
    let terms = of(&[("cache-control", "no-cache, max-age=60"), ("etag", "\"1\"")]).unwrap();
    assert!(terms.always_validate && terms.never_stale);
    assert_eq!(cache_control("no-cache"), Err(Refusal("stale-on-arrival")));
}

#[test]
fn rfc9111_5_2_2_4_and_5_2_2_7_fields_named_are_not_stored() {
    let fields = headers(&[
        ("cache-control", "private=\"X-A, x-b\", no-cache=X-C, max-age=60"),
        ("x-a", "1"),
        ("x-b", "1"),
        ("x-c", "1"),
        ("x-d", "1"),
    ]);
    let arrival = Arrival {
        request: &HeaderMap::new(),
        status: 200,
        response: &fields,
        asked: UNIX_EPOCH,
        arrived: UNIX_EPOCH,
    };
    let terms = judge(&arrival, &RULES).unwrap();
    assert!(!terms.always_validate);
    let stored = storable_fields(&fields, UNIX_EPOCH);
    assert!(
        ["x-a", "x-b", "x-c"].iter().all(|name| !stored.contains_key(*name)) && stored.contains_key("x-d")
    );
}

#[test]
fn rfc9111_4_2_4_and_5_2_2_10_some_are_never_used_stale() {
    for says in ["must-revalidate", "proxy-revalidate", "s-maxage=10"] {
        let terms =
            cache_control(&format!("{says}, max-age=5, stale-if-error=9, stale-while-revalidate=9")).unwrap();
        assert!(terms.never_stale, "{says}");
        assert_eq!((terms.if_error, terms.while_revalidate), (Duration::ZERO, Duration::ZERO), "{says}");
    }
}

#[test]
fn what_sets_a_cookie_is_not_stored_whatever_it_says() {
    let fields = [("set-cookie", "a=1"), ("cache-control", "public, max-age=60")];
    assert_eq!(of(&fields), Err(Refusal("set-cookie")));
}

#[test]
fn rfc5861_3_and_4_stale_windows_are_kept() {
    let terms = cache_control("max-age=5, stale-while-revalidate=6, stale-if-error=7").unwrap();
    assert_eq!((terms.while_revalidate.as_secs(), terms.if_error.as_secs()), (6, 7));
}

#[test]
fn rfc9213_2_2_the_targeted_field_hides_cache_control_and_expires() {
    let hidden = [
        ("cdn-cache-control", "max-age=7"),
        ("cache-control", "private"),
        ("expires", "Tue, 01 Jul 2025 10:00:30 GMT"),
    ];
    assert_eq!(lifetime(&hidden), 7);
    let silent = [("cdn-cache-control", "public"), ("expires", "Tue, 01 Jul 2025 10:00:30 GMT")];
    assert_eq!(lifetime(&silent), 1000, "Expires does not count");
}

#[test]
fn rfc8246_2_immutable_is_kept() {
    assert!(cache_control("max-age=5, immutable").unwrap().immutable);
}

#[test]
fn rfc9110_6_6_1_a_response_without_a_date_gets_that_of_its_arrival() {
    let stored = storable_fields(&headers(&[("date", "not a date")]), UNIX_EPOCH + NOON);
    assert_eq!(stored["date"], "Tue, 01 Jul 2025 10:00:00 GMT");
}
