//! Plain HTTP as `plain_http` says; unknown hosts are sent to HTTPS.

use std::fs;

use super::support::config::HOST;
use super::support::farm::Farm;
use super::support::gate::Gate;
use super::support::http1::{Connection, Response};
use super::support::pki::scratch;

const SUBSTITUTES: [&str; 5] =
    ["/nix-cache-info", "/abc.narinfo", "/nar/gzip/abc", "/file/a/sha256/b", "/signing-key.pub"];

fn farm(policy: &str) -> Farm {
    Farm::with_site(|site| site.plain_http(policy), |config| config)
}

fn ask(gate: &Gate, host: &str, target: &str) -> Response {
    Connection::plain(gate.http_addr(), host).get(target)
}

fn assert_sent_to(response: &Response, url: &str) {
    assert_eq!((response.status, response.header("location")), (308, Some(url)), "{response:?}");
}

#[test]
fn serve_serves_everything() {
    let farm = farm("serve");
    for target in SUBSTITUTES.into_iter().chain(["/", "/jobset/x", "/static/x.css", "/robots.txt"]) {
        assert_eq!(ask(&farm.gate, HOST, target).status, 200, "{target}");
    }
}

#[test]
fn substitutes_serves_substitutes_and_redirects_the_rest() {
    let farm = farm("substitutes");
    for target in SUBSTITUTES {
        assert_eq!(ask(&farm.gate, HOST, target).status, 200, "{target}");
    }
    assert_sent_to(
        &ask(&farm.gate, HOST, "/jobset/a%2Fb?x=%20y"),
        "https://farm.example/jobset/a%2Fb?x=%20y",
    );
    assert_sent_to(&ask(&farm.gate, HOST, "/"), "https://farm.example/");
}

#[test]
fn redirect_redirects_but_not_the_challenges() {
    let farm = farm("redirect");
    assert_sent_to(&ask(&farm.gate, HOST, "/jobset/x?y"), "https://farm.example/jobset/x?y");
    assert_eq!(ask(&farm.gate, HOST, "/.well-known/acme-challenge/none").status, 404);
}

#[test]
fn a_redirect_cannot_be_turned_into_one_to_elsewhere() {
    for policy in ["redirect", "substitutes"] {
        let farm = farm(policy);
        for target in [
            "//evil.example/",
            "/\\evil.example",
            "http://evil.example/x",
            "/%0d%0aLocation:%20http://evil.example",
        ] {
            let response = ask(&farm.gate, HOST, target);
            if let Some(location) = response.header("location") {
                let good = location.starts_with("https://farm.example/")
                    || location.starts_with("https://evil.example/x");
                assert!(good && !location.contains(['\r', '\n']), "{target}: {location}");
            }
        }
    }
}

#[test]
fn a_host_that_no_site_names_is_sent_to_https() {
    let farm = farm("serve");
    assert_sent_to(&ask(&farm.gate, "other.example", "/x?y=z"), "https://other.example/x?y=z");
    assert_sent_to(&ask(&farm.gate, "other.example:8080", "/x"), "https://other.example/x");
    assert_eq!(ask(&farm.gate, "other.example", "/.well-known/acme-challenge/none").status, 404);
}

#[test]
fn a_host_that_is_none_gets_no_redirect() {
    let farm = farm("serve");
    for host in ["evil.example/x", "a b", "x@y", "<script>", "evil.example\\", "%00"] {
        let response = Connection::plain(farm.gate.http_addr(), host).try_request("GET", b"/x", &[], b"");
        assert!(!matches!(&response, Ok(response) if response.status < 400), "{host}: {response:?}");
    }
}

#[test]
fn an_address_as_host_is_the_first_site() {
    let farm = farm("serve");
    for host in
        ["127.0.0.1".to_string(), farm.gate.http_addr().to_string(), "[::1]".into(), "[::1]:80".into()]
    {
        assert_eq!(ask(&farm.gate, &host, "/abc.narinfo").status, 200, "{host}");
    }
    assert_eq!(ask(&farm.gate, "FARM.example", "/jobset/x").status, 200, "names have no case");
    assert_eq!(ask(&farm.gate, "farm.example:80", "/jobset/x").status, 200);
    assert_eq!(
        ask(&farm.gate, "farm.example.", "/abc.narinfo").status,
        200,
        "a dot at the end is the same name"
    );
}

#[test]
fn files_of_the_webroot_are_served_below_well_known_on_both_ports_and_nothing_else_is() {
    let root = scratch("webroot");
    fs::create_dir_all(root.join(".well-known/acme-challenge")).expect("folders");
    fs::write(root.join(".well-known/acme-challenge/token"), "answer").expect("write");
    fs::write(root.join(".well-known/security.txt"), "Contact: x").expect("write");
    fs::write(root.join("secret"), "secret").expect("write");
    for policy in ["serve", "substitutes", "redirect"] {
        let webroot = format!("{:?}", root.display().to_string());
        let farm = Farm::with_site(|site| site.plain_http(policy).set("webroot", &webroot), |config| config);
        let token = "/.well-known/acme-challenge/token";
        assert_eq!(ask(&farm.gate, HOST, token).text(), "answer", "{policy}");
        assert_eq!(farm.gate.https().get(token).text(), "answer");
        assert_eq!(farm.gate.https().get("/.well-known/security.txt").text(), "Contact: x");
        for target in [
            "/.well-known/../secret",
            "/.well-known/%2e%2e/secret",
            "/.well-known/..%2fsecret",
            "/.well-known/acme-challenge/../../secret",
            "/.well-known/acme-challenge/%2e%2e%2f%2e%2e%2fsecret",
            "/.well-known/",
            "/.well-known/acme-challenge/",
            "/.well-known/acme-challenge",
            "/.well-known//etc/passwd",
            "/.well-known/%2fetc%2fpasswd",
            "/.well-known/token%00",
        ] {
            for mut connection in [farm.gate.http(), farm.gate.https()] {
                let response = connection.get(target);
                assert!(!response.text().contains("secret\u{0}") && response.text() != "secret", "{target}");
                assert!(!response.text().contains("root:"), "{target}");
            }
        }
    }
}

#[test]
fn robots_txt_is_built_in() {
    let farm = farm("serve");
    for mut connection in [farm.gate.http(), farm.gate.https()] {
        let text = connection.get("/robots.txt").text();
        assert!(
            text.contains("User-agent: *") && text.contains("Disallow: /\n") && text.contains("Allow: /$"),
            "{text}"
        );
    }
}
