//! Requests to the admin pages that another site had the browser make.
//!
//! A browser shows its client certificate to whoever is asked, also when it is an image tag elsewhere that
//! asks; and Cuirass deletes a jobset on GET.

use http::HeaderName;
use http::header;
use pingora::http::RequestHeader;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses a request that says it comes from another origin, by any of the three fields that can say so:
/// `Sec-Fetch-Site` (Fetch Metadata), `Origin` (RFC 6454 section 7) and, for browsers that send neither,
/// `Referer`. A request without them is no browser's, and nobody can make it in another's name.
pub fn check(request: &RequestHeader) -> Result<(), ()> {
    let fields = |name: &HeaderName| request.headers.get_all(name).iter().map(|value| value.as_bytes());
    let same_origin = |value: &[u8]| is_origin(value, &host_of(request));
    let allowed = fields(&SEC_FETCH_SITE).all(|site| matches!(site, b"same-origin" | b"none"))
        && fields(&header::ORIGIN).all(same_origin)
        && fields(&header::REFERER).all(|referer| is_below_origin(referer, &host_of(request)));
    if allowed { Ok(()) } else { Err(()) }
}

fn host_of(request: &RequestHeader) -> Vec<u8> {
    super::plan::host_of(request, super::plan::target_of(request)).unwrap_or_default().to_ascii_lowercase()
}

fn is_origin(origin: &[u8], host: &[u8]) -> bool {
    let origin = origin.to_ascii_lowercase();
    origin.strip_prefix(b"https://").is_some_and(|authority| without_443(authority) == without_443(host))
}

fn is_below_origin(referer: &[u8], host: &[u8]) -> bool {
    let end = referer
        .iter()
        .enumerate()
        .skip(b"https://".len())
        .find(|(_, byte)| matches!(byte, b'/' | b'?' | b'#'))
        .map_or(referer.len(), |(at, _)| at);
    is_origin(&referer[..end], host)
}

fn without_443(authority: &[u8]) -> &[u8] {
    authority.strip_suffix(b":443").unwrap_or(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(headers: &[(&str, &str)]) -> bool {
        let mut request = RequestHeader::build("GET", b"/admin/build/1/restart", None).unwrap();
        request.append_header("Host", "ci.example.org").unwrap();
        for (name, value) in headers {
            request.append_header(name.to_string(), value.to_string()).unwrap();
        }
        check(&request).is_ok()
    }

    #[test]
    fn ones_own_pages_links_typed_by_hand_and_programs_are_let_through() {
        assert!(checked(&[]));
        assert!(checked(&[("Sec-Fetch-Site", "none")]));
        assert!(checked(&[
            ("Sec-Fetch-Site", "same-origin"),
            ("Origin", "https://ci.example.org"),
            ("Referer", "https://ci.example.org/jobset/guix"),
        ]));
        assert!(checked(&[("Origin", "https://CI.example.org:443")]));
    }

    #[test]
    fn other_sites_are_refused_by_each_field_alone() {
        assert!(!checked(&[("Sec-Fetch-Site", "cross-site")]));
        assert!(!checked(&[("Sec-Fetch-Site", "same-site")]));
        assert!(!checked(&[("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", "cross-site")]));
        assert!(!checked(&[("Origin", "https://evil.example")]));
        assert!(!checked(&[("Origin", "http://ci.example.org")]));
        assert!(!checked(&[("Origin", "null")]));
        assert!(!checked(&[("Referer", "https://evil.example/ci.example.org")]));
        assert!(!checked(&[("Referer", "https://ci.example.org.evil.example/")]));
        assert!(!checked(&[("Referer", "https://ci.example.org@evil.example/")]));
    }
}
