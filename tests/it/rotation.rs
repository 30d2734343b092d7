//! Access logs on disk: put aside, compressed, bounded; and what happens when they cannot be written.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::support::config::{Config, quoted};
use super::support::farm::recorded;
use super::support::gate::Gate;
use super::support::recorder::Recorder;
use super::support::{eventually, eventually_true, run};

/// What was put aside of a gate's plain log, oldest first, and the log itself: names and lines.
fn files(folder: &Path) -> Vec<(String, Vec<String>)> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .filter(|name| name.starts_with("http.log-"))
        .collect();
    names.sort();
    names.push("http.log".into());
    names
        .into_iter()
        .filter_map(|name| Some((lines(&folder.join(&name))?, name)))
        .map(|(lines, name)| (name, lines))
        .collect()
}

/// As `zcat -f` reads it; none where it has got another name meanwhile.
fn lines(path: &Path) -> Option<Vec<String>> {
    let bytes = fs::read(path).ok()?;
    let mut text = String::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).expect("gzip");
    } else {
        text = String::from_utf8(bytes).expect("ASCII");
    }
    Some(text.lines().map(str::to_owned).collect())
}

/// The numbers of `/x?N`, in the order of the files.
fn numbers(folder: &Path) -> Vec<usize> {
    let all = files(folder).into_iter().flat_map(|(_, lines)| lines);
    all.filter_map(|line| line.split("/x?").nth(1)?.split(' ').next()?.parse().ok()).collect()
}

fn ask(gate: &Gate, range: std::ops::Range<usize>) {
    let mut connection = gate.http();
    range.for_each(|number| assert_eq!(connection.get(&format!("/x?{number}")).status, 200));
}

fn small(size: &str, keep: u32) -> impl FnOnce(Config) -> Config {
    let rules = format!("{{ size = {}, keep = {keep} }}", quoted(size));
    move |config| config.set("access_log.rotate", &rules)
}

fn compressed(folder: &Path) -> bool {
    let files = files(folder);
    files.len() > 1 && files[..files.len() - 1].iter().all(|(name, _)| name.ends_with("Z.gz"))
}

#[test]
fn a_full_log_is_put_aside_and_compressed_and_no_line_is_lost() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, small("2KiB", 100));
    ask(&gate, 0..300);
    gate.wait_for_access("http", "/x?299");
    eventually_true("all of it compressed", || compressed(gate.folder()));
    assert_eq!(numbers(gate.folder()), (0..300).collect::<Vec<_>>(), "in the order of the names");
    let files = files(gate.folder());
    assert!(files.len() > 10, "{}", files.len());
    for (name, lines) in &files {
        let size: usize = lines.iter().map(|line| line.len() + 1).sum();
        assert!(size <= 2048 && !lines.is_empty(), "{name}: {size}");
    }
    run(Command::new("gzip").arg("--test").args(
        files.iter().filter(|(name, _)| name.ends_with(".gz")).map(|(name, _)| gate.folder().join(name)),
    ));
}

#[test]
fn no_more_are_kept_than_was_said_and_the_newest_are() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, small("1KiB", 3));
    ask(&gate, 0..200);
    gate.wait_for_access("http", "/x?199");
    eventually_true("three of them", || files(gate.folder()).len() == 4 && compressed(gate.folder()));
    let numbers = numbers(gate.folder());
    assert_eq!(numbers, (200 - numbers.len()..200).collect::<Vec<_>>());

    // Fewer from now on.
    gate.rewrite(&small("1KiB", 1)(gate.config.clone()));
    gate.reload();
    eventually_true("one of them", || files(gate.folder()).len() == 2);
}

#[test]
fn a_log_that_is_old_enough_is_put_aside_without_being_full() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| {
        config.set("access_log.rotate", "{ size = \"1GiB\", keep = 9, age = \"1s\" }")
    });
    ask(&gate, 0..1);
    eventually_true("it is put aside", || compressed(gate.folder()));
    assert_eq!(numbers(gate.folder()), [0]);
}

#[test]
fn what_a_killed_gate_left_undone_is_done_by_the_next() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, small("1MiB", 9));
    let folder = gate.folder().to_owned();
    // As if it had been killed while it compressed one, before it gave another one its name, and long ago.
    let put = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).expect("a file");
    let gzip = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, text.as_bytes())
            .and_then(|()| encoder.finish())
            .expect("memory")
    };
    put("http.log-20260101T000000Z", b"\"GET /x?0 HTTP/1.1\"\n");
    put(".http.log-20260101T000000Z.gz.tmp", b"\x1f\x8bhalf of it");
    put("http.log-20260101T000001Z", &gzip("\"GET /x?1 HTTP/1.1\"\n"));
    put(".http.log-20260101T000002Z.gz.tmp", b"\x1f\x8bof one that is gone");
    put("http.log-yesterday", b"somebody else's\n");
    // Of the future: what comes after it has to sort behind it.
    put("http.log-20991231T235959Z.gz", &gzip("\"GET /x?2 HTTP/1.1\"\n"));
    ask(&gate, 3..4);
    gate.wait_for_access("http", "/x?3");
    let line = fs::read(folder.join("http.log")).expect("the log");
    gate.signal("KILL");
    gate.wait_for_exit();

    let gate = gate.again(&small("64B", 9)(gate.config.clone()));
    ask(&gate, 4..5);
    gate.wait_for_access("http", "/x?4");
    eventually_true("all in order", || numbers(&folder) == [0, 1, 2, 3, 4]);
    eventually_true("nothing half done", || {
        let names: Vec<_> =
            fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("one").file_name()).collect();
        !names.iter().any(|name| name.to_string_lossy().ends_with(".tmp"))
    });
    eventually_true("a name behind the last one", || folder.join("http.log-21000101T000000Z.gz").exists());
    assert_eq!(fs::read(folder.join("http.log-yesterday")).expect("it is nobody's"), b"somebody else's\n");
    assert!(!line.is_empty());
}

#[test]
fn a_kill_at_any_moment_loses_and_doubles_no_line_by_rotation() {
    let recorder = Recorder::ok();
    let mut gate = recorded(&recorder, small("512B", 10_000));
    let folder = gate.folder().to_owned();
    let next = AtomicUsize::new(0);
    for round in 0..6 {
        thread::scope(|scope| {
            let (mut connection, next) = (gate.http(), &next);
            // Until it is killed.
            scope.spawn(move || {
                let mut ask = |number: usize| {
                    connection.try_request("GET", format!("/x?{number}").as_bytes(), &[], b"").is_ok()
                };
                while ask(next.fetch_add(1, Ordering::Relaxed)) {}
            });
            // A file is put aside every few lines; the moment differs from round to round.
            let enough = numbers(&folder).len() + 60 + 17 * round;
            eventually_true("enough lines", || numbers(&folder).len() >= enough);
            gate.signal("KILL");
        });
        gate.wait_for_exit();
        let left = numbers(&folder);
        assert!(left.is_sorted_by(|one, other| one < other), "no line twice, and in order: {left:?}");
        // What is missing was not written yet: the last ones of a round, of which one was not answered.
        let missing = next.load(Ordering::Relaxed) - left.len();
        let last = left.last().copied().unwrap_or_default();
        assert!(missing > 0 && left[..60].iter().copied().eq(0..60), "{missing} missing, {last} the last");
        let config = gate.config.clone();
        gate = gate.again(&config);
        eventually_true("the next one has it in order", || compressed(&folder) && numbers(&folder) == left);
    }
}

#[test]
fn logrotate_and_a_signal_begin_a_new_file() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config);
    ask(&gate, 0..1);
    gate.wait_for_access("http", "/x?0");
    fs::rename(gate.folder().join("http.log"), gate.folder().join("http.log.1")).expect("put aside");
    gate.signal("USR1");
    eventually_true("a new file", || gate.folder().join("http.log").exists());
    ask(&gate, 1..2);
    gate.wait_for_access("http", "/x?1");
    assert_eq!(numbers(gate.folder()), [1]);
    assert_eq!(lines(&gate.folder().join("http.log.1")).expect("the old one").len(), 1);
    assert!(gate.is_running());
}

#[test]
fn changes_of_the_log_take_effect_at_a_reload_and_lose_no_line() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config);
    let stop = AtomicBool::new(false);
    let asked = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut connection = gate.http();
            let numbers = (0..).take_while(|_| !stop.load(Ordering::Relaxed));
            numbers.map(|number| assert_eq!(connection.get(&format!("/x?{number}")).status, 200)).count()
        });
        let elsewhere = quoted(&gate.folder().join("http.log-other").display().to_string());
        for (key, value) in [
            ("access_log.format", "\"json\""),
            ("access_log.ipv4_mask", "0"),
            ("access_log.http", elsewhere.as_str()),
            ("access_log.rotate", "{ size = \"1GiB\", keep = 1 }"),
        ] {
            gate.rewrite(&gate.config.clone().set("access_log.ipv6_mask", "80").set(key, value));
            gate.reload();
            let before = recorder.requests().len();
            eventually_true("some requests under it", || recorder.requests().len() > before + 20);
        }
        stop.store(true, Ordering::Relaxed);
        asking.join().expect("no panic")
    });
    assert!(gate.sigterm_and_wait().success());
    let mut numbers: Vec<usize> = [gate.folder().join("http.log"), gate.folder().join("http.log-other")]
        .iter()
        .flat_map(|path| lines(path).expect("a log"))
        .filter_map(|line| line.split("/x?").nth(1)?.split([' ', '"']).next()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..asked).collect::<Vec<_>>());
    let log = gate.access_log("http");
    assert!(log.iter().any(|line| line.starts_with("{\"time\"")), "json for a while");
    assert!(log.iter().any(|line| line.starts_with("127.0.0.1 ")), "unmasked for a while");
}

#[test]
fn a_log_that_cannot_be_opened_refuses_a_reload_and_is_tried_again_at_a_start() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config);
    let folder = gate.folder().join("folder");
    fs::create_dir(&folder).expect("a folder");
    let wrong = gate.config.clone().set("access_log.http", &quoted(&folder.display().to_string()));
    gate.rewrite(&wrong);
    let output = gate.command(&["reload"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("access log"), "{output:?}");
    ask(&gate, 0..1);
    gate.wait_for_access("http", "/x?0");

    assert!(gate.sigterm_and_wait().success());
    let gate = gate.again(&wrong);
    assert!(gate.wait_for_stderr("access log").contains("until it can be opened"));
    ask(&gate, 1..2);
    eventually_true("the line is counted as dropped", || gate.status()["log_lines_dropped"] == 1);
    fs::remove_dir(&folder).expect("an empty folder");
    ask(&gate, 2..3);
    eventually_true("the line after that is there", || lines(&folder).is_some_and(|lines| lines.len() == 1));
    gate.wait_for_stderr("can be written again; 1 lines were lost");
}

/// A gate whose plain log is `path`.
fn logging_to(recorder: &Recorder, path: &Path) -> Gate {
    recorded(recorder, |config| config.set("access_log.http", &quoted(&path.display().to_string())))
}

fn fifo(name: &str) -> PathBuf {
    let path = super::support::pki::scratch(name).join("fifo");
    run(Command::new("mkfifo").arg(&path));
    path
}

#[test]
fn a_full_disk_costs_lines_and_no_request() {
    let recorder = Recorder::ok();
    let gate = logging_to(&recorder, Path::new("/dev/full"));
    ask(&gate, 0..500);
    eventually_true("each line is counted", || gate.status()["log_lines_dropped"] == 500);
    let told = gate.stderr().iter().filter(|line| line.contains("cannot be written")).count();
    assert_eq!(told, 1, "and it is told once");
    assert!(gate.sigterm_and_wait().success());
}

#[test]
fn a_pipe_that_nobody_reads_costs_lines_and_no_request() {
    let recorder = Recorder::ok();
    let path = fifo("unread-fifo");
    let gate = logging_to(&recorder, &path);
    ask(&gate, 0..20);
    eventually_true("they are dropped", || gate.status()["log_lines_dropped"] == 20);
    // Somebody comes.
    let reader = thread::spawn(move || lines(&path));
    ask(&gate, 20..21);
    gate.wait_for_stderr("can be written again; 20 lines were lost");
    assert!(gate.sigterm_and_wait().success());
    assert_eq!(reader.join().expect("no panic").map(|lines| lines.len()), Some(1));
}

#[test]
fn a_reader_that_is_too_slow_costs_lines_and_no_request() {
    let recorder = Recorder::ok();
    let path = fifo("slow-fifo");
    // Open for reading, so that it can be opened for writing; never read.
    let held = fs::OpenOptions::new().read(true).write(true).open(&path).expect("a fifo");
    let gate = logging_to(&recorder, &path);
    // More than the pipe (64 KiB) and all that may wait (8 MiB) can hold.
    let long = "y".repeat(30_000);
    let mut connection = gate.http();
    for number in 0..700 {
        assert_eq!(connection.get(&format!("/x?{number}{long}")).status, 200);
    }
    let dropped = eventually("lines that are dropped", super::support::SOON, || {
        gate.status()["log_lines_dropped"].as_u64().filter(|&count| count > 0)
    });
    assert!(dropped < 700, "{dropped}");
    // It ends all the same.
    assert!(gate.sigterm_and_wait().success());
    drop(held);
}
