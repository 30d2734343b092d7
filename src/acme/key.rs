//! The key of a certificate, and the request that is made with it.

use rcgen::{
    CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_RSA_SHA256, RsaKeySize,
};

use zeroize::Zeroizing;

use crate::config::KeyType;

/// Makes a key, in PEM. One of RSA takes seconds.
pub(super) fn generate(key_type: KeyType) -> Result<Zeroizing<String>, rcgen::Error> {
    let key = match key_type {
        KeyType::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
        KeyType::P384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
        KeyType::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
        KeyType::Rsa4096 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096),
    }?;
    Ok(Zeroizing::new(Zeroizing::new(key).serialize_pem()))
}

/// The request for a certificate for `names` (RFC 8555 section 7.4): the names, and nothing that the CA would
/// ignore.
pub(super) fn request(names: &[String], key: &str) -> Result<Vec<u8>, rcgen::Error> {
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name = DistinguishedName::new();
    let key = Zeroizing::new(KeyPair::from_pem(key)?);
    Ok(params.serialize_request(&*key)?.der().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_key_can_be_made_and_can_sign() {
        for key_type in [KeyType::P256, KeyType::P384, KeyType::Rsa2048] {
            let key = generate(key_type).unwrap();
            assert!(!request(&["farm.example".into()], &key).unwrap().is_empty(), "{key_type:?}");
        }
    }
}
