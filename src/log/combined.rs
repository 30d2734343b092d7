//! One request as a line in the combined format.

use std::io::Write;
use std::net::IpAddr;
use std::time::SystemTime;

use super::anonymise::Anonymiser;
use crate::date::civil_date;

/// A request that was answered.
#[derive(Debug)]
pub struct Entry<'a> {
    /// The client; it is masked before it is written.
    pub client: IpAddr,
    /// The id of an error page, where one was sent.
    pub id: Option<&'a str>,
    /// The administrator that was let in, where one was.
    pub user: Option<&'a str>,
    /// When the request was answered.
    pub time: SystemTime,
    /// Method, target and version.
    pub method: &'a str,
    /// The target as sent.
    pub target: &'a [u8],
    /// "HTTP/1.1".
    pub version: &'a str,
    /// The status sent, or 499 where the client left before there was one, as nginx has it.
    pub status: u16,
    /// Bytes of the body that were sent.
    pub bytes: usize,
    /// The Referer field.
    pub referer: Option<&'a [u8]>,
    /// The User-Agent field.
    pub user_agent: Option<&'a [u8]>,
}

impl Entry<'_> {
    /// Appends the line to `line`.
    pub fn write(&self, anonymiser: Anonymiser, line: &mut Vec<u8>) {
        // Writing to a vector cannot fail.
        let _ = write!(line, "{} ", anonymiser.mask(self.client));
        line.extend_from_slice(self.id.unwrap_or("-").as_bytes());
        line.push(b' ');
        match self.user {
            Some(user) if !user.is_empty() => push_word(line, user.as_bytes()),
            _ => line.push(b'-'),
        }
        line.extend_from_slice(b" [");
        push_time(line, self.time);
        line.extend_from_slice(b"] \"");
        push_escaped(line, self.method.as_bytes());
        line.push(b' ');
        push_escaped(line, self.target);
        let _ = write!(line, " {}\" {} {} \"", self.version, self.status, self.bytes);
        push_escaped(line, self.referer.unwrap_or(b"-"));
        line.extend_from_slice(b"\" \"");
        push_escaped(line, self.user_agent.unwrap_or(b"-"));
        line.extend_from_slice(b"\"\n");
    }
}

/// What a client sent must not end a field, a line, or a terminal's good mood.
fn push_escaped(line: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')) {
        line.extend_from_slice(bytes);
        return;
    }
    for &byte in bytes {
        match byte {
            b'"' | b'\\' | 0..=0x1f | 0x7f.. => {
                let _ = write!(line, "\\x{byte:02X}");
            }
            _ => line.push(byte),
        }
    }
}

/// A field that ends at a space may not hold one.
fn push_word(line: &mut Vec<u8>, bytes: &[u8]) {
    for &byte in bytes {
        match byte {
            b'!'..=b'~' if byte != b'"' && byte != b'\\' => line.push(byte),
            _ => {
                let _ = write!(line, "\\x{byte:02X}");
            }
        }
    }
}

/// "22/Nov/2026:20:32:00 +0000"; the log is in UTC.
fn push_time(line: &mut Vec<u8>, time: SystemTime) {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    // Before 1970 the clock is wrong, and any date will do.
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (year, month, day) = civil_date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let month = MONTHS[month - 1];
    let _ = write!(line, "{day:02}/{month}/{year}:{hour:02}:{minute:02}:{second:02} +0000");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn entry<'a>() -> Entry<'a> {
        Entry {
            client: "203.0.113.77".parse().unwrap(),
            id: None,
            user: None,
            time: SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_379_520),
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
        entry.write(Anonymiser::new(12, 84), &mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn a_line_is_what_nginx_would_have_written_with_the_address_masked() {
        assert_eq!(
            line(&entry()),
            "203.0.112.0 - - [22/Nov/2026:20:32:00 +0000] \"GET /nix-cache-info HTTP/1.1\" 200 42 \"-\" \
             \"GNU Guile\"\n"
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
        assert!(line(&entry).contains(" - Ada\\x20L ["));
    }
}
