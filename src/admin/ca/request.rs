//! Certificate requests (PKCS#10, RFC 2986): making them, and refusing bad ones.

use std::path::Path;

use rcgen::{CertificateParams, DistinguishedName, DnType};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer;

use super::error::CaError;
use super::files;
use super::keys::{PrivateKey, PublicKey};
use super::names::Name;
use crate::admin::signature::{PublicKey as Verifier, Signed};
use crate::tls::dev_keys;

/// What is taken from a request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) key: PublicKey,
    pub(super) common_name: Option<String>,
}

impl Request {
    /// The common name, if it can be a name.
    pub(super) fn name(&self) -> Result<Name, CaError> {
        match &self.common_name {
            Some(name) => Ok(name.parse()?),
            None => Err(CaError::Argument(
                "the request has no common name: say whose it is, with \"issue NAME --csr FILE\"".into(),
            )),
        }
    }
}

/// Reads a request in PEM or DER, and refuses it if it is not a good one.
pub(super) fn read(path: &Path) -> Result<Request, CaError> {
    let contents = files::read(path)?;
    parse(&contents).map_err(|reason| CaError::refused(path, reason))
}

/// The same for bytes; the error is for people.
pub(super) fn parse(contents: &[u8]) -> Result<Request, String> {
    const SEQUENCE: u8 = 0x30;
    let der = if contents.first() == Some(&SEQUENCE) {
        contents.to_vec()
    } else {
        let (_, pem) = parse_x509_pem(contents)
            .map_err(|_| "expected a certificate request in PEM (\"BEGIN CERTIFICATE REQUEST\") or DER")?;
        match pem.label.as_str() {
            "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => pem.contents,
            label if label.ends_with("PRIVATE KEY") => {
                return Err("this is a private key, which should never leave the machine of its owner; \
                            expected a certificate request"
                    .into());
            }
            label => return Err(format!("expected a certificate request, and found \"{label}\"")),
        }
    };
    let (Ok(([], request)), Some(signed)) = (X509CertificationRequest::from_der(&der), Signed::parse(&der))
    else {
        return Err("this is no certificate request".into());
    };
    let info = &request.certification_request_info;
    let key = PublicKey::accept(&info.subject_pki)?;
    if dev_keys::is_throw_away(info.subject_pki.raw) {
        return Err("its key is published with farmgate's source: everybody has it".into());
    }
    // That whoever asks has the key. With the algorithms of the gate: nothing with MD5 or SHA-1.
    if !Verifier::parse(info.subject_pki.raw).is_some_and(|verifier| verifier.made(&signed)) {
        return Err(
            "it is not signed with its own key, or with an algorithm that is too weak (SHA-256, 384 \
                    or 512 is needed)"
                .into(),
        );
    }
    let common_name = match info.subject.iter_common_name().last() {
        None => None,
        Some(attribute) => Some(
            attribute
                .as_str()
                .map_err(|_| "its common name is in an encoding that is not read here; UTF-8 is")?
                .to_owned(),
        ),
    };
    Ok(Request { key, common_name })
}

/// A request for `name`, in PEM: the name, the key, and nothing else.
pub(super) fn make(name: &Name, key: &PrivateKey) -> Result<String, CaError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name.as_str());
    let request = params.serialize_request(&key.pair).map_err(CaError::crypto("compose a request"))?;
    request.pem().map_err(CaError::crypto("write a request"))
}
