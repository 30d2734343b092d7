//! One request as a line in the combined format, which every log analyser reads.

use super::anonymise::Anonymiser;
use super::entry::{Entry, push_address, push_number};
use super::time::{Dates, since_1970};

/// Appends the line for `entry`. The request's id takes the field of the `ident` protocol, which nobody has used in
/// decades and every reader skips.
pub fn write(entry: &Entry<'_>, anonymiser: Anonymiser, dates: &mut Dates, line: &mut Vec<u8>) {
    push_address(line, anonymiser.mask(entry.client));
    line.push(b' ');
    line.extend_from_slice(&entry.id.digits());
    line.push(b' ');
    match entry.user {
        Some(user) if !user.is_empty() => push_word(line, user.as_bytes()),
        _ => line.push(b'-'),
    }
    dates.set(since_1970(entry.time).as_secs());
    line.extend_from_slice(b" [");
    line.extend_from_slice(&dates.common);
    line.extend_from_slice(b"] \"");
    push_escaped(line, entry.method.as_bytes());
    line.push(b' ');
    push_escaped(line, entry.target);
    line.push(b' ');
    line.extend_from_slice(entry.version.as_bytes());
    line.extend_from_slice(b"\" ");
    push_number(line, entry.status.into());
    line.push(b' ');
    push_number(line, entry.bytes as u64);
    line.extend_from_slice(b" \"");
    push_escaped(line, entry.referer.unwrap_or(b"-"));
    line.extend_from_slice(b"\" \"");
    push_escaped(line, entry.user_agent.unwrap_or(b"-"));
    line.extend_from_slice(b"\"\n");
}

/// What a client sent must not end a field, a line, or a terminal's good mood.
fn push_escaped(line: &mut Vec<u8>, bytes: &[u8]) {
    push_where(line, bytes, |byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'));
}

/// A field that ends at a space may not hold one.
fn push_word(line: &mut Vec<u8>, bytes: &[u8]) {
    push_where(line, bytes, |byte| matches!(byte, b'!'..=b'~') && !matches!(byte, b'"' | b'\\'));
}

fn push_where(line: &mut Vec<u8>, bytes: &[u8], is_plain: impl Fn(u8) -> bool) {
    if bytes.iter().all(|&byte| is_plain(byte)) {
        line.extend_from_slice(bytes);
        return;
    }
    for &byte in bytes {
        if is_plain(byte) {
            line.push(byte);
        } else {
            let digit = |nibble: u8| b"0123456789ABCDEF"[usize::from(nibble)];
            line.extend_from_slice(&[b'\\', b'x', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::{Duration, SystemTime};

    use super::super::request_id::RequestId;
    use super::*;

    pub fn entry<'a>() -> Entry<'a> {
        Entry {
            client: "203.0.113.77".parse().unwrap(),
            id: RequestId::from(0x0123_4567_89ab_cdef),
            user: None,
            time: SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_379_520_123_456),
            duration: Duration::from_micros(1234),
            backend: None,
            secure: true,
            site: Some("farm.example"),
            route: "cache-info",
            cache: None,
            method: "GET",
            target: b"/nix-cache-info",
            version: "HTTP/1.1",
            status: 200,
            bytes: 42,
            referer: None,
            user_agent: Some(b"GNU Guile"),
        }
    }

    fn line(entry: &Entry<'_>) -> String {
        let mut line = Vec::new();
        write(entry, Anonymiser::new(12, 84), &mut Dates::default(), &mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn a_line_is_what_nginx_would_have_written_with_the_address_masked() {
        assert_eq!(
            line(&entry()),
            "203.0.112.0 0123456789abcdef - [22/Nov/2026:20:32:00 +0000] \"GET /nix-cache-info HTTP/1.1\" 200 42 \
             \"-\" \"GNU Guile\"\n"
        );
        let six = Entry { client: "2001:db8:85a3:1234::1".parse().unwrap(), bytes: 0, ..entry() };
        assert!(
            line(&six).starts_with("2001:db8:85a0:: ") && line(&six).contains(" 200 0 "),
            "{}",
            line(&six)
        );
    }

    #[test]
    fn what_a_client_sends_cannot_break_out_of_its_field() {
        let entry = Entry { user_agent: Some(b"a\" 200 1\n\x1b[31m\\"), ..entry() };
        assert!(line(&entry).ends_with("\"a\\x22 200 1\\x0A\\x1B[31m\\x5C\"\n"));
    }

    #[test]
    fn a_user_with_a_space_stays_one_field() {
        let entry = Entry { user: Some("Ada L"), ..entry() };
        assert!(line(&entry).contains(" Ada\\x20L ["));
    }

    #[test]
    fn numbers_and_addresses_are_written_as_everybody_writes_them() {
        for number in [0, 7, 10, 99, 100, 18_446_744_073_709_551_615] {
            let mut line = Vec::new();
            push_number(&mut line, number);
            assert_eq!(String::from_utf8(line).unwrap(), number.to_string());
        }
        for address in ["0.0.0.0", "255.255.255.255", "10.0.100.9", "::1", "2001:db8::"] {
            let mut line = Vec::new();
            push_address(&mut line, address.parse().unwrap());
            assert_eq!(String::from_utf8(line).unwrap(), address);
        }
    }
}
