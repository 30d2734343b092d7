//! Which site a request is for.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::generation::Generation;

/// What the host of a request says.
#[derive(Debug, PartialEq, Eq)]
pub enum HostIs<'a> {
    /// A site's name; its index.
    Site(usize),
    /// An IP address, or nothing at all as HTTP/1.0 allows.
    Anonymous,
    /// A name that no site has.
    Unknown(&'a str),
    /// Not a host.
    Malformed,
}

/// Looks `host` up: the Host field or the authority of the target, with or without port.
pub fn look_up<'a>(generation: &Generation, host: Option<&'a [u8]>) -> HostIs<'a> {
    let Some(host) = host.filter(|host| !host.is_empty()) else {
        return HostIs::Anonymous;
    };
    let Some(name) = std::str::from_utf8(host).ok().and_then(without_port) else {
        return HostIs::Malformed;
    };
    let unbracketed = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if unbracketed.is_some_and(|v6| v6.parse::<Ipv6Addr>().is_ok()) || name.parse::<Ipv4Addr>().is_ok() {
        return HostIs::Anonymous;
    }
    let bare = name.strip_suffix('.').unwrap_or(name);
    if !is_host_name(bare) {
        return HostIs::Malformed;
    }
    // Names are kept in lower case; most clients send them so.
    let found = if bare.bytes().any(|byte| byte.is_ascii_uppercase()) {
        generation.site_named(&bare.to_ascii_lowercase())
    } else {
        generation.site_named(bare)
    };
    found.map_or(HostIs::Unknown(bare), HostIs::Site)
}

fn without_port(host: &str) -> Option<&str> {
    let (name, port) = match host.rsplit_once(':') {
        // An IPv6 address without a port ends in a bracket.
        Some((_, rest)) if rest.ends_with(']') => return Some(host),
        Some(split) => split,
        None => return Some(host),
    };
    // "a.example:" is allowed to leave the number out (RFC 3986 section 3.2.3).
    (port.is_empty() || port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok())
        .then_some(name)
}

/// Letters, digits, hyphens, dots; and underscores, which some put into names.
fn is_host_name(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_come_off_and_addresses_keep_their_brackets() {
        assert_eq!(without_port("a.example:8080"), Some("a.example"));
        assert_eq!(without_port("[::1]:80"), Some("[::1]"));
        assert_eq!(without_port("[::1]"), Some("[::1]"));
        assert_eq!(without_port("a.example"), Some("a.example"));
        assert_eq!(without_port("a.example:80x"), None);
        assert_eq!(without_port("a.example:99999999"), None);
    }

    #[test]
    fn only_host_names_are_host_names() {
        assert!(is_host_name("ci.guix.example"));
        assert!(!is_host_name("ci..example"));
        assert!(!is_host_name("a/b"));
        assert!(!is_host_name("a\"b"));
        assert!(!is_host_name(&"a.".repeat(200)));
    }
}
