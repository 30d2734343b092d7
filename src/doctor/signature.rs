//! The `Signature` line of a narinfo: who signed what, and whether it holds. The rules are those of Guix's
//! `valid-narinfo?` (guix/narinfo.scm) and `signature-case` (guix/pki.scm).

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::ecdsa::{self, PublicKey};
use super::narinfo::{self, Narinfo};
use super::sexp::Sexp;

/// What has to stand above the signature, or it is none.
const MUST_BE_SIGNED: [&str; 3] = ["StorePath", "NarHash", "References"];

/// The public key of a farm, as `/etc/guix/signing-key.pub` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key(Sexp);

impl Key {
    /// Reads `(public-key …)`.
    ///
    /// # Errors
    ///
    /// In words: what was expected.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        Self::of(&Sexp::parse(text)?)
    }

    fn of(sexp: &Sexp) -> Result<Self, String> {
        match sexp.name() {
            Some(b"public-key") => Ok(Self(sexp.clone())),
            _ => Err("expected (public-key …)".into()),
        }
    }

    fn point(&self) -> Result<PublicKey, String> {
        let ecc = self.0.find("ecc").ok_or("the key is none of ECC, which is all that is checked here")?;
        match ecc.value("curve") {
            Some(b"Ed25519") => {}
            _ => {
                return Err(
                    "the key is on another curve than Ed25519, which is all that is checked here".into()
                );
            }
        }
        let q = ecc.value("q").ok_or("the key has no q")?;
        PublicKey::read(q).ok_or_else(|| "the q of the key is no point of the curve".into())
    }
}

impl fmt::Display for Key {
    /// Enough to tell keys apart: the kind, and the first bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.value("q") {
            Some(q) => write!(f, "{}…", hex::encode_upper(&q[..q.len().min(8)])),
            None => f.write_str("of another kind"),
        }
    }
}

/// What makes a signature worth nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Invalid {
    /// There is no `Signature` line.
    Unsigned,
    /// The line, or what is in it, cannot be read.
    Malformed(String),
    /// A field that clients rely on stands below the signature.
    NotCovered(&'static str),
    /// It is another key's.
    OtherKey(Key),
    /// It was made for another text: something above it was changed after it was signed.
    OtherText,
    /// The numbers are wrong.
    Forged,
}

/// Whether `narinfo` is signed, with `key` where there is one; else with the key that the signature itself names. That
/// key is returned.
pub(super) fn verify(narinfo: &Narinfo<'_>, key: Option<&Key>) -> Result<Key, Invalid> {
    let line = narinfo.signature.ok_or(Invalid::Unsigned)?;
    let signature = read(line).map_err(Invalid::Malformed)?;
    for field in MUST_BE_SIGNED {
        let mut lines = narinfo.signed.lines();
        if !lines.any(|line| narinfo::field(line).is_some_and(|(name, _)| name == field)) {
            return Err(Invalid::NotCovered(field));
        }
    }
    let signer = signature.find("public-key").ok_or("it names no public key");
    let signer = signer.map_err(str::to_owned).and_then(Key::of).map_err(Invalid::Malformed)?;
    if key.is_some_and(|key| *key != signer) {
        return Err(Invalid::OtherKey(signer));
    }
    let numbers = numbers(&signature).map_err(Invalid::Malformed)?;
    let hash = digest(&SHA256, narinfo.signed.as_bytes());
    if signature.find("data").and_then(hash_of) != Some(hash.as_ref()) {
        return Err(Invalid::OtherText);
    }
    let hash = hash.as_ref().try_into().map_err(|_| Invalid::OtherText)?;
    let point = signer.point().map_err(Invalid::Malformed)?;
    if !point.verifies(hash, &numbers) {
        return Err(Invalid::Forged);
    }
    Ok(signer)
}

/// `1;HOST;BASE64`: the host is whoever signed it says, and means nothing.
fn read(line: &str) -> Result<Sexp, String> {
    let [version, _, encoded] = line.split(';').collect::<Vec<_>>()[..] else {
        return Err("expected VERSION;HOST;SIGNATURE".into());
    };
    if version != "1" {
        return Err("expected version 1".into());
    }
    let bytes = STANDARD.decode(encoded).map_err(|error| format!("expected base64: {error}"))?;
    let sexp = Sexp::parse(&bytes)?;
    match sexp.name() {
        Some(b"signature") => Ok(sexp),
        _ => Err("expected (signature …)".into()),
    }
}

/// The digest in `(data … (hash sha256 #…#))`.
fn hash_of(data: &Sexp) -> Option<&[u8]> {
    match data.find("hash")?.rest() {
        [algorithm, digest] if algorithm.atom() == Some(b"sha256") => digest.atom(),
        _ => None,
    }
}

fn numbers(signature: &Sexp) -> Result<ecdsa::Signature, String> {
    let value = signature.find("sig-val").ok_or("there is no (sig-val …)")?;
    let value = value.find("ecdsa").ok_or("it is not of ECDSA, which is all that is checked here")?;
    let number = |name| value.value(name).map(<[u8]>::to_vec).ok_or_else(|| format!("it has no {name}"));
    Ok(ecdsa::Signature { r: number("r")?, s: number("s")? })
}
