//! Metrics: that each figure is right after known traffic, and that nothing a client sends gets into them.

mod deployed;
mod endpoint;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpListener;

use super::support::config::{Config, HOST, Site};
use super::support::farm::recorded;
use super::support::gate::Gate;
use super::support::h2::H2;
use super::support::http1::{Connection, from_address};
use super::support::pki::{Authority, Kind, scratch, world};
use super::support::recorder::{Recorder, Request, Then};
use super::support::scrape::Scrape;
use super::support::tls::TlsClient;
use super::support::{Latch, eventually_true, free_port};

/// A backend with a narinfo for all but what is called missing, and files that may be kept.
fn farm() -> Recorder {
    Recorder::start(|request, tcp| {
        let (head, body) = match request.target() {
            target if target.contains("missing") => ("404 Not Found", "none".to_string()),
            target if target.starts_with("/static") => {
                ("200 OK\r\nCache-Control: max-age=60", "body of a file".to_string())
            }
            target if target.starts_with("/nar") => ("200 OK", "x".repeat(1000)),
            target => ("200 OK", target.to_string()),
        };
        let answer = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let _ = tcp.write_all(answer.as_bytes());
        after(request)
    })
}

/// As Guile does it.
fn after(request: &Request) -> Then {
    if request.header("connection") == Some("close") { Then::Close } else { Then::Keep }
}

fn with_metrics(config: Config) -> Config {
    config.set("metrics.listen", "\"127.0.0.1:0\"")
}

fn gate(recorder: &Recorder) -> Gate {
    recorded(recorder, with_metrics)
}

/// A raw request on a connection of its own; what came of it is not looked at.
fn shout(gate: &Gate, bytes: &[u8]) {
    let mut connection = gate.http();
    let _ = connection.try_send(bytes);
    connection.finish_writing();
    let _ = connection.drain();
}

#[test]
fn after_known_traffic_each_figure_is_exactly_right() {
    let recorder = farm();
    let gate = gate(&recorder);
    let mut plain = gate.http();
    for target in ["/1.narinfo", "/2.narinfo", "/missing1.narinfo", "/nar/gzip/1-a", "/nar/lzip/1-a"] {
        plain.get(target);
    }
    let mut tls = TlsClient::only(&rustls::version::TLS12).connect(gate.https_addr(), HOST);
    for target in
        ["/3.narinfo", "/nar/zstd/1-a", "/nar/zstd/2-b", "/nar/1-a", "/file/x/sha256/y", "/robots.txt"]
    {
        tls.get(target);
    }
    let mut h2 = H2::connect(&TlsClient::only(&rustls::version::TLS13), gate.https_addr(), HOST);
    let mut ask_h2 = |target: &str| {
        h2.ask(HOST, target);
        h2.answer().expect("an answer")
    };
    ask_h2("/4.narinfo");
    ask_h2("/missing2.narinfo");
    ask_h2("/jobset/x");
    assert_eq!(gate.https().get("/admin").status, 403);
    assert_eq!(gate.https_as(&world().good).get("/admin/x").status, 200);
    assert_eq!(plain.request("POST", "/jobset/x/hook/evaluate", &[], b"12345").status, 200);
    let mut old = gate.http();
    old.send(format!("GET /5.narinfo HTTP/1.0\r\nHost: {HOST}\r\n\r\n"));
    old.response();
    let head = tls.request("HEAD", "/6.narinfo", &[], b"");
    assert_eq!(head.status, 200);

    let scrape = Scrape::after(&gate, 19);
    let requests = |labels: &[(&str, &str)]| scrape.sum("farmgate_requests_total", labels) as u64;
    assert_eq!(requests(&[("site", HOST)]), 19);
    assert_eq!(requests(&[("route", "narinfo")]), 8);
    assert_eq!(requests(&[("route", "narinfo"), ("status", "4xx")]), 2);
    assert_eq!(requests(&[("route", "nar")]), 5);
    assert_eq!(requests(&[("route", "file")]), 1);
    assert_eq!(requests(&[("route", "robots")]), 1);
    assert_eq!(requests(&[("route", "page")]), 2);
    assert_eq!(requests(&[("route", "admin"), ("status", "4xx")]), 1);
    assert_eq!(requests(&[("route", "admin"), ("status", "2xx")]), 1);
    assert_eq!(requests(&[("scheme", "http"), ("version", "1.1")]), 6);
    assert_eq!(requests(&[("scheme", "http"), ("version", "1.0")]), 1);
    assert_eq!(requests(&[("scheme", "https"), ("version", "1.1")]), 9);
    assert_eq!(requests(&[("scheme", "https"), ("version", "2")]), 3);

    let narinfos = |result| scrape.sum("farmgate_narinfos_total", &[("result", result)]) as u64;
    assert_eq!((narinfos("found"), narinfos("absent")), (6, 2));
    for (compression, bytes) in [("gzip", 1000), ("lzip", 1000), ("zstd", 2000), ("none", 1000)] {
        assert_eq!(scrape.sum("farmgate_nar_bytes_total", &[("compression", compression)]) as u64, bytes);
    }
    // Five narinfos by GET ("/1.narinfo") and two that say "none".
    let sent = |route| scrape.sum("farmgate_response_body_bytes_total", &[("route", route)]) as u64;
    assert_eq!(sent("narinfo"), 5 * 10 + 2 * 4);
    assert_eq!(sent("nar"), 5000);
    assert_eq!(scrape.sum("farmgate_request_body_bytes_total", &[]) as u64, 5);

    let handshakes = |version| scrape.sum("farmgate_tls_handshakes_total", &[("version", version)]) as u64;
    assert_eq!((handshakes("1.2"), handshakes("1.3")), (1, 3));
    // The bodies of a farm's figures agree with what `status` tells.
    let status = gate.status();
    assert_eq!(status["totals"]["requests"], 19);
    assert_eq!(status["totals"]["narinfos"]["found"], 6);
    assert_eq!(status["totals"]["nar_bytes"], 5000);
    assert_eq!(status["totals"]["handshakes"], 4);
}

#[test]
fn each_verdict_on_a_client_certificate_is_counted_by_its_kind() {
    let recorder = farm();
    let gate = gate(&recorder);
    let world = world();
    for (identity, verdict) in [
        (&world.good, "admitted"),
        (&world.good_v3, "admitted"),
        (&world.expired, "expired"),
        (&world.not_yet, "not-yet-valid"),
        (&world.foreign, "unknown-issuer"),
        (&world.server_only, "not-for-clients"),
    ] {
        let before = Scrape::of(&gate).sum("farmgate_admin_verdicts_total", &[("verdict", verdict)]);
        gate.https_as(identity).get("/admin/x");
        let after = Scrape::of(&gate).sum("farmgate_admin_verdicts_total", &[("verdict", verdict)]);
        assert_eq!(after, before + 1.0, "{verdict}");
    }
    gate.https().get("/%61dmin");
    gate.http().get("/admin");
    gate.https_as(&world.good).get_with("/admin", &[("Sec-Fetch-Site", "cross-site")]);
    let scrape = Scrape::of(&gate);
    for verdict in ["no-certificate", "plain-http", "cross-site"] {
        assert_eq!(scrape.sum("farmgate_admin_verdicts_total", &[("verdict", verdict)]), 1.0, "{verdict}");
    }
    assert_eq!(scrape.sum("farmgate_admin_verdicts_total", &[]), 9.0);
    assert_eq!(scrape.sum("farmgate_admin_open", &[]), 1.0);
}

#[test]
fn revoked_certificates_and_a_closed_gate_are_verdicts_of_their_own() {
    let recorder = farm();
    let authority = Authority::new(&scratch("revoked").join("authority"), "/CN=Some CA");
    let rita = authority.issue("rita", Kind::Client);
    let list = authority.revoke(&rita);
    let gate = recorded(&recorder, |config| {
        with_metrics(config)
            .client_ca(&authority.cert)
            .set("admin.crl", &format!("[{:?}]", list.display().to_string()))
    });
    let verdicts = |verdict| Scrape::of(&gate).sum("farmgate_admin_verdicts_total", &[("verdict", verdict)]);
    assert_eq!(gate.https_as(&rita).get("/admin/x").status, 403);
    assert_eq!((verdicts("revoked"), verdicts("closed")), (1.0, 0.0));

    gate.rewrite(&gate.config.clone().client_ca(&gate.folder().join("none.crt")));
    gate.reload();
    assert_eq!(gate.https_as(&rita).get("/admin/x").status, 403);
    assert_eq!((verdicts("revoked"), verdicts("closed")), (1.0, 1.0));
    assert_eq!(Scrape::of(&gate).sum("farmgate_admin_open", &[]), 0.0);
}

#[test]
fn handshakes_are_full_resumed_or_failed() {
    let recorder = farm();
    let gate = gate(&recorder);
    let client = TlsClient::only(&rustls::version::TLS13);
    for _ in 0..2 {
        // The answer brings the ticket along that the next one shows.
        assert_eq!(client.connect(gate.https_addr(), HOST).get("/x").status, 200);
    }
    let mut nonsense = Connection::plain(gate.https_addr(), HOST);
    nonsense.send("GET / HTTP/1.1\r\n\r\n");
    nonsense.finish_writing();
    let _ = nonsense.drain();
    let mut silent = Connection::plain(gate.https_addr(), HOST);
    silent.finish_writing();
    let _ = silent.drain();
    let scrape = Scrape::once(&gate, "two failures", |scrape| {
        scrape.sum("farmgate_tls_handshake_failures_total", &[]) >= 2.0
    });
    let handshakes =
        |kind| scrape.sum("farmgate_tls_handshakes_total", &[("version", "1.3"), ("kind", kind)]);
    assert_eq!((handshakes("full"), handshakes("resumed")), (1.0, 1.0));
    let failed = |reason| scrape.sum("farmgate_tls_handshake_failures_total", &[("reason", reason)]);
    assert_eq!((failed("protocol"), failed("closed"), failed("timeout")), (1.0, 1.0, 0.0));
}

#[test]
fn the_cache_counts_hits_and_misses_by_space() {
    let recorder = farm();
    let gate = gate(&recorder);
    gate.http().get("/static/a.css");
    eventually_true("it is kept", || {
        gate.https().get("/static/a.css").header("cache-status").is_some_and(|said| said.contains("hit"))
    });
    gate.http().get("/log/abc");
    let scrape = Scrape::of(&gate);
    let requests =
        |space, result| scrape.sum("farmgate_cache_requests_total", &[("space", space), ("result", result)]);
    assert!(requests("static", "hit") >= 1.0 && requests("static", "miss") >= 1.0);
    assert_eq!((requests("logs", "miss"), requests("logs", "hit")), (1.0, 0.0));
    let bytes = Scrape::once(&gate, "its bytes", |scrape| {
        scrape.sum("farmgate_cache_bytes", &[("space", "static")]) > 0.0
    });
    assert_eq!(bytes.sum("farmgate_cache_bytes", &[("space", "static")]), "body of a file".len() as f64);
    assert_eq!(bytes.sum("farmgate_cache_responses", &[("space", "static")]), 1.0);
}

#[test]
fn backends_that_fail_are_counted_and_those_that_come_back_are_up() {
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let site = Site::new(HOST).publish(&url).ci(&url);
    let config = with_metrics(Config::new(site)).set("timeouts.backend_restart", "\"0s\"");
    let gate = config.clone().start();
    let of = |scrape: &Scrape, name: &str| scrape.sum(name, &[("backend", "publish")]);
    // Nobody has tried.
    assert_eq!(Scrape::of(&gate).matching("farmgate_backend_up", &[]).count(), 0);
    assert_eq!(gate.http().get("/1.narinfo").status, 502);
    let scrape = Scrape::after(&gate, 1);
    for name in ["connect_failures", "errors"] {
        assert_eq!(of(&scrape, &format!("farmgate_backend_{name}_total")), 1.0, "{name}");
    }
    assert_eq!(of(&scrape, "farmgate_backend_restart_waits_total"), 0.0);
    assert_eq!(scrape.matching("farmgate_backend_up", &[("backend", "publish")]).count(), 1);
    assert_eq!(of(&scrape, "farmgate_backend_up"), 0.0);
    let backend = gate.status()["sites"][0]["backends"][0].clone();
    assert_eq!((backend["role"].as_str(), backend["up"].as_bool()), (Some("publish"), Some(false)));
    assert!(backend["last_error"]["why"].as_str().is_some_and(|why| why.contains("refused")), "{backend}");

    gate.rewrite(&config.set("timeouts.backend_restart", "\"20s\""));
    gate.reload();
    let mut patient = gate.http();
    patient.send(format!("GET /2.narinfo HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    let waits = Scrape::once(&gate, "a request that waits", |scrape| {
        of(scrape, "farmgate_backend_restart_waits_total") == 1.0
    });
    assert_eq!(of(&waits, "farmgate_backend_requests"), 1.0);
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port that was free");
    let _recorder = Recorder::on(listener, |request, tcp| {
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        after(request)
    });
    assert_eq!(patient.response().status, 200);
    let scrape = Scrape::after(&gate, 2);
    assert_eq!(of(&scrape, "farmgate_backend_up"), 1.0);
    assert_eq!(of(&scrape, "farmgate_backend_connections_total"), 1.0);
    assert_eq!(of(&scrape, "farmgate_backend_requests"), 0.0);
    assert_eq!(scrape.matching("farmgate_backend_up", &[("backend", "ci")]).count(), 0);
}

#[test]
fn a_request_that_its_backend_drops_is_a_retry() {
    // It hangs up on the first request, without a word.
    let dropping = Recorder::start(|request, tcp| {
        if request.connection == 0 {
            return Then::Close;
        }
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        after(request)
    });
    let gate = gate(&dropping);
    assert_eq!(gate.http().get("/1.narinfo").status, 200);
    let scrape = Scrape::after(&gate, 1);
    assert_eq!(scrape.sum("farmgate_backend_retries_total", &[("backend", "publish")]), 1.0);
    assert_eq!(scrape.sum("farmgate_backend_errors_total", &[]), 0.0);
}

#[test]
fn nothing_that_clients_send_makes_a_new_series() {
    let recorder = farm();
    let gate = gate(&recorder);
    let known = |scrape: &Scrape| -> BTreeSet<String> {
        let labels = scrape.series.iter().flat_map(|series| series.labels.values().cloned());
        labels.collect()
    };
    let before: BTreeSet<String> = known(&Scrape::of(&gate));
    for at in 0..50 {
        let unique = format!("zz{at}yy");
        shout(&gate, format!("{unique} /{unique} HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes());
        shout(&gate, format!("GET /{unique} HTTP/1.1\r\nHost: {unique}.example\r\n\r\n").as_bytes());
        shout(&gate, format!("GET /{unique} HTTP/7.{at}\r\nHost: {HOST}\r\n\r\n").as_bytes());
        shout(&gate, format!("GET /%zz{unique} HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes());
        shout(&gate, format!("GET /nar/{unique}/x HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes());
        shout(&gate, format!("{unique}\r\n\r\n").as_bytes());
        shout(&gate, &[0xff, at as u8, b'\r', b'\n', b'\r', b'\n']);
        let mut h2 = H2::connect(&TlsClient::default(), gate.https_addr(), &format!("{unique}.example"));
        h2.raw_request(
            &[
                (b":method", unique.as_bytes()),
                (b":scheme", b"https"),
                (b":path", b"/x"),
                (b":authority", unique.as_bytes()),
            ],
            b"",
        );
    }
    let scrape = Scrape::of(&gate);
    assert!(!scrape.text.contains("zz") && !scrape.text.contains("yy"), "{}", scrape.text);
    for series in &scrape.series {
        assert!(series.labels.get("site").is_none_or(|site| site == HOST), "{series:?}");
        assert!(series.labels.len() <= 5, "{series:?}");
    }
    // Words that were not there before are those of routes and statuses, which are few, and bucket ends.
    let new: Vec<String> = known(&scrape).difference(&before).cloned().collect();
    assert!(new.len() < 40, "{new:?}");
}

#[test]
fn no_address_of_a_client_is_in_the_scrape() {
    let recorder = farm();
    let gate = gate(&recorder);
    let client = [127, 44, 55, 66];
    let mut plain = Connection::over_tcp(from_address(client, gate.http_addr()), HOST);
    plain.get_with("/1.narinfo", &[("X-Forwarded-For", "203.0.113.77"), ("Forwarded", "for=203.0.113.77")]);
    let mut h2 = H2::over(&TlsClient::default(), from_address(client, gate.https_addr()), HOST);
    h2.ask(HOST, "/x");
    h2.answer().expect("an answer");
    let scrape = Scrape::after(&gate, 2);
    for address in ["127.0.0", "44.55.66", "203.0.113"] {
        assert!(!scrape.text.contains(address), "{}", scrape.text);
    }
    assert!(!gate.status().to_string().contains("127.44.55.66"));
}

#[test]
fn histograms_add_up_and_agree_with_the_requests() {
    let recorder = farm();
    let gate = gate(&recorder);
    for at in 0..30 {
        gate.http().get(&format!("/{at}.narinfo"));
        gate.https().get(&format!("/jobset/{at}"));
    }
    gate.http().get("/robots.txt");
    let scrape = Scrape::after(&gate, 61);
    let durations = "farmgate_request_duration_seconds";
    for family in [durations, "farmgate_request_own_seconds", "farmgate_request_backend_seconds"] {
        for count in scrape.matching(&format!("{family}_count"), &[]) {
            let route = count.labels["route"].as_str();
            let buckets: Vec<f64> = scrape
                .matching(&format!("{family}_bucket"), &[("route", route)])
                .map(|one| one.value)
                .collect();
            assert!(buckets.is_sorted(), "{family} {route}: {buckets:?}");
            assert_eq!(buckets.last(), Some(&count.value), "{family} {route}");
        }
    }
    let count = |family: &str, route| scrape.sum(&format!("{family}_count"), &[("route", route)]);
    for (route, requests) in [("narinfo", 30.0), ("page", 30.0), ("robots", 1.0)] {
        assert_eq!(count(durations, route), requests);
        assert_eq!(count("farmgate_request_own_seconds", route), requests);
        assert_eq!(scrape.sum("farmgate_requests_total", &[("route", route)]), requests);
    }
    // What needed no backend waited for none.
    assert_eq!(count("farmgate_request_backend_seconds", "robots"), 0.0);
    assert_eq!(count("farmgate_request_backend_seconds", "narinfo"), 30.0);
    let total = |family: &str| scrape.sum(&format!("{family}_sum"), &[]);
    let (whole, own) = (total(durations), total("farmgate_request_own_seconds"));
    let backend = total("farmgate_request_backend_seconds");
    assert!(own > 0.0 && backend > 0.0 && own + backend <= whole + 1e-6, "{own} {backend} {whole}");
}

#[test]
fn the_wait_for_a_slow_backend_is_not_the_gates_own() {
    let latch = Latch::default();
    let recorder = Recorder::start({
        let latch = latch.clone();
        move |request, tcp| {
            latch.wait();
            let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            after(request)
        }
    });
    let gate = gate(&recorder);
    let mut connection = gate.http();
    connection.send(format!("GET /1.narinfo HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    Scrape::once(&gate, "it is with the backend", |scrape| {
        scrape.sum("farmgate_backend_requests", &[("backend", "publish")]) == 1.0
    });
    let began = std::time::Instant::now();
    eventually_true("half a second", || began.elapsed().as_millis() > 500);
    latch.open();
    connection.response();
    let scrape = Scrape::after(&gate, 1);
    let seconds = |family: &str| scrape.sum(&format!("farmgate_request_{family}_seconds_sum"), &[]);
    assert!(seconds("backend") > 0.4, "{}", seconds("backend"));
    assert!(seconds("own") <= seconds("duration") - seconds("backend") + 1e-6);
}

#[test]
fn what_each_worker_counts_adds_up() {
    let recorder = farm();
    let gate = gate(&recorder);
    // The kernel spreads connections over the workers' sockets by their ports: some for each of them.
    for at in 0..64 {
        assert_eq!(gate.http().get(&format!("/{at}.narinfo")).status, 200);
    }
    let scrape = Scrape::after(&gate, 64);
    assert_eq!(scrape.sum("farmgate_narinfos_total", &[("result", "found")]), 64.0);
    assert_eq!(scrape.sum("farmgate_request_duration_seconds_count", &[]), 64.0);
}

#[test]
fn a_reload_keeps_what_was_counted_and_is_counted() {
    let recorder = farm();
    let gate = gate(&recorder);
    gate.http().get("/1.narinfo");
    Scrape::after(&gate, 1);
    let other = gate.config.clone().site(Site::new("other.example").publish(&recorder.url()));
    gate.rewrite(&other);
    gate.reload();
    gate.http().get("/2.narinfo");
    Connection::plain(gate.http_addr(), "other.example").get("/3.narinfo");
    let scrape = Scrape::after(&gate, 3);
    assert_eq!(scrape.sum("farmgate_requests_total", &[("site", HOST)]), 2.0);
    assert_eq!(scrape.sum("farmgate_requests_total", &[("site", "other.example")]), 1.0);
    gate.rewrite_text("nonsense");
    assert!(gate.sighup().contains("reload refused"));
    let scrape = Scrape::of(&gate);
    let reloads = |result| scrape.sum("farmgate_reloads_total", &[("result", result)]);
    assert_eq!((reloads("done"), reloads("refused")), (1.0, 1.0));
}
