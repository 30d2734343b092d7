//! What a certificate says about itself.

use aws_lc_rs::digest::{SHA256, digest};
use instant_acme::CertificateIdentifier;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::clock::Time;
use super::failure::clean;

/// A certificate's own words, as far as renewing goes by them.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// The DNS names it is for, lower-case.
    pub names: Vec<String>,
    /// Who signed it.
    pub issuer: String,
    /// Its number, in hexadecimal, as `openssl x509 -serial` prints it.
    pub serial: String,
    /// From when on it counts.
    pub not_before: Time,
    /// Until when.
    pub not_after: Time,
    /// What the CA calls it in renewal information (RFC 9773 section 4.1); none where it does not say who signed it.
    pub ari_id: Option<String>,
    /// The same number for the same certificate, spread evenly: what jitter is made of.
    pub seed: u64,
}

impl Facts {
    /// Reads them from a leaf.
    pub fn read(leaf: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
        let names = match parsed.subject_alternative_name() {
            Ok(Some(extension)) => extension.value.general_names.iter().filter_map(dns_name).collect(),
            _ => Vec::new(),
        };
        let organisation = parsed.issuer().iter_organization().next().and_then(|part| part.as_str().ok());
        let common_name = parsed.issuer().iter_common_name().next().and_then(|part| part.as_str().ok());
        let issuer: Vec<&str> = organisation.into_iter().chain(common_name).collect();
        Some(Self {
            names,
            issuer: clean(&issuer.join(", ")),
            serial: hex::encode_upper(parsed.raw_serial()),
            not_before: Time::from_unix(parsed.validity().not_before.timestamp()),
            not_after: Time::from_unix(parsed.validity().not_after.timestamp()),
            ari_id: CertificateIdentifier::try_from(leaf).ok().map(|id| id.to_string()),
            seed: seed(leaf),
        })
    }

    /// Whether it is for all of `names`.
    pub fn covers(&self, names: &[String]) -> bool {
        names.iter().all(|name| self.is_for(name))
    }

    /// Whether it is for `name`: by that name, or by a wildcard in the place of its first label (RFC 6125 section 6.4.3),
    /// which certificates of others may have.
    pub fn is_for(&self, name: &str) -> bool {
        let above = name.split_once('.').map(|(_, above)| above);
        let is_it = |own: &String| own == name || above.is_some() && own.strip_prefix("*.") == above;
        self.names.iter().any(is_it)
    }

    /// Whether it counts at `now`.
    pub fn is_valid_at(&self, now: Time) -> bool {
        self.not_before <= now && now < self.not_after
    }
}

fn dns_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    }
}

/// Every gate picks its own moment, and the same one whenever it is asked.
fn seed(leaf: &[u8]) -> u64 {
    let digest = digest(&SHA256, leaf);
    digest.as_ref().iter().take(8).fold(0, |seed, &byte| (seed << 8) | u64::from(byte))
}
