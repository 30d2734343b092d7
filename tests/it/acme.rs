//! Certificates that look after themselves, against Pebble: the program starts with nothing, and is left alone.

mod certbot;
mod front;
pub mod pebble;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use rustls::pki_types::{CertificateDer, pem::PemObject};

use self::front::Front;
use self::pebble::{Pebble, Ways};
use super::demo::Demo;
use super::support::config::{Config, Site, quoted};
use super::support::gate::{BINARY, Gate};
use super::support::http1::Connection;
use super::support::recorder::Recorder;
use super::support::tls::{Seen, TlsClient};
use super::support::{SOON, eventually, eventually_true, free_port, need, output, patience, run};

const NAME: &str = "acme.test";

/// What outlives a gate: its state folder, its port, the CA and the backend.
struct Farm {
    folder: tempfile::TempDir,
    port: u16,
    pebble: Pebble,
    backend: Recorder,
}

impl Farm {
    fn new(ways: Ways) -> Farm {
        let port = free_port();
        Farm::reached_through(port, port, ways)
    }

    /// One whose gate listens on `port`, while the CA looks at `front`.
    fn reached_through(front: u16, port: u16, ways: Ways) -> Farm {
        let folder = tempfile::tempdir().expect("a folder");
        Farm { folder, port, pebble: Pebble::start(front, ways), backend: Recorder::ok() }
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn config(&self) -> Config {
        self.config_with("\"acme\"")
    }

    /// With another source of certificates.
    fn config_with(&self, certificate: &str) -> Config {
        let site = Site::new(NAME).also("www.acme.test").set("certificate", certificate);
        Config::new(site.publish(&self.backend.url()).ci(&self.backend.url()))
            .set("listen.http", &format!("[\"127.0.0.1:{}\"]", self.port))
            .set("paths.state", &quoted(&self.state().display().to_string()))
            .set("acme.directory", &quoted(&self.pebble.directory()))
            .set("acme.ca_file", &quoted(&self.pebble.root().display().to_string()))
            .set("acme.contact", "[\"admin@example.org\"]")
    }

    fn chain(&self) -> PathBuf {
        self.state().join("certificates").join(NAME).join("fullchain.pem")
    }
}

fn leaf(path: &Path) -> Option<Vec<u8>> {
    CertificateDer::pem_file_iter(path).ok()?.next()?.ok().map(|leaf| leaf.to_vec())
}

fn shown(gate: &Gate) -> Vec<u8> {
    shown_at(gate.https_addr(), NAME)
}

fn shown_at(address: SocketAddr, name: &str) -> Vec<u8> {
    let seen = Seen::default();
    seen.note(&TlsClient::default().handshake(address, name).conn);
    seen.chains().remove(0).remove(0)
}

fn list(gate: &Gate) -> serde_json::Value {
    let output = gate.command(&["cert", "list", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn a_fresh_host_serves_at_once_and_gets_its_certificate_while_it_does() {
    if !need("pebble") {
        return;
    }
    let farm = Farm::new(Ways::default());
    let gate = farm.config().start();
    let stand_in = shown(&gate);
    let first = eventually("a certificate", SOON * 3, || leaf(&farm.chain()));
    eventually_true("it being shown", || shown(&gate) == first);
    assert_ne!(stand_in, first);
    let listed = &list(&gate)[0];
    assert_eq!(listed["certified"].as_array().map(Vec::len), Some(2), "{listed}");
    assert!(listed["issuer"].as_str().is_some_and(|issuer| issuer.contains("Pebble")), "{listed}");
    assert!(listed["last_error"].is_null(), "{listed}");
    let status = gate.command(&["status", "--json"]);
    assert!(String::from_utf8_lossy(&status.stdout).contains("\"acme\""));
    // The next start has it from the first handshake on, and orders nothing.
    drop(gate);
    let gate = farm.config().start();
    assert_eq!(shown(&gate), first);
    assert_eq!(farm.pebble.orders(), 1);
}

#[test]
fn a_renewal_under_load_fails_no_handshake() {
    if !need("pebble") {
        return;
    }
    let farm = Farm::new(Ways { validity: 12 });
    let gate = farm.config().start();
    eventually("a certificate", SOON * 3, || leaf(&farm.chain()));
    let (address, seen) = (gate.https_addr(), Seen::default());
    let (stop, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let (another, heard) = mpsc::channel();
        for _ in 0..4 {
            let another = another.clone();
            let (stop, count, seen) = (&stop, &count, &seen);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let before = seen.chains().len();
                    let mut connection = TlsClient::default().connect(address, NAME);
                    seen.note(connection.tls());
                    assert_eq!(connection.get("/abc.narinfo").status, 200);
                    count.fetch_add(1, Ordering::Relaxed);
                    if seen.chains().len() > before {
                        // Nobody listens any more when enough has been seen.
                        let _ = another.send(());
                    }
                }
            });
        }
        drop(another);
        // Ends with the last of those who ask too, should they all fail.
        while seen.chains().len() < 4 && heard.recv_timeout(patience(SOON * 3)).is_ok() {}
        stop.store(true, Ordering::Relaxed);
    });
    // The first one, perhaps the stand-in before, and renewals.
    assert!(seen.chains().len() >= 4, "{} in {:?} handshakes", seen.chains().len(), count);
}

#[test]
fn killed_at_any_step_it_goes_on_where_it_was() {
    if !need("pebble") {
        return;
    }
    for step in [
        "ready",
        "asking https",
        "new account",
        ": ordered",
        "is asked to look",
        "has validated every name",
        "asked for the certificate",
        "fetching the certificate",
        "new certificate, good until",
    ] {
        let farm = Farm::new(Ways::default());
        let gate = farm.config().start();
        gate.wait_for_stderr(step);
        gate.signal("KILL");
        gate.wait_for_exit();
        drop(gate);
        let gate = farm.config().start();
        let first = eventually("a certificate", SOON * 3, || leaf(&farm.chain()));
        eventually_true("it being shown", || shown(&gate) == first);
        // An authorization that the CA was validating while nobody answered has failed, and no order comes back from
        // that (RFC 8555 section 7.1.6); it is ordered again, at once, and once.
        assert!(farm.pebble.orders() <= 2, "killed at {step:?}: {} orders", farm.pebble.orders());
        let accounts = fs::read_dir(farm.state().join("acme/accounts")).expect("accounts").count();
        assert_eq!(accounts, 1, "killed at {step:?}");
    }
}

#[test]
fn killed_while_the_ca_looks_it_answers_after_the_restart_and_the_order_goes_on() {
    if !need("pebble") {
        return;
    }
    // What is in front of the gate keeps the CA waiting until there is somebody to answer.
    let front = Front::default();
    let port = free_port();
    let farm = Farm::reached_through(front.listen(port), port, Ways::default());
    let gate = farm.config().start();
    eventually_true("the CA looking", || front.waiting() > 0);
    gate.signal("KILL");
    gate.wait_for_exit();
    drop(gate);
    let gate = farm.config().start();
    front.open();
    eventually("a certificate", SOON * 3, || leaf(&farm.chain()));
    gate.wait_for_stderr("going on with the order");
    assert_eq!(farm.pebble.orders(), 1);
}

#[test]
fn without_its_ca_it_serves_says_why_and_what_it_will_do_when() {
    if !need("pebble") {
        return;
    }
    let mut farm = Farm::new(Ways::default());
    farm.pebble.stop();
    let gate = farm.config().start();
    gate.wait_for_stderr("next try");
    assert_eq!(gate.https().get("/abc.narinfo").status, 200);
    let listed = &list(&gate)[0];
    assert!(listed["last_error"].as_str().is_some_and(|error| error.contains("refused")), "{listed}");
    assert_eq!(listed["why"], "backoff");
    let output = gate.command(&["cert", "list"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("next try") && text.contains("last error"), "{text}");
    // It comes back, and somebody is in a hurry.
    farm.pebble.go_on();
    let output = gate.command(&["cert", "renew"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("new certificate"), "{text}");
    assert_eq!(Some(shown(&gate)), leaf(&farm.chain()));
}

#[test]
fn what_is_not_due_needs_force_and_without_a_gate_the_command_does_it_itself() {
    if !need("pebble") {
        return;
    }
    let farm = Farm::new(Ways::default());
    let gate = farm.config().start();
    let first = eventually("a certificate", SOON * 3, || leaf(&farm.chain()));
    let output = gate.command(&["cert", "renew", "www.acme.test"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("not due before"));
    let output = gate.command(&["cert", "renew", "nobody.test"]);
    assert_eq!(output.status.code(), Some(2));
    let output = gate.command(&["cert", "renew", "--force"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let second = leaf(&farm.chain()).expect("a chain");
    assert_ne!(first, second);
    eventually_true("the new one being shown", || shown(&gate) == second);
    assert!(gate.sigterm_and_wait().success());
    let output = gate.command(&["cert", "renew", "--force"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("No gate is running"), "{text}");
    assert_ne!(leaf(&farm.chain()).expect("a chain"), second);
}

#[test]
fn answers_of_another_gate_and_of_another_client_are_given_side_by_side_on_both_ports() {
    if !need("pebble") {
        return;
    }
    let farm = Farm::new(Ways::default());
    let webroot = farm.folder.path().join("www");
    let theirs = webroot.join(".well-known/acme-challenge");
    fs::create_dir_all(&theirs).expect("a webroot");
    fs::write(theirs.join("theirs"), "theirs.thumb").expect("a token");
    fs::write(theirs.join(".hidden"), "secret").expect("a file");
    std::os::unix::fs::symlink(farm.state().join("acme"), theirs.join("out")).expect("a link");
    let site = Site::new(NAME)
        .set("certificate", "\"acme\"")
        .set("webroot", &quoted(&webroot.display().to_string()))
        .set("plain_http", "\"redirect\"");
    let config = farm.config();
    let gate = Config::new(site.publish(&farm.backend.url()))
        .set("paths.state", &quoted(&farm.state().display().to_string()))
        .set("acme.directory", &quoted(&farm.pebble.directory()))
        .set("acme.ca_file", &quoted(&farm.pebble.root().display().to_string()))
        .start();
    drop(config);
    let ours = farm.state().join("acme/challenges");
    fs::create_dir_all(&ours).expect("a folder");
    fs::write(ours.join("ours"), "ours.thumb").expect("a token");
    fs::write(farm.state().join("acme/secret"), "secret").expect("a file");
    let connections: [&dyn Fn() -> Connection; 2] = [&|| Connection::plain(gate.http_addr(), NAME), &|| {
        TlsClient::default().connect(gate.https_addr(), NAME)
    }];
    for connect in connections {
        for (token, answer) in [("ours", "ours.thumb"), ("theirs", "theirs.thumb")] {
            let response = connect().get(&format!("/.well-known/acme-challenge/{token}"));
            assert_eq!((response.status, response.text().as_str()), (200, answer));
            // A changed answer is a changed answer at once.
            assert!(response.header("age").is_none() && response.header("location").is_none());
        }
        for path in [
            "none",
            "..%2fsecret",
            "../secret",
            "%2e%2e/secret",
            "%2e%2e%2fsecret",
            "%252e%252e%252fsecret",
            "..%5csecret",
            "ours.new",
            "ours%00",
            "theirs%00",
            "theirs%2f..%2fhidden",
            ".hidden",
            "%2ehidden",
            "ours/../../secret",
            "out/secret",
            "out",
        ] {
            let response = connect().get(&format!("/.well-known/acme-challenge/{path}"));
            assert!([400, 404].contains(&response.status) && !response.text().contains("secret"), "{path}");
        }
    }
}

#[test]
fn a_clock_that_is_years_off_orders_nothing_that_is_not_wanted_and_stops_nothing() {
    if !need("pebble") || !need("faketime") {
        return;
    }
    let farm = Farm::new(Ways { validity: 90 * 86_400 });
    drop({
        let gate = farm.config().start();
        eventually("a certificate", SOON * 3, || leaf(&farm.chain()));
        gate
    });
    let first = leaf(&farm.chain());
    let library = output(Command::new("sh").args(["-c", "ls /usr/lib/*/faketime/libfaketime.so.1"]));
    let library = String::from_utf8_lossy(&library.stdout).trim().to_owned();
    for (shift, patient) in [("+20y", true), ("-20y", true), ("+61d", true), ("+30d", false)] {
        let gate = farm
            .config()
            .environment("LD_PRELOAD", &library)
            .environment("FAKETIME", shift)
            .environment("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .start();
        if patient && shift.starts_with('+') {
            gate.wait_for_stderr("set the clock");
        }
        assert_eq!(gate.https().get("/abc.narinfo").status, 200);
        assert_eq!(Some(shown(&gate)), first, "{shift}");
        assert!(gate.sigterm_and_wait().success());
    }
    // And back in the present nothing waits for years.
    let gate = farm.config().start();
    let next = list(&gate)[0]["next_try"].as_i64().expect("a time");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs();
    assert!(next - i64::try_from(now).expect("a time") < 61 * 86_400);
    assert_eq!(farm.pebble.orders(), 1);
}

#[test]
fn a_full_disk_orders_nothing_and_loses_nothing() {
    if !need("pebble") {
        return;
    }
    let farm = Farm::new(Ways::default());
    fs::create_dir_all(farm.state()).expect("a folder");
    let mounted = output(
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k,mode=700", "none"]).arg(farm.state()),
    );
    if !mounted.status.success() {
        eprintln!("skipped: no file system can be mounted here");
        return;
    }
    let _mounted = Mounted(farm.state());
    let gate = farm.config().start();
    let first = eventually("a certificate", SOON * 3, || leaf(&farm.chain()));
    fs::write(farm.state().join("ballast"), vec![0; 256 * 1024]).expect_err("a full disk");
    let refused = gate.command(&["cert", "renew", "--force"]);
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(said.contains("nothing was ordered"), "{said}");
    assert_eq!((shown(&gate), farm.pebble.orders()), (first, 1));
    // What could not be written down is known to the gate all the same.
    let error = list(&gate)[0]["last_error"].as_str().map(str::to_owned);
    assert!(error.as_ref().is_some_and(|error| error.contains("nothing was ordered")), "{error:?}");
    fs::remove_file(farm.state().join("ballast")).expect("room again");
    let output = gate.command(&["cert", "renew", "--force"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(Some(shown(&gate)), leaf(&farm.chain()));
}

struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn the_demo_orders_its_certificate_where_it_is_told_to() {
    if !need("pebble") || !need("curl") {
        return;
    }
    let port = free_port();
    let pebble = Pebble::start(port, Ways::default());
    let root = pebble.root().display().to_string();
    let demo = Demo::start_with(port, &["--acme", &pebble.directory(), "--acme-ca", &root]);
    assert!(demo.screen.contains(&pebble.directory()), "{}", demo.screen);
    let chain = demo.folder().join("state/certificates/localhost/fullchain.pem");
    let ordered = eventually("a certificate", SOON * 3, || leaf(&chain));
    eventually_true("it being shown", || shown_at(demo.address("https"), "localhost") == ordered);
    for command in demo.commands() {
        let said = run(Command::new("bash").args(["-c", &command]).current_dir(demo.folder()));
        assert!(!said.is_empty(), "{command}");
    }
    // Its answer says how it stands.
    let list = demo.screen.lines().find(|line| line.contains("cert list")).expect("a command").trim();
    let listed = run(Command::new("sh").args(["-c", &list.replacen("farmgate", BINARY, 1)]));
    assert!(listed.contains("localhost") && listed.contains("Pebble"), "{listed}");
}

#[test]
fn the_certificates_are_listed_without_a_gate_too() {
    if !need("pebble") {
        return;
    }
    let farm = Farm::new(Ways::default());
    let gate = farm.config().start();
    eventually("a certificate", SOON * 3, || leaf(&farm.chain()));
    assert!(gate.sigterm_and_wait().success());
    let output = output(Command::new(BINARY).args(["cert", "list", "--config"]).arg(gate.config_path()));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("Pebble") && text.contains("two thirds"), "{text}");
}
