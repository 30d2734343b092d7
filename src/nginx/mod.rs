//! A farm's nginx configuration, as the configuration of this gate: `farmgate import-nginx`.
//!
//! The way of a file: text → [`syntax`] and [`include`] (a tree of directives that know their places) → [`servers`]
//! (who listens where, under which names) → [`answer`] (what nginx would answer to a request) → `farm`, `admin` and
//! `settings` (what that is here) → `write`.
//!
//! Backends are not looked for in particular lines: nginx's own rules say who answers a handful of requests, one for each row
//! of the route table. Whatever the lines look like, what comes out is asked and not guessed. Where nginx closes something
//! that this gate would open, and where the rule for `/admin` is another one than "a certificate of this CA", there is a
//! [`Refusal`] and no configuration.
//!
//! The files are whatever an operator finds on a disk: depth, number and size are bounded, and nothing in them makes a panic.

mod admin;
mod answer;
mod condition;
mod farm;
mod include;
mod location;
mod notes;
mod reasons;
mod servers;
mod settings;
mod syntax;
#[cfg(test)]
mod tests;
mod values;
mod write;

use std::fmt;
use std::path::Path;

use crate::config;

pub use notes::Note;
pub use syntax::Place;

/// What the importer is told besides the file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Leave the admin pages closed, whatever nginx does with them.
    pub admin_closed: bool,
}

/// A configuration for this gate.
#[derive(Debug)]
pub struct Imported {
    /// The file to write, with its notes as comments. [`config::parse`] takes it.
    pub toml: String,
    /// What was left behind, what was added, and what will be different.
    pub notes: Vec<Note>,
}

/// Why there is no configuration: everything that is in the way.
#[derive(Debug)]
pub struct Refusal {
    /// In the order in which they were found; never empty.
    pub reasons: Vec<Reason>,
}

/// One thing that is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Where it stands.
    pub place: Option<Place>,
    /// What it is, and what to do.
    pub message: String,
}

impl Reason {
    fn new(place: Option<&Place>, message: impl Into<String>) -> Self {
        Self { place: place.cloned(), message: message.into() }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self { reasons: vec![reason] }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Reason { place, message }) in self.reasons.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            match place {
                Some(place) => write!(f, "{place}: {}", notes::printable(message))?,
                None => write!(f, "{}", notes::printable(message))?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

/// Reads nginx's main configuration file `path`, and what it includes.
///
/// # Errors
///
/// Where a file cannot be read or understood, where there is no farm in it, and where going on would mean to guess who may
/// see what.
pub fn import(path: &Path, options: Options) -> Result<Imported, Refusal> {
    let tree = include::read(path)?;
    let mut notes = notes::Notes::default();
    let servers = servers::servers(&tree, &mut notes)?;
    let farm = farm::farm(&tree, &servers, options, &mut notes)?;
    let notes = notes.finish(&tree);
    let toml = write::toml(path, &farm, &notes);
    // What this program writes, this program takes. What it would not take came from the file: a name that is none.
    match config::parse(&toml, Path::new("/etc/farmgate/farmgate.toml")) {
        Ok(_) => Ok(Imported { toml, notes }),
        Err(diagnostics) => {
            let reasons = diagnostics.iter().map(|one| {
                let key = one.key.as_deref().unwrap_or("the file");
                let hint = one.hint.as_deref().map(|hint| format!(" ({hint})")).unwrap_or_default();
                Reason::new(None, format!("{key} cannot be as nginx has it: {}{hint}", one.message))
            });
            Err(Refusal { reasons: reasons.collect() })
        }
    }
}
