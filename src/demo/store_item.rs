//! The demo's one store item: a small file tree, its NAR, and the narinfo that vouches for it.

use std::io::{self, Write};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};

use super::nar::{self, Node};
use crate::nix_base32;

/// Where a Guix store lives.
pub const STORE: &str = "/gnu/store";

/// The public half of the key that signed [`SIGNED`]. The secret half was thrown away once that was
/// done: nobody who puts this key in an ACL trusts anything but this one item.
pub const SIGNING_KEY: &str = include_str!("assets/signing-key.pub");

const NAME: &str = "farmgate-demo-1.0";

/// The part of the narinfo that is signed, and its signature. Guix's is ECDSA (RFC 6979) over the
/// curve Ed25519, which is not EdDSA: making it here would take cryptography of our own, so
/// libgcrypt made it. `certs-dev/make-demo-assets.scm` writes this file and [`SIGNING_KEY`] anew
/// after a change to the item.
const SIGNED: &str = include_str!("assets/signed.narinfo");

/// A store item ready to be published.
pub struct StoreItem {
    /// Its name in the store: `HASH-NAME`.
    pub base: String,
    /// What to ask for in front of `.narinfo`.
    pub hash_part: String,
    /// The archive as it is.
    pub nar: Bytes,
    /// The archive compressed.
    pub gzip: Bytes,
    /// SHA-256 of the archive, in hexadecimal, as `sha256sum` prints it.
    pub nar_sha256: String,
    /// The whole narinfo, as `guix publish` renders it.
    pub narinfo: Bytes,
}

impl StoreItem {
    /// Packs the demo's package. The same each time, but for what the compressor makes of it.
    pub fn pack() -> io::Result<Self> {
        let nar = nar::serialise(&tree());
        let sha256 = sha256(&nar);
        let base = store_name(NAME, &sha256);
        let gzip = compress(&nar)?;

        // What says where to get it comes after the signature, as `guix publish` has it: so sizes
        // and compressions can change and nothing needs to be signed again.
        let narinfo = format!(
            "{SIGNED}URL: nar/gzip/{base}\nCompression: gzip\nFileSize: {}\n\
             URL: nar/{base}\nCompression: none\nFileSize: {}\n",
            gzip.len(),
            nar.len(),
        );

        Ok(Self {
            hash_part: base.chars().take_while(|c| *c != '-').collect(),
            base,
            nar: nar.into(),
            gzip: gzip.into(),
            nar_sha256: hex::encode(&sha256),
            narinfo: narinfo.into(),
        })
    }
}

fn tree() -> Node {
    let program = Node::File { contents: include_bytes!("assets/item/hello-farm"), executable: true };
    let readme = Node::File { contents: include_bytes!("assets/item/README"), executable: false };
    let doc = Node::Directory(vec![("farmgate-demo", Node::Directory(vec![("README", readme)]))]);
    let share = Node::Directory(vec![("doc", doc), ("hello", Node::Symlink("../bin/hello-farm"))]);
    Node::Directory(vec![("bin", Node::Directory(vec![("hello-farm", program)])), ("share", share)])
}

/// The name that the store itself gives to a tree added to it with this NAR hash and no references.
fn store_name(name: &str, nar_sha256: &[u8]) -> String {
    let fingerprint = format!("source:sha256:{}:{STORE}:{name}", hex::encode(nar_sha256));
    let mut folded = [0; 20];
    for (index, byte) in sha256(fingerprint.as_bytes()).into_iter().enumerate() {
        folded[index % 20] ^= byte;
    }
    format!("{}-{name}", nix_base32::encode(&folded))
}

fn compress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    /// The asset was computed by the Scheme script, with a NAR writer and a base 32 of its own.
    #[test]
    fn what_was_signed_is_what_the_code_packs() {
        let item = StoreItem::pack().unwrap();
        let (text, _) = SIGNED.split_once("Signature:").unwrap();

        let expected = format!(
            "StorePath: {STORE}/{}\nNarHash: sha256:{}\nNarSize: {}\nReferences: \n",
            item.base,
            nix_base32::encode(&sha256(&item.nar)),
            item.nar.len(),
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn the_signature_is_over_the_text_above_it_and_by_the_published_key() {
        let (text, signature) = SIGNED.split_once("Signature: ").unwrap();
        let fields: Vec<_> = signature.trim_end().split(';').collect();
        let sexp = String::from_utf8(base64(fields[2])).unwrap();

        assert_eq!(fields[0], "1");
        assert!(sexp.contains(&hex::encode_upper(sha256(text.as_bytes()))), "{sexp}");
        assert_eq!(words(&sexp[sexp.find("(public-key").unwrap()..]), words(&format!("{SIGNING_KEY})")));
    }

    #[test]
    fn the_narinfo_says_how_large_each_form_is() {
        let item = StoreItem::pack().unwrap();
        let narinfo = String::from_utf8(item.narinfo.to_vec()).unwrap();
        let mut unpacked = Vec::new();
        GzDecoder::new(&item.gzip[..]).read_to_end(&mut unpacked).unwrap();

        assert_eq!(unpacked, item.nar);
        assert!(narinfo.contains(&format!("gzip\nFileSize: {}\n", item.gzip.len())));
        assert!(narinfo.contains(&format!("none\nFileSize: {}\n", item.nar.len())));
    }

    fn words(text: &str) -> String {
        text.split_whitespace().collect()
    }

    fn base64(text: &str) -> Vec<u8> {
        const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let (mut bytes, mut bits, mut have) = (Vec::new(), 0_u32, 0);
        for digit in text.bytes().filter(|digit| *digit != b'=') {
            bits = bits << 6 | DIGITS.iter().position(|known| *known == digit).unwrap() as u32;
            have += 6;
            if have >= 8 {
                have -= 8;
                bytes.push((bits >> have) as u8);
            }
        }
        bytes
    }
}
