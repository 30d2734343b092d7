//! The program under test: the real binary, with a configuration of its own in a folder of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tempfile::TempDir;

use super::config::{Config, HOST};
use super::http1::Connection;
use super::pki::Identity;
use super::tls::TlsClient;
use super::{SOON, eventually, output, run};

pub const BINARY: &str = env!("CARGO_BIN_EXE_farmgate");

impl Config {
    /// Writes it and starts the program; returns when it is ready.
    pub fn start(self) -> Gate {
        let gate = self.spawn();
        gate.wait_for_stderr("ready");
        gate
    }

    /// Writes it and starts the program; does not wait.
    pub fn spawn(self) -> Gate {
        self.spawn_in(Arc::new(tempfile::tempdir().expect("a folder")))
    }

    fn spawn_in(self, folder: Arc<TempDir>) -> Gate {
        let path = folder.path().join("farmgate.toml");
        fs::write(&path, self.text(folder.path())).expect("write the configuration");
        let mut words = self.through.iter().map(String::as_str).chain([BINARY]);
        let mut command = Command::new(words.next().expect("the program at least"));
        command
            .args(words)
            .args(["run", "--config"])
            .arg(&path)
            .env("NO_COLOR", "1")
            .envs(self.environment.iter().cloned());
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{BINARY}: {error}"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let stderr = child.stderr.take().expect("stderr is piped");
        let sink = lines.clone();
        let reader = thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                sink.lock().expect("no panic while locked").push(plain(&String::from_utf8_lossy(&line)));
            }
        });
        let upgraded = AtomicBool::new(false);
        Gate { child: Mutex::new(child), folder, path, lines, upgraded, reader, config: self }
    }
}

/// A running farmgate. Killed when dropped; says what it logged when the test failed.
pub struct Gate {
    child: Mutex<Child>,
    folder: Arc<TempDir>,
    path: PathBuf,
    lines: Arc<Mutex<Vec<String>>>,
    /// Another process may have taken over.
    upgraded: AtomicBool,
    /// Ends with the program, when all its lines are there.
    reader: JoinHandle<()>,
    /// What it was started with; change a clone and give it to `rewrite`.
    pub config: Config,
}

impl Gate {
    /// Starts the program anew in the same folder, with what the last one left there. That one has ended.
    pub fn again(&self, config: &Config) -> Gate {
        assert!(!self.is_running(), "one after the other");
        let gate = config.clone().spawn_in(self.folder.clone());
        gate.wait_for_stderr("ready");
        gate
    }

    pub fn http_addr(&self) -> SocketAddr {
        self.listening("listening http ")
    }

    pub fn https_addr(&self) -> SocketAddr {
        self.listening("listening https ")
    }

    /// Where the last one that was opened is.
    pub fn metrics_addr(&self) -> SocketAddr {
        self.listening("listening metrics ")
    }

    fn listening(&self, what: &str) -> SocketAddr {
        let line = self.wait_for_stderr(what);
        let (_, rest) = line.split_once(what).expect("it contains that");
        let address = rest.split_whitespace().next().unwrap_or_default();
        address.parse().unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }

    /// A plain connection, with `HOST` as host.
    pub fn http(&self) -> Connection {
        Connection::plain(self.http_addr(), HOST)
    }

    /// A TLS connection without a certificate, with `HOST` as host.
    pub fn https(&self) -> Connection {
        TlsClient::default().connect(self.https_addr(), HOST)
    }

    /// A TLS connection that shows `identity`.
    pub fn https_as(&self, identity: &Identity) -> Connection {
        TlsClient::default().identity(identity).connect(self.https_addr(), HOST)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn config_path(&self) -> &Path {
        &self.path
    }

    pub fn pid(&self) -> u32 {
        self.child.lock().expect("no panic while locked").id()
    }

    pub fn stderr(&self) -> Vec<String> {
        self.lines.lock().expect("no panic while locked").clone()
    }

    /// The first line that has `needle` in it, as soon as there is one.
    pub fn wait_for_stderr(&self, needle: &str) -> String {
        self.wait_for_stderr_after(0, needle)
    }

    /// The same, the first `skip` lines left out.
    pub fn wait_for_stderr_after(&self, skip: usize, needle: &str) -> String {
        eventually(&format!("a line on stderr with {needle:?}"), SOON, || {
            let ended = self.reader.is_finished();
            let found = self.stderr().into_iter().skip(skip).find(|line| line.contains(needle));
            assert!(found.is_some() || !ended, "it ended without saying {needle:?}");
            found
        })
    }

    /// Writes a new configuration in place of the old one, atomically. Reloads nothing.
    pub fn rewrite(&self, config: &Config) {
        self.rewrite_text(&config.text(self.folder.path()));
    }

    pub fn rewrite_text(&self, text: &str) {
        let new = self.path.with_extension("new");
        fs::write(&new, text).and_then(|()| fs::rename(&new, &self.path)).expect("replace the configuration");
    }

    /// Any other command of the program, with this gate's configuration.
    pub fn command(&self, arguments: &[&str]) -> Output {
        self.upgraded.fetch_or(arguments.first() == Some(&"upgrade"), Ordering::Relaxed);
        output(Command::new(BINARY).args(arguments).arg("--config").arg(&self.path).env("NO_COLOR", "1"))
    }

    /// `farmgate reload`, which must succeed.
    pub fn reload(&self) {
        let output = self.command(&["reload"]);
        assert!(output.status.success(), "reload: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// `farmgate upgrade`, which must succeed. The process that serves now.
    pub fn upgrade(&self) -> u32 {
        let before = self.serving();
        let output = self.command(&["upgrade"]);
        assert!(output.status.success(), "upgrade: {}", String::from_utf8_lossy(&output.stderr));
        let now = self.serving();
        assert_ne!(before, now, "another process");
        now
    }

    /// The process that serves: after an upgrade, it is not the one that was started.
    pub fn serving(&self) -> u32 {
        let pid = fs::read_to_string(self.folder.path().join("pid")).expect("a pid file");
        pid.trim().parse().expect("a number")
    }

    /// What `farmgate status` tells.
    pub fn status(&self) -> serde_json::Value {
        let output = self.command(&["status", "--json"]);
        assert!(output.status.success(), "status: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// SIGHUP; the line that says what came of it.
    pub fn sighup(&self) -> String {
        let before = self.stderr().len();
        self.signal("HUP");
        self.wait_for_stderr_after(before, "reload")
    }

    pub fn signal(&self, name: &str) {
        run(Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.pid())));
    }

    pub fn sigterm_and_wait(&self) -> ExitStatus {
        self.signal("TERM");
        self.wait_for_exit()
    }

    pub fn wait_for_exit(&self) -> ExitStatus {
        eventually("its exit", SOON + Duration::from_secs(20), || {
            self.child.lock().expect("no panic while locked").try_wait().expect("a child to ask")
        })
    }

    pub fn is_running(&self) -> bool {
        self.child.lock().expect("no panic while locked").try_wait().expect("a child to ask").is_none()
    }

    /// Lines of the access log, `"http"` or `"https"`; none if there is none yet.
    pub fn access_log(&self, which: &str) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join(format!("{which}.log"))).unwrap_or_default();
        text.lines().map(str::to_string).collect()
    }

    /// The first access log line that has `needle` in it, as soon as there is one.
    pub fn wait_for_access(&self, which: &str, needle: &str) -> String {
        eventually(&format!("a line of {which}.log with {needle:?}"), SOON, || {
            self.access_log(which).into_iter().find(|line| line.contains(needle))
        })
    }

    /// User and system time of the process so far, in clock ticks.
    pub fn cpu_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("a running process");
        let fields = stat.rsplit_once(')').expect("a name in brackets").1;
        let field = |at: usize| fields.split_whitespace().nth(at).and_then(|text| text.parse::<u64>().ok());
        // utime and stime are fields 14 and 15 (proc(5)); two stand before the bracket.
        field(11).expect("utime") + field(12).expect("stime")
    }

    /// Resident memory. Shared pages count too.
    pub fn rss_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a running process");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
        line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number of KiB")
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // After an upgrade the one that serves is no child of ours.
        let upgraded = self.upgraded.load(Ordering::Relaxed);
        let serving = fs::read_to_string(self.folder.path().join("pid")).ok().filter(|_| upgraded);
        let serving = serving.and_then(|pid| pid.trim().parse::<u32>().ok()).filter(|&pid| {
            let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            pid != self.pid() && program == Path::new(BINARY)
        });
        if let Some(pid) = serving {
            let _ = Command::new("sh").arg("-c").arg(format!("kill -KILL {pid}")).status();
        }
        if let Ok(mut child) = self.child.lock() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            eprintln!("--- configuration\n{}", fs::read_to_string(&self.path).unwrap_or_default());
            let lines = self.lines.lock().map(|lines| lines.clone()).unwrap_or_default();
            eprintln!("--- stderr of farmgate, {} lines, the last of them:", lines.len());
            lines.iter().skip(lines.len().saturating_sub(60)).for_each(|line| eprintln!("{line}"));
        }
    }
}

/// A log line without colours.
fn plain(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(start) = rest.find('\u{1b}') {
        out.push_str(&rest[..start]);
        rest = rest[start..].split_once('m').map_or("", |(_, after)| after);
    }
    out + rest
}
