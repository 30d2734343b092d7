//! Request headers that Guile parses, and which of their values it can.
//!
//! Guile's `(web http)` has a parser for each header that HTTP/1.1 defines, and answers 400 to the whole
//! request when one fails. A browser extension's odd `Accept` should not cost its user the page, so a value
//! that is not plainly well-formed is left out. These grammars are stricter than HTTP's: leaving out a valid
//! but unusual value costs nothing that Cuirass would have used.

use http::header::{self, HeaderName};

/// Whether Guile will be able to read `value`, or will not look at it.
pub(super) fn is_readable(name: &HeaderName, value: &[u8]) -> bool {
    let Ok(value) = std::str::from_utf8(value) else {
        return false;
    };
    if !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return false;
    }
    match *name {
        header::ACCEPT => list(value, media_range),
        header::ACCEPT_LANGUAGE | header::ACCEPT_ENCODING | header::ACCEPT_CHARSET => list(value, weighted),
        header::CONTENT_TYPE => media_type(value),
        header::IF_MODIFIED_SINCE | header::IF_UNMODIFIED_SINCE => imf_fixdate(value),
        header::IF_NONE_MATCH | header::IF_MATCH => value == "*" || list(value, entity_tag),
        header::RANGE => byte_range(value),
        header::REFERER => absolute_uri(value),
        header::CACHE_CONTROL | header::PRAGMA => list(value, directive),
        // Guile parses these too, and nobody behind the gate has a use for them in a request.
        header::AUTHORIZATION
        | header::DATE
        | header::VIA
        | header::WARNING
        | header::IF_RANGE
        | header::FROM
        | header::MAX_FORWARDS
        | header::ALLOW
        | header::CONTENT_ENCODING
        | header::CONTENT_LANGUAGE
        | header::CONTENT_LOCATION
        | header::CONTENT_RANGE
        | header::EXPIRES
        | header::LAST_MODIFIED
        | header::CONTENT_DISPOSITION
        | header::ACCEPT_RANGES
        | header::AGE
        | header::ETAG
        | header::LOCATION
        | header::RETRY_AFTER
        | header::VARY
        | header::WWW_AUTHENTICATE => false,
        _ => name.as_str() != "content-md5",
    }
}

fn list(value: &str, item: fn(&str) -> bool) -> bool {
    value.split(',').all(|part| item(part.trim()))
}

/// `token` (RFC 9110 section 5.6.2).
fn token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// `token=token`, or a quality such as `q=0.8` that Guile reads as thousandths.
fn parameter(text: &str) -> bool {
    match text.trim().split_once('=') {
        Some(("q" | "Q", quality)) => self::quality(quality),
        Some((name, value)) => token(name) && token(value),
        None => false,
    }
}

/// `0`, `0.123`, `1` or `1.000` (RFC 9110 section 12.4.2).
fn quality(text: &str) -> bool {
    match text.split_once('.') {
        None => matches!(text, "0" | "1"),
        Some((whole, digits)) => {
            (1..=3).contains(&digits.len())
                && match whole {
                    "0" => digits.bytes().all(|byte| byte.is_ascii_digit()),
                    "1" => digits.bytes().all(|byte| byte == b'0'),
                    _ => false,
                }
        }
    }
}

fn media_range(text: &str) -> bool {
    let mut parts = text.split(';');
    let kind = parts.next().unwrap_or_default();
    kind.trim().split_once('/').is_some_and(|(main, sub)| token(main) && token(sub)) && parts.all(parameter)
}

fn media_type(text: &str) -> bool {
    media_range(text) && !text.contains('*')
}

fn weighted(text: &str) -> bool {
    let mut parts = text.split(';');
    token(parts.next().unwrap_or_default().trim())
        && parts.next().is_none_or(|weight| weight.trim().strip_prefix("q=").is_some_and(quality))
        && parts.next().is_none()
}

/// `max-age=0`, `no-cache`: names with numbers, and nothing else.
fn directive(text: &str) -> bool {
    match text.split_once('=') {
        None => matches!(text, "no-cache" | "no-store" | "no-transform" | "only-if-cached"),
        Some((name, value)) => {
            matches!(name, "max-age" | "max-stale" | "min-fresh")
                && (1..=9).contains(&value.len())
                && value.bytes().all(|byte| byte.is_ascii_digit())
        }
    }
}

/// `"abc"` or `W/"abc"`, without escapes.
fn entity_tag(text: &str) -> bool {
    text.strip_prefix("W/")
        .unwrap_or(text)
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .is_some_and(|tag| !tag.contains(['"', '\\', ',']))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 section 5.6.7), by shape and range.
fn imf_fixdate(text: &str) -> bool {
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let number = |range: std::ops::Range<usize>, most: u32| {
        text.get(range)
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|digits| digits.parse::<u32>().ok())
            .is_some_and(|number| number <= most)
    };
    text.len() == 29
        && text.get(0..3).is_some_and(|day| DAYS.contains(&day))
        && text.get(3..5) == Some(", ")
        && number(5..7, 31)
        && text.get(5..7) != Some("00")
        && text.get(8..11).is_some_and(|month| MONTHS.contains(&month))
        && number(12..16, 9999)
        && number(17..19, 23)
        && number(20..22, 59)
        && number(23..25, 59)
        && text.get(25..29) == Some(" GMT")
        && [7, 11, 16].iter().all(|&at| text.as_bytes()[at] == b' ')
        && [19, 22].iter().all(|&at| text.as_bytes()[at] == b':')
}

/// `bytes=0-99`, `bytes=100-`, `bytes=-5`, and lists of them.
fn byte_range(text: &str) -> bool {
    let number = |text: &str| text.len() <= 18 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.strip_prefix("bytes=").is_some_and(|ranges| {
        ranges.split(',').all(|range| match range.trim().split_once('-') {
            Some(("", last)) => number(last) && !last.is_empty(),
            Some((first, "")) => number(first),
            Some((first, last)) => {
                number(first) && number(last) && first.parse::<u64>().ok() <= last.parse::<u64>().ok()
            }
            None => false,
        })
    })
}

/// An absolute http(s) URI of the characters that RFC 3986 allows, with a host.
fn absolute_uri(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else {
        return false;
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (name, port) = host.rsplit_once(':').unwrap_or((host, "80"));
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
        && !name.starts_with(['-', '.'])
        && !name.ends_with(['-', '.'])
        && port.parse::<u16>().is_ok()
        && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte))
        && rest.matches('#').count() <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readable(name: &str, value: &str) -> bool {
        is_readable(&name.parse().unwrap(), value.as_bytes())
    }

    #[test]
    fn what_browsers_send_is_passed_on() {
        let accept = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        assert!(readable("accept", accept));
        assert!(readable("accept-language", "en-US,en;q=0.5"));
        assert!(readable("accept-encoding", "gzip, deflate, br, zstd"));
        assert!(readable("referer", "https://ci.example.org/jobset/guix?page=2"));
        assert!(readable("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT"));
        assert!(readable("if-none-match", "W/\"abc\", \"d\""));
        assert!(readable("range", "bytes=0-99, 200-"));
        assert!(readable("cache-control", "max-age=0"));
        assert!(readable("content-type", "application/x-www-form-urlencoded"));
        assert!(readable("cookie", "session=\"odd\""));
    }

    #[test]
    fn what_guile_would_answer_400_to_is_left_out() {
        assert!(!readable("accept", "text"));
        assert!(!readable("accept", "text/html;q=high"));
        assert!(!readable("accept-language", "en;q=2"));
        assert!(!readable("referer", "about:blank"));
        assert!(!readable("referer", "http://"));
        assert!(!readable("if-modified-since", "yesterday"));
        assert!(!readable("if-modified-since", "Sun, 06 Nov 1994 08:49:37 CET"));
        assert!(!readable("range", "bytes=9-1"));
        assert!(!readable("range", "bytes=-"));
        assert!(!readable("authorization", "Basic"));
        assert!(!readable("date", "now"));
        assert!(!readable("cache-control", "max-age=soon"));
        assert!(!readable("content-type", "text"));
        assert!(!readable("x-any", "caf\u{e9}"));
    }
}
