//! What of a request reaches a backend, and what of its answer reaches the client.

use std::io::Write;

use super::support::config::HOST;
use super::support::farm::{Farm, recorded};
use super::support::pki::world;
use super::support::recorder::{Recorder, Then};

/// Headers that make Guile answer 400 by themselves.
pub const MALFORMED: [(&str, &str); 9] = [
    ("Referer", "http://[bad"),
    ("Referer", "http://a b/"),
    ("Accept", "text/html;q=high"),
    ("Accept-Language", "en;q=x"),
    ("If-Modified-Since", "yesterday"),
    ("Range", "bytes"),
    ("Authorization", ""),
    ("Date", "today"),
    ("Cache-Control", "max-age=x"),
];

#[test]
fn publish_gets_only_headers_it_has_a_use_for() {
    let farm = Farm::start();
    let headers = [
        ("Cookie", "a=b"),
        ("Referer", "https://farm.example/"),
        ("Accept-Language", "en"),
        ("Authorization", "Basic YTpi"),
        ("If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("If-None-Match", "\"x\""),
        ("Range", "bytes=0-1"),
        ("Cache-Control", "no-cache"),
        ("X-Anything", "x"),
        ("TE", "trailers"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
    ];
    for target in ["/abc.narinfo", "/nar/gzip/abc", "/file/a/sha256/b", "/nix-cache-info"] {
        assert_eq!(farm.gate.https().get_with(target, &headers).status, 200, "{target}");
        let names = farm.publish.wait_for(target).header_names();
        for (name, _) in headers {
            assert!(!names.contains(&name.to_lowercase()), "{target}: {name} in {names:?}");
        }
    }
}

#[test]
fn malformed_headers_that_guile_would_refuse_are_not_passed_on() {
    let farm = Farm::start();
    for (name, value) in MALFORMED {
        for target in ["/jobset/x", "/abc.narinfo", "/nar/gzip/abc"] {
            let status = farm.gate.https().get_with(target, &[(name, value)]).status;
            assert_eq!(status, 200, "{target} with {name}: {value}");
        }
    }
    // Good ones reach Cuirass.
    farm.gate
        .https()
        .get_with("/jobset/good", &[("Referer", "https://farm.example/x"), ("Accept", "text/html")]);
    let seen = farm.cuirass.wait_for("/jobset/good");
    assert_eq!(seen.header("referer"), Some("https://farm.example/x"));
    assert_eq!(seen.header("accept"), Some("text/html"));
}

#[test]
fn forwarded_headers_are_ours() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config);
    let forged = [
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Port", "1"),
        ("X-Forwarded-Proto", "gopher"),
        ("x-forwarded-proto", "ftp"),
        ("Forwarded", "for=evil"),
        ("X-Real-IP", "203.0.113.9"),
    ];
    gate.https().get_with("/one", &forged);
    gate.http().get_with("/two", &forged);
    gate.https().get("/three");
    let requests = recorder.requests();
    for (request, proto) in requests.iter().zip(["https", "http"]) {
        assert_eq!(request.headers("x-forwarded-for"), ["203.0.113.9, 127.0.0.1"], "{}", request.head);
        assert_eq!(request.headers("x-forwarded-proto"), [proto], "{}", request.head);
        assert_eq!(request.headers("x-forwarded-host"), [HOST], "{}", request.head);
        let ports = request.headers("x-forwarded-port");
        assert!(ports.len() == 1 && ports[0] != "1" && ports[0].parse::<u16>().is_ok(), "{}", request.head);
        assert_eq!(request.headers("host").len(), 1, "{}", request.head);
    }
    assert_eq!(requests[2].headers("x-forwarded-for"), ["127.0.0.1"]);
}

#[test]
fn hop_by_hop_headers_end_here() {
    let recorder = Recorder::start(|_, tcp| {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Secret\r\nX-Secret: s\r\nKeep-Alive: timeout=1\r\n";
        let _ = tcp.write_all(format!("{head}Proxy-Authenticate: Basic\r\n\r\nok").as_bytes());
        Then::Keep
    });
    let gate = recorded(&recorder, |config| config);
    let headers = [
        ("Connection", "X-Hop, keep-alive"),
        ("X-Hop", "1"),
        ("Keep-Alive", "300"),
        ("Proxy-Authorization", "x"),
    ];
    let response = gate.https().get_with("/jobset/x", &headers);
    for name in ["x-secret", "keep-alive"] {
        assert_eq!(response.header(name), None, "{:?}", response.headers);
    }
    let request = &recorder.requests()[0];
    for name in ["x-hop", "keep-alive", "proxy-authorization", "upgrade", "te"] {
        assert_eq!(request.header(name), None, "{}", request.head);
    }
}

#[test]
fn connection_cannot_be_used_to_remove_headers_of_ours() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config);
    let names = "close, X-Forwarded-For, X-Forwarded-Proto, X-Client-Cert-CN, Host, Content-Length";
    gate.https_as(&world().good).request("POST", "/admin/x", &[("Connection", names)], b"abc");
    let request = &recorder.requests()[0];
    assert_eq!(request.header("x-forwarded-for"), Some("127.0.0.1"), "{}", request.head);
    assert_eq!(request.header("x-forwarded-proto"), Some("https"));
    assert_eq!(request.header("x-client-cert-cn"), Some("alice"));
    assert_eq!(request.body, b"abc");
}

#[test]
fn the_target_goes_to_the_backend_as_it_was_sent() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config);
    for target in [
        "/jobset/a%2Fb//c?x=%20&y",
        "/%6aobset/x",
        "/jobset/a+b%2Bc",
        "/search?query=spec:%22a%22",
        "/nar//gzip/a%2bb",
        "/jobset/~!$&'()*,;=:@",
        "/jobset/x?",
        "/eval/%E2%82%AC",
    ] {
        assert_eq!(gate.https().get(target).status, 200, "{target}");
        let requests = recorder.requests();
        assert_eq!(requests[requests.len() - 1].target(), target);
    }
}
