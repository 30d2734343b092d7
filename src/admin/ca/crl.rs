//! The revocation list for others (RFC 5280 section 5). The gate goes by the register.

use rcgen::{CertificateRevocationListParams, RevokedCertParams, SerialNumber};

use super::dates;
use super::der::{self, ISSUER_OF_LIST};
use super::error::CaError;
use super::keys::PrivateKey;
use super::leaf::Signer;
use super::register::Register;
use super::store::{Folder, LIST};
use crate::files::{self, PUBLIC};

/// How long a list is good. Each command that issues or revokes writes another; who checks lists on a farm
/// where that does not happen for a year has `revoke` write one.
const YEAR: i64 = 365 * 24 * 60 * 60;

/// Writes `ca.crl`. The caller holds the lock of the register, so that lists come in order.
pub(super) fn write(
    signer: &Signer,
    ca: &PrivateKey,
    register: &Register,
    folder: &Folder,
) -> Result<(), CaError> {
    let list = make(signer, ca, register)?;
    let path = folder.file(LIST);
    files::replace(&path, list.as_bytes(), PUBLIC).map_err(CaError::file(&path, "written"))
}

pub(super) fn make(signer: &Signer, ca: &PrivateKey, register: &Register) -> Result<String, CaError> {
    // rcgen would say so too, but it is not told what the CA may do.
    if signer.certificate.key_usage.is_some_and(|usage| !usage.crl_sign()) {
        return Err(CaError::Crypto {
            what: "sign a revocation list",
            reason: "the keyUsage of the CA lacks cRLSign".into(),
        });
    }
    let now = dates::now();
    let revoked = register.entries.iter().filter_map(|entry| {
        let revoked = entry.revoked?;
        // The register takes no entry whose serial number is not hexadecimal.
        let serial = hex::decode(&entry.serial).ok()?;
        Some(dates::asn1(revoked.at).map(|at| RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: at.to_datetime(),
            reason_code: revoked.reason.for_list(),
            invalidity_date: None,
        }))
    });
    let params = CertificateRevocationListParams {
        this_update: dates::asn1(now)?.to_datetime(),
        next_update: dates::asn1(now + YEAR)?.to_datetime(),
        crl_number: SerialNumber::from(register.revision),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect::<Result<_, _>>()?,
        key_identifier_method: signer.key_id_method(),
    };
    let composed =
        params.signed_by(&signer.issuer(ca)).map_err(CaError::crypto("compose a revocation list"))?;
    let signed = der::sign(composed.der(), ISSUER_OF_LIST, &signer.certificate.subject, &ca.pair)?;
    Ok(der::pem("X509 CRL", &signed))
}
