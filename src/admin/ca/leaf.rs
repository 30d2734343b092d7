//! The certificates that are issued.

use aws_lc_rs::rand;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod,
    KeyUsagePurpose, PublicKeyData, SerialNumber,
};
use x509_parser::extensions::ParsedExtension;
use x509_parser::parse_x509_certificate;

use super::dates::{self, Validity};
use super::der::{self, ISSUER_OF_CERTIFICATE, Unsigned};
use super::error::CaError;
use super::keys::PrivateKey;
use super::names::Name;
use super::register;
use crate::admin::certificate::Certificate;

/// The CA's certificate, as far as signing with its key needs it.
pub(super) struct Signer {
    pub(super) certificate: Certificate,
    pub(super) der: Vec<u8>,
    /// Its subject key identifier, if it has one.
    key_id: Option<Vec<u8>>,
}

/// A certificate that was signed, and that nobody has yet.
pub(super) struct Leaf {
    pub(super) der: Vec<u8>,
    pub(super) serial: String,
    pub(super) dates: Validity,
    /// SHA-256 of its public key.
    pub(super) key: String,
    pub(super) notes: Vec<String>,
}

impl Signer {
    pub(super) fn new(certificate: Certificate, der: &[u8]) -> Self {
        let key_id = parse_x509_certificate(der).ok().and_then(|(_, parsed)| {
            parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
                _ => None,
            })
        });
        Self { certificate, der: der.to_vec(), key_id }
    }

    /// Whether this is the CA's key.
    pub(super) fn is_certified(&self, key: &PrivateKey) -> bool {
        let certified = parse_x509_certificate(&self.der);
        certified.is_ok_and(|(_, parsed)| parsed.public_key().raw == key.public_key_info())
    }

    /// Certifies `key` for `name`, for as many days as the CA itself has left.
    pub(super) fn leaf(
        &self,
        ca: &PrivateKey,
        name: &Name,
        key: &impl PublicKeyData,
        days: u32,
    ) -> Result<Leaf, CaError> {
        let (dates, notes) = self.dates(days)?;
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from_slice(&random_serial()?));
        params.not_before = dates::asn1(dates.not_before)?.to_datetime();
        params.not_after = dates::asn1(dates.not_after)?.to_datetime();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name.as_str());
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let composed =
            params.signed_by(key, &self.issuer(ca)).map_err(CaError::crypto("compose a certificate"))?;
        let der = der::sign(composed.der(), ISSUER_OF_CERTIFICATE, &self.certificate.subject, &ca.pair)?;

        // What the gate will look at, looked at before anybody has it.
        let made = Certificate::parse(&der).ok().filter(|made| {
            made.issuer == self.certificate.subject && self.certificate.public_key.made(&made.signed)
        });
        let made = made.ok_or_else(|| CaError::Crypto {
            what: "sign a certificate",
            reason: "the signature does not verify with ca.crt".into(),
        })?;
        let key = register::sha256(&key.subject_public_key_info());
        Ok(Leaf { der, serial: made.serial_hex(), dates, key, notes })
    }

    /// What rcgen composes with: see [`der`] for why it has no name.
    pub(super) fn issuer<'a>(&self, ca: &'a PrivateKey) -> Issuer<'static, Unsigned<'a>> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.key_identifier_method = self.key_id_method();
        Issuer::new(params, Unsigned(&ca.pair))
    }

    /// The CA's own key identifier. A CA without one gets what rcgen would have given it (RFC 7093).
    pub(super) fn key_id_method(&self) -> KeyIdMethod {
        self.key_id.clone().map_or(KeyIdMethod::Sha256, KeyIdMethod::PreSpecified)
    }

    fn dates(&self, days: u32) -> Result<(Validity, Vec<String>), CaError> {
        let own = Validity { not_before: self.certificate.not_before, not_after: self.certificate.not_after };
        let now = dates::now();
        if own.not_after < now {
            return Err(CaError::Dates(format!(
                "the CA itself has expired ({}), and with it every certificate it made",
                dates::day(own.not_after)
            )));
        }
        let Some((dates, shortened)) = Validity::days(now, days)?.within(own) else {
            return Err(CaError::Dates("the CA itself is not valid yet: is the clock right?".into()));
        };
        let note = shortened
            .then(|| format!("Valid until {} only: the CA itself ends then.", dates::day(dates.not_after)));
        Ok((dates, note.into_iter().collect()))
    }
}

/// 128 random bits, of which the first octet is not zero: all serial numbers have the same length.
pub(super) fn random_serial() -> Result<[u8; 16], CaError> {
    let mut serial = [0; 16];
    while serial[0] == 0 {
        rand::fill(&mut serial).map_err(CaError::crypto("make a random number"))?;
    }
    Ok(serial)
}
