//! Putting the CA's own name on what it signs.
//!
//! rcgen composes certificates and lists, but it can only write names that it made or understood, and keeps one
//! attribute of each type. A CA that was taken over may be called anything; and a name that is not the same, byte
//! for byte, is another CA's (RFC 5280 section 7.1 would compare more kindly; this gate and others do not). So
//! rcgen composes with no name and no signature, and here the name is put in and all of it signed.

use rcgen::{Error, KeyPair, PublicKeyData, SignatureAlgorithm, SigningKey};
use x509_parser::asn1_rs::{Any, FromDer};

use super::error::CaError;

/// The place of the issuer in a `TBSCertificate`: after version, serial number and algorithm.
pub(super) const ISSUER_OF_CERTIFICATE: usize = 3;
/// The place of the issuer in a `TBSCertList`: after version and algorithm.
pub(super) const ISSUER_OF_LIST: usize = 2;

/// The CA's key as rcgen gets it: it is asked for the algorithm, and its signature is thrown away.
pub(super) struct Unsigned<'a>(pub(super) &'a KeyPair);

impl PublicKeyData for Unsigned<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl SigningKey for Unsigned<'_> {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(Vec::new())
    }
}

/// Signs `composed`, a certificate or a list without a signature, with `issuer` (a name in DER) in its place.
pub(super) fn sign(composed: &[u8], place: usize, issuer: &[u8], key: &KeyPair) -> Result<Vec<u8>, CaError> {
    let unexpected = || CaError::Crypto { what: "compose", reason: "the shape is unexpected".into() };
    let outer = elements(composed).ok_or_else(unexpected)?;
    let [inner, algorithm, _] = outer[..] else { return Err(unexpected()) };
    let mut fields = elements(inner).ok_or_else(unexpected)?;
    *fields.get_mut(place).ok_or_else(unexpected)? = issuer;

    let message = value(SEQUENCE, &fields);
    let signature = key.sign(&message).map_err(CaError::crypto("sign"))?;
    // The first octet counts the bits to leave out of the last: none.
    let signature = value(BIT_STRING, &[&[0], &signature]);
    Ok(value(SEQUENCE, &[&message, algorithm, &signature]))
}

const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;

/// What is in a SEQUENCE, each element with its tag and length.
fn elements(sequence: &[u8]) -> Option<Vec<&[u8]>> {
    let (_, outer) = Any::from_der(sequence).ok()?;
    let mut left = outer.data;
    let mut elements = Vec::new();
    while !left.is_empty() {
        let (rest, _) = Any::from_der(left).ok()?;
        elements.push(left.get(..left.len() - rest.len())?);
        left = rest;
    }
    Some(elements)
}

/// A tag, a length and contents.
fn value(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let length = contents.iter().map(|part| part.len()).sum::<usize>();
    let mut der = vec![tag];
    if length < 0x80 {
        // Below 0x80 just now.
        der.push(length as u8);
    } else {
        let octets = length.to_be_bytes();
        let zeros = octets.iter().take_while(|&&octet| octet == 0).count();
        // At most eight octets.
        der.push(0x80 | (octets.len() - zeros) as u8);
        der.extend(&octets[zeros..]);
    }
    contents.iter().for_each(|part| der.extend(*part));
    der
}

/// DER between BEGIN and END lines.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new(label, der), config)
}
