//! The listener for metrics: when it is there, and what it answers.

use std::net::{SocketAddr, TcpListener};

use super::{farm, gate};
use crate::support::config::{Config, HOST, Site};
use crate::support::farm::recorded;
use crate::support::gate::Gate;
use crate::support::http1::Connection;
use crate::support::recorder::Recorder;
use crate::support::scrape::{Scrape, ask};
use crate::support::{Latch, eventually_true, free_port};

#[test]
fn a_reload_moves_opens_and_closes_the_listener() {
    let recorder = farm();
    let gate = recorded(&recorder, |config| config);
    assert!(gate.status()["listen"]["metrics"].is_null());
    let listen = |address: &str| gate.config.clone().set("metrics.listen", &format!("\"{address}\""));
    gate.rewrite(&listen("127.0.0.1:0"));
    gate.reload();
    let first = gate.metrics_addr();
    assert_eq!(Connection::plain(first, HOST).get("/healthz").status, 200);

    let port = free_port();
    gate.rewrite(&listen(&format!("127.0.0.1:{port}")));
    gate.reload();
    gate.wait_for_stderr(&format!("listening metrics 127.0.0.1:{port}"));
    assert_eq!(gate.status()["listen"]["metrics"], format!("127.0.0.1:{port}"));
    let at = |address: SocketAddr| std::net::TcpStream::connect(address).is_ok();
    eventually_true("the first one is closed", || !at(first));

    // One that is taken is refused, and the old one stays.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("a bound socket");
    gate.rewrite(&listen(&address.to_string()));
    let refused = gate.command(&["reload"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("metrics.listen"), "{refused:?}");
    assert!(at(([127, 0, 0, 1], port).into()));

    gate.rewrite(&gate.config.clone());
    gate.reload();
    eventually_true("none is left", || !at(([127, 0, 0, 1], port).into()));
}

#[test]
fn an_address_that_is_taken_is_an_error_at_the_start() {
    let recorder = farm();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("a bound socket");
    let site = Site::new(HOST).publish(&recorder.url());
    let gate = Config::new(site).set("metrics.listen", &format!("\"{address}\"")).spawn();
    assert_eq!(gate.wait_for_exit().code(), Some(1));
    assert!(gate.wait_for_stderr("cannot listen on").contains(&address.to_string()));
}

/// A gate with a download that ends when the latch opens.
fn busy(latch: &Latch, metrics: &str) -> (Gate, Recorder, Connection) {
    let recorder = Recorder::in_two_halves(latch);
    let gate = recorded(&recorder, |config| config.set("metrics.listen", &format!("\"{metrics}\"")));
    let mut download = gate.https();
    download.send(format!("GET /nar/gzip/abc HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    download.peek_bytes(1).expect("a beginning");
    (gate, recorder, download)
}

#[test]
fn readiness_turns_when_the_gate_is_told_to_stop_and_says_why() {
    let latch = Latch::default();
    let (gate, _recorder, mut download) = busy(&latch, "127.0.0.1:0");
    assert_eq!((ask(&gate, "/readyz").status, ask(&gate, "/readyz").text().as_str()), (200, "ready\n"));
    assert_eq!(Scrape::of(&gate).sum("farmgate_ready", &[]), 1.0);
    gate.signal("TERM");
    eventually_true("it is no longer ready", || ask(&gate, "/readyz").status == 503);
    let why = ask(&gate, "/readyz").text();
    assert!(why.starts_with("stopping: no new connections, 1 to finish"), "{why}");
    // It is alive all the same, and can be asked.
    assert_eq!(ask(&gate, "/healthz").status, 200);
    assert_eq!(Scrape::of(&gate).sum("farmgate_ready", &[]), 0.0);
    latch.open();
    assert_eq!(download.response().text(), "abcd");
    assert_eq!(gate.wait_for_exit().code(), Some(0));
}

#[test]
fn the_next_gate_starts_while_the_last_one_finishes_and_then_has_the_address() {
    let latch = Latch::default();
    let address = format!("127.0.0.1:{}", free_port());
    let (first, recorder, mut download) = busy(&latch, &address);
    first.signal("TERM");
    eventually_true("it is stopping", || {
        Connection::plain(address.parse().expect("an address"), HOST).get("/readyz").status == 503
    });
    let second = recorded(&recorder, |config| config.set("metrics.listen", &format!("\"{address}\"")));
    assert!(first.is_running(), "both were there at a time");
    latch.open();
    assert_eq!(download.response().text(), "abcd");
    assert_eq!(first.wait_for_exit().code(), Some(0));
    second.wait_for_stderr(&format!("listening metrics {address}"));
    assert_eq!(ask(&second, "/readyz").text(), "ready\n");
}

#[test]
fn the_listener_has_three_answers_and_takes_no_large_head() {
    let recorder = farm();
    let gate = gate(&recorder);
    for (target, status) in
        [("/healthz", 200), ("/healthz?x", 200), ("/", 404), ("/metrics/", 404), ("/admin", 404)]
    {
        assert_eq!(ask(&gate, target).status, status, "{target}");
    }
    let connect = || Connection::plain(gate.metrics_addr(), HOST);
    assert_eq!(connect().request("POST", "/metrics", &[], b"x").status, 405);
    let head = connect().try_request("HEAD", b"/metrics", &[], b"").expect("an answer");
    assert_eq!((head.status, head.body.len()), (200, 0));
    let large = "x".repeat(64 * 1024);
    match connect().try_request("GET", b"/metrics", &[("X-Large", &large)], b"") {
        Ok(response) => assert_eq!(response.status, 431),
        // It may hang up on what it does not want to read.
        Err(_) => assert_eq!(ask(&gate, "/healthz").status, 200),
    }
    // The public sockets know nothing of it.
    assert_eq!(gate.http().get("/metrics").text(), "/metrics");
}
