//! When a certificate was last let in.

use std::fs;
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::admin::ca::{LastSeen, State, list};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn seen(farm: &Farm) -> Vec<(String, Option<String>)> {
    list(&farm.state()).expect("a list").into_iter().map(|row| (row.name, row.last_seen)).collect()
}

#[test]
fn the_list_tells_the_last_day_and_nothing_more() {
    let farm = Farm::new();
    let [alice, _bob] = ["alice", "bob"].map(|who| farm.certify(who));
    let alice = judge(&farm.gate(), &alice).expect("let in");
    let last_seen = LastSeen::load(&farm.state());
    let then = UNIX_EPOCH + 20_000 * DAY + Duration::from_secs(12_345);
    last_seen.record(&alice, then);
    last_seen.record(&alice, then - 3 * DAY);
    assert!(!farm.admin("last-seen").exists(), "recording is cheap");
    last_seen.flush().expect("written");
    let text = fs::read_to_string(farm.admin("last-seen")).expect("a file");
    assert_eq!(text, format!("{{\"{}\":{{\"day\":20000,\"name\":\"alice\"}}}}", alice.serial));
    assert_eq!(mode(&farm.admin("last-seen")), 0o600);
    assert_eq!(seen(&farm), [("alice".into(), Some("2024-10-04".into())), ("bob".into(), None)]);

    // Nothing new, nothing written.
    fs::remove_file(farm.admin("last-seen")).expect("a file");
    last_seen.record(&alice, then + Duration::from_secs(60));
    last_seen.flush().expect("nothing to do");
    assert!(!farm.admin("last-seen").exists());
}

#[test]
fn two_gates_take_nothing_from_each_other() {
    let farm = Farm::new();
    let [alice, bob] = ["alice", "bob"].map(|who| judge(&farm.gate(), &farm.certify(who)).expect("let in"));
    let (old, new) = (LastSeen::load(&farm.state()), LastSeen::load(&farm.state()));
    old.record(&alice, UNIX_EPOCH + 20_001 * DAY);
    new.record(&bob, UNIX_EPOCH + 20_002 * DAY);
    new.record(&alice, UNIX_EPOCH + 20_000 * DAY);
    new.flush().expect("written");
    old.flush().expect("written");
    let expected = [("alice".into(), Some("2024-10-05".into())), ("bob".into(), Some("2024-10-06".into()))];
    assert_eq!(seen(&farm), expected);
    LastSeen::load(&farm.state()).flush().expect("nothing to do");
    assert_eq!(seen(&farm), expected);
}

#[test]
fn whom_the_register_does_not_have_is_listed_as_issued_elsewhere() {
    let farm = Farm::new();
    let last_seen = LastSeen::load(&farm.state());
    let stranger = Administrator { common_name: "old\u{1b}[31m".into(), serial: "0ABC".into() };
    last_seen.record(&stranger, UNIX_EPOCH + 20_000 * DAY);
    last_seen.flush().expect("written");
    let rows = list(&farm.state()).expect("a list");
    assert_eq!(
        (rows[0].state, rows[0].name.as_str(), rows[0].not_after),
        (State::Unlisted, "old?[31m", None)
    );
    farm.authority().revoke("0abc", Default::default(), true).expect("revoked");
    let rows = list(&farm.state()).expect("a list");
    assert_eq!((rows.len(), rows[0].state, rows[0].name.as_str()), (1, State::Revoked, "old?[31m"));
}

#[test]
fn what_was_seen_may_be_lost_without_harm() {
    let farm = Farm::new();
    farm.certify("alice");
    for contents in ["", "{", "[]", "{\"A\":3}", "\u{0}"] {
        fs::write(farm.admin("last-seen"), contents).expect("a file");
        LastSeen::load(&farm.state()).flush().expect("nothing to do");
        assert_eq!(seen(&farm), [("alice".into(), None)]);
    }
    // Without a CA of our own there is nothing to keep it with.
    let farm = Farm::empty();
    let last_seen = LastSeen::load(&farm.state());
    let anybody = Administrator { common_name: "x".into(), serial: "01".into() };
    last_seen.record(&anybody, SystemTime::now());
    last_seen.flush().expect("nothing to do");
    assert!(!farm.state().exists());
}
