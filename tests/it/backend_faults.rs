//! When a backend breaks: others are served meanwhile, the log says it once, and it recovers by itself.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::support::config::{Config, HOST, Site};
use super::support::farm::recorded;
use super::support::gate::Gate;
use super::support::http1::Response;
use super::support::recorder::{Recorder, Then};
use super::support::{eventually_true, free_port};

/// What is wrong with a backend's answers.
type Fault = fn(&mut TcpStream) -> Then;

const FAULTS: [(&str, u16, Fault); 6] = [
    ("it says nothing", 504, |_| Then::Keep),
    ("half a head", 502, |tcp| {
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Le");
        Then::Close
    }),
    ("half a head, and then nothing", 504, |tcp| {
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Le");
        Then::Keep
    }),
    ("garbage", 502, |tcp| {
        let _ = tcp.write_all(b"\x16\x03\x01\x00\xffnot at all HTTP\r\n\r\n\0\0\0");
        Then::Close
    }),
    ("header fields without end", 502, |tcp| {
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\n");
        let fields = b"X-More: and more\r\n".repeat(1000);
        while tcp.write_all(&fields).is_ok() {}
        Then::Close
    }),
    ("a header field without end", 502, |tcp| {
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nX-Long: ");
        while tcp.write_all(&[b'x'; 16384]).is_ok() {}
        Then::Close
    }),
];

/// A backend that has the fault on `/jobset/faulty` and `/faulty.narinfo`, until it is repaired.
fn faulty(fault: Fault) -> (Recorder, Arc<AtomicBool>) {
    let repaired = Arc::new(AtomicBool::new(false));
    let is_repaired = repaired.clone();
    let recorder = Recorder::start(move |request, tcp| {
        if request.target().contains("faulty") && !is_repaired.load(Ordering::SeqCst) {
            return fault(tcp);
        }
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        Then::Keep
    });
    (recorder, repaired)
}

/// Lines of the program's log that are about the request with this answer.
fn lines_about(gate: &Gate, answer: &Response) -> Vec<String> {
    let text = answer.text();
    let id = text.trim_end().rsplit(' ').next().expect("an id").to_owned();
    gate.wait_for_stderr(&id);
    gate.stderr().into_iter().filter(|line| line.contains(&id)).collect()
}

#[test]
fn whatever_a_backend_answers_others_are_served_it_is_told_once_and_then_it_is_over() {
    for (what, status, fault) in FAULTS {
        let (recorder, repaired) = faulty(fault);
        let gate = recorded(&recorder, |config| {
            config.set("timeouts.read", "\"2s\"").set("timeouts.send", "\"60s\"")
        });
        assert_eq!(gate.http().get("/jobset/x").status, 200);
        let before = gate.rss_kib();
        for target in ["/jobset/faulty", "/faulty.narinfo"] {
            thread::scope(|scope| {
                let failing = scope.spawn(|| gate.http().get(target));
                eventually_true("it is asked", || recorder.requests().iter().any(|it| it.target() == target));
                for _ in 0..5 {
                    assert_eq!(gate.http().get("/jobset/x").text(), "ok", "{what}");
                    assert_eq!(gate.http().get("/abc.narinfo").text(), "ok", "{what}");
                }
                let answer = failing.join().expect("an answer");
                assert_eq!(answer.status, status, "{what}, {target}");
                let told = lines_about(&gate, &answer);
                assert_eq!(told.len(), 1, "{what}: {told:#?}");
            });
        }
        let grown = gate.rss_kib().saturating_sub(before);
        assert!(grown < 32 << 10, "{what}: {grown} KiB more");
        repaired.store(true, Ordering::SeqCst);
        for target in ["/jobset/faulty", "/faulty.narinfo"] {
            assert_eq!(gate.http().get(target).text(), "ok", "{what}");
        }
    }
}

#[test]
fn a_backend_that_is_away_for_long_is_told_once_whatever_number_of_requests_fails() {
    let port = free_port();
    let other = Recorder::ok();
    let site = Site::new(HOST).publish(&format!("http://127.0.0.1:{port}")).ci(&other.url());
    let gate = Config::new(site).set("timeouts.backend_restart", "\"0s\"").start();
    for _ in 0..20 {
        assert_eq!(gate.http().get("/abc.narinfo").status, 502);
        assert_eq!(gate.http().get("/jobset/x").status, 200, "the other backend has nothing to do with it");
    }
    let about = |gate: &Gate| -> Vec<String> {
        let is_about = |line: &String| line.contains(&port.to_string()) || line.contains("502");
        gate.stderr().into_iter().filter(is_about).collect()
    };
    assert_eq!(about(&gate).len(), 1, "{:#?}", about(&gate));
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free again");
    let _back = Recorder::on(listener, |_, tcp| {
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nback");
        Then::Keep
    });
    assert_eq!(gate.http().get("/abc.narinfo").text(), "back");
    gate.wait_for_stderr("is back after");
    assert_eq!(about(&gate).len(), 2, "{:#?}", about(&gate));
}

#[test]
fn many_who_wait_for_a_restart_are_all_saved_and_one_at_a_time_tries() {
    const CLIENTS: usize = 100;
    let port = free_port();
    let site = Site::new(HOST).publish(&format!("http://127.0.0.1:{port}"));
    let gate = Config::new(site)
        .set("timeouts.backend_restart", "\"10m\"")
        // Fewer than there are clients: who waits for a restart takes nobody's place.
        .set("limits.backend_requests", "4")
        .set("limits.backend_queue", "0")
        .set("metrics.listen", "\"127.0.0.1:0\"")
        .start();
    let mut first = gate.http();
    first.send(format!("GET /first.narinfo HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    gate.wait_for_stderr("waiting up to");
    let mut connections: Vec<_> = (0..CLIENTS).map(|_| gate.http()).collect();
    for (at, connection) in connections.iter_mut().enumerate() {
        connection.send(format!("GET /{at}.narinfo HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    }
    super::support::scrape::Scrape::once(&gate, "all wait", |scrape| {
        scrape.sum("farmgate_backend_restart_waits_total", &[]) >= (CLIENTS + 1) as f64
    });
    gate.rewrite(&gate.config.clone().set("limits.backend_queue", "1000"));
    gate.reload();
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free again");
    let _back = Recorder::on(listener, |_, tcp| {
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nback");
        Then::Keep
    });
    for connection in connections.iter_mut().chain([&mut first]) {
        assert_eq!(connection.response().text(), "back");
    }
    let told = gate.stderr().into_iter().filter(|line| line.contains("waiting up to")).count();
    assert_eq!(told, 1, "{:#?}", gate.stderr());
}

#[test]
fn a_page_of_ours_in_place_of_a_cached_answer_says_what_the_cache_did() {
    let recorder = Recorder::start(|request, _| match request.target() {
        "/static/slow.css" => Then::Keep,
        _ => Then::Close,
    });
    let gate = recorded(&recorder, |config| config.set("timeouts.read", "\"1s\""));
    for (target, status, expected) in [
        ("/static/slow.css", 504, "farmgate; fwd=uri-miss; detail=timeout"),
        ("/download/gone", 502, "farmgate; fwd=uri-miss; detail=no-answer"),
    ] {
        let answer = gate.http().get(target);
        assert_eq!((answer.status, answer.header("cache-status")), (status, Some(expected)), "{target}");
    }
    // Where the cache has no part in it, there is nothing to say.
    assert_eq!(gate.http().get("/jobset/gone").header("cache-status"), None);
}
