//! PKCS#12 (RFC 7292): a key and its certificate in one file, as browsers import them.

use aws_lc_rs::digest;
use p12_keystore::{
    Certificate, EncryptionAlgorithm, KeyStore, KeyStoreEntry, MacAlgorithm, PrivateKey as StoredKey,
    PrivateKeyChain,
};

use super::error::CaError;
use super::keys::PrivateKey;
use super::names::Name;
use super::password::Password;

/// How often the password is hashed. A password that was generated here needs none of it; one that a person
/// thought of does. Importers take up to some hundred thousand.
const ITERATIONS: u32 = 100_000;

/// What the file is encrypted with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// PBES2 with AES-256-CBC and PBKDF2, HMAC-SHA256 for both it and the whole: what OpenSSL 3 writes by default.
    /// Firefox, Chromium, Windows 10 and later. macOS 26 takes it once it is told what it is (`security import -f
    /// pkcs12`).
    #[default]
    Modern,
    /// Triple-DES and SHA-1, with a key derivation of the nineties, for importers that call the password of the
    /// other wrong: macOS through 14, old Windows and Android. Weaker: the cipher has 112 bits of strength at most
    /// and blocks of 64 bits, and guessing passwords is cheap.
    Legacy,
}

/// Writes the file. The CA's certificate is not in it: Windows and macOS would offer to trust it for everything,
/// and the gate has it.
pub(super) fn encode(
    name: &Name,
    key: &PrivateKey,
    certificate: &[u8],
    password: &Password,
    format: Format,
) -> Result<Vec<u8>, CaError> {
    let refused = CaError::crypto::<p12_keystore::error::Error>;
    let stored = StoredKey::from_der(&key.pkcs8).map_err(refused("put a key into PKCS#12"))?;
    let leaf = Certificate::from_der(certificate).map_err(refused("put a certificate into PKCS#12"))?;
    // Any octets do; they tie the key to its certificate.
    let id = digest::digest(&digest::SHA256, certificate).as_ref().to_vec();
    let mut store = KeyStore::new();
    store.add_entry(
        &friendly_name(name),
        KeyStoreEntry::PrivateKeyChain(PrivateKeyChain::new(id, stored, [leaf])),
    );
    let (encryption, mac) = match format {
        Format::Modern => (EncryptionAlgorithm::PbeWithHmacSha256AndAes256, MacAlgorithm::HmacSha256),
        Format::Legacy => (EncryptionAlgorithm::PbeWithShaAnd3KeyTripleDesCbc, MacAlgorithm::HmacSha1),
    };
    store
        .writer(password.as_str())
        .encryption_algorithm(encryption)
        .encryption_iterations(ITERATIONS)
        .mac_algorithm(mac)
        .mac_iterations(ITERATIONS)
        .write()
        .map_err(refused("write PKCS#12"))
}

/// It is a BMPString there: what lies beyond the basic plane has to be left out.
fn friendly_name(name: &Name) -> String {
    name.as_str().chars().map(|character| if character > '\u{ffff}' { '?' } else { character }).collect()
}
