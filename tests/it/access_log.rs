//! The access log: combined format, and no full address anywhere.

use super::support::config::HOST;
use super::support::farm::{Farm, recorded};
use super::support::recorder::Recorder;

#[test]
fn a_request_is_one_line_of_the_combined_format() {
    let farm = Farm::start();
    let headers = [("User-Agent", "GNU Guile"), ("Referer", "https://farm.example/x")];
    let body = farm.gate.https().get_with("/abc.narinfo?one", &headers).body;
    let line = farm.gate.wait_for_access("https", "/abc.narinfo?one");
    let id = line.strip_prefix("127.0.0.0 ").and_then(|rest| rest.split(' ').next()).expect("an id");
    assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{line}");
    let rest = format!(
        "\"GET /abc.narinfo?one HTTP/1.1\" 200 {} \"https://farm.example/x\" \"GNU Guile\"",
        body.len()
    );
    assert!(line.contains(&rest), "{line}\n{rest}");
    let time = line.split(['[', ']']).nth(1).expect("a time in brackets");
    assert!(time.len() == 26 && time.matches(':').count() == 3 && time.matches('/').count() == 2, "{time}");

    farm.gate.http().get("/abc.narinfo?two");
    let line = farm.gate.wait_for_access("http", "/abc.narinfo?two");
    assert!(line.contains("\"-\" \"-\""), "{line}");
    assert!(!farm.gate.access_log("https").iter().any(|line| line.contains("?two")));
}

#[test]
fn json_has_a_line_with_all_that_is_known_and_a_parser_gives_it_back() {
    let farm = Farm::with(|config| config.set("access_log.format", "\"json\""));
    let line = |which: &str, needle: &str| -> serde_json::Value {
        serde_json::from_str(&farm.gate.wait_for_access(which, needle)).expect("JSON")
    };
    let agent = "a \"b\" \\ \u{e9}\u{1f403}";
    let body = farm.gate.https().get_with("/abc.narinfo?one", &[("User-Agent", agent)]).body;
    let one = line("https", "?one");
    for (name, value) in [
        ("client", serde_json::json!("127.0.0.0")),
        ("scheme", "https".into()),
        ("site", HOST.into()),
        ("route", "narinfo".into()),
        ("method", "GET".into()),
        ("target", "/abc.narinfo?one".into()),
        ("protocol", "HTTP/1.1".into()),
        ("status", 200.into()),
        ("bytes", body.len().into()),
        ("cache", serde_json::Value::Null),
        ("admin", serde_json::Value::Null),
        ("referer", serde_json::Value::Null),
        ("user_agent", agent.into()),
    ] {
        assert_eq!(one[name], value, "{name} of {one}");
    }
    let time = one["time"].as_str().expect("a text");
    assert!(time.len() == 24 && time.ends_with('Z') && &time[10..11] == "T", "{time}");
    assert!(one["duration"].as_f64() >= one["backend"].as_f64(), "{one}");
    assert!(one["backend"].is_f64() && one["id"].as_str().is_some_and(|id| id.len() == 16), "{one}");

    for (target, outcome) in [("/static/x.css?a", "miss"), ("/static/x.css?a", "hit")] {
        farm.gate.http().get(target);
        let line = line("http", &format!("\"cache\":\"{outcome}\""));
        assert_eq!((&line["route"], &line["scheme"]), (&"static".into(), &"http".into()));
        assert_eq!(line["backend"].is_null(), outcome == "hit", "{line}");
    }
    farm.gate.https_as(&farm.world.good).get("/admin?good");
    assert!(line("https", "/admin?good")["admin"].is_string());
    let mut bad = farm.gate.http();
    bad.send("NONSENSE\r\n\r\n");
    let _ = bad.drain();
    let line = line("http", "malformed");
    assert_eq!((&line["status"], &line["site"]), (&400.into(), &serde_json::Value::Null));
}

#[test]
fn an_error_page_and_the_log_have_the_same_id_as_the_programs_own_log() {
    let nobody = format!("http://127.0.0.1:{}", super::support::free_port());
    let gate =
        Farm::with_site(|site| site.ci(&nobody), |config| config.set("timeouts.backend_restart", "\"0s\""))
            .gate;
    let response = gate.https().get("/jobset/x?gone");
    assert_eq!(response.status, 502);
    let page = response.text();
    let line = gate.wait_for_access("https", "/jobset/x?gone");
    let id = line.split(' ').nth(1).expect("an id");
    assert!(page.contains(id), "{id} in {page}");
    gate.wait_for_stderr(&format!("(id {id})"));
}

#[test]
fn requests_that_were_refused_are_logged_too() {
    let farm = Farm::start();
    farm.gate.https().get("/admin?refused");
    assert!(farm.gate.wait_for_access("https", "/admin?refused").contains("\" 403 "));
    farm.gate.https_as(&farm.world.good).get("/admin?good");
    assert!(farm.gate.wait_for_access("https", "/admin?good").contains("\" 200 "));
}

#[test]
fn each_pipelined_request_has_its_line() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config);
    let mut connection = gate.http();
    connection.send(
        (0..200).map(|at| format!("GET /{at}.narinfo HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).collect::<String>(),
    );
    (0..200).for_each(|_| assert_eq!(connection.response().status, 200));
    gate.wait_for_access("http", "/199.narinfo");
    assert_eq!(gate.access_log("http").len(), 200);
}

#[test]
fn a_line_cannot_be_forged() {
    let farm = Farm::start();
    let forged = "x\" 200 1 \"-\" \"-\\";
    farm.gate.https().get_with("/jobset/x?forged", &[("User-Agent", forged), ("Referer", "\u{e9}\"")]);
    let line = farm.gate.wait_for_access("https", "/jobset/x?forged");
    assert!(!line.contains(forged), "quotes are escaped: {line}");
    assert!(!line.contains(|char: char| char.is_control()), "{line:?}");
}

#[test]
fn no_full_address_is_written_anywhere() {
    let farm = Farm::start();
    let masked = |line: &str| !line.contains("127.0.0.1 -");
    for (target, headers) in [
        ("/abc.narinfo", &[][..]),
        ("/admin", &[]),
        ("/.well-known/none", &[]),
        ("/jobset/last", &[("X-Forwarded-For", "203.0.113.77")]),
    ] {
        farm.gate.https().get_with(target, headers);
    }
    // A handshake that fails, and a request that is none, are worth a line; not an address.
    let mut raw = super::support::http1::Connection::plain(farm.gate.https_addr(), HOST);
    raw.send("GET / HTTP/1.1\r\n\r\n");
    raw.finish_writing();
    let _ = raw.drain();
    let mut bad = farm.gate.http();
    bad.send("NONSENSE\r\n\r\n");
    bad.finish_writing();
    let _ = bad.drain();
    farm.gate.wait_for_access("https", "/jobset/last");
    for line in farm.gate.access_log("https").iter().chain(&farm.gate.access_log("http")) {
        assert!(masked(line) && !line.contains("203.0.113.77"), "{line}");
    }
    // Our own log names listeners and backends, which are on 127.0.0.1 here; clients have high ports of their own.
    let known = [farm.gate.http_addr(), farm.gate.https_addr(), farm.publish.addr(), farm.cuirass.addr()];
    for line in farm.gate.stderr() {
        let mut line = line;
        known.iter().for_each(|address| line = line.replace(&address.to_string(), ""));
        assert!(!line.contains("127.0.0.1:") && !line.contains("203.0.113.77"), "{line}");
    }
}

#[test]
fn masks_of_zero_keep_the_address_and_off_writes_nothing() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config.set("access_log.ipv4_mask", "0"));
    gate.http().get("/x?kept");
    assert!(gate.wait_for_access("http", "/x?kept").starts_with("127.0.0.1 "));

    let gate = recorded(&recorder, |config| config.set("access_log.http", "\"off\""));
    assert_eq!(gate.http().get("/x").status, 200);
    assert_eq!(gate.access_log("http").len(), 0);
    assert!(!gate.folder().join("off").exists());
}
