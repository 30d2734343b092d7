//! `issue --csr FILE`.

use std::fs;
use std::path::PathBuf;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use rcgen::PublicKeyData;

use super::*;
use crate::admin::ca::{list, request};

/// A request for `/CN=alice` by openssl, in `alice.csr`.
fn csr(farm: &Farm, key: &[&str], options: &[&str]) -> PathBuf {
    farm.openssl(&[&["genpkey", "-out", "alice.key"], key].concat());
    let subject: &[&str] = if options.contains(&"-subj") { &[] } else { &["-subj", "/CN=alice"] };
    let fixed = ["req", "-new", "-utf8", "-key", "alice.key", "-out", "alice.csr"];
    farm.openssl(&[&fixed, subject, options].concat());
    farm.path("alice.csr")
}

const P256: [&str; 4] = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];

/// Why a request is refused; nothing is recorded or written then.
fn refusal(farm: &Farm, csr: &Path) -> String {
    let refused = farm.authority().sign(csr, Some(&name("alice")), 365, farm.here());
    assert_eq!(list(&farm.state()).expect("a list"), []);
    assert!(!farm.path("alice.crt").exists());
    refused.expect_err("a bad request").to_string()
}

#[test]
fn requests_with_every_usual_kind_of_key_are_signed() {
    let rsa = |bits| ["-algorithm", "RSA", "-pkeyopt", bits];
    let ec = |curve| ["-algorithm", "EC", "-pkeyopt", curve];
    let kinds: [&[&str]; 7] = [
        &rsa("rsa_keygen_bits:2048"),
        &rsa("rsa_keygen_bits:3072"),
        &rsa("rsa_keygen_bits:4096"),
        &P256,
        &ec("ec_paramgen_curve:P-384"),
        &ec("ec_paramgen_curve:P-521"),
        &["-algorithm", "ED25519"],
    ];
    for kind in kinds {
        let farm = Farm::new();
        let csr = csr(&farm, kind, &[]);
        farm.authority()
            .sign(&csr, None, 365, farm.here())
            .unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        farm.verify("alice.crt", &[]).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        let of_key = farm.openssl(&["pkey", "-in", "alice.key", "-pubout"]);
        assert_eq!(farm.openssl(&["x509", "-in", "alice.crt", "-noout", "-pubkey"]), of_key);
        assert!(judge(&farm.gate(), &der(&farm.path("alice.crt"))).is_ok(), "{kind:?}");
        let chain = fs::read_to_string(farm.path("alice.crt")).expect("a file");
        let ca = fs::read_to_string(farm.admin("ca.crt")).expect("a file");
        assert!(chain.ends_with(&ca), "with its chain: {chain}");
        assert_eq!(mode(&farm.path("alice.crt")), 0o644);
    }
}

#[test]
fn der_and_strong_digests_are_as_good() {
    for options in [&["-outform", "DER"][..], &["-sha384"], &["-sha512"], &["-newhdr"]] {
        let farm = Farm::new();
        let csr = csr(&farm, &P256, options);
        farm.authority()
            .sign(&csr, None, 365, farm.here())
            .unwrap_or_else(|error| panic!("{options:?}: {error}"));
    }
}

#[test]
fn nothing_but_key_and_name_is_taken_from_a_request() {
    let farm = Farm::new();
    let csr = csr(
        &farm,
        &P256,
        &[
            "-subj",
            "/C=XX/O=Evil/OU=a/CN=first/CN=Zoë/emailAddress=root@example.org",
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-addext",
            "keyUsage=keyCertSign",
            "-addext",
            "subjectAltName=DNS:example.org",
            "-addext",
            "extendedKeyUsage=serverAuth",
            "-addext",
            "1.2.3.4=critical,ASN1:NULL",
        ],
    );
    let done = farm.authority().sign(&csr, None, 365, farm.here()).expect("a certificate");
    assert_eq!(done.made.file, farm.path("Zoë.crt"));
    let text = farm.openssl(&["x509", "-in", "Zoë.crt", "-noout", "-text", "-nameopt", "utf8"]);
    assert!(text.contains("Subject: CN=Zoë\n"), "{text}");
    for absent in ["Evil", "CA:TRUE", "Certificate Sign", "example.org", "Web Server", "1.2.3.4"] {
        assert!(!text.contains(absent), "{absent} in {text}");
    }
    farm.verify("Zoë.crt", &[]).expect("a good certificate");

    // The operator's word counts for more than the request's, and the operator hears of the difference.
    let done = farm.authority().sign(&csr, Some(&name("zoe")), 365, farm.here()).expect("a certificate");
    assert!(done.notes[0].contains("in the name of \"Zoë\""), "{:?}", done.notes);
    assert!(farm.openssl(&["x509", "-in", "zoe.crt", "-noout", "-subject"]).contains("CN = zoe"));
}

#[test]
fn names_that_cannot_be_file_names_are_refused_in_requests_too() {
    for (subject, reason) in [
        ("/CN=..\\/..\\/etc\\/passwd", "slash"),
        ("/CN=.bashrc", "dot"),
        ("/O=nobody", "no common name"),
        ("/CN=a\u{202e}b", "cannot be seen"),
    ] {
        let farm = Farm::new();
        let csr = csr(&farm, &P256, &["-subj", subject]);
        let refused = farm.authority().sign(&csr, None, 365, farm.here());
        let refused = refused.expect_err("a bad name").to_string();
        assert!(refused.contains(reason), "{subject}: {refused}");
    }
}

#[test]
fn weak_and_odd_keys_are_refused_with_the_reason() {
    for (kind, reason) in [
        (&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"][..], "1024 bits; 2048 are the least"),
        (&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"], "none of RSA, ECDSA"),
        (&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp224r1"], "none of RSA, ECDSA"),
        (&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:brainpoolP256r1"], "none of RSA, ECDSA"),
        (
            &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:explicit"],
            "none of RSA, ECDSA",
        ),
        (&["-algorithm", "ED448"], "none of RSA, ECDSA"),
        (&["-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"], "none of RSA, ECDSA"),
    ] {
        let farm = Farm::new();
        let csr = csr(&farm, kind, &[]);
        let refused = refusal(&farm, &csr);
        assert!(refused.contains(reason), "{kind:?}: {refused}");
    }
}

#[test]
fn a_request_that_its_key_did_not_sign_is_refused() {
    let farm = Farm::new();
    let good = csr(&farm, &P256, &["-outform", "DER"]);
    let mut bytes = fs::read(&good).expect("a request");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&good, &bytes).expect("a file");
    assert!(refusal(&farm, &good).contains("not signed with its own key"));

    for digest in ["-sha1", "-md5"] {
        let farm = Farm::new();
        let weak = csr(&farm, &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], &[digest]);
        assert!(refusal(&farm, &weak).contains("too weak"), "{digest}");
    }
}

#[test]
fn what_is_no_request_is_refused_with_what_it_is() {
    let farm = Farm::new();
    csr(&farm, &P256, &[]);
    farm.openssl(&["req", "-x509", "-key", "alice.key", "-out", "self.pem", "-subj", "/CN=alice"]);
    fs::write(farm.path("empty"), "").expect("a file");
    fs::write(farm.path("text"), "hello").expect("a file");
    fs::write(farm.path("zeros"), [0; 100]).expect("a file");
    let pem = fs::read_to_string(farm.path("alice.csr")).expect("a request");
    fs::write(farm.path("cut"), &pem[..pem.len() / 2]).expect("a file");
    farm.openssl(&["req", "-in", "alice.csr", "-outform", "DER", "-out", "der"]);
    let der = fs::read(farm.path("der")).expect("a request");
    fs::write(farm.path("trailing"), [&der[..], &[0]].concat()).expect("a file");
    for (file, reason) in [
        ("self.pem", "found \"CERTIFICATE\""),
        ("alice.key", "this is a private key"),
        ("empty", "expected a certificate request"),
        ("text", "expected a certificate request"),
        ("zeros", "expected a certificate request"),
        ("cut", "expected a certificate request"),
        ("trailing", "this is no certificate request"),
        ("missing", "cannot be read"),
        (".", "cannot be read"),
    ] {
        let refused = refusal(&farm, &farm.path(file));
        assert!(refused.contains(reason), "{file}: {refused}");
    }
}

#[test]
fn keys_that_everybody_or_the_ca_has_are_refused() {
    let farm = Farm::new();
    let published = concat!(env!("CARGO_MANIFEST_DIR"), "/certs-dev/client.key");
    for (key, reason) in [(published, "published with farmgate"), ("state/admin/ca.key", "the CA's own")] {
        farm.openssl(&["req", "-new", "-key", key, "-out", "alice.csr", "-subj", "/CN=alice"]);
        let refused = refusal(&farm, &farm.path("alice.csr"));
        assert!(refused.contains(reason), "{refused}");
    }
}

#[test]
fn a_key_that_was_compromised_is_not_certified_again_and_one_that_was_superseded_is() {
    let farm = Farm::new();
    farm.certify("alice");
    farm.authority().revoke("alice", "superseded".parse().expect("a reason"), false).expect("revoked");
    fs::remove_file(farm.path("alice.crt")).expect("a file");
    farm.certify("alice");
    farm.authority().revoke("alice", "key-compromise".parse().expect("a reason"), false).expect("revoked");
    let again = farm.authority().sign(&farm.path("alice.csr"), Some(&name("bob")), 365, farm.here());
    let again = again.expect_err("a compromised key").to_string();
    assert!(again.contains("the key was compromised"), "{again}");
    assert!(!farm.path("bob.crt").exists());
}

#[test]
fn reading_requests_survives_arbitrary_and_damaged_ones() {
    let farm = Farm::new();
    csr(&farm, &P256, &["-addext", "subjectAltName=DNS:a.org", "-outform", "DER"]);
    let good = fs::read(farm.path("alice.csr")).expect("a request");
    let key = request::parse(&good).expect("a good request").key.subject_public_key_info();
    let damage = (vec((any::<Index>(), any::<u8>()), 1..6), proptest::option::weighted(0.2, any::<Index>()));
    proptest!(ProptestConfig::with_cases(20_000), |((edits, keep) in damage)| {
        let mut bytes = good.clone();
        edits.iter().for_each(|(at, value)| bytes[at.index(good.len())] = *value);
        bytes.truncate(keep.map_or(bytes.len(), |keep| keep.index(good.len())));
        // What is not signed, such as the tag of the signature, may read either way. Nothing else gets through.
        if let Ok(read) = request::parse(&bytes) {
            prop_assert_eq!(read.common_name.as_deref(), Some("alice"));
            prop_assert_eq!(read.key.subject_public_key_info(), key.clone());
        }
    });
    proptest!(ProptestConfig::with_cases(5000), |(bytes in vec(any::<u8>(), 0..300), der in any::<bool>())| {
        let bytes = if der { [&[0x30], &bytes[..]].concat() } else { bytes };
        prop_assert!(request::parse(&bytes).is_err());
    });
}
