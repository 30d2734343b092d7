//! The certificates of one demo: a CA, made for it and gone with it, and what it issues.
//!
//! The CA plays both parts at once, the one that vouches for the server and the one that vouches
//! for admins. On a real farm those are two.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, Error, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};

/// Who the demo's admin is: the common name on the client certificate.
pub const ADMIN: &str = "demo-admin";

const DAY: Duration = Duration::from_secs(86_400);

/// A certificate and its key, both PEM.
pub struct Certified {
    /// The certificate, without its issuer.
    pub certificate: String,
    /// Its private key, PKCS#8.
    pub key: String,
}

/// All that the demo needs.
pub struct Certificates {
    /// The CA's certificate, PEM. Its key was dropped after the last signature.
    pub ca: String,
    /// For the gate: `localhost` and both loopback addresses.
    pub server: Certified,
    /// For the person trying it out.
    pub admin: Certified,
}

impl Certificates {
    /// Makes them all anew, valid for a month.
    pub fn make() -> Result<Self, Error> {
        let mut params = params("farmgate demo CA", &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca = CertifiedIssuer::self_signed(params, new_key()?)?;

        let server =
            params_for(ExtendedKeyUsagePurpose::ServerAuth, "localhost", &["localhost", "127.0.0.1", "::1"])?;
        let admin = params_for(ExtendedKeyUsagePurpose::ClientAuth, ADMIN, &[])?;
        Ok(Self { server: issue(server, &ca)?, admin: issue(admin, &ca)?, ca: ca.pem() })
    }
}

fn issue(params: CertificateParams, ca: &CertifiedIssuer<'_, KeyPair>) -> Result<Certified, Error> {
    let key = new_key()?;
    let certificate = params.signed_by(&key, ca)?;
    Ok(Certified { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn params_for(
    purpose: ExtendedKeyUsagePurpose,
    name: &str,
    subjects: &[&str],
) -> Result<CertificateParams, Error> {
    let mut params = params(name, subjects)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn params(name: &str, subjects: &[&str]) -> Result<CertificateParams, Error> {
    // rcgen sorts addresses from names.
    let subjects: Vec<_> = subjects.iter().map(|subject| (*subject).to_owned()).collect();
    let mut params = CertificateParams::new(subjects)?;
    params.distinguished_name.push(DnType::CommonName, name);
    // A day back, for clocks that differ: the browser may sit in another machine's container.
    params.not_before = (SystemTime::now() - DAY).into();
    params.not_after = (SystemTime::now() + 30 * DAY).into();
    Ok(params)
}

fn new_key() -> Result<KeyPair, Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
}

#[cfg(test)]
mod tests {
    use x509_parser::pem::parse_x509_pem;

    use super::*;

    #[test]
    fn the_ca_signed_what_the_server_and_the_admin_show() {
        let made = Certificates::make().unwrap();
        let (_, ca) = parse_x509_pem(made.ca.as_bytes()).unwrap();
        let ca = ca.parse_x509().unwrap();

        for (leaf, server) in [(&made.server, true), (&made.admin, false)] {
            let (_, pem) = parse_x509_pem(leaf.certificate.as_bytes()).unwrap();
            let certificate = pem.parse_x509().unwrap();
            let usage = certificate.extended_key_usage().unwrap().unwrap().value;

            certificate.verify_signature(Some(ca.public_key())).unwrap();
            assert!(certificate.validity().is_valid());
            assert_eq!((usage.server_auth, usage.client_auth), (server, !server));
            assert_eq!(certificate.issuer(), ca.subject());
            assert_eq!(
                KeyPair::from_pem(&leaf.key).unwrap().public_key_raw(),
                &*certificate.public_key().subject_public_key.data
            );
        }
    }
}
