//! What an answer is kept under.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};

/// What was asked for: the site, the host as the client named it, and the target as it was sent.
///
/// The scheme is not part of it: both ports serve the same answers. What a response varies by is told apart
/// below this, see [`Selecting`](super::vary::Selecting).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key {
    site: Box<str>,
    host: Box<str>,
    target: Box<[u8]>,
}

/// A key in 16 bytes. An attacker who could make two keys meet would have to find a collision of SHA-256,
/// cut to 128 bits; who reads a file checks the whole key all the same.
pub type Digest = [u8; 16];

impl Key {
    /// The key of `target` at `site`, asked for as `host`, which may have a port. A target in absolute form is
    /// that of its path and query (RFC 9112 section 3.2.2).
    pub fn new(site: &str, host: &str, target: &[u8]) -> Self {
        Self {
            site: site.into(),
            host: bare_host(host).to_ascii_lowercase().into(),
            target: path_and_query(target).into(),
        }
    }

    /// From its parts, as they were given before.
    pub(super) fn from_parts(site: Box<str>, host: Box<str>, target: Box<[u8]>) -> Self {
        Self { site, host, target }
    }

    /// The key of another target of the same site and host.
    pub fn with_target(&self, target: &[u8]) -> Self {
        Self { site: self.site.clone(), host: self.host.clone(), target: path_and_query(target).into() }
    }

    /// The site's first name.
    pub fn site(&self) -> &str {
        &self.site
    }

    /// The host in lower case, without port and trailing dot.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Path and query, as they were sent.
    pub fn target(&self) -> &[u8] {
        &self.target
    }

    /// The name of this key in the index and on disk.
    pub fn digest(&self) -> Digest {
        let mut hash = Context::new(&SHA256);
        for part in [self.site.as_bytes(), self.host.as_bytes(), &self.target] {
            // With its length in front, no part can pass for the end of the one before it.
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut digest = Digest::default();
        digest.copy_from_slice(&hash.finish().as_ref()[..16]);
        digest
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.host, String::from_utf8_lossy(&self.target))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}: {self})", self.site)
    }
}

fn bare_host(host: &str) -> &str {
    let without_port = match host.rsplit_once(':') {
        // An IPv6 address without a port ends in a bracket.
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    without_port.strip_suffix('.').unwrap_or(without_port)
}

fn path_and_query(target: &[u8]) -> &[u8] {
    let Some(scheme) = target.windows(3).position(|part| part == b"://").filter(|_| target[0] != b'/') else {
        return target;
    };
    let rest = &target[scheme + 3..];
    rest.iter().position(|byte| matches!(byte, b'/' | b'?')).map_or(b"/", |start| &rest[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn site_host_target_and_query_tell_keys_apart_and_scheme_and_port_do_not() {
        let key = Key::new("ci.example", "ci.example", b"/static/a?b");
        for other in [
            Key::new("other", "ci.example", b"/static/a?b"),
            Key::new("ci.example", "alias.example", b"/static/a?b"),
            Key::new("ci.example", "ci.example", b"/static/a"),
            Key::new("ci.example", "ci.example", b"/static/a?c"),
            Key::new("ci.example", "ci.exampl", b"e/static/a?b"),
        ] {
            assert_ne!(key.digest(), other.digest(), "{other:?}");
        }
        for same in [
            Key::new("ci.example", "CI.example.:8443", b"/static/a?b"),
            Key::new("ci.example", "ci.example", b"https://ci.example/static/a?b"),
        ] {
            assert_eq!(key.digest(), same.digest(), "{same:?}");
        }
        assert_eq!(Key::new("s", "[::1]:80", b"http://h").target(), b"/");
        assert_eq!(Key::new("s", "[::1]:80", b"/").host(), "[::1]");
    }

    #[test]
    fn a_target_that_has_an_address_in_its_query_is_still_itself() {
        assert_eq!(Key::new("s", "h", b"/static/x?u=http://a/b").target(), b"/static/x?u=http://a/b");
    }
}
