//! The keys of `certs-dev/`, which everybody has.

use aws_lc_rs::digest::{SHA256, digest};

/// SHA-256 of the SubjectPublicKeyInfo of each key that is committed in `certs-dev/`.
/// `certs-dev/make` prints these lines. The CA is among them: as `admin.client_ca` it would let
/// everybody in.
pub const THROW_AWAY_KEYS: &[[u8; 32]] = &[
    // ca.key
    hex(b"7c30f8becac097a92cc0467e617b5b1e3432371662867ed7b3b629e565ddf566"),
    // localhost.key
    hex(b"b76b482d58b568e47728ad69aa5f4f75dc49d52b638b0cbf241bfd1495d6c36c"),
    // client.key
    hex(b"35b451e7d65b8e303f0df18d5869a61f816fe70a9e11c6f10ae6a256e446d43f"),
];

/// Whether the key in this DER-encoded SubjectPublicKeyInfo is one that everybody has.
pub fn is_throw_away(public_key_info: &[u8]) -> bool {
    let fingerprint = digest(&SHA256, public_key_info);
    THROW_AWAY_KEYS.iter().any(|known| known == fingerprint.as_ref())
}

/// So that the list above can be read beside what `sha256sum` prints. A bad digit fails the build.
const fn hex(text: &[u8; 64]) -> [u8; 32] {
    let mut bytes = [0; 32];
    let mut index = 0;
    while index < 32 {
        bytes[index] = digit(text[2 * index]) << 4 | digit(text[2 * index + 1]);
        index += 1;
    }
    bytes
}

#[expect(clippy::panic, reason = "evaluated when the program is compiled, never when it runs")]
const fn digit(letter: u8) -> u8 {
    match letter {
        b'0'..=b'9' => letter - b'0',
        b'a'..=b'f' => letter - b'a' + 10,
        _ => panic!("not a hexadecimal digit"),
    }
}

#[cfg(test)]
mod tests {
    use x509_parser::pem::parse_x509_pem;

    use super::*;

    #[test]
    fn the_list_holds_exactly_the_keys_in_certs_dev() {
        let files: [&[u8]; 3] = [
            include_bytes!("../../certs-dev/ca.crt"),
            include_bytes!("../../certs-dev/localhost.crt"),
            include_bytes!("../../certs-dev/client.crt"),
        ];
        assert_eq!(files.len(), THROW_AWAY_KEYS.len());

        for (file, known) in files.into_iter().zip(THROW_AWAY_KEYS) {
            let (_, pem) = parse_x509_pem(file).unwrap();
            let public_key_info = pem.parse_x509().unwrap().tbs_certificate.subject_pki.raw;

            assert_eq!(digest(&SHA256, public_key_info).as_ref(), known);
            assert!(is_throw_away(public_key_info));
        }
    }
}
