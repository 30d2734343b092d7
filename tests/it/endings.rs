//! The last answers on a connection: of a client that has ended its side, that takes its time, or that is there when the
//! gate stops.

use std::io::Write;
use std::thread;
use std::time::Duration;

use super::support::config::{Config, HOST};
use super::support::eventually_true;
use super::support::farm::recorded;
use super::support::gate::Gate;
use super::support::h2::{DATA, END_STREAM, GOAWAY, H2, head};
use super::support::http1::{Connection, slow_line};
use super::support::recorder::{Recorder, Then};
use super::support::tls::TlsClient;

/// As long as it may be on both sides: a slow line's sockets hold about half of three of these, the gate the rest. It is
/// some records of TLS long, and a little: what the gate has gathered of the end is small enough to wait for more.
const LARGE: usize = 4 * 16_128 + 300;
/// For a client that takes nothing at all.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two reads of a slow client. The gate sees every second one, for which it has to be patient.
const PAUSE: Duration = Duration::from_secs(2);
/// Of three large answers, how much it is slow with.
const SLOWLY: usize = 2 * LARGE;

fn body() -> Vec<u8> {
    super::support::pattern("large", LARGE)
}

/// A backend with something large, which is kept.
fn large() -> Recorder {
    Recorder::start(|_, tcp| {
        let head =
            format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: {LARGE}\r\n\r\n");
        let _ = tcp.write_all(&[head.as_bytes(), &body()].concat());
        Then::Close
    })
}

/// A gate that has it at hand, so that it gives it in one piece.
fn at_hand(recorder: &Recorder, change: impl FnOnce(Config) -> Config) -> Gate {
    let gate = recorded(recorder, |config| {
        let patience = format!("\"{}s\"", PATIENCE.as_secs());
        change(config.set("timeouts.send", &patience).set("timeouts.nar", &patience))
    });
    assert!(gate.https().get("/static/large").body == body());
    wait_for_answers(&gate, 1);
    gate
}

/// Waits until `count` answers have been given, as far as those who gave them know.
fn wait_for_answers(gate: &Gate, count: usize) {
    eventually_true("they are given", || gate.access_log("https").len() >= count);
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
}

/// A client on a slow line that has asked for three at once, all of which the gate has given; some of it is still there.
fn given_three(gate: &Gate) -> Connection {
    let stream = TlsClient::default().try_handshake_over(slow_line(gate.https_addr()), HOST);
    let mut client = Connection::over_tls(stream.expect("a handshake"), HOST);
    client.send(get("/static/large").repeat(3));
    wait_for_answers(gate, 1 + 3);
    client
}

/// Takes all three, slowly, and then the clean end.
fn take_three(mut client: Connection) {
    client.read_slowly(SLOWLY, PAUSE).unwrap_or_else(|broken| panic!("not all came: {broken}"));
    for at in 0..3 {
        let answer = client.try_response(false).unwrap_or_else(|broken| panic!("number {at}: {broken}"));
        assert!(answer.status == 200 && answer.body == body(), "number {at}");
    }
    client.closed().unwrap_or_else(|broken| panic!("no clean close: {broken}"));
}

/// Over plain HTTP, and within TLS in both versions.
fn every_way(gate: &Gate) -> [Connection; 3] {
    let over = |version| TlsClient::only(version).connect(gate.https_addr(), HOST);
    [gate.http(), over(&rustls::version::TLS12), over(&rustls::version::TLS13)]
}

#[test]
fn a_batch_whose_client_then_ends_its_side_is_answered_to_the_last_one() {
    const MANY: usize = 50;
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config);
    for mut client in every_way(&gate) {
        client.send(get("/robots.txt").repeat(MANY));
        client.finish_writing();
        for at in 0..MANY {
            let answer = client.try_response(false).unwrap_or_else(|broken| panic!("number {at}: {broken}"));
            assert!(answer.status == 200 && answer.text().contains("Disallow"), "number {at}: {answer:?}");
        }
        client.closed().unwrap_or_else(|broken| panic!("no clean close: {broken}"));
    }
}

#[test]
fn who_ends_its_side_is_answered_by_a_backend_that_takes_its_time_and_so_is_the_rest_of_the_batch() {
    // Longer than it takes to find out that the client has ended its side.
    let recorder = Recorder::start(|request, tcp| {
        thread::sleep(Duration::from_millis(100));
        let body = request.target();
        let _ = tcp
            .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
        Then::Keep
    });
    let gate = recorded(&recorder, |config| config);
    let targets = ["/1.narinfo", "/jobset/2", "/static/3", "/nar/gzip/4", "/5.narinfo"];
    for (round, mut client) in every_way(&gate).into_iter().enumerate() {
        let targets = targets.map(|target| format!("{target}?{round}"));
        client.send(targets.each_ref().map(|target| get(target)).concat());
        client.finish_writing();
        for target in &targets {
            let answer = client.try_response(false).unwrap_or_else(|broken| panic!("{target}: {broken}"));
            assert_eq!(answer.text(), *target);
        }
        client.closed().unwrap_or_else(|broken| panic!("no clean close: {broken}"));
    }
}

#[test]
fn a_slow_client_that_ends_its_side_gets_the_rest() {
    let recorder = large();
    let gate = at_hand(&recorder, |config| config.set("timeouts.nar", "\"60s\""));
    let mut client = given_three(&gate);
    client.finish_writing();
    take_three(client);
}

#[test]
fn a_slow_client_gets_the_rest_on_a_connection_that_counts_as_idle() {
    let recorder = large();
    let gate = at_hand(&recorder, |config| config.set("timeouts.idle", "\"1s\""));
    take_three(given_three(&gate));
}

#[test]
fn a_slow_client_gets_the_rest_from_a_gate_that_stops() {
    let recorder = large();
    let gate = at_hand(&recorder, |config| config.set("timeouts.idle", "\"600s\""));
    let client = given_three(&gate);
    gate.signal("TERM");
    gate.wait_for_stderr("stopping");
    take_three(client);
    assert_eq!(gate.wait_for_exit().code(), Some(0));
    assert!(!gate.stderr().iter().any(|line| line.contains("are cut")), "{:?}", gate.stderr());
}

/// The same over HTTP/2, where all three are asked for, and each frame is a step.
fn take_three_over_http_2(gate: &Gate, before: impl FnOnce()) {
    let mut client = H2::over(&TlsClient::default(), slow_line(gate.https_addr()), HOST);
    client.settle();
    let fields = [(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", "/static/large")];
    let three: Vec<u8> = [1, 3, 5].iter().flat_map(|id| head(*id, END_STREAM, &fields)).collect();
    client.write(&three).expect("ask");
    wait_for_answers(gate, 1 + 3);
    before();
    let (mut bodies, mut ended) = ([const { Vec::new() }; 3], 0);
    while ended < 3 {
        let part = client.await_frame(|frame| frame.kind == DATA).expect("a part");
        ended += usize::from(part.ends());
        bodies[part.stream as usize / 2].extend(part.payload);
        if bodies.iter().map(Vec::len).sum::<usize>() < SLOWLY {
            thread::sleep(PAUSE);
        }
    }
    assert!(bodies.iter().all(|of| *of == body()));
    let goodbye =
        client.await_frame(|frame| frame.kind == GOAWAY && frame.payload[0] == 0).expect("a last word");
    assert_eq!((&goodbye.payload[..4], goodbye.code()), (&[0, 0, 0, 5][..], Some(0)));
    assert_eq!(client.read_frame().expect_err("the end").kind(), std::io::ErrorKind::UnexpectedEof);
}

#[test]
fn a_slow_client_gets_the_rest_on_an_http_2_connection_that_counts_as_idle() {
    let recorder = large();
    let gate = at_hand(&recorder, |config| config.set("timeouts.idle", "\"1s\""));
    take_three_over_http_2(&gate, || {});
}

#[test]
fn a_slow_client_gets_the_rest_from_a_gate_that_stops_over_http_2() {
    let recorder = large();
    let gate = at_hand(&recorder, |config| config.set("timeouts.idle", "\"600s\""));
    take_three_over_http_2(&gate, || {
        gate.signal("TERM");
        gate.wait_for_stderr("stopping");
    });
    assert_eq!(gate.wait_for_exit().code(), Some(0));
    assert!(!gate.stderr().iter().any(|line| line.contains("are cut")), "{:?}", gate.stderr());
}

const HALF: &str = "GET /second HTTP/1.1\r\nHo";

/// Clients of which the gate has half a head: behind a request that was answered, and as the first thing they say.
fn with_half_a_head(gate: &Gate) -> Vec<Connection> {
    let mut clients = vec![gate.http(), gate.https(), gate.http(), gate.https()];
    for client in &mut clients[..2] {
        client.send(get("/first") + HALF);
        assert_eq!(client.response().status, 200);
    }
    for client in &mut clients[2..] {
        client.send(HALF);
    }
    eventually_true("all are taken", || gate.status()["connections"] == clients.len());
    clients
}

#[test]
fn who_has_sent_half_a_head_when_the_gate_stops_is_answered_when_the_rest_comes() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config);
    let clients = with_half_a_head(&gate);
    gate.signal("TERM");
    gate.wait_for_stderr("stopping");
    for mut client in clients {
        client.send(format!("st: {HOST}\r\n\r\n"));
        let answer = client.response();
        assert!(answer.status == 200 && answer.closes(), "{answer:?}");
        client.closed().unwrap_or_else(|broken| panic!("no clean close: {broken}"));
    }
    assert_eq!(gate.wait_for_exit().code(), Some(0));
}

#[test]
fn half_a_head_that_stays_half_when_the_gate_stops_ends_cleanly_and_what_comes_late_is_not_reset() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config.set("limits.header_timeout", "\"600s\""));
    let clients = with_half_a_head(&gate);
    gate.signal("TERM");
    for mut client in clients {
        // Nothing that could be taken for an answer: it asks again elsewhere.
        client.closed().unwrap_or_else(|broken| panic!("no clean close: {broken}"));
        client.send(format!("st: {HOST}\r\n\r\n"));
        client.send(get("/third").repeat(100));
        client.closed().unwrap_or_else(|broken| panic!("no clean close: {broken}"));
    }
    assert_eq!(gate.wait_for_exit().code(), Some(0));
    assert!(
        recorder.requests().iter().all(|request| request.target() == "/first"),
        "{:?}",
        recorder.requests()
    );
}
