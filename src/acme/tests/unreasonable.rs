//! What a CA may answer that helps nobody, and what is made of it.

use std::time::{Duration, Instant};

use super::super::schedule::Why;
use super::super::{LoadError, Store, Time};
use super::stub::{Flood, Spoil, Stub};
use super::support::*;

fn host_and_ca() -> (Host, Stub, super::super::Settings) {
    let (host, ca) = (Host::new(), Stub::start());
    let settings = host.settings(vec![ca.directory()], &["farm.test"]);
    (host, ca, settings)
}

#[test]
fn an_answer_without_an_end_is_cut_off() {
    for flood in [Flood::Header, Flood::Fields, Flood::Body, Flood::Drip] {
        let (host, ca, mut settings) = host_and_ca();
        settings.timings.request = patience(1);
        ca.script().floods = Some(flood);
        let begin = Instant::now();
        let error = message(host.attempt(&settings, false).0);
        assert!(error.len() < 1000 && begin.elapsed() < patience(4), "{flood:?}: {error}");
    }
}

#[test]
fn what_is_no_certificate_for_our_key_is_never_stored() {
    for spoil in [Spoil::Nothing, Spoil::NoPem, Spoil::NoDer, Spoil::AnotherKey] {
        let (host, ca, mut settings) = host_and_ca();
        // What the other key's certificate is for.
        settings.sites = vec![site(&["localhost"])];
        ca.script().spoils = Some(spoil);
        let error = message(host.attempt(&settings, false).0);
        assert!(matches!(Store::new(host.state.path()).load("localhost"), Err(LoadError::None)), "{error}");
        assert_eq!(host.files("acme/pending"), [""; 0], "{spoil:?}: {error}");
        ca.script().spoils = None;
        let (result, steps) = host.attempt(&settings, false);
        assert!(result.is_ok(), "{spoil:?}: {steps:?}");
    }
}

#[test]
fn a_directory_that_is_out_of_order_is_quoted() {
    let (host, ca, settings) = host_and_ca();
    let problem = r#"{"type":"urn:ietf:params:acme:error:serverInternal","detail":"down for maintenance"}"#;
    ca.script().answers = Some((503, "Retry-After: 7200\r\n".into(), problem.into()));
    let error = message(host.attempt(&settings, false).0);
    assert!(error.contains("down for maintenance"), "{error}");
    let report = host.engine(&settings).report(&settings.sites[0], Default::default());
    assert!(report.why == Why::RetryAfter && report.next_try > Time::now().plus(Duration::from_secs(3600)));
}

#[test]
fn a_directory_that_has_moved_is_not_followed_and_where_to_is_told() {
    let (host, ca, settings) = host_and_ca();
    ca.script().answers = Some((301, "Location: https://new.example/dir\r\n".into(), String::new()));
    let error = message(host.attempt(&settings, false).0);
    assert!(error.contains("https://new.example/dir"), "{error}");
}

#[test]
fn a_nonce_that_comes_without_content_is_as_good() {
    let (host, ca, settings) = host_and_ca();
    ca.script().nonce_status = Some(204);
    let (result, steps) = host.attempt(&settings, false);
    assert!(result.is_ok(), "{steps:?}");
}

/// An order that is left open.
fn left_open(host: &Host, ca: &Stub, settings: &super::super::Settings) {
    let mut hurry = settings.clone();
    hurry.timings.order = Duration::from_millis(300);
    ca.script().stuck = true;
    message(host.attempt(&hurry, true).0);
    ca.script().stuck = false;
    assert_eq!(host.files("acme/pending").len(), 1);
}

#[test]
fn a_ca_that_is_busy_has_not_forgotten_the_order_whatever_its_problem_leaves_out() {
    for (status, body) in [
        (503, r#"{"detail":"later"}"#),
        (500, r#"{"type":"urn:ietf:params:acme:error:malformed"}"#),
        (429, r#"{"detail":"too many"}"#),
        (502, "<html>Bad Gateway</html>"),
        (503, r#"{"detail":"later","status":"503","subproblems":7}"#),
    ] {
        let (host, ca, settings) = host_and_ca();
        left_open(&host, &ca, &settings);
        ca.script().answers_at = Some(("/order/", status, "Replay-Nonce: n\r\n".into(), body.into()));
        message(host.attempt(&settings, true).0);
        ca.script().answers_at = None;
        let (result, steps) = host.attempt(&settings, true);
        assert!(result.is_ok(), "{steps:?}");
        assert_eq!(ca.script().orders.len(), 1, "{status} {body}");
    }
}

#[test]
fn an_order_that_the_ca_has_lost_is_made_anew_whatever_it_says() {
    for (status, body) in [(404, "<html>Not Found</html>"), (404, ""), (410, r#"{"detail":7}"#), (403, "{}")]
    {
        let (host, ca, settings) = host_and_ca();
        left_open(&host, &ca, &settings);
        ca.script().answers_at = Some(("/order/1", status, "Replay-Nonce: n\r\n".into(), body.into()));
        let (result, steps) = host.attempt(&settings, true);
        assert!(result.is_ok(), "{status} {body}: {steps:?}");
        assert_eq!(ca.script().orders.len(), 2);
    }
}

#[test]
fn a_challenge_that_fails_at_once_is_told_of_with_its_name() {
    let (host, ca, settings) = host_and_ca();
    ca.script().fails_challenges = true;
    let error = message(host.attempt(&settings, false).0);
    assert!(error.contains("farm.test") && error.contains("nobody answered"), "{error}");
}

#[test]
fn two_cas_that_both_want_patience_are_both_left_alone() {
    let (host, first, mut settings) = host_and_ca();
    let second = Stub::start();
    settings.directories.push(second.directory());
    let week = "Retry-After: 604800\r\n";
    first.script().refuses_orders = Some((429, "rateLimited", week.into()));
    second.script().refuses_orders = Some((429, "rateLimited", "Retry-After: 86400\r\n".into()));
    message(host.attempt(&settings, false).0);
    message(host.attempt(&settings, false).0);
    assert_eq!((first.script().refused.len(), second.script().refused.len()), (1, 1));
    let report = host.engine(&settings).report(&settings.sites[0], Default::default());
    // The one that is to be had first, and not before.
    let wait = report.next_try.since(Time::now());
    assert_eq!(report.why, Why::RetryAfter);
    assert!(wait > Duration::from_secs(80_000) && wait <= Duration::from_secs(86_400), "{wait:?}");
}

#[test]
fn the_terms_that_were_agreed_to_are_on_record() {
    let (host, ca, settings) = host_and_ca();
    ca.script().terms = Some("https://ca.example/terms-7".into());
    assert!(host.attempt(&settings, false).0.is_ok());
    let account = host.path("acme/accounts").join(&host.files("acme/accounts")[0]);
    assert!(std::fs::read_to_string(account).unwrap().contains("https://ca.example/terms-7"));
}

#[test]
fn an_order_that_is_stuck_at_one_ca_is_not_forgotten_over_another_that_is_down() {
    let (host, first, mut settings) = host_and_ca();
    let second = Stub::start();
    settings.directories.push(second.directory());
    settings.timings.order = Duration::from_millis(300);
    first.script().stuck = true;
    second.script().answers = Some((503, String::new(), String::new()));
    for _ in 0..4 {
        assert!(message(host.attempt(&settings, false).0).contains("still at work"));
    }
    assert!(message(host.attempt(&settings, false).0).contains("503"));
    first.script().stuck = false;
    let (result, steps) = host.attempt(&settings, false);
    assert!(result.is_ok(), "{steps:?}");
    assert_eq!((first.script().orders.len(), second.script().orders.len()), (1, 0));
}
