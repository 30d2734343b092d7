//! Errors of our own: a page for browsers, text for others, nothing to cache, and an id that is in the log.

use super::support::config::{Config, HOST, Site};
use super::support::eventually_true;
use super::support::farm::Farm;
use super::support::gate::Gate;
use super::support::http1::{Framing, Response};
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

#[test]
fn the_id_on_the_page_is_in_the_log() {
    let gate = without_backend();
    let text = gate.https().get("/jobset/x").text();
    // The id is the longest word of letters and digits that has a digit in it.
    let id = text
        .split(|char: char| !char.is_ascii_alphanumeric() && char != '-')
        .filter(|word| word.len() >= 6 && word.contains(|char: char| char.is_ascii_digit()))
        .max_by_key(|word| word.len())
        .unwrap_or_else(|| panic!("no id in {text:?}"))
        .to_string();
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
