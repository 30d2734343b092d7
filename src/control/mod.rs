//! Talking to a running gate: a socket that only its owner can open, one JSON line each way.

mod client;
pub mod figures;
mod screen;
mod socket;
mod status;

pub use client::{CallError, PATIENCE, call, call_patiently};
pub use screen::Screen;
pub use socket::{Claim, ControlSocket, Handler, serve};
pub use status::{
    BackendFailure, BackendStatus, CertificateStatus, Finishing, LastReload, Listening, SiteStatus, Status,
};

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::acme;
use crate::cache::{Item, Purge, Stats};

/// What can be asked of a running gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "command", content = "argument")]
pub enum Request {
    /// Read the configuration again.
    Reload,
    /// Tell how things are.
    Status,
    /// Hand the work over to another process.
    Upgrade {
        /// The program that it is to run: an absolute path.
        binary: PathBuf,
        /// The configuration that it is to run on: an absolute path.
        config: PathBuf,
        /// How long it may take to come up.
        patience: Duration,
    },
    /// Renew the certificates of the sites with these names now.
    Renew {
        /// One name of each site.
        names: Vec<String>,
        /// Whether it is due or not.
        force: bool,
    },
    /// Tell how the certificates stand that are ordered, and what is being done about them.
    Certificates,
    /// Tell how the cache is doing.
    CacheStats,
    /// Tell what the cache has of these.
    CacheList(Purge),
    /// Let go of these.
    CachePurge(Purge),
}

/// What a gate answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// It was done; what the operator should know.
    Done(Vec<String>),
    /// It was not done, and why. Everything is as it was.
    Failed(String),
    /// Another process has taken over, and is to be asked. This is its id.
    TakenOver(u32),
    /// How things are.
    Status(Box<Status>),
    /// What came of asking for a renewal, by name.
    Renewals(Vec<(String, acme::Started)>),
    /// How the certificates stand.
    Certificates(Vec<acme::SiteReport>),
    /// How the cache is doing.
    CacheStats(Stats),
    /// What the cache has.
    CacheList(Vec<Item>),
}

impl Reply {
    /// What the operator should know.
    pub fn notes(&self) -> &[String] {
        match self {
            Self::Done(notes) => notes,
            _ => &[],
        }
    }

    /// Why it was not done.
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Failed(error) => Some(error),
            Self::TakenOver(_) => Some("another gate has taken over, and cannot be found here"),
            _ => None,
        }
    }

    /// How things are.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Status(status) => Some(status),
            _ => None,
        }
    }
}
