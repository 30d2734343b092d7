//! Requests that are none, and that the h2 crate lets through.
//!
//! It refuses what frames and fields alone can tell. What is left are requests on which two readers could disagree,
//! and nothing of them may reach a backend (RFC 9113 section 8.1.1).

use http::{HeaderMap, Method, header};
use pingora::http::RequestHeader;

/// Whether `request` is one.
pub(super) fn is_well_formed(request: &RequestHeader) -> bool {
    is_target(request) && is_length(&request.headers) && is_authority(request)
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
            is_well_formed(&request("GET", uri, &fields))
        };
        assert!(get("https://a.example/x", &[]));
        assert!(get("https://a.example/x", &["a.example"]));
        assert!(get("https://a.example:443/x", &["a.example:443"]));
        assert!(get("/x", &["a.example"]));
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
            assert!(!get(uri, hosts), "{uri} {hosts:?}");
        }
    }

    #[test]
    fn rfc_9110_section_8_6_a_length_is_one_number() {
        let post =
            |lengths: &[(&str, &str)]| is_well_formed(&request("POST", "https://a.example/x", lengths));
        assert!(post(&[]));
        assert!(post(&[("content-length", "12")]));
        for lengths in [
            &[("content-length", "")][..],
            &[("content-length", "-1")],
            &[("content-length", "+1")],
            &[("content-length", "1, 1")],
            &[("content-length", "1"), ("content-length", "1")],
            &[("content-length", "1"), ("content-length", "2")],
            &[("transfer-encoding", "chunked")],
        ] {
            assert!(!post(lengths), "{lengths:?}");
        }
    }

    #[test]
    fn rfc_9113_section_8_3_1_a_path_begins_with_a_slash() {
        assert!(is_well_formed(&request("OPTIONS", "*", &[("host", "a.example")])));
        assert!(!is_well_formed(&request("GET", "*", &[("host", "a.example")])));
        assert!(is_well_formed(&request("CONNECT", "a.example:443", &[])));
    }
}
