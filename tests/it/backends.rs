//! Backends as they are: what Guile's web server needs, and what it must be spared.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::support::config::{Config, HOST, Site};
use super::support::curl::curl;
use super::support::farm::{Farm, recorded};
use super::support::gate::Gate;
use super::support::guile::Guile;
use super::support::h2::{H2, Outcome};
use super::support::http1::{Broken, Connection, narrow};
use super::support::pki::world;
use super::support::recorder::{Recorder, Then};
use super::support::tls::TlsClient;
use super::support::{at_rest, eventually_true, free_port, patience, pattern};

/// "At once", as opposed to waiting for some timeout of ten seconds or more.
const PROMPTLY: Duration = Duration::from_secs(5);

fn only_ci(url: &str) -> Config {
    Config::new(Site::new(HOST).ci(url)).client_ca(&world().authority.cert)
}

#[test]
fn a_live_nar_ends_promptly() {
    let farm = Farm::start();
    for mut connection in [farm.gate.http(), farm.gate.https()] {
        let started = Instant::now();
        assert_eq!(connection.get("/nar/live/abc").body, pattern("abc", 20000));
        assert!(started.elapsed() < patience(PROMPTLY), "{:?}", started.elapsed());
    }
    assert_eq!(farm.publish.wait_for("/nar/live/abc").header("connection"), Some("close"));
}

#[test]
fn a_nar_that_is_cut_short_does_not_look_whole() {
    let farm = Farm::start();
    for mut connection in [farm.gate.http(), farm.gate.https()] {
        let outcome = connection.try_request("GET", b"/nar/cut/abc", &[], b"");
        assert!(matches!(outcome, Err(Broken::Truncated(_) | Broken::Reset)), "{outcome:?}");
    }
}

#[test]
fn a_half_sent_request_of_one_client_does_not_stall_the_others() {
    let farm = Farm::start();
    let mut head = farm.gate.http();
    head.send(format!("GET /abc.narinfo HTTP/1.1\r\nHost: {HOST}\r\nUser-"));
    let mut body = farm.gate.http();
    let post = "POST /jobset/x/hook/evaluate HTTP/1.1";
    body.send(format!("{post}\r\nHost: {HOST}\r\nContent-Length: 10\r\n\r\nhalf"));
    let mut publish_body = farm.gate.http();
    publish_body.send(format!("POST /x.narinfo HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10\r\n\r\nhalf"));
    let started = Instant::now();
    for at in 0..20 {
        assert_eq!(farm.gate.https().get(&format!("/{at:032}.narinfo")).status, 200);
        assert_eq!(farm.gate.https().get("/jobset/x").status, 200);
    }
    assert!(started.elapsed() < patience(PROMPTLY));
    // The half ones are still good.
    body.send(" done.");
    assert_eq!(body.response().text(), "ok");
    assert_eq!(farm.cuirass.actions(), ["evaluate x 10"]);
}

#[test]
fn a_chunked_body_reaches_the_backend_with_its_length() {
    let farm = Farm::start();
    let mut connection = farm.gate.https_as(&farm.world.good);
    connection.send(format!(
        "POST /admin/specification/add HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n\
         5;ext=1\r\nspec=\r\n1\r\n1\r\n0\r\nX-Trailer: t\r\n\r\n"
    ));
    assert_eq!(connection.response().status, 302);
    assert_eq!(farm.cuirass.actions(), ["specification spec%3D1"]);
    let seen = farm.cuirass.wait_for("/admin/specification/add");
    assert_eq!(seen.header("content-length"), Some("6"));
    assert_eq!(seen.header("transfer-encoding"), None);
    assert_eq!(seen.header("x-trailer"), None);
}

#[test]
fn bodies_up_to_the_limit_pass_and_larger_ones_get_413() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config.set("limits.body", "\"1KiB\""));
    let target = "/jobset/x/hook/evaluate";
    assert_eq!(gate.https().request("POST", target, &[], &[b'x'; 1024]).status, 200);
    assert_eq!(recorder.requests()[0].body.len(), 1024);
    assert_eq!(gate.https().request("POST", target, &[], &[b'x'; 1025]).status, 413);
    let chunked = |sizes: &[usize]| {
        let mut connection = gate.https();
        let mut bytes =
            format!("POST {target} HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n");
        for size in sizes {
            bytes.push_str(&format!("{size:x}\r\n{}\r\n", "x".repeat(*size)));
        }
        connection.send(bytes + "0\r\n\r\n");
        connection.response().status
    };
    assert_eq!(chunked(&[1000, 24]), 200);
    assert_eq!(chunked(&[1000, 25]), 413);
    // A length that is too large is refused before the body was asked for.
    let mut connection = gate.https();
    connection.send(format!(
        "POST {target} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 999999999\r\nExpect: 100-continue\r\n\r\n"
    ));
    assert_eq!(connection.response().status, 413);
    assert_eq!(recorder.requests().len(), 2);
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config);
    let mut connection = gate.https();
    connection.send(format!(
        "POST /x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    ));
    let interim = connection.peek_bytes(12).expect("an interim answer").to_vec();
    assert!(interim.starts_with(b"HTTP/1.1 100"), "{}", interim.escape_ascii());
    connection.send("body");
    assert_eq!(connection.response().status, 200);
    assert_eq!(recorder.requests()[0].body, b"body");
    assert_eq!(recorder.requests()[0].header("expect"), None);
}

#[test]
fn a_silent_close_after_a_file_is_no_error_to_the_next_request() {
    let farm = Farm::start();
    let mut connection = farm.gate.https();
    for round in 0..20 {
        assert_eq!(connection.get(&format!("/download/{round}")).body, pattern(&round.to_string(), 50000));
        assert_eq!(connection.get("/jobset/x").status, 200, "round {round}");
        assert_eq!(connection.get(&format!("/static/{round}.css")).status, 200, "round {round}");
        assert_eq!(
            connection.request("POST", "/jobset/x/hook/evaluate", &[], b"a").text(),
            "ok",
            "round {round}"
        );
    }
    assert_eq!(farm.cuirass.actions().len(), 20, "each ran once");
}

#[test]
fn a_pooled_connection_that_was_closed_in_the_meantime_is_replaced() {
    // Says nothing about a close, and closes right after.
    let recorder = Recorder::start(|_, tcp| {
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        Then::Close
    });
    let gate = recorded(&recorder, |config| config);
    let mut connection = gate.https();
    for round in 0..50 {
        assert_eq!(connection.get(&format!("/jobset/{round}")).text(), "ok", "round {round}");
        assert_eq!(connection.get(&format!("/{round:032}.narinfo")).text(), "ok", "round {round}");
    }
}

#[test]
fn a_request_that_changes_state_is_not_sent_twice() {
    // Reads the request, and is gone.
    let recorder = Recorder::start(|request, tcp| {
        if request.line().starts_with("GET") {
            let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            return Then::Keep;
        }
        Then::Close
    });
    let gate = recorded(&recorder, |config| config);
    let mut connection = gate.https();
    assert_eq!(connection.get("/warm").status, 200);
    assert_eq!(gate.https().request("POST", "/jobset/x/hook/evaluate", &[], b"a").status, 502);
    let posts = recorder.requests().iter().filter(|request| request.line().starts_with("POST")).count();
    assert_eq!(posts, 1);
}

#[test]
fn a_safe_request_waits_while_the_backend_is_restarted() {
    let mut cuirass = Guile::cuirass();
    let gate = only_ci(&cuirass.url()).set("timeouts.backend_restart", "\"60s\"").start();
    assert_eq!(gate.https().get("/jobset/x").status, 200);
    cuirass.stop();
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..5)
            .map(|at| {
                scope.spawn({
                    let gate = &gate;
                    move || gate.https().get(&format!("/jobset/{at}")).status
                })
            })
            .collect();
        gate.wait_for_stderr("waiting");
        cuirass.start();
        for request in waiting {
            assert_eq!(request.join().expect("a status"), 200);
        }
    });
}

#[test]
fn a_request_that_changes_state_is_saved_by_waiting_as_well() {
    // A connection that is refused carried nothing, so there is nothing that could happen twice.
    let mut cuirass = Guile::cuirass();
    let gate = only_ci(&cuirass.url()).set("timeouts.backend_restart", "\"60s\"").start();
    cuirass.stop();
    thread::scope(|scope| {
        let waiting =
            scope.spawn(|| gate.https().request("POST", "/jobset/x/hook/evaluate", &[], b"").status);
        gate.wait_for_stderr("waiting");
        cuirass.start();
        assert_eq!(waiting.join().expect("a status"), 200);
    });
}

#[test]
fn a_backend_that_does_not_come_back_is_a_502_when_the_time_is_up() {
    let url = format!("http://127.0.0.1:{}", free_port());
    let gate = only_ci(&url).set("timeouts.backend_restart", "\"1s\"").start();
    let started = Instant::now();
    assert_eq!(gate.https().get("/jobset/x").status, 502);
    assert!(started.elapsed() >= Duration::from_millis(900), "{:?}", started.elapsed());
    assert_eq!(gate.https().get("/robots.txt").status, 200);
}

#[test]
fn a_backend_that_accepts_and_says_nothing_is_a_504() {
    let recorder = Recorder::start(|_, _| Then::Keep);
    let gate = recorded(&recorder, |config| config.set("timeouts.read", "\"1s\""));
    assert_eq!(gate.https().get("/jobset/x").status, 504);
}

#[test]
fn a_name_is_tried_at_every_address_it_has() {
    // Cuirass binds IPv4 only; others bind ::1. Where `localhost` is both, either must do; where it is one, that one.
    let addresses: Vec<_> =
        std::net::ToSocketAddrs::to_socket_addrs(&("localhost", 0)).expect("localhost").collect();
    for address in addresses {
        let Ok(listener) = TcpListener::bind(address) else { continue };
        let port = listener.local_addr().expect("a bound socket").port();
        let recorder = Recorder::on(listener, |_, tcp| {
            let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            Then::Keep
        });
        let gate =
            only_ci(&format!("http://localhost:{port}")).set("timeouts.backend_restart", "\"0s\"").start();
        for _ in 0..4 {
            assert_eq!(gate.https().request("POST", "/x", &[], b"a").text(), "ok", "{address}");
        }
        assert_eq!(recorder.requests().len(), 4);
    }
}

#[test]
fn an_ipv6_backend_is_reached_by_its_address() {
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        eprintln!("skipped: no ::1 here");
        return;
    };
    let recorder = Recorder::on(listener, |_, tcp| {
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        Then::Keep
    });
    let gate = only_ci(&recorder.url()).start();
    assert_eq!(gate.https().get("/jobset/x").text(), "ok");
}

#[test]
fn head_works_on_every_route() {
    let farm = Farm::start();
    let mut connection = farm.gate.https();
    for target in [
        "/",
        "/jobset/x",
        "/static/x.css",
        "/download/7",
        "/log/abc",
        "/abc.narinfo",
        "/nar/gzip/abc",
        "/nix-cache-info",
        "/signing-key.pub",
        "/file/a/sha256/b",
        "/robots.txt",
    ] {
        let got = connection.get(target);
        let head = connection.request("HEAD", target, &[], b"");
        assert_eq!((got.status, head.status), (200, 200), "{target}");
        assert_eq!(head.header("content-length"), got.header("content-length"), "{target}");
        assert_eq!(head.header("content-type"), got.header("content-type"), "{target}");
    }
    assert_eq!(connection.request("HEAD", "/missing.narinfo", &[], b"").status, 404);
    assert_eq!(connection.request("HEAD", "/nar/live/abc", &[], b"").status, 200);
    assert_eq!(farm.gate.https().request("HEAD", "/admin", &[], b"").status, 403);
}

#[test]
fn head_works_over_http2_as_well() {
    // A body in answer to HEAD is a protocol error there, and the end of the connection.
    let farm = Farm::start();
    for target in
        ["/", "/static/x.css", "/download/7", "/log/abc", "/abc.narinfo", "/nar/gzip/abc", "/nar/live/abc"]
    {
        let url = format!("https://{}{target}", farm.gate.https_addr());
        let answer = curl(&["-I", "--http2", &url]);
        assert_eq!((answer.exit, answer.status, answer.version.as_str()), (Some(0), 200, "2"), "{target}");
    }
}

#[test]
fn a_head_of_something_large_does_not_fetch_it() {
    let farm = Farm::start();
    let started = Instant::now();
    let head = farm.gate.https().request("HEAD", "/nar/slow/600", &[], b"");
    assert_eq!(head.header("content-length"), Some("614400"));
    assert!(started.elapsed() < patience(PROMPTLY));
}

#[test]
fn a_large_nar_does_not_show_in_memory() {
    const MIB: usize = 512;
    let recorder = Recorder::start(|_, tcp| {
        let block = vec![b'n'; 1 << 20];
        let _ = tcp.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", MIB << 20).as_bytes());
        for _ in 0..MIB {
            if tcp.write_all(&block).is_err() {
                return Then::Close;
            }
        }
        Then::Keep
    });
    let gate = recorded(&recorder, |config| config);
    // Warm up: what TLS and the pools take once is no leak.
    assert_eq!(gate.https().get("/robots.txt").status, 200);
    let before = gate.rss_kib();
    for mut connection in [gate.http(), gate.https()] {
        connection.send(format!("GET /nar/gzip/big HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"));
        // The head and the body, and nothing parsed: this is about volume.
        connection.peek_bytes(1 << 20).expect("a beginning");
        let grown = gate.rss_kib().saturating_sub(before);
        assert!(grown < 64 << 10, "{grown} KiB more with a client that reads nothing");
        let total = connection.drain().expect("the rest");
        assert!(total >= (MIB << 20) as u64);
    }
    let grown = gate.rss_kib().saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB more after {} MiB", 2 * MIB);
}

#[test]
fn a_client_that_leaves_half_way_takes_its_backend_connection_along() {
    let farm = Farm::start();
    for _ in 0..5 {
        let mut connection = farm.gate.https();
        connection.send(format!("GET /nar/big/64 HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        connection.peek_bytes(100_000).expect("a beginning");
        drop(connection);
    }
    assert_eq!(farm.gate.https().get("/abc.narinfo").status, 200);
    assert_eq!(farm.gate.https().get("/nar/gzip/abc").body, pattern("abc", 65536));
}

#[test]
fn an_answer_of_a_backend_that_is_none_is_a_502() {
    let recorder = Recorder::start(|request, tcp| {
        let answer: &[u8] = match request.target() {
            "/jobset/garbage" => b"hello\r\n\r\n",
            "/jobset/lengths" => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
            _ => b"",
        };
        let _ = tcp.write_all(answer);
        Then::Close
    });
    let gate = recorded(&recorder, |config| config);
    for target in ["/jobset/garbage", "/jobset/lengths", "/jobset/nothing"] {
        assert_eq!(gate.https().get(target).status, 502, "{target}");
    }
}

#[test]
fn errors_of_a_backend_are_its_own_and_no_sign_of_death() {
    let farm = Farm::start();
    for _ in 0..10 {
        let response = farm.gate.https().get("/api/error");
        assert_eq!((response.status, response.text().as_str()), (500, "missing parameter"));
        assert_eq!(farm.gate.https().get("/jobset/x").status, 200);
    }
}

#[test]
fn it_starts_without_its_backends_and_finds_them_later() {
    let mut cuirass = Guile::cuirass();
    cuirass.stop();
    let gate: Gate = only_ci(&cuirass.url()).set("timeouts.backend_restart", "\"0s\"").start();
    assert_eq!(gate.https().get("/jobset/x").status, 502);
    cuirass.start();
    eventually_true("the backend is found", || gate.https().get("/jobset/x").status == 200);
}

#[test]
fn requests_are_spread_over_connections_of_their_own() {
    let farm = Farm::start();
    // One slow page does not hold up another: no head-of-line blocking between clients.
    let mut slow = farm.gate.https();
    slow.send(format!("GET /slow/50 HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    farm.cuirass.wait_for("/slow/50");
    let started = Instant::now();
    assert_eq!(farm.gate.https().get("/jobset/x").status, 200);
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    assert_eq!(slow.response().text(), "done");
}

/// A backend whose file `/nar/gzip/N` or `/download/N` has N bytes, and how many of them it has handed over.
fn sized() -> (Recorder, Arc<AtomicUsize>) {
    let handed_over = Arc::new(AtomicUsize::new(0));
    let counter = handed_over.clone();
    let recorder = Recorder::start(move |request, tcp| {
        let size: usize = request.target().rsplit('/').next().and_then(|text| text.parse().ok()).unwrap_or(0);
        let _ = tcp.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n").as_bytes());
        for piece in pattern("large", size).chunks(16 << 10) {
            if tcp.write_all(piece).is_err() {
                return Then::Close;
            }
            counter.fetch_add(piece.len(), Ordering::SeqCst);
        }
        Then::Keep
    });
    (recorder, handed_over)
}

/// Some fit into the sockets on the way and some do not: what matters is where the last bytes wait.
const SIZES: [usize; 5] = [1_000_000, 3_000_000, 4_194_304, 5_000_000, 7_000_000];

fn slow_client_gets_all(answer: impl Fn(&Gate, &str, &dyn Fn()) -> Vec<u8>) {
    let (recorder, handed_over) = sized();
    // A stall is then seen as what it is, and not as slowness.
    let gate = recorded(&recorder, |config| config.set("timeouts.idle", "\"600s\""));
    for path in ["/nar/gzip/", "/download/"] {
        for size in SIZES {
            handed_over.store(0, Ordering::SeqCst);
            let pause = || {
                eventually_true("an answer", || handed_over.load(Ordering::SeqCst) > 0);
                at_rest("everything on the way is full", || handed_over.load(Ordering::SeqCst));
            };
            let body = answer(&gate, &format!("{path}{size}"), &pause);
            assert!(body == pattern("large", size), "{path}{size}: {} bytes", body.len());
        }
    }
}

#[test]
fn a_client_slower_than_the_backend_gets_the_last_byte_over_http_1() {
    slow_client_gets_all(|gate, target, pause| {
        let stream = TlsClient::default().try_handshake_over(narrow(gate.https_addr()), HOST);
        let mut connection = Connection::over_tls(stream.expect("a handshake"), HOST);
        connection.send(format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        pause();
        connection.try_response(false).unwrap_or_else(|broken| panic!("{target}: {broken}")).body
    });
}

#[test]
fn a_client_slower_than_the_backend_gets_the_last_byte_over_http_2() {
    slow_client_gets_all(|gate, target, pause| {
        let mut h2 = H2::over(&TlsClient::default(), narrow(gate.https_addr()), HOST);
        h2.ask(HOST, target);
        pause();
        match h2.answer() {
            Ok(Outcome::Answer { status: 200, body }) => body,
            outcome => panic!("{target}: {outcome:?}"),
        }
    });
}

#[test]
fn chunks_that_come_in_pieces_are_passed_on_as_one_body() {
    let recorder = Recorder::start(|_, tcp| {
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for piece in ["5", "\r", "\n", "hel", "lo", "\r", "\n"].iter().cycle().take(7 * 300) {
            let _ = tcp.write_all(piece.as_bytes());
            thread::yield_now();
        }
        let _ = tcp.write_all(b"0\r\n\r\n");
        Then::Keep
    });
    let gate = recorded(&recorder, |config| config);
    let mut connection = gate.http();
    // Whatever ended the first body early would be taken for the second answer.
    for _ in 0..2 {
        assert_eq!(connection.get("/page").text(), "hello".repeat(300));
    }
}

#[test]
fn what_is_answered_already_does_not_wait_for_a_backend_that_is_away() {
    let port = free_port();
    let site = Site::new(HOST).publish(&format!("http://127.0.0.1:{port}"));
    let gate = Config::new(site).set("timeouts.backend_restart", "\"10m\"").start();
    let mut connection = gate.http();
    connection.send(format!(
        "GET /robots.txt HTTP/1.1\r\nHost: {HOST}\r\n\r\nGET /nix-cache-info HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
    ));
    assert!(connection.response().text().contains("Disallow"));
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free again");
    let _back = Recorder::on(listener, |_, tcp| {
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nback");
        Then::Keep
    });
    assert_eq!(connection.response().text(), "back");
}

#[test]
fn an_open_connection_is_used_while_the_backend_takes_no_new_ones() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let serving = thread::spawn(move || {
        let (mut tcp, _) = listener.accept().expect("a connection");
        // From here on every other one is refused.
        drop(listener);
        let mut requests = 0;
        let mut seen = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            match tcp.read(&mut buffer) {
                Ok(0) | Err(_) => return requests,
                Ok(count) => seen.extend_from_slice(&buffer[..count]),
            }
            if seen.ends_with(b"\r\n\r\n") {
                seen.clear();
                requests += 1;
                tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").expect("written");
            }
        }
    });
    let gate = Config::new(Site::new(HOST).publish(&url)).set("timeouts.backend_restart", "\"1s\"").start();
    // One client is always with the same worker, whose connection is kept.
    let mut client = gate.http();
    assert_eq!(client.get("/nix-cache-info").text(), "ok");
    assert_eq!(gate.http().get("/nar/zstd/abc").status, 502, "it has a connection of its own");
    for _ in 0..2 {
        assert_eq!(client.get("/nix-cache-info").text(), "ok");
    }
    drop(gate);
    assert_eq!(serving.join().expect("no panic"), 3);
}

#[test]
fn a_body_that_a_backend_cuts_off_is_told_in_the_log() {
    let recorder = Recorder::start(|_, tcp| {
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
        Then::Close
    });
    let gate = recorded(&recorder, |config| config);
    let cut = gate.http().try_request("GET", b"/nar/zstd/abc", &[], b"");
    assert!(matches!(cut, Err(Broken::Truncated(_) | Broken::Reset)), "{cut:?}");
    let told = gate.wait_for_stderr("an answer was cut off");
    let id = gate.wait_for_access("http", "/nar/zstd/abc").split(' ').nth(1).expect("an id").to_owned();
    assert!(told.contains(HOST) && told.contains(&format!("(id {id})")), "{told}");
}

#[test]
fn a_request_that_a_backend_drops_is_not_tried_on_every_idle_connection() {
    const CLIENTS: usize = 40;
    let here = Arc::new(AtomicUsize::new(0));
    let arrived = here.clone();
    let recorder = Recorder::start(move |request, tcp| {
        if request.target() == "/poison.narinfo" {
            return Then::Close;
        }
        // All at once, so that each has a connection of its own.
        arrived.fetch_add(1, Ordering::SeqCst);
        eventually_true("all clients are here", || arrived.load(Ordering::SeqCst) >= CLIENTS);
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        Then::Keep
    });
    let gate = recorded(&recorder, |config| config);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| assert_eq!(gate.http().get("/nix-cache-info").text(), "ok"));
        }
    });
    assert_eq!(gate.http().get("/poison.narinfo").status, 502);
    let tries = recorder.requests().iter().filter(|request| request.target() == "/poison.narinfo").count();
    assert!((4..=5).contains(&tries), "{tries}");
}

#[test]
fn a_client_that_waits_for_100_keeps_its_connection() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config);
    let mut connection = gate.http();
    connection.send(format!(
        "POST /x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    ));
    assert!(connection.peek_bytes(12).expect("a word to go on").starts_with(b"HTTP/1.1 100"));
    connection.send("abc");
    let answer = connection.response();
    assert!(answer.status == 200 && !answer.closes(), "{answer:?}");
    assert_eq!(connection.get("/y").text(), "ok");
}
