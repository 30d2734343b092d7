//! Nothing that anybody sends or writes makes the gate panic or open.

use std::fs;
use std::slice;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use rustls::pki_types::CertificateDer;

use super::openssl::Authority;
use super::{Gate, gate, now};

/// What was done to one byte: where, and what it was changed to.
type Edit = (Index, u8);

fn edited(original: &[u8], edits: &[Edit], keep: Option<Index>) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for (position, value) in edits {
        bytes[position.index(original.len())] = *value;
    }
    bytes.truncate(keep.map_or(bytes.len(), |keep| keep.index(original.len())));
    bytes
}

#[test]
fn judging_survives_arbitrary_chains() {
    let ca = Authority::quick();
    let gate = gate(&ca);
    proptest!(ProptestConfig::with_cases(2000), |(chain in vec(vec(any::<u8>(), 0..200), 1..4))| {
        let chain: Vec<_> = chain.into_iter().map(CertificateDer::from).collect();
        prop_assert!(gate.judge(&chain, now()).is_err());
    });
}

#[test]
fn judging_survives_damaged_certificates() {
    let ca = Authority::quick();
    let client = ca.client_with(
        "client",
        "basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=clientAuth\n\
         subjectAltName=email:a@example.org,DNS:a.example.org,IP:::1,dirName:names\n\
         crlDistributionPoints=URI:http://a.org/\n\
         certificatePolicies=1.2.3.4\nauthorityInfoAccess=OCSP;URI:http://a.org/\n\
         nameConstraints=permitted;email:a.org\nsubjectKeyIdentifier=hash\n[names]\nCN=x",
    );
    let gate = gate(&ca);
    let root = ca.der("ca");
    let damage = (vec(any::<Edit>(), 1..6), proptest::option::weighted(0.2, any::<Index>()));
    proptest!(ProptestConfig::with_cases(20_000), |((edits, keep) in damage)| {
        let damaged = CertificateDer::from(edited(&client, &edits, keep));
        if damaged != client {
            prop_assert!(gate.judge(&[damaged.clone(), root.clone()], now()).is_err());
            prop_assert!(gate.judge(&[root.clone(), damaged], now()).is_err());
        }
    });
}

#[test]
fn loading_survives_arbitrary_and_damaged_files() {
    let ca = Authority::quick();
    ca.revoke("ca.crl", "ca", &["01", "02,keyCompromise"], "authorityKeyIdentifier=keyid");
    ca.run(&["crl", "-in", "ca.crl", "-outform", "DER", "-out", "ca.crl.der"]);
    let files = ["ca.crt", "ca.crl", "ca.crl.der"].map(|file| fs::read(ca.path(file)).expect("a file"));
    let (other, folder) = (ca.path("other"), ca.certificate());
    let damage = (vec(any::<Edit>(), 0..4), proptest::option::weighted(0.3, any::<Index>()), 0..files.len());
    proptest!(ProptestConfig::with_cases(2000), |((edits, keep, which) in damage)| {
        fs::write(&other, edited(&files[which], &edits, keep)).expect("a writable folder");
        let _ = Gate::load(&other, &[]);
        let _ = Gate::load(&folder, slice::from_ref(&other));
    });
    proptest!(ProptestConfig::with_cases(500), |(bytes in vec(any::<u8>(), 0..300), der in any::<bool>())| {
        let bytes = if der { [&[0x30], &bytes[..]].concat() } else { bytes };
        fs::write(&other, bytes).expect("a writable folder");
        prop_assert!(Gate::load(&other, &[]).closed_because().is_some());
        prop_assert!(Gate::load(&folder, slice::from_ref(&other)).closed_because().is_some());
    });
}
