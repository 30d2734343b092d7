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

/// Refuses what changes something, unless it says itself that it comes from one of our own pages. Browsers do so with
/// every form, and the programs that [`check`] lets through have commands of their own.
pub fn check_form(request: &RequestHeader) -> Result<(), ()> {
    check(request)?;
    let says_where_from = request.headers.contains_key(header::ORIGIN);
    let mut sites = request.headers.get_all(&SEC_FETCH_SITE).iter();
    let is_from_here = sites.all(|site| site.as_bytes() == b"same-origin");
    if says_where_from && is_from_here { Ok(()) } else { Err(()) }
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
        check(&request(headers)).is_ok()
    }

    fn request(headers: &[(&str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/admin/build/1/restart", None).unwrap();
        request.append_header("Host", "ci.example.org").unwrap();
        for (name, value) in headers {
            request.append_header(name.to_string(), value.to_string()).unwrap();
        }
        request
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
    fn a_form_has_to_say_that_it_is_one_of_ours() {
        let form = |headers: &[(&str, &str)]| check_form(&request(headers)).is_ok();
        let ours = ("Origin", "https://ci.example.org");
        assert!(form(&[ours]) && form(&[ours, ("Sec-Fetch-Site", "same-origin")]));
        assert!(!form(&[]) && !form(&[("Sec-Fetch-Site", "same-origin")]));
        assert!(!form(&[("Referer", "https://ci.example.org/admin/gate/")]));
        for site in ["none", "same-site", "cross-site", ""] {
            assert!(!form(&[ours, ("Sec-Fetch-Site", site)]), "{site}");
        }
        assert!(!form(&[("Origin", "null")]) && !form(&[("Origin", "https://evil.example")]));
        assert!(!form(&[ours, ("Origin", "https://evil.example")]));
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
