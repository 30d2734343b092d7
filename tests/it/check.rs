//! `farmgate check`: everything `run` would load, all problems in one go, and the route table.

use std::fs;
use std::process::{Command, Output};

use super::support::config::{Config, HOST, Site};
use super::support::gate::BINARY;
use super::support::output;
use super::support::pki::{scratch, world};

fn check(text: &str, arguments: &[&str]) -> Output {
    let folder = scratch("check");
    let path = folder.join("farmgate.toml");
    fs::write(&path, text).expect("write");
    output(Command::new(BINARY).args(["check", "--config"]).arg(path).args(arguments).env("NO_COLOR", "1"))
}

fn good(change: impl FnOnce(Config) -> Config) -> String {
    let site = Site::new(HOST).publish("http://localhost:3000").ci("http://localhost:8081");
    change(Config::new(site).client_ca(&world().authority.cert)).text(&scratch("check"))
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_good_configuration_prints_its_route_table() {
    let output = check(&good(|config| config), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for part in [
        HOST,
        "/admin",
        "/nar",
        "narinfo",
        "/log",
        "/static",
        "/download",
        "localhost:3000",
        "localhost:8081",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}

#[test]
fn json_is_for_machines_and_goes_to_stdout() {
    let output = check(&good(|config| config), &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(value.is_object(), "{value}");
    assert!(value.to_string().contains(HOST));

    let output = check(&good(|config| config.set("limits.bdy", "\"1KiB\"")), &["--json"]);
    assert_eq!(output.status.code(), Some(2));
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON for problems too");
    assert!(value.to_string().contains("bdy"), "{value}");
}

#[test]
fn all_problems_are_told_at_once_with_their_place_and_a_suggestion() {
    let text = good(|config| {
        config
            .set("limits.bodi", "\"1MiB\"")
            .set("timeouts.connect", "\"10 parsecs\"")
            .set("access_log.ipv4_mask", "33")
            .set("listen.http", "[\"nowhere\"]")
    });
    let output = check(&text, &[]);
    assert_eq!(output.status.code(), Some(2));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    for part in ["bodi", "`body`", "10 parsecs", "33", "nowhere", "farmgate.toml:", "^"] {
        let part = part.trim_matches('`');
        assert!(errors.contains(part), "{part:?} in\n{errors}");
    }
    let line = text.lines().position(|line| line.starts_with("bodi")).expect("it is there") + 1;
    assert!(errors.contains(&format!("farmgate.toml:{line}")), "line {line} in\n{errors}");
}

#[test]
fn each_kind_of_mistake_is_a_2_that_names_the_key() {
    let world = world();
    let mismatch =
        super::support::pki::Identity { chain: world.good.chain.clone(), key: world.good_v3.key.clone() };
    let site = || Site::new(HOST).ci("http://localhost:8081");
    let with = |site: Site| Config::new(site).text(&scratch("check"));
    for (text, hint) in [
        ("[limits]\nbody = \"1MiB\"\n".to_string(), "site"),
        (with(Site::new(HOST)), "publish"),
        (with(site().set("colour", "\"red\"")), "colour"),
        (with(site().plain_http("sometimes")), "sometimes"),
        (with(site().ci("https//oops")), "oops"),
        (with(site().set("certificate", "\"homemade\"")), "homemade"),
        (
            with(
                site().set("certificate", "{ chain = \"/nonexistent/c.pem\", key = \"/nonexistent/k.pem\" }"),
            ),
            "/nonexistent/c.pem",
        ),
        (with(site().certificate(&mismatch)), "key"),
        (with(site().set("names", "[]")), "names"),
        (with(site().set("log_route", "\"publish\"")), "log_route"),
        (Config::new(site()).set("admin.prefix", "\"admin\"").text(&scratch("check")), "prefix"),
        (Config::new(site()).set("cache.memory", "\"lots\"").text(&scratch("check")), "lots"),
        (Config::new(site()).site(site()).text(&scratch("check")), HOST),
        ("[[site]\n".to_string(), "farmgate.toml:1"),
    ] {
        let output = check(&text, &[]);
        assert_eq!(output.status.code(), Some(2), "{text}\n{}", said(&output));
        assert!(said(&output).contains(hint), "{hint:?} in\n{}", said(&output));
    }
}

#[test]
fn a_missing_client_authority_is_a_warning_only() {
    let text = good(|config| config.set("admin.client_ca", "\"/nonexistent/ca.crt\""));
    let output = check(&text, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("/nonexistent/ca.crt"), "{}", said(&output));
}

#[test]
fn the_config_option_may_stand_in_front_of_the_command() {
    let folder = scratch("check");
    let path = folder.join("farmgate.toml");
    fs::write(&path, good(|config| config)).expect("write");
    let output = output(Command::new(BINARY).arg("--config").arg(&path).arg("check"));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}
