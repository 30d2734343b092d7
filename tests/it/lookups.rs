//! Lookups on connections that are there already, which is how nearly all of them come: the same answers as on any other way
//! through the gate, and the same patience.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::support::Latch;
use super::support::farm::recorded;
use super::support::gate::Gate;
use super::support::http1::{Connection, Response};
use super::support::recorder::{Recorder, Then};
use super::support::scrape::Scrape;

/// Longer than a lookup is waited for without the engine.
const LONG: Duration = Duration::from_millis(800);

/// A connection on which the next lookup finds all it needs: a request was answered on it, and the backend has an idle one.
fn warm(mut connection: Connection) -> Connection {
    assert_eq!(connection.get("/warm.narinfo").text(), "ok");
    connection
}

/// Everything a client can tell apart, but for the time.
fn told(response: &Response) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let fields = response.headers.iter().map(|(name, value)| (name.to_lowercase(), value.clone()));
    let mut fields: Vec<_> = fields.filter(|(name, _)| name != "date").collect();
    fields.sort();
    (response.status, fields, response.body.clone())
}

fn send_ok(tcp: &mut TcpStream) -> Then {
    let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    Then::Keep
}

/// A gate that asks its backend for one thing at a time.
fn one_at_a_time(recorder: &Recorder) -> Gate {
    recorded(recorder, |config| {
        config.set("limits.backend_requests", "1").set("metrics.listen", "\"127.0.0.1:0\"")
    })
}

/// Asks for `target`, and for another one when the first has `arrived` at the backend; calls `then` when that one waits for its
/// turn. Both are answered in the end.
fn next_waits_for(gate: &Gate, target: &str, arrived: &Latch, then: impl FnOnce()) {
    let (mut first, mut next) = (warm(gate.http()), warm(gate.https()));
    thread::scope(|scope| {
        let first = scope.spawn(move || first.get(target).text());
        arrived.wait();
        let next = scope.spawn(move || next.get("/next.narinfo").text());
        Scrape::once(gate, "the next one waits for its turn", |scrape| {
            scrape.sum("farmgate_backend_waiting", &[]) == 1.0
        });
        then();
        for answer in [first, next] {
            assert_eq!(answer.join().expect("no panic"), "ok");
        }
    });
}

#[test]
fn an_answer_says_the_same_with_the_engine_and_without_it() {
    let answers = [
        ("/found.narinfo", "200 OK", "Content-Type: text/x-nix-narinfo\r\nCache-Control: max-age=3600\r\n"),
        ("/absent.narinfo", "404 Not Found", "Cache-Control: max-age=300\r\nX-Baking: 1\r\n"),
        (
            "/fault.narinfo",
            "500 Internal Server Error",
            "X-Odd: \u{e9}\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n",
        ),
        ("/dated.narinfo", "200 Fine", "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nConnection: close\r\n"),
        ("/nominated.narinfo", "200 OK", "Connection: X-Hop\r\nX-Hop: 1\r\n"),
        ("/hop.narinfo", "200 OK", "Keep-Alive: timeout=5\r\nProxy-Connection: x\r\n"),
    ];
    let recorder = Recorder::start(move |request, tcp| {
        let Some((target, status, fields)) = answers.iter().find(|(target, ..)| *target == request.target())
        else {
            return send_ok(tcp);
        };
        let answer = format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n{target}", target.len());
        let _ = tcp.write_all(answer.as_bytes());
        if fields.contains("close") { Then::Close } else { Then::Keep }
    });
    let gate = recorded(&recorder, |config| config);
    for connect in [Gate::http, Gate::https] {
        for (target, status, _) in answers {
            let mut connection = warm(connect(&gate));
            let without = connection.get(target);
            let mut connection = warm(connection);
            // A word about the connection is the engine's to hear.
            let with = connection.get_with(target, &[("Connection", "keep-alive")]);
            assert_eq!(told(&without), told(&with), "{target}");
            assert_eq!((without.text(), without.status), (target.to_owned(), status[..3].parse().unwrap()));
            assert_eq!(
                without.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("date")).count(),
                1
            );
            assert_eq!(warm(connection).get(target).text(), target);
        }
    }
}

#[test]
fn answers_of_every_shape_arrive_whole_and_leave_the_connection_good() {
    let long = "x".repeat(100_000);
    let shapes: Vec<(&str, Vec<String>, String)> = vec![
        (
            "/pieces",
            ["HTTP/1.1 200 OK\r\nConte", "nt-Length: 4\r\n\r\na", "bcd"].map(str::to_owned).into(),
            "abcd".into(),
        ),
        (
            "/chunks",
            vec!["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n".into()],
            "ab".into(),
        ),
        ("/to-the-end", vec!["HTTP/1.1 200 OK\r\n\r\nend".into()], "end".into()),
        ("/old", vec!["HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold".into()], "old".into()),
        ("/empty", vec!["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into()], String::new()),
        (
            "/long",
            vec![format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", long.len()), long.clone()],
            long,
        ),
        (
            "/informed",
            vec!["HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\ni".into()],
            "i".into(),
        ),
    ];
    let answers = shapes.clone();
    let recorder = Recorder::start(move |request, tcp| {
        let name = request.target().strip_suffix(".narinfo").unwrap_or_default();
        let Some((name, pieces, _)) = answers.iter().find(|(shape, ..)| *shape == name) else {
            return send_ok(tcp);
        };
        for piece in pieces {
            let _ = tcp.write_all(piece.as_bytes());
            // So that they do not come as one.
            thread::sleep(Duration::from_millis(20));
        }
        if matches!(*name, "/to-the-end" | "/old") { Then::Close } else { Then::Keep }
    });
    let gate = recorded(&recorder, |config| config);
    for mut connection in [gate.http(), gate.https()] {
        for (name, _, expected) in &shapes {
            connection = warm(warm(connection));
            let response = connection.get(&format!("{name}.narinfo"));
            assert!(response.status == 200 && response.text() == *expected, "{name}: {}", response.status);
        }
        for (name, ..) in &shapes {
            let target = format!("{name}.narinfo");
            assert!(
                recorder.requests().iter().filter(|request| request.target() == target).count() <= 2,
                "{name}"
            );
        }
    }
}

#[test]
fn an_answer_that_takes_long_is_waited_for_and_asked_for_once() {
    let recorder = Recorder::start(|request, tcp| {
        if request.target() == "/long.narinfo" {
            thread::sleep(LONG);
        }
        send_ok(tcp)
    });
    let gate = recorded(&recorder, |config| config.set("access_log.format", "\"json\""));
    for (connect, log) in [(Gate::http as fn(&Gate) -> Connection, "http"), (Gate::https, "https")] {
        assert_eq!(warm(connect(&gate)).get("/long.narinfo").text(), "ok");
        let line = gate.wait_for_access(log, "/long.narinfo");
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        let least = LONG.as_secs_f64() * 0.9;
        assert!(
            line["duration"].as_f64().unwrap() >= least && line["backend"].as_f64().unwrap() >= least,
            "{line}"
        );
    }
    let asked = recorder.requests().iter().filter(|request| request.target() == "/long.narinfo").count();
    assert_eq!(asked, 2, "once for each of the two");
}

#[test]
fn an_answer_that_never_comes_is_a_504_and_the_next_request_has_another_connection() {
    let never = Latch::default();
    let latch = never.clone();
    let recorder = Recorder::start(move |request, tcp| {
        if request.target() == "/never.narinfo" {
            latch.wait();
        }
        send_ok(tcp)
    });
    let gate = recorded(&recorder, |config| config.set("timeouts.read", "\"1s\""));
    for connection in [gate.http(), gate.https()] {
        let mut connection = warm(connection);
        assert_eq!(connection.get("/never.narinfo").status, 504);
        assert_eq!(warm(connection).get("/other.narinfo").text(), "ok");
    }
    never.open();
}

#[test]
fn a_slow_lookup_keeps_its_slot_at_the_backend_however_long_it_takes() {
    let (latch, waiting) = (Latch::default(), Latch::default());
    let recorder = Recorder::start({
        let (latch, waiting) = (latch.clone(), waiting.clone());
        move |request, tcp| {
            if request.target() == "/slow.narinfo" {
                thread::sleep(LONG);
                waiting.open();
                latch.wait();
            }
            send_ok(tcp)
        }
    });
    let gate = one_at_a_time(&recorder);
    next_waits_for(&gate, "/slow.narinfo", &waiting, || {
        assert!(recorder.requests().iter().all(|request| request.target() != "/next.narinfo"));
        latch.open();
    });
}

#[test]
fn a_lookup_that_is_dropped_is_asked_again_in_its_own_turn() {
    let (latch, arrived) = (Latch::default(), Latch::default());
    let recorder = Recorder::start({
        let (latch, arrived) = (latch.clone(), arrived.clone());
        let asked = AtomicUsize::new(0);
        move |request, tcp| {
            if request.target() == "/dropped.narinfo" && asked.fetch_add(1, Ordering::SeqCst) == 0 {
                arrived.open();
                latch.wait();
                return Then::Close;
            }
            send_ok(tcp)
        }
    });
    let gate = one_at_a_time(&recorder);
    next_waits_for(&gate, "/dropped.narinfo", &arrived, || latch.open());
    let targets: Vec<_> = recorder.requests().iter().map(|request| request.target().to_owned()).collect();
    assert_eq!(targets[targets.len() - 3..], ["/dropped.narinfo", "/dropped.narinfo", "/next.narinfo"]);
    Scrape::once(&gate, "nobody is counted twice", |scrape| {
        scrape.sum("farmgate_backend_requests", &[]) == 0.0
            && scrape.sum("farmgate_requests_total", &[])
                == scrape.sum("farmgate_request_backend_seconds_count", &[])
    });
}
