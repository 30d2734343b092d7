//! `farmgate anonip`

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::RangedU64ValueParser;

use super::Failure;
use crate::log::Anonymiser;
use crate::log::filter::{Columns, Rule, Summary, Where, filter};

/// How often a terminal is told how far it is.
const TELL: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Log files, one after the other; standard input if there is none
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Another log file or FIFO to read, as anonip names it
    #[arg(long, value_name = "FILE", conflicts_with = "files")]
    input: Option<PathBuf>,
    /// Append to this file instead of writing to standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Bits to blank in an IPv4 address, from the right
    #[arg(short = '4', long, visible_alias = "ipv4mask", value_name = "BITS", default_value = "12",
          value_parser = clap::value_parser!(u8).range(1..=32))]
    ipv4_mask: u8,
    /// Bits to blank in an IPv6 address, from the right
    #[arg(short = '6', long, visible_alias = "ipv6mask", value_name = "BITS", default_value = "84",
          value_parser = clap::value_parser!(u8).range(1..=128))]
    ipv6_mask: u8,
    /// Columns that hold addresses, counted from 1
    #[arg(short, long, visible_alias = "column", value_name = "N", num_args = 1.., value_delimiter = ',',
          default_value = "1", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    columns: Vec<usize>,
    /// What stands between columns
    #[arg(short = 'l', long, value_name = "STRING", default_value = " ",
          value_parser = clap::builder::NonEmptyStringValueParser::new())]
    delimiter: String,
    /// Write this in place of a column that is no address
    #[arg(short, long, value_name = "STRING")]
    replace: Option<String>,
    /// Add this to each masked address
    #[arg(short, long, value_name = "N", default_value = "0")]
    increment: u128,
    /// Leave private and other special addresses as they are
    #[arg(short = 'p', long)]
    skip_private: bool,
    /// Mask addresses wherever they stand, whatever the columns
    #[arg(short, long, conflicts_with_all = ["columns", "delimiter", "replace"])]
    everywhere: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let rule = Rule {
        anonymiser: Anonymiser::new(arguments.ipv4_mask, arguments.ipv6_mask),
        increment: arguments.increment,
        skip_private: arguments.skip_private,
    };
    let replace = arguments.replace.as_deref().map(str::as_bytes);
    let columns = Columns::new(&arguments.columns, arguments.delimiter.as_bytes(), replace)
        .ok_or_else(|| Failure::Wrong("--columns and --delimiter must not be empty".into()))?;
    let at = if arguments.everywhere { Where::Everywhere } else { Where::Columns(columns) };
    let (mut output, identity) = output(arguments.output.as_deref())?;
    let mut summary = Summary::default();
    let files: Vec<&PathBuf> = arguments.files.iter().chain(&arguments.input).collect();
    if files.is_empty() {
        let mut input = Told::new(io::stdin().lock(), None);
        summary = masked(&mut input, &mut output, &at, &rule, Path::new("standard input"))?;
    }
    for path in files {
        let failed = |error: io::Error| Failure::Failed(format!("{}: {error}", path.display()));
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_file() && identity == Some((metadata.dev(), metadata.ino())) {
            return Err(Failure::Wrong(format!("{} would be read and written at once", path.display())));
        }
        let mut input = Told::new(file, metadata.is_file().then_some(metadata.len()));
        summary.without_address += masked(&mut input, &mut output, &at, &rule, path)?.without_address;
    }
    if summary.without_address > 0 {
        eprintln!(
            "{} columns hold something that is no address, and were left as they are; --replace replaces them, \
             and --everywhere looks for addresses in all of a line",
            summary.without_address
        );
    }
    Ok(())
}

fn masked(
    input: &mut Told<impl Read>,
    output: &mut impl Write,
    at: &Where,
    rule: &Rule,
    name: &Path,
) -> Result<Summary, Failure> {
    match filter(input, output, at, rule) {
        // A reader that has seen enough, such as `head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Summary::default()),
        result => result.map_err(|error| Failure::Failed(format!("{}: {error}", name.display()))),
    }
}

/// What tells a file from all others: its device and its number there.
type Identity = (u64, u64);

/// Where to write to, and which file that is, if it is one.
fn output(path: Option<&Path>) -> Result<(Box<dyn Write>, Option<Identity>), Failure> {
    let Some(path) = path else { return Ok((Box::new(io::stdout().lock()), None)) };
    let open = || {
        let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
        let metadata = file.metadata()?;
        let identity = metadata.is_file().then(|| (metadata.dev(), metadata.ino()));
        Ok((file, identity))
    };
    open()
        .map(|(file, identity)| (Box::new(file) as Box<dyn Write>, identity))
        .map_err(|error: io::Error| Failure::Failed(format!("{}: {error}", path.display())))
}

/// An input that tells a terminal how far it was read.
struct Told<R> {
    input: R,
    size: Option<u64>,
    read: u64,
    /// When something was last said; none if nobody is to be told.
    last: Option<Instant>,
    said: bool,
}

impl<R: Read> Told<R> {
    fn new(input: R, size: Option<u64>) -> Self {
        // Where the lines themselves go to the terminal, nothing is to come between them.
        let is_watched = io::stderr().is_terminal() && !io::stdout().is_terminal();
        Self { input, size, read: 0, last: is_watched.then(Instant::now), said: false }
    }
}

impl<R: Read> Read for Told<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.read += count as u64;
        if let Some(last) = &mut self.last
            && last.elapsed() >= TELL
        {
            *last = Instant::now();
            self.said = true;
            let of = self.size.map(|size| format!(" of {}", size >> 20)).unwrap_or_default();
            // A terminal that is gone is no reason to stop.
            let _ = write!(io::stderr(), "\r{}{of} MiB", self.read >> 20);
        }
        Ok(count)
    }
}

impl<R> Drop for Told<R> {
    fn drop(&mut self) {
        if self.said {
            let _ = writeln!(io::stderr());
        }
    }
}
