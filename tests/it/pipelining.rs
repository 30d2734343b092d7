//! A client that writes 1000 narinfo requests in one go gets 1000 answers, in order, on one connection.

use std::io::Write;

use super::support::config::HOST;
use super::support::farm::{Farm, recorded};
use super::support::guix_client::{Way, assert_right, hashes, multiple_get, narinfos};
use super::support::http1::{Connection, Framing};
use super::support::recorder::{Recorder, Then};
use super::support::tls::TlsClient;
use super::support::{Latch, pattern};

#[test]
fn a_thousand_narinfos_come_in_order_on_one_connection_over_http() {
    let farm = Farm::start();
    let hashes = hashes(1000);
    let report = narinfos(&Way::Http(farm.gate.http_addr()), &hashes);
    assert_right(&report, &hashes);
    assert_eq!((report.connections, report.surprises), (1, vec![]));
}

#[test]
fn a_thousand_narinfos_come_in_order_on_one_connection_over_https() {
    let farm = Farm::start();
    let hashes = hashes(1000);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let way = Way::Https(farm.gate.https_addr(), Box::new(TlsClient::only(version)));
        let report = narinfos(&way, &hashes);
        assert_right(&report, &hashes);
        assert_eq!((report.connections, report.surprises), (1, vec![]), "{version:?}");
    }
}

#[test]
fn several_batches_follow_each_other_on_one_connection() {
    let farm = Farm::start();
    let mut connection = farm.gate.https();
    for round in 0..3 {
        let hashes: Vec<String> = hashes(400).iter().map(|hash| format!("{round}{}", &hash[1..])).collect();
        let batch: String = hashes
            .iter()
            .map(|hash| format!("GET /{hash}.narinfo HTTP/1.1\r\nHost: {HOST}\r\n\r\n"))
            .collect();
        connection.send(batch);
        for hash in hashes {
            let response = connection.response();
            assert!(response.text().contains(&hash), "{hash}: {response:?}");
            assert!(!response.closes());
        }
    }
}

#[test]
fn absent_and_baking_narinfos_among_the_others_keep_their_headers() {
    let farm = Farm::start();
    let targets: Vec<String> = (0..300)
        .map(|at| match at % 3 {
            0 => format!("/{at:032}.narinfo"),
            1 => format!("/missing{at:025}.narinfo"),
            _ => format!("/baking{at:026}.narinfo"),
        })
        .collect();
    let report = multiple_get(&Way::https(farm.gate.https_addr()), &targets);
    assert_eq!(report.connections, 1, "{:?}", report.surprises);
    for (at, answer) in report.answers.iter().enumerate() {
        assert_eq!(answer.framing, Framing::Length, "{:?}", answer.headers);
        let age = if at % 3 == 0 { "max-age=7200" } else { "max-age=300" };
        assert_eq!(answer.status, if at % 3 == 0 { 200 } else { 404 });
        assert_eq!(answer.header("cache-control"), Some(age), "{}", targets[at]);
        assert_eq!(answer.header("x-baking"), (at % 3 == 2).then_some("1"), "{}", targets[at]);
        assert_eq!(answer.header("content-encoding"), None);
    }
}

#[test]
fn requests_of_every_kind_are_answered_in_the_order_they_were_written() {
    let farm = Farm::start();
    let host = format!("Host: {HOST}\r\n");
    let mut connection = farm.gate.https();
    connection.send(format!(
        "GET /abc.narinfo HTTP/1.1\r\n{host}\r\n\
         HEAD /static/x.css HTTP/1.1\r\n{host}\r\n\
         POST /jobset/x/hook/evaluate HTTP/1.1\r\n{host}Content-Length: 3\r\n\r\na=1\
         GET /nar/gzip/abc HTTP/1.1\r\n{host}\r\n\
         GET /admin HTTP/1.1\r\n{host}\r\n\
         GET /download/7 HTTP/1.1\r\n{host}\r\n\
         POST /jobset/y/hook/evaluate HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n3\r\na=1\r\n0\r\n\r\n\
         GET /nar/live/abc HTTP/1.1\r\n{host}\r\n\
         GET /robots.txt HTTP/1.1\r\n{host}\r\n\
         GET /nix-cache-info HTTP/1.1\r\n{host}\r\n"
    ));
    let mut next = |to_head| connection.try_response(to_head).unwrap_or_else(|broken| panic!("{broken}"));
    assert!(next(false).text().starts_with("StorePath"));
    assert_eq!(next(true).status, 200);
    assert_eq!(next(false).text(), "ok");
    assert_eq!(next(false).body, pattern("abc", 65536));
    assert_eq!(next(false).status, 403);
    assert_eq!(next(false).body, pattern("7", 50000));
    assert_eq!(next(false).text(), "ok");
    assert_eq!(next(false).body, pattern("abc", 20000));
    assert!(next(false).text().contains("Disallow"));
    assert!(next(false).text().starts_with("StoreDir"));
    assert_eq!(farm.cuirass.actions(), ["evaluate x 3", "evaluate y 3"]);
}

#[test]
fn nothing_is_pipelined_to_a_backend() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config);
    for way in [Way::Http(gate.http_addr()), Way::https(gate.https_addr())] {
        let targets: Vec<String> = (0..300).map(|at| format!("/{at:032}.narinfo")).collect();
        let report = multiple_get(&way, &targets);
        assert_eq!(report.connections, 1);
    }
    assert_eq!(recorder.requests().len(), 600);
    assert_eq!(recorder.pipelined(), 0);
}

/// The client has written everything before it reads: whoever closes must say so, and drain what is still coming, or the
/// reset takes the answers with it.
fn assert_closes_lingering(mut connection: Connection, middle: &str, status: u16) {
    let narinfo = |at: usize| format!("GET /{at:032}.narinfo HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let mut batch: String = (0..500).map(narinfo).collect();
    batch.push_str(middle);
    batch.extend((501..1000).map(narinfo));
    connection.send(batch);
    for at in 0..500 {
        let response = connection.response();
        assert_eq!((response.status, response.closes()), (200, false), "{at}");
        assert!(response.text().contains(&format!("{at:032}")));
    }
    let last = connection.response();
    assert_eq!(last.status, status, "{last:?}");
    assert!(
        last.headers.iter().any(|(name, value)| name.eq_ignore_ascii_case("connection") && value == "close"),
        "exactly `Connection: close`: {:?}",
        last.headers
    );
    connection.closed().unwrap_or_else(|broken| panic!("not a clean close: {broken}"));
}

#[test]
fn a_close_asked_for_in_the_middle_of_a_batch_loses_no_answer() {
    let farm = Farm::start();
    let middle = format!("GET /{:032}.narinfo HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n", 500);
    assert_closes_lingering(farm.gate.http(), &middle, 200);
    assert_closes_lingering(farm.gate.https(), &middle, 200);
}

#[test]
fn a_request_that_is_none_in_the_middle_of_a_batch_loses_no_answer() {
    let farm = Farm::start();
    let middle = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: x\r\n\r\n");
    assert_closes_lingering(farm.gate.http(), &middle, 400);
    assert_closes_lingering(farm.gate.https(), &middle, 400);
}

#[test]
fn a_body_that_is_too_large_in_the_middle_of_a_batch_loses_no_answer() {
    let farm = Farm::with(|config| config.set("limits.body", "\"1KiB\""));
    let post = "POST /jobset/x/hook/evaluate HTTP/1.1";
    let middle = format!("{post}\r\nHost: {HOST}\r\nContent-Length: 200000\r\n\r\n{}", "x".repeat(200_000));
    assert_closes_lingering(farm.gate.http(), &middle, 413);
    assert_closes_lingering(farm.gate.https(), &middle, 413);
    assert_eq!(farm.cuirass.actions(), Vec::<String>::new());
}

#[test]
fn ten_clients_with_a_batch_each_are_all_served() {
    let farm = Farm::start();
    std::thread::scope(|scope| {
        for client in 0..10 {
            let address = farm.gate.https_addr();
            scope.spawn(move || {
                let hashes: Vec<String> =
                    hashes(200).iter().map(|hash| format!("{client}{}", &hash[1..])).collect();
                let report = narinfos(&Way::https(address), &hashes);
                assert_right(&report, &hashes);
                assert_eq!(report.connections, 1, "{:?}", report.surprises);
            });
        }
    });
}

#[test]
fn an_answer_is_not_held_back_by_a_slow_one_behind_it() {
    let latch = Latch::default();
    let recorder = Recorder::start({
        let latch = latch.clone();
        move |request, tcp| {
            if request.target().starts_with("/slow") {
                latch.wait();
            }
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}", &request.target()[1..4]);
            let _ = tcp.write_all(answer.as_bytes());
            Then::Keep
        }
    });
    // It is not for an error of the slow one that the others come.
    let gate = recorded(&recorder, |config| config.set("timeouts.read", "\"600s\""));
    let narinfo = |name: &str| format!("GET /{name}.narinfo HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let mut waiting = Vec::new();
    for more in [0, 1, 400] {
        for mut connection in [gate.http(), gate.https()] {
            connection
                .send(narinfo("one") + &narinfo("two") + &narinfo("slow") + &narinfo("end").repeat(more));
            assert_eq!(connection.response().text(), "one", "{more} more behind it");
            assert_eq!(connection.response().text(), "two", "{more} more behind it");
            waiting.push((connection, more));
        }
    }
    latch.open();
    for (mut connection, more) in waiting {
        assert_eq!(connection.response().text(), "slo");
        for at in 0..more {
            assert_eq!(connection.response().text(), "end", "{at} of {more}");
        }
    }
}
