//! The certificate of a site that has none yet.

use std::sync::Arc;

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::files::Pair;

/// Makes a P-256 key and a certificate for `names` signed with it.
///
/// Guix clients do not look at it: substitutes carry their own signatures. Browsers warn.
pub fn self_signed(names: &[String]) -> Result<Pair, Box<dyn std::error::Error + Send + Sync>> {
    let mut params = CertificateParams::new(names.to_vec())?;
    let common_name = names.first().map_or("farmgate", String::as_str);
    // A common name is 64 characters at the most (RFC 5280 appendix A.1, ub-common-name).
    params.distinguished_name.push(DnType::CommonName, common_name.chars().take(64).collect::<String>());
    let key = Zeroizing::new(KeyPair::generate()?);
    let certificate = params.self_signed(&*key)?;
    let key = Zeroizing::new(PrivateKeyDer::try_from(key.serialize_der())?);
    Ok(Arc::new(CertifiedKey::new(vec![certificate.der().clone()], any_supported_type(&key)?)))
}
