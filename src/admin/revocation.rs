//! Revocation lists.
//!
//! A list that was configured and cannot be used closes the gate, because nobody knows what it would have
//! revoked. One that is only past its date still counts, with a warning: what was revoked stays so.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::extensions::X509Extension;
use x509_parser::oid_registry::{
    OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER, OID_X509_EXT_CRL_NUMBER, OID_X509_EXT_INVALIDITY_DATE,
    OID_X509_EXT_ISSUER_DISTRIBUTION_POINT, OID_X509_EXT_REASON_CODE,
};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::x509::ReasonCode;

use super::certificate::{self, Certificate};
use super::closed::{self, Closed};
use super::signature::Signed;

/// Everything that any of the lists revokes.
#[derive(Debug, Default)]
pub(super) struct Revocations {
    /// By the issuer's name in DER: the serial numbers. By name and not by key, as X.509 has it: a CA that
    /// was given a new key goes on to revoke what the old one signed.
    serials: HashMap<Vec<u8>, HashSet<Vec<u8>>>,
    /// Lists past their date.
    pub(super) warnings: Vec<String>,
}

impl Revocations {
    /// Reads all lists. They must be signed by one of `anchors`: who issues certificates through an
    /// intermediate, and revokes there, puts that intermediate into the client CA file as well.
    pub(super) fn load(paths: &[PathBuf], anchors: &[Certificate], now: i64) -> Result<Self, Closed> {
        let mut revocations = Self::default();
        for path in paths {
            let lists = lists(path, closed::read(path)?)?;
            for (index, list) in lists.iter().enumerate() {
                revocations
                    .add(path, list, anchors, now)
                    .map_err(|reason| Closed::invalid(path, format!("list {}: {reason}", index + 1)))?;
            }
        }
        Ok(revocations)
    }

    /// Whether a list names this certificate.
    pub(super) fn contains(&self, certificate: &Certificate) -> bool {
        self.serials.get(&certificate.issuer).is_some_and(|serials| serials.contains(&certificate.serial))
    }

    fn add(&mut self, path: &Path, der: &[u8], anchors: &[Certificate], now: i64) -> Result<(), String> {
        let (Ok(([], list)), Some(signed)) = (CertificateRevocationList::from_der(der), Signed::parse(der))
        else {
            return Err("this is no X.509 revocation list".into());
        };
        if list.tbs_cert_list.signature != list.signature_algorithm {
            return Err("it names two different signature algorithms".into());
        }
        let issuer = list.issuer().as_raw();
        let is_from = |anchor: &Certificate| {
            let may_sign = anchor.key_usage.is_none_or(|usage| usage.crl_sign());
            anchor.subject == issuer && may_sign && anchor.public_key.made(&signed)
        };
        if !anchors.iter().any(is_from) {
            return Err(format!(
                "its issuer ({}) is not in the client CA file, or did not sign it",
                list.issuer()
            ));
        }
        check_scope(&list)?;

        let serials = self.serials.entry(issuer.to_vec()).or_default();
        for entry in list.iter_revoked_certificates() {
            // "Remove" takes an entry of another list back, and belongs to delta lists. It revokes nothing.
            if entry.reason_code().is_none_or(|(_, reason)| reason != ReasonCode::RemoveFromCRL) {
                serials.insert(certificate::serial(entry.raw_serial()));
            }
        }
        if let Some(due) = list.next_update().filter(|due| due.timestamp() < now) {
            self.warnings.push(format!(
                "{}: this revocation list was due for an update on {due}. What it revokes stays revoked; \
                 what was revoked since is not known here",
                path.display()
            ));
        }
        Ok(())
    }
}

/// The lists of one file: PEM blocks, or one list in DER.
fn lists(path: &Path, contents: Vec<u8>) -> Result<Vec<Vec<u8>>, Closed> {
    const SEQUENCE: u8 = 0x30;
    if contents.first() == Some(&SEQUENCE) {
        return Ok(vec![contents]);
    }
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&contents)
        .map(|list| list.map(|der| der.to_vec()))
        .collect();
    match lists {
        Ok(lists) if lists.is_empty() => {
            Err(Closed::invalid(path, "there is no \"-----BEGIN X509 CRL-----\" in it"))
        }
        Ok(lists) => Ok(lists),
        Err(error) => Err(Closed::invalid(path, closed::pem_reason(&error))),
    }
}

/// Refuses lists that mean something else than "these serial numbers of my issuer": deltas, lists on behalf
/// of other issuers, lists for some reasons or some certificates only, and whatever else is marked critical.
fn check_scope(list: &CertificateRevocationList<'_>) -> Result<(), String> {
    for extension in list.extensions() {
        if extension.oid == OID_X509_EXT_ISSUER_DISTRIBUTION_POINT {
            return Err(
                "it has an issuingDistributionPoint: only complete lists for one issuer are processed".into(),
            );
        }
        if is(extension, "2.5.29.27") {
            return Err("it is a delta list: only complete lists are processed".into());
        }
        let harmless = [OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER, OID_X509_EXT_CRL_NUMBER];
        if extension.critical && !harmless.contains(&extension.oid) {
            return Err(format!(
                "it has the critical extension {}, which this gate does not process",
                extension.oid
            ));
        }
    }
    for extension in list.iter_revoked_certificates().flat_map(|entry| entry.extensions()) {
        if is(extension, "2.5.29.29") {
            return Err("it is an indirect list: only complete lists for one issuer are processed".into());
        }
        let harmless = [OID_X509_EXT_REASON_CODE, OID_X509_EXT_INVALIDITY_DATE];
        if extension.critical && !harmless.contains(&extension.oid) {
            return Err(format!("an entry has the critical extension {}", extension.oid));
        }
    }
    Ok(())
}

fn is(extension: &X509Extension<'_>, oid: &str) -> bool {
    extension.oid.to_id_string() == oid
}
