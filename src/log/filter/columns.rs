//! Masking the addresses in certain columns, as anonip does it.
//!
//! What anonip does was observed, and is compared in `tests/it/anonip.rs`: a column is an address when all of it is one,
//! or when the host of it is, read as the part of a URL that names a host and a port; a `]` too many at its end is
//! overlooked, as the error logs of web servers have it. In the places where anonip leaves an address in clear that it
//! means to mask (IPv6 in capital letters with a port, IPv4 in brackets, networks), it is masked here.

use std::io::{self, Write};
use std::net::IpAddr;
use std::ops::Range;

use super::{Fill, Pieces, Rule};

/// Which columns, and what stands between them.
#[derive(Clone, Debug)]
pub struct Columns {
    /// Counted from 0, sorted, none twice.
    columns: Vec<usize>,
    delimiter: Vec<u8>,
    replace: Option<Vec<u8>>,
}

impl Columns {
    /// `columns` are counted from 1. None if there is none, or one is 0, or the delimiter is empty. `replace` takes the
    /// place of what is there and no address.
    pub fn new(columns: &[usize], delimiter: &[u8], replace: Option<&[u8]>) -> Option<Self> {
        let mut columns: Vec<usize> =
            columns.iter().map(|column| column.checked_sub(1)).collect::<Option<_>>()?;
        columns.sort_unstable();
        columns.dedup();
        (!columns.is_empty() && !delimiter.is_empty()).then(|| Self {
            columns,
            delimiter: delimiter.to_vec(),
            replace: replace.map(<[u8]>::to_vec),
        })
    }

    pub(super) fn lines<'a>(&'a self, rule: &'a Rule) -> Lines<'a> {
        Lines { columns: self, rule, column: 0, begun: false, without_address: 0 }
    }
}

/// Deals with lines, the beginning of one at a time where they are long.
pub(super) struct Lines<'a> {
    columns: &'a Columns,
    rule: &'a Rule,
    /// The column that the next piece begins in.
    column: usize,
    /// The beginning of that column was dealt with: the rest is what is left of a huge one.
    begun: bool,
    without_address: u64,
}

impl Lines<'_> {
    pub(super) fn without_address(&self) -> u64 {
        self.without_address
    }

    /// Writes what the rest of a line becomes, or all of it. `line` is without its end.
    fn end_of_line(&mut self, line: &[u8], output: &mut dyn Write) -> io::Result<()> {
        let content = line.len() - line.iter().rev().take_while(|&&byte| is_space(byte)).count();
        let mut rest = &line[..content];
        while !self.is_past_the_last() {
            let Some(end) = find(rest, &self.columns.delimiter) else {
                self.write_column(rest, output)?;
                rest = &[];
                break;
            };
            self.write_column(&rest[..end], output)?;
            let behind = end + self.columns.delimiter.len();
            output.write_all(&rest[end..behind])?;
            rest = &rest[behind..];
            self.column += 1;
        }
        output.write_all(rest)?;
        output.write_all(&line[content..])?;
        self.column = 0;
        self.begun = false;
        Ok(())
    }

    /// Takes what it can of a line that does not end in `piece`, which fills the buffer.
    fn part_of_line(&mut self, piece: &[u8], output: &mut dyn Write) -> io::Result<usize> {
        let mut taken = 0;
        while let Some(end) = find(&piece[taken..], &self.columns.delimiter) {
            self.write_column(&piece[taken..taken + end], output)?;
            let behind = taken + end + self.columns.delimiter.len();
            output.write_all(&piece[taken + end..behind])?;
            taken = behind;
            self.column += 1;
        }
        if taken == 0 {
            // One column, and it goes on. Its host, if it has one, is at the beginning. A delimiter may have begun.
            taken = piece.len() - (self.columns.delimiter.len() - 1).min(piece.len() - 1);
            self.write_column(&piece[..taken], output)?;
            self.begun = true;
        }
        Ok(taken)
    }

    fn is_past_the_last(&self) -> bool {
        self.columns.columns.last().is_none_or(|&last| self.column > last)
    }

    fn write_column(&mut self, column: &[u8], output: &mut dyn Write) -> io::Result<()> {
        let is_rest = std::mem::take(&mut self.begun);
        if column.is_empty() || self.columns.columns.binary_search(&self.column).is_err() {
            return output.write_all(column);
        }
        let replace = self.columns.replace.as_deref();
        if is_rest {
            // Of a column that was replaced nothing is left.
            return output.write_all(if replace.is_some() { &[] } else { column });
        }
        match (address_of(column), replace) {
            (Some((place, address)), _) => {
                output.write_all(&column[..place.start])?;
                write!(output, "{}", self.rule.apply(address))?;
                output.write_all(&column[place.end..])
            }
            (None, Some(replace)) => output.write_all(replace),
            (None, None) => {
                self.without_address += 1;
                output.write_all(column)
            }
        }
    }
}

impl Pieces for Lines<'_> {
    fn take(&mut self, piece: &[u8], fill: Fill, output: &mut dyn Write) -> io::Result<usize> {
        let mut taken = 0;
        while let Some(end) = piece[taken..].iter().position(|&byte| matches!(byte, b'\n' | b'\r')) {
            self.end_of_line(&piece[taken..taken + end], output)?;
            output.write_all(&piece[taken + end..=taken + end])?;
            taken += end + 1;
        }
        match fill {
            Fill::Last => {
                self.end_of_line(&piece[taken..], output)?;
                taken = piece.len();
            }
            Fill::Full if taken == 0 => taken = self.part_of_line(piece, output)?,
            Fill::Full | Fill::Partly => {}
        }
        Ok(taken)
    }
}

/// The address that `column` holds, and where.
fn address_of(column: &[u8]) -> Option<(Range<usize>, IpAddr)> {
    // All of it, or all but the length of a network's prefix.
    let slash = column.iter().rposition(|&byte| byte == b'/');
    for end in [Some(column.len()), slash].into_iter().flatten() {
        if let Some(address) = parse(&column[..end]) {
            return Some((0..end, address));
        }
    }
    let is_bracketed = column.starts_with(b"[");
    let column = match column {
        [rest @ .., b']'] if !is_bracketed || rest.ends_with(b"]") => rest,
        column => column,
    };
    // The authority of a URL, and the host in it (RFC 3986 section 3.2).
    let end = column.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(column.len());
    let start = column[..end].iter().rposition(|&byte| byte == b'@').map_or(0, |at| at + 1);
    let host = &column[start..end];
    let place = match host.iter().position(|&byte| byte == b'[') {
        Some(open) => {
            let length = host[open + 1..].iter().position(|&byte| byte == b']')?;
            open + 1..open + 1 + length
        }
        None => 0..host.iter().position(|&byte| byte == b':').unwrap_or(host.len()),
    };
    let place = start + place.start..start + place.end;
    parse(&column[place.clone()]).map(|address| (place, address))
}

/// An address, perhaps with a zone (RFC 4007 section 11), which goes with it.
fn parse(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    match text.split_once('%') {
        Some((six, zone)) if !zone.is_empty() && !zone.contains('%') => six.parse().ok().map(IpAddr::V6),
        _ => text.parse().ok(),
    }
}

fn find(text: &[u8], delimiter: &[u8]) -> Option<usize> {
    match delimiter {
        &[byte] => text.iter().position(|&other| other == byte),
        _ => text.windows(delimiter.len()).position(|window| window == delimiter),
    }
}

/// What anonip does not take for part of a line's last column.
fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t' | 0x0b | 0x0c | b' ' | 0x1c..=0x1f)
}
