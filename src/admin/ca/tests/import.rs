//! `init --import CERT KEY`.

use std::fs;

use super::*;
use crate::admin::ca::import;
use crate::admin::tests::openssl::{Authority as Openssl, SUBJECT};

/// Takes the CA over.
fn take_over(ca: &Openssl) -> Farm {
    let farm = Farm::empty();
    import(&farm.state(), &ca.path("ca.crt"), &ca.path("ca.key")).expect("a CA to take over");
    farm
}

/// Why this certificate and key are refused; nothing is made then.
fn refusal(certificate: &Path, key: &Path) -> String {
    let farm = Farm::empty();
    let refused = import(&farm.state(), certificate, key).expect_err("a bad CA").to_string();
    assert!(!farm.state().exists());
    refused
}

#[test]
fn what_cuirass_s_script_issued_stays_valid_and_what_is_issued_next_is_from_the_same_ca() {
    let script = Openssl::like_cuirass();
    let old = script.client("old", "rsa:2048");
    assert!(script.run(&["x509", "-in", "old.crt", "-noout", "-text"]).contains("Version: 1 "));
    let farm = take_over(&script);
    assert_eq!(mode(&farm.admin("ca.key")), 0o600);
    assert_eq!(mode(&farm.admin("")), 0o700);

    let new = farm.certify("new");
    // By the certificate as it was: it is what others have.
    fs::copy(script.path("ca.crt"), farm.path("before.crt")).expect("a file");
    farm.openssl(&["verify", "-purpose", "sslclient", "-CAfile", "before.crt", "new.crt"]);
    for gate in [farm.gate(), Gate::load(&script.path("ca.crt"), &[]).with_own_revocations(&farm.state())] {
        assert_eq!(judge(&gate, &old).expect("the old one").common_name, "old");
        assert_eq!(judge(&gate, &new).expect("the new one").common_name, "new");
    }
    // The old one is not in the register, and can be revoked all the same.
    let serial = judge(&farm.gate(), &old).expect("the old one").serial;
    let gate = farm.gate();
    assert!(farm.authority().revoke(&serial, Default::default(), false).is_err());
    assert!(judge(&gate, &old).is_ok());
    farm.authority().revoke(&serial, Default::default(), true).expect("revoked");
    assert_eq!(judge(&gate, &old), Err(Refusal::Revoked));
    assert!(judge(&gate, &new).is_ok());
    let list = farm.openssl(&[
        "crl",
        "-in",
        "state/admin/ca.crl",
        "-noout",
        "-text",
        "-verify",
        "-CAfile",
        "before.crt",
    ]);
    assert!(list.contains("verify OK") && list.contains(&serial), "{list}");
}

#[test]
fn every_kind_of_ca_that_openssl_makes_can_be_taken_over() {
    for kind in ["rsa:2048", "rsa:3072", "rsa:4096", "P-256", "P-384", "P-521", "ED25519"] {
        let ca = Openssl::new(kind, SUBJECT, &[]);
        let old = ca.client("old", "P-256");
        let farm = take_over(&ca);
        let new = farm.certify("new");
        farm.verify("new.crt", &["-crl_check", "-CRLfile", "state/admin/ca.crl"])
            .unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert!(judge(&farm.gate(), &old).is_ok() && judge(&farm.gate(), &new).is_ok(), "{kind}");
    }
}

#[test]
fn keys_in_the_old_pem_formats_are_read() {
    for (kind, convert) in [("rsa:2048", "rsa"), ("P-256", "ec")] {
        let ca = Openssl::new(kind, "/CN=CA", &[]);
        let traditional: &[&str] = if convert == "rsa" { &["-traditional"] } else { &[] };
        ca.run(&[&[convert, "-in", "ca.key", "-out", "old.key"], traditional].concat());
        let text = fs::read_to_string(ca.path("old.key")).expect("a key");
        assert!(!text.contains("BEGIN PRIVATE KEY"), "{text}");
        let farm = Farm::empty();
        import(&farm.state(), &ca.path("ca.crt"), &ca.path("old.key")).expect("a CA to take over");
        farm.certify("alice");
        farm.verify("alice.crt", &[]).expect("a good certificate");
    }
}

#[test]
fn whatever_a_ca_is_called_its_name_is_repeated_byte_for_byte() {
    for options in [
        &["-subj", "/DC=org/DC=example/OU=a/OU=b/CN=x"][..],
        &["-multivalue-rdn", "-subj", "/C=DE+O=b/CN=x+OU=y"],
        &["-utf8", "-subj", "/O=Zoë/CN=王/emailAddress=a@b.org"],
        &["-utf8", "-subj", "/CN=Zoë", "-nameopt", "utf8"],
    ] {
        let ca = Openssl::new("P-256", "/CN=x", &[]);
        ca.run(&[&["req", "-x509", "-days", "99", "-key", "ca.key", "-out", "ca.crt"], options].concat());
        let farm = take_over(&ca);
        let alice = farm.certify("alice");
        farm.verify("alice.crt", &["-crl_check", "-CRLfile", "state/admin/ca.crl"])
            .unwrap_or_else(|error| panic!("{options:?}: {error}"));
        assert!(judge(&farm.gate(), &alice).is_ok(), "{options:?}");
    }
}

#[test]
fn an_intermediate_a_version_1_ca_and_one_without_key_identifiers_can_be_taken_over() {
    let root = Openssl::quick();
    root.intermediate("inter", "basicConstraints=critical,CA:TRUE,pathlen:0");
    root.key("old", "P-256");
    root.run(&["req", "-new", "-key", "old.key", "-out", "old.csr", "-subj", "/CN=Old CA"]);
    root.run(&["x509", "-req", "-in", "old.csr", "-signkey", "old.key", "-out", "old.crt", "-days", "100"]);
    for who in ["inter", "old"] {
        let farm = Farm::empty();
        import(&farm.state(), &root.path(&format!("{who}.crt")), &root.path(&format!("{who}.key")))
            .expect(who);
        let alice = farm.certify("alice");
        assert!(judge(&farm.gate(), &alice).is_ok(), "{who}");
        farm.openssl(&["verify", "-partial_chain", "-CAfile", "state/admin/ca.crt", "alice.crt"]);
    }
}

#[test]
fn a_ca_that_may_not_sign_lists_still_revokes_at_the_gate() {
    let ca = Openssl::new("P-256", "/CN=CA", &["-addext", "keyUsage=keyCertSign"]);
    let farm = Farm::empty();
    let done = import(&farm.state(), &ca.path("ca.crt"), &ca.path("ca.key")).expect("a CA to take over");
    assert!(done.notes[0].contains("cRLSign"), "{:?}", done.notes);
    let alice = farm.certify("alice");
    let done = farm.authority().revoke("alice", Default::default(), false).expect("revoked");
    assert!(done.notes[0].contains("The gate does not need it"), "{:?}", done.notes);
    assert_eq!(judge(&farm.gate(), &alice), Err(Refusal::Revoked));
    assert!(!farm.admin("ca.crl").exists());
}

#[test]
fn what_cannot_be_a_ca_is_refused_with_the_reason() {
    let (ca, other) = (Openssl::quick(), Openssl::quick());
    let key = ca.path("ca.key");
    assert!(refusal(&ca.path("ca.crt"), &other.path("ca.key")).contains("does not belong"));
    ca.client("alice", "P-256");
    assert!(refusal(&ca.path("alice.crt"), &ca.path("alice.key")).contains("is not a CA"));
    ca.run(&["pkey", "-in", "ca.key", "-aes256", "-passout", "pass:x", "-out", "locked.key"]);
    assert!(refusal(&ca.path("ca.crt"), &ca.path("locked.key")).contains("is encrypted"));
    assert!(refusal(&ca.path("missing.crt"), &key).contains("missing"));
    assert!(refusal(&ca.path("ca.crt"), &ca.path("missing.key")).contains("cannot be read"));
    assert!(refusal(&key, &ca.path("ca.crt")).contains("BEGIN CERTIFICATE"));
    let both = ca.concatenate("both.crt", &[&ca.certificate(), &other.certificate()]);
    assert!(refusal(&both, &key).contains("there are 2 certificates"));
    ca.run(&["req", "-new", "-key", "ca.key", "-out", "ca.csr", "-subj", "/CN=Late CA"]);
    fs::write(ca.path("ca.ext"), "basicConstraints=CA:TRUE").expect("a file");
    ca.run(&[
        "x509", "-req", "-in", "ca.csr", "-signkey", "ca.key", "-extfile", "ca.ext", "-days", "-1", "-out",
        "late.crt",
    ]);
    assert!(refusal(&ca.path("late.crt"), &key).contains("has expired"));
    let weak = Openssl::new("rsa:1024", "/CN=CA", &[]);
    assert!(refusal(&weak.path("ca.crt"), &weak.path("ca.key")).contains("1024 bits"));
    let published = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/certs-dev"));
    assert!(
        refusal(&published.join("ca.crt"), &published.join("ca.key")).contains("published with farmgate")
    );
}
