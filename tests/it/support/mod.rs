//! What the tests are made of: the program under test (`gate`), its peers on both sides (`guile`, `recorder`,
//! `guix_client`, `http1`, `h2`, `tls`) and the certificates (`pki`). Nothing here knows farmgate's insides.
#![allow(dead_code)]

pub mod config;
pub mod curl;
pub mod farm;
pub mod gate;
pub mod guile;
pub mod guix_client;
pub mod h2;
pub mod http1;
pub mod pki;
pub mod recorder;
pub mod scrape;
pub mod spellings;
pub mod tls;

use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything that should happen "at once" may take before a test gives up.
pub const SOON: Duration = Duration::from_secs(20);
/// How often in a row the same figure makes something idle.
const QUIET_LOOKS: usize = 60;

/// `limit`, stretched by `FARMGATE_TEST_PATIENCE` (a factor, 1 if unset) for slow machines.
pub fn patience(limit: Duration) -> Duration {
    let factor = std::env::var("FARMGATE_TEST_PATIENCE").ok().and_then(|text| text.parse::<f64>().ok());
    limit.mul_f64(factor.unwrap_or(1.0))
}

/// Waits until `probe` gives something. Here and in `output` are the only sleeps of these tests, but for those of peers
/// that are slow on purpose.
pub fn eventually<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + patience(limit);
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < end, "waited {limit:?} for this in vain: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// `eventually` for a plain condition.
pub fn eventually_true(what: &str, mut probe: impl FnMut() -> bool) {
    eventually(what, SOON, || probe().then_some(()));
}

/// Waits until `figure` has stopped to change: a whole row of looks finds the same one.
pub fn at_rest<T: PartialEq>(what: &str, mut figure: impl FnMut() -> T) -> T {
    let (mut last, mut same) = (figure(), 0);
    eventually_true(what, || {
        let now = figure();
        same = if now == last { same + 1 } else { 0 };
        last = now;
        same >= QUIET_LOOKS
    });
    last
}

/// What a peer waits for until the test says go.
#[derive(Clone, Default)]
pub struct Latch(Arc<(Mutex<bool>, Condvar)>);

impl Latch {
    pub fn open(&self) {
        *self.0.0.lock().expect("no panic while locked") = true;
        self.0.1.notify_all();
    }

    /// False if the test never said so.
    pub fn wait(&self) -> bool {
        let opened = self.0.0.lock().expect("no panic while locked");
        let limit = patience(SOON * 3);
        *self.0.1.wait_timeout_while(opened, limit, |opened| !*opened).expect("no panic while locked").0
    }
}

/// False when `program` is missing and the environment allows to go without. A missing peer is a failure otherwise.
pub fn need(program: &str) -> bool {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|folder| folder.join(program).is_file());
    if !found && std::env::var_os("FARMGATE_TEST_SKIP_MISSING").is_none() {
        let package = match program {
            "guile" => "guile-3.0",
            "promtool" => "prometheus",
            "certutil" | "pk12util" => "libnss3-tools",
            "nginx" => "nginx-light",
            other => other,
        };
        panic!(
            "these tests need `{program}`: apt-get install {package} \
             (or set FARMGATE_TEST_SKIP_MISSING=1 to skip what needs it)"
        );
    }
    if !found {
        eprintln!("skipped: no `{program}` here");
    }
    found
}

/// A port of loopback that nobody has, for a peer that cannot be given port 0. It is one that the system gives to nobody who asks
/// for any (`ip_local_port_range`): between this look and the peer's, no other test's connection takes it.
pub fn free_port() -> u16 {
    loop {
        let port = 20_000 + (RandomState::new().hash_one(std::process::id()) % 12_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The folder that these tests were built from.
pub fn tests_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// Runs a command to its end, and panics with what it said unless it succeeded. Its stdout.
pub fn run(command: &mut Command) -> String {
    let output = output(command);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a command to its end, or kills it and panics when it does not come to one.
pub fn output(command: &mut Command) -> Output {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (mut stdout, mut stderr) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    thread::scope(|scope| {
        let read_all = |pipe: &mut dyn Read| {
            let mut bytes = Vec::new();
            let _ = pipe.read_to_end(&mut bytes);
            bytes
        };
        let stdout = scope.spawn(move || read_all(&mut stdout));
        let stderr = scope.spawn(move || read_all(&mut stderr));
        let end = Instant::now() + patience(SOON);
        let status = loop {
            if let Some(status) = child.try_wait().expect("a child to ask") {
                break Some(status);
            }
            if Instant::now() > end {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
            thread::sleep(Duration::from_millis(5));
        };
        let (stdout, stderr) = (stdout.join().expect("no panic"), stderr.join().expect("no panic"));
        let status =
            status.unwrap_or_else(|| panic!("no end to {command:?}: {}", String::from_utf8_lossy(&stderr)));
        Output { status, stdout, stderr }
    })
}

/// `seed` and a newline over and over, `size` bytes: what the backends answer for a file (see `double.scm`).
pub fn pattern(seed: &str, size: usize) -> Vec<u8> {
    format!("{seed}\n").bytes().cycle().take(size).collect()
}
