//! Finding addresses anywhere in a text, for `farmgate anonip --everywhere` and for what a panic has to say.
//!
//! An address is looked for in each *run*: hexadecimal digits, colons and dots in a row. What stands around a run decides
//! too: `v1.2.3.4` is a version, as `v` makes a word of its first part, and so is `std::fmt` no address, although `::f`
//! would be one. Brackets, quotes, slashes, commas, `=`, `-` and `_` end a word, and so do escapes (`%5B`, `\n`,
//! `\x22`, `\u0022`), whose last letters are not taken for digits of what follows.
//!
//! | found | not found |
//! |---|---|
//! | four numbers up to 255 with dots between, no fifth beside them | `1.2.3`, `1.2.3.4.5`, `1.2.3.400` |
//! | IPv6 in full, or with `::` (RFC 4291 section 2.2), with its last 32 bits as IPv4 or not | `12:34:56`, a MAC address |
//!
//! In doubt it is an address: `10.0.1.2` in the name of a package is masked, too. An address and a port with only a colon
//! between (`2001:db8::1:443`) cannot be told from a longer address, and is masked as one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

/// "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255"
const LONGEST: usize = 45;
/// A run that is longer is not read: no log has an address in the middle of a thousand hexadecimal digits.
const LONGEST_RUN: usize = 1024;

/// The addresses in `text`, from the left.
pub fn addresses(text: &[u8]) -> Addresses<'_> {
    Addresses { text, at: 0, run: 0..0, escape: 0, glued: false }
}

/// Iterates over places and addresses.
#[derive(Debug)]
pub struct Addresses<'a> {
    text: &'a [u8],
    /// Where to look for the next run.
    at: usize,
    /// What is left of the last one.
    run: Range<usize>,
    /// How many bytes at its beginning may belong to an escape.
    escape: usize,
    /// Its first part is the end of a word.
    glued: bool,
}

impl Iterator for Addresses<'_> {
    type Item = (Range<usize>, IpAddr);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.run.is_empty() {
                self.find_run()?;
            }
            let Range { start, end } = self.run;
            let escape = std::mem::take(&mut self.escape);
            // `%10.0.0.1` may be an escape and some numbers, or an address behind a percent sign.
            let glued = std::mem::take(&mut self.glued);
            let found = first_in(self.text, start + escape..end, glued && escape == 0)
                .or_else(|| if escape > 0 { first_in(self.text, start..end, glued) } else { None });
            self.run.start = found.as_ref().map_or(end, |(place, _)| place.end);
            if found.is_some() {
                return found;
            }
        }
    }
}

impl Addresses<'_> {
    /// Finds the next run in which an address could be.
    fn find_run(&mut self) -> Option<()> {
        loop {
            let start = self.at + self.text[self.at..].iter().position(|&byte| is_of_run(byte))?;
            let rest = &self.text[start..];
            let length = rest.iter().position(|&byte| !is_of_run(byte)).unwrap_or(rest.len());
            self.at = start + length;
            // The shortest are "::1" and "1::".
            if (3..=LONGEST_RUN).contains(&length) {
                self.run = start..self.at;
                let before = &self.text[..start];
                self.escape = escape_at(before, rest[0]).min(length);
                self.glued = before.last().is_some_and(u8::is_ascii_alphanumeric) && !ends_in_escape(before);
                return Some(());
            }
        }
    }
}

/// The first address in `run` of `text`. Where the run is glued to what is before it, its first part is the end of a
/// word and no digits.
fn first_in(text: &[u8], run: Range<usize>, glued_before: bool) -> Option<(Range<usize>, IpAddr)> {
    let bytes = &text[run.clone()];
    let colons = bytes.iter().filter(|&&byte| byte == b':').count();
    let dots = bytes.iter().filter(|&&byte| byte == b'.').count();
    let glued_behind = text.get(run.end).is_some_and(u8::is_ascii_alphanumeric);
    let may_be_six = colons >= 2 && (colons >= 6 || bytes.windows(2).any(|pair| pair == b"::"));
    let mut start = 0;
    while start < bytes.len() {
        let may_begin = start > 0 || !glued_before;
        if may_be_six
            && may_begin
            && begins_group(bytes, start)
            && let Some((length, address)) = six_at(&bytes[start..], glued_behind)
        {
            return Some((run.start + start..run.start + start + length, address));
        }
        if dots >= 3
            && bytes[start].is_ascii_digit()
            && (start == 0 || matches!(bytes[start - 1], b':' | b'.'))
            && may_begin
            && !follows_number(bytes, start)
            && let Some((length, address)) = four_at(&bytes[start..], glued_behind)
        {
            return Some((run.start + start..run.start + start + length, address));
        }
        start += 1;
    }
    None
}

/// Whether an IPv6 address can begin here: with a group, or with the two colons that stand for zeros, and not in the
/// middle of another group.
fn begins_group(bytes: &[u8], start: usize) -> bool {
    let is_double = bytes[start..].starts_with(b"::");
    let is_apart = start == 0 || !bytes[start - 1].is_ascii_hexdigit();
    is_apart && (is_double || bytes[start].is_ascii_hexdigit())
}

/// The longest IPv6 address at the beginning of `bytes`.
fn six_at(bytes: &[u8], glued_behind: bool) -> Option<(usize, IpAddr)> {
    let most = bytes.len().min(LONGEST);
    (3..=most).rev().find_map(|length| {
        let ends_group = match bytes.get(length) {
            Some(b':') => true,
            // The end of a sentence, or of a name that begins with an address.
            Some(b'.') => {
                !bytes[..length].contains(&b'.') || !bytes.get(length + 1).is_some_and(u8::is_ascii_digit)
            }
            Some(_) => bytes[..length].ends_with(b"::"),
            None => !glued_behind || bytes[..length].ends_with(b"::"),
        };
        let candidate = &bytes[..length];
        if !ends_group || !candidate.iter().any(u8::is_ascii_hexdigit) {
            return None;
        }
        let address: Ipv6Addr = std::str::from_utf8(candidate).ok()?.parse().ok()?;
        Some((length, IpAddr::V6(address)))
    })
}

/// The IPv4 address at the beginning of `bytes`. Leading zeros are no reason to miss it.
fn four_at(bytes: &[u8], glued_behind: bool) -> Option<(usize, IpAddr)> {
    let mut octets = [0; 4];
    let mut at = 0;
    for (index, octet) in octets.iter_mut().enumerate() {
        if index > 0 {
            if bytes.get(at) != Some(&b'.') {
                return None;
            }
            at += 1;
        }
        let digits = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=3).contains(&digits) {
            return None;
        }
        let value =
            bytes[at..at + digits].iter().fold(0u16, |value, digit| value * 10 + u16::from(digit - b'0'));
        *octet = u8::try_from(value).ok()?;
        at += digits;
    }
    let is_whole = match (bytes.get(at), bytes.get(at + 1)) {
        (Some(b'.'), Some(next)) => !next.is_ascii_digit(),
        (Some(b':' | b'.'), _) => true,
        (Some(_), _) => false,
        (None, _) => !glued_behind,
    };
    is_whole.then(|| (at, IpAddr::V4(Ipv4Addr::from(octets))))
}

/// Whether the dot before `start` has a number before it: then what begins here is the middle of something.
fn follows_number(bytes: &[u8], start: usize) -> bool {
    if start < 2 || bytes[start - 1] != b'.' {
        return false;
    }
    let before = &bytes[..start - 1];
    let word = before.iter().rposition(|byte| !byte.is_ascii_hexdigit()).map_or(0, |at| at + 1);
    before[word..].iter().all(u8::is_ascii_digit) && word < before.len()
}

fn is_of_run(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')
}

/// How many bytes, beginning with `next`, belong to an escape that `before` begins.
fn escape_at(before: &[u8], next: u8) -> usize {
    match before {
        [.., b'%'] | [.., b'\\', b'x'] => 2,
        [.., b'\\', b'u'] => 4,
        [.., b'\\'] if matches!(next, b'b' | b'f') => 1,
        _ => 0,
    }
}

/// Whether the last letter of `before` belongs to an escape, and not to a word.
fn ends_in_escape(before: &[u8]) -> bool {
    matches!(before, [.., b'\\', _])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(text: &str) -> Vec<&str> {
        addresses(text.as_bytes()).map(|(place, _)| &text[place]).collect()
    }

    #[test]
    fn addresses_are_found_wherever_logs_have_them() {
        for (text, expected) in [
            ("1.2.3.4", &["1.2.3.4"][..]),
            ("from 203.0.113.77.", &["203.0.113.77"]),
            ("198.51.100.7:8080 -> 10.0.0.1", &["198.51.100.7", "10.0.0.1"]),
            ("X-Forwarded-For: 1.2.3.4, 5.6.7.8,9.10.11.12", &["1.2.3.4", "5.6.7.8", "9.10.11.12"]),
            ("for=\"[2001:db8::17]:4711\";by=203.0.113.43", &["2001:db8::17", "203.0.113.43"]),
            ("{\"client\":\"2001:db8:85a3::8a2e:370:7334\",\"n\":1}", &["2001:db8:85a3::8a2e:370:7334"]),
            ("\\n1.2.3.4 \\x221.2.3.4\\x22 \\u00221.2.3.4 %3D1.2.3.4 %201.2.3.4", &["1.2.3.4"; 5]),
            ("%10.0.0.1 \\\\10.0.0.5\\share", &["10.0.0.1", "10.0.0.5"]),
            ("http://1.2.3.4/x?ip=1.2.3.4&v=2", &["1.2.3.4"; 2]),
            ("client:1.2.3.4:80 node:2001:db8::1", &["1.2.3.4", "2001:db8::1"]),
            (
                "[::1] (::ffff:1.2.3.4) <fe80::1%eth0> 1.2.3.0/24",
                &["::1", "::ffff:1.2.3.4", "fe80::1", "1.2.3.0"],
            ),
            (
                "2001:db8:: 1:2:3:4:5:6:7:8 1:2:3:4:5:6:1.2.3.4",
                &["2001:db8::", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:1.2.3.4"],
            ),
            (
                "1.2.3.4.dynamic.example 1.2.3.4-1.2.3.9 addr_1.2.3.4",
                &["1.2.3.4", "1.2.3.4", "1.2.3.9", "1.2.3.4"],
            ),
            ("010.001.002.003", &["010.001.002.003"]),
            ("2001:db8:0:0:0:0:0:1:443", &["2001:db8:0:0:0:0:0:1"]),
        ] {
            assert_eq!(found(text), expected, "{text}");
        }
    }

    #[test]
    fn versions_and_times_and_words_are_none() {
        for text in [
            "1.2.3",
            "1.2.3.4.5",
            "v1.2.3.4",
            "1.2.3.4rc1",
            "1.2.3.400",
            "guile-3.0.9",
            "12:34:56",
            "[22/Nov/2026:20:32:00 +0000]",
            "2026-11-22T20:32:00.123Z",
            "00:11:22:33:44:55",
            "std::fmt::Display",
            "foo::ab",
            "::",
            "a:b",
            "deadbeef::1",
            "Chrome/87.0.4280.88",
            "sha256:abcdef0123",
            "1..2.3.4",
            "",
        ] {
            assert_eq!(found(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn a_run_longer_than_any_log_has_is_passed_over_at_once() {
        let text = format!("{} 1.2.3.4", "1:".repeat(100_000));
        assert_eq!(found(&text), ["1.2.3.4"]);
    }

    fn address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<[u8; 4]>().prop_map(IpAddr::from),
            any::<[u16; 8]>().prop_map(IpAddr::from),
            // Most have zeros to leave out.
            (any::<[u16; 8]>(), any::<u8>()).prop_map(|(groups, keep)| {
                let mut at = 0..8;
                IpAddr::from(
                    groups
                        .map(|group| if at.next().is_some_and(|at| keep >> at & 1 == 1) { group } else { 0 }),
                )
            }),
        ]
    }

    proptest! {
        #[test]
        fn any_address_is_found_between_any_signs_that_end_a_word(
            address in address(),
            before in "[ \\[(<\"'=,;/|@_-]{1,3}",
            behind in "[ \\])>\"',;/|@_-]{1,3}|:[0-9]{1,5} |\\. ",
            words in ".{0,20}",
        ) {
            // "::" is nobody's, and a port behind IPv6 cannot be told from another group.
            if address.is_unspecified() || (address.is_ipv6() && behind.starts_with(':')) {
                return Ok(());
            }
            let text = format!("{words}{before}{address}{behind}{words}");
            let at = words.len() + before.len();
            let place = at..at + address.to_string().len();
            prop_assert!(addresses(text.as_bytes()).any(|(found, ip)| found == place && ip == address), "{text:?}");
        }

        #[test]
        fn whatever_is_found_is_in_order_and_an_address(text in "[0-9a-f:.x%\\\\ g-]{0,80}") {
            let mut end = 0;
            for (place, address) in addresses(text.as_bytes()) {
                prop_assert!(place.start >= end && place.end > place.start);
                end = place.end;
                if let IpAddr::V6(six) = address {
                    prop_assert_eq!(text[place].parse::<Ipv6Addr>().unwrap(), six);
                }
            }
        }
    }
}
