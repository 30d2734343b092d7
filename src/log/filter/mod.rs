//! `farmgate anonip`: log lines in, the same lines with masked addresses out.
//!
//! Reads and writes in pieces of one buffer, whatever the length of a line, and touches nothing but addresses: white
//! space and the kind of line ends stay as they are, and so do bytes that are no text in any encoding.

mod columns;
mod everywhere;
mod private;

use std::io::{self, Read, Write};
use std::net::IpAddr;

pub use columns::Columns;
use everywhere::Everywhere;

use super::anonymise::Anonymiser;

/// The buffer. A line that is longer is dealt with in parts.
const BUFFER: usize = 256 * 1024;

/// What an address becomes.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The masks.
    pub anonymiser: Anonymiser,
    /// Added to what is left of an address, unless it would be more than an address can be.
    pub increment: u128,
    /// Private and other special addresses stay as they are.
    pub skip_private: bool,
}

/// Where addresses are looked for.
#[derive(Clone, Debug)]
pub enum Where {
    /// In certain columns, as anonip does it.
    Columns(Columns),
    /// Anywhere.
    Everywhere,
}

/// What became of the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Columns that held something, but no address, and were left as they were.
    pub without_address: u64,
}

/// Copies `input` to `output` with addresses masked. Each piece that is read is written before the next one is waited
/// for, so that it can stand in a pipe.
pub fn filter(input: &mut dyn Read, output: &mut dyn Write, at: &Where, rule: &Rule) -> io::Result<Summary> {
    match at {
        Where::Columns(columns) => {
            let mut lines = columns.lines(rule);
            copy(input, output, &mut lines)?;
            Ok(Summary { without_address: lines.without_address() })
        }
        Where::Everywhere => {
            copy(input, output, &mut Everywhere::new(rule))?;
            Ok(Summary::default())
        }
    }
}

/// Deals with the input piece by piece.
trait Pieces {
    /// Writes what `piece` becomes, as far as that can be said without knowing what follows, and gives how much of it
    /// was dealt with. Nothing follows the last piece; from one that is `full` something has to be taken.
    fn take(&mut self, piece: &[u8], fill: Fill, output: &mut dyn Write) -> io::Result<usize>;
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fill {
    /// More will come.
    Partly,
    /// More will come, and there is no room for it.
    Full,
    /// It ends here.
    Last,
}

fn copy(input: &mut dyn Read, output: &mut dyn Write, pieces: &mut dyn Pieces) -> io::Result<()> {
    let mut output = io::BufWriter::with_capacity(BUFFER / 4, output);
    let mut buffer = vec![0; BUFFER];
    let mut filled = 0;
    loop {
        let read = match input.read(&mut buffer[filled..]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        filled += read;
        let fill = match read {
            0 => Fill::Last,
            _ if filled == buffer.len() => Fill::Full,
            _ => Fill::Partly,
        };
        let taken = pieces.take(&buffer[..filled], fill, &mut output)?;
        output.flush()?;
        if fill == Fill::Last {
            return Ok(());
        }
        buffer.copy_within(taken..filled, 0);
        filled -= taken;
    }
}

impl Rule {
    /// What may be written in the place of `address`.
    fn apply(&self, address: IpAddr) -> IpAddr {
        let address = address.to_canonical();
        if self.skip_private && private::is_private(address) {
            return address;
        }
        match self.anonymiser.mask(address) {
            IpAddr::V4(masked) => {
                let more =
                    u32::try_from(self.increment).ok().and_then(|more| masked.to_bits().checked_add(more));
                IpAddr::V4(more.map_or(masked, Into::into))
            }
            IpAddr::V6(masked) => {
                let more = masked.to_bits().checked_add(self.increment);
                IpAddr::V6(more.map_or(masked, Into::into))
            }
        }
    }
}

#[cfg(test)]
mod tests;
