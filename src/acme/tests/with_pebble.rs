use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use super::super::engine::Engine;
use super::super::{Manager, Started, Store};
use super::pebble::{EAB_KEY, EAB_KID, Pebble, Ways};
use super::support::*;
use crate::config::{Eab, HmacKey, KeyType};

#[test]
fn the_first_certificate_comes_by_itself_for_all_names_although_nonces_are_refused() {
    let host = Host::new();
    let pebble = Pebble::start(&host, Ways { nonces_refused: 50, ..Ways::default() });
    let settings = host.settings(vec![pebble.directory()], &["farm.test", "ci.farm.test", "www.farm.test"]);
    let manager = host.manager(&settings);
    let facts = eventually("a certificate", 60, || host.last_seen());
    assert!(facts.covers(&settings.sites[0].names), "{facts:?}");
    let report = eventually("a report", 5, || Some(only(&manager)).filter(|r| !r.activity.running));
    assert_eq!(report.certified.len(), 3);
    assert!(report.issuer.unwrap().contains("Pebble"));
    assert_eq!((report.failures, report.last_error), (0, None));
    // Two thirds of ninety days.
    let wait = report.next_try.since(report.not_before.unwrap()).as_secs() / 86_400;
    assert!((54..=60).contains(&wait), "{wait}");
    // Nothing is left that was for the way.
    assert_eq!(host.files("acme/pending"), [""; 0]);
    assert_eq!(host.files("acme/challenges"), [""; 0]);
    let account = host.path("acme/accounts").join(&host.files("acme/accounts")[0]);
    assert_eq!(fs::metadata(&account).unwrap().permissions().mode() & 0o777, 0o600);
    let account = fs::read_to_string(account).unwrap();
    assert!(
        account.contains("admin@example.org") && account.contains("terms_of_service_agreed"),
        "{account}"
    );
}

#[test]
fn a_restart_orders_nothing_that_is_there_and_uses_the_account_again() {
    let host = Host::new();
    let pebble = Pebble::start(&host, Ways::default());
    let mut settings = host.settings(vec![pebble.directory()], &["farm.test"]);
    drop({
        let manager = host.manager(&settings);
        eventually("a certificate", 60, || host.last_seen());
        manager
    });
    let account = fs::read(host.path("acme/accounts").join(&host.files("acme/accounts")[0])).unwrap();
    host.seen.lock().unwrap().clear();
    let manager = host.manager(&settings);
    eventually("the certificate of before", 10, || host.last_seen());
    assert_eq!(only(&manager).activity.tries, 0);
    assert_eq!(pebble.orders(), 1);
    // Another name is another certificate, by the same account.
    settings.sites = vec![site(&["farm.test", "more.test"])];
    manager.reconfigure(settings);
    eventually("a certificate with the new name", 60, || {
        host.last_seen().filter(|facts| facts.names.contains(&"more.test".to_owned()))
    });
    assert_eq!(host.files("acme/accounts").len(), 1);
    assert_eq!(fs::read(host.path("acme/accounts").join(&host.files("acme/accounts")[0])).unwrap(), account);
}

#[test]
fn a_certificate_is_renewed_before_it_ends() {
    let host = Host::new();
    let pebble = Pebble::start(&host, Ways { validity: 12, ..Ways::default() });
    let settings = host.settings(vec![pebble.directory()], &["short.test"]);
    let manager = host.manager(&settings);
    let first = eventually("a certificate", 60, || host.last_seen());
    let second =
        eventually("the next one", 60, || host.last_seen().filter(|facts| facts.serial != first.serial));
    // Pebble's certificates begin when they are made. The second one was made within the lifetime of the first.
    assert!(second.not_before < first.not_after, "{first:?} {second:?}");
    drop(manager);
    assert!(host.path("certificates/short.test/000001/fullchain.pem").exists());
}

#[test]
fn one_name_that_fails_fails_the_order_and_is_named() {
    let host = Host::new();
    let pebble = Pebble::start(&host, Ways::default());
    pebble.mislead("bad.test");
    let settings = host.settings(vec![pebble.directory()], &["good.test", "bad.test"]);
    let manager = host.manager(&settings);
    let report =
        eventually("a failure", 60, || Some(only(&manager)).filter(|report| report.last_error.is_some()));
    let error = report.last_error.unwrap();
    assert!(error.contains("bad.test: ") && error.contains("connection"), "{error}");
    assert!(!error.contains("good.test: "), "{error}");
    assert_eq!((report.failures, report.certified.len()), (1, 0));
    assert_eq!(host.files("acme/pending"), [""; 0]);
}

/// Drops the engine's future at its `step`-th word, as a restart would end it, and starts anew until it is done.
fn interrupted_at(host: &Host, engine: &Engine, step: usize) -> Option<usize> {
    let site = &engine.settings.sites[0];
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let count = Mutex::new(0);
    let watcher = Arc::new(move |_: &str| {
        let mut count = count.lock().unwrap();
        *count += 1;
        if *count > step {
            let _ = sender.send(*count);
        }
    });
    host.runtime.block_on(async {
        tokio::select! {
            biased;
            at = receiver.recv() => at,
            result = engine.attempt(site, true, None, watcher) => { result.ok(); None }
        }
    })
}

#[test]
fn a_restart_at_any_step_goes_on_with_the_order_instead_of_making_another() {
    let host = Host::new();
    let pebble = Pebble::start(&host, Ways::default());
    let mut ordered_again = 0;
    for step in 0..40 {
        let name = format!("step-{step}.test");
        let settings = host.settings(vec![pebble.directory()], &[&name, "second.test"]);
        let engine = Engine::new(settings.clone(), host.challenges.clone());
        let orders = pebble.orders();
        let interrupted = interrupted_at(&host, &engine, step);
        let was_ordered = host.path(&format!("acme/pending/{name}.json")).exists();
        let done = Store::new(host.state.path()).load(&name).is_ok();
        if !done {
            let (result, steps) = host.attempt(&settings, true);
            assert!(result.is_ok(), "step {step}: {steps:?}");
            assert_eq!(was_ordered, steps.iter().any(|s| s.contains("going on with")), "{step}: {steps:?}");
        }
        ordered_again += pebble.orders() - orders - 1;
        // The caps are for CAs with less patience.
        let _ = fs::remove_file(host.path("acme/orders.json"));
        if interrupted.is_none() {
            assert!(step >= 6, "only {step} steps");
            // The step right after the CA has answered, and before its answer is on disk, is not a word: none is
            // lost here.
            assert_eq!(ordered_again, 0);
            return;
        }
    }
    panic!("it never comes to an end");
}

#[test]
fn of_two_gates_with_one_state_folder_one_orders_and_both_serve() {
    let host = Host::new();
    let pebble = Pebble::start(&host, Ways::default());
    let settings = host.settings(vec![pebble.directory()], &["shared.test"]);
    let seen: [Arc<Mutex<usize>>; 2] = Default::default();
    let managers = seen.clone().map(|seen| {
        // Answers are of the process that asks; the other one gives them from the folder.
        let challenges = Arc::new(super::super::Challenges::new(host.state.path()));
        Manager::start(settings.clone(), challenges, Arc::new(move |_, _| *seen.lock().unwrap() += 1))
            .unwrap()
    });
    for seen in &seen {
        eventually("a certificate for each", 60, || (*seen.lock().unwrap() > 0).then_some(()));
    }
    assert_eq!(pebble.orders(), 1);
    assert_eq!(managers.iter().map(|manager| only(manager).activity.tries).sum::<u64>(), 1);
}

#[test]
fn an_account_is_bound_to_another_where_the_ca_wants_it() {
    let host = Host::new();
    let pebble = Pebble::start(&host, Ways { eab: true, ..Ways::default() });
    let mut settings = host.settings(vec![pebble.directory()], &["bound.test"]);
    let error = message(host.attempt(&settings, true).0);
    assert!(error.contains("acme.eab"), "{error}");
    let key_file = host.path("hmac");
    fs::write(&key_file, format!("{EAB_KEY}\n")).unwrap();
    settings.directories[0].eab = Some(Eab { kid: EAB_KID.into(), hmac_key: HmacKey::File(key_file) });
    let (result, steps) = host.attempt(&settings, true);
    assert!(result.is_ok(), "{steps:?}");
}

#[test]
fn rsa_where_it_is_chosen() {
    let host = Host::new();
    let pebble = Pebble::start(&host, Ways::default());
    let mut settings = host.settings(vec![pebble.directory()], &["rsa.test"]);
    settings.key_type = KeyType::Rsa2048;
    let (result, steps) = host.attempt(&settings, true);
    assert!(result.is_ok(), "{steps:?}");
    let pair = result.ok().unwrap().pair;
    assert!(format!("{:?}", pair.key).contains("RSA"), "{:?}", pair.key);
}

#[test]
fn who_asks_for_what_is_not_due_has_to_insist() {
    let host = Host::new();
    let pebble = Pebble::start(&host, Ways::default());
    let settings = host.settings(vec![pebble.directory()], &["asked.test"]);
    let manager = host.manager(&settings);
    let first = eventually("a certificate", 60, || host.last_seen());
    eventually("the end of it", 10, || (!only(&manager).activity.running).then_some(()));
    assert!(matches!(manager.renew("asked.test", false), Started::NotDue(_)));
    assert_eq!(manager.renew("other.test", true), Started::Unknown);
    assert_eq!(manager.renew("asked.test", true), Started::Yes);
    eventually("another certificate", 60, || host.last_seen().filter(|facts| facts.serial != first.serial));
    // The cap holds whoever asks.
    for _ in 0..20 {
        let report =
            eventually("an idle manager", 30, || Some(only(&manager)).filter(|r| !r.activity.running));
        match manager.renew("asked.test", true) {
            Started::Yes => eventually("the next try", 30, || {
                (only(&manager).activity.tries > report.activity.tries).then_some(())
            }),
            Started::HeldBack(_) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(pebble.orders(), super::super::schedule::ORDERS_PER_DAY);
}
