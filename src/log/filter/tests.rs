//! What the filter does to lines, whole and in pieces.

use std::io::Read;

use proptest::prelude::*;

use super::*;

fn rule() -> Rule {
    Rule { anonymiser: Anonymiser::new(12, 84), increment: 0, skip_private: false }
}

fn columns(columns: &[usize], delimiter: &str, replace: Option<&str>) -> Where {
    Where::Columns(
        Columns::new(columns, delimiter.as_bytes(), replace.map(str::as_bytes)).expect("good columns"),
    )
}

fn run(input: &[u8], at: &Where, rule: &Rule) -> Vec<u8> {
    let mut output = Vec::new();
    filter(&mut &input[..], &mut output, at, rule).unwrap();
    output
}

fn text(input: &str, at: &Where) -> String {
    String::from_utf8(run(input.as_bytes(), at, &rule())).unwrap()
}

#[test]
fn the_first_column_is_masked_in_every_form_that_servers_write() {
    let first = columns(&[1], " ", None);
    for (line, expected) in [
        ("203.0.113.77 - x", "203.0.112.0 - x"),
        ("203.0.113.77:8080 x", "203.0.112.0:8080 x"),
        ("203.0.113.77] x", "203.0.112.0] x"),
        ("2001:db8:85a3:1234::1 x", "2001:db8:85a0:: x"),
        ("[2001:DB8:85a3:1234::1]:443 x", "[2001:db8:85a0::]:443 x"),
        ("[2001:db8:85a3:1234::1]] x", "[2001:db8:85a0::]] x"),
        ("::ffff:203.0.113.77 x", "203.0.112.0 x"),
        ("203.0.113.0/24 x", "203.0.112.0/24 x"),
        ("2001:db8:85a3::1/64 x", "2001:db8:85a0::/64 x"),
        ("[1.2.3.4]:80 x", "[1.2.0.0]:80 x"),
        ("fe80::1%eth0 x", "fe80:: x"),
        ("host 203.0.113.77", "host 203.0.113.77"),
        (" 203.0.113.77", " 203.0.113.77"),
        ("", ""),
    ] {
        assert_eq!(text(line, &first), expected);
    }
}

#[test]
fn columns_delimiter_and_replacement_are_ones_own() {
    assert_eq!(text("a;;1.2.3.4;;5.6.7.8\n", &columns(&[3, 2, 2], ";;", None)), "a;;1.2.0.0;;5.6.0.0\n");
    assert_eq!(text("x 1.2.3.4 y", &columns(&[1, 2, 9], " ", Some("0.0.0.0"))), "0.0.0.0 1.2.0.0 y");
    assert_eq!(text(" x", &columns(&[1], " ", Some("gone"))), " x", "an empty column stays empty");
    for (wrong, delimiter) in [(&[][..], " "), (&[0], " "), (&[1], "")] {
        assert!(Columns::new(wrong, delimiter.as_bytes(), None).is_none());
    }
}

#[test]
fn line_ends_and_white_space_and_bytes_that_are_no_text_stay() {
    let input = b"1.2.3.4\r\n1.2.3.4 \xff\t \n\n1.2.3.4";
    assert_eq!(run(input, &columns(&[1], " ", None), &rule()), b"1.2.0.0\r\n1.2.0.0 \xff\t \n\n1.2.0.0");
    assert_eq!(run(input, &Where::Everywhere, &rule()), b"1.2.0.0\r\n1.2.0.0 \xff\t \n\n1.2.0.0");
}

#[test]
fn private_addresses_may_stay_and_the_rest_may_be_counted_up() {
    let rule = Rule { increment: 7, skip_private: true, ..rule() };
    let input = b"10.1.2.3 ::1 fd00::9 100.64.1.1 8.8.8.8 ::ffff:10.1.2.3 2600::1";
    let expected = b"10.1.2.3 ::1 fd00::9 100.64.0.7 8.8.0.7 10.1.2.3 2600::7";
    assert_eq!(run(input, &Where::Everywhere, &rule), expected);
    let most = Rule { increment: u128::MAX, skip_private: false, ..rule };
    assert_eq!(run(b"8.8.8.8 2600::1", &Where::Everywhere, &most), b"8.8.0.0 2600::");
}

#[test]
fn columns_without_an_address_are_counted() {
    let mut output = Vec::new();
    let summary = filter(&mut &b"x 1\n1.2.3.4 1\n\ny"[..], &mut output, &columns(&[1], " ", None), &rule());
    assert_eq!(summary.unwrap(), Summary { without_address: 2 });
}

#[test]
fn a_line_that_is_longer_than_the_buffer_is_masked_like_any_other() {
    let long = "x".repeat(BUFFER - 5);
    let line = format!("1.2.3.4 {long} 5.6.7.8 {long}{long} 9.9.9.9 {long}\n1.2.3.4");
    let masked = format!("1.2.0.0 {long} 5.6.0.0 {long}{long} 9.9.0.0 {long}\n1.2.0.0");
    assert_eq!(text(&line, &columns(&[1, 2, 3, 4, 5, 6], " ", None)), masked);
    assert_eq!(text(&line, &Where::Everywhere), masked);
    // What replaces a column replaces all of it, and a host is found at the beginning of one that does not end.
    let replaced = "1.2.0.0 - 5.6.0.0 - 9.9.0.0 -\n1.2.0.0";
    assert_eq!(text(&line, &columns(&[1, 2, 3, 4, 5, 6], " ", Some("-"))), replaced);
    let endless = format!("1.2.3.4/{long}{long}");
    assert_eq!(text(&endless, &columns(&[1], " ", None)), format!("1.2.0.0/{long}{long}"));
    // Two bytes of a delimiter, one of them the last of the buffer.
    let cut = format!("{};;1.2.3.4", "x".repeat(BUFFER - 1));
    assert_eq!(text(&cut, &columns(&[2], ";;", None)), format!("{};;1.2.0.0", "x".repeat(BUFFER - 1)));
}

/// Gives as many bytes at a time as it is told to.
struct Dribble<'a>(&'a [u8], usize);

impl Read for Dribble<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.1.min(self.0.len()).min(buffer.len());
        let (now, later) = self.0.split_at(count);
        buffer[..count].copy_from_slice(now);
        self.0 = later;
        Ok(count)
    }
}

proptest! {
    #[test]
    fn it_makes_no_difference_how_the_input_comes(
        lines in "([0-9.:a-f%\\\\x\\[\\] \n]|1\\.2\\.3\\.4|2001:db8::1|\u{e9}){0,60}",
        step in 1usize..9,
        replace in proptest::option::of("[a-z]{0,3}"),
    ) {
        for at in [Where::Everywhere, columns(&[1, 3], " ", replace.as_deref())] {
            let mut output = Vec::new();
            filter(&mut Dribble(lines.as_bytes(), step), &mut output, &at, &rule()).unwrap();
            prop_assert_eq!(&output, &run(lines.as_bytes(), &at, &rule()));
        }
    }

    #[test]
    fn each_address_is_masked_and_a_masked_one_is_left_alone(
        words in proptest::collection::vec("[a-z.:/-]{0,9}|1\\.2\\.3\\.4(:80)?|\\[2001:db8:1:2::3\\]|fe80::[1-9]", 0..12)
    ) {
        let line = words.join(" ");
        let once = run(line.as_bytes(), &Where::Everywhere, &rule());
        for (word, masked) in words.iter().zip(once.split(|&byte| byte == b' ')) {
            if let Ok(address) = word.trim_matches(['[', ']']).parse::<IpAddr>() {
                let masked = String::from_utf8_lossy(masked);
                let masked: IpAddr = masked.trim_matches(['[', ']']).parse().unwrap();
                prop_assert_eq!(masked, rule().anonymiser.mask(address));
            }
        }
        prop_assert_eq!(&run(&once, &Where::Everywhere, &rule()), &once);
    }
}
