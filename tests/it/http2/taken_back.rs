//! Streams that are reset while they wait for something: the wait is over at once, and what they had is somebody else's.
//! (RFC 9113 section 5.4.2.)

use super::*;
use crate::support::Latch;
use crate::support::http1::Connection;

const KIB: usize = 1024;

/// With `limits` of a key and its value each, and no timeout that could end what a reset should.
fn gate(recorder: &Recorder, limits: &[(&str, &str)]) -> Gate {
    recorded(recorder, |config| {
        let patient = ["read", "send", "nar", "idle"].map(|what| (format!("timeouts.{what}"), "\"600s\""));
        let config = patient.iter().fold(one_worker(config), |config, (key, value)| config.set(key, value));
        limits.iter().fold(config, |config, (key, value)| config.set(key, value))
    })
}

/// A backend that answers what begins with `/held` when the latch opens.
fn holding(latch: &Latch) -> Recorder {
    let latch = latch.clone();
    Recorder::start(move |request, tcp| {
        if request.target().starts_with("/held") {
            latch.wait();
        }
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        Then::Keep
    })
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

fn once(gate: &Gate, what: &str, name: &str, value: usize) {
    Scrape::once(gate, what, |scrape| scrape.sum(name, &[]) == value as f64);
}

fn bodies_wait(gate: &Gate) -> f64 {
    Scrape::of(gate).sum("farmgate_share_waits_total", &[("share", "bodies")])
}

const QUEUE: &str = "farmgate_backend_waiting";
const BODIES: &str = "farmgate_request_bodies_bytes";

#[test]
fn one_that_waits_for_its_turn_leaves_the_queue_and_one_that_is_answered_gives_its_turn_back() {
    let latch = Latch::default();
    let recorder = holding(&latch);
    let gate = gate(&recorder, &[("limits.backend_requests", "1")]);
    let mut h2 = connect(&gate);
    h2.settle();
    h2.write(&head(1, END_STREAM, &get("/held/1"))).expect("ask");
    eventually_true("the only turn is taken", || recorder.requests().len() == 1);
    // One with a body, which is all here, and one without.
    h2.write(&head(3, 0, &post("/never"))).expect("ask");
    h2.write(&frame(DATA, END_STREAM, 3, b"body")).expect("send");
    h2.write(&head(5, END_STREAM, &get("/never"))).expect("ask");
    once(&gate, "both wait", QUEUE, 2);
    once(&gate, "a body is kept", BODIES, 4);
    h2.write(&[reset(3), reset(5)].concat()).expect("take them back");
    once(&gate, "nobody waits", QUEUE, 0);
    once(&gate, "no body is kept", BODIES, 0);
    h2.write(&head(7, END_STREAM, &get("/next"))).expect("ask");
    once(&gate, "the next one waits", QUEUE, 1);
    // The backend is still at it.
    h2.write(&reset(1)).expect("take it back");
    let answer = h2.await_frame(|frame| frame.kind == HEADERS).expect("an answer");
    assert_eq!((answer.stream, answer.status()), (7, Some(200)));
    latch.open();
    assert!(recorder.requests().iter().all(|request| request.target() != "/never"));
}

#[test]
fn a_body_that_is_half_here_gives_its_room_back() {
    let recorder = Recorder::ok();
    let gate = gate(&recorder, &[]);
    let mut h2 = connect(&gate);
    h2.settle();
    h2.write(&head(1, 0, &post("/never"))).expect("ask");
    h2.write(&frame(DATA, 0, 1, &[b'x'; 10 * KIB])).expect("send");
    once(&gate, "it is kept", BODIES, 10 * KIB);
    h2.write(&reset(1)).expect("take it back");
    once(&gate, "it is not", BODIES, 0);
    gate.wait_for_access("https", "\" 499 ");
    h2.write(&head(3, END_STREAM, &get("/x"))).expect("ask");
    assert_eq!(h2.await_frame(|frame| frame.stream == 3).expect("an answer").status(), Some(200));
    assert_eq!(recorder.requests().len(), 1);
}

/// Room for 128 KiB of bodies, half of which is a reserve that one has at a time.
fn with_little_room(recorder: &Recorder) -> Gate {
    gate(recorder, &[("limits.body", "\"64KiB\""), ("limits.bodies", "\"128KiB\"")])
}

/// Takes all the room there is, of which `taken` is somebody's already; who has it. One has the reserve.
fn fill(gate: &Gate, taken: usize) -> [Connection; 2] {
    let half = |length: usize| {
        let mut client = gate.http();
        client.send(format!("POST /large HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n"));
        client
    };
    let (mut first, mut second) = (half(50 * KIB + 1), half(30 * KIB + 1));
    first.send(vec![b'x'; 50 * KIB]);
    once(gate, "most of it is taken", BODIES, taken + 50 * KIB);
    second.send(vec![b'x'; 14 * KIB - taken]);
    once(gate, "all but the reserve is", BODIES, 64 * KIB);
    second.send(vec![b'x'; 16 * KIB + taken]);
    once(gate, "all of it is", BODIES, 80 * KIB + taken);
    [first, second]
}

/// The two are answered when they come to their end.
fn finish(gate: &Gate, clients: [Connection; 2]) {
    let mut clients = clients.map(|mut client| {
        client.send("x");
        client
    });
    assert!(clients.iter_mut().all(|client| client.response().status == 200));
    once(gate, "all of it is free", BODIES, 0);
}

#[test]
fn a_body_that_waits_for_room_waits_no_more_and_gives_back_what_it_had() {
    let recorder = Recorder::ok();
    let gate = with_little_room(&recorder);
    let mut h2 = connect(&gate);
    h2.settle();
    h2.write(&head(1, 0, &post("/never"))).expect("ask");
    h2.write(&frame(DATA, 0, 1, &[b'x'; 3 * KIB])).expect("send");
    once(&gate, "a part has room", BODIES, 3 * KIB);
    let clients = fill(&gate, 3 * KIB);
    h2.write(&frame(DATA, 0, 1, &[b'x'; KIB])).expect("send");
    eventually_true("the next one waits", || bodies_wait(&gate) == 1.0);
    h2.write(&reset(1)).expect("take it back");
    gate.wait_for_access("https", "\" 499 ");
    once(&gate, "what it had is free", BODIES, 80 * KIB);
    h2.write(&head(3, END_STREAM, &get("/x"))).expect("ask");
    assert_eq!(h2.await_frame(|frame| frame.stream == 3).expect("an answer").status(), Some(200));
    finish(&gate, clients);
    assert!(recorder.requests().iter().all(|request| request.target() != "/never"));
}

#[test]
fn a_body_that_waits_for_room_waits_no_more_when_its_client_has_left_over_http_1() {
    let recorder = Recorder::ok();
    let gate = with_little_room(&recorder);
    let clients = fill(&gate, 0);
    for (at, mut client) in [gate.http(), gate.https()].into_iter().enumerate() {
        // As much as is read in one go: the end would stand behind the rest.
        client.send(format!("POST /never HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 9\r\n\r\nsome"));
        eventually_true("it waits", || bodies_wait(&gate) == 1.0 + at as f64);
        drop(client);
        gate.wait_for_access(["http", "https"][at], "\" 499 ");
    }
    once(&gate, "what others have is theirs", BODIES, 80 * KIB);
    finish(&gate, clients);
    assert!(recorder.requests().iter().all(|request| request.target() != "/never"));
}

#[test]
fn rfc_9113_section_6_9_what_waits_for_room_takes_no_more_than_the_connection_s_window() {
    let recorder = Recorder::ok();
    let gate = with_little_room(&recorder);
    let clients = fill(&gate, 0);
    let mut h2 = connect(&gate);
    h2.settle();
    // Nothing of it is read before there is room. Each has a window of its own, all of them together have one.
    let bodies: Vec<u8> = (0..3)
        .flat_map(|at| {
            [head(2 * at + 1, 0, &post("/never")), frame(DATA, 0, 2 * at + 1, &[b'x'; 16 * KIB])].concat()
        })
        .collect();
    h2.write(&bodies).expect("send");
    eventually_true("they wait", || bodies_wait(&gate) == 3.0);
    let more = frame(DATA, 0, 1, &[b'x'; 15 * KIB]);
    h2.write(&more).expect("send");
    h2.write(&frame(PING, 0, 0, &[7; 8])).expect("ask whether that was well");
    h2.await_frame(|frame| frame.kind == PING && frame.flags & ACK != 0).expect("it was");
    h2.write(&more).expect("send");
    let end = h2.await_frame(|frame| frame.kind == GOAWAY).expect("the end");
    assert_eq!(end.code(), Some(FLOW_CONTROL_ERROR));
    finish(&gate, clients);
    assert!(recorder.requests().iter().all(|request| request.target() != "/never"));
}

#[test]
fn one_that_waits_for_its_client_to_take_something_is_over() {
    let recorder = Recorder::start(|_, tcp| {
        let body = vec![b'n'; 1 << 20];
        let _ =
            tcp.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes());
        let _ = tcp.write_all(&body);
        Then::Close
    });
    let gate = gate(&recorder, &[("limits.backend_nars", "1")]);
    let tcp = std::net::TcpStream::connect(gate.https_addr()).expect("connect");
    // The window is closed.
    let mut h2 = H2::with_settings(&TlsClient::default(), tcp, HOST, &[(1, 0), (4, 0)]);
    h2.settle();
    h2.write(&head(1, END_STREAM, &get("/nar/gzip/1"))).expect("ask");
    h2.await_frame(|frame| frame.stream == 1 && frame.kind == HEADERS).expect("a head");
    h2.write(&reset(1)).expect("take it back");
    gate.wait_for_access("https", "/nar/gzip/1");
    assert_eq!(gate.http().get("/nar/gzip/2").body.len(), 1 << 20);
}
