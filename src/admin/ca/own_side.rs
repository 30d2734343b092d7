//! The administrator's own side: a key that never leaves their machine.

use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::parse_x509_certificate;

use super::authority::Done;
use super::error::CaError;
use super::files::{self, Pending};
use super::keys::{KeyType, PrivateKey};
use super::names::Name;
use super::p12::{self, Format};
use super::password::Password;
use super::request as csr;
use crate::files::{PUBLIC, SECRET};

/// Makes a key and a request for `name`: `folder/NAME.key` and `folder/NAME.csr`, which are given back in this
/// order.
///
/// # Errors
///
/// Where one of them is there already, or cannot be written.
pub fn request(name: &Name, key_type: KeyType, folder: &Path) -> Result<[PathBuf; 2], CaError> {
    let (key_file, request_file) = (name.file("key"), name.file("csr"));
    files::must_not_exist(&folder.join(&key_file))?;
    files::must_not_exist(&folder.join(&request_file))?;
    let key = PrivateKey::generate(key_type)?;
    let request = csr::make(name, &key)?;
    let key = Pending::write(folder, &key_file, key.pem().as_bytes(), SECRET)?;
    let request = Pending::write(folder, &request_file, request.as_bytes(), PUBLIC)?;
    // A key without its request can be removed; a request without its key would be signed in vain.
    Ok([key.publish()?, request.publish()?])
}

/// Puts `folder/NAME.key` and the first certificate of `folder/NAME.crt` into `folder/NAME.p12`.
///
/// # Errors
///
/// Where the two do not belong together, the result is there already, or anything cannot be read or written.
pub fn bundle(
    name: &Name,
    password: &Password,
    format: Format,
    folder: &Path,
) -> Result<Done<PathBuf>, CaError> {
    let file = name.file("p12");
    files::must_not_exist(&folder.join(&file))?;
    let key_path = folder.join(name.file("key"));
    let path = folder.join(name.file("crt"));
    let key = PrivateKey::read(&key_path)?;
    let certificate = CertificateDer::from_pem_slice(&files::read(&path)?)
        .map_err(|_| CaError::refused(&path, "expected a certificate in PEM"))?;
    let (_, parsed) = parse_x509_certificate(&certificate)
        .map_err(|_| CaError::refused(&path, "this is no X.509 certificate"))?;
    if parsed.public_key().raw != key.public_key_info() {
        let reason = format!("this is not the certificate of the key in {}", key_path.display());
        return Err(CaError::refused(&path, reason));
    }
    let bundle = p12::encode(name, &key, &certificate, password, format)?;
    let file = Pending::write(folder, &file, &bundle, SECRET)?.publish()?;
    let note = "The key is in it too: NAME.key is not needed any more once it is imported.";
    Ok(Done { made: file, notes: vec![note.replace("NAME", name.as_str())] })
}
