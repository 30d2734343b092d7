//! Paths as bytes: split, decode, resolve.

use std::borrow::Cow;

pub(super) fn split(path: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    path.split(|&b| b == b'/').filter(|segment| !segment.is_empty())
}

pub(super) fn resolve<'a>(segments: impl Iterator<Item = Cow<'a, [u8]>>) -> Vec<Cow<'a, [u8]>> {
    let mut resolved = Vec::new();
    for segment in segments {
        match &*segment {
            b"." => {}
            b".." => {
                resolved.pop();
            }
            _ => resolved.push(segment),
        }
    }
    resolved
}

/// Percent-decodes once. Like Guile, leaves alone what is no escape.
pub(super) fn decode(bytes: &[u8]) -> Cow<'_, [u8]> {
    if !bytes.contains(&b'%') {
        return Cow::Borrowed(bytes);
    }
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        if let Some(byte) = escape(rest) {
            decoded.push(byte);
            rest = &rest[3..];
        } else {
            decoded.push(*first);
            rest = after;
        }
    }
    Cow::Owned(decoded)
}

/// The byte that an escape at the start of `bytes` stands for.
fn escape(bytes: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = *bytes else { return None };
    let digit = |b: u8| char::from(b).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

pub(super) fn has_malformed_escape(path: &[u8]) -> bool {
    path.iter().enumerate().any(|(i, &b)| b == b'%' && escape(&path[i..]).is_none())
}

pub(super) const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}
