//! What a backend is spared: more requests than it can answer at a time, and one nar compressed for each who asks.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use super::support::config::{Config, HOST};
use super::support::farm::{Farm, recorded};
use super::support::gate::Gate;
use super::support::h2::{H2, Outcome};
use super::support::http1::{Connection, Response, from_address};
use super::support::recorder::{Recorder, Then};
use super::support::scrape::Scrape;
use super::support::tls::TlsClient;
use super::support::{Latch, eventually_true, pattern};

fn ok(tcp: &mut TcpStream) -> Then {
    let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    Then::Keep
}

/// A backend that answers nothing below `/held` before the latch opens, nor the second half of what is below
/// `/nar/held`; and how many requests it was at together at the most.
fn holding(latch: &Latch) -> (Recorder, Arc<AtomicUsize>) {
    let latch = latch.clone();
    let (now, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let together = most.clone();
    let recorder = Recorder::start(move |request, tcp| {
        together.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        if request.target().starts_with("/nar/held") {
            let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
            now.fetch_sub(1, Ordering::SeqCst);
            latch.wait();
            let _ = tcp.write_all(b"cd");
            return Then::Close;
        }
        if request.target().starts_with("/held") {
            latch.wait();
        }
        now.fetch_sub(1, Ordering::SeqCst);
        ok(tcp)
    });
    (recorder, most)
}

fn with_metrics(config: Config) -> Config {
    config.set("metrics.listen", "\"127.0.0.1:0\"")
}

fn client(gate: &Gate, number: u8) -> Connection {
    Connection::over_tcp(from_address([127, 0, 7, number], gate.http_addr()), HOST)
}

/// Sends a request and does not wait for the answer.
fn ask(connection: &mut Connection, target: &str) {
    connection.send(format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
}

fn wait_for_queue(gate: &Gate, waiting: usize) {
    Scrape::once(gate, "a queue", |scrape| scrape.sum("farmgate_backend_waiting", &[]) == waiting as f64);
}

#[test]
fn a_backend_is_asked_no_more_at_a_time_than_the_limit_says_and_everybody_is_answered() {
    let latch = Latch::default();
    let (recorder, most) = holding(&latch);
    let gate = recorded(&recorder, |config| with_metrics(config).set("limits.backend_requests", "3"));
    let mut connections: Vec<Connection> = (0..20).map(|_| gate.http()).collect();
    for (at, connection) in connections.iter_mut().enumerate() {
        ask(connection, &format!("/held/{at}.narinfo"));
    }
    // Over HTTP/2 it is the same queue.
    let mut h2 = H2::connect(&TlsClient::default(), gate.https_addr(), HOST);
    h2.ask(HOST, "/held/h2");
    wait_for_queue(&gate, 18);
    assert_eq!(recorder.requests().len(), 3);
    let ci = &gate.status()["sites"][0]["backends"][1];
    assert_eq!(
        (&ci["role"], &ci["requests"], &ci["waiting"]),
        (&"ci".into(), &21.into(), &18.into()),
        "{ci}"
    );
    latch.open();
    for connection in &mut connections {
        assert_eq!(connection.response().text(), "ok");
    }
    assert!(matches!(h2.answer(), Ok(Outcome::Answer { status: 200, .. })));
    assert_eq!(most.load(Ordering::SeqCst), 3);
    let scrape = Scrape::of(&gate);
    assert_eq!(scrape.sum("farmgate_backend_queue_seconds_count", &[]), 18.0, "{}", scrape.text);
    assert_eq!(scrape.sum("farmgate_backend_refused_total", &[]), 0.0);
    assert_eq!(scrape.sum("farmgate_backend_waiting", &[]), 0.0);
}

#[test]
fn one_clients_many_requests_do_not_hold_up_anothers_one() {
    const MANY: usize = 30;
    let latch = Latch::default();
    let (recorder, _) = holding(&latch);
    let gate = recorded(&recorder, |config| with_metrics(config).set("limits.backend_requests", "1"));
    let mut greedy: Vec<Connection> = (0..MANY).map(|_| client(&gate, 1)).collect();
    for connection in &mut greedy {
        ask(connection, "/held/greedy");
    }
    wait_for_queue(&gate, MANY - 1);
    let mut modest = client(&gate, 2);
    ask(&mut modest, "/held/modest");
    wait_for_queue(&gate, MANY);
    latch.open();
    assert_eq!(modest.response().text(), "ok");
    for connection in &mut greedy {
        assert_eq!(connection.response().text(), "ok");
    }
    let at = recorder.requests().iter().position(|request| request.target() == "/held/modest");
    // Behind the one that was at it, and the one whose turn it was.
    assert!(at.is_some_and(|at| at <= 2), "{at:?}");
}

#[test]
fn when_the_queue_is_full_it_is_the_greediest_who_is_refused_and_that_is_told_once() {
    let latch = Latch::default();
    let (recorder, _) = holding(&latch);
    let gate = recorded(&recorder, |config| {
        with_metrics(config).set("limits.backend_requests", "1").set("limits.backend_queue", "3")
    });
    let mut greedy: Vec<Connection> = (0..4).map(|_| client(&gate, 1)).collect();
    for (waiting, connection) in greedy.iter_mut().enumerate() {
        ask(connection, "/held/greedy");
        wait_for_queue(&gate, waiting);
    }
    let refused = client(&gate, 1).get_with("/held/more", &[("Accept", "text/html")]);
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("retry-after"), Some("10"));
    assert!(refused.text().contains("no room") && !refused.closes(), "{refused:?}");
    let mut modest = client(&gate, 2);
    ask(&mut modest, "/held/modest");
    // The newest of the greedy one's makes room for it.
    assert_eq!(greedy.pop().expect("the last one").response().status, 503);
    latch.open();
    assert_eq!(modest.response().status, 200);
    greedy.iter_mut().for_each(|connection| assert_eq!(connection.response().status, 200));
    let scrape = Scrape::of(&gate);
    assert_eq!(scrape.sum("farmgate_backend_refused_total", &[("backend", "ci")]), 2.0, "{}", scrape.text);
    let told = |what: &str| gate.stderr().iter().filter(|line| line.contains(what)).count();
    assert_eq!((told("more requests than it can answer"), told("503 ")), (1, 0), "{:#?}", gate.stderr());
}

#[test]
fn a_page_that_gets_no_turn_is_a_503_where_a_substitute_waits_on() {
    let latch = Latch::default();
    let (recorder, _) = holding(&latch);
    let gate = recorded(&recorder, |config| {
        with_metrics(config).set("limits.backend_requests", "1").set("timeouts.queue", "\"0s\"")
    });
    let mut first = gate.http();
    ask(&mut first, "/held/first");
    eventually_true("the only slot is taken", || recorder.requests().len() == 1);
    assert_eq!(client(&gate, 1).get("/page").status, 503);
    let mut narinfo = client(&gate, 1);
    ask(&mut narinfo, "/abc.narinfo");
    wait_for_queue(&gate, 1);
    latch.open();
    assert_eq!((narinfo.response().status, first.response().status), (200, 200));
    assert_eq!(client(&gate, 1).get("/page").status, 200, "it recovers by itself");
}

#[test]
fn slow_downloads_keep_nobody_from_looking_things_up_and_one_client_from_no_more_than_its_share() {
    let latch = Latch::default();
    let (recorder, _) = holding(&latch);
    let gate = recorded(&recorder, |config| {
        with_metrics(config).set("limits.backend_requests", "1").set("limits.backend_nars", "8")
    });
    // One in four.
    let mut slow: Vec<Connection> = (0..3).map(|_| client(&gate, 1)).collect();
    for (at, connection) in slow.iter_mut().enumerate() {
        ask(connection, &format!("/nar/held/{at}"));
    }
    wait_for_queue(&gate, 1);
    assert_eq!(client(&gate, 1).get("/abc.narinfo").status, 200);
    let mut other = client(&gate, 2);
    ask(&mut other, "/nar/held/other");
    other.peek_bytes(20).expect("its beginning");
    latch.open();
    for connection in slow.iter_mut().chain([&mut other]) {
        assert_eq!(connection.response().text(), "abcd");
    }
}

#[test]
fn who_waits_for_more_than_its_share_keeps_nobody_from_the_same_nar() {
    let latch = Latch::default();
    let (recorder, _) = holding(&latch);
    let gate = recorded(&recorder, |config| with_metrics(config).set("limits.backend_nars", "8"));
    // One in four: the third waits.
    let mut slow: Vec<Connection> = (0..3).map(|_| client(&gate, 1)).collect();
    for (at, connection) in slow.iter_mut().enumerate() {
        ask(connection, &format!("/nar/held/{at}"));
    }
    wait_for_queue(&gate, 1);
    let mut other = client(&gate, 2);
    ask(&mut other, "/nar/held/2");
    other.peek_bytes(20).expect("its beginning");
    latch.open();
    for connection in slow.iter_mut().chain([&mut other]) {
        assert_eq!(connection.response().text(), "abcd");
    }
}

#[test]
fn a_reload_changes_the_limits_of_those_who_wait_already() {
    let latch = Latch::default();
    let (recorder, _) = holding(&latch);
    let gate = recorded(&recorder, |config| with_metrics(config).set("limits.backend_requests", "1"));
    let mut connections = [gate.http(), gate.http(), gate.http()];
    connections.iter_mut().for_each(|connection| ask(connection, "/held/x"));
    wait_for_queue(&gate, 2);
    gate.rewrite(&gate.config.clone().set("limits.backend_requests", "5"));
    gate.reload();
    eventually_true("all are asked", || recorder.requests().len() == 3);
    latch.open();
    connections.iter_mut().for_each(|connection| assert_eq!(connection.response().status, 200));
}

#[test]
fn a_client_that_gives_up_waiting_is_never_asked_for() {
    let latch = Latch::default();
    let (recorder, _) = holding(&latch);
    let gate = recorded(&recorder, |config| with_metrics(config).set("limits.backend_requests", "1"));
    let mut first = gate.http();
    ask(&mut first, "/held/first");
    eventually_true("the only slot is taken", || recorder.requests().len() == 1);
    let mut gone = gate.http();
    ask(&mut gone, "/held/gone");
    wait_for_queue(&gate, 1);
    drop(gone);
    wait_for_queue(&gate, 0);
    latch.open();
    assert_eq!(first.response().status, 200);
    assert_eq!(gate.http().get("/page").status, 200);
    assert!(recorder.requests().iter().all(|request| request.target() != "/held/gone"));
}

/// Answers from clients that ask for the same once the first one is being answered.
fn all_who_ask(gate: &Gate, target: &str, count: usize) -> Vec<Response> {
    let mut first = gate.http();
    ask(&mut first, target);
    first.peek_bytes(100).expect("its beginning");
    thread::scope(|scope| {
        let others: Vec<_> = (0..count)
            .map(|at| {
                scope.spawn(move || {
                    let mut connection = if at % 2 == 0 { gate.http() } else { gate.https() };
                    connection.get(target)
                })
            })
            .collect();
        let first = std::iter::once(first.response());
        first.chain(others.into_iter().map(|other| other.join().expect("an answer"))).collect()
    })
}

#[test]
fn publish_compresses_a_nar_once_for_all_who_ask_meanwhile() {
    let farm = Farm::start();
    let answers = all_who_ask(&farm.gate, "/nar/compressing/20", 6);
    assert_eq!(answers.len(), 7);
    for answer in answers {
        assert_eq!((answer.status, answer.body), (200, pattern("live", 1024).repeat(20)));
    }
    assert_eq!(farm.publish.requests().len(), 1);
    // What is over is not kept: it is the next one's again.
    assert_eq!(farm.gate.http().get("/nar/compressing/1").body, pattern("live", 1024));
    assert_eq!(farm.gate.http().get("/nar/compressing/1").body, pattern("live", 1024));
    assert_eq!(farm.publish.requests().len(), 3);
}

#[test]
fn a_first_client_that_reads_nothing_holds_up_none_who_want_the_same_live_nar() {
    let body = pattern("live", 3_000_000);
    let sent = body.clone();
    let recorder = Recorder::start(move |_, tcp| {
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        let _ = tcp.write_all(&sent);
        Then::Close
    });
    let gate = recorded(&recorder, |config| config);
    let mut stalled = Connection::over_tcp(super::support::http1::narrow(gate.http_addr()), HOST);
    ask(&mut stalled, "/nar/x");
    eventually_true("it is asked for", || !recorder.requests().is_empty());
    for _ in 0..3 {
        assert!(gate.http().get("/nar/x").body == body);
    }
    assert!(stalled.response().body == body);
}

#[test]
fn who_waits_for_a_nar_asks_when_the_first_one_has_left_before_there_was_a_head() {
    let asked = Arc::new(Mutex::new(0));
    let counter = asked.clone();
    let first_is_held = Latch::default();
    let held = first_is_held.clone();
    let recorder = Recorder::start(move |_, tcp| {
        let number = {
            let mut asked = counter.lock().expect("no panic while locked");
            *asked += 1;
            *asked
        };
        if number == 1 {
            held.wait();
            return Then::Close;
        }
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\n\r\nlive");
        Then::Close
    });
    let gate = recorded(&recorder, |config| config);
    let mut first = gate.http();
    ask(&mut first, "/nar/x");
    eventually_true("it is asked for", || recorder.requests().len() == 1);
    let (mut second, mut third) = (gate.http(), gate.http());
    ask(&mut second, "/nar/x");
    ask(&mut third, "/nar/x");
    // Another nar is another matter, and so is HEAD.
    assert_eq!(gate.http().get("/nar/y").text(), "live");
    assert_eq!(gate.http().request("HEAD", "/nar/x", &[], b"").status, 200);
    assert_eq!(recorder.requests().len(), 3, "the others wait");
    drop(first);
    assert_eq!((second.response().text(), third.response().text()), ("live".into(), "live".into()));
    first_is_held.open();
}

#[test]
fn a_nar_that_publish_has_in_its_cache_is_everybodys_own() {
    let latch = Latch::default();
    let (recorder, _) = holding(&latch);
    let gate = recorded(&recorder, |config| config);
    let mut connections: Vec<Connection> = (0..4).map(|_| gate.http()).collect();
    connections.iter_mut().for_each(|connection| ask(connection, "/nar/held/x"));
    // None of them is done, so nobody has waited for another's end.
    for connection in &mut connections {
        connection.peek_bytes(20).expect("its beginning");
    }
    assert_eq!(recorder.requests().len(), 4);
    latch.open();
    connections.iter_mut().for_each(|connection| assert_eq!(connection.response().text(), "abcd"));
}

#[test]
fn a_live_nar_that_publish_cuts_off_before_its_head_is_asked_for_again() {
    let asked = AtomicUsize::new(0);
    let recorder = Recorder::start(move |_, tcp| {
        if asked.fetch_add(1, Ordering::SeqCst) == 0 {
            return Then::Close;
        }
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\n\r\nlive");
        Then::Close
    });
    let gate = recorded(&recorder, |config| config);
    assert_eq!(gate.http().get("/nar/x").text(), "live");
    assert_eq!(recorder.requests().len(), 2);
}
