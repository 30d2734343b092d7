//! What a service manager gives and is told: sockets, readiness, reloads, upgrades, the watchdog.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::support::config::{Config, HOST, Site};
use super::support::http1::Connection;
use super::support::recorder::Recorder;
use super::support::tls::TlsClient;
use super::support::{SOON, eventually_true, free_port, need, patience, run, tests_folder};

/// One that is told how things are.
struct Manager {
    socket: UnixDatagram,
    /// What it is found by, as `NOTIFY_SOCKET` has it.
    name: String,
    _folder: tempfile::TempDir,
}

impl Manager {
    fn at_a_path() -> Manager {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        Manager { socket, name: path.display().to_string(), _folder: folder }
    }

    fn with_an_abstract_name() -> Manager {
        let folder = tempfile::tempdir().expect("a folder");
        let name = format!("farmgate-test{}", folder.path().display());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a name");
        let socket = UnixDatagram::bind_addr(&address).expect("a socket");
        Manager { socket, name: format!("@{name}"), _folder: folder }
    }

    fn told(&self, config: Config) -> Config {
        config.environment("NOTIFY_SOCKET", &self.name)
    }

    /// The next message, if one comes within `limit`.
    fn next(&self, limit: Duration) -> Option<Vec<String>> {
        self.socket.set_read_timeout(Some(limit.max(Duration::from_millis(1)))).expect("a timeout");
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).ok()?;
        let text = std::str::from_utf8(&buffer[..length]).expect("UTF-8");
        Some(text.lines().map(str::to_owned).collect())
    }

    /// The first message with a line that begins so; what comes before it is nobody's business.
    fn wait_for(&self, line: &str) -> Vec<String> {
        let end = Instant::now() + patience(SOON);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let message = self.next(left).unwrap_or_else(|| panic!("nobody said {line:?}"));
            if message.iter().any(|one| one.starts_with(line)) {
                return message;
            }
        }
    }
}

fn simple(recorder: &Recorder) -> Config {
    Config::new(Site::new(HOST).publish(&recorder.url()).ci(&recorder.url()))
}

fn value<'a>(message: &'a [String], key: &str) -> &'a str {
    let line = message.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("no {key} in {message:?}"))
}

#[test]
fn the_manager_is_told_of_the_start_of_reloads_and_of_the_end() {
    let recorder = Recorder::ok();
    for manager in [Manager::at_a_path(), Manager::with_an_abstract_name()] {
        let gate = manager.told(simple(&recorder)).start();
        let ready = manager.wait_for("READY=1");
        assert!(value(&ready, "STATUS").contains(HOST), "{ready:?}");
        gate.reload();
        let reloading = manager.wait_for("RELOADING=1");
        assert!(value(&reloading, "MONOTONIC_USEC").parse::<u64>().is_ok_and(|usec| usec > 0));
        manager.wait_for("READY=1");
        let good = fs::read_to_string(gate.config_path()).expect("the configuration");
        gate.rewrite_text(&good.replace("[[site]]", "[[site]]\nnonsense = 1"));
        assert_eq!(gate.command(&["reload"]).status.code(), Some(1));
        manager.wait_for("RELOADING=1");
        let refused = manager.wait_for("READY=1");
        assert!(value(&refused, "STATUS").contains("nonsense"), "{refused:?}");
        gate.signal("TERM");
        let stopping = manager.wait_for("STOPPING=1");
        assert!(value(&stopping, "STATUS").contains("stopping"));
        assert_eq!(gate.wait_for_exit().code(), Some(0));
    }
}

#[test]
fn the_manager_is_told_who_is_the_main_process_after_an_upgrade() {
    let recorder = Recorder::ok();
    let manager = Manager::at_a_path();
    // As systemd does it: the variable names one process, and is about the whole service.
    let gate = manager
        .told(simple(&recorder))
        .environment("WATCHDOG_USEC", "2000000")
        .through(&["sh", "-c", "export WATCHDOG_PID=$$; exec \"$@\"", "sh"])
        .start();
    manager.wait_for("WATCHDOG=1");
    for _ in 0..2 {
        let new = gate.upgrade();
        let main = manager.wait_for("MAINPID=");
        assert_eq!(value(&main, "MAINPID"), new.to_string());
        let ready = manager.wait_for("READY=1");
        assert!(value(&ready, "STATUS").contains(HOST), "{ready:?}");
        manager.wait_for("WATCHDOG=1");
    }
    run(Command::new("sh").arg("-c").arg(format!("kill -TERM {}", gate.serving())));
    manager.wait_for("STOPPING=1");
}

#[test]
fn an_upgrade_that_fails_changes_nothing_for_the_manager() {
    let recorder = Recorder::ok();
    let manager = Manager::at_a_path();
    let gate = manager.told(simple(&recorder)).start();
    manager.wait_for("READY=1");
    assert_eq!(gate.command(&["upgrade", "--binary", "/bin/false"]).status.code(), Some(1));
    gate.signal("TERM");
    let next = manager.next(patience(SOON)).expect("a message");
    assert_eq!(next[0], "STOPPING=1", "nothing else was said");
}

#[test]
fn the_watchdog_hears_nothing_while_a_worker_hangs() {
    // Twice in that time it is looked whether all workers are alive.
    const INTERVAL: Duration = Duration::from_millis(600);
    let recorder = Recorder::ok();
    let manager = Manager::at_a_path();
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("stderr");
    run(Command::new("mkfifo").arg(&pipe));
    // Nobody reads what is logged: when the pipe is full, a worker that logs something hangs.
    let mut reader = OpenOptions::new().read(true).write(true).open(&pipe).expect("the pipe");
    let port = free_port();
    let redirected = format!("exec \"$@\" 2>{}", pipe.display());
    let gate = manager
        .told(simple(&recorder))
        .set("listen.http", &format!("[\"127.0.0.1:{port}\"]"))
        .environment("FARMGATE_LOG", "debug")
        .environment("WATCHDOG_USEC", &INTERVAL.as_micros().to_string())
        .through(&["sh", "-c", &redirected, "sh"])
        .spawn();
    manager.wait_for("READY=1");
    manager.wait_for("WATCHDOG=1");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let mut connection = Connection::plain(SocketAddr::from(([127, 0, 0, 1], port)), HOST);
                connection.wait_at_most(INTERVAL);
                // As far as it goes.
                while connection.try_request("GET", b"/x", &[], b"").is_ok() && !stop.load(Ordering::Relaxed)
                {
                }
            }
        });
        let hangs = manager.wait_for("STATUS=worker ");
        stop.store(true, Ordering::Relaxed);
        assert!(value(&hangs, "STATUS").contains("hangs"), "{hangs:?}");
    });
    let silent_until = Instant::now() + INTERVAL * 5;
    while let Some(left) = silent_until.checked_duration_since(Instant::now()) {
        if let Some(message) = manager.next(left) {
            assert_ne!(message[0], "WATCHDOG=1", "a worker still hangs");
        }
    }
    assert!(gate.is_running());
    // Read away, it goes on, and says so.
    thread::spawn(move || {
        let mut buffer = [0; 65536];
        while reader.read(&mut buffer).is_ok_and(|read| read > 0) {}
    });
    manager.wait_for("WATCHDOG=1");
    manager.wait_for("STATUS=serving");
}

/// Has `activate.py` start the gate with these sockets.
fn activated(config: Config, sockets: &[String]) -> Config {
    let driver = tests_folder().join("drivers/activate.py").display().to_string();
    let words = [&["python3".to_owned(), driver][..], sockets, &["--".to_owned()]].concat();
    config.through(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

fn both_are_served(http: u16, https: u16) {
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    for _ in 0..20 {
        assert_eq!(Connection::plain(at(http), HOST).get("/x").status, 200);
        assert_eq!(TlsClient::default().connect(at(https), HOST).get("/x").status, 200);
    }
}

#[test]
fn sockets_that_are_passed_are_known_by_their_address_or_their_name() {
    if !need("python3") {
        return;
    }
    let recorder = Recorder::ok();
    let (http, https) = (free_port(), free_port());
    let listen = |port: u16| format!("[\"127.0.0.1:{port}\"]");
    let by_address = activated(
        simple(&recorder).set("listen.http", &listen(http)).set("listen.https", &listen(https)),
        &[format!("127.0.0.1:{https}"), format!("127.0.0.1:{http}")],
    );
    // Port 80 cannot be had by everybody, and need not.
    let by_name = activated(
        simple(&recorder).set("listen.http", &listen(80)).set("listen.https", &listen(443)),
        &[format!("https=127.0.0.1:{https}"), format!("http=127.0.0.1:{http}")],
    );
    // Half of it is bound as usual.
    let mixed = activated(
        simple(&recorder).set("listen.http", &listen(http)).set("listen.https", &listen(https)),
        &[format!("http=127.0.0.1:{http}")],
    );
    for config in [by_address, by_name, mixed] {
        let gate = config.start();
        assert_eq!((gate.http_addr().port(), gate.https_addr().port()), (http, https));
        both_are_served(http, https);
        gate.upgrade();
        both_are_served(http, https);
        assert_eq!(gate.wait_for_exit().code(), Some(0));
        run(Command::new("sh").arg("-c").arg(format!("kill -TERM {}", gate.serving())));
        eventually_true("it has ended", || !gate.folder().join("pid").exists());
    }
}

#[test]
fn a_socket_that_fits_nothing_or_does_not_listen_is_a_clear_error() {
    if !need("python3") {
        return;
    }
    let recorder = Recorder::ok();
    let port = free_port();
    for (socket, said) in [
        (format!("127.0.0.1:{port}"), format!("127.0.0.1:{port}")),
        (format!("gopher=127.0.0.1:{port}"), "gopher".to_owned()),
        (format!("deaf=127.0.0.1:{port}"), "not listening".to_owned()),
    ] {
        let gate = activated(simple(&recorder), &[socket]).spawn();
        assert_eq!(gate.wait_for_exit().code(), Some(1));
        let line = gate.wait_for_stderr(&said);
        assert!(line.contains("passed"), "{line}");
        assert!(!gate.stderr().join("\n").contains("ready"), "{:?}", gate.stderr());
    }
}

#[test]
fn systemds_own_program_passes_sockets() {
    if !need("systemd-socket-activate") {
        return;
    }
    let recorder = Recorder::ok();
    let port = free_port();
    let listen = format!("--listen=127.0.0.1:{port}");
    let config = simple(&recorder).set("listen.http", &format!("[\"127.0.0.1:{port}\"]"));
    let gate = config.through(&["systemd-socket-activate", &listen, "--fdname=http"]).spawn();
    // It starts the program for the first who connects, and that one is answered.
    gate.wait_for_stderr("Listening on");
    let answer = Connection::plain(SocketAddr::from(([127, 0, 0, 1], port)), HOST).get("/x");
    assert_eq!(answer.status, 200);
    assert_eq!(gate.http_addr().port(), port);
    assert_eq!(gate.sigterm_and_wait().code(), Some(0));
}

#[test]
fn what_the_unit_says_is_what_the_program_does() {
    let unit = tests_folder().with_file_name("deploy").join("farmgate.service");
    let unit = fs::read_to_string(unit).expect("the unit");
    for line in ["Type=notify", "NotifyAccess=main", "ExecReload=/usr/local/bin/farmgate reload"] {
        assert!(unit.lines().any(|one| one == line), "{line}");
    }
    assert!(unit.contains("\nWatchdogSec="));
    let filters = unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter="));
    let allowed: Vec<&str> = filters.flat_map(str::split_whitespace).collect();
    for call in ["landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "seccomp"] {
        assert!(allowed.contains(&call), "{call}: {allowed:?}");
    }
}
