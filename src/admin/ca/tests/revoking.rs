//! `revoke NAME|SERIAL`, and what the running gate makes of it.

use std::fs;

use super::*;
use crate::admin::ca::{CaError, Reason, Revoked, State, list};

#[test]
fn a_revocation_counts_for_the_next_verdict_of_a_gate_that_runs_and_of_one_that_starts_later() {
    let farm = Farm::new();
    let (alice, bob) = (farm.certify("alice"), farm.certify("bob"));
    let running = farm.gate();
    assert!(judge(&running, &alice).is_ok() && judge(&running, &bob).is_ok());
    farm.authority().revoke("alice", Reason::Superseded, false).expect("revoked");
    for gate in [running, farm.gate()] {
        assert_eq!(judge(&gate, &alice), Err(Refusal::Revoked));
        assert!(judge(&gate, &bob).is_ok());
    }
}

#[test]
fn a_gate_that_was_there_before_the_ca_takes_up_its_register() {
    let farm = Farm::new();
    let alice = farm.certify("alice");
    let elsewhere = Farm::empty();
    let gate = Gate::load(&farm.admin("ca.crt"), &[]).with_own_revocations(&elsewhere.state());
    assert!(judge(&gate, &alice).is_ok());
    farm.authority().revoke("alice", Reason::Superseded, false).expect("revoked");
    fs::rename(farm.state(), elsewhere.state()).expect("the same file system");
    assert_eq!(judge(&gate, &alice), Err(Refusal::Revoked));
}

#[test]
fn every_one_of_many_revocations_in_a_row_counts_at_once() {
    let farm = Farm::new();
    let gate = farm.gate();
    let all: Vec<_> = (0..30).map(|number| farm.certify(&format!("n{number}"))).collect();
    for (number, certificate) in all.iter().enumerate() {
        assert!(judge(&gate, certificate).is_ok());
        farm.authority().revoke(&format!("n{number}"), Reason::Superseded, false).expect("revoked");
        assert_eq!(judge(&gate, certificate), Err(Refusal::Revoked));
    }
}

#[test]
fn openssl_reads_the_list_for_others_and_goes_by_it() {
    let farm = Farm::new();
    let reasons = Reason::ALL.map(|reason| (reason, reason.token()));
    for (_, who) in reasons {
        farm.certify(who);
    }
    farm.certify("good");
    for (reason, who) in reasons {
        farm.authority().revoke(who, reason, false).expect("revoked");
    }
    let text = farm.openssl(&[
        "crl",
        "-in",
        "state/admin/ca.crl",
        "-noout",
        "-text",
        "-verify",
        "-CAfile",
        "state/admin/ca.crt",
    ]);
    assert!(text.contains("verify OK") && text.contains("Version 2"), "{text}");
    assert_eq!(text.matches("Serial Number:").count(), 6, "{text}");
    for reason in [
        "Key Compromise",
        "Affiliation Changed",
        "Superseded",
        "Cessation Of Operation",
        "Privilege Withdrawn",
    ] {
        assert!(text.contains(reason), "{reason} in {text}");
    }
    assert!(!text.contains("Unspecified"), "RFC 5280 section 5.3.1: {text}");
    assert!(text.contains("X509v3 Authority Key Identifier") && text.contains("X509v3 CRL Number"), "{text}");

    let check = ["-crl_check", "-CRLfile", "state/admin/ca.crl"];
    farm.verify("good.crt", &check).expect("not revoked");
    for (_, who) in reasons {
        let refused = farm.verify(&format!("{who}.crt"), &check).expect_err(who);
        assert!(refused.contains("certificate revoked"), "{refused}");
    }
    // Our own gate takes it too, as an operator elsewhere would configure it.
    let elsewhere = Gate::load(&farm.admin("ca.crt"), &[farm.admin("ca.crl")]);
    assert_eq!(elsewhere.closed_because(), None);
    assert_eq!(judge(&elsewhere, &der(&farm.path("superseded.crt"))), Err(Refusal::Revoked));
    assert!(judge(&elsewhere, &der(&farm.path("good.crt"))).is_ok());
}

#[test]
fn lists_are_numbered_upwards() {
    let farm = Farm::new();
    let number = || {
        let text = farm.openssl(&["crl", "-in", "state/admin/ca.crl", "-noout", "-crlnumber"]);
        let hex = text.trim().strip_prefix("crlNumber=0x").expect("a number").to_owned();
        u64::from_str_radix(&hex, 16).expect("hexadecimal")
    };
    let mut before = number();
    farm.certify("alice");
    for _ in 0..3 {
        farm.authority().revoke("alice", Reason::Superseded, false).expect("revoked");
        assert!(number() > before, "{} after {before}", number());
        before = number();
    }
}

#[test]
fn a_name_means_all_its_certificates_and_a_serial_number_one() {
    let farm = Farm::new();
    let three: Vec<_> = (0..3)
        .map(|_| {
            let _ = fs::remove_file(farm.path("alice.crt"));
            farm.certify("alice")
        })
        .collect();
    let serials: Vec<_> = list(&farm.state()).expect("a list").into_iter().map(|row| row.serial).collect();
    // As others write it.
    let colons: Vec<_> = serials[1]
        .to_lowercase()
        .as_bytes()
        .chunks(2)
        .map(|two| String::from_utf8_lossy(two).into_owned())
        .collect();
    let done = farm.authority().revoke(&colons.join(":"), Reason::Superseded, false).expect("revoked").made;
    assert_eq!(done, [Revoked { name: "alice".into(), serial: serials[1].clone(), now: true }]);
    let gate = farm.gate();
    let verdicts = || three.iter().map(|one| judge(&gate, one).is_ok()).collect::<Vec<_>>();
    assert_eq!(verdicts(), [true, false, true]);

    let done = farm.authority().revoke("alice", Reason::PrivilegeWithdrawn, false).expect("revoked").made;
    assert_eq!(done.iter().map(|one| one.now).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(verdicts(), [false, false, false]);
    // The first reason stays.
    let reasons: Vec<_> =
        list(&farm.state()).expect("a list").into_iter().map(|row| (row.state, row.reason)).collect();
    let [withdrawn, superseded] =
        [Reason::PrivilegeWithdrawn, Reason::Superseded].map(|reason| (State::Revoked, Some(reason)));
    assert_eq!(reasons, [withdrawn, superseded, withdrawn]);
}

#[test]
fn what_is_not_in_the_register_is_an_error_that_names_what_looks_like_it() {
    let farm = Farm::new();
    farm.certify("alice");
    let unknown = |asked: &str, unlisted| {
        farm.authority().revoke(asked, Reason::Superseded, unlisted).expect_err(asked)
    };
    assert!(unknown("alise", false).to_string().ends_with("there is alice"));
    assert!(matches!(unknown("0123456789", false), CaError::Unknown { near, .. } if near.is_empty()));
    // A name that is not there is never taken for a serial number.
    assert!(matches!(unknown("alise", true), CaError::Unknown { .. }));
    assert_eq!(list(&farm.state()).expect("a list").len(), 1);
}

#[test]
fn a_name_that_is_also_a_serial_number_is_asked_back() {
    let farm = Farm::new();
    farm.authority().revoke("abba", Reason::Superseded, true).expect("unlisted");
    farm.certify("ABBA");
    let asked = farm.authority().revoke("ABBA", Reason::Superseded, false).expect_err("which one?");
    assert!(asked.is_usage() && asked.to_string().contains("0xABBA"), "{asked}");
    farm.authority().revoke("0xABBA", Reason::Superseded, false).expect("the serial number");
    assert_eq!(list(&farm.state()).expect("a list")[1].state, State::Valid);
}

#[test]
fn revoking_needs_no_key_and_issuing_does() {
    let farm = Farm::new();
    let alice = farm.certify("alice");
    fs::rename(farm.admin("ca.key"), farm.path("safe.key")).expect("a file");
    let done = farm.authority().revoke("alice", Reason::Superseded, false).expect("revoked");
    assert!(done.notes[0].contains("list for others was not written"), "{:?}", done.notes);
    assert_eq!(judge(&farm.gate(), &alice), Err(Refusal::Revoked));
    let refused = farm.authority().sign(&farm.path("alice.csr"), Some(&name("bob")), 9, farm.here());
    assert!(refused.expect_err("no key").to_string().contains("ca.key: cannot be read"));

    // Another key in its place signs nothing either.
    farm.openssl(&["genpkey", "-algorithm", "ED25519", "-out", "state/admin/ca.key"]);
    let refused = farm.authority().sign(&farm.path("alice.csr"), Some(&name("bob")), 9, farm.here());
    assert!(refused.expect_err("another key").to_string().contains("not the key of the certificate"));
}

#[test]
fn without_a_ca_every_command_says_how_to_make_one() {
    let farm = Farm::empty();
    for error in [Authority::open(&farm.state()).err(), list(&farm.state()).err()] {
        assert!(error.expect("no CA").to_string().contains("farmgate admin init"));
    }
}
