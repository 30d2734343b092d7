//! The configuration file: TOML, strict, every problem of it reported in one go.
//!
//! [`load`] reads `/etc/farmgate/farmgate.toml` or whatever file it is told into a [`Config`], whose types
//! cannot hold a wrong value: nothing that comes later has to check, or to ask where a value came from. What
//! the file leaves out has the default of the design page.
//!
//! The way of a file: TOML text → `wire` (a tree that knows the place of each value) → `read`, `listen` and
//! `sites` (each table, with `values` and `units` for single values) → `settings`. What is wrong becomes a
//! [`Diagnostic`]; `unknown` finds the keys that nobody asked for. Adding a key means a field in `settings`,
//! a line in `read`, and one in `reference` that says what it means; a test tells which one is missing.
//!
//! Nothing here looks at the files and addresses that are named: whether they exist is for those who open
//! them.

mod diagnostics;
mod listen;
mod pattern;
mod read;
pub mod reference;
mod routes;
mod secrets;
mod settings;
mod sites;
#[cfg(test)]
mod tests;
mod units;
mod unknown;
mod values;
mod wire;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, fs, io};

use toml::de::DeTable;
use zeroize::Zeroizing;

pub use diagnostics::{Diagnostic, Diagnostics, Severity};
pub(crate) use secrets::without_url_secrets;
pub use settings::*;

use diagnostics::{Complaint, Source};
use read::DEFAULT_CONTROL;
use wire::{Findings, Reader};

/// A good file, and what is to be said about it all the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// What it means.
    pub config: Config,
    /// What in it is probably not meant.
    pub warnings: Diagnostics,
    /// Dotted names of the tables and keys that the file wrote, such as `cache` and `cache.static.max_size`.
    /// Keys of every site are below `site`.
    pub given: BTreeSet<String>,
}

/// Why there is no configuration.
#[derive(Debug)]
pub enum ConfigError {
    /// The file could not be read: mostly a wrong name, or a lack of permission.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file says something that cannot be meant.
    Invalid(Diagnostics),
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    /// Everything, for the terminal: there is no source to print below it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, error } => {
                write!(f, "cannot read the configuration {}: {error}", path.display())
            }
            Self::Invalid(diagnostics) => diagnostics.fmt(f),
        }
    }
}

/// Reads the configuration file `path`.
///
/// # Errors
///
/// Where the file cannot be read, or anything in it is wrong; then with everything that is.
pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
    // A CA's secret may be in it.
    let bytes = fs::read(path)
        .map(Zeroizing::new)
        .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
    // Relative names in the file must mean the same after the process has changed its folder. Where the
    // current folder is gone there is nothing to make absolute with, and the name stays as it was.
    let origin = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match std::str::from_utf8(&bytes) {
        Ok(text) => parse(text, &origin),
        Err(error) => Err(not_utf8(&bytes, error.valid_up_to(), &origin)),
    }
    .map_err(ConfigError::Invalid)
}

/// Where the gate that runs on the configuration file `path` can be talked to.
///
/// A running gate can be asked how it is while its file is half-edited: of a file that is wrong, only this one value is
/// looked for.
///
/// # Errors
///
/// Where the file cannot be read, or is so wrong that the value cannot be found.
pub fn control_socket(path: &Path) -> Result<PathBuf, ConfigError> {
    let invalid = match load(path) {
        Ok(loaded) => return Ok(loaded.config.paths.control),
        Err(ConfigError::Invalid(diagnostics)) => diagnostics,
        Err(unreadable) => return Err(unreadable),
    };
    let written = fs::read_to_string(path).ok().and_then(|text| text.parse::<toml::Table>().ok());
    match written {
        None => Err(ConfigError::Invalid(invalid)),
        Some(table) => {
            let control =
                table.get("paths").and_then(|paths| paths.get("control")).and_then(toml::Value::as_str);
            let folder = invalid.origin().parent().unwrap_or(Path::new("/"));
            Ok(control.map_or_else(|| DEFAULT_CONTROL.into(), |control| folder.join(control)))
        }
    }
}

/// Dotted names of all tables and keys that a file can have, as in [`Loaded::given`].
pub fn keys() -> BTreeSet<String> {
    // What a table of a list can have is asked for only where there is one. Sites are asked for in any case.
    const LISTS: &str = "limits.requests = [{}]\ntimeouts.route = [{}]\n";
    let file = DeTable::parse(LISTS).expect("this is TOML");
    let mut findings = Findings::new(Source { origin: Path::new(""), text: LISTS });
    read::config(&mut Reader::of_file(&mut findings, file.get_ref()), Path::new(""));
    findings.known
}

/// Reads a configuration from `text`, as if it stood in the file `origin`. Relative file names in it are
/// relative to the folder of `origin`.
///
/// # Errors
///
/// Where anything in it is wrong; then with everything that is. A text that is not TOML has one error, the
/// first.
pub fn parse(text: &str, origin: &Path) -> Result<Loaded, Diagnostics> {
    // Editors on Windows put a mark in front that is no part of the text.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let source = Source { origin, text };
    let file = DeTable::parse(text).map_err(|error| syntax(&error, &source))?;

    let mut findings = Findings::new(source);
    let config = read::config(&mut Reader::of_file(&mut findings, file.get_ref()), origin);
    let given = unknown::report(file.get_ref(), &mut findings);
    if findings.errors.is_empty() {
        Ok(Loaded { config, warnings: Diagnostics::new(origin, findings.warnings), given })
    } else {
        Err(Diagnostics::new(origin, findings.errors))
    }
}

/// Reads a duration as the configuration writes it, such as "10s", for what is given on a command line.
///
/// # Errors
///
/// In words: what was expected.
pub fn duration(text: &str) -> Result<Duration, String> {
    units::duration(text).map_err(|complaint| complaint.to_string())
}

/// Reads a size as the configuration writes it, such as "200MiB": bytes.
///
/// # Errors
///
/// In words: what was expected.
pub fn size(text: &str) -> Result<u64, String> {
    units::size(text).map_err(|complaint| complaint.to_string())
}

fn syntax(error: &toml::de::Error, source: &Source<'_>) -> Diagnostics {
    let hint = match error.message() {
        "duplicate key" => "a key or table stands once in the file; what repeats is [[site]]",
        message if message.starts_with("string values must be quoted") => {
            "names, addresses, durations and sizes stand in quotes: \"10s\", \"200MiB\""
        }
        _ => "this is not TOML: see https://toml.io",
    };
    let span = error.span().unwrap_or(source.end());
    let complaint = Complaint::new(error.message()).hint(hint);
    Diagnostics::new(source.origin, vec![complaint.at(source, span, Severity::Error, None)])
}

fn not_utf8(bytes: &[u8], at: usize, origin: &Path) -> Diagnostics {
    // Up to `at` nothing is replaced, so the place is the same in both.
    let text = String::from_utf8_lossy(bytes);
    let source = Source { origin, text: &text };
    let complaint = Complaint::new("this is not text in UTF-8").hint("save the file as UTF-8");
    Diagnostics::new(origin, vec![complaint.at(&source, at..at + 1, Severity::Error, None)])
}
