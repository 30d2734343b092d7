//! Public keys, and what they signed.
//!
//! The algorithms are those of the TLS provider, for chains as for handshakes. x509-parser has a
//! `verify_signature` too, but it takes SHA-1, does not look whether the key is of the kind the signature
//! says, and knows no P-521.

use std::sync::LazyLock;

use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs};
use x509_parser::asn1_rs::{Any, FromDer};

/// RSA PKCS#1 and PSS with SHA-256, 384 and 512 for keys of 2048 to 8192 bits, ECDSA on P-256, P-384 and
/// P-521, Ed25519, ML-DSA. Nothing with MD5 or SHA-1, nothing shorter.
static ALGORITHMS: LazyLock<WebPkiSupportedAlgorithms> =
    LazyLock::new(|| aws_lc_rs::default_provider().signature_verification_algorithms);

/// A public key, split as the algorithms want it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PublicKey {
    /// The inside of the `AlgorithmIdentifier`.
    algorithm: Vec<u8>,
    bits: Vec<u8>,
}

impl PublicKey {
    /// Reads a `SubjectPublicKeyInfo`.
    pub(super) fn parse(spki: &[u8]) -> Option<Self> {
        let (_, outer) = Any::from_der(spki).ok()?;
        let (rest, algorithm) = Any::from_der(outer.data).ok()?;
        Some(Self { algorithm: algorithm.data.to_vec(), bits: bit_string(rest)?.to_vec() })
    }

    /// Whether there is an algorithm for this kind of key at all.
    pub(super) fn is_known(&self) -> bool {
        ALGORITHMS.all.iter().any(|algorithm| algorithm.public_key_alg_id().as_ref() == self.algorithm)
    }

    /// Whether this key made that signature, with an algorithm that is good enough.
    pub(super) fn made(&self, signed: &Signed) -> bool {
        ALGORITHMS
            .all
            .iter()
            .filter(|algorithm| algorithm.public_key_alg_id().as_ref() == self.algorithm)
            .filter(|algorithm| algorithm.signature_alg_id().as_ref() == signed.algorithm)
            .any(|algorithm| {
                algorithm.verify_signature(&self.bits, &signed.message, &signed.signature).is_ok()
            })
    }
}

/// `SEQUENCE { message, algorithm, BIT STRING }`: the outer shape of certificates and revocation lists alike.
#[derive(Clone, Debug)]
pub(super) struct Signed {
    message: Vec<u8>,
    /// The inside of the `AlgorithmIdentifier`.
    algorithm: Vec<u8>,
    signature: Vec<u8>,
}

impl Signed {
    /// Reads the outer shape of `der`, all of it.
    pub(super) fn parse(der: &[u8]) -> Option<Self> {
        let (trailing, outer) = Any::from_der(der).ok()?;
        let (rest, _) = Any::from_der(outer.data).ok()?;
        let message = outer.data.get(..outer.data.len() - rest.len())?;
        let (rest, algorithm) = Any::from_der(rest).ok()?;
        trailing.is_empty().then_some(())?;
        Some(Self {
            message: message.to_vec(),
            algorithm: algorithm.data.to_vec(),
            signature: bit_string(rest)?.to_vec(),
        })
    }
}

/// The bits of the one BIT STRING that `der` is. Its first octet counts the bits to leave out of the last:
/// none here.
fn bit_string(der: &[u8]) -> Option<&[u8]> {
    const BIT_STRING: u32 = 3;
    let (rest, value) = Any::from_der(der).ok()?;
    match value.data {
        [0, bits @ ..] if rest.is_empty() && value.tag().0 == BIT_STRING => Some(bits),
        _ => None,
    }
}
