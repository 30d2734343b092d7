//! The client CA: the certificates whose word about administrators counts.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::certificate::Certificate;
use super::closed::{self, Closed};

/// Reads the trust anchors, at least one. A file with one certificate that cannot serve as a CA is refused as
/// a whole: whoever put it there believes in it, and should hear of it.
pub(super) fn load(path: &Path) -> Result<Vec<Certificate>, Closed> {
    let contents = closed::read(path)?;
    let mut anchors = Vec::new();
    for (index, der) in CertificateDer::pem_slice_iter(&contents).enumerate() {
        let which = index + 1;
        let der = der.map_err(|error| {
            Closed::invalid(path, format!("certificate {which}: {}", closed::pem_reason(&error)))
        })?;
        let anchor = Certificate::parse(&der).map_err(|_| {
            Closed::invalid(path, format!("certificate {which}: this is no X.509 certificate"))
        })?;
        if let Some(reason) = unfit(&anchor) {
            let subject = anchor.subject_text();
            return Err(Closed::invalid(path, format!("certificate {which} ({subject}) {reason}")));
        }
        anchors.push(anchor);
    }
    if anchors.is_empty() {
        return Err(Closed::invalid(path, "there is no \"-----BEGIN CERTIFICATE-----\" in it"));
    }
    Ok(anchors)
}

/// A warning for each anchor that is past its date: nobody whom it vouches for gets in.
pub(super) fn expired(path: &Path, anchors: &[Certificate], now: i64) -> Vec<String> {
    let past = anchors.iter().filter(|anchor| anchor.not_after < now);
    past.map(|anchor| {
        let subject = anchor.subject_text();
        format!(
            "{}: the CA certificate ({subject}) has expired, and with it every certificate it made",
            path.display()
        )
    })
    .collect()
}

/// What keeps a certificate from being a trust anchor, dates aside: those are looked at with each verdict.
fn unfit(anchor: &Certificate) -> Option<String> {
    if let Some(what) = &anchor.not_understood {
        return Some(format!("has {what}, which this gate does not process"));
    }
    // Before version 3 nothing says that a certificate is a CA's. A client certificate from Cuirass's script
    // put here by mistake is told from an old root by not being its own issuer.
    let is_ca = match &anchor.basic_constraints {
        Some(constraints) => constraints.ca,
        None => anchor.is_version_1 && anchor.issuer == anchor.subject,
    };
    if !is_ca {
        return Some("is not a CA: it has no basicConstraints with CA:TRUE".into());
    }
    if anchor.key_usage.is_some_and(|usage| !usage.key_cert_sign()) {
        return Some("may not sign certificates: its keyUsage lacks keyCertSign".into());
    }
    if anchor.allows_client_auth == Some(false) {
        return Some("may not issue client certificates: its extendedKeyUsage lacks clientAuth".into());
    }
    match anchor.rsa_bits {
        Some(bits) if bits < 2048 => Some(format!("has an RSA key of {bits} bits; 2048 are the least")),
        _ if !anchor.public_key.is_known() => {
            Some("has a key of a kind that this gate cannot verify with".into())
        }
        _ => None,
    }
}
