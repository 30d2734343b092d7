//! `farmgate doctor`: a server that is well is said to be, and one that is not is told what it lacks, and nothing else.

mod broken;
mod doors;
mod substitutes;

use std::fs;
use std::process::Command;

use serde_json::Value;

use self::substitutes::{HASH, item, serve};
use super::demo::Demo;
use super::support::gate::BINARY;
use super::support::pki::scratch;
use super::support::{output, recorder::Recorder};

/// What it said.
#[derive(Debug)]
pub struct Said {
    pub exit: Option<i32>,
    checks: Vec<Value>,
    pub stderr: String,
}

impl Said {
    /// What was found and what to do, of a check that went that way.
    fn of(&self, verdict: &str, check: &str) -> String {
        let found = self.checks.iter().find(|finding| finding["check"] == check);
        let finding = found.unwrap_or_else(|| panic!("{check} in {self:#?}"));
        assert_eq!(finding["verdict"], verdict, "{check} in {self:#?}");
        let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        assert_eq!(finding["advice"].is_null(), verdict == "ok", "{finding}");
        text("found") + " " + &text("advice")
    }

    fn all(&self, verdict: &str) -> Vec<&str> {
        let of = self.checks.iter().filter(|finding| finding["verdict"] == verdict);
        of.filter_map(|finding| finding["check"].as_str()).collect()
    }

    pub fn assert_well(&self) {
        assert!(self.all("warning").is_empty() && self.all("failure").is_empty(), "{self:#?}");
        assert_eq!(self.exit, Some(0), "{self:#?}");
    }

    /// One thing failed, which is this, and nothing else was found wrong. What was said of it.
    pub fn only_failure(&self, check: &str) -> String {
        assert_eq!((self.all("failure"), self.exit), (vec![check], Some(1)), "{self:#?}");
        assert_eq!(self.all("warning"), Vec::<&str>::new(), "{self:#?}");
        assert!(self.stderr.contains("1 check failed"), "{}", self.stderr);
        self.of("failure", check)
    }

    /// One thing could be better, which is this.
    pub fn only_warning(&self, check: &str) -> String {
        assert_eq!((self.all("failure"), self.exit), (vec![], Some(0)), "{self:#?}");
        assert_eq!(self.all("warning"), [check], "{self:#?}");
        self.of("warning", check)
    }
}

/// The command under another program, such as faketime.
fn doctor_through(command: &mut Command, arguments: &[&str]) -> Said {
    let output = output(command.args(["doctor", "--json"]).args(arguments).env("NO_COLOR", "1"));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!stderr.contains("panicked"), "{stderr}");
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{stderr}", String::from_utf8_lossy(&output.stdout)));
    let checks = report["checks"].as_array().cloned().unwrap_or_default();
    for (verdict, count) in [("ok", "ok"), ("warning", "warnings"), ("failure", "failures")] {
        let counted = checks.iter().filter(|finding| finding["verdict"] == verdict).count();
        assert_eq!(report[count], counted, "{report}");
    }
    Said { exit: output.status.code(), checks, stderr }
}

fn doctor(arguments: &[&str]) -> Said {
    doctor_through(&mut Command::new(BINARY), arguments)
}

/// Of a server without TLS that has the test's item.
fn examined(server: &Recorder, arguments: &[&str]) -> Said {
    doctor(&[&[server.url().as_str(), "--item", HASH], arguments].concat())
}

#[test]
fn the_demo_is_well_in_every_respect() {
    let demo = Demo::start_with(0, &[]);
    let url = format!("https://localhost:{}", demo.address("https").port());
    let http = demo.address("http").port().to_string();
    let ca = demo.folder().join("ca.crt").display().to_string();
    // With ports that the system chose it listens on one of the families that localhost has.
    let said = doctor(&[&url, "--http", &http, "--ca-file", &ca, "--address", "127.0.0.1"]);
    said.assert_well();
    let port = |scheme: &str| format!("port-{}", demo.address(scheme).port());
    let expected = [
        "name",
        &port("http"),
        &port("https"),
        "certificate",
        "names",
        "tls-versions",
        "http2",
        "clock",
        "cache-info",
        "narinfo",
        "signature",
        "nar-gzip",
        "nar-none",
        "pipelining-https",
        "pipelining-http",
        "admin-https",
        "admin-http",
        "robots",
        "acme",
    ];
    let checks: Vec<_> = said.checks.iter().filter_map(|finding| finding["check"].as_str()).collect();
    assert_eq!(checks, expected);
    assert!(said.of("ok", "narinfo").contains("farmgate-demo-1.0, as gzip, none"));
}

#[test]
fn for_people_there_is_a_line_for_each_check() {
    let server = serve(|target| (target == "/nar/gzip/item").then(|| substitutes::ok("no nar")));
    let output =
        output(Command::new(BINARY).args(["doctor", &server.url(), "--item", HASH]).env("NO_COLOR", "1"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<_> = text.lines().collect();
    let (last, checks) = lines.split_last().expect("lines");
    assert!(checks.len() >= 10, "{text}");
    for line in checks {
        assert!(line.starts_with("ok ") || line.starts_with("failure "), "{line}");
    }
    let failed: Vec<_> = checks.iter().filter(|line| line.starts_with("failure ")).collect();
    assert!(failed.len() == 1 && failed[0].contains("nar-gzip"), "{text}");
    assert!(last.starts_with(&server.url()) && last.ends_with("0 warnings, 1 failure"), "{last}");
    assert!(!text.contains('\u{1b}') && output.status.code() == Some(1), "{text}");
}

#[test]
fn an_item_is_found_by_what_cuirass_built_last() {
    let builds = format!(
        r#"[{{"id": 1, "buildoutputs": {{"out": {{"path": "/gnu/store/{}-gone-1"}}}}}},
            {{"id": 2, "buildoutputs": {{"lib": {{"path": "/nonsense"}}, "out": {{"path": "/gnu/store/{HASH}-test-1.0"}}}}}}]"#,
        HASH.replace('0', "1")
    );
    let server = serve(move |target| match target {
        "/api/latestbuilds?nr=20" => Some(substitutes::ok(builds.clone())),
        "/robots.txt" => Some(substitutes::ok("User-agent: *\nDisallow: /\n")),
        target if substitutes::is_admin(target) => Some(substitutes::status(403)),
        _ => None,
    });
    let said = doctor(&[&server.url()]);
    said.assert_well();
    assert!(said.of("ok", "narinfo").contains(HASH));
}

#[test]
fn without_a_ci_an_item_has_to_be_named_and_all_else_is_looked_at() {
    let server = serve(|_| None);
    let said = doctor(&[&server.url()]);
    let found = said.only_warning("narinfo");
    assert!(found.contains("--item"), "{found}");
    assert!(said.of("ok", "pipelining-http").contains("1000 lookups"));
    assert!(said.of("ok", "admin-http").contains("no admin pages"));
    for item in [format!("/gnu/store/{HASH}-test-1.0"), format!("{HASH}-test-1.0")] {
        doctor(&[&server.url(), "--item", &item]).assert_well();
    }
}

#[test]
fn a_key_of_ones_own_counts_instead_of_the_published_one() {
    let folder = scratch("key");
    let key = folder.join("key.pub");
    let server = serve(|target| (target == "/signing-key.pub").then(|| substitutes::status(404)));
    let found = examined(&server, &[]).only_warning("signature");
    assert!(found.contains("/signing-key.pub is answered 404") && found.contains("--key"), "{found}");
    fs::write(&key, &item().key).expect("write a key");
    let path = key.display().to_string();
    let said = examined(&server, &["--key", &path]);
    said.assert_well();
    assert!(said.of("ok", "signature").contains("the key that was given"));
    fs::write(&key, &item().altered()[3].1).expect("write a key");
    let found = examined(&serve(|_| None), &["--key", &path]).only_failure("signature");
    assert!(found.contains("it is by another key"), "{found}");
}

#[test]
fn nars_are_left_where_they_are_when_that_is_asked_or_they_are_too_large() {
    let server = serve(|_| None);
    let said = examined(&server, &["--no-download"]);
    said.assert_well();
    assert!(!server.requests().iter().any(|request| request.target().starts_with("/nar/")));
    let said = examined(&server, &["--max-size", "100KiB"]);
    assert!(said.of("warning", "nar-none").contains("--max-size"));
    assert!(!server.requests().iter().any(|request| request.target() == "/nar/none/item"));
}

#[test]
fn a_command_line_that_is_wrong_is_told_what_was_expected() {
    let folder = scratch("wrong");
    let file = folder.join("file");
    fs::write(&file, "(private-key x)").expect("write a file");
    let (file, missing) = (file.display().to_string(), folder.join("none").display().to_string());
    let url = "http://127.0.0.1:1";
    for (arguments, says) in [
        (vec!["ci.example.org"], "https://cuirass.example.org"),
        (vec![url, "--item", "hello"], "/gnu/store/HASH-"),
        (vec![url, "--key", &file], "expected (public-key …)"),
        (vec![url, "--key", &missing], "No such file"),
        (vec![url, "--ca-file", &file], "expected PEM certificates"),
        (vec![url, "--timeout", "10"], "\"10s\""),
        (vec![url, "--timeout", "0s"], "more than nothing"),
        (vec![url, "--max-size", "1MB"], "\"1MiB\""),
        (vec!["--config", &missing], "or give the URL"),
    ] {
        let output = output(Command::new(BINARY).arg("doctor").args(&arguments));
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(says) && output.stdout.is_empty(), "{arguments:?}: {stderr}");
    }
}
