//! What goes wrong with the process and its machine: no files left, full disks, a clock that jumps. Others are served
//! meanwhile, it is told once, and it is over when the reason is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::config::{Config, HOST, Site, quoted};
use super::support::farm::recorded;
use super::support::gate::Gate;
use super::support::pki::world;
use super::support::recorder::{Recorder, Then};
use super::support::{at_rest, eventually_true, need, output, run};

/// How many files the process may have open from now on.
fn allow_files(gate: &Gate, count: u32) {
    run(Command::new("prlimit").args([format!("--pid={}", gate.pid()), format!("--nofile={count}:")]));
}

fn told(gate: &Gate, what: &str) -> usize {
    gate.stderr().iter().filter(|line| line.contains(what)).count()
}

#[test]
fn with_few_files_left_a_crowd_is_refused_and_those_who_are_in_get_all_they_ask_for() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config.set("limits.connections_per_client", "10000"));
    let mut ours = gate.http();
    assert_eq!(ours.get("/abc.narinfo").status, 200);
    allow_files(&gate, 160);
    // The kernel completes them; what becomes of them is the gate's to say.
    let crowd: Vec<_> = (0..300).map(|_| gate.http()).collect();
    eventually_true("most of them are refused", || {
        gate.status()["connections_refused"].as_u64().is_some_and(|count| count > 200)
    });
    // Each of these needs files of its own: a connection to the backend, a file of the cache.
    for target in ["/nar/abc", "/download/1", "/static/a", "/static/a", "/log/abc", "/jobset/x"] {
        assert_eq!(ours.get(target).status, 200, "{target}");
    }
    assert_eq!(told(&gate, "cannot accept"), 0, "it does not come to that");
    drop(crowd);
    eventually_true("room for others", || {
        gate.http().try_request("GET", b"/x", &[], b"").is_ok_and(|response| response.status == 200)
    });
}

#[test]
fn without_any_file_left_who_is_in_is_served_it_is_told_once_and_who_waited_gets_an_answer() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config);
    let mut ours = gate.http();
    assert_eq!(ours.get("/abc.narinfo").status, 200);
    allow_files(&gate, 4);
    let mut waiting: Vec<_> = (0..10).map(|_| gate.http()).collect();
    for connection in &mut waiting {
        connection.send(format!("GET /waited HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    }
    gate.wait_for_stderr("cannot accept connections: Too many open files");
    for _ in 0..200 {
        // Built in, and over the connection to the backend that there is.
        assert_eq!((ours.get("/robots.txt").status, ours.get("/abc.narinfo").status), (200, 200));
    }
    assert!(ours.get("/download/1").status >= 500, "there is no file for another connection to the backend");
    assert_eq!(told(&gate, "cannot accept"), 1);
    allow_files(&gate, 1000);
    for connection in &mut waiting {
        assert_eq!(connection.response().status, 200);
    }
    assert_eq!((ours.get("/download/1").status, gate.https().get("/x").status), (200, 200));
}

/// A small disk of its own at `folder`; none where nothing can be mounted.
struct Disk(PathBuf);

impl Disk {
    fn at(folder: PathBuf) -> Option<Disk> {
        fs::create_dir_all(&folder).expect("a folder");
        let mount = ["-t", "tmpfs", "-o", "size=256k,mode=700", "none"];
        let mounted = output(Command::new("mount").args(mount).arg(&folder)).status.success();
        if !mounted {
            eprintln!("skipped: no file system can be mounted here");
        }
        mounted.then_some(Disk(folder))
    }

    fn fill(&self) {
        fs::write(self.0.join("ballast"), vec![0; 512 * 1024]).expect_err("a full disk");
    }

    fn relieve(&self) {
        fs::remove_file(self.0.join("ballast")).expect("the ballast");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn full_disks_for_state_cache_and_logs_fail_no_request_and_are_told_of_once_each() {
    const TROUBLE: [&str; 3] = [
        "the history of what was served is not written",
        "the backend answers until it can",
        "cannot be written",
    ];
    let recorder = cacheable();
    let folder = tempfile::tempdir().expect("a folder");
    let disk = |name: &str| Disk::at(folder.path().join(name));
    let (Some(state), Some(cache), Some(log)) = (disk("state"), disk("cache"), disk("log")) else { return };
    state.fill();
    let path = |disk: &Disk, name: &str| quoted(&disk.0.join(name).display().to_string());
    let gate = recorded(&recorder, |config| {
        config
            .set("paths.state", &path(&state, "."))
            .set("paths.cache", &path(&cache, "."))
            .set("access_log.http", &path(&log, "http"))
    });
    assert_eq!(gate.http().get("/static/before").status, 200);
    cache.fill();
    log.fill();
    let mut connection = gate.http();
    let mut served = 0;
    eventually_true("all three are told of", || {
        for _ in 0..50 {
            assert_eq!(connection.get(&format!("/static/{served}")).status, 200);
            served += 1;
        }
        TROUBLE.iter().all(|trouble| told(&gate, trouble) > 0)
    });
    // What was under way on a disk that is nearly full may yet fit: that is an end of the trouble, and it may begin anew.
    let ended = told(&gate, "works again");
    for trouble in TROUBLE {
        assert!((1..=1 + ended).contains(&told(&gate, trouble)), "{trouble}: {ended} times over");
    }
    [&state, &cache, &log].into_iter().for_each(Disk::relieve);
    connection.get("/static/after");
    gate.wait_for_stderr("works again");
    gate.wait_for_stderr("can be written again");
    let asked = recorder.requests().len();
    assert_eq!(
        (connection.get("/static/after").status, recorder.requests().len()),
        (200, asked),
        "it is kept"
    );
    assert!(gate.sigterm_and_wait().success());
    gate.wait_for_stderr("the history of what was served is written again");
    assert!(state.0.join("history").is_file());
}

fn cacheable() -> Recorder {
    Recorder::start(|_, tcp| {
        use std::io::Write;
        let _ =
            tcp.write_all(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\nContent-Length: 2\r\n\r\nok");
        Then::Keep
    })
}

/// A gate whose clock is set by what the file "clock" in its folder says.
fn with_a_clock(recorder: &Recorder) -> Gate {
    let library = output(Command::new("sh").args(["-c", "ls /usr/lib/*/faketime/libfaketime.so.1"]));
    let library = String::from_utf8_lossy(&library.stdout).trim().to_owned();
    let script = format!(
        "clock=$(dirname \"$3\")/clock && echo +0s >\"$clock\" && exec env LD_PRELOAD={library} \
         FAKETIME_TIMESTAMP_FILE=\"$clock\" FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1 \"$0\" \"$@\""
    );
    let site = Site::new(HOST).publish(&recorder.url()).ci(&recorder.url());
    Config::new(site)
        .client_ca(&world().authority.cert)
        .set("access_log.rotate", "{ size = \"100MiB\", keep = 1000, age = \"1h\" }")
        .through(&["sh", "-c", &script])
        .start()
}

fn set_clock(gate: &Gate, shift: &str) {
    let clock = gate.folder().join("clock");
    let new = clock.with_extension("new");
    fs::write(&new, format!("{shift}\n")).and_then(|()| fs::rename(&new, &clock)).expect("a file");
}

/// Files that the plain log was put aside in.
fn put_aside(folder: &Path) -> usize {
    let names = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    names.filter(|name| name.to_string_lossy().starts_with("http.log-")).count()
}

#[test]
fn a_clock_that_jumps_both_ways_stops_nothing_and_begins_no_loop() {
    if !need("faketime") {
        return;
    }
    let recorder = cacheable();
    let gate = with_a_clock(&recorder);
    let (mut plain, mut tls) = (gate.http(), gate.https());
    let mut admin = gate.https_as(&world().good);
    let asked_for =
        |target: &str| recorder.requests().iter().filter(|request| request.target() == target).count();
    assert_eq!((plain.get("/static/a").status, asked_for("/static/a")), (200, 1));
    // Who is let in goes by the clock, in both directions and at once; all else goes on.
    let jumps = [("+2h", 200), ("-20y", 403), ("+0s", 200), ("+30y", 403), ("-2h", 403), ("+1m", 200)];
    for (number, (shift, verdict)) in jumps.into_iter().enumerate() {
        set_clock(&gate, shift);
        eventually_true(&format!("the verdict at {shift}"), || admin.get("/admin").status == verdict);
        for connection in [&mut plain, &mut tls, &mut gate.http(), &mut gate.https()] {
            assert_eq!(connection.get("/static/a").status, 200, "{shift}");
            assert_eq!(connection.get(&format!("/static/new-{number}")).status, 200, "{shift}");
        }
        if number == 0 {
            // Older than it may get, by that clock; the next jump should not come before that is seen.
            eventually_true("the log is put aside", || {
                plain.get("/static/a").status == 200 && put_aside(gate.folder()) > 0
            });
        }
        let status = gate.status();
        for rate in ["requests_per_second", "bytes_per_second"] {
            let rate = status[rate].as_f64().expect("a number");
            assert!((0.0..1e6).contains(&rate), "{rate} at {shift}");
        }
    }
    assert!(asked_for("/static/a") > 1, "two hours later it was no longer fresh");
    // The log is put aside once for a jump in either direction, and then there is peace.
    let files = at_rest("files put aside", || put_aside(gate.folder()));
    assert!((1..=jumps.len() + 1).contains(&files), "{files} files");
    at_rest("the processor", || gate.cpu_ticks());
    assert_eq!(told(&gate, "PANIC"), 0);
    assert!(gate.sigterm_and_wait().success());
}
