//! The register, and damage to it.

use std::fs;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::admin::ca::register::{Entry, Register, Revocation, serial_text};
use crate::admin::ca::{Reason, list};

/// A farm with alice, who is revoked, and bob, who is not.
fn farm() -> (Farm, [CertificateDer<'static>; 2]) {
    let farm = Farm::new();
    let both = ["alice", "bob"].map(|who| farm.certify(who));
    farm.authority().revoke("alice", Reason::KeyCompromise, false).expect("revoked");
    (farm, both)
}

/// Puts `bytes` in place of the register; then the gate that runs refuses everybody, or goes by the register as
/// it was.
fn closed_or_intact(
    farm: &Farm,
    gate: &Gate,
    [alice, bob]: &[CertificateDer<'static>; 2],
    good: &[u8],
    bytes: &[u8],
) {
    // Written in place, as damage is: the stamp changes all the same.
    fs::write(farm.admin("register"), bytes).expect("a file");
    if bytes == good {
        assert_eq!(judge(gate, alice), Err(Refusal::Revoked));
        assert!(judge(gate, bob).is_ok());
        return;
    }
    assert_eq!(judge(gate, alice), Err(Refusal::Closed));
    assert_eq!(judge(gate, bob), Err(Refusal::Closed));
    let reason = gate.closed_because().expect("closed").to_string();
    assert!(reason.contains("register cannot be used") && reason.contains("backup"), "{reason}");
    assert!(list(&farm.state()).expect_err("damaged").to_string().contains("register is damaged"));
    assert!(Authority::open(&farm.state()).is_err(), "nothing is added to a damaged one");
}

#[test]
fn a_register_that_was_cut_off_anywhere_closes_the_gate() {
    let (farm, both) = farm();
    let gate = farm.gate();
    let good = fs::read(farm.admin("register")).expect("a register");
    for length in 0..=good.len() {
        closed_or_intact(&farm, &gate, &both, &good, &good[..length]);
    }
    closed_or_intact(&farm, &gate, &both, &good, &[&good[..], b"\n"].concat());
    closed_or_intact(&farm, &gate, &both, &good, &[&good[..], &good[..]].concat());
}

#[test]
fn every_flipped_bit_of_a_register_closes_the_gate() {
    let (farm, both) = farm();
    let gate = farm.gate();
    let good = fs::read(farm.admin("register")).expect("a register");
    for position in 0..good.len() {
        for bit in 0..8 {
            let mut changed = good.clone();
            changed[position] ^= 1 << bit;
            assert!(Register::parse(&changed).is_err(), "bit {bit} of byte {position}");
        }
        // Each of them for the parser, one of each byte for the whole gate.
        let mut changed = good.clone();
        changed[position] ^= 1 << (position % 8);
        closed_or_intact(&farm, &gate, &both, &good, &changed);
    }
    closed_or_intact(&farm, &gate, &both, &good, &good);
}

#[test]
fn a_register_that_is_gone_closes_the_gate_as_long_as_the_ca_is_there() {
    let (farm, [alice, bob]) = farm();
    let gate = farm.gate();
    assert!(judge(&gate, &bob).is_ok());
    let good = fs::read(farm.admin("register")).expect("a register");
    fs::remove_file(farm.admin("register")).expect("a file");
    for certificate in [&alice, &bob] {
        assert_eq!(judge(&gate, certificate), Err(Refusal::Closed));
        assert_eq!(judge(&farm.gate(), certificate), Err(Refusal::Closed));
    }
    assert!(gate.closed_because().expect("closed").to_string().contains("it is missing"));
    assert!(list(&farm.state()).expect_err("damaged").to_string().contains("it is missing"));
    assert!(farm.authority_error().contains("it is missing"));
    // What cannot be read is no better than what is not there.
    fs::create_dir(farm.admin("register")).expect("a folder");
    assert_eq!(judge(&gate, &bob), Err(Refusal::Closed));
    fs::remove_dir(farm.admin("register")).expect("a folder");
    fs::write(farm.admin("register"), good).expect("a file");
    assert_eq!(judge(&gate, &alice), Err(Refusal::Revoked));
    assert!(judge(&gate, &bob).is_ok());
}

#[test]
fn a_ca_certificate_of_others_in_our_folder_needs_no_register() {
    let (theirs, [alice, _]) = farm();
    let farm = Farm::empty();
    fs::create_dir_all(farm.admin("")).expect("a folder");
    fs::copy(theirs.admin("ca.crt"), farm.admin("ca.crt")).expect("a file");
    assert!(judge(&farm.gate(), &alice).is_ok(), "what they revoke is told by admin.crl");
}

#[test]
fn a_register_of_a_newer_format_or_another_ca_is_not_touched() {
    let (farm, _) = farm();
    let other = Farm::empty();
    init(&other.state(), &Init { subject: "other".into(), days: 9, key_type: KeyType::P256 }).expect("a CA");
    fs::copy(other.admin("register"), farm.admin("register")).expect("a file");
    assert!(farm.authority_error().contains("not the certificate of the CA that the register belongs to"));

    let text = "{\"farmgate_register\":2,\"revision\":1,\"issuer\":\"30\"}\n";
    let sum = crate::admin::ca::register::sha256(text.as_bytes());
    let newer = format!("{text}{{\"sha256\":\"{sum}\"}}\n");
    assert!(Register::parse(newer.as_bytes()).expect_err("newer").contains("a newer one wrote it"));
}

#[test]
fn a_command_that_finds_the_register_locked_says_so() {
    use rustix::fs::{FlockOperation, flock};
    let farm = Farm::new();
    farm.certify("alice");
    let lock = fs::File::options().write(true).open(farm.admin("register.lock")).expect("a lock");
    flock(&lock, FlockOperation::LockExclusive).expect("nobody else has it");
    let busy = farm.authority().revoke("alice", Reason::Superseded, false).expect_err("locked");
    assert!(busy.to_string().contains("another \"farmgate admin\""), "{busy}");
    drop(lock);
    farm.authority().revoke("alice", Reason::Superseded, false).expect("revoked");
}

#[test]
fn serial_numbers_are_compared_as_numbers() {
    for (written, text) in [
        ("5f03", Some("5F03")),
        ("0x5F03", Some("5F03")),
        ("5F:03", Some("5F03")),
        ("0:5:F:0:3", Some("5F03")),
        ("00005f03", Some("5F03")),
        ("f", Some("0F")),
        ("0", Some("00")),
        ("", None),
        ("0x", None),
        (":", None),
        ("alice", None),
        ("5G", None),
        ("\u{665}", None),
    ] {
        assert_eq!(serial_text(written).as_deref(), text, "{written}");
    }
}

fn entry() -> impl Strategy<Value = Entry> {
    let revoked = proptest::option::of((any::<i64>(), 0..Reason::ALL.len()));
    ("[1-9A-F][0-9A-F]{31}", proptest::option::of(".{1,64}"), revoked).prop_map(|(serial, name, revoked)| {
        Entry {
            serial,
            name,
            dates: None,
            key: None,
            revoked: revoked.map(|(at, reason)| Revocation { at, reason: Reason::ALL[reason] }),
        }
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(revision in any::<u64>(), issuer in vec(any::<u8>(), 0..40), entries in vec(entry(), 0..20)) {
        let register = Register { revision, issuer, entries };
        let bytes = register.encode().expect("JSON");
        prop_assert_eq!(Register::parse(&bytes), Ok(register));
    }

    #[test]
    fn what_was_changed_is_not_read(entries in vec(entry(), 0..6), edits in vec((any::<Index>(), any::<u8>()), 1..6), keep in any::<Option<Index>>()) {
        let good = Register { revision: 7, issuer: vec![0x30, 0], entries }.encode().expect("JSON");
        let mut bytes = good.clone();
        edits.iter().for_each(|(at, value)| bytes[at.index(good.len())] = *value);
        bytes.truncate(keep.map_or(bytes.len(), |keep| keep.index(good.len() + 1)));
        prop_assert_eq!(Register::parse(&bytes).is_ok(), bytes == good);
    }

    #[test]
    fn reading_survives_arbitrary_bytes(bytes in vec(any::<u8>(), 0..400), text in ".{0,200}") {
        prop_assert!(Register::parse(&bytes).is_err());
        // With a good checksum below, so that the rest is looked at.
        let text = format!("{text}\n");
        let sum = crate::admin::ca::register::sha256(text.as_bytes());
        let _ = Register::parse(format!("{text}{{\"sha256\":\"{sum}\"}}\n").as_bytes());
    }
}

impl Farm {
    fn authority_error(&self) -> String {
        Authority::open(&self.state()).err().expect("an error").to_string()
    }
}
