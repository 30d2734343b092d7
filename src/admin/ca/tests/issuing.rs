//! The CA itself, and `issue NAME`.

use std::collections::BTreeSet;
use std::fs;

use super::*;
use crate::admin::ca::CaError;

#[test]
fn init_makes_a_ca_that_only_its_owner_can_use_and_never_overwrites_one() {
    let farm = Farm::new();
    assert_eq!(mode(&farm.state()), 0o700);
    assert_eq!(mode(&farm.admin("")), 0o700);
    for file in ["ca.key", "register", "register.lock"] {
        assert_eq!(mode(&farm.admin(file)), 0o600, "{file}");
    }
    let key = fs::read(farm.admin("ca.key")).expect("a key");
    let again = init(&farm.state(), &Init { subject: "x".into(), days: 1, key_type: KeyType::P256 });
    assert!(matches!(again, Err(CaError::Occupied { .. })), "{again:?}");
    assert_eq!(fs::read(farm.admin("ca.key")).expect("a key"), key);
    let left: Vec<_> = fs::read_dir(farm.state()).expect("a folder").collect();
    assert_eq!(left.len(), 1, "nothing but the CA: {left:?}");
}

#[test]
fn init_takes_the_place_of_an_empty_folder_and_of_no_other() {
    let wanted = Init { subject: "CA".into(), days: 10, key_type: KeyType::P256 };
    let farm = Farm::empty();
    fs::create_dir_all(farm.admin("")).expect("a folder");
    fs::write(farm.admin("ca.crt"), "somebody else's").expect("a file");
    let refused = init(&farm.state(), &wanted).expect_err("not empty").to_string();
    assert!(refused.contains("there is a CA already (ca.crt)"), "{refused}");
    fs::remove_file(farm.admin("ca.crt")).expect("a file");
    init(&farm.state(), &wanted).expect("a CA");
    assert_eq!(mode(&farm.admin("")), 0o700);
}

#[test]
fn openssl_reads_and_verifies_every_kind_of_ca_and_what_it_issues() {
    for key_type in KeyType::ALL {
        let farm = Farm::with(key_type, 3650);
        let text = farm.openssl(&[
            "x509",
            "-in",
            "state/admin/ca.crt",
            "-noout",
            "-text",
            "-nameopt",
            "utf8,sep_comma_plus",
        ]);
        assert!(text.contains("Subject: C=DE,O=GNU Guix,CN=Zoës /admin/ CA"), "{text}");
        assert!(text.contains("CA:TRUE, pathlen:0"), "{text}");
        assert!(text.contains("Certificate Sign, CRL Sign"), "{text}");
        farm.openssl(&["pkey", "-in", "state/admin/ca.key", "-check", "-noout"]);
        farm.openssl(&[
            "verify",
            "-x509_strict",
            "-check_ss_sig",
            "-CAfile",
            "state/admin/ca.crt",
            "state/admin/ca.crt",
        ]);

        let alice = farm.certify("alice");
        farm.verify("alice.crt", &[]).unwrap_or_else(|error| panic!("{key_type}: {error}"));
        farm.verify("alice.crt", &["-crl_check", "-CRLfile", "state/admin/ca.crl"]).expect("not revoked");
        assert_eq!(judge(&farm.gate(), &alice).expect("an administrator").common_name, "alice", "{key_type}");
    }
}

#[test]
fn a_certificate_has_the_extensions_of_a_tls_client_and_no_others() {
    let farm = Farm::new();
    farm.certify("alice");
    let text = farm.openssl(&["x509", "-in", "alice.crt", "-noout", "-text"]);
    for expected in [
        "Version: 3 (0x2)",
        "X509v3 Key Usage: critical\n                Digital Signature\n",
        "X509v3 Extended Key Usage: \n                TLS Web Client Authentication\n",
        "X509v3 Basic Constraints: critical\n                CA:FALSE\n",
    ] {
        assert!(text.contains(expected), "{expected:?} in {text}");
    }
    let found: BTreeSet<_> =
        text.lines().filter_map(|line| line.trim().strip_prefix("X509v3 ")?.split(':').next()).collect();
    let all = [
        "Key Usage",
        "Extended Key Usage",
        "Basic Constraints",
        "Authority Key Identifier",
        "Subject Key Identifier",
        "extensions",
    ];
    assert_eq!(found, BTreeSet::from(all), "{text}");

    // The key identifiers lead from one to the other.
    let of = |file: &str, extension: &str| {
        let text = farm.openssl(&["x509", "-in", file, "-noout", "-ext", extension]);
        text.lines().nth(1).unwrap_or_default().trim().to_owned()
    };
    let ca = of("state/admin/ca.crt", "subjectKeyIdentifier");
    assert_eq!(of("alice.crt", "authorityKeyIdentifier"), ca);
    assert_ne!(of("alice.crt", "subjectKeyIdentifier"), ca);
}

#[test]
fn serial_numbers_are_128_random_bits_and_positive() {
    let farm = Farm::new();
    let mut seen = BTreeSet::new();
    for number in 0..20 {
        farm.certify(&format!("n{number}"));
        let serial = farm.openssl(&["x509", "-in", &format!("n{number}.crt"), "-noout", "-serial"]);
        let serial = serial.trim().strip_prefix("serial=").expect("openssl prints it").to_owned();
        assert_eq!(serial.len(), 32, "{serial}");
        assert!(seen.insert(serial.clone()), "{serial} twice");
    }
    let listed: BTreeSet<_> =
        crate::admin::ca::list(&farm.state()).expect("a list").into_iter().map(|row| row.serial).collect();
    assert_eq!(listed, seen);
}

#[test]
fn openssl_unpacks_both_kinds_of_p12_with_the_password_and_not_without() {
    for (key_type, format) in [
        (KeyType::P256, Format::Modern),
        (KeyType::P384, Format::Legacy),
        (KeyType::Rsa2048, Format::Modern),
        (KeyType::Rsa3072, Format::Legacy),
        (KeyType::Ed25519, Format::Modern),
    ] {
        let farm = Farm::new();
        let password = farm.issue("Zoë Ångström", key_type, format);
        assert_eq!(mode(&farm.path("Zoë Ångström.p12")), 0o600);
        let info =
            farm.unpack("Zoë Ångström", &password).unwrap_or_else(|error| panic!("{key_type}: {error}"));
        let (mac, cipher) = match format {
            Format::Modern => {
                ("MAC: sha256", "PBES2, PBKDF2, AES-256-CBC, Iteration 100000, PRF hmacWithSHA256")
            }
            Format::Legacy => ("MAC: sha1", "pbeWithSHA1And3-KeyTripleDES-CBC"),
        };
        assert!(info.contains(mac) && info.matches(cipher).count() == 2, "{info}");

        // Not all of it is UTF-8: openssl writes the friendly name in Latin-1.
        let unpacked = fs::read(farm.path("Zoë Ångström.pem")).expect("openssl wrote it");
        let unpacked = String::from_utf8_lossy(&unpacked);
        assert_eq!(unpacked.matches("BEGIN CERTIFICATE").count(), 1, "the CA's is not in it: {unpacked}");
        assert!(unpacked.contains("BEGIN PRIVATE KEY"), "{unpacked}");
        farm.verify("Zoë Ångström.pem", &[]).expect("a good certificate");
        let of_key = farm.openssl(&["pkey", "-in", "Zoë Ångström.pem", "-pubout"]);
        assert_eq!(farm.openssl(&["x509", "-in", "Zoë Ångström.pem", "-noout", "-pubkey"]), of_key);
        let administrator = judge(&farm.gate(), &der(&farm.path("Zoë Ångström.pem"))).expect("let in");
        assert_eq!(administrator.common_name, "Zoë Ångström");

        let wrong = Password::generate().expect("random numbers");
        let error = farm.unpack("Zoë Ångström", &wrong).expect_err("another password");
        assert!(error.contains("invalid password"), "{error}");
    }
}

#[test]
fn a_p12_is_never_overwritten_and_then_nothing_is_issued() {
    let farm = Farm::new();
    fs::write(farm.path("alice.p12"), "precious").expect("a file");
    let password = Password::generate().expect("random numbers");
    let refused =
        farm.authority().issue(&name("alice"), 365, KeyType::P256, (&password, Format::Modern), farm.here());
    assert!(matches!(refused, Err(CaError::Exists(_))), "{refused:?}");
    assert_eq!(fs::read(farm.path("alice.p12")).expect("a file"), b"precious");
    assert_eq!(crate::admin::ca::list(&farm.state()).expect("a list"), []);
}

#[test]
fn passwords_come_from_files_as_people_write_them() {
    let farm = Farm::new();
    let read = |contents: &str| {
        fs::write(farm.path("password"), contents).expect("a file");
        Password::read(&farm.path("password"))
    };
    for (contents, expected) in [
        ("secret", "secret"),
        ("secret\n", "secret"),
        ("s p a ce\r\nsecond\n", "s p a ce"),
        ("zoë€\n", "zoë€"),
    ] {
        let password = read(contents).expect("a password");
        assert_eq!(password.as_str(), expected);
        let _ = fs::remove_file(farm.path("alice.p12"));
        farm.authority()
            .issue(&name("alice"), 365, KeyType::P256, (&password, Format::Modern), farm.here())
            .expect("a certificate");
        farm.unpack("alice", &password).unwrap_or_else(|error| panic!("{expected}: {error}"));
    }
    for bad in ["", "\n", "\u{1f512}", "a\u{7}b"] {
        assert!(read(bad).is_err(), "{bad:?}");
    }
    let made = [Password::generate(), Password::generate()].map(|made| made.expect("random numbers"));
    assert_ne!(made[0].as_str(), made[1].as_str());
    assert_eq!(made[0].as_str().len(), 29);
}

#[test]
fn commands_at_the_same_time_lose_none_of_each_other_s_certificates() {
    let farm = Farm::new();
    for who in 0..4 {
        farm.openssl(&[
            "req",
            "-new",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            "/dev/null",
            "-out",
            &format!("{who}.csr"),
            "-subj",
            "/CN=x",
        ]);
    }
    std::thread::scope(|scope| {
        for who in 0..4 {
            let farm = &farm;
            scope.spawn(move || {
                for number in 0..10 {
                    let who_exactly = name(&format!("w{who}-{number}"));
                    let csr = farm.path(&format!("{who}.csr"));
                    farm.authority().sign(&csr, Some(&who_exactly), 9, farm.here()).expect("a certificate");
                    if number % 2 == 0 {
                        farm.authority()
                            .revoke(who_exactly.as_str(), Default::default(), false)
                            .expect("revoked");
                    }
                }
            });
        }
    });
    let rows = crate::admin::ca::list(&farm.state()).expect("a list");
    assert_eq!(rows.len(), 40);
    assert_eq!(rows.iter().filter(|row| row.revoked_at.is_some()).count(), 20);
    let list = farm.openssl(&["crl", "-in", "state/admin/ca.crl", "-noout", "-text"]);
    assert_eq!(list.matches("Serial Number:").count(), 20, "{list}");
}
