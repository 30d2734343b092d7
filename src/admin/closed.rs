//! Why a gate lets nobody in.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustls::pki_types::pem;

/// More than any client CA or revocation list: a cap against a path that turns out to be something else.
const LARGEST_FILE: u64 = 64 << 20;

/// The reason for which a gate refuses everybody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// The file is not there. Normal before `farmgate admin init`.
    #[error("{} is missing", .0.display())]
    Missing(PathBuf),
    /// The file is there and cannot be read. Usually: permissions.
    #[error("{} cannot be read: {reason}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Another gate serves, and may go by other rules: what is still connected to this one has to ask there.
    #[error("another gate has taken over, which is to be asked")]
    TakenOver,
    /// The file was read, and the gate cannot go by what is in it.
    #[error("{} cannot be used: {reason}", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where possible what to do.
        reason: String,
    },
}

impl Closed {
    pub(super) fn invalid(path: &Path, reason: impl Into<String>) -> Self {
        Self::Invalid { path: path.to_owned(), reason: reason.into() }
    }
}

/// What is wrong with a PEM file, for people.
pub(super) fn pem_reason(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a PEM block has no END line: the file was cut off".into(),
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line of PEM is malformed".into(),
        pem::Error::Base64Decode(_) => "what is between BEGIN and END is not Base64".into(),
        other => other.to_string(),
    }
}

/// Reads a file, or says why the gate has to be closed without it.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Closed> {
    let contents = (|| {
        // Before it is opened: opening a pipe waits for somebody to write to it.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let mut contents = Vec::new();
        File::open(path)?.take(LARGEST_FILE + 1).read_to_end(&mut contents)?;
        if contents.len() as u64 > LARGEST_FILE {
            return Err(io::Error::other("it is larger than 64 MiB"));
        }
        Ok(contents)
    })();
    contents.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Closed::Missing(path.to_owned()),
        _ => Closed::Unreadable { path: path.to_owned(), reason: error.to_string() },
    })
}
