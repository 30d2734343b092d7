//! One request as a JSON object on a line of its own (RFC 8259).
//!
//! Every line has the same names in the same order, with `null` where there is nothing to say. Whatever a client sent,
//! a line is plain ASCII: no terminal is led astray, and a parser gives back what was sent.

use std::time::Duration;

use super::anonymise::Anonymiser;
use super::entry::{Entry, push_address, push_number};
use super::time::{Dates, since_1970};

/// Appends the line for `entry`.
pub fn write(entry: &Entry<'_>, anonymiser: Anonymiser, dates: &mut Dates, line: &mut Vec<u8>) {
    let time = since_1970(entry.time);
    dates.set(time.as_secs());
    line.extend_from_slice(b"{\"time\":\"");
    line.extend_from_slice(&dates.rfc3339);
    push_fraction(line, time.subsec_millis(), 3);
    line.extend_from_slice(b"Z\",\"id\":\"");
    line.extend_from_slice(&entry.id.digits());
    line.extend_from_slice(b"\",\"client\":\"");
    push_address(line, anonymiser.mask(entry.client));
    line.extend_from_slice(if entry.secure { b"\",\"scheme\":\"https\"" } else { b"\",\"scheme\":\"http\"" });
    push_text(line, b"site", entry.site.map(str::as_bytes));
    push_text(line, b"route", Some(entry.route.as_bytes()));
    push_text(line, b"method", Some(entry.method.as_bytes()));
    push_text(line, b"target", Some(entry.target));
    push_text(line, b"protocol", Some(entry.version.as_bytes()));
    push_name(line, b"status");
    push_number(line, entry.status.into());
    push_name(line, b"bytes");
    push_number(line, entry.bytes as u64);
    push_seconds(line, b"duration", Some(entry.duration));
    push_seconds(line, b"backend", entry.backend);
    push_text(line, b"cache", entry.cache.map(str::as_bytes));
    push_text(line, b"admin", entry.user.map(str::as_bytes));
    push_text(line, b"referer", entry.referer);
    push_text(line, b"user_agent", entry.user_agent);
    line.extend_from_slice(b"}\n");
}

fn push_name(line: &mut Vec<u8>, name: &[u8]) {
    line.extend_from_slice(b",\"");
    line.extend_from_slice(name);
    line.extend_from_slice(b"\":");
}

fn push_text(line: &mut Vec<u8>, name: &[u8], text: Option<&[u8]>) {
    push_name(line, name);
    match text {
        Some(text) => push_string(line, text),
        None => line.extend_from_slice(b"null"),
    }
}

/// Seconds, to the microsecond.
fn push_seconds(line: &mut Vec<u8>, name: &[u8], duration: Option<Duration>) {
    push_name(line, name);
    match duration {
        Some(duration) => {
            push_number(line, duration.as_secs());
            push_fraction(line, duration.subsec_micros(), 6);
        }
        None => line.extend_from_slice(b"null"),
    }
}

fn push_fraction(line: &mut Vec<u8>, value: u32, digits: u32) {
    line.push(b'.');
    for at in (0..digits).rev() {
        line.push(b'0' + (value / 10u32.pow(at) % 10) as u8);
    }
}

fn push_string(line: &mut Vec<u8>, text: &[u8]) {
    line.push(b'"');
    if text.iter().all(|&byte| is_plain(byte)) {
        line.extend_from_slice(text);
    } else {
        for chunk in text.utf8_chunks() {
            chunk.valid().chars().for_each(|char| push_char(line, char));
            // What is no UTF-8 has no place in JSON; that there was something can be told.
            if !chunk.invalid().is_empty() {
                push_char(line, char::REPLACEMENT_CHARACTER);
            }
        }
    }
    line.push(b'"');
}

fn push_char(line: &mut Vec<u8>, char: char) {
    match u8::try_from(char) {
        Ok(byte) if is_plain(byte) => line.push(byte),
        Ok(byte @ (b'"' | b'\\')) => line.extend_from_slice(&[b'\\', byte]),
        _ => {
            for &mut unit in char.encode_utf16(&mut [0; 2]) {
                line.extend_from_slice(b"\\u");
                let digit = |at: u32| b"0123456789abcdef"[usize::from(unit >> at) % 16];
                line.extend_from_slice(&[digit(12), digit(8), digit(4), digit(0)]);
            }
        }
    }
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::super::combined::tests::entry;
    use super::*;

    fn line(entry: &Entry<'_>) -> String {
        let mut line = Vec::new();
        write(entry, Anonymiser::new(12, 84), &mut Dates::default(), &mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn a_line_has_all_that_is_known() {
        assert_eq!(
            line(&entry()),
            "{\"time\":\"2026-11-22T20:32:00.123Z\",\"id\":\"0123456789abcdef\",\"client\":\"203.0.112.0\",\
             \"scheme\":\"https\",\"site\":\"farm.example\",\"route\":\"cache-info\",\"method\":\"GET\",\
             \"target\":\"/nix-cache-info\",\"protocol\":\"HTTP/1.1\",\"status\":200,\"bytes\":42,\
             \"duration\":0.001234,\"backend\":null,\"cache\":null,\"admin\":null,\"referer\":null,\
             \"user_agent\":\"GNU Guile\"}\n"
        );
        let more = Entry {
            backend: Some(Duration::from_millis(61_002)),
            cache: Some("hit"),
            user: Some("Ada L"),
            secure: false,
            ..entry()
        };
        let value: Value = serde_json::from_str(&line(&more)).unwrap();
        assert_eq!(value["backend"], 61.002);
        assert_eq!((&value["cache"], &value["admin"]), (&"hit".into(), &"Ada L".into()));
        assert_eq!(value["scheme"], "http");
    }

    #[test]
    fn a_line_stays_a_line_and_json_whatever_a_client_sends() {
        let entry =
            Entry { user_agent: Some(b"\"\\\n\x1b[31m\x7f \xc3\xa9 \xff \xf0\x9f\x90\x83"), ..entry() };
        let line = line(&entry);
        assert!(
            line.ends_with("\"\\\"\\\\\\u000a\\u001b[31m\\u007f \\u00e9 \\ufffd \\ud83d\\udc03\"}\n"),
            "{line}"
        );
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["user_agent"], "\"\\\n\x1b[31m\x7f é \u{fffd} 🐃");
    }

    proptest! {
        #[test]
        fn any_bytes_come_back_as_they_were_sent(target in vec(any::<u8>(), 0..80), agent in ".{0,40}") {
            let entry = Entry { target: &target, user_agent: Some(agent.as_bytes()), ..entry() };
            let line = line(&entry);
            let text = line.strip_suffix('\n').unwrap();
            prop_assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~')));
            let value: Value = serde_json::from_str(text).unwrap();
            prop_assert_eq!(value["target"].as_str().unwrap(), String::from_utf8_lossy(&target));
            prop_assert_eq!(value["user_agent"].as_str().unwrap(), agent);
        }
    }
}
