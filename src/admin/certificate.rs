//! One certificate, as far as the verdict needs it.

use x509_parser::asn1_rs::Oid;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{BasicConstraints, KeyUsage, ParsedExtension};
use x509_parser::oid_registry::{
    OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_EXTENDED_KEY_USAGE, OID_X509_EXT_KEY_USAGE,
    OID_X509_EXT_NAME_CONSTRAINTS, OID_X509_EXT_SUBJECT_ALT_NAME,
};
use x509_parser::parse_x509_certificate;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey as KeyMaterial;
use x509_parser::x509::{X509Name, X509Version};

use super::signature::{PublicKey, Signed};

/// It cannot be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Malformed;

/// The extensions that restrict what a certificate is good for.
const RESTRICTIONS: [Oid<'static>; 4] = [
    OID_X509_EXT_BASIC_CONSTRAINTS,
    OID_X509_EXT_KEY_USAGE,
    OID_X509_EXT_EXTENDED_KEY_USAGE,
    OID_X509_EXT_NAME_CONSTRAINTS,
];

/// What was read from a certificate, owned: the CA's are parsed once, when the gate is loaded, and kept
/// without a lifetime; a client's are a few hundred bytes to copy, next to a signature to verify.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    pub(super) signed: Signed,
    pub(super) public_key: PublicKey,
    /// Bits of an RSA modulus; `None` for other kinds of key.
    pub(super) rsa_bits: Option<usize>,
    pub(super) is_version_1: bool,
    pub(super) serial: Vec<u8>,
    /// Raw DER, like `subject`: names are compared byte by byte.
    pub(super) issuer: Vec<u8>,
    pub(super) subject: Vec<u8>,
    pub(super) common_name: String,
    /// Seconds since 1970; both ends belong to the validity.
    pub(super) not_before: i64,
    pub(super) not_after: i64,
    pub(super) basic_constraints: Option<BasicConstraints>,
    pub(super) key_usage: Option<KeyUsage>,
    /// `None` without an extended key usage: then it is good for anything.
    pub(super) allows_client_auth: Option<bool>,
    /// A restriction that is not processed here: name constraints, or the OID of an unknown critical
    /// extension.
    pub(super) not_understood: Option<String>,
}

impl Certificate {
    /// Reads one certificate, which must be all of `der`.
    pub(super) fn parse(der: &[u8]) -> Result<Self, Malformed> {
        let Ok(([], parsed)) = parse_x509_certificate(der) else { return Err(Malformed) };
        let is_version_3 = match parsed.version() {
            X509Version::V3 => true,
            X509Version::V1 | X509Version::V2 => false,
            _ => return Err(Malformed),
        };
        // The algorithm is written twice, and only the inner one is signed.
        let algorithms_differ = parsed.signature != parsed.signature_algorithm;
        if algorithms_differ || (!is_version_3 && !parsed.extensions().is_empty()) {
            return Err(Malformed);
        }

        let mut certificate = Self {
            signed: Signed::parse(der).ok_or(Malformed)?,
            public_key: PublicKey::parse(parsed.public_key().raw).ok_or(Malformed)?,
            rsa_bits: match parsed.public_key().parsed() {
                Ok(KeyMaterial::RSA(key)) => Some(key.key_size()),
                _ => None,
            },
            is_version_1: !is_version_3,
            serial: serial(parsed.raw_serial()),
            issuer: parsed.issuer().as_raw().to_vec(),
            subject: parsed.subject().as_raw().to_vec(),
            common_name: last_common_name(parsed.subject()),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            basic_constraints: None,
            key_usage: None,
            allows_client_auth: None,
            not_understood: None,
        };
        certificate.read_extensions(&parsed)?;
        Ok(certificate)
    }

    /// The serial number in upper-case hexadecimal.
    pub(super) fn serial_hex(&self) -> String {
        hex::encode_upper(&self.serial)
    }

    /// The subject for people to read.
    pub(super) fn subject_text(&self) -> String {
        X509Name::from_der(&self.subject).map(|(_, name)| name.to_string()).unwrap_or_default()
    }

    fn read_extensions(&mut self, parsed: &X509Certificate<'_>) -> Result<(), Malformed> {
        // Fails on an extension that is there twice.
        parsed.extensions_map().map_err(|_| Malformed)?;
        for extension in parsed.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::BasicConstraints(constraints) => {
                    self.basic_constraints = Some(constraints.clone())
                }
                ParsedExtension::KeyUsage(usage) => self.key_usage = Some(*usage),
                ParsedExtension::ExtendedKeyUsage(usage) => {
                    self.allows_client_auth = Some(usage.client_auth || usage.any);
                }
                // Names of a client, which nothing here depends on.
                _ if extension.oid == OID_X509_EXT_SUBJECT_ALT_NAME => {}
                ParsedExtension::NameConstraints(_) => self.not_understood = Some("name constraints".into()),
                // One of the above, and broken: not the same as absent.
                ParsedExtension::ParseError { .. } if RESTRICTIONS.contains(&extension.oid) => {
                    return Err(Malformed);
                }
                _ if extension.critical => {
                    self.not_understood = Some(format!("the critical extension {}", extension.oid));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The content octets of a serial number without leading zeros, so that the same number is always the same
/// bytes.
pub(super) fn serial(raw: &[u8]) -> Vec<u8> {
    let zeros = raw.iter().take_while(|&&byte| byte == 0).count();
    let first = zeros.min(raw.len().saturating_sub(1));
    raw.get(first..).unwrap_or_default().to_vec()
}

fn last_common_name(subject: &X509Name<'_>) -> String {
    let Some(attribute) = subject.iter_common_name().last() else { return String::new() };
    match attribute.as_str() {
        Ok(text) => text.to_owned(),
        // Teletex and BMP strings, which nobody has made for twenty years.
        Err(_) => String::from_utf8_lossy(attribute.as_slice()).into_owned(),
    }
}
