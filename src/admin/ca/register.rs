//! What is in the register: every certificate that was issued, and which of them are revoked.
//!
//! A text file. The first line says whose it is, then there is one line of JSON per certificate, and the last
//! line has the SHA-256 of all before it:
//!
//! ```text
//! {"farmgate_register":1,"revision":3,"issuer":"3019…"}
//! {"serial":"5F…","name":"alice","dates":{"not_before":1795380000,"not_after":1826916300},"key":"c0ff…"}
//! {"serial":"91…","name":"bob","dates":{…},"key":"…","revoked":{"at":1795390000,"reason":"superseded"}}
//! {"sha256":"…"}
//! ```
//!
//! Whatever is cut off or changed shows, and then nothing of it counts: the gate closes rather than go by a
//! register that may have lost a revocation. What does not show is an older register put in place of a newer
//! one, as by restoring a backup.

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::dates::Validity;
use super::reason::Reason;

/// The one format there is.
const FORMAT: u32 = 1;

/// The whole of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Register {
    /// Counts the times it was written: the number of the revocation list as well.
    pub(super) revision: u64,
    /// The subject of the CA in DER: with the serial number it says which certificate is meant.
    pub(super) issuer: Vec<u8>,
    /// In the order of issuing. Nothing is ever taken out.
    pub(super) entries: Vec<Entry>,
}

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// As [`serial_text`] has it.
    pub(super) serial: String,
    /// None, like dates and key, for one that was issued before the CA was taken over and revoked here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) dates: Option<Validity>,
    /// SHA-256 of its `SubjectPublicKeyInfo`, in hexadecimal: a key that was compromised is not certified again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) revoked: Option<Revocation>,
}

/// When and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Revocation {
    pub(super) at: i64,
    pub(super) reason: Reason,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    farmgate_register: u32,
    revision: u64,
    issuer: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Footer {
    sha256: String,
}

impl Register {
    /// An empty one.
    pub(super) fn new(issuer: &[u8]) -> Self {
        Self { revision: 1, issuer: issuer.to_vec(), entries: Vec::new() }
    }

    /// Reads one, or says what is wrong with it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = checked(bytes)?;
        let mut lines = text.lines();
        let header: Header = line(1, lines.next().unwrap_or_default())?;
        if header.farmgate_register != FORMAT {
            return Err(format!(
                "its format is {}, and this farmgate knows {FORMAT} only: a newer one wrote it",
                header.farmgate_register
            ));
        }
        let issuer = hex::decode(&header.issuer).map_err(|_| "line 1: the issuer is not hexadecimal")?;
        let mut entries = Vec::new();
        for (index, text) in lines.enumerate() {
            let entry: Entry = line(index + 2, text)?;
            if serial_text(&entry.serial).as_ref() != Some(&entry.serial) {
                return Err(format!("line {}: \"{}\" is not a serial number", index + 2, entry.serial));
            }
            entries.push(entry);
        }
        Ok(Self { revision: header.revision, issuer, entries })
    }

    /// As it is written.
    pub(super) fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let header =
            Header { farmgate_register: FORMAT, revision: self.revision, issuer: hex::encode(&self.issuer) };
        let mut text = serde_json::to_string(&header)?;
        text.push('\n');
        for entry in &self.entries {
            text.push_str(&serde_json::to_string(entry)?);
            text.push('\n');
        }
        let footer = Footer { sha256: sha256(text.as_bytes()) };
        text.push_str(&serde_json::to_string(&footer)?);
        text.push('\n');
        Ok(text.into_bytes())
    }
}

/// The lines that the checksum vouches for.
fn checked(bytes: &[u8]) -> Result<&str, String> {
    let cut_off = || "its last line, the checksum, is missing: it was cut off".to_owned();
    let without_newline = bytes.strip_suffix(b"\n").ok_or_else(cut_off)?;
    let end = without_newline.iter().rposition(|&byte| byte == b'\n').ok_or_else(cut_off)? + 1;
    let (contents, last) = bytes.split_at(end);
    // Compared as written: nothing else than what `encode` writes is a checksum.
    let footer = Footer { sha256: sha256(contents) };
    let expected = serde_json::to_string(&footer).map_err(|error| error.to_string())?;
    if last.strip_suffix(b"\n") != Some(expected.as_bytes()) {
        return Err(match serde_json::from_slice::<Footer>(last) {
            Ok(_) => "its contents do not go with its checksum: it was changed or damaged".into(),
            Err(_) => cut_off(),
        });
    }
    std::str::from_utf8(contents).map_err(|_| "it is not UTF-8".into())
}

fn line<'a, T: Deserialize<'a>>(number: usize, text: &'a str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| format!("line {number}: {error}"))
}

/// A serial number as it is compared, from how people write it: `5F:03…`, `0x5f03…` or `5F03…` becomes
/// `5F03…`, with an even number of digits and no zero octets in front, as OpenSSL prints it.
pub(super) fn serial_text(written: &str) -> Option<String> {
    let digits = written.strip_prefix("0x").or(written.strip_prefix("0X")).unwrap_or(written);
    let digits: String = digits.chars().filter(|&character| character != ':').collect();
    if digits.is_empty() || digits.len() > 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let significant = digits.trim_start_matches('0').to_ascii_uppercase();
    Some(match significant.len() {
        0 => "00".into(),
        odd if odd % 2 == 1 => format!("0{significant}"),
        _ => significant,
    })
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}
