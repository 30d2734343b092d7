//! What clients may take of what all of them share: the line, the UI's time, memory, and connections that last.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::support::config::{Config, HOST, Site};
use super::support::farm::{Farm, recorded};
use super::support::gate::Gate;
use super::support::guix_client::{Way, assert_right, hashes, narinfos};
use super::support::h2::{H2, Outcome};
use super::support::http1::{Connection, from_address};
use super::support::recorder::{Recorder, Then};
use super::support::scrape::Scrape;
use super::support::tls::TlsClient;
use super::support::{Latch, eventually, eventually_true, pattern};

const MIB: usize = 1 << 20;
/// Clients with addresses of their own.
const ONE: [u8; 4] = [127, 0, 0, 2];
const TWO: [u8; 4] = [127, 0, 0, 3];

/// Nars that take long, and small answers for pages and lookups.
fn endless() -> Recorder {
    let nar = vec![b'n'; 64 * MIB];
    farm(move |_| nar.clone())
}

/// What is large as `body` has it, and small answers for some pages and lookups.
fn farm(body: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Recorder {
    Recorder::start(move |request, tcp| {
        let is_small = ["/jobset", "/search"].iter().any(|page| request.target().starts_with(page))
            || request.target().ends_with(".narinfo");
        let body = if is_small { b"small".to_vec() } else { body(request.target()) };
        let head =
            format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: {}\r\n\r\n", body.len());
        let _ = tcp.write_all(head.as_bytes()).and_then(|()| tcp.write_all(&body));
        if request.header("connection") == Some("close") { Then::Close } else { Then::Keep }
    })
}

fn with_metrics(config: Config) -> Config {
    config.set("metrics.listen", "\"127.0.0.1:0\"")
}

fn waits(gate: &Gate, share: &str) -> f64 {
    Scrape::of(gate).sum("farmgate_share_waits_total", &[("share", share)])
}

fn refused(gate: &Gate, reason: &str) -> f64 {
    Scrape::of(gate).sum("farmgate_requests_refused_total", &[("reason", reason)])
}

/// Asks for `target` from `address`, and counts what comes of the answer.
fn download(gate: &Gate, address: [u8; 4], target: &str) -> Arc<AtomicU64> {
    let mut tcp = from_address(address, gate.http_addr());
    tcp.write_all(format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).expect("ask");
    let count = Arc::new(AtomicU64::new(0));
    let counted = count.clone();
    thread::spawn(move || read_on(tcp, &counted));
    count
}

/// Reads to the end, which comes with that of the gate at the latest.
fn read_on(mut tcp: TcpStream, counted: &AtomicU64) {
    let mut buffer = vec![0; 65_536];
    while let Ok(count @ 1..) = tcp.read(&mut buffer) {
        counted.fetch_add(count as u64, Ordering::SeqCst);
    }
}

fn sum(counts: &[Arc<AtomicU64>]) -> u64 {
    counts.iter().map(|count| count.load(Ordering::SeqCst)).sum()
}

#[test]
fn pages_and_lookups_are_answered_while_nars_fill_the_line() {
    let recorder = endless();
    let config = |config| with_metrics(config).set("limits.total_rate", "\"1MiB\"");
    let gate = recorded(&recorder, config);
    let nars: Vec<_> = (0..6).map(|at| download(&gate, ONE, &format!("/nar/gzip/{at}"))).collect();
    eventually_true("the line is full", || {
        nars.iter().all(|nar| nar.load(Ordering::SeqCst) > 0) && waits(&gate, "total_rate") > 6.0
    });
    let mut h2 = H2::connect(&TlsClient::default(), gate.https_addr(), HOST);
    for target in ["/jobset/x", "/1.narinfo", "/search?q=x"] {
        assert_eq!(gate.http().get(target).text(), "small");
        assert_eq!(gate.https().get(target).text(), "small");
        let answer = h2.request("GET", HOST, target.as_bytes(), &[], b"");
        assert_eq!(answer, Outcome::Answer { status: 200, body: b"small".to_vec() });
    }
    let scrape = Scrape::once(&gate, "the pages are counted", |scrape| {
        scrape.sum("farmgate_requests_total", &[]) >= 9.0
    });
    assert_eq!(scrape.sum("farmgate_requests_total", &[("route", "nar")]), 0.0, "all nars have bytes to go");

    // They would take minutes at that rate; a reload without it is taken up by those that are on their way.
    gate.rewrite(&gate.config.clone().without("limits.total_rate"));
    gate.reload();
    eventually("the nars arrive", super::support::SOON * 3, || {
        (sum(&nars) > 6 * 64 * MIB as u64).then_some(())
    });
}

#[test]
fn clients_share_the_line_evenly_however_many_connections_each_has() {
    let recorder = endless();
    let gate = recorded(&recorder, |config| with_metrics(config).set("limits.total_rate", "\"4MiB\""));
    let few = [download(&gate, ONE, "/nar/gzip/1")];
    let many: Vec<_> = (0..8).map(|at| download(&gate, TWO, &format!("/nar/gzip/{at}"))).collect();
    eventually_true("all are being answered", || {
        few.iter().chain(&many).all(|count| count.load(Ordering::SeqCst) > 100_000)
    });
    let before = (sum(&few), sum(&many));
    let after = eventually("some more of it", super::support::SOON, || {
        let now = (sum(&few), sum(&many));
        (now.0 - before.0 > 4 * MIB as u64).then_some(now)
    });
    let (few, many) = ((after.0 - before.0) as f64, (after.1 - before.1) as f64);
    assert!((0.6..=1.6).contains(&(many / few)), "in the same time {few} and {many} bytes");
}

#[test]
fn what_is_large_takes_turns_over_every_protocol_and_from_the_cache_too() {
    let recorder = farm(|target| pattern(target, MIB));
    let gate = recorded(&recorder, |config| with_metrics(config).set("limits.total_rate", "\"4MiB\""));
    let mut tls = gate.https();
    let mut h2 = H2::connect(&TlsClient::default(), gate.https_addr(), HOST);
    let mut before = 0.0;
    for target in ["/nar/gzip/a", "/file/a/sha256/b", "/download/1", "/download/1", "/log/x", "/eval/1"] {
        let expected = pattern(target, MIB);
        assert!(tls.get(target).body == expected);
        let answer = h2.request("GET", HOST, target.as_bytes(), &[], b"");
        assert!(matches!(answer, Outcome::Answer { status: 200, body } if body == expected));
        let now = waits(&gate, "total_rate");
        assert!(now > before, "{target}");
        before = now;
    }
}

#[test]
fn a_connection_gets_what_is_large_at_its_rate_whatever_it_speaks_and_wherever_it_comes_from() {
    let recorder = farm(|target| pattern(target, MIB));
    let gate = recorded(&recorder, |config| with_metrics(config).set("limits.nar_rate", "\"4MiB\""));
    let (mut plain, mut tls) = (gate.http(), gate.https());
    let mut h2 = H2::connect(&TlsClient::default(), gate.https_addr(), HOST);
    // The cached ones come from the backend first, and then from the cache.
    for target in ["/nar/gzip/a", "/file/a/sha256/b", "/download/1", "/static/x.js", "/log/x"] {
        let expected = pattern(target, MIB);
        let mut before = waits(&gate, "nar_rate");
        let mut has_waited = |way: &str| {
            let now = waits(&gate, "nar_rate");
            assert!(now > before, "{target} over {way}");
            before = now;
        };
        assert!(plain.get(target).body == expected);
        has_waited("HTTP");
        assert!(tls.get(target).body == expected);
        has_waited("TLS");
        let answer = h2.request("GET", HOST, target.as_bytes(), &[], b"");
        assert!(matches!(answer, Outcome::Answer { status: 200, body } if body == expected));
        has_waited("HTTP/2");
    }
    let before = waits(&gate, "nar_rate");
    assert_eq!(plain.get("/eval/1").body.len(), MIB);
    assert_eq!(waits(&gate, "nar_rate"), before, "a page is no nar");
}

const OFTEN: &str = "[{ paths = [\"/search\", \"/build/*/log\"], rate = \"1/h\", burst = 2 }]";

#[test]
fn who_asks_too_often_for_a_page_gets_429_and_everything_else_as_ever() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| with_metrics(config).set("limits.requests", OFTEN));
    let from = |address| Connection::over_tcp(from_address(address, gate.http_addr()), HOST);
    let mut one = from(ONE);
    assert_eq!(one.get("/search?query=a").status, 200);
    assert_eq!(one.get("//%73earch/?query=b").status, 200, "another spelling of it, counted as well");
    let lines = gate.stderr().len();
    let refusal = one.get_with("/search", &[("Accept", "text/html")]);
    assert_eq!(refusal.status, 429);
    assert!(refusal.text().contains("Too many requests") && refusal.text().contains("<html"), "{refusal:?}");
    let seconds: u64 = refusal.header("retry-after").and_then(|text| text.parse().ok()).expect("Retry-After");
    assert!((1..=3600).contains(&seconds), "{seconds}");
    assert!(!refusal.closes());
    // They share the pages of one table, on each of its connections, and over HTTP/2.
    assert_eq!(from(ONE).get("/build/7/log/raw").status, 429);
    let mut h2 = H2::over(&TlsClient::default(), from_address(ONE, gate.https_addr()), HOST);
    assert_eq!(h2.request("GET", HOST, b"/search", &[], b"").status(), Some(429));
    assert_eq!(refused(&gate, "rate"), 3.0);
    assert_eq!(gate.stderr().len(), lines, "counted, not told line by line: {:?}", gate.stderr());

    for target in ["/jobset/x", "/searches", "/1.narinfo", "/nar/gzip/1", "/static/search", "/build/7"] {
        for _ in 0..4 {
            assert_eq!(one.get(target).status, 200, "{target}");
        }
    }
    assert_eq!(from(TWO).get("/search").status, 200, "another client has its own");
    // What is refused with its body unread takes nothing along: the body is never another request.
    let mut posting = from(ONE);
    let inner = format!("GET /jobset/inner HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let refusal = posting.request("POST", "/search", &[], inner.as_bytes());
    assert!(refusal.status == 429 && refusal.closes(), "{refusal:?}");
    posting.closed().unwrap_or_else(|broken| panic!("no clean close: {broken}"));
    assert!(recorder.requests().iter().all(|request| request.target() != "/jobset/inner"));
    // What somebody has used up is not given back by a reload.
    gate.reload();
    assert_eq!(from(ONE).get("/search").status, 429);
    gate.rewrite(&gate.config.clone().without("limits.requests"));
    gate.reload();
    assert_eq!(from(ONE).get("/search").status, 200);
}

#[test]
fn where_publish_answers_for_everything_nothing_is_limited() {
    let recorder = Recorder::ok();
    let site = Site::new(HOST).publish(&recorder.url());
    let gate =
        Config::new(site).set("limits.requests", OFTEN).set("limits.refused_agents", "[\"GPTBot\"]").start();
    let mut connection = gate.http();
    for _ in 0..4 {
        assert_eq!(connection.get_with("/search", &[("User-Agent", "GPTBot/1.0")]).status, 200);
    }
}

#[test]
fn crawlers_that_are_named_get_no_pages_and_may_read_why() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| {
        with_metrics(config).set("limits.refused_agents", "[\"GPTBot\", \"ahrefs\"]")
    });
    let mut connection = gate.http();
    let mut ask = |agent: &str, target: &str| connection.get_with(target, &[("User-Agent", agent)]);
    let crawler = "Mozilla/5.0 (compatible; gptBOT/1.2; +https://bot.example)";
    for target in ["/", "/jobset/x", "/%73earch", "/log/x", "/download/1"] {
        let refusal = ask(crawler, target);
        assert_eq!(refusal.status, 403, "{target}");
        assert!(refusal.text().contains("/robots.txt"), "{refusal:?}");
    }
    assert_eq!(ask("AhrefsBot/7.0", "/").status, 403);
    assert_eq!(refused(&gate, "agent"), 6.0);
    for target in
        ["/robots.txt", "/nix-cache-info", "/1.narinfo", "/nar/gzip/1", "/file/a/sha256/b", "/static/a"]
    {
        assert_eq!(ask(crawler, target).status, 200, "{target}");
    }
    for agent in ["Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0", "GNU Guile", ""] {
        assert_eq!(ask(agent, "/jobset/x").status, 200, "{agent}");
    }
}

#[test]
fn pages_that_take_long_are_waited_for_where_the_configuration_says_so() {
    let latch = Latch::default();
    let held = latch.clone();
    let recorder = Recorder::start(move |_, tcp| {
        held.wait();
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow");
        Then::Close
    });
    let gate = recorded(&recorder, |config| {
        config
            .set("timeouts.read", "\"1s\"")
            .set("timeouts.route", "[{ paths = [\"/jobset\", \"/download\"], read = \"6m\" }]")
    });
    let mut patient: Vec<_> = ["/jobset/x", "//jobset/y", "/download/1"]
        .map(|target| {
            let mut connection = gate.http();
            connection.send(format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
            connection
        })
        .into();
    eventually_true("they are asked for", || recorder.requests().len() == 3);
    // Begun after those, and given up before them.
    assert_eq!(gate.http().get("/eval/1").status, 504);
    latch.open();
    for connection in &mut patient {
        assert_eq!(connection.response().text(), "slow");
    }
}

#[test]
fn bodies_that_find_no_room_wait_for_some_and_nobody_else_does() {
    const KIB: usize = 1024;
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| {
        with_metrics(config).set("limits.body", "\"64KiB\"").set("limits.bodies", "\"64KiB\"")
    });
    let taken = |scrape: &Scrape| scrape.sum("farmgate_request_bodies_bytes", &[]) as usize;
    assert_eq!(Scrape::of(&gate).sum("farmgate_request_bodies_limit_bytes", &[]) as usize, 64 * KIB);
    let head =
        |length: usize| format!("POST /x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n");
    let mut large = gate.http();
    large.send(head(60 * KIB));
    large.send(vec![b'a'; 59 * KIB]);
    Scrape::once(&gate, "most of the room is taken", |scrape| taken(scrape) == 59 * KIB);
    let mut small = gate.https();
    small.send([head(10 * KIB).as_bytes(), &[b'b'; 10 * KIB]].concat());
    Scrape::once(&gate, "the other waits", |scrape| {
        scrape.sum("farmgate_share_waits_total", &[("share", "bodies")]) > 0.0
    });
    assert_eq!(gate.http().get("/x").status, 200, "what has no body needs no room");
    assert!(recorder.requests().iter().all(|request| request.body.is_empty()));
    large.send(vec![b'a'; KIB]);
    assert_eq!((large.response().status, small.response().status), (200, 200));
    let mut lengths: Vec<_> = recorder.requests().iter().map(|request| request.body.len()).collect();
    lengths.sort_unstable();
    assert_eq!(lengths, [0, 10 * KIB, 60 * KIB]);
    Scrape::once(&gate, "the room is free again", |scrape| taken(scrape) == 0);
}

#[test]
fn a_connection_ends_after_its_requests_and_a_guix_client_goes_on_with_another() {
    let farm = Farm::with(|config| config.set("limits.connection_requests", "100"));
    let hashes = hashes(250);
    for way in [Way::Http(farm.gate.http_addr()), Way::https(farm.gate.https_addr())] {
        let report = narinfos(&way, &hashes);
        assert_right(&report, &hashes);
        assert_eq!((report.connections, report.surprises), (3, vec![]));
    }
    // A reload counts for connections that are open, too.
    let mut connection = farm.gate.http();
    assert!(!connection.get("/1.narinfo").closes());
    farm.gate.rewrite(&farm.gate.config.clone().set("limits.connection_requests", "3"));
    farm.gate.reload();
    assert!(!connection.get("/2.narinfo").closes());
    assert!(connection.get("/3.narinfo").closes());
    connection.closed().unwrap_or_else(|broken| panic!("no clean close: {broken}"));
}

#[test]
fn an_old_connection_ends_with_an_answer_and_no_batch_is_reset() {
    let farm = Farm::with(|config| config.set("limits.connection_age", "\"1ms\""));
    let mut connection = farm.gate.http();
    eventually_true("it is old", || connection.get("/1.narinfo").closes());
    connection.closed().unwrap_or_else(|broken| panic!("no clean close: {broken}"));
    let hashes = hashes(1500);
    for way in [Way::Http(farm.gate.http_addr()), Way::https(farm.gate.https_addr())] {
        let report = narinfos(&way, &hashes);
        assert_right(&report, &hashes);
        assert_eq!(report.surprises, Vec::<String>::new());
    }
    // Over HTTP/2 the client is told to ask for no more here, and has what it asked for.
    let mut h2 = H2::connect(&TlsClient::default(), farm.gate.https_addr(), HOST);
    assert_eq!(h2.request("GET", HOST, b"/1.narinfo", &[], b"").status(), Some(200));
    eventually_true("it is told", || {
        h2.request("GET", HOST, b"/1.narinfo", &[], b"");
        !h2.is_open()
    });
}
