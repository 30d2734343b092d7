//! The cache: how often the backend is asked, and what clients get of what is kept.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::{fs, thread};

use super::support::config::{Config, HOST, Site};
use super::support::farm::recorded;
use super::support::gate::Gate;
use super::support::h2::H2;
use super::support::http1::{Broken, Response};
use super::support::recorder::{Recorder, Request, Then};
use super::support::tls::TlsClient;
use super::support::{SOON, eventually_true, pattern};

/// How often this target was asked for.
fn asked(recorder: &Recorder, target: &str) -> usize {
    recorder.requests().iter().filter(|request| request.target() == target).count()
}

fn respond(tcp: &mut TcpStream, head: &str, body: &[u8]) -> Then {
    let head = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n", body.len());
    let _ = tcp.write_all(&[head.as_bytes(), body].concat());
    Then::Close
}

/// A backend that says the same of everything; the body is its target.
fn saying(head: &'static str) -> Recorder {
    Recorder::start(move |request, tcp| respond(tcp, head, request.target().as_bytes()))
}

fn gate(recorder: &Recorder) -> Gate {
    recorded(recorder, |config| config)
}

/// Something that threads wait for.
#[derive(Clone, Default)]
struct Signal(Arc<(Mutex<bool>, Condvar)>);

impl Signal {
    fn give(&self) {
        *self.0.0.lock().expect("no panic while locked") = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let given = self.0.0.lock().expect("no panic while locked");
        let (given, _) =
            self.0.1.wait_timeout_while(given, SOON, |given| !*given).expect("no panic while locked");
        assert!(*given, "waited in vain");
    }
}

/// RFC 9111 section 4.2, and section 2 of RFC 9211.
#[test]
fn what_is_fresh_is_asked_for_once() {
    let recorder = saying("200 OK\r\nCache-Control: max-age=60");
    let gate = gate(&recorder);
    for target in ["/static/a.css", "/download/7", "/log/abc", "/static/a.css?v=2"] {
        let first = gate.http().get(target);
        assert_eq!(first.header("cache-status"), Some("farmgate; fwd=uri-miss; stored; ttl=60"), "{target}");
        eventually_true("a hit", || {
            let again = gate.https().get(target);
            assert_eq!((again.status, again.text().as_str()), (200, target));
            again.header("cache-status").is_some_and(|status| status.starts_with("farmgate; hit; ttl="))
        });
        assert_eq!(asked(&recorder, target), 1, "{target}");
    }
    for target in ["/", "/jobset/x", "/abc.narinfo", "/nar/x"] {
        gate.http().get(target);
        assert_eq!(gate.http().get(target).header("cache-status"), None);
        assert_eq!(asked(&recorder, target), 2, "{target}");
    }
}

/// RFC 9111 section 5.1.
#[test]
fn a_hit_has_its_age() {
    let recorder = saying(
        "200 OK\r\nDate: Tue, 01 Jul 2025 10:00:00 GMT\r\nAge: 100\r\nCache-Control: max-age=999999999",
    );
    let gate = gate(&recorder);
    gate.http().get("/static/a");
    let hit = gate.http().get("/static/a");
    assert!(hit.header("age").unwrap().parse::<u64>().unwrap() > 1_000_000, "{:?}", hit.headers);
    assert_eq!(asked(&recorder, "/static/a"), 1);
}

/// RFC 9111 sections 3, 4.1 and 5.2.2.
#[test]
fn what_may_not_be_kept_is_asked_for_each_time() {
    for head in [
        "200 OK\r\nCache-Control: no-store",
        "200 OK\r\nCache-Control: private, max-age=60",
        "200 OK\r\nSet-Cookie: a=1\r\nCache-Control: max-age=60",
        "200 OK\r\nVary: Accept, *\r\nCache-Control: max-age=60",
        "200 OK\r\nCache-Control: max-age=0",
        "500 Oops",
    ] {
        let recorder = saying(head);
        let gate = gate(&recorder);
        for _ in 0..3 {
            assert_eq!(gate.http().get("/static/a").text(), "/static/a", "{head}");
        }
        assert_eq!(asked(&recorder, "/static/a"), 3, "{head}");
    }
}

/// A backend that is too busy is left alone for half a minute, as the farms' nginx has it.
#[test]
fn a_504_of_the_backend_is_kept_for_30_seconds() {
    let recorder = saying("504 Gateway Timeout");
    let gate = gate(&recorder);
    let first = gate.http().get("/static/a");
    assert_eq!(first.header("cache-status"), Some("farmgate; fwd=uri-miss; stored; ttl=30"));
    for _ in 0..3 {
        assert_eq!(gate.http().get("/static/a").status, 504);
    }
    assert_eq!(asked(&recorder, "/static/a"), 1);
}

#[test]
fn a_log_that_is_not_there_yet_is_asked_for_again() {
    let recorder = saying("404 Not Found");
    let gate = gate(&recorder);
    for target in ["/log/a", "/static/a"] {
        for _ in 0..3 {
            assert_eq!(gate.http().get(target).status, 404);
        }
    }
    assert_eq!((asked(&recorder, "/log/a"), asked(&recorder, "/static/a")), (3, 1));
}

#[test]
fn a_fallback_of_zero_never_guesses() {
    let recorder = saying("200 OK");
    let gate = recorded(&recorder, |config| config.set("cache.static.fallback_ttl", "\"0s\""));
    for _ in 0..2 {
        assert_eq!(gate.http().get("/static/a").status, 200);
        assert_eq!(gate.http().get("/download/1").status, 200);
    }
    assert_eq!((asked(&recorder, "/static/a"), asked(&recorder, "/download/1")), (2, 1));
}

#[test]
fn downloads_tell_clients_to_keep_them() {
    let recorder = Recorder::start(|request, tcp| match request.target() {
        "/download/1" => respond(tcp, "200 OK\r\nETag: \"1\"\r\nCache-Control: max-age=43200", b"body"),
        _ => respond(tcp, "404 Not Found\r\nCache-Control: max-age=60", b"none"),
    });
    let gate = gate(&recorder);
    // The seconds since it was made are put on top: see below.
    let assert_keeps = |answer: &Response| {
        let max_age = answer.header("cache-control").and_then(|value| value.strip_prefix("max-age="));
        let seconds: u64 = max_age.and_then(|seconds| seconds.parse().ok()).expect("a max-age");
        assert!((864_000..864_000 + 600).contains(&seconds), "{answer:?}");
    };
    for _ in 0..2 {
        assert_keeps(&gate.http().get("/download/1"));
        assert_eq!(gate.http().get("/download/2").header("cache-control"), Some("max-age=60"));
    }
    assert_keeps(&gate.http().request("HEAD", "/download/1", &[], b""));
    let same = gate.http().get_with("/download/1", &[("If-None-Match", "\"1\"")]);
    assert_eq!(same.status, 304);
    assert_keeps(&same);
}

/// A client counts from when the answer was made (RFC 9111 section 4.2.3), which for one that was kept for longer than
/// `expires` is too long ago: without its age on top, it would be stale on arrival.
#[test]
fn downloads_are_good_for_as_long_as_expires_says_however_old_they_are() {
    let recorder = saying("200 OK\r\nAge: 5000000\r\nCache-Control: max-age=9999999");
    let gate = gate(&recorder);
    for round in 0..3 {
        let answer = gate.http().get("/download/1");
        let age: u64 = answer.header("age").expect("an age").parse().expect("seconds");
        let max_age = answer.header("cache-control").and_then(|value| value.strip_prefix("max-age="));
        assert_eq!(max_age, Some(format!("{}", age + 864_000).as_str()), "{round}");
    }
    assert_eq!(asked(&recorder, "/download/1"), 1);
}

/// RFC 9111 section 4.1.
#[test]
fn variants_are_kept_apart() {
    let recorder = Recorder::start(|request, tcp| {
        let language = request.header("accept-language").unwrap_or("none").to_owned();
        respond(tcp, "200 OK\r\nVary: Accept-Language\r\nCache-Control: max-age=60", language.as_bytes())
    });
    let gate = gate(&recorder);
    for _ in 0..3 {
        for language in ["de", "fr", "nl"] {
            let answer = gate.http().get_with("/static/a", &[("Accept-Language", language)]);
            assert_eq!(answer.text(), language);
        }
        assert_eq!(gate.http().get("/static/a").text(), "none");
    }
    assert_eq!(asked(&recorder, "/static/a"), 4);
}

#[test]
fn hosts_and_sites_are_kept_apart() {
    let recorder = Recorder::start(|request, tcp| {
        let host = request.header("x-forwarded-host").unwrap_or_default().to_owned();
        respond(tcp, "200 OK\r\nCache-Control: max-age=60", host.as_bytes())
    });
    let site = |name: &str| Site::new(name).ci(&recorder.url());
    let gate = Config::new(site(HOST).also("alias.example")).site(site("other.example")).start();
    for _ in 0..2 {
        for host in [HOST, "alias.example", "other.example"] {
            let mut connection = gate.http();
            connection.host = host.into();
            assert_eq!(connection.get("/static/a").text(), host);
        }
    }
    assert_eq!(asked(&recorder, "/static/a"), 3);
}

/// RFC 9110 sections 13.1.2 and 13.1.3; RFC 9111 section 4.3.2.
#[test]
fn conditional_requests_are_answered_from_what_is_kept() {
    let recorder = saying(
        "200 OK\r\nETag: \"1\"\r\nLast-Modified: Tue, 01 Jul 2025 10:00:00 GMT\r\nCache-Control: max-age=60",
    );
    let gate = gate(&recorder);
    let ask = |name, value| gate.http().get_with("/static/a", &[(name, value)]).status;
    assert_eq!(ask("If-None-Match", "\"1\""), 304);
    assert_eq!(ask("If-None-Match", "W/\"1\", \"2\""), 304);
    assert_eq!(ask("If-None-Match", "\"2\""), 200);
    assert_eq!(ask("If-Modified-Since", "Tue, 01 Jul 2025 10:00:00 GMT"), 304);
    assert_eq!(ask("If-Modified-Since", "Tue, 01 Jul 2025 09:00:00 GMT"), 200);
    assert_eq!(asked(&recorder, "/static/a"), 1);
    assert_eq!(recorder.requests()[0].header("if-none-match"), None, "the whole is asked for");
}

/// RFC 9110 sections 13.1.5, 14.2, 14.6, 15.3.7 and 15.5.17.
#[test]
fn ranges_are_cut_from_the_whole() {
    let body = pattern("range", 300_000);
    let content = body.clone();
    let recorder = Recorder::start(move |_, tcp| {
        respond(
            tcp,
            "200 OK\r\nETag: \"1\"\r\nContent-Type: text/plain\r\nCache-Control: max-age=60",
            &content,
        )
    });
    let gate = recorded(&recorder, |config| config.set("cache.memory", "\"1MiB\""));
    for round in 0..2 {
        let ask = |range: &str| gate.http().get_with("/download/1", &[("Range", range)]);
        let middle = ask("bytes=131000-131100");
        assert_eq!((middle.status, &middle.body[..]), (206, &body[131_000..=131_100]), "{round}");
        assert_eq!(middle.header("content-range"), Some("bytes 131000-131100/300000"));
        assert_eq!(ask("bytes=-5").body, body[299_995..]);
        let several = ask("bytes=0-1,200000-200001");
        let kind = several.header("content-type").unwrap().to_owned();
        let boundary = kind.strip_prefix("multipart/byteranges; boundary=").expect("several parts");
        let text = several.text();
        assert_eq!(text.matches(&format!("--{boundary}")).count(), 3, "{text}");
        assert!(text.contains("Content-Range: bytes 200000-200001/300000\r\n\r\n"));
        let beyond = ask("bytes=300000-");
        assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */300000")));
        let other = [("Range", "bytes=0-1"), ("If-Range", "\"2\"")];
        assert_eq!(gate.http().get_with("/download/1", &other).body.len(), 300_000);
    }
    assert_eq!(asked(&recorder, "/download/1"), 1);
    assert_eq!(recorder.requests()[0].header("range"), None);
}

/// RFC 9110 section 9.3.2.
#[test]
fn a_head_is_answered_from_what_a_get_left() {
    let recorder = saying("200 OK\r\nETag: \"1\"\r\nCache-Control: max-age=60");
    let gate = gate(&recorder);
    // Not worth fetching a file for: the backend is asked, and nothing is kept.
    assert_eq!(gate.http().request("HEAD", "/static/a", &[], b"").status, 200);
    assert_eq!(gate.http().request("HEAD", "/static/a", &[], b"").status, 200);
    assert_eq!(asked(&recorder, "/static/a"), 2);
    gate.http().get("/static/a");
    let mut connection = gate.https();
    for _ in 0..3 {
        let head = connection.request("HEAD", "/static/a", &[], b"");
        assert_eq!((head.status, head.header("content-length")), (200, Some("9")));
        assert_eq!(connection.get("/static/a").text(), "/static/a");
    }
    assert_eq!(connection.request("HEAD", "/static/a", &[("If-None-Match", "\"1\"")], b"").status, 304);
    assert_eq!(asked(&recorder, "/static/a"), 3);
    let mut h2 = H2::connect(&TlsClient::default(), gate.https_addr(), HOST);
    for method in ["HEAD", "GET", "HEAD"] {
        assert_eq!(h2.request(method, HOST, b"/static/a", &[], b"").status(), Some(200), "{method}");
    }
    assert!(h2.is_open());
}

/// Answers with `pattern(seed, size)`: half of it at once, and the rest when `go_on` is given.
fn in_two_halves(seed: &'static str, size: usize, go_on: &Signal) -> Recorder {
    let go_on = go_on.clone();
    Recorder::start(move |_, tcp| {
        let body = pattern(seed, size);
        let _ = tcp.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n").as_bytes());
        let _ = tcp.write_all(&body[..size / 2]);
        go_on.wait();
        let _ = tcp.write_all(&body[size / 2..]);
        Then::Close
    })
}

/// RFC 9111 section 4.
#[test]
fn fifty_clients_who_ask_at_once_are_one_fetch() {
    const SIZE: usize = 8 << 20;
    let half_way = Signal::default();
    let recorder = in_two_halves("big", SIZE, &half_way);
    let gate = gate(&recorder);
    let body = pattern("big", SIZE);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..50)
            .map(|at| {
                let gate = &gate;
                scope.spawn(move || {
                    let mut connection = if at % 2 == 0 { gate.http() } else { gate.https() };
                    connection.send(format!("GET /download/1 HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
                    // They are fed while it comes.
                    connection.peek_bytes(SIZE / 2).expect("the first half");
                    connection
                })
            })
            .collect();
        let connections: Vec<_> = clients.into_iter().map(|client| client.join().expect("a half")).collect();
        half_way.give();
        for mut connection in connections {
            assert!(connection.response().body == body, "not the whole body");
        }
    });
    assert_eq!(asked(&recorder, "/download/1"), 1);
}

#[test]
fn a_slow_client_holds_nobody_up() {
    const SIZE: usize = 32 << 20;
    // Made once, and before anybody waits for it.
    let body: Arc<[u8]> = pattern("slow", SIZE).into();
    let given = body.clone();
    let recorder = Recorder::start(move |_, tcp| respond(tcp, "200 OK", &given));
    // How long the slow one is borne with is another matter.
    let gate = recorded(&recorder, |config| {
        ["read", "send", "nar"]
            .iter()
            .fold(config, |config, key| config.set(&format!("timeouts.{key}"), "\"600s\""))
    });
    let mut slow = gate.http();
    slow.send(format!("GET /download/1 HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    slow.peek_bytes(1000).expect("a beginning");
    assert_eq!(gate.http().get("/download/1").body.len(), SIZE);
    assert!(slow.response().body[..] == body[..]);
    assert_eq!(asked(&recorder, "/download/1"), 1);
}

#[test]
fn a_client_that_leaves_does_not_stop_the_fetch() {
    const SIZE: usize = 4 << 20;
    let left = Signal::default();
    let recorder = in_two_halves("left", SIZE, &left);
    let gate = gate(&recorder);
    let mut client = gate.http();
    client.send(format!("GET /download/1 HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    client.peek_bytes(1 << 20).expect("a beginning");
    drop(client);
    left.give();
    assert!(gate.http().get("/download/1").body == pattern("left", SIZE));
    assert_eq!(asked(&recorder, "/download/1"), 1);
}

/// RFC 9111 section 3.3.
#[test]
fn a_fetch_that_breaks_off_is_never_the_whole() {
    let tries = AtomicU32::new(0);
    let recorder = Recorder::start(move |request, tcp| {
        let chunked = request.target() == "/log/chunked";
        let framing = if chunked { "Transfer-Encoding: chunked" } else { "Content-Length: 200000" };
        let _ = tcp.write_all(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n").as_bytes());
        let body = pattern("x", 200_000);
        let end = if tries.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) { 100_000 } else { 200_000 };
        if chunked {
            let _ = tcp.write_all(format!("{:x}\r\n", 200_000).as_bytes());
        }
        let _ = tcp.write_all(&body[..end]);
        if chunked && end == 200_000 {
            let _ = tcp.write_all(b"\r\n0\r\n\r\n");
        }
        Then::Close
    });
    let gate = gate(&recorder);
    for target in ["/log/sized", "/log/chunked"] {
        let broken = gate.http().try_request("GET", target.as_bytes(), &[], b"");
        assert!(matches!(broken, Err(Broken::Truncated(_) | Broken::Reset)), "{target}: {broken:?}");
        assert!(gate.http().get(target).body == pattern("x", 200_000), "{target}");
        assert!(gate.http().get(target).body == pattern("x", 200_000), "{target}");
        assert_eq!(asked(&recorder, target), 2, "{target}");
    }
}

#[test]
fn what_is_larger_than_the_space_passes_through() {
    const SIZE: usize = 3 << 20;
    let recorder = Recorder::start(move |request, tcp| {
        let body = pattern("large", SIZE);
        if request.target() == "/download/sized" {
            return respond(tcp, "200 OK", &body);
        }
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        let _ = tcp.write_all(&body);
        Then::Close
    });
    let gate = recorded(&recorder, |config| config.set("cache.static.max_size", "\"2MiB\""));
    for target in ["/download/sized", "/download/unsized"] {
        for _ in 0..2 {
            assert!(gate.http().get(target).body == pattern("large", SIZE), "{target}");
        }
        assert_eq!(asked(&recorder, target), 2, "{target}");
    }
}

/// Whether that many answers are kept: as files, and in the index, which hears of them a moment later.
fn are_kept(gate: &Gate, count: usize) -> bool {
    let list = gate.command(&["cache", "list", "--json"]);
    let listed =
        serde_json::from_slice::<Vec<serde_json::Value>>(&list.stdout).map_or(0, |items| items.len());
    listed == count && stored_files(gate).len() == count
}

fn stored_files(gate: &Gate) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![gate.folder().join("cache")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                true if !entry.file_name().to_string_lossy().starts_with("making-") => {
                    folders.push(entry.path())
                }
                true => {}
                false => found.push(entry.path()),
            }
        }
    }
    found
}

/// A gate in place of another, on what that one left in its cache.
fn successor(old: &Gate) -> Gate {
    let cache = old.folder().join("cache").display().to_string();
    old.config.clone().set("paths.cache", &format!("{cache:?}")).start()
}

#[test]
fn a_restart_keeps_what_is_stored_also_one_by_kill() {
    let recorder = saying("200 OK\r\nCache-Control: max-age=600");
    let old = gate(&recorder);
    for at in 0..20 {
        old.http().get(&format!("/static/{at}"));
    }
    eventually_true("files", || are_kept(&old, 20));
    old.signal("KILL");
    old.wait_for_exit();
    let new = successor(&old);
    new.wait_for_stderr("20 responses found");
    for at in 0..20 {
        assert_eq!(new.http().get(&format!("/static/{at}")).text(), format!("/static/{at}"));
    }
    assert_eq!(recorder.requests().len(), 20);
}

#[test]
fn a_file_that_was_damaged_is_fetched_again() {
    let recorder = saying("200 OK\r\nCache-Control: max-age=600");
    let old = recorded(&recorder, |config| config.set("cache.memory", "\"0B\""));
    for target in ["/static/flipped", "/static/cut", "/static/gone"] {
        old.http().get(target);
    }
    eventually_true("files", || are_kept(&old, 3));
    for (at, path) in stored_files(&old).into_iter().enumerate() {
        let mut bytes = fs::read(&path).unwrap();
        match at {
            0 => bytes[3] ^= 1,
            1 => bytes.truncate(20),
            _ => {
                fs::remove_file(&path).unwrap();
                continue;
            }
        }
        fs::write(&path, bytes).unwrap();
    }
    for target in ["/static/flipped", "/static/cut", "/static/gone"] {
        for _ in 0..2 {
            assert_eq!(old.http().get(target).text(), target);
        }
        assert_eq!(asked(&recorder, target), 2, "{target}");
    }
}

#[test]
fn a_disk_that_cannot_be_written_fails_no_request_and_is_told_of_once() {
    let recorder = saying("200 OK\r\nCache-Control: max-age=600");
    let folder = tempfile::tempdir().unwrap();
    // A file where the folder should be: also root cannot write there.
    let cache = folder.path().join("cache");
    fs::write(&cache, "").unwrap();
    let path = format!("{:?}", cache.display().to_string());
    let gate = recorded(&recorder, |config| config.set("paths.cache", &path));
    for _ in 0..5 {
        assert_eq!(gate.http().get("/static/a").text(), "/static/a");
    }
    assert_eq!(asked(&recorder, "/static/a"), 5);
    let told =
        || gate.stderr().iter().filter(|line| line.contains("the backend answers until it can")).count();
    assert_eq!(told(), 1);
    fs::remove_file(&cache).unwrap();
    gate.http().get("/static/a");
    gate.wait_for_stderr("works again");
    gate.http().get("/static/a");
    assert_eq!((asked(&recorder, "/static/a"), told()), (6, 1));
    // Somebody empties it by hand while we run.
    fs::remove_dir_all(&cache).unwrap();
    for target in ["/static/a", "/static/b"] {
        assert_eq!(gate.http().get(target).text(), target);
    }
}

#[test]
fn what_was_purged_is_not_served_again() {
    let recorder = saying("200 OK\r\nCache-Control: max-age=600");
    let gate = gate(&recorder);
    let targets = ["/static/a", "/static/b", "/log/c"];
    let fetch = || targets.iter().for_each(|target| assert_eq!(gate.http().get(target).text(), *target));
    let counts = || targets.map(|target| asked(&recorder, target));
    fetch();
    eventually_true("files", || are_kept(&gate, 3));
    let purge = |arguments: &[&str]| {
        let output = gate.command(&[&["cache", "purge"], arguments].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let listed = String::from_utf8_lossy(&gate.command(&["cache", "list"]).stdout).into_owned();
    assert_eq!(listed.lines().count(), 3, "{listed}");
    assert_eq!(purge(&["--url", &format!("https://{HOST}/static/a")]), "1 purged\n");
    fetch();
    assert_eq!(counts(), [2, 1, 1]);
    eventually_true("files", || are_kept(&gate, 3));
    assert_eq!(purge(&["--prefix", "/log/"]), "1 purged\n");
    fetch();
    assert_eq!(counts(), [2, 1, 2]);
    eventually_true("files", || are_kept(&gate, 3));
    assert_eq!(purge(&["--all"]), "3 purged\n");
    assert_eq!(stored_files(&gate).len(), 0);
    fetch();
    assert_eq!(counts(), [3, 2, 3]);
    assert_eq!(gate.command(&["cache", "purge"]).status.code(), Some(2));
    let stats = String::from_utf8_lossy(&gate.command(&["cache", "stats", "--json"]).stdout).into_owned();
    assert!(stats.contains("\"misses\": 8"), "{stats}");
}

#[test]
fn what_was_purged_while_it_was_fetched_is_not_kept() {
    let (begun, purged) = (Signal::default(), Signal::default());
    let (began, go_on) = (begun.clone(), purged.clone());
    let recorder = Recorder::start(move |_, tcp| {
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf");
        began.give();
        go_on.wait();
        let _ = tcp.write_all(b"half");
        Then::Close
    });
    let gate = gate(&recorder);
    thread::scope(|scope| {
        let client = scope.spawn(|| gate.http().get("/static/a").text());
        begun.wait();
        assert!(gate.command(&["cache", "purge", "--all"]).status.success());
        purged.give();
        assert_eq!(client.join().expect("an answer"), "halfhalf");
    });
    assert_eq!(gate.http().get("/static/a").text(), "halfhalf");
    assert_eq!(asked(&recorder, "/static/a"), 2);
}

/// RFC 9111 sections 4.3.1, 4.3.4 and 3.2.
#[test]
fn what_is_stale_is_validated_and_its_fields_are_updated() {
    let recorder = Recorder::start(|request: &Request, tcp| match request.header("if-none-match") {
        Some("\"1\"") => {
            let _ = tcp.write_all(
                b"HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\nX-New: 1\r\nCache-Control: max-age=60\r\n\r\n",
            );
            Then::Close
        }
        _ => respond(tcp, "200 OK\r\nETag: \"1\"\r\nX-Old: 1\r\nCache-Control: max-age=0", b"body"),
    });
    let gate = gate(&recorder);
    gate.http().get("/static/a");
    eventually_true("a file", || are_kept(&gate, 1));
    let validated = gate.http().get("/static/a");
    assert_eq!((validated.status, validated.text().as_str()), (200, "body"));
    assert_eq!(validated.header("cache-status"), Some("farmgate; fwd=stale; fwd-status=304; stored; ttl=60"));
    assert_eq!((validated.header("x-new"), validated.header("x-old")), (Some("1"), Some("1")));
    let hit = gate.http().get("/static/a");
    assert!(hit.header("cache-status").unwrap().starts_with("farmgate; hit"), "{:?}", hit.headers);
    assert_eq!(asked(&recorder, "/static/a"), 2);
    // Also after a restart.
    let new = successor(&gate);
    new.wait_for_stderr("1 responses found");
    assert_eq!(new.http().get("/static/a").header("x-new"), Some("1"));
    assert_eq!(asked(&recorder, "/static/a"), 2);
}

/// RFC 5861 sections 3 and 4.
#[test]
fn stale_answers_stand_in_for_errors_and_while_a_new_one_comes() {
    let count = AtomicU32::new(0);
    let recorder = Recorder::start(move |request, tcp| {
        let head = match (request.target(), count.fetch_add(1, Ordering::SeqCst)) {
            ("/static/error", 0) => "200 OK\r\nCache-Control: max-age=0, stale-if-error=60",
            ("/static/error", _) => "503 Busy\r\nCache-Control: no-store",
            _ => "200 OK\r\nCache-Control: max-age=0, stale-while-revalidate=60",
        };
        respond(tcp, head, b"body")
    });
    let gate = gate(&recorder);
    gate.http().get("/static/error");
    eventually_true("a file", || are_kept(&gate, 1));
    let stale = gate.http().get("/static/error");
    assert_eq!((stale.status, stale.text().as_str()), (200, "body"));
    assert!(stale.header("cache-status").unwrap().contains("fwd-status=503"), "{:?}", stale.headers);
    gate.http().get("/static/while");
    eventually_true("a file", || are_kept(&gate, 2));
    let stale = gate.http().get("/static/while");
    assert!(stale.header("cache-status").unwrap().starts_with("farmgate; hit"), "{:?}", stale.headers);
    eventually_true("a new one is fetched", || asked(&recorder, "/static/while") >= 2);
}

/// RFC 9111 section 5.2.1.
#[test]
fn request_directives_are_heeded() {
    let recorder = saying("200 OK\r\nETag: \"1\"\r\nCache-Control: max-age=60");
    let gate = gate(&recorder);
    let ask = |value| gate.http().get_with("/static/a", &[("Cache-Control", value)]);
    assert_eq!(ask("only-if-cached").status, 504);
    assert_eq!(asked(&recorder, "/static/a"), 0);
    assert_eq!(ask("no-store").status, 200);
    assert_eq!(ask("only-if-cached").status, 504);
    gate.http().get("/static/a");
    // The file has its name a moment before the index knows of it.
    eventually_true("it is kept", || ask("only-if-cached").status == 200);
    assert_eq!(ask("min-fresh=30").status, 200);
    assert_eq!(asked(&recorder, "/static/a"), 2);
    assert!(ask("min-fresh=90").header("cache-status").unwrap().contains("fwd=request"));
    assert!(ask("no-cache").header("cache-status").unwrap().contains("fwd=request"));
    assert_eq!(asked(&recorder, "/static/a"), 4);
}

/// RFC 9111 section 4.4.
#[test]
fn a_successful_unsafe_request_invalidates() {
    let recorder = Recorder::start(|request, tcp| match request.line().split(' ').next() {
        Some("POST") if request.target() == "/static/refused" => respond(tcp, "403 Forbidden", b"no"),
        Some("POST") => respond(tcp, "302 Found\r\nLocation: /static/b", b""),
        _ => respond(tcp, "200 OK\r\nCache-Control: max-age=60", b"body"),
    });
    let gate = gate(&recorder);
    let targets = ["/static/a", "/static/b", "/static/refused"];
    targets.iter().for_each(|target| assert_eq!(gate.http().get(target).status, 200));
    eventually_true("files", || are_kept(&gate, 3));
    gate.http().request("POST", "/static/a", &[], b"x");
    gate.http().request("POST", "/static/refused", &[], b"x");
    let before = recorder.requests().len();
    targets.iter().for_each(|target| assert_eq!(gate.http().get(target).status, 200));
    assert_eq!(recorder.requests().len() - before, 2);
}

/// RFC 9111 section 4.4. The client may act on the answer as soon as it has the head, and need not wait for the rest.
#[test]
fn what_an_unsafe_request_changed_is_let_go_of_before_its_answer_is_sent() {
    let go_on = Signal::default();
    let end = go_on.clone();
    let recorder = Recorder::start(move |request, tcp| {
        if request.line().starts_with("POST") {
            let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf");
            end.wait();
            let _ = tcp.write_all(b"half");
            return Then::Close;
        }
        respond(tcp, "200 OK\r\nCache-Control: max-age=60", b"body")
    });
    let gate = gate(&recorder);
    gate.http().get("/static/a");
    eventually_true("a file", || are_kept(&gate, 1));
    let mut client = gate.http();
    client.send(format!("POST /static/a HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1\r\n\r\nx"));
    client.peek_bytes(10).expect("a head");
    gate.http().get("/static/a");
    assert_eq!(asked(&recorder, "/static/a"), 3);
    // One that leaves before the end has changed it as well.
    drop(client);
    go_on.give();
}

/// RFC 9110 section 6.6.1: the Date is that of the answer's making, which a cache does not change; RFC 9111 section
/// 5.1: the Age says how long ago that was.
#[test]
fn the_date_of_an_answer_is_the_backends() {
    const MADE: &str = "Tue, 01 Jul 2025 10:00:00 GMT";
    let recorder =
        saying("200 OK\r\nDate: Tue, 01 Jul 2025 10:00:00 GMT\r\nCache-Control: max-age=999999999");
    let gate = gate(&recorder);
    for round in 0..3 {
        let answer = gate.http().get("/static/a");
        assert_eq!(answer.header("date"), Some(MADE), "{round}: {:?}", answer.headers);
        assert_eq!(answer.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("date")).count(), 1);
        assert_eq!(gate.https().get("/static/a").header("date"), Some(MADE));
        let part = gate.http().get_with("/static/a", &[("Range", "bytes=0-0")]);
        assert_eq!((part.status, part.header("date")), (206, Some(MADE)));
    }
    // Also between others on one connection.
    let mut connection = gate.http();
    for target in ["/static/a", "/", "/robots.txt", "/static/a"] {
        let date = connection.get(target).header("date").map(str::to_owned);
        assert_eq!(date.as_deref() == Some(MADE), target.starts_with("/static"), "{target}: {date:?}");
    }
}

#[test]
fn the_space_stays_within_its_size() {
    let recorder = Recorder::start(|_, tcp| {
        respond(tcp, "200 OK\r\nCache-Control: max-age=600", &pattern("f", 100_000))
    });
    let gate = recorded(&recorder, |config| config.set("cache.static.max_size", "\"1MiB\""));
    let mut connection = gate.http();
    for at in 0..40 {
        assert_eq!(connection.get(&format!("/static/{at}")).body.len(), 100_000);
    }
    eventually_true("what is too much is removed", || {
        let sizes =
            stored_files(&gate).into_iter().filter_map(|path| fs::metadata(path).ok()).map(|file| file.len());
        sizes.sum::<u64>() <= (1 << 20) + 10 * 2000
    });
    assert!(stored_files(&gate).len() >= 9);
    // The last ones are there.
    assert_eq!(connection.get("/static/39").body.len(), 100_000);
    assert_eq!(asked(&recorder, "/static/39"), 1);
}

#[test]
fn other_sizes_take_effect_with_a_reload() {
    let recorder = Recorder::start(|_, tcp| {
        respond(tcp, "200 OK\r\nCache-Control: max-age=600", &pattern("f", 100_000))
    });
    let gate = gate(&recorder);
    for at in 0..20 {
        gate.http().get(&format!("/static/{at}"));
    }
    eventually_true("files", || are_kept(&gate, 20));
    gate.rewrite(&gate.config.clone().set("cache.static.max_size", "\"500KiB\""));
    gate.reload();
    eventually_true("what is too much is removed", || stored_files(&gate).len() <= 5);
    gate.http().get("/static/19");
    assert_eq!(asked(&recorder, "/static/19"), 1);
}

#[test]
fn a_backend_that_is_away_is_waited_for_and_a_timeout_is_a_504() {
    let recorder = Recorder::start(|_, _| Then::Keep);
    let gate = recorded(&recorder, |config| config.set("timeouts.read", "\"1s\""));
    assert_eq!(gate.http().get("/static/a").status, 504);
}
