//! `farmgate demo`: what it shows on screen is true, and it leaves nothing behind.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use aws_lc_rs::digest::{SHA256, digest};
use flate2::read::GzDecoder;
use tempfile::TempDir;

use super::support::gate::BINARY;
use super::support::http1::Connection;
use super::support::pki::Identity;
use super::support::tls::TlsClient;
use super::support::{SOON, eventually, eventually_true, need, output, run};

/// The last line that it shows.
const END: &str = "Ctrl-C";

/// A demo that is up. Killed when dropped.
pub struct Demo {
    child: Child,
    /// Where it may put its folder, and nobody else does.
    temporary: TempDir,
    pub screen: String,
}

impl Demo {
    fn start() -> Demo {
        Demo::start_with(0, &[])
    }

    /// With these arguments besides.
    pub fn start_with(http: u16, arguments: &[&str]) -> Demo {
        let temporary = tempfile::tempdir().expect("a folder");
        let mut child =
            demo(&temporary, http, 0).args(arguments).stderr(Stdio::null()).spawn().expect("the program");
        let shown = Arc::new(Mutex::new(String::new()));
        let (sink, stdout) = (shown.clone(), child.stdout.take().expect("stdout is piped"));
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                sink.lock().expect("no panic while locked").push_str(&format!("{line}\n"));
            }
        });
        let mut demo = Demo { child, temporary, screen: String::new() };
        demo.screen = eventually("all that is shown", SOON, || {
            let shown = shown.lock().expect("no panic while locked").clone();
            shown.contains(END).then_some(shown)
        });
        demo
    }

    /// What is between the first `before` on the screen and the next white space.
    fn shown(&self, before: &str) -> String {
        let (_, rest) =
            self.screen.split_once(before).unwrap_or_else(|| panic!("{before:?} in\n{}", self.screen));
        rest.split_whitespace().next().unwrap_or_default().to_string()
    }

    pub fn address(&self, scheme: &str) -> SocketAddr {
        let port = self.shown(&format!("{scheme}://localhost:"));
        let port = port.trim_end_matches('/').parse().unwrap_or_else(|error| panic!("{port:?}: {error}"));
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn http(&self) -> Connection {
        Connection::plain(self.address("http"), "localhost")
    }

    pub fn folder(&self) -> PathBuf {
        self.shown("files ").into()
    }

    fn admin(&self) -> Identity {
        Identity { chain: self.folder().join("admin.crt"), key: self.folder().join("admin.key") }
    }

    /// The commands on the screen, each on one line.
    pub fn commands(&self) -> Vec<String> {
        let joined = self.screen.replace("\\\n", " ");
        let lines = joined.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        lines
            .filter(|line| line.starts_with("curl ") || line.starts_with("bash "))
            .map(String::from)
            .collect()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn demo(temporary: &TempDir, http: u16, https: u16) -> Command {
    let mut command = Command::new(BINARY);
    command
        .args(["demo", "--http", &http.to_string(), "--https", &https.to_string()])
        .env("TMPDIR", temporary.path())
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).expect("a folder").next().is_none()
}

fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_substitute_of_the_demo_is_what_the_screen_says() {
    let demo = Demo::start();
    let mut connection = demo.http();
    assert!(connection.get("/nix-cache-info").text().starts_with("StoreDir: /gnu/store\n"));
    let narinfo = demo.screen.lines().find(|line| line.ends_with(".narinfo")).expect("a narinfo");
    let (_, narinfo) = narinfo.rsplit_once('/').expect("a URL");
    let narinfo = connection.get(&format!("/{narinfo}"));
    assert_eq!(narinfo.status, 200);
    let nar = format!("/nar/gzip/{}", demo.shown("/nar/gzip/"));
    assert!(narinfo.text().contains(&format!("URL: {}\n", &nar[1..])), "{}", narinfo.text());
    assert!(narinfo.text().contains("\nSignature: 1;"), "{}", narinfo.text());
    for mut connection in [demo.http(), TlsClient::default().connect(demo.address("https"), "localhost")] {
        let answer = connection.get(&nar);
        assert_eq!(answer.status, 200);
        assert!(narinfo.text().contains(&format!("FileSize: {}\n", answer.body.len())));
        let mut unpacked = Vec::new();
        GzDecoder::new(&answer.body[..]).read_to_end(&mut unpacked).expect("gzip");
        assert!(narinfo.text().contains(&format!("NarSize: {}\n", unpacked.len())));
        // In the line below the command, behind a hash sign.
        assert_eq!(sha256(&unpacked), demo.shown("\n      # "));
    }
}

#[test]
fn the_admin_pages_of_the_demo_open_with_its_certificate_only() {
    let demo = Demo::start();
    let address = demo.address("https");
    let ask = |client: TlsClient, target: &str| client.connect(address, "localhost").get(target);
    assert_eq!(demo.http().get("/admin").status, 403);
    assert_eq!(ask(TlsClient::default(), "/admin").status, 403);
    let identity = demo.admin();
    assert_eq!(ask(TlsClient::default().identity(&identity), "/admin").status, 200);
    let restart = "/admin/build/1/restart";
    assert_eq!(ask(TlsClient::default(), restart).status, 403);
    assert!(!ask(TlsClient::default(), "/").text().contains("restarted by"));
    let restarted = ask(TlsClient::default().identity(&identity), restart);
    assert_eq!(restarted.status, 302, "{}", restarted.text());
    assert!(ask(TlsClient::default(), "/").text().contains("restarted by"));
}

#[test]
fn every_command_on_the_screen_of_the_demo_can_be_copied() {
    if !need("curl") {
        return;
    }
    let demo = Demo::start();
    let commands = demo.commands();
    assert!(commands.len() >= 7, "{commands:#?}");
    for command in commands {
        let said = run(Command::new("bash").args(["-c", &command]).current_dir(demo.folder()));
        assert!(!said.is_empty(), "{command}");
        if command.ends_with("sha256sum") {
            assert!(said.starts_with(&demo.shown("\n      # ")), "{said}");
        }
        let refused = command.ends_with("/admin") && !command.contains("--cert ");
        assert_eq!(said.contains("403"), refused, "{command}\n{said}");
    }
}

#[test]
fn the_demo_ends_when_told_and_leaves_nothing_behind() {
    for signal in ["INT", "TERM"] {
        let mut demo = Demo::start();
        assert!(demo.folder().starts_with(demo.temporary.path()) && demo.folder().is_dir());
        assert_eq!(demo.http().get("/nix-cache-info").status, 200);
        run(Command::new("sh").arg("-c").arg(format!("kill -{signal} {}", demo.child.id())));
        let status = eventually("its exit", SOON, || demo.child.try_wait().expect("a child to ask"));
        assert_eq!(status.code(), Some(0), "{signal}");
        assert!(is_empty(demo.temporary.path()), "{signal}");
    }
}

#[test]
fn a_port_that_is_taken_ends_the_demo_at_once() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("a bound socket").port();
    for (http, https) in [(port, 0), (0, port)] {
        let temporary = tempfile::tempdir().expect("a folder");
        let output = output(demo(&temporary, http, https).stderr(Stdio::piped()));
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(&format!("127.0.0.1:{port}")) && said.contains("in use"), "{said}");
        assert!(said.contains("--http") && !said.contains("panicked"), "{said}");
        assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
        assert!(is_empty(temporary.path()), "{http} {https}");
    }
}

#[test]
fn two_demos_get_along() {
    let (one, two) = (Demo::start(), Demo::start());
    assert_ne!(one.folder(), two.folder());
    for demo in [&one, &two] {
        eventually_true("an answer", || demo.http().get("/nix-cache-info").status == 200);
    }
}
