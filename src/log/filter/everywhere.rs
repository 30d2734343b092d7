//! Masking whatever is an address, wherever it stands.

use std::io::{self, Write};

use super::{Fill, Pieces, Rule};
use crate::log::finder::addresses;

pub(super) struct Everywhere<'a> {
    rule: &'a Rule,
}

impl<'a> Everywhere<'a> {
    pub(super) fn new(rule: &'a Rule) -> Self {
        Self { rule }
    }
}

impl Pieces for Everywhere<'_> {
    fn take(&mut self, piece: &[u8], fill: Fill, output: &mut dyn Write) -> io::Result<usize> {
        let end = match (fill, piece.iter().rposition(|&byte| byte == b'\n')) {
            (Fill::Last, _) => piece.len(),
            (_, Some(newline)) => newline + 1,
            (Fill::Partly, None) => 0,
            // No address goes on behind white space or a quote. A word of this length is none.
            (Fill::Full, None) => {
                piece.iter().rposition(|&byte| ends_word(byte)).map_or(piece.len(), |at| at + 1)
            }
        };
        let mut written = 0;
        for (place, address) in addresses(&piece[..end]) {
            output.write_all(&piece[written..place.start])?;
            write!(output, "{}", self.rule.apply(address))?;
            written = place.end;
        }
        output.write_all(&piece[written..end])?;
        Ok(end)
    }
}

/// Whether what stands behind this byte can be read without knowing what is before it.
fn ends_word(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b',' | b';' | b'/' | b'&')
}
