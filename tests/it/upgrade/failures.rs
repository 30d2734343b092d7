//! New gates that do not come up. Each time the old one has to serve on as if nothing had been tried.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;

use super::super::support::config::{Config, HOST, Site, quoted};
use super::super::support::farm::recorded;
use super::super::support::gate::Gate;
use super::super::support::pki::{Authority, scratch};
use super::super::support::recorder::Recorder;
use super::super::support::scrape;
use super::super::support::{Latch, eventually_true, need};
use super::{HELD, Script, begin, echo};

/// Tries to upgrade, which must fail with status 1. What was said.
fn fail(gate: &Gate, arguments: &[&str]) -> String {
    let output = gate.command(&[&["upgrade"], arguments].concat());
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.trim().is_empty() && !said.contains("panicked"), "{said}");
    said
}

/// A gate in front of a backend, with metrics, and something in its cache.
fn gate() -> Gate {
    let latch = Latch::default();
    latch.open();
    let gate = recorded(&echo(&latch), |config| config.set("metrics.listen", "\"127.0.0.1:0\""));
    assert_eq!(gate.http().get("/static/kept").status, 200);
    eventually_true("it is kept", || is_kept(&gate));
    gate
}

fn is_kept(gate: &Gate) -> bool {
    let answer = gate.http().get("/static/kept");
    answer.header("cache-status").is_some_and(|status| status.contains("hit"))
}

/// Whether all that a gate does is done by the process that was started.
fn serves_on(gate: &Gate) {
    assert!(gate.is_running());
    assert_eq!((gate.serving(), &gate.status()["pid"]), (gate.pid(), &gate.pid().into()));
    assert_eq!((gate.http().get("/x").status, gate.https().get("/x").status), (200, 200));
    assert_eq!(scrape::ask(gate, "/readyz").status, 200);
    eventually_true("what is kept is served", || is_kept(gate));
    gate.reload();
}

#[test]
fn a_program_that_is_not_there_or_is_none() {
    let gate = gate();
    assert!(fail(&gate, &["--binary", "/nonexistent"]).contains("/nonexistent"));
    serves_on(&gate);
    let script = Script::new("#!/bin/sh\n");
    script.mode(0o644);
    assert!(fail(&gate, &["--binary", script.path()]).contains("cannot be started"));
    serves_on(&gate);
    // Landlock leaves no program to be started in a folder that is written to.
    script.mode(0o755);
    let elsewhere = gate.folder().join("elsewhere");
    fs::copy(&script.path, &elsewhere).expect("a copy");
    let why = fail(&gate, &["--binary", &elsewhere.display().to_string()]);
    assert!(why.contains("cannot be started") && why.contains("Landlock") && why.contains("/usr"), "{why}");
    serves_on(&gate);
}

#[test]
fn a_program_that_ends_or_crashes_or_knows_nothing_of_this() {
    let gate = gate();
    for (text, said) in [("exit 7", "7"), ("kill -SEGV $$", "11"), ("exec ls \"$@\"", "exit status")] {
        let script = Script::new(&format!("#!/bin/sh\n{text}\n"));
        let why = fail(&gate, &["--binary", script.path()]);
        assert!(why.contains(said) && why.contains(script.path()), "{why}");
        serves_on(&gate);
    }
}

#[test]
fn a_program_that_hangs_is_killed_when_its_time_is_up() {
    let gate = gate();
    // Its arguments are run --take-over --config FILE, and beside that file it may write.
    let script = Script::new("#!/bin/sh\necho $$ >\"$(dirname \"$4\")/hanging\"\nexec sleep 600\n");
    let why = fail(&gate, &["--timeout", "1", "--binary", script.path()]);
    assert!(why.contains("not ready within 1s"), "{why}");
    let pid = fs::read_to_string(gate.folder().join("hanging")).expect("its process");
    assert!(!PathBuf::from(format!("/proc/{}", pid.trim())).exists(), "it is gone");
    serves_on(&gate);
}

#[test]
fn a_configuration_that_is_wrong() {
    let gate = gate();
    let good = fs::read_to_string(gate.config_path()).expect("the configuration");
    gate.rewrite_text(&good.replace("[[site]]", "[[site]]\nnonsense = 1"));
    let why = fail(&gate, &[]);
    assert!(why.contains("nonsense") && why.contains("farmgate.toml:"), "{why}");
    gate.rewrite_text(&good);
    serves_on(&gate);
}

#[test]
fn a_configuration_that_names_files_which_are_closed_to_the_running_gate() {
    let gate = gate();
    let elsewhere = Authority::new(&scratch("upgrade-elsewhere"), "/CN=Elsewhere").server(HOST);
    let recorder = Recorder::ok();
    let site = Site::new(HOST).publish(&recorder.url()).ci(&recorder.url()).certificate(&elsewhere);
    gate.rewrite(&Config::new(site));
    let why = fail(&gate, &[]);
    let chain = elsewhere.chain.display().to_string();
    assert!(why.contains("Landlock") && why.contains(&chain) && why.contains("restart it"), "{why}");
    // What the old one cannot read, the new one judges by what is left to it: a key that only it knows.
    let known = fs::read_to_string(gate.config_path()).expect("the configuration");
    gate.rewrite_text(&known.replace("[[site]]", "[[site]]\nof_tomorrow = 1"));
    let config = gate.config_path().display().to_string();
    let newer = Script::wrapper(&format!("sed -i /of_tomorrow/d '{config}'\n"));
    let why = fail(&gate, &["--binary", newer.path()]);
    assert!(why.contains("does not come up") && why.contains(&chain), "{why}");
    gate.rewrite(&gate.config);
    serves_on(&gate);
}

#[test]
fn certificates_that_are_damaged_at_that_moment() {
    let recorder = Recorder::ok();
    let folder = scratch("upgrade-damaged");
    let good = Authority::new(&folder, "/CN=Damaged").server(HOST);
    let site = Site::new(HOST).publish(&recorder.url()).certificate(&good);
    let gate = Config::new(site).start();
    let source = |gate: &Gate| gate.status()["sites"][0]["certificate"]["source"].clone();
    let key = fs::read(&good.key).expect("a key");
    fs::write(&good.key, "half of it").expect("write");
    let why = fail(&gate, &[]);
    assert!(why.contains(&good.key.display().to_string()) && why.contains("certificate to show"), "{why}");
    assert_eq!(source(&gate), "file");
    fs::write(&good.key, &key).expect("write");
    gate.upgrade();
    assert_eq!(source(&gate), "file");
    // One that has only a stand-in to show loses nothing.
    let gate = {
        fs::write(&good.key, "half of it").expect("write");
        gate.config.clone().start()
    };
    assert_eq!(source(&gate), "self-signed");
    gate.upgrade();
    assert_eq!(source(&gate), "self-signed");
}

#[test]
fn a_certificate_that_was_ordered_and_cannot_be_read_at_that_moment() {
    let recorder = Recorder::ok();
    let folder = scratch("upgrade-unreadable");
    let good = Authority::new(&folder, "/CN=Unreadable").server(HOST);
    let state = folder.join("state");
    let stored = state.join("certificates").join(HOST).join("000001");
    fs::create_dir_all(&stored).expect("a folder");
    fs::copy(&good.chain, stored.join("fullchain.pem")).expect("a copy");
    fs::copy(&good.key, stored.join("privkey.pem")).expect("a copy");
    let site = Site::new(HOST).publish(&recorder.url()).set("certificate", "\"acme\"");
    // Nobody is there, and nobody is asked: what is stored is good for longer than this takes.
    let config = Config::new(site)
        .set("paths.state", &quoted(&state.display().to_string()))
        .set("acme.directory", "\"https://127.0.0.1:9/directory\"");
    let gate = config.start();
    let source = |gate: &Gate| gate.status()["sites"][0]["certificate"]["source"].clone();
    assert_eq!(source(&gate), "acme");
    let key = stored.join("privkey.pem");
    fs::write(&key, "half of it").expect("write");
    let why = fail(&gate, &[]);
    assert!(why.contains(&key.display().to_string()) && why.contains("certificate to show"), "{why}");
    assert_eq!((gate.serving(), source(&gate)), (gate.pid(), "acme".into()));
    // What is in force is not given up for it, and the operator is told.
    gate.reload();
    assert_eq!(source(&gate), "acme");
    // At a start there is nothing better to show: it is said, with the file.
    let gate = gate.config.clone().start();
    let line = gate.wait_for_stderr("a self-signed certificate stands in");
    assert!(line.contains("ERROR") && line.contains(&key.display().to_string()), "{line}");
    assert_eq!(source(&gate), "self-signed");
    gate.upgrade();
    fs::copy(&good.key, &key).expect("a copy");
    gate.upgrade();
    assert_eq!(source(&gate), "acme");
}

#[test]
fn an_address_that_somebody_else_has() {
    let gate = gate();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for key in ["http", "https"] {
        let bad = gate.config.clone().set(&format!("listen.{key}"), &format!("[{}]", quoted(&address)));
        gate.rewrite(&bad);
        let why = fail(&gate, &[]);
        assert!(why.contains(&address) && why.contains("in use"), "{why}");
        gate.rewrite(&gate.config);
        serves_on(&gate);
    }
}

/// Takes everything, says that it is prepared, takes the names as well, and ends.
const TREACHEROUS: &str = r##"#!/usr/bin/env python3
import json, os, socket, sys
peer = socket.socket(fileno=0)
while json.loads(peer.recv(65536))["more"]:
    pass
peer.send(b'{"say": "prepared"}')
assert json.loads(peer.recv(65536))["say"] == "go"
folder = os.path.dirname(sys.argv[-1])
open(folder + "/pid", "w").write(str(os.getpid()))
os.rename(folder + "/control.sock", folder + "/elsewhere.sock")
socket.socket(socket.AF_UNIX).bind(folder + "/control.sock")
END
"##;

#[test]
fn a_gate_that_ends_when_it_was_told_to_go() {
    if !need("python3") {
        return;
    }
    let gate = gate();
    for (end, said) in [
        ("sys.exit(3)", "3"),
        ("os.abort()", "6"),
        ("peer.send(b'{\"say\": \"failed\", \"reason\": \"no luck\"}')", "no luck"),
        ("peer.send(b'{\"say\": \"prepared\"}')", "turn"),
        ("import time; time.sleep(600)", "not ready within 2s"),
    ] {
        let script = Script::new(&TREACHEROUS.replace("END", end));
        let why = fail(&gate, &["--timeout", "2", "--binary", script.path()]);
        assert!(why.contains(said), "{end}: {why}");
        serves_on(&gate);
    }
    // And all of it can be handed over after that.
    gate.upgrade();
    assert_eq!(gate.http().get("/x").status, 200);
    assert_eq!(gate.wait_for_exit().code(), Some(0));
}

#[test]
fn a_gate_that_is_told_to_stop_meanwhile_stops() {
    let latch = Latch::default();
    let gate = recorded(&echo(&latch), |config| config);
    let mut download = begin(gate.http(), &format!("{HELD}/5"));
    let script = Script::new("#!/bin/sh\nexec sleep 600\n");
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| fail(&gate, &["--binary", script.path()]));
        gate.wait_for_stderr("was started as process");
        gate.signal("TERM");
        assert!(asked.join().expect("no panic").contains("told to stop"));
    });
    latch.open();
    assert_eq!(download.response().status, 200);
    assert_eq!(gate.wait_for_exit().code(), Some(0));
}
