//! Requests whose end is a matter of opinion: what counts is the bytes that reach the backend.

use std::time::Duration;

use super::support::config::HOST;
use super::support::farm::recorded;
use super::support::gate::Gate;
use super::support::http1::Broken;
use super::support::recorder::{Recorder, Then};
use super::support::{SOON, patience};

/// The request that must not reach a backend: the gate refuses it wherever it sees it, so if it arrives, it was hidden.
const HIDDEN: &str = "GET /admin/hidden HTTP/1.1\r\nHost: farm.example\r\n\r\n";

fn attempts() -> Vec<(&'static str, String)> {
    let host = format!("Host: {HOST}\r\n");
    let length = HIDDEN.len();
    let chunk = format!("{length:x}\r\n{HIDDEN}\r\n0\r\n\r\n");
    let post = |headers: &str, body: &str| format!("POST /x HTTP/1.1\r\n{host}{headers}\r\n{body}");
    let te = |value: &str| {
        post(&format!("Transfer-Encoding:{value}\r\nContent-Length: 5\r\n"), &format!("0\r\n\r\n{HIDDEN}"))
    };
    let mut all = vec![
        ("length and chunked, chunked ends first", te(" chunked")),
        (
            "chunked and length, length ends first",
            post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", &chunk),
        ),
        ("two lengths", post(&format!("Content-Length: 0\r\nContent-Length: {length}\r\n"), HIDDEN)),
        (
            "two lengths, the other way",
            post(&format!("Content-Length: {length}\r\nContent-Length: 0\r\n"), HIDDEN),
        ),
        ("a list of lengths", post(&format!("Content-Length: 0, {length}\r\n"), HIDDEN)),
        ("a length with a sign", post(&format!("Content-Length: +{length}\r\n"), HIDDEN)),
        ("a negative length", post("Content-Length: -1\r\n", HIDDEN)),
        ("a hexadecimal length", post("Content-Length: 0x5\r\n", HIDDEN)),
        ("a length with a space inside", post("Content-Length: 0 5\r\n", HIDDEN)),
        ("an empty length", post("Content-Length:\r\n", HIDDEN)),
        ("a length beyond 64 bits", post("Content-Length: 18446744073709551616\r\n", HIDDEN)),
        (
            "a length wrapped around",
            post(&format!("Content-Length: {}\r\n", u128::from(u64::MAX) + 6), HIDDEN),
        ),
        ("a space before the colon", post(&format!("Content-Length : {length}\r\n"), HIDDEN)),
        (
            "chunked, a space before the colon",
            post("Transfer-Encoding : chunked\r\nContent-Length: 5\r\n", &format!("0\r\n\r\n{HIDDEN}")),
        ),
        ("a folded header", post(&format!("X: a\r\n Content-Length: {length}\r\n"), HIDDEN)),
        (
            "a folded transfer-encoding",
            post("Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n", &format!("0\r\n\r\n{HIDDEN}")),
        ),
        (
            "a folded first line",
            format!("POST /x HTTP/1.1\r\n X: y\r\n{host}Content-Length: 0\r\n\r\n{HIDDEN}"),
        ),
        ("bare line feeds", format!("GET /x HTTP/1.1\nHost: {HOST}\n\n{HIDDEN}")),
        (
            "a bare line feed in a value",
            post("X: a\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n", &format!("0\r\n\r\n{HIDDEN}")),
        ),
        (
            "a bare carriage return in a value",
            post("X: a\rTransfer-Encoding: chunked\r\nContent-Length: 5\r\n", &format!("0\r\n\r\n{HIDDEN}")),
        ),
        ("a null in a value", post("X: a\0b\r\nContent-Length: 0\r\n", HIDDEN)),
        (
            "HTTP/1.0 with a length",
            format!("POST /x HTTP/1.0\r\n{host}Content-Length: 5\r\n\r\nabcde{HIDDEN}"),
        ),
        (
            "HTTP/1.0 with chunks",
            format!("POST /x HTTP/1.0\r\n{host}Transfer-Encoding: chunked\r\n\r\n{chunk}"),
        ),
        (
            "HTTP/1.0 with both",
            format!(
                "POST /x HTTP/1.0\r\n{host}Connection: keep-alive\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{HIDDEN}"
            ),
        ),
        ("HTTP/1.2", format!("GET /x HTTP/1.2\r\n{host}\r\n{HIDDEN}")),
        ("HTTP/0.9", format!("GET /x\r\n{HIDDEN}")),
        ("HTTP/2.0 in the line", format!("GET /x HTTP/2.0\r\n{host}\r\n{HIDDEN}")),
        ("a GET with a body", format!("GET /x HTTP/1.1\r\n{host}Content-Length: {length}\r\n\r\n{HIDDEN}")),
        ("a GET with chunks", format!("GET /x HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n{chunk}")),
        (
            "a GET of a nar with a body",
            format!("GET /nar/gzip/x HTTP/1.1\r\n{host}Content-Length: {length}\r\n\r\n{HIDDEN}"),
        ),
        ("a HEAD with a body", format!("HEAD /x HTTP/1.1\r\n{host}Content-Length: {length}\r\n\r\n{HIDDEN}")),
        (
            "an OPTIONS with a body",
            format!("OPTIONS /x HTTP/1.1\r\n{host}Content-Length: {length}\r\n\r\n{HIDDEN}"),
        ),
        (
            "an Upgrade with early bytes",
            format!("GET /x HTTP/1.1\r\n{host}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n{HIDDEN}"),
        ),
        (
            "an Upgrade with a body",
            post(&format!("Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: {length}\r\n"), HIDDEN),
        ),
        (
            "an Upgrade to h2c with settings",
            format!(
                "GET /x HTTP/1.1\r\n{host}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n{HIDDEN}"
            ),
        ),
        ("a CONNECT", format!("CONNECT farm.example:80 HTTP/1.1\r\n{host}\r\n{HIDDEN}")),
        (
            "an Expect and a body at once",
            post(&format!("Expect: 100-continue\r\nContent-Length: {length}\r\n"), HIDDEN),
        ),
        ("two hosts", format!("GET /x HTTP/1.1\r\n{host}Host: other.example\r\n\r\n{HIDDEN}")),
        ("no host", format!("GET /x HTTP/1.1\r\n\r\n{HIDDEN}")),
        ("a space in the target", format!("GET /x y HTTP/1.1\r\n{host}\r\n{HIDDEN}")),
        ("a whole request in the target", format!("GET /x HTTP/1.1\r\nX:/ HTTP/1.1\r\n{host}\r\n{HIDDEN}")),
        (
            "encoded line ends in the target",
            format!("GET /x%20HTTP/1.1%0d%0aHost:%20a%0d%0a%0d%0aGET%20/admin/hidden HTTP/1.1\r\n{host}\r\n"),
        ),
        (
            "a length named by Connection",
            post(&format!("Connection: Content-Length\r\nContent-Length: {length}\r\n"), HIDDEN),
        ),
        (
            "chunked named by Connection",
            post("Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n", &chunk),
        ),
        ("a chunk size with a sign", post("Transfer-Encoding: chunked\r\n", &format!("+0\r\n\r\n{HIDDEN}"))),
        ("a chunk size in 0x", post("Transfer-Encoding: chunked\r\n", &format!("0x0\r\n\r\n{HIDDEN}"))),
        ("a chunk size with spaces", post("Transfer-Encoding: chunked\r\n", &format!(" 0 \r\n\r\n{HIDDEN}"))),
        (
            "a chunk size that wraps around",
            post(
                "Transfer-Encoding: chunked\r\n",
                &format!("10000000000000005\r\nabcde\r\n0\r\n\r\n{HIDDEN}"),
            ),
        ),
        (
            "a bare line feed after a chunk size",
            post("Transfer-Encoding: chunked\r\n", &format!("5\nabcde\r\n0\r\n\r\n{HIDDEN}")),
        ),
        (
            "a line feed in a chunk extension",
            post("Transfer-Encoding: chunked\r\n", &format!("2;\nxx\r\n{length:x}\r\n0\r\n\r\n{HIDDEN}")),
        ),
        (
            "a chunk longer than it says",
            post("Transfer-Encoding: chunked\r\n", &format!("3\r\nabcde\r\n0\r\n\r\n{HIDDEN}")),
        ),
        (
            "a trailer with framing",
            post(
                "Transfer-Encoding: chunked\r\n",
                &format!("1\r\na\r\n0\r\nContent-Length: {length}\r\n\r\n{HIDDEN}"),
            ),
        ),
        ("an underscore for a dash", post(&format!("Content_Length: {length}\r\n"), HIDDEN)),
        ("a prefix before the request", format!("\r\n\r\nGET /x HTTP/1.1\r\n{host}\r\n{HIDDEN}")),
        ("a header without a name", post(": x\r\nContent-Length: 0\r\n", HIDDEN)),
        ("a header without a colon", post("Transfer-Encoding chunked\r\nContent-Length: 0\r\n", HIDDEN)),
    ];
    for value in [
        "chunked",
        "\tchunked",
        " chunked ",
        " Chunked",
        " CHUNKED",
        " xchunked",
        " chunked, identity",
        " identity, chunked",
        " identity",
        " gzip, chunked",
        " chunked, chunked",
        " \"chunked\"",
        " chunked;q=1",
        " ,chunked",
        " chun\u{212a}ed",
        "",
        " \u{b}chunked",
        " chunked\u{b}",
        " cow",
    ] {
        all.push(("an odd Transfer-Encoding", te(value)));
        all.push((
            "an odd Transfer-Encoding and no length",
            post(&format!("Transfer-Encoding:{value}\r\n"), &format!("0\r\n\r\n{HIDDEN}")),
        ));
    }
    let twice = "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n";
    all.push(("two Transfer-Encodings", post(twice, &format!("0\r\n\r\n{HIDDEN}"))));
    all.push((
        "two Transfer-Encodings and a length",
        post(&format!("{twice}Content-Length: 5\r\n"), &format!("0\r\n\r\n{HIDDEN}")),
    ));
    all
}

fn assert_unambiguous(recorder: &Recorder, what: &str) {
    for request in recorder.requests() {
        let shown = request.head.escape_debug();
        assert!(
            !request.target().starts_with("/admin")
                && !request.head.contains("Host: farm.example\r\n\r\nGET"),
            "{what}: {shown}"
        );
        assert_eq!(request.header("transfer-encoding"), None, "{what}: {shown}");
        assert!(request.headers("content-length").len() <= 1, "{what}: {shown}");
        assert_eq!(request.header("upgrade"), None, "{what}: {shown}");
        assert!(
            !request.headers("connection").iter().any(|value| value.to_lowercase().contains("upgrade")),
            "{what}: {shown}"
        );
        assert_eq!(request.headers("host").len(), 1, "{what}: {shown}");
        assert!(request.line().ends_with(" HTTP/1.1"), "{what}: {shown}");
        for line in request.head.trim_end().split("\r\n").skip(1) {
            assert!(!line.contains(['\r', '\n', '\0']), "{what}: {shown}");
            assert!(!line.starts_with([' ', '\t', ':']) && line.contains(':'), "{what}: {shown}");
            let name = line.split(':').next().unwrap_or_default();
            assert!(!name.contains([' ', '\t', '_']), "{what}: {shown}");
        }
    }
    // Nothing was sent that is in no request, and nothing before its predecessor was answered.
    let counted: usize =
        recorder.requests().iter().map(|request| request.head.len() + request.body.len()).sum();
    assert_eq!(recorder.raw().iter().map(Vec::len).sum::<usize>(), counted, "{what}: stray bytes");
    assert_eq!(recorder.pipelined(), 0, "{what}");
}

/// Ends a conversation, if the gate understands it as a request.
const LAST: &str = "GET /last HTTP/1.1\r\nHost: farm.example\r\nConnection: close\r\n\r\n";

/// Sends it and a last request behind it, reads all answers there are, and waits until the gate is done with it.
fn send(gate: &Gate, bytes: &str, tls: bool) -> Result<u64, Broken> {
    let mut connection = if tls { gate.https() } else { gate.http() };
    // Latin-1: some attempts have bytes beyond ASCII.
    let bytes: Vec<u8> = bytes.chars().chain(LAST.chars()).map(|char| char as u32 as u8).collect();
    connection.send(bytes);
    // Where the last request became part of a body, nothing more will come.
    connection.wait_at_most(patience(Duration::from_millis(700)));
    while connection.try_response(false).is_ok() {}
    connection.wait_at_most(patience(SOON));
    connection.finish_writing();
    connection.drain()
}

#[test]
fn no_request_is_hidden_in_another() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| {
        config.set("limits.header_timeout", "\"2s\"").set("timeouts.read", "\"2s\"")
    });
    for (what, bytes) in attempts() {
        let outcome = send(&gate, &bytes, false);
        assert!(!matches!(outcome, Err(Broken::Silent(_))), "{what}: {outcome:?}\n{}", bytes.escape_debug());
        assert_unambiguous(&recorder, what);
    }
    for (what, bytes) in attempts() {
        let _ = send(&gate, &bytes, true);
        assert_unambiguous(&recorder, what);
    }
    assert_eq!(gate.http().get("/x").text(), "ok", "the gate is well after all that");
}

#[test]
fn what_was_a_body_stays_a_body() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config);
    let mut connection = gate.http();
    assert_eq!(connection.request("POST", "/x", &[], HIDDEN.as_bytes()).status, 200);
    connection.send(format!(
        "POST /y HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{HIDDEN}\r\n0\r\n\r\n",
        HIDDEN.len()
    ));
    assert_eq!(connection.response().status, 200);
    let requests = recorder.requests();
    assert_eq!(requests.len(), 2);
    for request in requests {
        assert_eq!(request.body, HIDDEN.as_bytes());
        assert_eq!(request.header("content-length"), Some(HIDDEN.len().to_string().as_str()));
    }
    assert_unambiguous(&recorder, "bodies");
}

#[test]
fn a_request_body_to_publish_never_becomes_its_next_request() {
    let farm = super::support::farm::Farm::start();
    for headers in [
        format!("Content-Length: {}\r\n\r\n{HIDDEN}", HIDDEN.len()),
        format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{HIDDEN}\r\n0\r\n\r\n", HIDDEN.len()),
    ] {
        for line in [
            "POST /x.narinfo",
            "GET /abc.narinfo",
            "GET /nar/gzip/abc",
            "HEAD /abc.narinfo",
            "PUT /file/a/sha256/b",
        ] {
            let mut connection = farm.gate.http();
            connection.send(format!("{line} HTTP/1.1\r\nHost: {HOST}\r\n{headers}"));
            connection.finish_writing();
            let _ = connection.drain();
            assert_eq!(farm.gate.http().get("/nix-cache-info").status, 200, "{line}");
        }
    }
    assert!(
        !farm.publish.requests().iter().any(|seen| seen.target.contains("admin")),
        "{:?}",
        farm.publish.requests()
    );
}

#[test]
fn a_backend_that_agrees_to_an_upgrade_nobody_asked_for_gets_no_tunnel() {
    let recorder = Recorder::start(|_, tcp| {
        use std::io::Write;
        let _ = tcp.write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        );
        Then::Keep
    });
    let gate = recorded(&recorder, |config| config.set("timeouts.read", "\"2s\""));
    let upgrade =
        format!("GET /x HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    for bytes in [upgrade + HIDDEN, format!("GET /x HTTP/1.1\r\nHost: {HOST}\r\n\r\n{HIDDEN}")] {
        let _ = send(&gate, &bytes, false);
        assert!(!recorder.raw().iter().any(|raw| String::from_utf8_lossy(raw).contains("hidden")));
    }
}

#[test]
fn nothing_behind_a_chunked_body_that_is_broken_is_taken_for_a_request() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config);
    for broken in ["zz\r\n", "3\r\nabcX", "-1\r\n", "ffffffffffffffffff\r\n"] {
        let mut connection = gate.http();
        connection
            .send(format!("POST /x HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n{broken}"));
        let answer = connection.response();
        assert!(answer.status == 400 && answer.closes(), "{broken:?}: {answer:?}");
        // Too late, if the other end is gone already.
        let _ = connection.try_send(format!("GET /robots.txt HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes());
        assert!(connection.try_response(false).is_err(), "{broken:?}: answered");
    }
    assert!(recorder.requests().is_empty());
}
