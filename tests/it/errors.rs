//! Errors of our own: a page for browsers, text for others, nothing to cache, and an id that is in the log.

use super::support::config::{Config, HOST, Site};
use super::support::eventually_true;
use super::support::farm::{Farm, recorded};
use super::support::gate::Gate;
use super::support::http1::{Connection, Framing, Response, from_address};
use super::support::recorder::{Recorder, Then};
use super::support::{free_port, pki};

/// No header that would let anybody keep it.
pub fn assert_not_cacheable(response: &Response) {
    let control = response.header("cache-control").unwrap_or("no-store");
    assert!(control.contains("no-store") || control.contains("no-cache"), "{:?}", response.headers);
    for name in ["expires", "etag", "last-modified", "age"] {
        assert_eq!(response.header(name), None, "{:?}", response.headers);
    }
}

fn without_backend() -> Gate {
    let dead = format!("http://127.0.0.1:{}", free_port());
    let site = Site::new(HOST).publish(&dead).ci(&dead);
    Config::new(site)
        .client_ca(&pki::world().authority.cert)
        .set("timeouts.backend_restart", "\"0s\"")
        .set("limits.body", "\"1KiB\"")
        .start()
}

fn is_html(response: &Response) -> bool {
    response.header("content-type").is_some_and(|kind| kind.starts_with("text/html"))
}

#[test]
fn browsers_get_a_page_and_others_get_text() {
    let gate = without_backend();
    let too_large = [b'x'; 2000];
    for (status, method, target, body) in [
        (403, "GET", "/admin", &b""[..]),
        (404, "GET", "/.well-known/none", b""),
        (413, "POST", "/x", &too_large),
        (502, "GET", "/jobset/x", b""),
    ] {
        let page = gate.https().request(
            method,
            target,
            &[("Accept", "text/html,application/xhtml+xml;q=0.9")],
            body,
        );
        let text = gate.https().request(method, target, &[("Accept", "*/*")], body);
        let bare = gate.https().request(method, target, &[], body);
        for response in [&page, &text, &bare] {
            assert_eq!(response.status, status, "{target}");
            assert_eq!(response.framing, Framing::Length, "{target}");
            assert!(!response.body.is_empty(), "{target}");
            assert_not_cacheable(response);
        }
        assert!(
            is_html(&page) && page.text().to_lowercase().starts_with("<!doctype html>"),
            "{target}: {page:?}"
        );
        for response in [&text, &bare] {
            assert!(
                response.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")),
                "{response:?}"
            );
            assert!(!response.text().contains('<'), "{target}: {}", response.text());
        }
        assert!(page.text().contains(&status.to_string()), "{target}");
        let head = gate.https().request("HEAD", target, &[("Accept", "text/html")], b"");
        assert_eq!(head.body.len(), 0);
    }
}

/// The id is the longest word of letters and digits that has a digit in it.
fn id_of(response: &Response) -> String {
    let text = response.text();
    text.split(|char: char| !char.is_ascii_alphanumeric() && char != '-')
        .filter(|word| word.len() >= 6 && word.contains(|char: char| char.is_ascii_digit()))
        .max_by_key(|word| word.len())
        .unwrap_or_else(|| panic!("no id in {text:?}"))
        .to_string()
}

#[test]
fn the_id_on_the_page_is_in_the_log() {
    let gate = without_backend();
    let id = id_of(&gate.https().get("/jobset/x"));
    eventually_true("the id in a log", || {
        gate.stderr().into_iter().chain(gate.access_log("https")).any(|line| line.contains(&id))
    });
}

#[test]
fn nothing_of_the_request_is_written_into_the_page() {
    let gate = without_backend();
    for target in
        ["/<script>alert(1)</script>", "/%3Cscript%3Ealert(1)", "/admin/<script>", "/.well-known/<script>"]
    {
        let response = gate.https().try_request("GET", target.as_bytes(), &[("Accept", "text/html")], b"");
        if let Ok(response) = response {
            assert!(!response.text().contains("<script"), "{target}: {}", response.text());
        }
    }
}

#[test]
fn what_is_no_request_is_a_400_and_the_connection_ends() {
    let gate = without_backend();
    let mut wrong = Vec::new();
    for bytes in [
        "GET / HTTP/1.1\r\n\r\n".to_string(),
        format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nHost: {HOST}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nNo colon\r\n\r\n"),
        format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: ten\r\n\r\n"),
        format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
    ] {
        let mut connection = gate.http();
        connection.send(&bytes);
        let response = connection.response();
        if response.status != 400 || !response.closes() {
            wrong.push(format!("{}: {} {:?}", bytes.escape_debug(), response.status, response.headers));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn an_error_does_not_end_the_connection_unless_it_must() {
    let farm = Farm::start();
    let mut connection = farm.gate.https();
    for _ in 0..3 {
        assert_eq!(connection.get("/admin").status, 403);
        assert_eq!(connection.get("/.well-known/none").status, 404);
        assert_eq!(connection.get("/abc.narinfo").status, 200);
    }
}

#[test]
fn a_backend_that_is_lost_after_100_continue_is_a_502_with_an_id() {
    // Reads the whole request, and is gone.
    let recorder = Recorder::start(|_, _| Then::Close);
    let gate = recorded(&recorder, |config| config);
    for (log, mut connection) in [("http", gate.http()), ("https", gate.https())] {
        connection.send(format!(
            "POST /jobset/x/hook/evaluate HTTP/1.1\r\nHost: {HOST}\r\n\
             Content-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        ));
        let interim = connection.peek_bytes(12).expect("an interim answer").to_vec();
        assert!(interim.starts_with(b"HTTP/1.1 100"), "{}", interim.escape_ascii());
        connection.send("body");
        let response = connection.response();
        assert_eq!((response.status, response.framing), (502, Framing::Length), "{response:?}");
        assert_not_cacheable(&response);
        let id = id_of(&response);
        gate.wait_for_stderr(&id);
        let line = gate.wait_for_access(log, &id);
        assert!(line.contains("\" 502 "), "{line}");
        assert_eq!(gate.access_log(log).len(), 1, "{:?}", gate.access_log(log));
    }
}

#[test]
fn no_answer_of_a_backend_brings_an_address_into_our_log() {
    // No HTTP at all, or a head that breaks off, each with what the gate has said of the client.
    let recorder = Recorder::start(|request, tcp| {
        let client = request.header("x-forwarded-for").unwrap_or_default();
        let answer = match request.target().rsplit('/').next() {
            Some("field") => format!("HTTP/1.1 200 OK\r\nbad header X-Forwarded-For: {client}\r\n\r\n"),
            Some("line") => format!("{client} is who you are\r\n\r\n"),
            Some("value") => format!("HTTP/1.1 200 OK\r\nX: {client}\0\r\n\r\n"),
            Some("length") => format!("HTTP/1.1 200 OK\r\nContent-Length: {client}\r\n\r\n"),
            Some("chunk") => format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{client}\r\n"),
            _ => format!("HTTP/1.1 200 OK\r\nX-Forwarded-For: {client}\r\n"),
        };
        let _ = std::io::Write::write_all(tcp, answer.as_bytes());
        Then::Close
    });
    let gate = recorded(&recorder, |config| config);
    for folder in ["/jobset", "/download"] {
        for how in ["field", "line", "value", "length", "chunk", "half"] {
            let target = format!("{folder}/{how}");
            let mut connection = Connection::over_tcp(from_address([127, 0, 0, 77], gate.http_addr()), HOST);
            // With a bad body only, there is an answer that is cut.
            if let Ok(response) = connection.try_request("GET", target.as_bytes(), &[], b"")
                && response.status == 502
            {
                gate.wait_for_stderr(&id_of(&response));
            }
            gate.wait_for_access("http", &target);
            let told = recorder
                .requests()
                .last()
                .and_then(|request| request.header("x-forwarded-for").map(String::from));
            assert_eq!(told.as_deref(), Some("127.0.0.77"), "{target}: else this shows nothing");
        }
    }
    assert_eq!(gate.sigterm_and_wait().code(), Some(0));
    let telling: Vec<String> = gate.stderr().into_iter().filter(|line| line.contains("127.0.0.77")).collect();
    assert!(telling.is_empty(), "{telling:#?}");
    assert!(gate.access_log("http").iter().all(|line| !line.contains("127.0.0.77")));
}
