//! Pebble's ways of making it hard: nonces refused at random, authorizations used again or not, validation that takes
//! its time or does not take place, names that fail for a while, accounts that are closed.

use std::fs;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::super::http::Http;
use super::pebble::{Pebble, Ways};
use super::support::*;

/// How often the CA was asked to look.
fn looks(steps: &[String]) -> usize {
    steps.iter().filter(|step| step.contains("the CA is asked to look")).count()
}

#[test]
fn authorizations_are_used_again_as_the_ca_likes() {
    for (reused, refused) in [(0, 5), (50, 30), (100, 5)] {
        let host = Host::new();
        let ways = Ways { authorizations_reused: reused, nonces_refused: refused, ..Ways::default() };
        let pebble = Pebble::start(&host, ways);
        let settings = host.settings(vec![pebble.directory()], &["one.test", "two.test", "three.test"]);
        for renewal in 0..4 {
            let (result, steps) = host.attempt(&settings, true);
            assert!(result.is_ok(), "{reused} %, renewal {renewal}: {steps:?}");
            match (renewal, reused) {
                (0, _) => assert_eq!(looks(&steps), 3, "{steps:?}"),
                // Pebble's 0 % is one in a hundred.
                (_, 0) => assert!(looks(&steps) > 0, "{steps:?}"),
                (_, 100) => assert_eq!(looks(&steps), 0, "{steps:?}"),
                _ => assert!(looks(&steps) <= 3, "{steps:?}"),
            }
        }
        assert_eq!(pebble.orders(), 4);
    }
}

#[test]
fn a_ca_that_takes_its_time_is_waited_for() {
    let host = Host::new();
    let pebble = Pebble::start(&host, Ways { takes_its_time: 4, nonces_refused: 20, ..Ways::default() });
    let settings = host.settings(vec![pebble.directory()], &["slow.test", "slower.test"]);
    let (result, steps) = host.attempt(&settings, true);
    assert!(result.is_ok(), "{steps:?}");
    assert_eq!(pebble.orders(), 1);
}

#[test]
fn a_ca_that_looks_at_nothing_and_one_that_is_strict_are_no_different() {
    for ways in [Ways { believes: true, ..Ways::default() }, Ways { strict: true, ..Ways::default() }] {
        let host = Host::new();
        let pebble = Pebble::start(&host, ways);
        let settings = host.settings(vec![pebble.directory()], &["any.test"]);
        let (result, steps) = host.attempt(&settings, true);
        assert!(result.is_ok(), "{steps:?}");
    }
}

#[test]
fn a_chain_is_kept_whole() {
    let host = Host::new();
    let pebble = Pebble::start(&host, Ways { intermediates: 3, ..Ways::default() });
    let settings = host.settings(vec![pebble.directory()], &["deep.test"]);
    let (result, steps) = host.attempt(&settings, true);
    let loaded = result.unwrap_or_else(|_| panic!("{steps:?}"));
    assert_eq!(loaded.pair.cert.len(), 4);
    let chain = fs::read_to_string(host.path("certificates/deep.test/fullchain.pem")).unwrap();
    assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 4);
}

#[test]
fn a_name_that_failed_among_others_is_validated_when_it_leads_here_again() {
    let host = Host::new();
    let pebble = Pebble::start(&host, Ways { authorizations_reused: 100, ..Ways::default() });
    let settings = host.settings(vec![pebble.directory()], &["good.test", "moved.test"]);
    pebble.mislead("moved.test");
    for failure in 1..=2 {
        let error = message(host.attempt(&settings, false).0);
        assert!(error.contains("moved.test: ") && !error.contains("good.test: "), "{failure}: {error}");
    }
    pebble.lead_back("moved.test");
    let (result, steps) = host.attempt(&settings, false);
    assert!(result.is_ok(), "{steps:?}");
    let report = host.engine(&settings).report(&settings.sites[0], Default::default());
    assert_eq!((report.failures, report.certified.len(), pebble.orders()), (0, 2, 3));
}

#[test]
fn an_account_that_was_closed_is_followed_by_another() {
    let host = Host::new();
    let pebble = Pebble::start(&host, Ways::default());
    let settings = host.settings(vec![pebble.directory()], &["closed.test"]);
    let (result, steps) = host.attempt(&settings, true);
    assert!(result.is_ok(), "{steps:?}: {}", message(result));
    let path = host.path("acme/accounts").join(&host.files("acme/accounts")[0]);
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let ca = &settings.directories[0];
    let http = Http::new(ca.ca_file.as_deref(), &settings.timings).unwrap();
    host.runtime.block_on(async {
        let credentials = serde_json::from_value(record["credentials"].clone()).unwrap();
        let builder = instant_acme::Account::builder_with_http(Box::new(http));
        builder.from_credentials(credentials).await.unwrap().deactivate().await.unwrap();
    });
    // One that is new and refused is refused for something else.
    message(host.attempt(&settings, true).0);
    record["created"] = 1.into();
    fs::write(&path, record.to_string()).unwrap();
    let (result, steps) = host.attempt(&settings, true);
    assert!(result.is_ok(), "{steps:?}");
    assert_eq!(host.files("acme/accounts").len(), 2);
}

#[test]
fn an_account_that_the_ca_has_and_we_had_no_time_to_write_down_is_the_same_one() {
    let host = Host::new();
    let pebble = Pebble::start(&host, Ways::default());
    let settings = host.settings(vec![pebble.directory()], &["kept.test"]);
    let (result, steps) = host.attempt(&settings, true);
    assert!(result.is_ok(), "{steps:?}: {}", message(result));
    let path = host.path("acme/accounts").join(&host.files("acme/accounts")[0]);
    let read = || -> serde_json::Value { serde_json::from_slice(&fs::read(&path).unwrap()).unwrap() };
    let before = read();
    // As it was between the CA's answer and the file.
    let key = before["credentials"]["key_pkcs8"].as_str().unwrap();
    let key = BASE64_URL_SAFE_NO_PAD.decode(key).unwrap();
    fs::write(path.with_extension("key"), pem::encode(&pem::Pem::new("PRIVATE KEY", key))).unwrap();
    fs::remove_file(&path).unwrap();
    let (result, steps) = host.attempt(&settings, true);
    assert!(result.is_ok(), "{steps:?}");
    assert_eq!(read()["credentials"]["id"], before["credentials"]["id"]);
    assert_eq!(read()["contact"][0], "admin@example.org");
}
