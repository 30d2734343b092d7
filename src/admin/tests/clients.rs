//! Certificates directly from the client CA.

use std::slice;
use std::time::UNIX_EPOCH;

use super::super::certificate::Certificate;
use super::openssl::{Authority, SUBJECT};
use super::{DAY, Refusal, gate, now, refused};

#[test]
fn a_certificate_from_cuirass_s_script_is_let_in() {
    let ca = Authority::like_cuirass();
    let alice = ca.client("alice", "rsa:4096");
    let printed = ca.run(&["x509", "-in", "alice.crt", "-noout", "-text", "-serial"]);
    assert!(printed.contains("Version: 1 "), "the point of this test: {printed}");

    let administrator = gate(&ca).judge(&[alice], now()).expect("alice is an administrator");

    assert_eq!(administrator.common_name, "alice");
    assert!(
        printed.contains(&format!("serial={}\n", administrator.serial)),
        "{administrator:?} in {printed}"
    );
}

#[test]
fn every_usual_kind_of_key_is_let_in() {
    for ca_kind in ["rsa:2048", "rsa:4096", "P-256", "P-384", "P-521", "ED25519"] {
        let ca = Authority::new(ca_kind, "/CN=CA", &[]);
        let gate = gate(&ca);
        assert_eq!(gate.closed_because(), None, "{ca_kind}");
        for kind in ["rsa:2048", "P-256", "P-384", "P-521", "ED25519"] {
            let client = ca.client("client", kind);
            assert!(gate.judge(&[client], now()).is_ok(), "{kind} signed with {ca_kind}");
        }
    }
}

#[test]
fn strong_digests_and_pss_are_let_in_and_weak_digests_are_not() {
    let rsa = Authority::like_cuirass();
    let ec = Authority::quick();
    rsa.key("client", "P-256");
    ec.key("client", "P-256");
    let pss = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:-1"];
    for (digest, strong) in
        [("-sha256", true), ("-sha384", true), ("-sha512", true), ("-sha1", false), ("-md5", false)]
    {
        let verdict = gate(&rsa).judge(&[rsa.issue("client", "ca", "", &[digest])], now());
        assert_eq!(verdict.is_ok(), strong, "RSA PKCS#1 {digest}: {verdict:?}");
        if digest == "-md5" {
            continue;
        }
        let verdict = gate(&ec).judge(&[ec.issue("client", "ca", "", &[digest])], now());
        assert_eq!(verdict.is_ok(), strong, "ECDSA {digest}: {verdict:?}");
        let verdict =
            gate(&rsa).judge(&[rsa.issue("client", "ca", "", &[&[digest], &pss[..]].concat())], now());
        assert_eq!(verdict.is_ok(), strong, "RSA PSS {digest}: {verdict:?}");
    }
}

#[test]
fn a_client_without_a_certificate_is_told_so() {
    let ca = Authority::quick();
    assert_eq!(refused(gate(&ca).judge(&[], now())), Refusal::NoCertificate);
}

#[test]
fn a_foreign_ca_of_the_same_name_lets_nobody_in() {
    let ours = Authority::quick();
    let theirs = Authority::quick();
    let mallory = theirs.client("mallory", "P-256");
    let gate = gate(&ours);
    assert_eq!(refused(gate.judge(slice::from_ref(&mallory), now())), Refusal::UnknownIssuer);
    assert_eq!(refused(gate.judge(&[mallory.clone(), theirs.der("ca")], now())), Refusal::UnknownIssuer);
    assert_eq!(refused(gate.judge(&[mallory, ours.der("ca")], now())), Refusal::UnknownIssuer);
}

#[test]
fn a_certificate_that_signed_itself_lets_nobody_in() {
    let ca = Authority::quick();
    ca.key("self", "P-256");
    ca.run(&["req", "-x509", "-key", "self.key", "-out", "self.crt", "-subj", "/CN=Quick CA"]);
    let chain = [ca.der("self"), ca.der("self"), ca.der("ca")];
    assert_eq!(refused(gate(&ca).judge(&chain, now())), Refusal::UnknownIssuer);
}

#[test]
fn the_issuer_s_name_must_match_as_well_as_its_key() {
    let ca = Authority::quick();
    ca.under_another_name();
    ca.key("alice", "P-256");
    let alice = ca.issue("alice", "other", "", &[]);
    assert_eq!(refused(gate(&ca).judge(&[alice], now())), Refusal::UnknownIssuer);
}

#[test]
fn several_authorities_each_let_their_own_in_even_under_one_name() {
    let (old, new) = (Authority::quick(), Authority::quick());
    let both = old.concatenate("both.crt", &[&old.certificate(), &new.certificate()]);
    let gate = super::Gate::load(&both, &[]);
    assert!(gate.judge(&[old.client("alice", "P-256")], now()).is_ok());
    assert!(gate.judge(&[new.client("bob", "P-256")], now()).is_ok());
    assert_eq!(
        refused(gate.judge(&[Authority::quick().client("eve", "P-256")], now())),
        Refusal::UnknownIssuer
    );
}

#[test]
fn a_certificate_counts_only_between_its_dates() {
    let ca = Authority::quick();
    let alice = ca.client("alice", "P-256");
    let gate = gate(&ca);
    let at = |when| gate.judge(slice::from_ref(&alice), when).map(drop);
    assert_eq!(at(now() - DAY), Err(Refusal::NotYetValid));
    assert_eq!(at(UNIX_EPOCH - DAY), Err(Refusal::NotYetValid));
    assert_eq!(at(now()), Ok(()));
    assert_eq!(at(now() + 364 * DAY), Ok(()));
    assert_eq!(at(now() + 366 * DAY), Err(Refusal::Expired));
}

#[test]
fn an_expired_ca_lets_nobody_in_and_is_warned_about() {
    let ca = Authority::quick();
    ca.key("alice", "P-256");
    let alice = ca.issue("alice", "ca", "", &["-days", "7300"]);
    let then = now() + 3651 * DAY;
    let gate = super::Gate::load_at(&ca.certificate(), &[], then);
    assert_eq!(refused(gate.judge(&[alice], then)), Refusal::Expired);
    assert!(gate.warnings()[0].contains("has expired"), "{:?}", gate.warnings());
}

#[test]
fn what_a_certificate_says_it_is_for_must_include_clients() {
    let ca = Authority::quick();
    let gate = gate(&ca);
    for (extensions, expected) in [
        ("extendedKeyUsage=clientAuth", Ok(())),
        ("extendedKeyUsage=critical,serverAuth,clientAuth", Ok(())),
        ("extendedKeyUsage=anyExtendedKeyUsage", Ok(())),
        ("extendedKeyUsage=serverAuth", Err(Refusal::NotForClients)),
        ("keyUsage=critical,digitalSignature", Ok(())),
        ("keyUsage=keyEncipherment", Err(Refusal::NotForClients)),
        ("keyUsage=digitalSignature\nextendedKeyUsage=codeSigning", Err(Refusal::NotForClients)),
        ("basicConstraints=CA:FALSE\nsubjectAltName=critical,email:a@example.org", Ok(())),
        ("basicConstraints=CA:TRUE", Err(Refusal::NotForClients)),
        ("1.2.3.4=ASN1:UTF8String:whatever", Ok(())),
        ("1.2.3.4=critical,ASN1:UTF8String:whatever", Err(Refusal::Malformed)),
        ("nameConstraints=critical,permitted;email:example.org", Err(Refusal::Malformed)),
        ("extendedKeyUsage=DER:0500", Err(Refusal::Malformed)),
        ("basicConstraints=DER:04", Err(Refusal::Malformed)),
    ] {
        let client = ca.client_with("client", extensions);
        assert_eq!(gate.judge(&[client], now()).map(drop), expected, "{extensions}");
    }
}

#[test]
fn the_ca_itself_is_no_administrator() {
    let ca = Authority::quick();
    let gate = gate(&ca);
    assert_eq!(refused(gate.judge(&[ca.der("ca")], now())), Refusal::NotForClients);

    // Nor under another name, in a version 1 certificate, which does not say what it is.
    std::fs::copy(ca.path("ca.key"), ca.path("renamed.key")).expect("a writable folder");
    let renamed = ca.issue("renamed", "ca", "", &[]);
    assert_eq!(refused(gate.judge(&[renamed], now())), Refusal::NotForClients);
}

#[test]
fn a_version_1_ca_from_old_times_still_vouches_for_its_clients() {
    let ca = Authority::quick();
    ca.key("old", "P-256");
    ca.run(&["req", "-new", "-key", "old.key", "-out", "old.csr", "-subj", "/CN=Old CA"]);
    ca.run(&["x509", "-req", "-in", "old.csr", "-signkey", "old.key", "-out", "old.crt", "-days", "100"]);
    ca.key("alice", "P-256");
    let alice = ca.issue("alice", "old", "", &[]);
    let gate = super::Gate::load(&ca.path("old.crt"), &[]);
    assert_eq!(gate.closed_because(), None);
    assert!(gate.judge(&[alice], now()).is_ok());
    assert_eq!(refused(gate.judge(&[ca.der("old")], now())), Refusal::NotForClients);
}

#[test]
fn the_last_common_name_counts_and_is_made_safe_for_headers() {
    let ca = Authority::quick();
    ca.key("client", "P-256");
    let long = "ü".repeat(64);
    for (names, common_name, safe) in [
        ("/CN=first/OU=x/CN=last".to_owned(), "last", "last"),
        ("/O=nobody".to_owned(), "", ""),
        ("/CN=Zoë 100%".to_owned(), "Zoë 100%", "Zo%C3%AB%20100%25"),
        ("/CN=a\r\nX-Admin: b".to_owned(), "a\r\nX-Admin: b", "a%0D%0AX-Admin:%20b"),
        (format!("/CN={long}"), long.as_str(), &"%C3%BC".repeat(21)),
    ] {
        let client = ca.issue_as("client", &names, "ca", "", &[]);
        let administrator = gate(&ca).judge(&[client], now()).expect("an administrator");
        assert_eq!(administrator.common_name, common_name);
        assert_eq!(administrator.header_safe_common_name(), safe);
    }
}

#[test]
fn serial_numbers_read_as_openssl_prints_them() {
    let ca = Authority::quick();
    ca.key("client", "P-256");
    for (number, serial) in [("1", "01"), ("0xff", "FF"), ("0x0abc", "0ABC"), ("0", "00")] {
        let client = ca.issue_as("client", SUBJECT, "ca", "", &["-set_serial", number]);
        assert_eq!(gate(&ca).judge(&[client], now()).expect("an administrator").serial, serial);
    }
}

#[test]
fn certificates_that_contradict_themselves_do_not_parse() {
    let ca = Authority::quick();
    let good = ca.client_with("client", "1.2.3.4=ASN1:NULL\n1.2.3.5=ASN1:NULL");
    let with = |from: &[u8], to: &[u8]| {
        let at = good.windows(from.len()).position(|window| window == from).expect("it is in there");
        let mut bytes = good.to_vec();
        bytes[at..at + to.len()].copy_from_slice(to);
        Certificate::parse(&bytes)
    };
    let version_3 = [0xa0, 3, 2, 1, 2];
    let ecdsa_with_sha256 = [6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    assert!(with(&version_3, &version_3).is_ok());
    assert!(with(&version_3, &[0xa0, 3, 2, 1, 0]).is_err(), "version 1 with extensions");
    assert!(with(&version_3, &[0xa0, 3, 2, 1, 7]).is_err(), "version 8");
    assert!(with(&[6, 3, 0x2a, 3, 5], &[6, 3, 0x2a, 3, 4]).is_err(), "an extension twice");
    let ecdsa_with_sha384 = [6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];
    assert!(with(&ecdsa_with_sha256, &ecdsa_with_sha384).is_err(), "two signature algorithms");
}

#[test]
fn every_changed_byte_of_a_certificate_is_noticed() {
    let ca = Authority::quick();
    let alice = ca.client("alice", "P-256");
    let gate = gate(&ca);
    for position in 0..alice.len() {
        let mut changed = alice.to_vec();
        changed[position] ^= 1;
        assert!(gate.judge(&[changed.into()], now()).is_err(), "byte {position}");
    }
    assert_eq!(refused(gate.judge(&[[&alice[..], &[0]].concat().into()], now())), Refusal::Malformed);
}
