//! `farmgate upgrade`: another process takes over, and nobody who is connected or connects notices.

mod failures;
mod shared;

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::{fs, thread};

use super::support::config::{HOST, quoted};
use super::support::farm::recorded;
use super::support::gate::{BINARY, Gate};
use super::support::h2::H2;
use super::support::http1::{Broken, Connection};
use super::support::recorder::{Recorder, Then};
use super::support::tls::TlsClient;
use super::support::{Latch, eventually_true, free_port};

/// What begins with this is answered in two halves, the second one when the latch opens.
const HELD: &str = "/nar/gzip/held";
/// As many as are enough to meet every socket and every worker.
const MANY: usize = 60;

/// A backend that answers everything with what was asked for.
fn echo(latch: &Latch) -> Recorder {
    let latch = latch.clone();
    Recorder::start(move |request, tcp| {
        let target = request.target();
        let head = if target.starts_with("/static") { "\r\nCache-Control: max-age=600" } else { "" };
        let head = format!("HTTP/1.1 200 OK{head}\r\nContent-Length: {}\r\n\r\n", target.len());
        if target.contains("held") {
            let (first, second) = target.split_at(target.len() / 2);
            let _ = tcp.write_all(format!("{head}{first}").as_bytes());
            latch.wait();
            let _ = tcp.write_all(second.as_bytes());
            return Then::Close;
        }
        let _ = tcp.write_all(format!("{head}{target}").as_bytes());
        Then::Keep
    })
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
}

/// Begins to fetch `target`, and waits until it has begun to come.
fn begin(mut connection: Connection, target: &str) -> Connection {
    connection.send(get(target));
    connection.peek_bytes(1).expect("a beginning");
    connection
}

/// A program of a test's own, in a folder beside the gate's: Landlock leaves it that one to start programs from.
struct Script {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Script {
    fn new(text: &str) -> Script {
        let beside = Path::new(BINARY).parent().expect("a folder");
        let folder = tempfile::Builder::new().prefix("upgrade-").tempdir_in(beside).expect("a folder");
        let path = folder.path().join("script");
        fs::write(&path, text).expect("write a script");
        let script = Script { path, _folder: folder };
        script.mode(0o755);
        script
    }

    /// The gate's own program after `before`.
    fn wrapper(before: &str) -> Script {
        Script::new(&format!("#!/bin/sh\n{before}exec {BINARY} \"$@\"\n"))
    }

    fn mode(&self, mode: u32) {
        fs::set_permissions(&self.path, fs::Permissions::from_mode(mode)).expect("chmod");
    }

    fn path(&self) -> &str {
        self.path.to_str().expect("UTF-8")
    }
}

fn upgrade_to(gate: &Gate, script: &Script) {
    let output = gate.command(&["upgrade", "--binary", script.path()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_is_under_way_is_finished_and_what_is_new_goes_to_the_new_one() {
    let latch = Latch::default();
    let recorder = echo(&latch);
    let gate = recorded(&recorder, |config| config);
    let held = format!("{HELD}/1");
    let mut downloads = [begin(gate.http(), &held), begin(gate.https(), &held)];
    let (mut idle, mut idle_tls) = (gate.http(), gate.https());
    assert_eq!((idle.get("/x").status, idle_tls.get("/x").status), (200, 200));
    let mut fresh = gate.http();
    eventually_true("all of them are taken", || gate.status()["connections"] == 5);

    let new = gate.upgrade();

    assert_eq!(gate.status()["pid"], new);
    assert!(gate.is_running(), "the old one waits for the downloads");
    for connection in [&mut idle, &mut idle_tls] {
        let ended = connection.closed();
        assert!(matches!(ended, Ok(()) | Err(Broken::Truncated(_))), "a clean close: {ended:?}");
    }
    assert_eq!(fresh.get("/y").text(), "/y", "one that had just connected is answered");
    for _ in 0..MANY {
        assert_eq!((gate.http().get("/z").status, gate.https().get("/z").status), (200, 200));
    }
    eventually_true("it is told what the old one still has", || {
        let finishing = gate.status()["finishing"].clone();
        finishing[0]["pid"] == gate.pid() && finishing[0]["connections"] == 2
    });
    latch.open();
    for download in &mut downloads {
        assert_eq!(download.response().text(), held);
        let ended = download.closed();
        assert!(matches!(ended, Ok(()) | Err(Broken::Truncated(_))), "a clean close: {ended:?}");
    }
    assert_eq!(gate.wait_for_exit().code(), Some(0));
    eventually_true("nothing is left of the old one", || gate.status()["finishing"][0].is_null());
    assert_eq!(gate.serving(), new, "what it is found by is the new one's");
}

#[test]
fn a_batch_in_flight_at_an_upgrade_loses_no_answer_it_was_given() {
    const HELD: usize = 500;
    for is_secure in [false, true] {
        let latch = Latch::default();
        let recorder = echo(&latch);
        let gate = recorded(&recorder, |config| config);
        let mut connection = if is_secure { gate.https() } else { gate.http() };
        let targets: Vec<String> = (0..1000)
            .map(|number| format!("/{number}{}.narinfo", if number == HELD { "held" } else { "" }))
            .collect();
        connection.send(targets.iter().map(|target| get(target)).collect::<String>());
        assert_eq!(connection.response().text(), targets[0]);
        eventually_true("half of them are answered", || recorder.requests().len() > HELD);
        gate.upgrade();
        latch.open();
        let mut answered = 1;
        let end = loop {
            match connection.try_response(false) {
                Ok(response) => {
                    assert_eq!(response.text(), targets[answered], "in order");
                    answered += 1;
                    if response.closes() || answered == targets.len() {
                        break Ok(());
                    }
                }
                Err(broken) => break Err(broken),
            }
        };
        assert!(end.is_ok() && answered > HELD, "after {answered} answers: {end:?}");
    }
}

#[test]
fn an_http2_request_in_flight_is_answered_and_its_connection_ends() {
    let latch = Latch::default();
    let gate = recorded(&echo(&latch), |config| config);
    let mut connection = H2::connect(&TlsClient::default(), gate.https_addr(), HOST);
    let held = format!("{HELD}/2");
    connection.ask(HOST, &held);
    eventually_true("it is under way", || gate.status()["connections"] == 1);
    gate.upgrade();
    latch.open();
    assert_eq!(connection.answer().expect("an answer").status(), Some(200));
    assert_eq!(gate.wait_for_exit().code(), Some(0), "its connection is not waited for");
}

/// Everything that one client of a kind does until it is told to stop: how often it was answered, and what went wrong.
fn load(
    stop: &AtomicBool,
    answered: &AtomicUsize,
    connect: &dyn Fn() -> Connection,
    keep: bool,
) -> Vec<String> {
    let mut failures = Vec::new();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut connection = connect();
        let mut is_first = true;
        loop {
            number += 1;
            let target = format!("/{number}.narinfo");
            match connection.try_request("GET", target.as_bytes(), &[], b"") {
                Ok(response) if response.status == 200 && response.text() == target => {
                    answered.fetch_add(1, Ordering::Relaxed);
                    if response.closes() {
                        break;
                    }
                }
                // A connection that was kept may be ended at any time, and is opened anew (RFC 9112 section 9.3.1).
                Err(Broken::Closed) if !is_first => break,
                other => {
                    failures.push(format!("{target}: {other:?}"));
                    break;
                }
            }
            is_first = false;
            if !keep || stop.load(Ordering::Relaxed) {
                break;
            }
        }
    }
    failures
}

#[test]
fn upgrades_and_reloads_under_load_fail_no_request_and_lose_no_line_of_the_log() {
    const ROUNDS: usize = 8;
    let latch = Latch::default();
    latch.open();
    // Small, so that files are put aside all the time.
    let gate = recorded(&echo(&latch), |config| {
        config
            .set("access_log.rotate", "{ size = \"64KiB\", keep = 100000 }")
            .set("access_log.https", "\"off\"")
    });
    let (http, https) = (gate.http_addr(), gate.https_addr());
    let (stop, plain, secure) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let failures: Vec<String> = thread::scope(|scope| {
        let clients = [(true, false), (true, true), (false, false), (false, true)].map(|(is_plain, keep)| {
            let (stop, plain, secure) = (&stop, &plain, &secure);
            scope.spawn(move || match is_plain {
                true => load(stop, plain, &|| Connection::plain(http, HOST), keep),
                false => {
                    let client = TlsClient::default();
                    load(stop, secure, &|| client.connect(https, HOST), keep)
                }
            })
        });
        for round in 0..ROUNDS {
            let before = (plain.load(Ordering::Relaxed), secure.load(Ordering::Relaxed));
            match round % 2 {
                0 => assert_ne!(gate.upgrade(), 0),
                _ => gate.reload(),
            }
            eventually_true("both are answered again", || {
                plain.load(Ordering::Relaxed) > before.0 + 20
                    && secure.load(Ordering::Relaxed) > before.1 + 20
            });
        }
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().expect("no panic")).collect()
    });
    assert_eq!(failures, Vec::<String>::new());
    assert_eq!(gate.wait_for_exit().code(), Some(0));
    let expected = plain.load(Ordering::Relaxed);
    eventually_true("each request has its line", || lines_of_plain_log(gate.folder()) == Some(expected));
}

/// In all files; none while they are being put aside.
fn lines_of_plain_log(folder: &Path) -> Option<usize> {
    let mut count = 0;
    for entry in fs::read_dir(folder).ok()? {
        let path = entry.ok()?.path();
        let name = path.file_name()?.to_str()?.to_owned();
        if name.starts_with("http.log") {
            let output = std::process::Command::new("zcat").arg("-f").arg(&path).output().ok()?;
            count += output.stdout.iter().filter(|&&byte| byte == b'\n').count();
        }
    }
    Some(count)
}

#[test]
fn a_second_upgrade_while_an_old_one_finishes_leaves_both_to_finish() {
    let latch = Latch::default();
    let gate = recorded(&echo(&latch), |config| config);
    let mut downloads = Vec::new();
    let mut pids = vec![gate.pid()];
    for number in 0..3 {
        let target = format!("{HELD}/{number}");
        downloads.push((begin(gate.https(), &target), target));
        pids.push(gate.upgrade());
    }
    pids.pop();
    eventually_true("the one that serves hears of all of them", || {
        let finishing = gate.status()["finishing"].clone();
        let mut heard: Vec<u64> =
            finishing.as_array().expect("a list").iter().filter_map(|one| one["pid"].as_u64()).collect();
        heard.sort_unstable();
        let mut expected: Vec<u64> = pids.iter().copied().map(u64::from).collect();
        expected.sort_unstable();
        heard == expected
    });
    let shown = gate.command(&["status"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains(&format!("process {} finishes 1", pids[0])));
    latch.open();
    for (mut download, target) in downloads {
        assert_eq!(download.response().text(), target);
    }
    assert_eq!(gate.wait_for_exit().code(), Some(0));
    eventually_true("all of them have gone", || {
        pids.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists())
    });
}

#[test]
fn addresses_that_are_new_are_taken_up_and_those_that_are_gone_are_closed() {
    let latch = Latch::default();
    let (stays, goes, comes) = (free_port(), free_port(), free_port());
    let list = |ports: &[u16]| {
        let addresses: Vec<String> = ports.iter().map(|port| quoted(&format!("127.0.0.1:{port}"))).collect();
        format!("[{}]", addresses.join(", "))
    };
    let gate = recorded(&echo(&latch), |config| config.set("listen.http", &list(&[stays, goes])));
    let mut download = begin(Connection::plain(([127, 0, 0, 1], goes).into(), HOST), &format!("{HELD}/3"));
    let changed = gate.config.clone().set("listen.http", &list(&[stays, comes]));
    gate.rewrite(&changed);
    let reload = gate.command(&["reload"]);
    let said = String::from_utf8_lossy(&reload.stdout).into_owned();
    assert!(said.contains("[listen]") && said.contains("farmgate upgrade"), "{said}");
    gate.upgrade();
    for port in [stays, comes] {
        let answer = Connection::plain(([127, 0, 0, 1], port).into(), HOST).get("/x");
        assert_eq!(answer.status, 200, "{port}");
    }
    eventually_true("the one that is gone is closed", || TcpStream::connect(("127.0.0.1", goes)).is_err());
    latch.open();
    assert_eq!(download.response().status, 200, "its connections are finished");
    // From one address of this machine to all of them.
    gate.rewrite(&gate.config.clone().set("listen.http", &format!("[\"0.0.0.0:{stays}\"]")));
    gate.upgrade();
    assert_eq!(Connection::plain(([127, 0, 0, 1], stays).into(), HOST).get("/x").status, 200);
}

#[test]
fn paths_that_have_changed_are_taken_up() {
    let gate = recorded(&Recorder::ok(), |config| config);
    let folder = gate.folder().to_owned();
    let path = |name: &str| folder.join(name).display().to_string();
    let moved = gate
        .config
        .clone()
        .set("paths.control", &quoted(&path("other.sock")))
        .set("paths.pid", &quoted(&path("other.pid")));
    gate.rewrite(&moved);
    assert_eq!(gate.command(&["upgrade"]).status.code(), Some(1), "nobody is there yet");
    let output = gate.command(&["upgrade", "--control", &path("control.sock")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let pid = fs::read_to_string(path("other.pid")).expect("a pid file");
    assert_eq!(gate.status()["pid"].to_string(), pid.trim());
    eventually_true("the old names are gone", || {
        !folder.join("pid").exists() && !folder.join("control.sock").exists()
    });
    // For who tidies up behind this test.
    gate.rewrite(&gate.config);
    assert!(gate.command(&["upgrade", "--control", &path("other.sock")]).status.success());
}

#[test]
fn a_new_one_with_fewer_or_more_workers_accepts_from_every_socket() {
    let gate = recorded(&Recorder::ok(), |config| config);
    let (http, https) = (gate.http_addr(), gate.https_addr());
    let all = thread::available_parallelism().map_or(1, std::num::NonZero::get) - 1;
    // One worker on what was bound for more, then all of them on what one had.
    for processors in ["0".to_owned(), format!("0-{all}")] {
        upgrade_to(&gate, &Script::wrapper(&format!("taskset -pc {processors} $$ >/dev/null\n")));
        for _ in 0..MANY {
            assert_eq!(Connection::plain(http, HOST).get("/x").status, 200, "{processors}");
            assert_eq!(TlsClient::default().connect(https, HOST).get("/x").status, 200, "{processors}");
        }
    }
}

#[test]
fn the_old_one_hears_signals_and_ends_when_it_is_told_to() {
    let latch = Latch::default();
    let gate = recorded(&echo(&latch), |config| config);
    let _download = begin(gate.https(), &format!("{HELD}/4"));
    let new = gate.upgrade();
    gate.signal("HUP");
    gate.wait_for_stderr("reads no configuration any more");
    gate.signal("TERM");
    gate.wait_for_stderr("to finish");
    gate.signal("TERM");
    assert_eq!(gate.wait_for_exit().code(), Some(0));
    assert_eq!(gate.status()["pid"], new, "the other one is not concerned");
}

#[test]
fn what_is_for_a_gate_to_be_started_with_says_so_to_people() {
    let gate = recorded(&Recorder::ok(), |config| config);
    let run = gate.command(&["run", "--take-over"]);
    assert_eq!(run.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&run.stderr).contains("farmgate upgrade"));
}
