//! `farmgate anonip`, beside Debian's anonip.

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;

use super::support::gate::BINARY;
use super::support::pki::scratch;
use super::support::{eventually_true, need};

/// Runs `command` with `input` on its stdin.
fn piped(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("piped");
    thread::scope(|scope| {
        // Whoever has seen enough does not read the rest.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().expect("it ends")
    })
}

fn ours(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let output = piped(Command::new(BINARY).arg("anonip").args(arguments), input);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Without what anonip does to white space: it drops what stands at the end of a line.
fn lines(output: &[u8]) -> Vec<String> {
    let text = String::from_utf8(output.to_vec()).expect("UTF-8");
    text.replace("\r\n", "\n").lines().map(|line| line.trim_end().to_owned()).collect()
}

fn compare(arguments: &[&str], input: &[String]) {
    let text = input.join("\n") + "\n";
    let theirs = piped(Command::new("anonip").args(arguments).env("PYTHONUTF8", "1"), text.as_bytes());
    assert!(theirs.status.success(), "anonip {arguments:?}: {}", String::from_utf8_lossy(&theirs.stderr));
    let (ours, theirs) = (lines(&ours(arguments, text.as_bytes())), lines(&theirs.stdout));
    assert_eq!(ours.len(), theirs.len());
    for ((line, ours), theirs) in input.iter().zip(ours).zip(theirs) {
        assert_eq!(ours, theirs, "anonip {arguments:?} of {line:?}");
    }
}

/// Lines of columns that are addresses in all kinds of clothes, or something else. The same ones each time.
fn odd_lines(count: usize, delimiter: &str) -> Vec<String> {
    // What differs on purpose is not among them: IPv4 within IPv6 or in brackets, capitals in brackets, prefix lengths.
    const FOUR: &[&str] =
        &["203.0.113.77", "10.1.2.3", "127.0.0.1", "255.255.255.255", "0.0.0.0", "100.64.9.9"];
    const SIX: &[&str] =
        &["2001:db8:85a3:1234::1", "::1", "fe80::1", "fd00:1:2:3:4:5:6:7", "2600::", "2a02:1:2::"];
    const NONE: &[&str] = &[
        "",
        "-",
        "x",
        "1.2.3",
        "1.2.3.400",
        "01.2.3.4",
        "host.example",
        "1:2",
        "\u{e9}",
        "12:34:56",
        "1.2.3.4,5.6.7.8",
    ];
    const BEFORE: &[&str] = &["", "", "", "user@", "x", "//", "http://"];
    const BEHIND: &[&str] = &["", "", "", ":80", "]", ":80]", "/x", "?q=1", "#f", ":", ":x", "x", ",", "."];
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut of = |all: &[&'static str]| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        all[(seed % all.len() as u64) as usize]
    };
    let mut column = move || match of(&["four", "four", "six", "bracketed", "none"]) {
        "four" => format!("{}{}{}", of(BEFORE), of(FOUR), of(BEHIND)),
        "six" => format!("{}{}", of(SIX), of(&["", "", "]", ".", "%eth0"])),
        "bracketed" => {
            format!("{}[{}]{}", of(&["", "user@"]), of(SIX), of(&["", ":443", "]", ":443]", "/x"]))
        }
        _ => of(NONE).to_owned(),
    };
    (0..count)
        .map(|at| (0..at % 6).map(|_| column()).collect::<Vec<_>>().join(delimiter) + [" ", "", "\r"][at % 3])
        .collect()
}

#[test]
fn every_option_does_what_anonips_does() {
    if !need("anonip") {
        return;
    }
    let spaced = odd_lines(3000, " ");
    for arguments in [
        &[][..],
        &["-c", "1", "3", "2"],
        &["--column", "2", "2", "9"],
        &["-4", "8", "-6", "64"],
        &["--ipv4mask", "32", "--ipv6mask", "128"],
        &["--ipv4mask", "1", "--ipv6mask", "1"],
        &["--replace", "0.0.0.0", "-c", "1", "2", "3", "4"],
        &["--skip-private", "-c", "1", "2", "3"],
        &["--increment", "7", "--skip-private"],
        &["-i", "4294967296"],
    ] {
        compare(arguments, &spaced);
    }
    compare(&["-l", ";;", "-c", "1", "4"], &odd_lines(1000, ";;"));
    compare(&["--delimiter", "\t", "-c", "2"], &odd_lines(1000, "\t"));
}

#[test]
fn where_anonip_leaves_an_address_in_clear_it_is_masked() {
    if !need("anonip") {
        return;
    }
    for (line, anonips, expected) in [
        ("[2001:DB8:85A3::1]:443 x", "[2001:DB8:85A3::1]:443 x", "[2001:db8:85a0::]:443 x"),
        ("2001:db8:85a3::1/64 x", "2001:db8:85a3::1/64 x", "2001:db8:85a0::/64 x"),
        ("::ffff:203.0.113.77 x", ":: x", "203.0.112.0 x"),
    ] {
        let theirs = piped(&mut Command::new("anonip"), line.as_bytes());
        assert_eq!(lines(&theirs.stdout), [anonips], "anonip of {line}");
        assert_eq!(ours(&[], line.as_bytes()), expected.as_bytes());
    }
}

#[test]
fn everywhere_leaves_no_address_and_nothing_else_changed() {
    let log = "203.0.113.77 - - [22/Nov/2026:20:32:00 +0000] \"GET /x?ip=198.51.100.9 HTTP/1.1\" 200 42 \
               \"http://[2001:db8:85a3::7]:80/\" \"Guile 3.0.9, 10.1.2.3, Chrome/87.0.4280.88\"\n";
    let masked = "203.0.112.0 - - [22/Nov/2026:20:32:00 +0000] \"GET /x?ip=198.51.96.0 HTTP/1.1\" 200 42 \
                  \"http://[2001:db8:85a0::]:80/\" \"Guile 3.0.9, 10.1.0.0, Chrome/87.0.4280.88\"\n";
    assert_eq!(String::from_utf8(ours(&["--everywhere"], log.as_bytes())).expect("text"), masked);
}

#[test]
fn files_are_read_in_order_and_the_output_is_appended_to() {
    let folder = scratch("anonip");
    let [one, two, to] = ["one", "two", "to"].map(|name| folder.join(name).display().to_string());
    fs::write(&one, "1.2.3.4 one\n").and_then(|()| fs::write(&two, "5.6.7.8 two")).expect("files");
    for _ in 0..2 {
        assert!(ours(&["--output", &to, &one, &two], b"not read").is_empty());
    }
    assert_eq!(fs::read_to_string(&to).expect("output"), "1.2.0.0 one\n5.6.0.0 two".repeat(2));
    assert_eq!(ours(&["--input", &two], b""), b"5.6.0.0 two");

    let fails = |arguments: &[&str]| {
        let output = piped(Command::new(BINARY).arg("anonip").args(arguments), b"");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (status, said) = fails(&["-o", &one, &one]);
    assert!(status == Some(2) && said.contains("read and written at once"), "{said}");
    assert_eq!(fs::read_to_string(&one).expect("as it was"), "1.2.3.4 one\n");
    assert!(matches!(fails(&["/nonexistent"]), (Some(1), said) if said.contains("/nonexistent")));
    for wrong in
        [&["-4", "33"][..], &["-6", "0"], &["-c", "0"], &["-l", ""], &["-e", "-c", "2"], &["-i", "-1"]]
    {
        assert_eq!(fails(wrong).0, Some(2), "{wrong:?}");
    }
    // What was left in clear is told.
    let output = piped(Command::new(BINARY).arg("anonip"), b"x 1.2.3.4\n");
    assert!(
        String::from_utf8_lossy(&output.stderr).starts_with("1 columns hold something that is no address")
    );
}

#[test]
fn a_reader_that_has_seen_enough_ends_it_quietly() {
    let mut child = Command::new(BINARY)
        .args(["anonip", "-e"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    drop(child.stdout.take());
    let fed = thread::spawn(move || while stdin.write_all(&b"1.2.3.4\n".repeat(1000)).is_ok() {});
    let mut said = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    assert!(child.wait().expect("it ends").success());
    assert_eq!(said, "");
    fed.join().expect("no panic");
}

#[test]
fn a_line_comes_out_before_the_next_goes_in() {
    let mut child = Command::new(BINARY)
        .arg("anonip")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let (mut stdin, mut stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    for _ in 0..3 {
        stdin.write_all(b"1.2.3.4 x\n").expect("it reads");
        let mut line = [0; 10];
        stdout.read_exact(&mut line).expect("it writes");
        assert_eq!(&line, b"1.2.0.0 x\n");
    }
    drop(stdin);
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn a_line_without_end_takes_no_memory() {
    for arguments in [&["anonip"][..], &["anonip", "-e"]] {
        let mut child = Command::new(BINARY)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts");
        let mut stdin = child.stdin.take().expect("piped");
        let mut feed = |mebibytes: usize| {
            let piece = b"x".repeat(1 << 20);
            (0..mebibytes).for_each(|_| stdin.write_all(&piece).expect("it reads"));
        };
        let status = PathBuf::from(format!("/proc/{}/status", child.id()));
        let peak = || {
            let text = fs::read_to_string(&status).expect("a running process");
            let line = text.lines().find(|line| line.starts_with("VmHWM:")).expect("VmHWM").to_owned();
            line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number")
        };
        feed(2);
        let before = peak();
        feed(24);
        let more = peak() - before;
        assert!(more < 2 << 10, "{more} KiB for 24 MiB of a line");
        drop(stdin);
        eventually_true("it ends", || child.try_wait().expect("a child to ask").is_some());
    }
}
