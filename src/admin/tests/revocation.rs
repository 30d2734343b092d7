//! Revocation lists.

use std::fs;
use std::path::PathBuf;
use std::slice;

use super::openssl::Authority;
use super::{DAY, Gate, Refusal, now, refused};

/// The gate is closed with `reason`.
fn assert_closed(ca: &Authority, crl: PathBuf, reason: &str) {
    let gate = Gate::load(&ca.certificate(), &[crl]);
    let closed = gate.closed_because().expect("a closed gate").to_string();
    assert!(closed.contains(reason), "{closed:?} does not say {reason:?}");
    assert_eq!(refused(gate.judge(&[], now())), Refusal::Closed);
}

#[test]
fn a_revoked_client_is_refused_and_the_others_are_not() {
    let ca = Authority::like_cuirass();
    let (alice, bob) = (ca.client("alice", "P-256"), ca.client("bob", "P-256"));
    let open = Gate::load(&ca.certificate(), &[]);
    let serial = open.judge(slice::from_ref(&bob), now()).expect("bob").serial;

    let pem = ca.revoke("ca.crl", "ca", &[&serial], "");
    ca.run(&["crl", "-in", "ca.crl", "-outform", "DER", "-out", "ca.crl.der"]);
    for crl in [pem, ca.path("ca.crl.der")] {
        let gate = Gate::load(&ca.certificate(), &[crl]);
        assert!(gate.judge(slice::from_ref(&alice), now()).is_ok(), "{:?}", gate.closed_because());
        assert_eq!(refused(gate.judge(slice::from_ref(&bob), now())), Refusal::Revoked);
        assert!(gate.warnings().is_empty());
    }
}

#[test]
fn serial_numbers_with_a_leading_zero_octet_match() {
    let ca = Authority::quick();
    ca.key("alice", "P-256");
    for number in ["01", "80", "FFAB", "00FF"] {
        let alice = ca.issue("alice", "ca", "", &["-set_serial", &format!("0x{number}")]);
        let crl = ca.revoke("ca.crl", "ca", &[number], "");
        let gate = Gate::load(&ca.certificate(), &[crl]);
        assert_eq!(refused(gate.judge(&[alice], now())), Refusal::Revoked, "{number}");
    }
}

#[test]
fn all_lists_of_all_files_count() {
    let ca = Authority::quick();
    ca.key("alice", "P-256");
    let one = ca.revoke("1.crl", "ca", &["01"], "");
    let two = ca.revoke("2.crl", "ca", &["02"], "authorityKeyIdentifier=keyid");
    let three =
        ca.revoke("3.crl", "ca", &["03", "04,keyCompromise", "05,certificateHold", "06,removeFromCRL"], "");
    let both = ca.concatenate("both.crl", &[&one, &two]);
    let gate = Gate::load(&ca.certificate(), &[both, three]);
    assert_eq!(gate.closed_because(), None);
    for (number, expected) in [
        ("1", Err(Refusal::Revoked)),
        ("2", Err(Refusal::Revoked)),
        ("3", Err(Refusal::Revoked)),
        ("4", Err(Refusal::Revoked)),
        ("5", Err(Refusal::Revoked)),
        ("6", Ok(())),
        ("7", Ok(())),
    ] {
        let alice = ca.issue("alice", "ca", "", &["-set_serial", number]);
        assert_eq!(gate.judge(&[alice], now()).map(drop), expected, "{number}");
    }
}

#[test]
fn a_list_past_its_date_still_revokes_and_is_warned_about() {
    let ca = Authority::quick();
    ca.key("alice", "P-256");
    let alice = ca.issue("alice", "ca", "", &["-set_serial", "1"]);
    let bob = ca.issue("alice", "ca", "", &["-set_serial", "2"]);
    let crl = ca.revoke("ca.crl", "ca", &["01"], "");
    let then = now() + 31 * DAY;
    let gate = Gate::load_at(&ca.certificate(), &[crl], then);
    assert_eq!(refused(gate.judge(&[alice], then)), Refusal::Revoked);
    assert!(gate.judge(&[bob], then).is_ok());
    assert_eq!(gate.warnings().len(), 1);
    assert!(gate.warnings()[0].contains("ca.crl: this revocation list was due"), "{:?}", gate.warnings());
}

#[test]
fn a_revoked_intermediate_takes_its_clients_along() {
    let ca = Authority::quick();
    ca.key("between", "P-256");
    let between = ca.issue("between", "ca", "basicConstraints=CA:TRUE", &["-set_serial", "7"]);
    ca.key("alice", "P-256");
    let alice = ca.issue("alice", "between", "", &[]);
    let crl = ca.revoke("ca.crl", "ca", &["07"], "");
    let gate = Gate::load(&ca.certificate(), slice::from_ref(&crl));
    assert_eq!(refused(gate.judge(&[alice.clone(), between], now())), Refusal::Revoked);

    // Even where the intermediate itself is in the client CA file.
    let both = ca.concatenate("both.crt", &[&ca.path("between.crt"), &ca.certificate()]);
    let gate = Gate::load(&both, &[crl]);
    assert_eq!(refused(gate.judge(&[alice], now())), Refusal::Revoked);
}

#[test]
fn an_intermediate_in_the_client_ca_file_can_revoke() {
    let ca = Authority::quick();
    ca.intermediate("between", "basicConstraints=CA:TRUE\nkeyUsage=keyCertSign,cRLSign");
    ca.key("alice", "P-256");
    let alice = ca.issue("alice", "between", "", &["-set_serial", "9"]);
    let crl = ca.revoke("between.crl", "between", &["09"], "");
    assert_closed(&ca, crl.clone(), "is not in the client CA file");
    let both = ca.concatenate("both.crt", &[&ca.certificate(), &ca.path("between.crt")]);
    let gate = Gate::load(&both, &[crl]);
    assert_eq!(refused(gate.judge(&[alice], now())), Refusal::Revoked);
}

#[test]
fn a_list_that_is_missing_or_broken_closes_the_gate() {
    let ca = Authority::quick();
    assert_closed(&ca, ca.path("missing.crl"), "missing.crl is missing");
    assert_closed(&ca, ca.path(""), "cannot be read");
    let good = fs::read(ca.revoke("good.crl", "ca", &[], "")).expect("a list");
    let der = ca.run(&["crl", "-in", "good.crl", "-noout", "-text"]);
    for (contents, reason) in [
        (&b""[..], "there is no"),
        (der.as_bytes(), "there is no"),
        (&good[..good.len() - 30], "has no END line"),
        (b"0\x82", "list 1: this is no X.509 revocation list"),
        (&[&good[..], b"-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n"].concat(), "list 2"),
    ] {
        fs::write(ca.path("some.crl"), contents).expect("a writable folder");
        assert_closed(&ca, ca.path("some.crl"), reason);
    }
}

#[test]
fn a_list_by_another_ca_of_the_same_name_closes_the_gate() {
    let ours = Authority::quick();
    let theirs = Authority::quick();
    assert_closed(&ours, theirs.revoke("ca.crl", "ca", &[], ""), "did not sign it");
}

#[test]
fn a_list_by_our_key_under_another_name_closes_the_gate() {
    let ca = Authority::quick();
    ca.under_another_name();
    assert_closed(&ca, ca.revoke("other.crl", "other", &["01"], ""), "is not in the client CA file");
}

#[test]
fn a_ca_that_may_not_sign_lists_closes_the_gate_with_its_list() {
    let ca = Authority::quick();
    ca.intermediate("other", "basicConstraints=CA:TRUE\nkeyUsage=keyCertSign");
    let crl = ca.revoke("other.crl", "other", &[], "");
    let gate = Gate::load(&ca.path("other.crt"), &[crl]);
    assert!(gate.closed_because().is_some());
}

#[test]
fn lists_that_mean_something_else_close_the_gate() {
    let ca = Authority::quick();
    for (extension, reason) in [
        ("2.5.29.27=critical,DER:020101", "delta"),
        ("2.5.29.28=critical,DER:30038401FF", "issuingDistributionPoint"),
        ("2.5.29.28=DER:30038401FF", "issuingDistributionPoint"),
        ("1.2.3.4=critical,ASN1:NULL", "1.2.3.4"),
    ] {
        assert_closed(&ca, ca.revoke("odd.crl", "ca", &["01"], extension), reason);
    }
    let harmless = ca.revoke("fine.crl", "ca", &["01"], "1.2.3.4=ASN1:NULL");
    assert_eq!(Gate::load(&ca.certificate(), &[harmless]).closed_because(), None);
}

#[test]
fn every_changed_byte_of_a_list_is_noticed() {
    let ca = Authority::quick();
    ca.revoke("ca.crl", "ca", &["01", "02,keyCompromise"], "");
    ca.run(&["crl", "-in", "ca.crl", "-outform", "DER", "-out", "ca.crl.der"]);
    let good = fs::read(ca.path("ca.crl.der")).expect("a list");
    for position in 0..good.len() {
        let mut changed = good.clone();
        changed[position] ^= 1;
        fs::write(ca.path("some.crl"), changed).expect("a writable folder");
        let gate = Gate::load(&ca.certificate(), &[ca.path("some.crl")]);
        assert!(gate.closed_because().is_some(), "byte {position}");
    }
}
