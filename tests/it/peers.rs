//! The doubles prove themselves: what `farm-facts.md` says of the real programs is true of them, and the clients see it.

use std::time::{Duration, Instant};

use super::support::guile::Guile;
use super::support::guix_client::{Way, assert_right, hashes, narinfos};
use super::support::http1::{Broken, Connection, Framing};
use super::support::pki::world;
use super::support::spellings::spellings;
use super::support::{eventually_true, need, pattern, run};

fn to(backend: &Guile) -> Connection {
    Connection::plain(backend.addr(), "localhost")
}

#[test]
fn publish_answers_a_thousand_pipelined_narinfos_on_one_connection() {
    let publish = Guile::publish();
    let hashes = hashes(1000);
    let report = narinfos(&Way::Http(publish.addr()), &hashes);
    assert_right(&report, &hashes);
    assert_eq!(report.connections, 1);
}

#[test]
fn publish_answers_the_next_request_inside_the_body_of_a_nar() {
    let publish = Guile::publish();
    let mut client = to(&publish);
    client.send("GET /nar/slow/4 HTTP/1.1\r\nHost: x\r\n\r\nGET /nix-cache-info HTTP/1.1\r\nHost: x\r\n\r\n");
    client.wait_at_most(Duration::from_secs(3));
    // The other answer is in it, or the two were written at the same moment and are a mess.
    let outcome = client.try_response(false);
    assert!(!matches!(&outcome, Ok(response) if response.body == pattern("slow", 4096)), "{outcome:?}");
}

#[test]
fn publish_keeps_the_connection_open_after_a_live_nar_unless_told_to_close() {
    let publish = Guile::publish();
    let mut client = to(&publish);
    client.send("GET /nar/live/abc HTTP/1.1\r\nHost: x\r\n\r\n");
    let wanted = pattern("abc", 20000);
    let bytes = client.peek_bytes(20000).expect("the body").to_vec();
    assert!(!String::from_utf8_lossy(&bytes).contains("Length"));

    let mut client = to(&publish);
    let started = Instant::now();
    let response = client.get_with("/nar/live/abc", &[("Connection", "close")]);
    assert_eq!((response.framing, response.body == wanted), (Framing::UntilClose, true));
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn publish_stalls_for_everybody_on_a_half_sent_request() {
    let publish = Guile::publish();
    let mut half = to(&publish);
    half.send("GET /nix-cache-info HTTP/1.1\r\nHo");
    // It may turn to others before it turns to `half`, but not after.
    let stalled = (0..3).any(|_| {
        let mut other = to(&publish);
        other.wait_at_most(Duration::from_millis(500));
        other.send("GET /nix-cache-info HTTP/1.1\r\nHost: x\r\n\r\n");
        matches!(other.try_response(false), Err(Broken::Silent(_)))
    });
    assert!(stalled);
    half.send("st: x\r\n\r\n");
    assert_eq!(half.response().status, 200);
    assert_eq!(to(&publish).get("/nix-cache-info").status, 200);
}

#[test]
fn publish_reads_a_chunked_body_as_the_next_request() {
    let publish = Guile::publish();
    let mut client = to(&publish);
    client.send(
        "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
         GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
    );
    assert_eq!(client.response().status, 404);
    publish.wait_for("/smuggled");
}

#[test]
fn a_nar_that_is_cut_short_is_seen_as_cut_short() {
    let publish = Guile::publish();
    let outcome = to(&publish).try_request("GET", b"/nar/cut/x", &[], b"");
    assert!(matches!(outcome, Err(Broken::Truncated(_))), "{outcome:?}");
}

#[test]
fn guile_answers_400_to_malformed_headers_it_has_no_use_for() {
    let cuirass = Guile::cuirass();
    for (name, value) in super::forwarding::MALFORMED {
        let mut client = to(&cuirass);
        let response = client.get_with("/", &[(name, value)]);
        assert_eq!((response.status, response.version.as_str()), (400, "HTTP/1.0"), "{name}: {value}");
    }
}

#[test]
fn cuirass_closes_silently_after_a_file() {
    let cuirass = Guile::cuirass();
    let mut client = to(&cuirass);
    let response = client.get("/download/7");
    assert_eq!(response.body, pattern("7", 50000));
    assert!(!response.closes(), "{:?}", response.headers);
    client.closed().expect("a close");
}

#[test]
fn cuirass_runs_the_admin_action_for_every_spelling_in_our_list() {
    let cuirass = Guile::cuirass();
    for (at, spelling) in spellings("/build/9/restart").into_iter().filter(|one| one.guile_3_0_8).enumerate()
    {
        let response = to(&cuirass).try_request("GET", &spelling.target, &[], b"");
        assert_eq!(
            response.map(|response| response.status).ok(),
            Some(302),
            "{}",
            spelling.target.escape_ascii()
        );
        assert_eq!(cuirass.actions().len(), at + 1, "{}", spelling.target.escape_ascii());
    }
    assert!(cuirass.actions().iter().all(|action| action == "restart 9"));
}

#[test]
fn the_certificates_are_what_they_are_called() {
    if !need("openssl") {
        return;
    }
    let world = world();
    let verify = |identity: &super::support::pki::Identity| {
        let mut command = std::process::Command::new("openssl");
        command.arg("verify").arg("-CAfile").arg(&world.authority.cert).arg(&identity.chain);
        command.output().expect("run openssl").status.success()
    };
    assert!(verify(&world.good) && verify(&world.good_v3) && verify(&world.server_only));
    assert!(!verify(&world.expired) && !verify(&world.not_yet) && !verify(&world.foreign));
    assert!(!verify(&world.issued_by_good) && !verify(&world.foreign_with_our_ca));
    assert_eq!(world.good.chain_der().len(), 1);
    assert_eq!(world.issued_by_good.chain_der().len(), 2);
    let text =
        |path| run(std::process::Command::new("openssl").args(["x509", "-noout", "-text", "-in"]).arg(path));
    assert!(text(&world.good.chain).contains("Version: 1 "));
    assert!(text(&world.good_v3.chain).contains("Version: 3 "));
}

#[test]
fn a_guile_backend_comes_back_on_its_port() {
    let mut cuirass = Guile::cuirass();
    let url = cuirass.url();
    assert_eq!(to(&cuirass).get("/").status, 200);
    cuirass.stop();
    cuirass.start();
    assert_eq!(cuirass.url(), url);
    assert_eq!(to(&cuirass).get("/").status, 200);
    eventually_true("both requests recorded", || cuirass.requests().len() == 2);
}
