//! Client CA files, good and bad.

use std::fs;
use std::path::Path;

use super::openssl::Authority;
use super::{Gate, Refusal, gate, now, refused};
use crate::admin::Closed;

/// The gate is closed with `reason`, for administrators too.
fn assert_closed(gate: &Gate, reason: &str) {
    let closed = gate.closed_because().expect("a closed gate").to_string();
    assert!(closed.contains(reason), "{closed:?} does not say {reason:?}");
    assert_eq!(refused(gate.judge(&[], now())), Refusal::Closed);
}

#[test]
fn a_missing_client_ca_closes_the_gate() {
    let ca = Authority::quick();
    let missing = ca.path("missing.crt");
    let gate = Gate::load(&missing, &[]);
    assert_eq!(gate.closed_because(), Some(Closed::Missing(missing)));
    assert_eq!(refused(gate.judge(&[ca.client("alice", "P-256")], now())), Refusal::Closed);
}

#[test]
fn a_client_ca_that_cannot_be_read_closes_the_gate() {
    let ca = Authority::quick();
    assert!(matches!(Gate::load(&ca.path(""), &[]).closed_because(), Some(Closed::Unreadable { .. })));
    assert_closed(&Gate::load(Path::new("/dev/zero"), &[]), "not a regular file");
}

#[test]
fn a_file_without_a_certificate_closes_the_gate() {
    let ca = Authority::quick();
    let file = ca.path("some.crt");
    for contents in
        [&b""[..], b"garbage", b"\xff\xfe\x00", &ca.der("ca"), &fs::read(ca.path("ca.key")).expect("a key")]
    {
        fs::write(&file, contents).expect("a writable folder");
        assert_closed(&Gate::load(&file, &[]), "there is no \"-----BEGIN CERTIFICATE-----\" in it");
    }
}

#[test]
fn one_broken_certificate_closes_the_gate_although_another_is_good() {
    let ca = Authority::quick();
    let good = fs::read_to_string(ca.certificate()).expect("a certificate");
    let file = ca.path("some.crt");
    for broken in [
        "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\nMAA=\n",
    ] {
        fs::write(&file, format!("{good}{broken}")).expect("a writable folder");
        assert_closed(&Gate::load(&file, &[]), "certificate 2");
    }
}

#[test]
fn text_around_the_certificate_does_no_harm() {
    let ca = Authority::quick();
    let alice = ca.client("alice", "P-256");
    let text = ca.run(&["x509", "-in", "ca.crt", "-text"]);
    fs::write(ca.path("text.crt"), text.replace('\n', "\r\n")).expect("a writable folder");
    let gate = Gate::load(&ca.path("text.crt"), &[]);
    assert!(gate.judge(&[alice], now()).is_ok(), "{:?}", gate.closed_because());
}

#[test]
fn a_certificate_that_is_no_ca_closes_the_gate() {
    let ca = Authority::quick();
    ca.client("alice", "P-256");
    assert_closed(&Gate::load(&ca.path("alice.crt"), &[]), "is not a CA");
    ca.key("bare", "P-256");
    ca.run(&["req", "-new", "-key", "bare.key", "-out", "bare.csr", "-subj", "/CN=Bare"]);
    fs::write(ca.path("bare.ext"), "subjectKeyIdentifier=hash").expect("a writable folder");
    let options = ["-signkey", "bare.key", "-out", "bare.crt", "-extfile", "bare.ext"];
    ca.run(&[&["x509", "-req", "-in", "bare.csr"], &options[..]].concat());
    assert_closed(&Gate::load(&ca.path("bare.crt"), &[]), "is not a CA");
    for (extensions, reason) in [
        ("basicConstraints=CA:FALSE", "is not a CA"),
        ("subjectKeyIdentifier=hash", "is not a CA"),
        ("basicConstraints=CA:TRUE\nkeyUsage=cRLSign", "keyCertSign"),
        ("basicConstraints=CA:TRUE\nextendedKeyUsage=serverAuth", "clientAuth"),
        ("basicConstraints=CA:TRUE\nnameConstraints=critical,permitted;email:a.org", "name constraints"),
        ("basicConstraints=CA:TRUE\n1.2.3.4=critical,ASN1:NULL", "1.2.3.4"),
    ] {
        ca.intermediate("other", extensions);
        assert_closed(&Gate::load(&ca.path("other.crt"), &[]), reason);
    }
}

#[test]
fn a_ca_with_a_key_that_is_too_short_or_unknown_closes_the_gate() {
    assert_closed(&gate(&Authority::new("rsa:1024", "/CN=Short", &[])), "RSA key of 1024 bits");
    assert_closed(&gate(&Authority::new("ED448", "/CN=Odd", &[])), "a kind that this gate cannot verify");
}

#[test]
fn every_refusal_has_words_of_its_own() {
    use std::collections::HashSet;
    let all = Refusal::ALL;
    assert_eq!(all.map(Refusal::token).into_iter().collect::<HashSet<_>>().len(), all.len());
    assert_eq!(all.map(Refusal::what_is_missing).into_iter().collect::<HashSet<_>>().len(), all.len());
    assert!(all.iter().all(|refusal| !refusal.to_string().is_empty()));
}
