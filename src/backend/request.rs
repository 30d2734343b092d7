//! What of a client's request reaches a backend.

use std::net::IpAddr;

use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Version};
use pingora::Result;
use pingora::http::RequestHeader;

use super::typed_headers;

/// What the gate tells a backend about the client, in place of whatever the client said.
#[derive(Debug)]
pub struct Forwarded<'a> {
    /// The client's address.
    pub client: IpAddr,
    /// Over TLS.
    pub https: bool,
    /// The host the client asked for.
    pub host: &'a str,
    /// The port the client connected to.
    pub port: u16,
    /// The administrator that was let in: common name (safe for a header) and serial.
    pub administrator: Option<(&'a str, &'a str)>,
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_CLIENT_CERT_CN: HeaderName = HeaderName::from_static("x-client-cert-cn");
const X_CLIENT_CERT_SERIAL: HeaderName = HeaderName::from_static("x-client-cert-serial");

/// What is sent to a backend ahead of a body.
#[derive(Debug)]
pub enum Head {
    /// Bytes for the wire.
    Written(Vec<u8>),
    /// Fields that the engine has yet to write.
    Fields(Box<RequestHeader>),
}

/// The same request as [`to_publish`] makes of a GET or HEAD, which is all that publish is asked with (see
/// `proxy::plan`), written out. Most requests of a farm are lookups, and setting up a table of fields to hold a host costs
/// more than all else that is done to send one.
pub fn written_to_publish(target: &[u8], host: &str, close: bool) -> Result<Vec<u8>> {
    // The parsers let none of these through. Should one change its mind, it must not cost us a second request.
    if target.is_empty() || target.iter().any(|byte| matches!(byte, 0..=b' ' | 0x7f)) {
        return Err(pingora::Error::new(pingora::ErrorType::InvalidHTTPHeader));
    }
    let mut head = Vec::with_capacity(target.len() + host.len() + 64);
    for part in [b"GET ", target, b" HTTP/1.1\r\nhost: ", host.as_bytes(), b"\r\n"] {
        head.extend_from_slice(part);
    }
    if close {
        head.extend_from_slice(b"connection: close\r\n");
    }
    head.extend_from_slice(b"\r\n");
    Ok(head)
}

/// The request for `guix publish`: the target as it was sent, the host, and nothing else. It looks at no
/// other header, and answers 400 to several that it cannot parse.
///
/// `close` asks it to close the connection when it is done: without that, a store item that is compressed
/// while it is sent has no end.
pub fn to_publish(client: &RequestHeader, host: &str, close: bool) -> Result<RequestHeader> {
    let mut request = bare(client)?;
    request.insert_header(header::HOST, host)?;
    if close {
        request.insert_header(header::CONNECTION, "close")?;
    }
    Ok(request)
}

/// The request for Cuirass: what the client sent, less what ends here, what Guile would answer 400 to, and
/// what only the gate may say.
pub fn to_ci(client: &RequestHeader, forwarded: &Forwarded<'_>, close: bool) -> Result<RequestHeader> {
    let mut request = bare(client)?;
    request.insert_header(header::HOST, forwarded.host)?;
    for (name, value) in &client.headers {
        if *name != header::COOKIE
            && passes(name, &client.headers)
            && typed_headers::is_readable(name, value.as_bytes())
        {
            request.append_header(name.clone(), value.clone())?;
        }
    }
    if let Some(cookies) = cookies(client) {
        request.insert_header(header::COOKIE, cookies)?;
    }
    request.insert_header(X_FORWARDED_FOR, forwarded_for(client, forwarded.client)?)?;
    request.insert_header(X_FORWARDED_HOST, forwarded.host)?;
    request.insert_header(X_FORWARDED_PORT, forwarded.port.to_string())?;
    request.insert_header(X_FORWARDED_PROTO, if forwarded.https { "https" } else { "http" })?;
    if let Some((common_name, serial)) = forwarded.administrator {
        request.insert_header(X_CLIENT_CERT_CN, common_name)?;
        request.insert_header(X_CLIENT_CERT_SERIAL, serial)?;
    }
    if close {
        request.insert_header(header::CONNECTION, "close")?;
    }
    Ok(request)
}

/// Method, target and version. The backends know no HEAD: it is asked for as GET, and the body dropped.
fn bare(client: &RequestHeader) -> Result<RequestHeader> {
    let method = if client.method == Method::HEAD { &Method::GET } else { &client.method };
    let mut request = RequestHeader::build_no_case(method.clone(), client.raw_path(), Some(8))?;
    request.set_version(Version::HTTP_11);
    Ok(request)
}

fn passes(name: &HeaderName, all: &http::HeaderMap) -> bool {
    let ends_here = matches!(
        *name,
        // Set anew.
        header::HOST | header::CONTENT_LENGTH
        // One hop's business (RFC 9110 section 7.6.1).
        | header::CONNECTION | header::TE | header::TRAILER | header::TRANSFER_ENCODING
        | header::UPGRADE | header::PROXY_AUTHENTICATE | header::PROXY_AUTHORIZATION
        // Answered here: bodies are read in full before a backend hears of them.
        | header::EXPECT
    ) || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings");
    // Names that only the gate may use. Those with an underscore go too: what stands behind a backend may not
    // tell `_` from `-` (RFC 3875 section 4.1.18).
    let ours = {
        let name = name.as_str();
        name == "forwarded"
            || name.starts_with("x-forwarded")
            || name.starts_with("x-client-cert")
            || name.contains('_')
    };
    !ends_here && !ours && !is_nominated(name, all)
}

/// Whether `Connection` names this field as one hop's business.
fn is_nominated(name: &HeaderName, all: &http::HeaderMap) -> bool {
    all.get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .any(|token| token.trim_ascii().eq_ignore_ascii_case(name.as_str().as_bytes()))
}

/// One field of what HTTP/2 may have cut into several (RFC 9113 section 8.2.3).
fn cookies(client: &RequestHeader) -> Option<HeaderValue> {
    let mut crumbs = client.headers.get_all(header::COOKIE).iter();
    let first = crumbs.next()?;
    let mut joined = first.as_bytes().to_vec();
    for crumb in crumbs {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(crumb.as_bytes());
    }
    HeaderValue::from_bytes(&joined).ok()
}

/// The client's own list with its address at the end. A list that is not one is dropped.
fn forwarded_for(client: &RequestHeader, address: IpAddr) -> Result<HeaderValue> {
    let mut list = String::new();
    for value in client.headers.get_all(X_FORWARDED_FOR) {
        if let Ok(value) = value.to_str()
            && value.len() <= 1024
            && value.split(',').all(|part| part.trim().parse::<IpAddr>().is_ok())
        {
            list.push_str(value);
            list.push_str(", ");
        }
    }
    list.push_str(&address.to_string());
    HeaderValue::try_from(list)
        .map_err(|error| pingora::Error::because(pingora::ErrorType::InternalError, "X-Forwarded-For", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(headers: &[(&str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build("HEAD", b"/a%2Fb?c", None).unwrap();
        for (name, value) in headers {
            request.append_header(name.to_string(), value.to_string()).unwrap();
        }
        request
    }

    fn forwarded() -> Forwarded<'static> {
        Forwarded {
            client: "203.0.113.77".parse().unwrap(),
            https: true,
            host: "ci.example.org",
            port: 443,
            administrator: None,
        }
    }

    fn ci(headers: &[(&str, &str)]) -> RequestHeader {
        to_ci(&client(headers), &forwarded(), false).unwrap()
    }

    fn value<'a>(request: &'a RequestHeader, name: &str) -> Option<&'a str> {
        request.headers.get(name).map(|value| value.to_str().unwrap())
    }

    #[test]
    fn publish_hears_the_target_and_the_host_and_nothing_else() {
        let request = to_publish(&client(&[("Cookie", "a"), ("Range", "nonsense")]), "h", true).unwrap();
        assert_eq!((request.method.as_str(), request.raw_path()), ("GET", &b"/a%2Fb?c"[..]));
        let names: Vec<_> = request.headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["host", "connection"]);
    }

    #[test]
    fn a_request_that_is_written_out_says_what_the_one_of_fields_says() {
        let client = client(&[("Cookie", "a")]);
        for close in [false, true] {
            let fields = to_publish(&client, "farm.example", close).unwrap();
            let mut expected = String::from("GET /a%2Fb?c HTTP/1.1\r\n");
            for (name, value) in &fields.headers {
                expected.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
            }
            let written = written_to_publish(client.raw_path(), "farm.example", close).unwrap();
            assert_eq!(String::from_utf8(written).unwrap(), expected + "\r\n");
        }
    }

    #[test]
    fn a_target_cannot_end_its_line() {
        for target in [&b"/a b"[..], b"/a\rb", b"/a\nGET", b"/\0", b"/a\x7f"] {
            // The engine's own type takes most of these.
            if let Ok(request) = RequestHeader::build("GET", target, None) {
                assert!(written_to_publish(request.raw_path(), "h", false).is_err(), "{target:?}");
            }
        }
    }

    #[test]
    fn only_the_gate_says_who_a_client_is() {
        let request = ci(&[
            ("X-Client-Cert-CN", "root"),
            ("x-client-cert-serial", "1"),
            ("X_Client_Cert_CN", "root"),
            ("X-Forwarded-Proto", "gopher"),
            ("Forwarded", "for=1.2.3.4"),
            ("X-Forwarded-For", "198.51.100.1"),
        ]);
        assert_eq!(value(&request, "x-client-cert-cn"), None);
        assert_eq!(value(&request, "x-client-cert-serial"), None);
        assert_eq!(value(&request, "x_client_cert_cn"), None);
        assert_eq!(value(&request, "forwarded"), None);
        assert_eq!(value(&request, "x-forwarded-proto"), Some("https"));
        assert_eq!(value(&request, "x-forwarded-for"), Some("198.51.100.1, 203.0.113.77"));
    }

    #[test]
    fn a_forwarded_list_that_is_no_list_of_addresses_is_dropped() {
        let request = ci(&[("X-Forwarded-For", "unknown, <script>")]);
        assert_eq!(value(&request, "x-forwarded-for"), Some("203.0.113.77"));
    }

    #[test]
    fn cookies_that_http2_cut_up_are_one_field_again() {
        let request = ci(&[("Cookie", "a=1"), ("Cookie", "b=2")]);
        assert_eq!(request.headers.get_all("cookie").iter().count(), 1);
        assert_eq!(value(&request, "cookie"), Some("a=1; b=2"));
    }

    #[test]
    fn what_concerns_one_hop_ends_here() {
        let request = ci(&[
            ("Connection", "close, X-Secret"),
            ("X-Secret", "1"),
            ("TE", "trailers"),
            ("Upgrade", "websocket"),
            ("Keep-Alive", "timeout=5"),
            ("X-Other", "2"),
        ]);
        assert_eq!(value(&request, "connection"), None);
        assert_eq!(value(&request, "x-secret"), None);
        assert_eq!(value(&request, "te"), None);
        assert_eq!(value(&request, "upgrade"), None);
        assert_eq!(value(&request, "x-other"), Some("2"));
    }
}
