//! What a client may take: time for a head, its size, connections.

use std::io::{ErrorKind, Write};
use std::thread;
use std::time::{Duration, Instant};

use super::support::config::HOST;
use super::support::farm::recorded;
use super::support::h2::{H2, Outcome};
use super::support::http1::{Broken, Connection, narrow};
use super::support::recorder::{Recorder, Then};
use super::support::tls::TlsClient;
use super::support::{at_rest, eventually_true, patience};

#[test]
fn a_head_that_trickles_in_is_not_waited_for() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config.set("limits.header_timeout", "\"1s\""));
    let mut connection = gate.http();
    let started = Instant::now();
    connection.wait_at_most(Duration::from_millis(100));
    let bytes = format!("GET /x HTTP/1.1\r\nHost: {HOST}\r\n{}", "X: y\r\n".repeat(1000));
    // One byte every tenth of a second: each arrives in time, all of them never do.
    let outcome = bytes.bytes().find_map(|byte| {
        let sent = connection.try_send(&[byte]);
        match connection.try_response(false) {
            Err(Broken::Silent(_)) if sent.is_ok() => None,
            outcome => Some(outcome),
        }
    });
    match outcome {
        Some(Ok(response)) => assert!(matches!(response.status, 408 | 400), "{response:?}"),
        Some(Err(Broken::Closed | Broken::Reset | Broken::Truncated(_))) => {}
        other => panic!("{other:?}"),
    }
    assert!(started.elapsed() < patience(Duration::from_secs(15)), "{:?}", started.elapsed());
    assert_eq!(recorder.connections(), 0);
}

#[test]
fn a_head_that_is_too_large_is_a_431() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config);
    let mut connection = gate.http();
    let _ = connection.try_send(
        format!("GET /x HTTP/1.1\r\nHost: {HOST}\r\nX: {}\r\n\r\n", "y".repeat(1 << 20)).as_bytes(),
    );
    match connection.try_response(false) {
        Ok(response) => assert!(matches!(response.status, 431 | 400), "{response:?}"),
        Err(broken) => panic!("an answer, not {broken}"),
    }
    assert_eq!(recorder.connections(), 0);
    assert_eq!(gate.http().get("/x").status, 200);
}

#[test]
fn one_client_cannot_have_all_connections() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config.set("limits.connections_per_client", "5"));
    let mut open: Vec<Connection> = (0..5).map(|_| gate.http()).collect();
    for connection in &mut open {
        assert_eq!(connection.get("/x").status, 200);
    }
    let outcome = gate.http().try_request("GET", b"/x", &[], b"");
    assert!(!matches!(&outcome, Ok(response) if response.status == 200), "{outcome:?}");
    for connection in &mut open {
        assert_eq!(connection.get("/x").status, 200, "the others are not harmed");
    }
    drop(open);
    super::support::eventually_true(
        "room again",
        || matches!(gate.http().try_request("GET", b"/x", &[], b""), Ok(response) if response.status == 200),
    );
}

#[test]
fn an_idle_connection_is_closed_cleanly() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config.set("timeouts.idle", "\"1s\""));
    thread::scope(|scope| {
        for mut connection in [gate.http(), gate.https()] {
            scope.spawn(move || {
                assert_eq!(connection.get("/x").status, 200);
                connection.closed().unwrap_or_else(|broken| panic!("no clean close: {broken}"));
            });
        }
    });
}

#[test]
fn a_client_that_does_not_read_costs_nothing_while_it_waits() {
    const MIB: usize = 64;
    let recorder = Recorder::start(|_, tcp| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", MIB << 20);
        let _ = tcp.write_all(head.as_bytes());
        // Until the gate takes no more, and then until it is gone.
        let _ = tcp.write_all(&vec![b'n'; MIB << 20]);
        Then::Close
    });
    let gate = recorded(&recorder, |config| config.set("timeouts.nar", "\"10m\""));
    let mut http1 = gate.https();
    http1.send(format!("GET /nar/gzip/1 HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    let mut http2 = H2::connect(&TlsClient::default(), gate.https_addr(), HOST);
    http2.ask(HOST, "/nar/gzip/2");
    eventually_true("both are being answered", || recorder.requests().len() == 2);
    // A gate that spins never is.
    at_rest("the gate does nothing while nobody reads", || gate.cpu_ticks());
}

#[test]
fn a_client_that_never_reads_is_let_go_though_it_goes_on_asking() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| {
        config
            .set("timeouts.send", "\"1s\"")
            .set("timeouts.nar", "\"1s\"")
            // It is not for being idle that it is let go.
            .set("timeouts.idle", "\"600s\"")
    });
    let mut client = narrow(gate.http_addr());
    client.set_nonblocking(true).expect("non-blocking");
    let batch = format!("HEAD /robots.txt HTTP/1.1\r\nHost: {HOST}\r\n\r\n").repeat(1000).into_bytes();
    let mut sent = 0;
    at_rest("the gate takes no more", || {
        loop {
            match client.write(&batch[sent % batch.len()..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return sent,
                // Let go already.
                Err(_) => return sent,
            }
        }
    });
    eventually_true("its connection is gone", || gate.status()["connections"] == 0);
    drop(client);
    assert_eq!(recorder.connections(), 0);
}

#[test]
fn a_body_that_never_ends_is_not_waited_for_over_http_2() {
    let recorder = Recorder::ok();
    let gate =
        recorded(&recorder, |config| config.set("timeouts.read", "\"1s\"").set("timeouts.idle", "\"600s\""));
    for part in [&b""[..], b"half"] {
        let mut h2 = H2::connect(&TlsClient::default(), gate.https_addr(), HOST);
        h2.begin_post(HOST, "/jobset/x/hook/evaluate");
        if !part.is_empty() {
            h2.send_part(part).expect("send a part");
        }
        match h2.answer() {
            Ok(Outcome::Answer { status: 408, .. }) => {}
            Ok(Outcome::Refused(how)) if how.starts_with("RST_STREAM") => {}
            outcome => panic!("{} bytes: {outcome:?}", part.len()),
        }
        // Others on the same connection are not harmed, and it goes when its client does.
        assert_eq!(h2.request("GET", HOST, b"/x", &[], b"").status(), Some(200));
        drop(h2);
        eventually_true("its connection is gone", || gate.status()["connections"] == 0);
    }
    assert!(recorder.requests().iter().all(|request| request.target() == "/x"), "{:?}", recorder.requests());
}

#[test]
fn a_body_that_never_ends_is_not_waited_for_over_http_1() {
    let recorder = Recorder::ok();
    let gate =
        recorded(&recorder, |config| config.set("timeouts.read", "\"1s\"").set("timeouts.idle", "\"600s\""));
    for mut connection in [gate.http(), gate.https()] {
        connection.send(format!("POST /x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10\r\n\r\nhalf"));
        let response = connection.response();
        assert!(response.status == 408 && response.closes(), "{response:?}");
        connection.closed().unwrap_or_else(|broken| panic!("no clean close: {broken}"));
    }
    assert_eq!(recorder.connections(), 0);
}

#[test]
fn a_head_that_began_with_the_bytes_of_the_request_before_it_is_not_waited_for() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| {
        config.set("limits.header_timeout", "\"1s\"").set("timeouts.idle", "\"600s\"")
    });
    let plain = format!("GET /x HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let with_body = format!("POST /x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 3\r\n\r\na=b");
    for (request, before) in [(&plain, 1), (&plain, 3), (&with_body, 1), (&with_body, 2)] {
        for mut connection in [gate.http(), gate.https()] {
            let whole = request.repeat(before);
            connection.send(format!("{whole}GET /y HTTP/1.1\r\nHo"));
            for _ in 0..before {
                assert_eq!(connection.response().status, 200);
            }
            assert_eq!(connection.response().status, 408);
            connection.closed().unwrap_or_else(|broken| panic!("no clean close: {broken}"));
        }
    }
    assert!(recorder.requests().iter().all(|request| request.target() == "/x"));
}

#[test]
fn a_connection_that_is_idle_after_a_body_is_not_taken_for_one_with_half_a_head() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| {
        config.set("limits.header_timeout", "\"1s\"").set("timeouts.idle", "\"2s\"")
    });
    let head = format!("POST /x HTTP/1.1\r\nHost: {HOST}\r\n");
    for request in [
        format!("{head}Content-Length: 3\r\n\r\na=b"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n3\r\na=b\r\n0\r\n\r\n"),
    ] {
        let mut connection = gate.https();
        connection.send(&request);
        assert_eq!(connection.response().status, 200);
        // At the idle timeout, and without a word: a 408 would be an answer to nothing.
        connection.closed().unwrap_or_else(|broken| panic!("no clean close: {broken}"));
    }
}
