//! Versions, suites, ALPN, SNI, resumption.

use std::process::Command;

use rustls::HandshakeKind;
use rustls::crypto::aws_lc_rs::{self, kx_group};

use super::errors::assert_not_cacheable;
use super::support::config::{Config, HOST, Site};
use super::support::farm::Farm;
use super::support::gate::Gate;
use super::support::h2::H2;
use super::support::output;
use super::support::pki::{Authority, Identity, scratch};
use super::support::recorder::Recorder;
use super::support::tls::{Seen, TlsClient};

/// Whether `openssl s_client` with these options gets through a handshake.
fn openssl_connects(gate: &Gate, options: &[&str]) -> bool {
    let address = gate.https_addr().to_string();
    let output = output(
        Command::new("openssl").args(["s_client", "-connect", &address, "-servername", HOST]).args(options),
    );
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success() && said.contains("Cipher is ") && !said.contains("Cipher is (NONE)")
}

#[test]
fn tls_1_2_and_1_3_are_spoken_and_nothing_older() {
    let farm = Farm::start();
    assert!(openssl_connects(&farm.gate, &["-tls1_3"]));
    assert!(openssl_connects(&farm.gate, &["-tls1_2"]));
    for old in ["-tls1_1", "-tls1"] {
        assert!(!openssl_connects(&farm.gate, &[old, "-cipher", "ALL:@SECLEVEL=0"]), "{old}");
    }
}

#[test]
fn only_forward_secret_aead_suites_are_spoken() {
    let folder = scratch("rsa");
    // RSA certificates allow the most suites.
    let authority = Authority::new(&folder, "/CN=farm.example");
    let rsa = Identity { chain: authority.cert.clone(), key: authority.key.clone() };
    let recorder = Recorder::ok();
    let gate = Config::new(Site::new(HOST).ci(&recorder.url()).certificate(&rsa)).start();
    let with =
        |suites: &str| openssl_connects(&gate, &["-tls1_2", "-cipher", &format!("{suites}:@SECLEVEL=0")]);
    for good in ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305"]
    {
        assert!(with(good), "{good}");
    }
    for bad in [
        "AES128-GCM-SHA256",
        "AES256-SHA",
        "ECDHE-RSA-AES128-SHA",
        "ECDHE-RSA-AES128-SHA256",
        "ECDHE-RSA-AES256-SHA384",
        "DHE-RSA-AES128-GCM-SHA256",
        "DHE-RSA-AES256-SHA",
    ] {
        assert!(!with(bad), "{bad}");
    }
}

#[test]
fn the_post_quantum_exchange_is_accepted_and_so_are_the_old_ones() {
    let farm = Farm::start();
    for group in [kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1] {
        let mut provider = aws_lc_rs::default_provider();
        provider.kx_groups = vec![group];
        let client = TlsClient::new(provider, &[&rustls::version::TLS13]);
        let mut connection = client.connect(farm.gate.https_addr(), HOST);
        assert_eq!(
            connection.tls().negotiated_key_exchange_group().map(|group| group.name()),
            Some(group.name())
        );
        assert_eq!(connection.get("/jobset/x").status, 200);
    }
}

#[test]
fn alpn_chooses_http_2_where_the_client_has_it() {
    let farm = Farm::start();
    let chosen = |protocols: &[&str]| {
        let stream = TlsClient::default().alpn(protocols).handshake(farm.gate.https_addr(), HOST);
        stream.conn.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned())
    };
    assert_eq!(chosen(&["h2", "http/1.1"]).as_deref(), Some("h2"));
    assert_eq!(chosen(&["http/1.1", "h2"]).as_deref(), Some("h2"));
    assert_eq!(chosen(&["http/1.1"]).as_deref(), Some("http/1.1"));
    assert_eq!(chosen(&[]), None);
    // The Guix client has no ALPN and speaks HTTP/1.1.
    assert_eq!(farm.gate.https().get("/abc.narinfo").status, 200);
}

#[test]
fn the_name_that_is_asked_for_chooses_the_certificate() {
    let folder = scratch("sni");
    let authority = Authority::new(&folder, "/CN=SNI CA");
    let (one, two) = (authority.server("one.example"), authority.server("two.example"));
    let (first, second) = (Recorder::ok(), Recorder::ok());
    let gate = Config::new(Site::new("one.example").ci(&first.url()).certificate(&one))
        .site(Site::new("two.example").also("zwei.example").ci(&second.url()).certificate(&two))
        .start();
    let shown = |client: TlsClient, name: &str| {
        let seen = Seen::default();
        seen.note(&client.handshake(gate.https_addr(), name).conn);
        seen.chains()[0][0].clone()
    };
    let (one, two) = (one.chain_der()[0].to_vec(), two.chain_der()[0].to_vec());
    assert_eq!(shown(TlsClient::default(), "one.example"), one);
    assert_eq!(shown(TlsClient::default(), "two.example"), two);
    assert_eq!(shown(TlsClient::default(), "TWO.example"), two);
    assert_eq!(shown(TlsClient::default(), "zwei.example"), two);
    assert_eq!(shown(TlsClient::default(), "unknown.example"), one, "unknown: the first site");
    assert_eq!(shown(TlsClient::default().without_sni(), "two.example"), one, "no SNI: the first site");

    for (name, recorder) in [("one.example", &first), ("two.example", &second), ("unknown.example", &first)] {
        let before = recorder.requests().len();
        assert_eq!(TlsClient::default().connect(gate.https_addr(), name).get("/x").status, 200, "{name}");
        assert_eq!(recorder.requests().len(), before + 1, "{name}");
    }
}

#[test]
fn sessions_are_resumed_for_any_number_of_clients() {
    let farm = Farm::start();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let clients: Vec<TlsClient> = (0..400).map(|_| TlsClient::only(version)).collect();
        let visit = |client: &TlsClient| {
            let mut connection = client.connect(farm.gate.https_addr(), HOST);
            // TLS 1.3 tickets come after the handshake.
            assert_eq!(connection.get("/robots.txt").status, 200);
            connection.tls().handshake_kind()
        };
        clients.iter().for_each(|client| assert_ne!(visit(client), Some(HandshakeKind::Resumed)));
        let resumed = clients.iter().filter(|client| visit(client) == Some(HandshakeKind::Resumed)).count();
        assert_eq!(resumed, clients.len(), "{version:?}");
    }
}

#[test]
fn sessions_are_resumed_after_a_reload() {
    let farm = Farm::start();
    let client = TlsClient::default();
    assert_eq!(client.connect(farm.gate.https_addr(), HOST).get("/robots.txt").status, 200);
    farm.gate.reload();
    let mut connection = client.connect(farm.gate.https_addr(), HOST);
    assert_eq!(connection.get("/robots.txt").status, 200);
    assert_eq!(connection.tls().handshake_kind(), Some(HandshakeKind::Resumed));
}

#[test]
fn what_is_no_handshake_is_ended_and_harms_nobody() {
    let farm = Farm::start();
    for bytes in
        ["GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_string(), "\u{16}\u{3}\u{1}".repeat(50), "x".repeat(70_000)]
    {
        let mut raw = super::support::http1::Connection::plain(farm.gate.https_addr(), HOST);
        let _ = raw.try_send(bytes.as_bytes());
        raw.finish_writing();
        let _ = raw.drain();
    }
    assert_eq!(farm.gate.https().get("/jobset/x").status, 200);
}

#[test]
fn a_handshake_that_never_ends_holds_nobody_up() {
    let farm = Farm::start();
    let _silent: Vec<_> =
        (0..50).map(|_| super::support::http1::Connection::plain(farm.gate.https_addr(), HOST)).collect();
    assert_eq!(farm.gate.https().get("/jobset/x").status, 200);
}

#[test]
fn a_connection_made_for_one_site_is_no_place_to_ask_for_another() {
    let (first, second) = (Recorder::ok(), Recorder::ok());
    let gate = Config::new(Site::new("one.example").also("eins.example").ci(&first.url()))
        .site(Site::new("two.example").ci(&second.url()))
        .start();
    let (address, client) = (gate.https_addr(), TlsClient::default());
    for (sni, host) in [
        ("one.example", "two.example"),
        ("two.example", "one.example"),
        ("eins.example", "TWO.example:443"),
        ("two.example", "eins.example."),
    ] {
        let mut connection = client.connect(address, sni);
        connection.host = host.into();
        let page = connection.get_with("/x", &[("Accept", "text/html")]);
        assert_eq!(page.status, 421, "{sni}: {host}");
        assert!(page.text().starts_with("<!doctype html>") && page.text().contains("421"), "{}", page.text());
        assert_not_cacheable(&page);
        let mut h2 = H2::connect(&client, address, sni);
        assert_eq!(h2.request("GET", host, b"/x", &[], b"").status(), Some(421), "{sni}: {host}");
        // The connection is good for what it was made for.
        connection.host = sni.into();
        assert_eq!(connection.get("/own").status, 200, "{sni}");
    }
    for request in first.requests().iter().chain(&second.requests()) {
        assert_eq!(request.target(), "/own");
    }
    // Two names of one site, and no name at all, are no such case.
    for (client, sni, host) in [
        (client.clone(), "one.example", "eins.example"),
        (client.clone().without_sni(), "one.example", "two.example"),
        (client, "one.example", "unknown.example"),
    ] {
        let mut connection = client.connect(address, sni);
        connection.host = host.into();
        assert_eq!(connection.get("/x").status, 200, "{sni}: {host}");
    }
}
