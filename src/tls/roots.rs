//! Whom to trust: the roots in a file, or the system's.

use std::fmt::Display;
use std::io;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// The roots in a PEM file. One that cannot be read, or has none, is an error: it trusts nobody.
///
/// # Errors
///
/// In words, with the name of the file.
pub fn of(path: &Path) -> Result<RootCertStore, String> {
    let failed = |why: &dyn Display| format!("{}: {why}", path.display());
    let pem = std::fs::read(path).map_err(|error| failed(&error))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| failed(&error))?;
        roots.add(certificate).map_err(|error| failed(&error))?;
    }
    if roots.is_empty() {
        return Err(failed(&"expected PEM certificates, found none"));
    }
    Ok(roots)
}

/// Those of the system, or of the file that `SSL_CERT_FILE` names.
///
/// # Errors
///
/// In words, and what to do.
pub fn system() -> Result<RootCertStore, String> {
    let certificates = rustls_native_certs::load_native_certs()
        .map_err(|error: io::Error| format!("the system's root certificates: {error}"))?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    if roots.is_empty() {
        return Err(
            "the system has no root certificates: install ca-certificates (nss-certs in Guix), or set \
                    SSL_CERT_FILE"
                .into(),
        );
    }
    Ok(roots)
}
