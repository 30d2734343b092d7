use std::fs;
use std::time::{Duration, Instant};

use super::super::schedule::{LONGEST_RETRY_AFTER, Why};
use super::super::{LoadError, Store, Time};
use super::stub::Stub;
use super::support::*;

const DAY: Duration = Duration::from_secs(86_400);

fn host_and_ca() -> (Host, Stub, super::super::Settings) {
    let (host, ca) = (Host::new(), Stub::start());
    let settings = host.settings(vec![ca.directory()], &["farm.test", "www.farm.test"]);
    (host, ca, settings)
}

fn next_try(host: &Host, settings: &super::super::Settings) -> (Duration, Why) {
    let report = host.engine(settings).report(&settings.sites[0], Default::default());
    (report.next_try.since(Time::now()), report.why)
}

fn about(found: Duration, wanted: Duration) -> bool {
    found <= wanted && found + patience(20) >= wanted
}

#[test]
fn a_ca_that_is_down_costs_a_minute_and_says_so() {
    let (host, ca, settings) = host_and_ca();
    drop(ca.root());
    let mut settings = settings;
    settings.directories[0].url = "https://localhost:1/dir".into();
    let error = message(host.attempt(&settings, false).0);
    assert!(error.contains("localhost") && error.contains("refused"), "{error}");
    let (wait, why) = next_try(&host, &settings);
    assert!(about(wait, Duration::from_secs(60)) && why == Why::Backoff, "{wait:?} {why:?}");
}

#[test]
fn a_ca_that_hangs_is_not_waited_for_for_ever() {
    let (host, ca, mut settings) = host_and_ca();
    ca.script().hangs = true;
    settings.timings.connect = Duration::from_millis(300);
    settings.timings.request = Duration::from_millis(500);
    let begin = Instant::now();
    let error = message(host.attempt(&settings, false).0);
    assert!(error.contains("no answer"), "{error}");
    assert!(begin.elapsed() < patience(5), "{:?}", begin.elapsed());
}

#[test]
fn a_manager_whose_ca_hangs_stops_at_once_and_reports_meanwhile() {
    let (host, ca, settings) = host_and_ca();
    ca.script().hangs = true;
    let manager = host.manager(&settings);
    eventually("a try", 10, || only(&manager).activity.running.then_some(()));
    let begin = Instant::now();
    drop(manager);
    assert!(begin.elapsed() < patience(1), "{:?}", begin.elapsed());
}

#[test]
fn retry_after_is_heeded_across_restarts_and_nobody_gets_round_it() {
    let (host, ca, settings) = host_and_ca();
    ca.script().refuses_orders = Some((429, "rateLimited", "Retry-After: 7200\r\n".into()));
    let error = message(host.attempt(&settings, false).0);
    assert!(error.contains("rateLimited"), "{error}");
    let (wait, why) = next_try(&host, &settings);
    assert!(about(wait, Duration::from_secs(7200)) && why == Why::RetryAfter, "{wait:?} {why:?}");
    let refused = host.engine(&settings).not_now(&settings.sites[0], true, Time::now());
    assert!(matches!(refused, Some(super::super::Once::HeldBack(_))), "{refused:?}");
    assert_eq!(ca.script().refused.len(), 1);
}

#[test]
fn no_retry_after_is_too_long_or_too_odd() {
    let far = "Retry-After: Fri, 31 Dec 9999 23:59:59 GMT\r\n";
    for line in [
        "Retry-After: 18446744073709551615\r\n",
        "Retry-After: 99999999999999999999999999\r\n",
        "Retry-After: 9223372036854775807\r\n",
        far,
        "Retry-After: -5\r\n",
        "Retry-After: soon\r\n",
        "Retry-After: \r\n",
    ] {
        let (host, ca, settings) = host_and_ca();
        ca.script().refuses_orders = Some((429, "rateLimited", line.into()));
        message(host.attempt(&settings, false).0);
        let (wait, _) = next_try(&host, &settings);
        assert!(wait <= LONGEST_RETRY_AFTER && wait > Duration::from_secs(50 * 60), "{line}: {wait:?}");
        // The same at every look at an order that is under way.
        let (host, ca, mut settings) = host_and_ca();
        settings.timings.order = Duration::from_millis(300);
        ca.script().stuck = true;
        ca.script().retry_after = Some(line.trim_end().into());
        message(host.attempt(&settings, false).0);
    }
}

#[test]
fn whatever_a_ca_answers_it_is_a_failure_and_no_panic() {
    let long = "x".repeat(3 * 1024 * 1024);
    for (status, headers, body) in [
        (200, "", ""),
        (200, "", "{}"),
        (200, "", "[]"),
        (200, "", "null"),
        (200, "", r#"{"newNonce":5,"newAccount":"","newOrder":""}"#),
        (200, "", r#"{"newNonce":"","newAccount":"","newOrder":""}"#),
        (200, "", r#"{"newNonce":"ht tp://x y","newAccount":"x","newOrder":"x"}"#),
        (200, "", r#"{"newNonce":"http://x","newAccount":"http://x","newOrder":"http://x"}"#),
        (200, "Content-Length: 5\r\n", ""),
        (301, "Location: https://elsewhere/\r\n", ""),
        (502, "", "<html>Bad Gateway</html>"),
        (503, "Retry-After: 120\r\n", "later"),
        (429, "", "{}"),
        (400, "", "{\"type\":5}"),
        (600, "", "{}"),
        (200, "", &long),
    ] {
        let (host, ca, settings) = host_and_ca();
        ca.script().answers = Some((status, headers.into(), body.into()));
        let error = message(host.attempt(&settings, false).0);
        assert!(error.len() < 1000 && !error.contains('\n'), "{error}");
    }
}

#[test]
fn an_order_that_is_stuck_stays_open_and_is_taken_up_again() {
    let (host, ca, mut settings) = host_and_ca();
    ca.script().stuck = true;
    settings.timings.order = Duration::from_millis(500);
    let error = message(host.attempt(&settings, false).0);
    assert!(error.contains("still at work"), "{error}");
    assert_eq!(host.files("acme/pending"), ["farm.test.json"]);
    ca.script().stuck = false;
    let (result, steps) = host.attempt(&settings, true);
    assert!(result.is_ok(), "{steps:?}");
    assert_eq!(ca.script().orders.len(), 1);
    assert_eq!(host.files("acme/pending"), [""; 0]);
}

#[test]
fn a_ca_s_window_is_heeded_replaces_is_said_and_one_renewal_comes_of_it() {
    let (host, ca, settings) = host_and_ca();
    // Made a month ago, as far as the certificate knows: it has settled.
    ca.script().validity = Some((DAY * 90, DAY * 30));
    let manager = host.manager(&settings);
    let first = eventually("a certificate", 30, || host.last_seen());
    drop(manager);
    // The state remembers a success just now; a day later there would be no wait.
    let path = host.path("acme/sites/farm.test.json");
    let mut state: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    state["succeeded"] = (Time::now().unix() - 86_400).into();
    fs::write(&path, state.to_string()).unwrap();
    ca.script().window = Some((-7200, -3600, "Retry-After: 21600\r\n"));
    let manager = host.manager(&settings);
    let second =
        eventually("the next one", 30, || host.last_seen().filter(|facts| facts.serial != first.serial));
    assert_eq!(ca.script().orders[1]["replaces"], first.ari_id.unwrap());
    // The window of the old one is none of the new one's; the new one's is in the past too, and still waits.
    eventually("a question about the new one", 10, || {
        ca.script().asked.contains(second.ari_id.as_ref().unwrap()).then_some(())
    });
    let report = eventually("its answer", 10, || Some(only(&manager)).filter(|r| r.why == Why::Suggested));
    assert!(report.next_try > Time::now().plus(Duration::from_secs(5 * 3600)), "{report:?}");
    let script = ca.script();
    assert_eq!((script.orders.len(), script.asked.len()), (2, 2));
}

#[test]
fn an_order_whose_replaces_is_refused_is_made_without() {
    for (status, kind) in [
        (409, "alreadyReplaced"),
        (409, "conflict"),
        (400, "malformed"),
        (404, "malformed"),
        (403, "unauthorized"),
    ] {
        let (host, ca, settings) = host_and_ca();
        ca.script().window = Some((86_400, 90_000, ""));
        let (result, steps) = host.attempt(&settings, true);
        assert!(result.is_ok(), "{steps:?}");
        ca.script().refuses_replaces = Some((status, kind));
        let (result, steps) = host.attempt(&settings, true);
        assert!(result.is_ok(), "{kind}: {steps:?}");
        let script = ca.script();
        assert!(script.orders[1]["replaces"].is_null() && !script.refused[0]["replaces"].is_null());
        assert_eq!((script.refused.len(), script.orders.len(), script.accounts.len()), (1, 2, 1), "{kind}");
    }
}

#[test]
fn a_ca_that_does_not_say_replaces_back_is_no_trouble() {
    let (host, ca, settings) = host_and_ca();
    ca.script().window = Some((86_400, 90_000, ""));
    assert!(host.attempt(&settings, true).0.is_ok());
    ca.script().forgets_replaces = true;
    let (result, steps) = host.attempt(&settings, true);
    assert!(result.is_ok(), "{steps:?}");
}

#[test]
fn an_account_that_the_ca_has_forgotten_is_made_anew() {
    let (host, ca, settings) = host_and_ca();
    assert!(host.attempt(&settings, true).0.is_ok());
    ca.script().forgets_accounts = true;
    let (result, steps) = host.attempt(&settings, true);
    assert!(result.is_ok(), "{steps:?}");
    assert_eq!(ca.script().accounts.len(), 2);
    // What was is kept for whoever wants to know, and the new one is used from now on.
    assert_eq!(host.files("acme/accounts").len(), 2);
    assert!(host.attempt(&settings, true).0.is_ok());
    assert_eq!(ca.script().accounts.len(), 2);
}

#[test]
fn a_damaged_account_file_makes_a_new_account() {
    let (host, ca, settings) = host_and_ca();
    assert!(host.attempt(&settings, true).0.is_ok());
    let path = host.path("acme/accounts").join(&host.files("acme/accounts")[0]);
    fs::write(&path, &fs::read(&path).unwrap()[..40]).unwrap();
    assert!(host.attempt(&settings, true).0.is_ok());
    assert_eq!(ca.script().accounts.len(), 2);
}

#[test]
fn a_profile_is_asked_for_where_it_is_offered() {
    for (offered, asked_for) in [(vec!["classic", "shortlived"], Some("shortlived")), (vec!["classic"], None)]
    {
        let (host, ca, mut settings) = host_and_ca();
        settings.directories[0].profile = Some("shortlived".into());
        ca.script().profiles = offered;
        let (result, steps) = host.attempt(&settings, true);
        assert!(result.is_ok(), "{steps:?}");
        assert_eq!(ca.script().orders[0]["profile"].as_str(), asked_for);
    }
}

#[test]
fn after_four_failures_the_fallback_is_asked() {
    let (host, first, mut settings) = host_and_ca();
    let second = Stub::start();
    settings.directories.push(second.directory());
    first.script().refuses_orders = Some((500, "serverInternal", String::new()));
    for _ in 0..4 {
        message(host.attempt(&settings, false).0);
    }
    assert_eq!((first.script().refused.len(), second.script().orders.len()), (4, 0));
    let (result, steps) = host.attempt(&settings, false);
    assert!(result.is_ok(), "{steps:?}");
    assert_eq!(host.files("acme/accounts").len(), 2);
    // The next renewal begins with the first one again, and tells it of no certificate that it does not know.
    first.script().refuses_orders = None;
    let (result, steps) = host.attempt(&settings, true);
    assert!(result.is_ok(), "{steps:?}");
    assert!(first.script().orders[0]["replaces"].is_null());
}

#[test]
fn a_ca_that_wants_a_week_s_patience_is_left_alone_and_the_fallback_asked() {
    let (host, first, mut settings) = host_and_ca();
    let second = Stub::start();
    settings.directories.push(second.directory());
    first.script().refuses_orders = Some((429, "rateLimited", "Retry-After: 604800\r\n".into()));
    message(host.attempt(&settings, false).0);
    let (wait, why) = next_try(&host, &settings);
    assert!(about(wait, Duration::from_secs(60)) && why == Why::Backoff, "{wait:?} {why:?}");
    let (result, steps) = host.attempt(&settings, false);
    assert!(result.is_ok(), "{steps:?}");
    let (result, steps) = host.attempt(&settings, true);
    assert!(result.is_ok(), "{steps:?}");
    assert_eq!((first.script().refused.len(), second.script().orders.len()), (1, 2));
}

#[test]
fn a_closed_account_is_replaced_and_a_new_one_that_is_refused_is_not() {
    let (host, ca, settings) = host_and_ca();
    ca.script().refuses_orders = Some((401, "unauthorized", String::new()));
    message(host.attempt(&settings, true).0);
    assert_eq!(ca.script().accounts.len(), 1);
    let path = host.path("acme/accounts").join(&host.files("acme/accounts")[0]);
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    record["created"] = 1.into();
    fs::write(&path, record.to_string()).unwrap();
    message(host.attempt(&settings, true).0);
    assert_eq!(ca.script().accounts.len(), 2);
    message(host.attempt(&settings, true).0);
    assert_eq!(ca.script().accounts.len(), 2);
}

#[test]
fn a_certificate_that_lacks_a_name_is_not_taken() {
    let (host, ca, settings) = host_and_ca();
    ca.script().leaves_out = Some("www.farm.test".into());
    let error = message(host.attempt(&settings, false).0);
    assert!(error.contains("is for farm.test only"), "{error}");
    assert!(matches!(Store::new(host.state.path()).load("farm.test"), Err(LoadError::None)));
}

#[test]
fn a_shorter_certificate_of_the_same_kind_does_not_replace_a_longer_one() {
    let (host, ca, mut settings) = host_and_ca();
    // Seventy of ninety days are gone: due.
    ca.script().validity = Some((DAY * 90, DAY * 70));
    assert!(host.attempt(&settings, false).0.is_ok());
    ca.script().validity = Some((DAY * 6, Duration::ZERO));
    let error = message(host.attempt(&settings, false).0);
    assert!(error.contains("before the one in use"), "{error}");
    assert_eq!(Store::new(host.state.path()).load("farm.test").unwrap().version, 1);
    // One of another kind does: somebody has configured it.
    settings.directories[0].profile = Some("shortlived".into());
    ca.script().profiles = vec!["shortlived"];
    let (result, steps) = host.attempt(&settings, false);
    assert!(result.is_ok(), "{steps:?}");
}

#[test]
fn a_clock_that_is_years_ahead_orders_nothing_the_ca_s_clock_does_not_want() {
    let (host, ca, settings) = host_and_ca();
    // By our clock it has ended; by the CA's it is a day old.
    ca.script().validity = Some((DAY * 90, DAY * 400));
    assert!(host.attempt(&settings, false).0.is_ok());
    ca.script().clock = -399 * 86_400;
    let error = message(host.attempt(&settings, false).0);
    assert!(error.contains("set the clock"), "{error}");
    assert_eq!(ca.script().orders.len(), 1);
    // Without a certificate there is nothing to lose.
    let other = host.settings(vec![ca.directory()], &["other.test"]);
    assert!(host.attempt(&other, false).0.is_ok());
}

#[test]
fn a_clock_that_is_years_behind_is_told_of_and_renews_what_the_ca_s_clock_wants() {
    let (host, ca, settings) = host_and_ca();
    assert!(host.attempt(&settings, false).0.is_ok());
    ca.script().clock = 3650 * 86_400;
    let (result, steps) = host.attempt(&settings, false);
    assert!(result.is_ok(), "{steps:?}");
}

#[test]
fn nothing_is_ordered_where_nothing_can_be_kept() {
    let (host, ca, settings) = host_and_ca();
    fs::write(host.path("certificates"), "a file in the way").unwrap();
    let error = message(host.attempt(&settings, false).0);
    assert!(error.contains("nothing was ordered"), "{error}");
    assert_eq!(ca.script().orders.len(), 0);
    assert_eq!(ca.script().accounts.len(), 0);
}

#[test]
fn a_certificate_that_cannot_be_stored_is_served_and_stored_when_it_can_be() {
    let (host, ca, settings) = host_and_ca();
    fs::create_dir_all(host.path("certificates")).unwrap();
    fs::write(host.path("certificates/farm.test"), "a file in the way").unwrap();
    let manager = host.manager(&settings);
    let facts = eventually("a certificate", 30, || host.last_seen());
    let report = eventually("the failure", 10, || Some(only(&manager)).filter(|r| r.last_error.is_some()));
    assert!(report.last_error.unwrap().contains("could not be stored"));
    fs::remove_file(host.path("certificates/farm.test")).unwrap();
    manager.renew("farm.test", true);
    eventually("it on disk", 30, || Store::new(host.state.path()).load("farm.test").ok());
    assert_eq!(Store::new(host.state.path()).load("farm.test").unwrap().facts.serial, facts.serial);
    assert_eq!(ca.script().orders.len(), 1);
}

#[test]
fn an_order_whose_certificate_is_in_use_is_not_taken_up_again() {
    let (host, ca, settings) = host_and_ca();
    ca.script().stuck = true;
    let mut hurry = settings.clone();
    hurry.timings.order = Duration::from_millis(300);
    message(host.attempt(&hurry, false).0);
    ca.script().stuck = false;
    let pending = host.path("acme/pending/farm.test.json");
    let left_behind = fs::read(&pending).unwrap();
    assert!(host.attempt(&settings, true).0.is_ok());
    // Killed after the certificate was stored and before the order was forgotten.
    fs::write(&pending, left_behind).unwrap();
    let before = Store::new(host.state.path()).load("farm.test").unwrap().facts.serial;
    assert!(host.attempt(&settings, true).0.is_ok());
    assert_ne!(Store::new(host.state.path()).load("farm.test").unwrap().facts.serial, before);
    assert_eq!(ca.script().orders.len(), 2);
}

#[test]
fn a_port_80_that_is_somebody_else_s_keeps_the_order_back_three_times_out_of_four() {
    let (host, ca, mut settings) = host_and_ca();
    // Names that resolve here, and a port where another server answers.
    let another = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    settings.challenge_port = another.local_addr().unwrap().port();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for mut stream in another.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ =
                stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    settings.sites = vec![site(&["localhost"])];
    for _ in 0..3 {
        let error = message(host.attempt(&settings, false).0);
        assert!(error.contains("404") && error.contains("nothing was ordered"), "{error}");
    }
    assert_eq!(ca.script().orders.len(), 0);
    let (result, steps) = host.attempt(&settings, false);
    assert!(result.is_ok(), "{steps:?}");
}

#[test]
fn a_port_80_that_is_ours_is_found_so() {
    let (host, _ca, mut settings) = host_and_ca();
    settings.sites = vec![site(&["localhost"])];
    let (result, steps) = host.attempt(&settings, false);
    assert!(result.is_ok(), "{steps:?}");
    assert_eq!(host.files("acme/challenges"), [""; 0]);
}

#[test]
fn a_root_that_cannot_be_read_trusts_nobody() {
    let (host, ca, mut settings) = host_and_ca();
    for content in [None, Some(""), Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")] {
        let path = host.path("root.pem");
        let _ = fs::remove_file(&path);
        if let Some(content) = content {
            fs::write(&path, content).unwrap();
        }
        settings.directories[0].ca_file = Some(path);
        let error = message(host.attempt(&settings, false).0);
        assert!(error.contains("acme.ca_file"), "{error}");
    }
    // The system's roots do not know this CA either.
    settings.directories[0].ca_file = None;
    message(host.attempt(&settings, false).0);
    assert_eq!(ca.script().accounts.len(), 0);
}
