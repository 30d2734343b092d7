//! The readers of what a server sends, without the server: for `fuzz/`, and for nobody else.

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use super::http::Connection;
use super::narinfo::Narinfo;
use super::signature::{self, Key};
use super::stream::{Stream, Timed};
use super::{Audience, Finding, nar};

/// What a narinfo says of its nar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promised {
    /// SHA-256 in base 32.
    pub hash: String,
    /// Bytes.
    pub size: u64,
    /// The part of the text that a signature is for.
    pub signed: String,
    /// The signature is good: by the key that was given, else by the one that it names.
    pub is_signed: bool,
}

/// Reads a narinfo of `/gnu/store`, and verifies its signature; with the public key `key`, as `guix archive` writes it.
///
/// # Errors
///
/// In words, for either of them.
pub fn narinfo(text: &str, key: Option<&[u8]>) -> Result<Promised, String> {
    let key = key.map(Key::parse).transpose()?;
    let narinfo = Narinfo::parse(text, "/gnu/store")?;
    Ok(Promised {
        hash: narinfo.nar_hash.to_owned(),
        size: narinfo.nar_size,
        signed: narinfo.signed.to_owned(),
        is_signed: signature::verify(&narinfo, key.as_ref()).is_ok(),
    })
}

/// Unpacks a nar up to `size` bytes and one: how many there are, and their SHA-256 in base 32.
///
/// # Errors
///
/// In words; also for a name of no compression that is known.
pub fn unpack(compression: &str, mut bytes: &[u8], size: u64) -> Result<(u64, String), String> {
    nar::unpack_all(&mut bytes, compression, size, &mut Nobody)
}

/// Reads one answer that is sent over `tcp`, to its end: its status and its body.
///
/// # Errors
///
/// Where it is none, or has more than `longest` bytes.
pub fn answer(tcp: TcpStream, to_head: bool, longest: usize) -> io::Result<(u16, Vec<u8>)> {
    let stream = Stream::Plain(Timed::over(tcp, Duration::from_secs(10)));
    let answer = Connection::new(stream).answer(to_head, longest)?;
    Ok((answer.head.status, answer.body))
}

struct Nobody;

impl Audience for Nobody {
    fn found(&mut self, _: &Finding) {}

    fn progress(&mut self, _: &str, _: u64, _: Option<u64>) {}
}
