//! HTTP/2 towards clients: RFC 9113 and what RFC 9110 and 9111 ask of every version, and what no client may do.

mod floods;
mod gathered;
mod limits;
mod stopping;
mod taken_back;

use std::io::Write;

use super::support::config::{Config, HOST};
use super::support::curl::curl;
use super::support::eventually_true;
use super::support::farm::recorded;
use super::support::gate::Gate;
use super::support::h2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, H2, HEADERS, Outcome, PING,
    PRIORITY_FRAME, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, head,
};
use super::support::recorder::{Recorder, Then};
use super::support::scrape::Scrape;
use super::support::tls::TlsClient;

/// Error codes of RFC 9113 section 7.
const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const FLOW_CONTROL_ERROR: u32 = 3;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

fn connect(gate: &Gate) -> H2 {
    H2::connect(&TlsClient::default(), gate.https_addr(), HOST)
}

/// One worker, so that everybody is on it, and metrics.
fn one_worker(config: Config) -> Config {
    config.through(&["taskset", "-c", "0"]).set("metrics.listen", "\"127.0.0.1:0\"")
}

fn get(path: &str) -> [(&str, &str); 4] {
    [(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", path)]
}

fn post(path: &str) -> [(&str, &str); 4] {
    [(":method", "POST"), (":scheme", "https"), (":authority", HOST), (":path", path)]
}

fn refused(gate: &Gate, reason: &str) -> f64 {
    Scrape::of(gate).sum("farmgate_http2_refused_total", &[("reason", reason)])
}

/// The head of an answer, as curl prints it, in lower case.
fn head_of(gate: &Gate, path: &str, arguments: &[&str]) -> Vec<String> {
    let url = format!("https://{HOST}:{}{path}", gate.https_addr().port());
    let resolve = format!("{HOST}:{}:127.0.0.1", gate.https_addr().port());
    let fixed = ["--http2", "-o", "/dev/null", "-D", "-", "--resolve", &resolve, &url];
    let answer = curl(&[&fixed[..], arguments].concat());
    assert_eq!(answer.version, "2", "{answer:?}");
    answer.body.lines().map(|line| line.trim().to_ascii_lowercase()).collect()
}

fn values<'a>(head: &'a [String], name: &str) -> Vec<&'a str> {
    head.iter()
        .filter_map(|line| line.split_once(": "))
        .filter(|line| line.0 == name)
        .map(|line| line.1)
        .collect()
}

/// A backend that says this of everything, and "ok".
fn saying(head: &'static str) -> Recorder {
    Recorder::start(move |_, tcp| {
        let _ = tcp.write_all(format!("HTTP/1.1 {head}\r\nContent-Length: 2\r\n\r\nok").as_bytes());
        Then::Close
    })
}

#[test]
fn rfc_9110_section_6_6_1_the_date_of_a_hit_is_the_stored_one_over_http_2() {
    const MADE: &str = "tue, 01 jul 2025 10:00:00 gmt";
    let recorder =
        saying("200 OK\r\nDate: Tue, 01 Jul 2025 10:00:00 GMT\r\nCache-Control: max-age=999999999");
    let gate = recorded(&recorder, |config| config);
    for (arguments, status) in [
        (&[][..], "200"),
        (&[], "200"),
        (&["-H", "Range: bytes=0-0"], "206"),
        (&["-I"], "200"),
        (&["-H", "If-Modified-Since: Tue, 01 Jul 2025 10:00:00 GMT"], "304"),
    ] {
        let head = head_of(&gate, "/static/a", arguments);
        assert_eq!(head[0], format!("http/2 {status}"), "{arguments:?}");
        assert_eq!(values(&head, "date"), [MADE], "{arguments:?}: {head:?}");
    }
    assert_eq!(recorder.requests().len(), 1);
    // And an answer that has none gets one.
    for path in ["/robots.txt", "/nowhere-in-particular"] {
        assert_eq!(values(&head_of(&gate, path, &[]), "date").len(), 1, "{path}");
    }
}

#[test]
fn rfc_9111_section_5_1_the_age_of_a_hit_counts_from_its_making_over_http_2() {
    let recorder = saying("200 OK\r\nAge: 1000\r\nCache-Control: max-age=999999999");
    let gate = recorded(&recorder, |config| config);
    head_of(&gate, "/static/a", &[]);
    let head = head_of(&gate, "/static/a", &[]);
    let age: u64 = values(&head, "age").concat().parse().expect("an age");
    assert!((1000..1000 + 600).contains(&age), "{age}");
    assert!(values(&head, "cache-status").concat().contains("hit"), "{head:?}");
}

#[test]
fn rfc_9110_section_6_4_1_an_answer_without_body_ends_with_its_head() {
    let recorder = Recorder::start(|request, tcp| {
        let head = match request.target() {
            "/none" => "204 No Content\r\n\r\n",
            "/same" => "304 Not Modified\r\nETag: \"e\"\r\n\r\n",
            "/empty" => "200 OK\r\nContent-Length: 0\r\n\r\n",
            _ => "200 OK\r\nContent-Length: 2\r\n\r\nok",
        };
        let _ = tcp.write_all(format!("HTTP/1.1 {head}").as_bytes());
        Then::Keep
    });
    let gate = recorded(&recorder, |config| config);
    let mut h2 = connect(&gate);
    let head_only = [(":method", "HEAD"), (":scheme", "https"), (":authority", HOST), (":path", "/body")];
    for (at, (fields, status)) in
        [(get("/none"), 204), (get("/same"), 304), (get("/empty"), 200), (head_only, 200)].iter().enumerate()
    {
        let id = 2 * at as u32 + 1;
        h2.write(&head(id, END_STREAM, fields)).expect("send");
        let answer = h2.await_frame(|frame| frame.stream == id).expect("an answer");
        assert_eq!((answer.status(), answer.ends()), (Some(*status), true), "{fields:?}");
    }
}

#[test]
fn rfc_9110_section_10_1_1_a_body_that_waits_for_a_100_gets_one() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config);
    let mut h2 = connect(&gate);
    let fields =
        [&post("/jobset/x/hook/evaluate")[..], &[("expect", "100-continue"), ("content-length", "4")]];
    h2.write(&head(1, 0, &fields.concat())).expect("send");
    let go_on = h2.await_frame(|frame| frame.kind == HEADERS).expect("an interim answer");
    assert_eq!((go_on.status(), go_on.ends()), (Some(100), false));
    assert_eq!(recorder.requests().len(), 0);
    h2.write(&frame(DATA, END_STREAM, 1, b"body")).expect("send");
    assert_eq!(h2.await_frame(|frame| frame.kind == HEADERS).expect("an answer").status(), Some(200));
    assert_eq!(recorder.requests()[0].body, b"body");
}

#[test]
fn rfc_9113_section_8_1_trailers_of_a_request_are_left_behind() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config);
    let mut h2 = connect(&gate);
    h2.write(&head(1, 0, &post("/x"))).expect("send");
    h2.write(&frame(DATA, 0, 1, b"body")).expect("send");
    h2.write(&head(1, END_STREAM, &[("x-trailer", "1"), ("content-length", "9")])).expect("send");
    assert_eq!(h2.await_frame(|frame| frame.kind == HEADERS).expect("an answer").status(), Some(200));
    let request = &recorder.requests()[0];
    assert_eq!((&request.body[..], request.header("content-length")), (&b"body"[..], Some("4")));
    assert_eq!(request.header("x-trailer"), None);
    // The connection goes on.
    h2.write(&head(3, END_STREAM, &get("/y"))).expect("send");
    assert_eq!(h2.await_frame(|frame| frame.stream == 3).expect("an answer").status(), Some(200));
}

#[test]
fn rfc_9113_section_8_1_an_answer_that_breaks_off_is_reset_and_its_neighbours_are_not() {
    let recorder = Recorder::start(|request, tcp| {
        let length = if request.target().contains("broken") { 100 } else { 2 };
        let _ = tcp.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nok").as_bytes());
        Then::Close
    });
    let gate = recorded(&recorder, |config| config);
    let mut h2 = connect(&gate);
    h2.write(&head(1, END_STREAM, &get("/nar/broken"))).expect("send");
    let end = h2.await_frame(|frame| frame.kind == RST_STREAM || frame.ends()).expect("an end");
    assert_eq!((end.stream, end.code()), (1, Some(INTERNAL_ERROR)), "{end:?}");
    h2.write(&head(3, END_STREAM, &get("/nar/whole"))).expect("send");
    let whole = h2.await_frame(|frame| frame.stream == 3 && frame.kind == DATA).expect("a body");
    // The last part says that it is.
    assert_eq!((&whole.payload[..], whole.ends()), (&b"ok"[..], true));
}

#[test]
fn rfc_9113_section_8_1_1_a_malformed_request_gets_a_page_and_a_line_and_goes_nowhere() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, one_worker);
    let malformed: [&[(&str, &str)]; 5] = [
        // No host, two that differ, a user's name, no path, two lengths.
        &[(":method", "GET"), (":scheme", "https"), (":path", "/x")],
        &[&get("/x")[..], &[("host", "other.example")]].concat(),
        &[(":method", "GET"), (":scheme", "https"), (":authority", "u@farm.example"), (":path", "/x")],
        &get("*"),
        &[&post("/x")[..], &[("content-length", "0"), ("content-length", "0")]].concat(),
    ];
    let mut h2 = connect(&gate);
    for (at, fields) in malformed.iter().enumerate() {
        let raw: Vec<(&[u8], &[u8])> =
            fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        match h2.raw_request(&raw, b"") {
            Outcome::Answer { status: 400, body } => {
                assert!(String::from_utf8_lossy(&body).contains("\nid "), "{fields:?}: {body:?}");
            }
            outcome => panic!("{fields:?}: {outcome:?}"),
        }
        eventually_true("a line", || {
            gate.access_log("https").iter().filter(|line| line.contains("\" 400 ")).count() == at + 1
        });
    }
    // Neighbours are served, and the connection is when it has been too many.
    assert_eq!(h2.request("GET", HOST, b"/x", &[], b"").status(), Some(200));
    for _ in 0..100 {
        let _ = h2.request("GET", HOST, b"/x", &[("host", "other.example")], b"");
        if !h2.is_open() {
            break;
        }
    }
    assert!(!h2.is_open());
    assert_eq!(refused(&gate, "malformed"), 33.0);
    assert_eq!(refused(&gate, "flood"), 1.0);
    assert_eq!(recorder.requests().len(), 1);
}

#[test]
fn rfc_9113_section_5_1_a_request_taken_back_before_it_was_looked_at_reaches_nobody() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, one_worker);
    let mut h2 = connect(&gate);
    h2.settle();
    let mut bytes = Vec::new();
    for at in 0..50 {
        bytes.extend(head(2 * at + 1, END_STREAM, &get("/taken-back")));
        bytes.extend(frame(RST_STREAM, 0, 2 * at + 1, &[0, 0, 0, 8]));
    }
    bytes.extend(head(101, END_STREAM, &get("/asked")));
    // In one TLS record: it is read in one go.
    assert!(bytes.len() < 16 * 1024);
    h2.write(&bytes).expect("send");
    let answer = h2.await_frame(|frame| frame.stream == 101).expect("an answer");
    assert_eq!(answer.status(), Some(200));
    assert_eq!(refused(&gate, "reset"), 50.0);
    assert!(
        recorder.requests().iter().all(|request| request.target() == "/asked"),
        "{:?}",
        recorder.requests()
    );
}
