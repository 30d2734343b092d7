//! Clients that are slow on purpose, by the hundred (`slowhttptest`): an ordinary one is served meanwhile.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use super::support::config::HOST;
use super::support::farm::recorded;
use super::support::gate::Gate;
use super::support::http1::Connection;
use super::support::http1::from_address;
use super::support::recorder::{Recorder, Then};
use super::support::{SOON, eventually, need};

/// Connections of each attack.
const MANY: usize = 400;

fn gate(recorder: &Recorder) -> Gate {
    recorded(recorder, |config| {
        config
            .set("limits.connections_per_client", "1000")
            .set("limits.header_timeout", "\"8s\"")
            .set("timeouts.read", "\"8s\"")
            .set("timeouts.send", "\"8s\"")
            .set("timeouts.nar", "\"8s\"")
            // Most of those who read slowly get no turn for a nar, and are idle then.
            .set("timeouts.idle", "\"8s\"")
    })
}

/// Pages, and nars that no socket's buffer holds.
fn farm() -> Recorder {
    let nar = vec![b'n'; 8 << 20];
    Recorder::start(move |request, tcp| {
        let body = if request.target().starts_with("/nar") { &nar[..] } else { b"ok" };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let _ = tcp.write_all(head.as_bytes()).and_then(|()| tcp.write_all(body));
        if request.header("connection") == Some("close") { Then::Close } else { Then::Keep }
    })
}

/// Attacks with `arguments`, and asks for pages and lookups meanwhile. Every one of them is answered while the slow
/// clients are there, who are let go in the end, though they are still at it.
fn attacked(arguments: &[&str], target: &str) {
    if !need("slowhttptest") {
        return;
    }
    let recorder = farm();
    let gate = gate(&recorder);
    let url = format!("http://{}{target}", gate.http_addr());
    let connections = MANY.to_string();
    let mut attack = Command::new("slowhttptest");
    // As long as it takes: what ends it is this test.
    attack.args(arguments).args(["-c", &connections, "-r", &connections, "-l", "600", "-v", "1", "-u", &url]);
    let attack = Attack(attack.stdout(Stdio::null()).spawn().expect("slowhttptest"));
    let open = || gate.status()["connections"].as_u64().unwrap_or_default() as usize;
    let mut served_beside = 0;
    eventually("the slow ones are there, and others are served beside them", SOON * 3, || {
        let many_before = open();
        // From elsewhere, as somebody else would.
        let ordinary = from_address([127, 0, 0, 9], gate.http_addr());
        let mut ordinary = Connection::over_tcp(ordinary, HOST);
        for target in ["/jobset/x", "/1.narinfo", "/search?q=x"] {
            assert_eq!(ordinary.get(target).status, 200, "{target}");
            assert_eq!(gate.https().get(target).status, 200, "{target}");
        }
        served_beside += if many_before > MANY / 2 { 6 } else { 0 };
        (served_beside >= 18).then_some(())
    });
    eventually("the slow ones are let go", SOON * 3, || (open() == 0).then_some(()));
    assert_eq!(gate.http().get("/jobset/x").status, 200);
    drop(attack);
}

/// A program that is ended with the test.
struct Attack(Child);

impl Drop for Attack {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn ordinary_clients_are_served_while_hundreds_send_their_heads_slowly() {
    attacked(&["-H", "-i", "1"], "/");
}

#[test]
fn ordinary_clients_are_served_while_hundreds_send_their_bodies_slowly() {
    attacked(&["-B", "-i", "12", "-s", "8192"], "/jobset/x/hook/evaluate");
}

#[test]
fn ordinary_clients_are_served_while_hundreds_read_slowly() {
    attacked(&["-X", "-n", "1", "-w", "512", "-y", "1024", "-z", "32"], "/nar/gzip/1");
}
