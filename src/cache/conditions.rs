//! Conditional requests, answered from what is stored (RFC 9110 section 13, RFC 9111 section 4.3.2).

use http::header::{self, HeaderMap, HeaderValue};

use super::freshness::date;

/// Whether the client's own copy, which it tells of in `request`, is the stored response: then 304 is the answer.
///
/// `If-Match` and `If-Unmodified-Since` are for an origin to judge (RFC 9111 section 4.3.2).
pub fn is_not_modified(request: &HeaderMap, status: u16, stored: &HeaderMap) -> bool {
    if status != 200 {
        return false;
    }
    if request.contains_key(header::IF_NONE_MATCH) {
        // Where it is there, If-Modified-Since does not count (RFC 9110 section 13.1.3).
        return request.get_all(header::IF_NONE_MATCH).iter().any(|list| {
            list.as_bytes().trim_ascii() == b"*"
                || stored.get(header::ETAG).is_some_and(|etag| {
                    entity_tags(list.as_bytes()).any(|tag| opaque(tag) == opaque(etag.as_bytes()))
                })
        });
    }
    let Some(since) = only(request, header::IF_MODIFIED_SINCE).and_then(date) else {
        return false;
    };
    // Without a Last-Modified, the Date will do (RFC 9111 section 4.3.2).
    let modified = stored.get(header::LAST_MODIFIED).or_else(|| stored.get(header::DATE)).and_then(date);
    modified.is_some_and(|modified| modified <= since)
}

/// Whether a `Range` may be followed: there is no `If-Range`, or the client's part is of this very response
/// (RFC 9110 section 13.1.5).
pub fn range_applies(request: &HeaderMap, stored: &HeaderMap) -> bool {
    let Some(condition) = request.get(header::IF_RANGE) else {
        return true;
    };
    let condition = condition.as_bytes().trim_ascii();
    if condition.starts_with(b"\"") || condition.starts_with(b"W/") {
        // The strong comparison: a weak tag equals none (section 8.8.3.2).
        return condition.starts_with(b"\"")
            && stored.get(header::ETAG).is_some_and(|etag| etag.as_bytes() == condition);
    }
    // A date has to be exact, and strong: at least a second older than the response (section 8.8.2.2).
    let (Some(modified), Some(made)) = (stored.get(header::LAST_MODIFIED), stored.get(header::DATE)) else {
        return false;
    };
    let is_strong = match (date(modified), date(made)) {
        (Some(modified), Some(made)) => made.duration_since(modified).is_ok_and(|gap| gap.as_secs() >= 1),
        _ => false,
    };
    is_strong && HeaderValue::from_bytes(condition).is_ok_and(|value| date(&value) == date(modified))
}

/// The fields that make up a 304 (RFC 9110 section 15.4.5); what describes the body is not among them.
pub fn without_body(headers: &mut HeaderMap) {
    for name in [
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::CONTENT_LANGUAGE,
        header::CONTENT_RANGE,
        header::CONTENT_DISPOSITION,
        header::ACCEPT_RANGES,
    ] {
        headers.remove(name);
    }
}

/// The validators to ask the origin with (RFC 9111 section 4.3.1).
pub fn validators(stored: &HeaderMap) -> Vec<(header::HeaderName, HeaderValue)> {
    [(header::ETAG, header::IF_NONE_MATCH), (header::LAST_MODIFIED, header::IF_MODIFIED_SINCE)]
        .into_iter()
        .filter_map(|(validator, condition)| Some((condition, stored.get(validator)?.clone())))
        .collect()
}

/// Whether a 304 with these fields speaks of the stored response (RFC 9111 section 4.3.4).
pub fn selects(response: &HeaderMap, stored: &HeaderMap) -> bool {
    match (response.get(header::ETAG), stored.get(header::ETAG)) {
        (Some(new), Some(old)) if is_weak(new) => opaque(new.as_bytes()) == opaque(old.as_bytes()),
        (Some(new), Some(old)) => new == old,
        (Some(_), None) => false,
        (None, _) => match (response.get(header::LAST_MODIFIED), stored.get(header::LAST_MODIFIED)) {
            (Some(new), Some(old)) => new == old,
            // Nothing that could contradict: we have asked with what is stored.
            _ => true,
        },
    }
}

fn only(headers: &HeaderMap, name: header::HeaderName) -> Option<&HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    lines.next().filter(|_| lines.next().is_none())
}

/// The tag without its weakness: what the weak comparison compares (RFC 9110 section 8.8.3.2).
fn opaque(tag: &[u8]) -> &[u8] {
    let tag = tag.trim_ascii();
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

fn is_weak(tag: &HeaderValue) -> bool {
    tag.as_bytes().starts_with(b"W/")
}

/// The members of a list of entity tags, in which commas may stand inside of quotes.
fn entity_tags(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    list.split(move |&byte| {
        quoted ^= byte == b'"';
        byte == b',' && !quoted
    })
    .map(<[u8]>::trim_ascii)
    .filter(|tag| !tag.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::headers;
    use super::*;

    const STORED: &[(&str, &str)] = &[
        ("etag", "\"a,b\""),
        ("last-modified", "Tue, 01 Jul 2025 10:00:00 GMT"),
        ("date", "Tue, 01 Jul 2025 12:00:00 GMT"),
    ];

    fn not_modified(request: &[(&'static str, &str)]) -> bool {
        is_not_modified(&headers(request), 200, &headers(STORED))
    }

    #[test]
    fn rfc9110_13_1_2_if_none_match_compares_weakly_over_the_whole_list() {
        for list in ["\"a,b\"", "W/\"a,b\"", "\"x\", \"a,b\"", "*", "\"y\",W/\"a,b\" "] {
            assert!(not_modified(&[("if-none-match", list)]), "{list}");
        }
        for list in ["\"a\"", "b\"", "\"A,B\"", "", "\"x\""] {
            assert!(!not_modified(&[("if-none-match", list)]), "{list}");
        }
        assert!(not_modified(&[("if-none-match", "\"x\""), ("if-none-match", "\"a,b\"")]));
    }

    #[test]
    fn rfc9110_13_1_3_if_modified_since_counts_only_without_if_none_match() {
        let late = ("if-modified-since", "Wed, 02 Jul 2025 10:00:00 GMT");
        assert!(not_modified(&[late]));
        assert!(!not_modified(&[late, ("if-none-match", "\"x\"")]));
        assert!(!not_modified(&[("if-modified-since", "Tue, 01 Jul 2025 09:59:59 GMT")]));
        assert!(!not_modified(&[("if-modified-since", "yesterday")]));
    }

    #[test]
    fn rfc9111_4_3_2_without_last_modified_the_date_counts() {
        let stored = headers(&[("date", "Tue, 01 Jul 2025 12:00:00 GMT")]);
        let since = |when| is_not_modified(&headers(&[("if-modified-since", when)]), 200, &stored);
        assert!(since("Tue, 01 Jul 2025 12:00:00 GMT"));
        assert!(!since("Tue, 01 Jul 2025 11:59:59 GMT"));
    }

    #[test]
    fn rfc9111_4_3_2_only_a_200_is_turned_into_a_304() {
        assert!(!is_not_modified(&headers(&[("if-none-match", "*")]), 404, &headers(STORED)));
    }

    #[test]
    fn rfc9110_13_1_5_if_range_compares_strongly() {
        let applies = |condition| range_applies(&headers(&[("if-range", condition)]), &headers(STORED));
        assert!(applies("\"a,b\"") && applies("Tue, 01 Jul 2025 10:00:00 GMT"));
        for other in ["W/\"a,b\"", "\"b\"", "Tue, 01 Jul 2025 10:00:01 GMT", "nonsense"] {
            assert!(!applies(other), "{other}");
        }
        let weak = headers(&[("etag", "W/\"a\"")]);
        assert!(!range_applies(&headers(&[("if-range", "W/\"a\"")]), &weak));
        let moment = "Tue, 01 Jul 2025 12:00:00 GMT";
        let young = headers(&[("last-modified", moment), ("date", moment)]);
        assert!(!range_applies(&headers(&[("if-range", moment)]), &young));
    }

    #[test]
    fn rfc9111_4_3_4_a_304_for_something_else_updates_nothing() {
        assert!(selects(&headers(&[("etag", "W/\"a,b\"")]), &headers(STORED)));
        assert!(selects(&headers(&[]), &headers(STORED)));
        assert!(!selects(&headers(&[("etag", "\"new\"")]), &headers(STORED)));
        assert!(!selects(&headers(&[("etag", "\"new\"")]), &headers(&[])));
        // A strong validator means one with the same strong validator, and nothing that is weaker.
        let weak = headers(&[("etag", "W/\"a\"")]);
        assert!(!selects(&headers(&[("etag", "\"a\"")]), &weak) && selects(&weak, &weak));
    }
}
