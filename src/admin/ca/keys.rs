//! Private keys, and the public keys of others.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, RsaKeyPair,
};
use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519,
    PKCS_RSA_SHA256, PublicKeyData, RsaKeySize, SignatureAlgorithm,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::public_key::PublicKey as KeyMaterial;
use x509_parser::x509::SubjectPublicKeyInfo;
use zeroize::{Zeroize, Zeroizing};

use super::der;
use super::error::CaError;
use super::files;

/// Smallest RSA modulus that counts.
const LEAST_RSA_BITS: usize = 2048;
/// Largest RSA modulus that the gate can verify with.
const MOST_RSA_BITS: usize = 8192;

/// The kinds of key that can be made here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyType {
    /// ECDSA on P-256: small, fast, and known to every browser.
    #[default]
    P256,
    /// ECDSA on P-384.
    P384,
    /// RSA with 2048 bits, as Cuirass's script had it.
    Rsa2048,
    /// RSA with 3072 bits.
    Rsa3072,
    /// RSA with 4096 bits.
    Rsa4096,
    /// Ed25519. Fine for a CA; browsers do not take it for a client certificate.
    Ed25519,
}

impl KeyType {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::P256, Self::P384, Self::Rsa2048, Self::Rsa3072, Self::Rsa4096, Self::Ed25519];

    /// As it is typed.
    pub fn token(self) -> &'static str {
        match self {
            Self::P256 => "p256",
            Self::P384 => "p384",
            Self::Rsa2048 => "rsa2048",
            Self::Rsa3072 => "rsa3072",
            Self::Rsa4096 => "rsa4096",
            Self::Ed25519 => "ed25519",
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.token())
    }
}

impl FromStr for KeyType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.token() == text);
        found.ok_or_else(|| format!("expected one of {}", Self::ALL.map(Self::token).join(", ")))
    }
}

/// A private key that can sign.
pub(super) struct PrivateKey {
    pub(super) pair: KeyPair,
    /// PKCS#8, version 1: OpenSSL 3.0 cannot read version 2, which has the public key in it.
    pub(super) pkcs8: Zeroizing<Vec<u8>>,
}

impl Drop for PrivateKey {
    /// The key as rcgen keeps it beside the one that it signs with, which wipes itself.
    fn drop(&mut self) {
        self.pair.zeroize();
    }
}

impl PrivateKey {
    pub(super) fn generate(kind: KeyType) -> Result<Self, CaError> {
        let pair = match kind {
            KeyType::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            KeyType::P384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
            KeyType::Ed25519 => KeyPair::generate_for(&PKCS_ED25519),
            KeyType::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
            KeyType::Rsa3072 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_3072),
            KeyType::Rsa4096 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096),
        };
        let pair = pair.map_err(CaError::crypto("make a key"))?;
        let pkcs8 = pkcs8(&pair, true).map_err(CaError::crypto("write a key"))?;
        Ok(Self { pair, pkcs8 })
    }

    /// Reads an unencrypted key from a PEM file: PKCS#8, PKCS#1 or SEC1.
    pub(super) fn read(path: &Path) -> Result<Self, CaError> {
        let contents = Zeroizing::new(files::read(path)?);
        let der = PrivateKeyDer::from_pem_slice(&contents).map(Zeroizing::new).map_err(|_| {
            let encrypted = contents.windows(9).any(|part| part == b"ENCRYPTED");
            CaError::refused(
                path,
                if encrypted {
                    "the key is encrypted; \"openssl pkey -in KEY -out NEW\" writes it without a password"
                } else {
                    "expected a private key in PEM (PKCS#8, PKCS#1 or SEC1)"
                },
            )
        })?;
        let unfit = || {
            CaError::refused(
                path,
                "expected an RSA key of 2048 to 8192 bits, an ECDSA key on P-256, P-384 or P-521, or an \
                 Ed25519 key",
            )
        };
        let pair = KeyPair::try_from(&*der).map_err(|_| unfit())?;
        let is_pkcs8 = matches!(*der, PrivateKeyDer::Pkcs8(_));
        let pkcs8 = pkcs8(&pair, is_pkcs8).map_err(|_| unfit())?;
        Ok(Self { pair, pkcs8 })
    }

    /// The `SubjectPublicKeyInfo` that goes with it.
    pub(super) fn public_key_info(&self) -> Vec<u8> {
        self.pair.subject_public_key_info()
    }

    pub(super) fn pem(&self) -> Zeroizing<String> {
        Zeroizing::new(der::pem("PRIVATE KEY", &self.pkcs8))
    }
}

/// rcgen keeps keys as it got them; this writes them one way.
fn pkcs8(pair: &KeyPair, is_pkcs8: bool) -> Result<Zeroizing<Vec<u8>>, String> {
    let der = pair.serialized_der();
    let ec = |algorithm: &'static EcdsaSigningAlgorithm| {
        let key = EcdsaKeyPair::from_private_key_der(algorithm, der).map_err(|error| error.to_string())?;
        Ok::<_, String>(Zeroizing::new(
            key.to_pkcs8v1().map_err(|error| error.to_string())?.as_ref().to_vec(),
        ))
    };
    let algorithm = pair.algorithm();
    if algorithm == &PKCS_ECDSA_P256_SHA256 {
        ec(&ECDSA_P256_SHA256_ASN1_SIGNING)
    } else if algorithm == &PKCS_ECDSA_P384_SHA384 {
        ec(&ECDSA_P384_SHA384_ASN1_SIGNING)
    } else if algorithm == &PKCS_ECDSA_P521_SHA512 {
        ec(&ECDSA_P521_SHA512_ASN1_SIGNING)
    } else if algorithm == &PKCS_ED25519 {
        let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|error| error.to_string())?;
        Ok(Zeroizing::new(key.to_pkcs8v1().map_err(|error| error.to_string())?.as_ref().to_vec()))
    } else {
        let key = if is_pkcs8 { RsaKeyPair::from_pkcs8(der) } else { RsaKeyPair::from_der(der) };
        let key = key.map_err(|error| error.to_string())?;
        let der: Pkcs8V1Der<'_> = key.as_der().map_err(|error| error.to_string())?;
        Ok(Zeroizing::new(der.as_ref().to_vec()))
    }
}

/// Somebody's public key, good enough to be certified.
#[derive(Debug)]
pub(super) struct PublicKey {
    algorithm: &'static SignatureAlgorithm,
    bits: Vec<u8>,
}

impl PublicKey {
    /// Takes the key, or says why it is refused.
    pub(super) fn accept(info: &SubjectPublicKeyInfo<'_>) -> Result<Self, String> {
        match info.parsed() {
            Ok(KeyMaterial::RSA(key)) if key.key_size() < LEAST_RSA_BITS => {
                return Err(format!(
                    "its RSA key has {} bits; {LEAST_RSA_BITS} are the least",
                    key.key_size()
                ));
            }
            Ok(KeyMaterial::RSA(key)) if key.key_size() > MOST_RSA_BITS => {
                return Err(format!("its RSA key has {} bits; {MOST_RSA_BITS} are the most", key.key_size()));
            }
            _ => {}
        }
        let known = [
            &PKCS_ECDSA_P256_SHA256,
            &PKCS_ECDSA_P384_SHA384,
            &PKCS_ECDSA_P521_SHA512,
            &PKCS_ED25519,
            &PKCS_RSA_SHA256,
        ];
        known
            .into_iter()
            .map(|algorithm| Self { algorithm, bits: info.subject_public_key.data.to_vec() })
            // What is certified is then, byte for byte, the key of the request.
            .find(|key| key.subject_public_key_info() == info.raw)
            .ok_or_else(|| "its key is none of RSA, ECDSA on P-256, P-384 or P-521, and Ed25519".to_owned())
    }
}

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.bits
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}
