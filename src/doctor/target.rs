//! Whom to look at: a URL, taken apart.

use std::fmt;
use std::net::IpAddr;

use http::Uri;

/// How a server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}

impl Scheme {
    /// As it stands in a URL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port of a URL without one.
    pub fn usual_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// A cache of substitutes, by its URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The scheme of the URL: what is looked at most closely.
    pub scheme: Scheme,
    /// A name or an address, without brackets.
    pub host: String,
    /// Where it is spoken to without TLS, if it is.
    pub http: Option<u16>,
    /// Where it is spoken to with TLS, if it is.
    pub https: Option<u16>,
    /// The path of the cache, without a slash at its end: mostly nothing.
    pub base: String,
}

impl Target {
    /// Reads a URL. One without a port means both of the usual ones; one with a port means that.
    ///
    /// # Errors
    ///
    /// In words: what was expected.
    pub fn parse(url: &str) -> Result<Self, String> {
        let wrong =
            |why: &str| format!("expected a URL such as https://cuirass.example.org, found {url:?}: {why}");
        let uri: Uri = url.parse().map_err(|error| wrong(&format!("{error}")))?;
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            _ => return Err(wrong("it begins with neither http:// nor https://")),
        };
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if authority.contains('@') {
            return Err(wrong("a cache has no user name"));
        }
        if uri.query().is_some() {
            return Err(wrong("a cache has no query"));
        }
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).trim_end_matches('.');
        if host.is_empty() {
            return Err(wrong("it has no host"));
        }
        let port = match (uri.port_u16(), authority.rsplit_once(':')) {
            (Some(0), _) => return Err(wrong("port 0 is none")),
            (Some(port), _) => Some(port),
            (None, Some((_, text))) if !text.ends_with(']') => return Err(wrong("the port is none")),
            _ => None,
        };
        let (http, https) = match (port, scheme) {
            (None, _) => (Some(80), Some(443)),
            (port, Scheme::Http) => (port, None),
            (port, Scheme::Https) => (None, port),
        };
        let base = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { scheme, host: host.to_ascii_lowercase(), http, https, base })
    }

    /// Where it is spoken to in that way.
    pub fn port(&self, scheme: Scheme) -> Option<u16> {
        match scheme {
            Scheme::Http => self.http,
            Scheme::Https => self.https,
        }
    }

    /// The `Host` header for a port: it is left out where it is the usual one.
    pub(super) fn authority(&self, scheme: Scheme) -> String {
        let host = match self.host.parse() {
            Ok(IpAddr::V6(address)) => format!("[{address}]"),
            _ => self.host.clone(),
        };
        match self.port(scheme) {
            Some(port) if port != scheme.usual_port() => format!("{host}:{port}"),
            _ => host,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.name(), self.authority(self.scheme), self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_and_put_together() {
        for (url, host, http, https, base) in [
            ("https://ci.example.org", "ci.example.org", Some(80), Some(443), ""),
            ("http://CI.example.org./", "ci.example.org", Some(80), Some(443), ""),
            ("http://localhost:3000", "localhost", Some(3000), None, ""),
            ("https://[::1]:8443/guix/", "::1", None, Some(8443), "/guix"),
            ("https://192.0.2.1", "192.0.2.1", Some(80), Some(443), ""),
        ] {
            let target = Target::parse(url).unwrap();
            assert_eq!((target.host.as_str(), target.http, target.https), (host, http, https), "{url}");
            assert_eq!(target.base, base);
            let again = Target::parse(&target.to_string()).unwrap();
            assert_eq!(again, target, "{url}");
        }
    }

    #[test]
    fn what_is_no_url_of_a_cache_is_refused_with_an_example() {
        for url in [
            "",
            "ci.example.org",
            "ftp://x",
            "https://",
            "https://u@x",
            "https://x/?q",
            "https://x:0",
            "https://x:99999",
            "https://x:",
            "https://ex ample",
            "/x",
        ] {
            let error = Target::parse(url).expect_err(url);
            assert!(error.contains("https://cuirass.example.org"), "{error}");
        }
    }
}
