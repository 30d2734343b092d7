//! Requests that are none, and that the h2 crate lets through.
//!
//! It refuses what frames and fields alone can tell. What is left are requests on which two readers could disagree,
//! and nothing of them may reach a backend (RFC 9113 section 8.1.1).

use http::{HeaderMap, Method, header};
use pingora::http::RequestHeader;

/// What is wrong with a request. It is answered, and read no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is malformed.
    Malformed,
    /// Its head is larger than our settings say, which the client may not have known.
    HeadTooLarge,
}

/// What is wrong with `request`, if anything. `measure` says that nobody has looked at its size.
pub(super) fn of(request: &RequestHeader, measure: bool) -> Option<Fault> {
    if measure && size(&request.headers) > super::LARGEST_HEAD as usize {
        return Some(Fault::HeadTooLarge);
    }
    let well_formed = is_target(request) && is_length(&request.headers) && is_authority(request);
    (!well_formed).then_some(Fault::Malformed)
}

/// The size of a head as RFC 9113 section 6.5.2 has it: names, values, and 32 bytes for each.
fn size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}

/// `:path` is a path, or `*` (RFC 9113 section 8.3.1). CONNECT has none (section 8.5).
fn is_target(request: &RequestHeader) -> bool {
    let target = request.raw_path();
    if request.method == Method::CONNECT {
        return true;
    }
    (target.starts_with(b"/") || (target == b"*" && request.method == Method::OPTIONS))
        && !target.iter().any(|byte| matches!(byte, 0..=b' ' | 0x7f))
}

/// No length but the frames', and one number at the most that says the same (RFC 9110 section 8.6).
fn is_length(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let is_number = match lengths.next() {
        Some(length) => !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit),
        None => true,
    };
    is_number && lengths.next().is_none() && !headers.contains_key(header::TRANSFER_ENCODING)
}

/// One host, which `:authority` and `Host` agree on to the byte, and nobody's user name in it.
fn is_authority(request: &RequestHeader) -> bool {
    let mut hosts = request.headers.get_all(header::HOST).iter();
    let host = hosts.next().map(|host| host.as_bytes());
    if hosts.next().is_some() {
        return false;
    }
    let authority = request.uri.authority().map(|authority| authority.as_str().as_bytes());
    match (authority, host) {
        (Some(authority), Some(host)) if authority != host => false,
        (Some(named), _) | (None, Some(named)) => !named.contains(&b'@'),
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, uri: &str, fields: &[(&str, &str)]) -> RequestHeader {
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        RequestHeader::from(request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn rfc_9113_section_8_3_1_one_host_is_named_and_once() {
        let get = |uri, hosts: &[&str]| {
            let fields: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            of(&request("GET", uri, &fields), true)
        };
        assert_eq!(get("https://a.example/x", &[]), None);
        assert_eq!(get("https://a.example/x", &["a.example"]), None);
        assert_eq!(get("https://a.example:443/x", &["a.example:443"]), None);
        assert_eq!(get("/x", &["a.example"]), None);
        for (uri, hosts) in [
            ("/x", &[][..]),
            ("https://a.example/x", &["b.example"]),
            ("https://a.example/x", &["A.EXAMPLE"]),
            ("https://a.example/x", &["a.example:443"]),
            ("https://a.example:443/x", &["a.example"]),
            ("https://a.example/x", &["a.example", "a.example"]),
            ("https://user@a.example/x", &[]),
            ("https://b.example@a.example/x", &["b.example@a.example"]),
            ("/x", &["user@a.example"]),
        ] {
            assert_eq!(get(uri, hosts), Some(Fault::Malformed), "{uri} {hosts:?}");
        }
    }

    #[test]
    fn rfc_9110_section_8_6_a_length_is_one_number() {
        let post = |lengths: &[(&str, &str)]| of(&request("POST", "https://a.example/x", lengths), true);
        assert_eq!(post(&[]), None);
        assert_eq!(post(&[("content-length", "12")]), None);
        for lengths in [
            &[("content-length", "")][..],
            &[("content-length", "-1")],
            &[("content-length", "+1")],
            &[("content-length", "1, 1")],
            &[("content-length", "1"), ("content-length", "1")],
            &[("content-length", "1"), ("content-length", "2")],
            &[("transfer-encoding", "chunked")],
        ] {
            assert_eq!(post(lengths), Some(Fault::Malformed), "{lengths:?}");
        }
    }

    #[test]
    fn rfc_9113_section_8_3_1_a_path_begins_with_a_slash() {
        assert_eq!(of(&request("OPTIONS", "*", &[("host", "a.example")]), true), None);
        assert_eq!(of(&request("GET", "*", &[("host", "a.example")]), true), Some(Fault::Malformed));
        assert_eq!(of(&request("CONNECT", "a.example:443", &[]), true), None);
    }

    #[test]
    fn rfc_9113_section_6_5_2_a_head_is_measured_as_the_settings_have_it() {
        let of_size = |value: usize, measure| {
            of(&request("GET", "https://a.example/x", &[("x", &"v".repeat(value))]), measure)
        };
        assert_eq!(of_size(64 * 1024 - 33, true), None);
        assert_eq!(of_size(64 * 1024 - 32, true), Some(Fault::HeadTooLarge));
        assert_eq!(of_size(64 * 1024 - 32, false), None);
    }
}
