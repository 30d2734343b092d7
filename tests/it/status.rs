//! `farmgate status`: for people, for programs, and again every second.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::support::config::HOST;
use super::support::farm::Farm;
use super::support::gate::BINARY;
use super::support::{eventually_true, run};

#[test]
fn the_page_has_what_an_operator_looks_for_and_fits_a_terminal() {
    let farm = Farm::start();
    assert_eq!(farm.gate.http().get("/abc.narinfo").status, 200);
    eventually_true("it is counted", || farm.gate.status()["totals"]["requests"] == 1);
    farm.gate.reload();
    let output = farm.gate.command(&["status"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    for part in [
        "farmgate ",
        "   up ",
        "process ",
        "requests",
        "1 in all",
        "narinfos",
        "100.0 %",
        "found, of 1",
        "static",
        "open to certificate holders",
        ": done",
        HOST,
        "publish",
        &farm.publish.url(),
        "up",
        "not asked yet",
        "left, self-signed",
    ] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    // No terminal: no colours.
    assert!(!text.contains('\u{1b}'), "{text:?}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn json_has_what_it_always_had_and_the_figures() {
    let farm = Farm::start();
    let status = farm.gate.status();
    for field in [
        "version",
        "pid",
        "uptime",
        "listen",
        "sites",
        "admin_closed",
        "connections",
        "connections_refused",
        "log_lines_dropped",
        "last_reload",
        "totals",
        "requests_per_second",
        "bytes_per_second",
        "cache",
    ] {
        assert!(status.get(field).is_some(), "{field}");
    }
    let site = &status["sites"][0];
    assert_eq!(site["publish"], farm.publish.url());
    assert_eq!(site["ci"], farm.cuirass.url());
    assert_eq!(site["certificate"]["source"], "self-signed");
    assert_eq!(site["certificate"]["names"][0], HOST);
    assert!(site["certificate"]["not_after"].as_i64().is_some_and(|end| end > 0));
    assert_eq!(site["backends"].as_array().map(Vec::len), Some(2));
    assert!(status["cache"]["spaces"][0]["max_size"].as_u64().is_some_and(|size| size > 0));
}

#[test]
fn watching_looks_again_and_again_until_it_is_interrupted() {
    let farm = Farm::start();
    let mut child = Command::new(BINARY)
        .args(["status", "--watch", "--json", "--config"])
        .arg(farm.gate.config_path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start it");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
    for _ in 0..3 {
        let line = lines.next().expect("a line each time").expect("UTF-8");
        let status: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(status["pid"], farm.gate.pid());
    }
    run(Command::new("sh").arg("-c").arg(format!("kill -INT {}", child.id())));
    let rest = lines.map_while(Result::ok).count();
    assert!(rest < 3, "{rest} lines after it was told to stop");
    assert_eq!(child.wait().expect("an end").code(), Some(0));
}

#[test]
fn watching_a_gate_that_is_not_there_is_an_error() {
    let farm = Farm::start();
    assert_eq!(farm.gate.sigterm_and_wait().code(), Some(0));
    let output = farm.gate.command(&["status", "--watch"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("control.sock"));
}
