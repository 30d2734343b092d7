//! What is on disk when it begins again: files that are damaged, unreadable or somebody else's, and what a kill left.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::schedule::{ORDERS_PER_DAY, Why};
use super::super::{Once, Started, Store, Time};
use super::stub::Stub;
use super::support::*;

fn host_and_ca() -> (Host, Stub, super::super::Settings) {
    let (host, ca) = (Host::new(), Stub::start());
    let settings = host.settings(vec![ca.directory()], &["farm.test"]);
    (host, ca, settings)
}

#[test]
fn an_account_that_cannot_be_read_is_not_replaced_by_another() {
    let (host, ca, settings) = host_and_ca();
    assert!(host.attempt(&settings, true).0.is_ok());
    let path = host.path("acme/accounts").join(&host.files("acme/accounts")[0]);
    let kept = host.path("kept");
    fs::rename(&path, &kept).unwrap();
    // Reading it fails, and not because it is missing or says nothing.
    symlink(&path, &path).unwrap();
    let error = message(host.attempt(&settings, true).0);
    assert!(error.contains(&path.display().to_string()), "{error}");
    fs::rename(&kept, &path).unwrap();
    assert!(host.attempt(&settings, true).0.is_ok());
    assert_eq!(ca.script().accounts.len(), 1);
}

#[test]
fn nothing_is_ordered_while_it_is_unknown_whether_another_process_orders() {
    let (host, ca, settings) = host_and_ca();
    fs::create_dir_all(host.path("acme/lock")).unwrap();
    let manager = host.manager(&settings);
    let report = eventually("a failure", 20, || Some(only(&manager)).filter(|r| r.last_error.is_some()));
    assert!(report.last_error.unwrap().contains("lock"));
    assert_eq!((report.why, ca.script().accounts.len()), (Why::Backoff, 0));
}

#[test]
fn what_root_orders_can_be_read_by_the_owner_of_the_state_folder() {
    let (host, _ca, settings) = host_and_ca();
    // Only root can give it away; for others there is one owner anyway.
    let _ = std::os::unix::fs::chown(host.state.path(), Some(4242), Some(4243));
    let result = host.runtime.block_on(super::super::renew_once(
        &settings,
        &settings.sites[0],
        true,
        host.challenges.clone(),
        |_: &str| {},
    ));
    assert!(matches!(result, Once::Renewed), "{result:?}");
    let owner = fs::metadata(host.state.path()).unwrap().uid();
    let mut files = 0;
    let mut folders: Vec<PathBuf> = vec![host.state.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_symlink() {
                continue;
            }
            assert_eq!(fs::metadata(&path).unwrap().uid(), owner, "{}", path.display());
            files += 1;
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    assert!(files >= 10, "{files}");
}

#[test]
fn links_that_a_kill_prevented_are_made_at_the_next_start() {
    for missing in [
        &["current", "fullchain.pem", "privkey.pem"][..],
        &["fullchain.pem", "privkey.pem"],
        &["privkey.pem"],
    ] {
        let (host, ca, settings) = host_and_ca();
        assert!(host.attempt(&settings, true).0.is_ok());
        let folder = host.path("certificates/farm.test");
        missing.iter().for_each(|link| fs::remove_file(folder.join(link)).unwrap());
        let manager = host.manager(&settings);
        let (chain, key) = Store::new(host.state.path()).paths("farm.test");
        eventually("what others read", 10, || crate::tls::load_pair(&chain, &key).ok());
        assert_eq!(only(&manager).activity.tries, 0);
        assert_eq!(ca.script().orders.len(), 1);
    }
}

#[test]
fn a_version_with_the_highest_number_there_is_stops_nothing() {
    let (host, _ca, settings) = host_and_ca();
    fs::create_dir_all(host.path(&format!("certificates/farm.test/{}", u64::MAX))).unwrap();
    let (result, steps) = host.attempt(&settings, true);
    assert!(result.is_ok(), "{steps:?}");
}

#[test]
fn a_look_at_other_settings_does_not_make_the_gate_forget() {
    let (host, ca, settings) = host_and_ca();
    ca.script().refuses_orders = Some((429, "rateLimited", "Retry-After: 7200\r\n".into()));
    message(host.attempt(&settings, false).0);
    // `farmgate cert list` after the configuration was edited, and before it is in force.
    let edited = host.settings(vec![ca.directory()], &["farm.test", "new.test"]);
    super::super::report(&edited);
    let report = host.engine(&settings).report(&settings.sites[0], Default::default());
    assert_eq!((report.why, report.failures), (Why::RetryAfter, 1));
}

#[test]
fn an_order_whose_key_is_damaged_is_given_up() {
    let (host, ca, settings) = host_and_ca();
    ca.script().answers_at = Some(("/finalize", 500, String::new(), "{}".into()));
    message(host.attempt(&settings, true).0);
    ca.script().answers_at = None;
    let path = host.path("acme/pending/farm.test.json");
    let mut pending: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    pending["key"] = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".into();
    fs::write(&path, pending.to_string()).unwrap();
    host.attempt(&settings, true).0.ok();
    let (result, steps) = host.attempt(&settings, true);
    assert!(result.is_ok(), "{steps:?}");
    assert_eq!(ca.script().orders.len(), 2);
}

#[test]
fn a_ca_that_looked_in_vain_is_asked_to_look_again() {
    let (host, ca, mut settings) = host_and_ca();
    settings.timings.order = Duration::from_millis(300);
    ca.script().misses_first_look = true;
    message(host.attempt(&settings, true).0);
    let (result, steps) = host.attempt(&settings, true);
    assert!(result.is_ok(), "{steps:?}");
    let script = ca.script();
    assert_eq!((script.looks, script.orders.len()), (2, 1));
}

#[test]
fn what_was_ordered_today_counts_after_a_restart_and_at_every_ca() {
    let (host, ca, mut settings) = host_and_ca();
    for _ in 0..ORDERS_PER_DAY {
        assert!(host.attempt(&settings, true).0.is_ok());
    }
    let second = Stub::start();
    settings.directories = vec![second.directory()];
    let manager = host.manager(&settings);
    assert!(matches!(manager.renew("farm.test", true), Started::HeldBack(at) if at > Time::now()));
    let error = message(host.attempt(&settings, true).0);
    assert!(error.contains("in a day"), "{error}");
    assert_eq!((ca.script().orders.len(), second.script().orders.len()), (ORDERS_PER_DAY, 0));
}

#[test]
fn files_of_a_kill_do_not_pile_up() {
    let (host, _ca, settings) = host_and_ca();
    let half = |path: &Path| fs::write(path, "half").unwrap();
    assert!(host.attempt(&settings, true).0.is_ok());
    half(&host.path("acme/orders.json.new"));
    half(&host.path("acme/probe.new"));
    half(&host.path("acme/sites/farm.test.json.new"));
    fs::create_dir_all(host.path("certificates/farm.test/version.new/below")).unwrap();
    assert!(host.attempt(&settings, true).0.is_ok());
    assert!(host.files("acme").iter().chain(&host.files("acme/sites")).all(|name| !name.ends_with(".new")));
    assert!(host.files("certificates/farm.test").iter().all(|name| !name.ends_with(".new")));
}

#[test]
fn an_account_that_was_made_while_we_were_killed_is_found_again_by_its_key() {
    let (host, ca, settings) = host_and_ca();
    // Made there, and nothing heard of it here.
    ca.script().answers_at = Some(("/account", 500, String::new(), String::new()));
    message(host.attempt(&settings, true).0);
    ca.script().answers_at = None;
    assert!(host.attempt(&settings, true).0.is_ok());
    let keys = ca.script().keys.clone();
    assert_eq!((keys.len(), &keys[0]), (2, &keys[1]));
    assert!(keys[0].is_object());
    // The key is with the account now, and nowhere else.
    assert!(host.files("acme/accounts").iter().all(|name| name.ends_with(".json")));
}

#[test]
fn a_ca_that_insists_on_the_contact_gets_it_with_the_account() {
    let (host, ca, settings) = host_and_ca();
    ca.script().insists_on_contact = true;
    let (result, steps) = host.attempt(&settings, true);
    assert!(result.is_ok(), "{steps:?}");
    assert_eq!(ca.script().accounts[0]["contact"][0], "mailto:admin@example.org");
}
