//! Clients that are slow on purpose, by the hundred (`slowhttptest`): an ordinary one is served meanwhile.

use std::io::Write;
use std::process::Command;
use std::thread;

use super::support::config::HOST;
use super::support::farm::recorded;
use super::support::gate::Gate;
use super::support::http1::Connection;
use super::support::http1::from_address;
use super::support::recorder::{Recorder, Then};
use super::support::{eventually_true, need, output};

/// Connections of each attack.
const MANY: usize = 400;

fn gate(recorder: &Recorder) -> Gate {
    recorded(recorder, |config| {
        config
            .set("limits.connections_per_client", "1000")
            .set("limits.header_timeout", "\"5s\"")
            .set("timeouts.read", "\"5s\"")
            .set("timeouts.send", "\"5s\"")
            .set("timeouts.nar", "\"5s\"")
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

/// Attacks with `arguments` for some seconds, and asks for pages and lookups all the while. Every one of them is
/// answered, many slow clients are there at once, and none is in the end.
fn attacked(arguments: &[&str], target: &str) {
    if !need("slowhttptest") {
        return;
    }
    let recorder = farm();
    let gate = gate(&recorder);
    let url = format!("http://{}{target}", gate.http_addr());
    let connections = MANY.to_string();
    let mut attack = Command::new("slowhttptest");
    attack.args(arguments).args(["-c", &connections, "-r", &connections, "-l", "6", "-v", "1", "-u", &url]);
    let attack = thread::spawn(move || output(&mut attack));
    let (mut asked, mut most_open) = (0, 0);
    while !attack.is_finished() {
        // From elsewhere, as somebody else would.
        let ordinary = from_address([127, 0, 0, 9], gate.http_addr());
        let mut ordinary = Connection::over_tcp(ordinary, HOST);
        for target in ["/jobset/x", "/1.narinfo", "/search?q=x"] {
            assert_eq!(ordinary.get(target).status, 200, "{target}");
            assert_eq!(gate.https().get(target).status, 200, "{target}");
            asked += 2;
        }
        most_open = most_open.max(gate.status()["connections"].as_u64().unwrap_or_default());
    }
    let said = attack.join().expect("its output");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(most_open as usize > MANY / 2, "only {most_open} were open at once: {said}");
    assert!(asked > 20, "{asked} in all that time");
    eventually_true("the slow ones are gone", || gate.status()["connections"] == 0);
    assert_eq!(gate.http().get("/jobset/x").status, 200);
}

#[test]
fn ordinary_clients_are_served_while_hundreds_send_their_heads_slowly() {
    attacked(&["-H", "-i", "1"], "/");
}

#[test]
fn ordinary_clients_are_served_while_hundreds_send_their_bodies_slowly() {
    attacked(&["-B", "-i", "1", "-s", "8192"], "/jobset/x/hook/evaluate");
}

#[test]
fn ordinary_clients_are_served_while_hundreds_read_slowly() {
    attacked(&["-X", "-n", "1", "-w", "512", "-y", "1024", "-z", "32"], "/nar/gzip/1");
}
