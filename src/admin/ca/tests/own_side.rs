//! `request NAME` and `bundle NAME`: the administrator's own machine.

use std::fs;

use super::*;
use crate::admin::ca::{CaError, bundle, request};

#[test]
fn a_key_that_never_left_home_ends_in_the_browser() {
    for (key_type, format) in [
        (KeyType::P256, Format::Modern),
        (KeyType::Rsa2048, Format::Legacy),
        (KeyType::Ed25519, Format::Modern),
    ] {
        let farm = Farm::new();
        let home = Farm::empty();
        let [key, csr] = request(&name("Zoë"), key_type, home.here()).expect("a request");
        assert_eq!((mode(&key), mode(&csr)), (0o600, 0o644));
        let text = home.openssl(&["req", "-in", "Zoë.csr", "-noout", "-verify", "-text", "-nameopt", "utf8"]);
        assert!(text.contains("Subject: CN=Zoë\n") && text.contains("verify OK"), "{text}");
        home.openssl(&["pkey", "-in", "Zoë.key", "-check", "-noout"]);

        let done = farm.authority().sign(&csr, None, 365, farm.here()).expect("a certificate");
        fs::copy(&done.made.file, home.path("Zoë.crt")).expect("sent by mail");
        let password = Password::generate().expect("random numbers");
        let done = bundle(&name("Zoë"), &password, format, home.here()).expect("a bundle");
        assert_eq!(mode(&done.made), 0o600);
        home.unpack("Zoë", &password).unwrap_or_else(|error| panic!("{key_type}: {error}"));
        assert!(judge(&farm.gate(), &der(&home.path("Zoë.pem"))).is_ok());
    }
}

#[test]
fn keys_as_openssl_writes_them_can_be_bundled() {
    let farm = Farm::new();
    for (arguments, subject) in [
        (&["genrsa", "-traditional", "-out", "a.key", "2048"][..], "/CN=a"),
        (&["ecparam", "-genkey", "-name", "prime256v1", "-out", "b.key"], "/CN=b"),
        (&["ecparam", "-genkey", "-name", "secp521r1", "-noout", "-out", "c.key"], "/CN=c"),
        (&["genpkey", "-algorithm", "ED25519", "-out", "d.key"], "/CN=d"),
    ] {
        let who = &subject[4..];
        farm.openssl(arguments);
        farm.openssl(&[
            "req",
            "-new",
            "-key",
            &format!("{who}.key"),
            "-out",
            &format!("{who}.csr"),
            "-subj",
            subject,
        ]);
        farm.authority()
            .sign(&farm.path(&format!("{who}.csr")), None, 9, farm.here())
            .expect("a certificate");
        let password = Password::generate().expect("random numbers");
        bundle(&name(who), &password, Format::Modern, farm.here())
            .unwrap_or_else(|error| panic!("{who}: {error}"));
        farm.unpack(who, &password).unwrap_or_else(|error| panic!("{who}: {error}"));
        let of_key = farm.openssl(&["pkey", "-in", &format!("{who}.key"), "-pubout"]);
        assert_eq!(farm.openssl(&["pkey", "-in", &format!("{who}.pem"), "-pubout"]), of_key);
    }
}

#[test]
fn nothing_at_home_is_overwritten() {
    for existing in ["alice.key", "alice.csr"] {
        let home = Farm::empty();
        fs::write(home.path(existing), "precious").expect("a file");
        let refused = request(&name("alice"), KeyType::P256, home.here());
        assert!(matches!(refused, Err(CaError::Exists(_))), "{existing}: {refused:?}");
        let files: Vec<_> = fs::read_dir(home.here()).expect("a folder").collect();
        assert_eq!(files.len(), 1, "{files:?}");
        assert_eq!(fs::read(home.path(existing)).expect("a file"), b"precious");
    }
    let home = Farm::empty();
    fs::write(home.path("alice.p12"), "precious").expect("a file");
    let password = Password::generate().expect("random numbers");
    let refused = bundle(&name("alice"), &password, Format::Modern, home.here());
    assert!(matches!(refused, Err(CaError::Exists(_))), "{refused:?}");
}

#[test]
fn a_key_and_a_certificate_that_do_not_belong_together_are_not_bundled() {
    let farm = Farm::new();
    farm.certify("alice");
    farm.certify("bob");
    let password = Password::generate().expect("random numbers");
    let refused = |reason: &str| {
        let refused =
            bundle(&name("alice"), &password, Format::Modern, farm.here()).expect_err("refused").to_string();
        assert!(refused.contains(reason), "{refused}");
    };
    fs::copy(farm.path("bob.key"), farm.path("alice.key")).expect("a file");
    refused("not the certificate of the key");
    farm.openssl(&["pkey", "-in", "bob.key", "-aes256", "-passout", "pass:x", "-out", "alice.key"]);
    refused("the key is encrypted");
    fs::write(farm.path("alice.key"), "no key").expect("a file");
    refused("expected a private key in PEM");
    fs::remove_file(farm.path("alice.key")).expect("a file");
    refused("cannot be read");
    fs::copy(farm.path("bob.key"), farm.path("alice.key")).expect("a file");
    fs::write(farm.path("alice.crt"), "no certificate").expect("a file");
    refused("expected a certificate in PEM");
}
