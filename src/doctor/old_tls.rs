//! Whether a server still speaks TLS 1.0 or 1.1. rustls cannot ask: it does not know them. A ClientHello and the first
//! record that comes back are enough.

use std::io::{Read, Write};

use rustls::pki_types::ServerName;

use super::door::Door;
use super::stream::Timed;

/// A version that RFC 8996 has put an end to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Old {
    Tls10,
    Tls11,
}

impl Old {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tls10 => "TLS 1.0",
            Self::Tls11 => "TLS 1.1",
        }
    }

    fn number(self) -> [u8; 2] {
        match self {
            Self::Tls10 => [3, 1],
            Self::Tls11 => [3, 2],
        }
    }
}

/// Whether the server agrees to `version`. One that says nothing does not.
pub(super) fn accepts(door: &Door, version: Old) -> bool {
    let hello = client_hello(version, &door.name);
    // Record header, handshake header, and the version that was chosen.
    let mut answer = [0; 11];
    let said = Timed::connect(door.address, door.patience)
        .and_then(|mut tcp| tcp.write_all(&hello).and_then(|()| tcp.read_exact(&mut answer)));
    said.is_ok() && agrees(&answer, version)
}

/// A handshake record (22) that begins with a ServerHello (2) of that version.
fn agrees(answer: &[u8; 11], version: Old) -> bool {
    answer[0] == 22 && answer[5] == 2 && answer[9..11] == version.number()
}

/// RFC 4346 section 7.4.1.2, with what servers of today look for: a name, curves, and that renegotiation is secure.
fn client_hello(version: Old, name: &ServerName<'_>) -> Vec<u8> {
    /// ECDHE and RSA, with AES and CBC: what these versions have; last, TLS_EMPTY_RENEGOTIATION_INFO_SCSV.
    const SUITES: [u16; 9] = [0xc00a, 0xc009, 0xc014, 0xc013, 0x0039, 0x0033, 0x0035, 0x002f, 0x00ff];
    let mut extensions = Vec::new();
    if let ServerName::DnsName(name) = name {
        let name = name.as_ref().as_bytes();
        let entry = [&[0][..], &with_length(name)].concat();
        extension(&mut extensions, 0, &with_length(&entry));
    }
    // secp256r1, secp384r1, x25519; points uncompressed.
    extension(&mut extensions, 10, &with_length(&[0, 23, 0, 24, 0, 29]));
    extension(&mut extensions, 11, &[1, 0]);

    let mut hello = version.number().to_vec();
    // Nothing is encrypted with it.
    hello.extend([0x5a; 32]);
    // No session.
    hello.push(0);
    hello.extend(with_length(&SUITES.map(u16::to_be_bytes).concat()));
    // No compression.
    hello.extend([1, 0]);
    hello.extend(with_length(&extensions));

    let mut handshake = vec![1, 0];
    handshake.extend(with_length(&hello));
    let mut record = vec![22, 3, 1];
    record.extend(with_length(&handshake));
    record
}

fn extension(extensions: &mut Vec<u8>, number: u16, value: &[u8]) {
    extensions.extend(number.to_be_bytes());
    extensions.extend(with_length(value));
}

/// With two bytes of length before it. All that is written here is far below 64 KiB.
fn with_length(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_add_up() {
        let name = ServerName::try_from("farm.example").unwrap();
        let hello = client_hello(Old::Tls11, &name);
        assert_eq!(usize::from(u16::from_be_bytes([hello[3], hello[4]])), hello.len() - 5);
        assert_eq!(usize::from(u16::from_be_bytes([hello[7], hello[8]])), hello.len() - 9);
        assert!(hello.windows(12).any(|window| window == b"farm.example"));
    }

    #[test]
    fn only_a_server_hello_of_that_version_agrees() {
        let hello = [22, 3, 2, 0, 60, 2, 0, 0, 56, 3, 2];
        assert!(agrees(&hello, Old::Tls11) && !agrees(&hello, Old::Tls10));
        let alert = [21, 3, 2, 0, 2, 2, 70, 0, 0, 3, 2];
        assert!(!agrees(&alert, Old::Tls11));
    }
}
