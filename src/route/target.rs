//! A request-target taken apart: authority, path, query; and which ones are refused.

use std::fmt;

use super::path::{decode, has_malformed_escape, is_unreserved};

/// A request-target that every reader takes apart in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'t> {
    /// `host` or `host:port`, from the absolute form. Never with user information.
    pub authority: Option<&'t [u8]>,
    /// As it was sent. Begins with a slash, except that it may be empty after an authority, which means `/`.
    pub path: &'t [u8],
    /// What follows the first `?`.
    pub query: Option<&'t [u8]>,
    /// The path has one reading only: nothing to decode, to drop or to resolve.
    pub(super) plain: bool,
}

impl<'t> Target<'t> {
    /// Takes a request-target apart, and refuses what readers disagree on.
    ///
    /// Only `/path` and `http(s)://host/path` remain. Guile finds a path in `http:/admin` and `foo:admin` too, and
    /// none of them is a legitimate request to us. `*` and `host:port` belong to methods that no backend here has.
    pub fn parse(target: &'t [u8]) -> Result<Target<'t>, BadTarget> {
        let (authority, rest) = match target {
            [b'/', ..] => (None, target),
            _ => split_absolute_form(target).map(|(authority, rest)| (Some(authority), rest))?,
        };
        let mut plain = true;
        let mut path_len = rest.len();
        for (i, &byte) in rest.iter().enumerate() {
            match BYTES[usize::from(byte)] {
                Byte::Plain => {}
                Byte::Slash => plain &= !matches!(rest.get(i + 1), Some(b'/' | b'.')),
                Byte::Special => plain = false,
                Byte::Query => {
                    path_len = i;
                    break;
                }
                Byte::Refused => return Err(BadTarget::Byte),
            }
        }
        let (path, query) = rest.split_at(path_len);
        // The query is not ours to read, so bytes above ASCII may pass there. A '#' may not: it would begin a fragment.
        if query.iter().any(|&b| b.is_ascii() && BYTES[usize::from(b)] == Byte::Refused) {
            return Err(BadTarget::Byte);
        }
        if !plain {
            if has_malformed_escape(path) {
                return Err(BadTarget::Escape);
            }
            std::str::from_utf8(&decode(path)).map_err(|_| BadTarget::NotUtf8)?;
        }
        Ok(Target { authority, path, query: query.get(1..), plain })
    }
}

/// A request-target to answer with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadTarget {
    /// Neither `/path` nor `http(s)://host/path`: scanners, CONNECT, or a client that takes us for a forward proxy.
    Form,
    /// The authority of the absolute form is empty, has user information, or is no host and port.
    Authority,
    /// A control byte, space or `#`, or a raw byte above ASCII in the path: no client sends these unencoded.
    Byte,
    /// A `%` in the path without two hexadecimal digits after it. Guile takes it literally, others do not.
    Escape,
    /// The decoded path is not UTF-8. Guile would fail on it.
    NotUtf8,
    /// From [`well_known_segments`](super::well_known_segments): not below `/.well-known`, or a name that no file has.
    FileName,
}

impl fmt::Display for BadTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadTarget::Form => "the request target is neither a path nor an http URL",
            BadTarget::Authority => "the request target has no valid host",
            BadTarget::Byte => "the request target has a byte that must be percent-encoded",
            BadTarget::Escape => r#"the request target has a "%" that begins no escape"#,
            BadTarget::NotUtf8 => "the request target's path is not UTF-8",
            BadTarget::FileName => "the request target names no file below /.well-known",
        })
    }
}

impl std::error::Error for BadTarget {}

/// Splits `http://host/rest` into host and rest.
fn split_absolute_form(target: &[u8]) -> Result<(&[u8], &[u8]), BadTarget> {
    let after_scheme = [&b"http://"[..], b"https://"].into_iter().find_map(|scheme| {
        let (head, rest) = target.split_at_checked(scheme.len())?;
        head.eq_ignore_ascii_case(scheme).then_some(rest)
    });
    let after_scheme = after_scheme.ok_or(BadTarget::Form)?;
    let end = after_scheme.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(after_scheme.len());
    let (authority, rest) = after_scheme.split_at(end);
    if is_authority(authority) { Ok((authority, rest)) } else { Err(BadTarget::Authority) }
}

/// Whether this is a name or address with an optional port. Not whether the name could exist.
fn is_authority(authority: &[u8]) -> bool {
    let is_port = |port: &[u8]| match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if let [b'[', rest @ ..] = authority {
        let Some(end) = rest.iter().position(|&b| b == b']') else { return false };
        let is_ipv6 =
            end > 0 && rest[..end].iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'));
        return is_ipv6 && is_port(&rest[end + 1..]);
    }
    let end = authority.iter().position(|&b| b == b':').unwrap_or(authority.len());
    let (host, port) = authority.split_at(end);
    !host.is_empty() && host.iter().all(|&b| is_unreserved(b)) && is_port(port)
}

/// What a byte of a path asks of us.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Byte {
    /// Means itself in every reading.
    Plain,
    /// Ends a segment.
    Slash,
    /// Has more than one reading, or is rare.
    Special,
    /// Ends the path.
    Query,
    /// Makes the target unusable.
    Refused,
}

const BYTES: [Byte; 256] = {
    let mut table = [Byte::Refused; 256];
    let mut i = 0;
    while i < table.len() {
        let byte = i as u8;
        table[i] = match byte {
            b'/' => Byte::Slash,
            b'?' => Byte::Query,
            b'#' => Byte::Refused,
            _ if is_unreserved(byte) => Byte::Plain,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@' => Byte::Plain,
            _ if byte.is_ascii_graphic() => Byte::Special,
            _ => Byte::Refused,
        };
        i += 1;
    }
    table
};
