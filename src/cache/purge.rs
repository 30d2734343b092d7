//! Letting go of what is stored before its time.

use std::io;

use http::header::{self, HeaderMap};
use serde::{Deserialize, Serialize};

use super::key::Key;
use super::{Cache, Which};

/// What is to be let go of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purge {
    /// One URL, whatever its scheme and port; without a host, that target at every site.
    Url(String),
    /// Targets that begin so, at every site.
    Prefix(String),
    /// Everything.
    All,
}

impl Purge {
    pub(super) fn picks(&self, key: &Key) -> bool {
        match self {
            Self::All => true,
            Self::Prefix(prefix) => key.target().starts_with(prefix.as_bytes()),
            Self::Url(url) => match url.split_once("://") {
                None => key.target() == url.as_bytes(),
                Some((_, rest)) => {
                    let host = rest.find(['/', '?']).map_or(rest, |end| &rest[..end]);
                    let wanted = Key::new(key.site(), host, url.as_bytes());
                    wanted.host() == key.host() && wanted.target() == key.target()
                }
            },
        }
    }
}

impl Cache {
    /// Lets go of what `purge` picks, also of what is being fetched. When this returns, none of it is served any
    /// more, and none of it comes back with a restart. It blocks. Gives the number of responses.
    pub fn purge(&self, purge: &Purge) -> io::Result<usize> {
        // What is not in the index yet cannot be picked.
        self.wait_until_indexed();
        // Before the index: what lands meanwhile is either seen there or sees this.
        for flight in self.flights.matching(|key| purge.picks(key)) {
            flight.purge();
        }
        let mut count = 0;
        for which in [Which::Static, Which::Logs] {
            for entry in self.space(which).purge(|entry| purge.picks(&entry.key))? {
                self.memory.remove(entry.name.id);
                count += 1;
            }
        }
        Ok(count)
    }

    /// What an unsafe method has changed (RFC 9111 section 4.4): its target, and on the same host what
    /// `Location` and `Content-Location` name, if it succeeded.
    pub fn invalidate(&self, key: &Key, status: u16, response: &HeaderMap) {
        if !(200..400).contains(&status) {
            return;
        }
        let mut keys = vec![key.clone()];
        for name in [header::LOCATION, header::CONTENT_LOCATION] {
            let Some(value) = response.get(name) else { continue };
            keys.extend(same_host(key, value.as_bytes()));
        }
        for key in keys {
            for flight in self.flights.matching(|other| *other == key) {
                flight.purge();
            }
            for which in [Which::Static, Which::Logs] {
                let space = self.space(which);
                for entry in space.of_key(&key) {
                    space.discard(&entry.key, &entry.name);
                    self.memory.remove(entry.name.id);
                }
            }
        }
    }
}

/// The key of a reference, if it is on the same host.
fn same_host(key: &Key, reference: &[u8]) -> Option<Key> {
    let reference = reference.split(|&byte| byte == b'#').next()?;
    if reference.starts_with(b"//") || reference.windows(3).any(|part| part == b"://") {
        let at = reference.windows(2).position(|part| part == b"//")? + 2;
        let rest = &reference[at..];
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
        let host = std::str::from_utf8(&rest[..end]).ok()?;
        let target = if end == rest.len() { &b"/"[..] } else { &rest[end..] };
        let other = Key::new(key.site(), host, target);
        return (other.host() == key.host()).then_some(other);
    }
    if reference.starts_with(b"/") {
        return Some(key.with_target(reference));
    }
    // Relative to the folder of the target (RFC 3986 section 5.2.3).
    let path = key.target().split(|&byte| byte == b'?').next()?;
    let folder = path.iter().rposition(|&byte| byte == b'/').map_or(&b"/"[..], |end| &path[..=end]);
    Some(key.with_target(&[folder, reference].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_one_whatever_its_scheme_and_port() {
        let key = Key::new("ci.example", "ci.example", b"/static/a?b");
        for url in ["https://ci.example/static/a?b", "http://CI.example:8080/static/a?b", "/static/a?b"] {
            assert!(Purge::Url(url.into()).picks(&key), "{url}");
        }
        for url in ["https://other/static/a?b", "/static/a", "https://ci.example/static/a"] {
            assert!(!Purge::Url(url.into()).picks(&key), "{url}");
        }
        assert!(Purge::Prefix("/static/".into()).picks(&key) && !Purge::Prefix("/log/".into()).picks(&key));
    }

    #[test]
    fn rfc9111_4_4_references_are_followed_on_the_same_host_only() {
        let key = Key::new("s", "ci.example", b"/download/1?x");
        let target = |reference: &str| same_host(&key, reference.as_bytes()).map(|key| key.target().to_vec());
        assert_eq!(target("/static/a").unwrap(), b"/static/a");
        assert_eq!(target("2#top").unwrap(), b"/download/2");
        assert_eq!(target("https://ci.example:443/b").unwrap(), b"/b");
        assert_eq!(target("//ci.example").unwrap(), b"/");
        assert_eq!(target("https://elsewhere/b"), None);
    }
}
