//! Certificates and keys from PEM files.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

/// A chain and the key that belongs to it.
pub type Pair = Arc<CertifiedKey>;

/// Why a chain and a key cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// A file could not be read: usually its path or its permissions.
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what it should be: usually the two paths are swapped.
    #[error("{}: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What was expected, and what was found.
        reason: String,
    },
    /// The key is not the certificate's: usually one of the two files is from another renewal.
    #[error("{}: this key does not belong to the certificate in {}", key.display(), chain.display())]
    Mismatch {
        /// The file of the chain.
        chain: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// The key is one that comes with the program, for trying by hand.
    #[error("{}: this key is published with farmgate's source, and {name} is a public name; get a key of your own", path.display())]
    ThrowAway {
        /// The file of the key.
        path: PathBuf,
        /// The name others could be deceived about.
        name: String,
    },
}

/// Reads a PEM chain, leaf first, and its PEM key, and makes sure that they belong together.
pub fn load_pair(chain: &Path, key: &Path) -> Result<Pair, PairError> {
    let certificates = read_chain(chain)?;
    let key_pem = Zeroizing::new(read(key)?);
    let key_der = PrivateKeyDer::from_pem_slice(&key_pem)
        .map(Zeroizing::new)
        .map_err(|error| invalid(key, "expected a PEM private key (PKCS#8, PKCS#1 or SEC1)", &error))?;
    let signer = any_supported_type(&key_der).map_err(|error| PairError::Invalid {
        path: key.to_owned(),
        reason: format!("expected an ECDSA, RSA or Ed25519 key: {error}"),
    })?;
    let pair = CertifiedKey::new(certificates, signer);
    if belongs_together(&pair) {
        Ok(Arc::new(pair))
    } else {
        Err(PairError::Mismatch { chain: chain.to_owned(), key: key.to_owned() })
    }
}

/// The same from memory: for a pair that could not be written to disk.
pub fn pair_from_pem(chain: &str, key: &str) -> Option<Pair> {
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>().ok()?;
    let key = Zeroizing::new(PrivateKeyDer::from_pem_slice(key.as_bytes()).ok()?);
    let signer = any_supported_type(&key).ok()?;
    let pair = CertifiedKey::new(chain, signer);
    belongs_together(&pair).then(|| Arc::new(pair))
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, PairError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<_, _>>()
        .map_err(|error| invalid(path, "expected PEM certificates", &error))?;
    if chain.is_empty() {
        return Err(PairError::Invalid {
            path: path.to_owned(),
            reason: "expected PEM certificates, leaf first, and found none".into(),
        });
    }
    for certificate in &chain {
        X509Certificate::from_der(certificate).map_err(|error| PairError::Invalid {
            path: path.to_owned(),
            reason: format!("holds a certificate that does not parse: {error}"),
        })?;
    }
    Ok(chain)
}

/// Compares the public keys. rustls can do that too, but only for certificates its own parser takes.
fn belongs_together(pair: &CertifiedKey) -> bool {
    let Some(spki) = pair.key.public_key() else {
        return false;
    };
    pair.cert
        .first()
        .and_then(|leaf| X509Certificate::from_der(leaf).ok())
        .is_some_and(|(_, leaf)| leaf.public_key().raw == spki.as_ref())
}

fn read(path: &Path) -> Result<Vec<u8>, PairError> {
    std::fs::read(path).map_err(|source| PairError::Unreadable { path: path.to_owned(), source })
}

fn invalid(path: &Path, expected: &str, error: &pem::Error) -> PairError {
    PairError::Invalid { path: path.to_owned(), reason: format!("{expected}: {error}") }
}
