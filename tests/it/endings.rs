//! The last answers on a connection: of a client that has ended its side, that takes its time, or that is there when the
//! gate stops.

use std::io::Write;
use std::thread;
use std::time::Duration;

use super::support::config::{Config, HOST};
use super::support::farm::recorded;
use super::support::gate::Gate;
use super::support::h2::{DATA, END_STREAM, GOAWAY, H2, head};
use super::support::http1::{Connection, slow_line};
use super::support::recorder::{Recorder, Then};
use super::support::tls::TlsClient;
use super::support::{at_rest, eventually_true, pattern};

/// What the gate puts into a record of TLS.
const RECORD: usize = 16_128;
/// For a client that takes nothing at all.
const PATIENCE: Duration = Duration::from_secs(20);
/// Until a slow client takes anything: longer than a gate that has no patience waits in all. From then on the kernel's
/// buffers grow, and hold all that was here.
const AT_FIRST: Duration = Duration::from_secs(12);
/// Then between two reads, each of which brings a record: longer in all than the gate reads on when it is done.
const PAUSE: Duration = Duration::from_millis(2500);
/// How much it is slow with.
const SLOWLY: usize = 3 * RECORD;
/// Over HTTP/2, where the gate has room for more.
const MANY: usize = 6;

/// A gate that has something large at hand, so that it gives it in one piece, and how it is asked for.
struct AtHand {
    gate: Gate,
    target: String,
    body: Vec<u8>,
}

impl AtHand {
    fn new(change: impl FnOnce(Config) -> Config) -> AtHand {
        // The last part of a target says how long its answer is.
        let recorder = Recorder::start(|request, tcp| {
            let size: usize =
                request.target().rsplit('/').next().and_then(|text| text.parse().ok()).unwrap_or(0);
            let head =
                format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: {size}\r\n\r\n");
            let _ = tcp.write_all(&[head.as_bytes(), &pattern("large", size)].concat());
            Then::Close
        });
        let gate = recorded(&recorder, |config| {
            let patience = format!("\"{}s\"", PATIENCE.as_secs());
            change(config.set("timeouts.send", &patience).set("timeouts.nar", &patience))
        });
        // With its head it fills three records, but for a few bytes that are left of each and gathered. They are too few to
        // be sent for their own sake, so that the gate is done with the answer before the client has taken it.
        let answers = [(); 2].map(|()| gate.https().get("/static/48000"));
        let head: usize = answers[1].headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        let size = 3 * RECORD + 40 - head - "HTTP/1.1 200 OK\r\n\r\n".len();
        let target = format!("/static/{size}");
        let body = gate.https().get(&target).body;
        assert!(body == pattern("large", size));
        eventually_true("they are logged", || gate.access_log("https").len() == 3);
        AtHand { gate, target, body }
    }

    /// A connection on a slow line that has asked for as many of the large answers as the gate can be done with before any
    /// of them is taken, and how many they are. Most of what there is room for is in the gate.
    fn given_over_tls(&self) -> (Connection, usize) {
        let given_to = |count: usize| {
            let before = self.gate.access_log("https").len();
            let stream = TlsClient::default().try_handshake_over(slow_line(self.gate.https_addr()), HOST);
            let mut client = Connection::over_tls(stream.expect("a handshake"), HOST);
            client.send(get(&self.target).repeat(count));
            let given = at_rest("no more is given", || self.gate.access_log("https").len()) - before;
            (client, given)
        };
        let most = given_to(12).1;
        assert!((3..12).contains(&most), "{most} were given");
        // Its client has left by now, and so the one that it was at ends as well.
        at_rest("that one is logged", || self.gate.access_log("https").len());
        let (client, given) = given_to(most);
        if given == most {
            return (client, most);
        }
        let (client, given) = given_to(most - 1);
        assert_eq!(given, most - 1);
        (client, given)
    }

    /// Takes all of them, slowly, and then the clean end.
    fn take(&self, (mut client, count): (Connection, usize)) {
        thread::sleep(AT_FIRST);
        client.read_slowly(SLOWLY, PAUSE).unwrap_or_else(|broken| panic!("not all came: {broken}"));
        for at in 0..count {
            let answer = client.try_response(false).unwrap_or_else(|broken| panic!("number {at}: {broken}"));
            assert!(answer.status == 200 && answer.body == self.body, "number {at}");
        }
        client.closed().unwrap_or_else(|broken| panic!("no clean close: {broken}"));
    }

    /// The same over HTTP/2: the streams are done with many more. These are what there is room for behind them.
    fn given_over_http_2(&self) -> H2 {
        let before = self.gate.access_log("https").len();
        let mut client = H2::over(&TlsClient::default(), slow_line(self.gate.https_addr()), HOST);
        client.settle();
        let fields =
            [(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", &self.target)];
        let all: Vec<u8> = (0..MANY as u32).flat_map(|at| head(2 * at + 1, END_STREAM, &fields)).collect();
        client.write(&all).expect("ask");
        eventually_true("they are given", || self.gate.access_log("https").len() == before + MANY);
        client
    }

    /// Takes all of them, slowly, a frame at each step, and then the end of the connection.
    fn take_over_http_2(&self, mut client: H2) {
        thread::sleep(AT_FIRST);
        let (mut bodies, mut ended) = ([const { Vec::new() }; MANY], 0);
        while ended < MANY {
            let part = client.await_frame(|frame| frame.kind == DATA).expect("a part");
            ended += usize::from(part.ends());
            bodies[part.stream as usize / 2].extend(part.payload);
            if bodies.iter().map(Vec::len).sum::<usize>() < SLOWLY {
                thread::sleep(PAUSE);
            }
        }
        assert!(bodies.iter().all(|body| *body == self.body));
        let last_word = client.await_frame(|frame| frame.kind == GOAWAY && frame.payload[0] == 0);
        let last_word = last_word.expect("a last word");
        let last_id = (2 * MANY - 1) as u8;
        assert_eq!((&last_word.payload[..4], last_word.code()), (&[0, 0, 0, last_id][..], Some(0)));
        assert_eq!(client.read_frame().expect_err("the end").kind(), std::io::ErrorKind::UnexpectedEof);
    }

    fn stop(&self) {
        self.gate.signal("TERM");
        self.gate.wait_for_stderr("stopping");
    }

    fn assert_stopped(self) {
        assert_eq!(self.gate.wait_for_exit().code(), Some(0));
        assert!(!self.gate.stderr().iter().any(|line| line.contains("are cut")), "{:?}", self.gate.stderr());
    }
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
}

/// Over plain HTTP, and within TLS in both versions.
fn every_way(gate: &Gate) -> [Connection; 3] {
    let over = |version| TlsClient::only(version).connect(gate.https_addr(), HOST);
    [gate.http(), over(&rustls::version::TLS12), over(&rustls::version::TLS13)]
}

#[test]
fn a_batch_whose_client_then_ends_its_side_is_answered_to_the_last_one() {
    const BATCH: usize = 50;
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config);
    for mut client in every_way(&gate) {
        client.send(get("/robots.txt").repeat(BATCH));
        client.finish_writing();
        for at in 0..BATCH {
            let answer = client.try_response(false).unwrap_or_else(|broken| panic!("number {at}: {broken}"));
            assert!(answer.status == 200 && answer.text().contains("Disallow"), "number {at}: {answer:?}");
        }
        client.closed().unwrap_or_else(|broken| panic!("no clean close: {broken}"));
    }
}

#[test]
fn a_client_that_has_its_answer_and_ends_its_side_is_told_that_this_is_the_end() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config);
    for mut client in every_way(&gate) {
        assert_eq!(client.get("/robots.txt").status, 200);
        client.finish_writing();
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
    let at_hand = AtHand::new(|config| config.set("timeouts.nar", "\"60s\""));
    let mut given = at_hand.given_over_tls();
    given.0.finish_writing();
    at_hand.take(given);
}

#[test]
fn a_slow_client_gets_the_rest_on_a_connection_that_counts_as_idle() {
    let at_hand = AtHand::new(|config| config.set("timeouts.idle", "\"1s\""));
    at_hand.take(at_hand.given_over_tls());
}

#[test]
fn a_slow_client_gets_the_rest_from_a_gate_that_stops() {
    let at_hand = AtHand::new(|config| config.set("timeouts.idle", "\"600s\""));
    let given = at_hand.given_over_tls();
    at_hand.stop();
    at_hand.take(given);
    at_hand.assert_stopped();
}

#[test]
fn a_slow_client_gets_the_rest_on_an_http_2_connection_that_counts_as_idle() {
    let at_hand = AtHand::new(|config| config.set("timeouts.idle", "\"1s\""));
    at_hand.take_over_http_2(at_hand.given_over_http_2());
}

#[test]
fn a_slow_client_gets_the_rest_from_a_gate_that_stops_over_http_2() {
    let at_hand = AtHand::new(|config| config.set("timeouts.idle", "\"600s\""));
    let given = at_hand.given_over_http_2();
    at_hand.stop();
    at_hand.take_over_http_2(given);
    at_hand.assert_stopped();
}

#[test]
fn who_still_takes_the_last_answer_may_go_on_sending_and_gets_all_of_it() {
    // The kernel has room for it, and the gate is done with it at once.
    const SIZE: usize = 60_000;
    let recorder = Recorder::start(|_, tcp| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
        let _ = tcp.write_all(&[head.as_bytes(), &pattern("last", SIZE)].concat());
        Then::Close
    });
    let gate = recorded(&recorder, |config| config);
    let mut client = Connection::over_tcp(slow_line(gate.http_addr()), HOST);
    client.send(format!("GET /nar/x HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"));
    thread::sleep(AT_FIRST);
    // What a reset would be the answer to.
    client.send(get("/late"));
    client.read_slowly(8 * 1024, PAUSE).unwrap_or_else(|broken| panic!("not all came: {broken}"));
    let answer = client.response();
    assert!(answer.closes() && answer.body == pattern("last", SIZE));
    client.closed().unwrap_or_else(|broken| panic!("no clean close: {broken}"));
    assert!(recorder.requests().iter().all(|request| request.target() != "/late"));
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
