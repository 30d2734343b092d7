//! Backends on Guile's own web server: `tests/backends/publish.scm` and `cuirass.scm`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::{SOON, eventually, tests_folder};

/// One request as the backend saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    /// Path and query, not decoded.
    pub target: String,
    /// The port it came from: requests on one connection share it.
    pub peer: String,
    /// Percent-encoded, as `uri-encode` writes it.
    pub body: String,
    /// As Guile parsed and writes them.
    pub headers: Vec<(String, String)>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn header_names(&self) -> Vec<String> {
        self.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect()
    }
}

/// A running (or stopped) Guile backend. Killed when dropped.
pub struct Guile {
    script: &'static str,
    address: String,
    port: u16,
    folder: TempDir,
    child: Option<Child>,
}

impl Guile {
    /// A double of `guix publish`.
    pub fn publish() -> Guile {
        Guile::new("publish.scm", "127.0.0.1", 0)
    }

    /// A double of Cuirass.
    pub fn cuirass() -> Guile {
        Guile::new("cuirass.scm", "127.0.0.1", 0)
    }

    pub fn new(script: &'static str, address: &str, port: u16) -> Guile {
        assert!(super::need("guile"), "the backends are written in Guile; there is no test without");
        let folder = tempfile::tempdir().expect("a folder");
        let mut guile = Guile { script, address: address.into(), port, folder, child: None };
        guile.start();
        guile
    }

    /// Starts it (again), on the port it had.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.script);
        let backends = tests_folder().join("backends");
        let errors = fs::File::options()
            .create(true)
            .append(true)
            .open(self.stderr_path())
            .expect("a file for stderr");
        let mut child = Command::new("guile")
            .arg("-L")
            .arg(&backends)
            .arg(backends.join(self.script))
            .args([&self.address, &self.port.to_string()])
            .arg(self.record_path())
            .env("GUILE_AUTO_COMPILE", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .expect("start guile");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        stdout.read_line(&mut line).expect("read guile's stdout");
        let port = line.trim().strip_prefix("listening ").and_then(|text| text.parse().ok());
        self.child = Some(child);
        self.port = port.unwrap_or_else(|| {
            panic!(
                "{} said {line:?}\n{}",
                self.script,
                fs::read_to_string(self.stderr_path()).unwrap_or_default()
            )
        });
    }

    /// Kills it. The port stays its own for `start`.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        match self.address.contains(':') {
            true => format!("http://[{}]:{}", self.address, self.port),
            false => format!("http://{}:{}", self.address, self.port),
        }
    }

    pub fn addr(&self) -> std::net::SocketAddr {
        self.url().trim_start_matches("http://").parse().expect("an address")
    }

    /// Every request that reached the handler, in order.
    pub fn requests(&self) -> Vec<Seen> {
        self.record("REQ").iter().map(|fields| parse(fields)).collect()
    }

    /// The requests for that target (with its query), as soon as there is one.
    pub fn wait_for(&self, target: &str) -> Seen {
        eventually(&format!("a request for {target} at {}", self.script), SOON, || {
            self.requests().into_iter().find(|seen| seen.target == target)
        })
    }

    /// State-changing actions that ran: `restart 9`.
    pub fn actions(&self) -> Vec<String> {
        self.record("ACTION").iter().map(|fields| fields.join(" ")).collect()
    }

    /// Requests whose decoded path begins with `admin`: `GET /%61dmin/x`.
    pub fn admin_requests(&self) -> Vec<String> {
        self.record("ADMIN").iter().map(|fields| fields.join(" ")).collect()
    }

    fn record(&self, kind: &str) -> Vec<Vec<String>> {
        let text = fs::read(self.record_path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| line.split('\t').map(str::to_string).collect::<Vec<_>>())
            .filter(|fields| fields[0] == kind)
            .map(|fields| fields[1..].to_vec())
            .collect()
    }

    fn record_path(&self) -> PathBuf {
        self.folder.path().join("record")
    }

    fn stderr_path(&self) -> PathBuf {
        self.folder.path().join("stderr")
    }
}

impl Drop for Guile {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            let text = fs::read_to_string(self.stderr_path()).unwrap_or_default();
            eprintln!(
                "--- stderr of {}\n{}",
                self.script,
                text.lines().take(30).collect::<Vec<_>>().join("\n")
            );
            eprintln!("--- it saw {} requests", self.requests().len());
        }
    }
}

fn parse(fields: &[String]) -> Seen {
    let field = |at: usize| fields.get(at).cloned().unwrap_or_default();
    let headers = fields.iter().skip(4).filter_map(|field| field.split_once(": "));
    Seen {
        method: field(0),
        target: field(1),
        peer: field(2),
        body: field(3),
        headers: headers.map(|(name, value)| (name.to_string(), value.to_string())).collect(),
    }
}
