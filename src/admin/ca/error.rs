//! Why a command of the CA did not do what it was asked for.

use std::io;
use std::path::{Path, PathBuf};

use super::names::BadName;

/// Why something was not issued, revoked, listed or written.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file could not be read or written. Usually: permissions, or a full disk.
    #[error("{}: cannot be {what}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried, as a participle.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A file that would be written is there already. Nothing here overwrites anything.
    #[error("{} is there already, and is not overwritten: move it away, or work in another folder", .0.display())]
    Exists(PathBuf),
    /// `init` found something where the CA would go. Usually: there is a CA already.
    #[error("{}: {found}; nothing here is overwritten", .folder.display())]
    Occupied {
        /// The folder of the CA.
        folder: PathBuf,
        /// What was found in it.
        found: String,
    },
    /// There is no CA yet.
    #[error("there is no admin CA in {}: make one with \"farmgate admin init\"", .0.display())]
    NoAuthority(PathBuf),
    /// A file of the CA is damaged. The gate is closed as long as it is the register.
    #[error("{} is damaged: {reason}. Restore it from a backup that has every revocation", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another command has held the lock for too long.
    #[error("{} is locked: another \"farmgate admin\" is at work", .0.display())]
    Busy(PathBuf),
    /// A key, a certificate or a request was refused.
    #[error("{}: {reason}", .path.display())]
    Refused {
        /// The file it is in.
        path: PathBuf,
        /// What was expected, and what was found.
        reason: String,
    },
    /// The name cannot be used.
    #[error(transparent)]
    Name(#[from] BadName),
    /// An argument makes no sense. Usually: a number of days beyond what a certificate can say.
    #[error("{0}")]
    Argument(String),
    /// Nothing in the register has this name or serial number.
    #[error("the register has no certificate with the name or serial number \"{asked}\"{}", hint(.near))]
    Unknown {
        /// What was asked for.
        asked: String,
        /// Names that look alike.
        near: Vec<String>,
    },
    /// Who asked for it was an administrator, and was none any more when it was about to be done.
    #[error("the certificate that this was asked for with does not open the gate any more")]
    Withdrawn,
    /// The CA's own certificate does not reach far enough. Usually: it has expired.
    #[error("{0}")]
    Dates(String),
    /// A certificate was made and recorded, and could not be handed out.
    #[error(
        "certificate {serial} was recorded but not handed out: {source}. Nobody has it; revoke it, and issue another"
    )]
    NotHandedOut {
        /// Its serial number.
        serial: String,
        /// What went wrong.
        source: Box<CaError>,
    },
    /// The cryptographic library refused. Should not happen with what was checked before.
    #[error("the cryptographic library refused to {what}: {reason}")]
    Crypto {
        /// What it was asked for.
        what: &'static str,
        /// What it said.
        reason: String,
    },
}

impl CaError {
    /// Whether the command line is to blame, rather than the state of things.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Name(_) | Self::Argument(_))
    }

    pub(super) fn file(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { path: path.to_owned(), what, source }
    }

    pub(super) fn refused(path: &Path, reason: impl Into<String>) -> Self {
        Self::Refused { path: path.to_owned(), reason: reason.into() }
    }

    pub(super) fn crypto<E: ToString>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Crypto { what, reason: error.to_string() }
    }
}

fn hint(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; there is {}", near.join(", ")) }
}
