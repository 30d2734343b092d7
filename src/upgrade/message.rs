//! What two gates say to each other.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What a listening socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Plain HTTP.
    Http,
    /// HTTPS.
    Https,
    /// Metrics.
    Metrics,
}

impl Kind {
    /// As it is written in logs, and in `LISTEN_FDNAMES`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Metrics => "metrics",
        }
    }
}

/// A listening socket that is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// What it is for.
    pub kind: Kind,
    /// The address as the configuration has it: with port 0, the one it is bound to is another.
    pub configured: SocketAddr,
}

/// What a new gate has to know of the old one before it can say that it is prepared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Circumstances {
    /// The folders that are open to the old one, and so to all that it starts. None: all are.
    pub open: Option<Vec<Open>>,
    /// Names of sites that show a self-signed certificate. None: not known.
    pub stand_ins: Option<Vec<String>>,
}

/// A folder, or a file, that is open to a process under Landlock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Without links.
    pub path: PathBuf,
    /// What for.
    pub uses: Use,
}

/// What is done with a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Use {
    /// It is read.
    Read,
    /// It is read, and programs in it are started.
    Run,
    /// It is read, written, made and removed.
    Write,
}

/// What the old gate says. A new kind of message is one that an older gate could not understand: those that come before
/// [`FromNew::Serving`] may therefore only ever get new fields, with defaults.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub enum FromOld {
    /// Some of the sockets it listens on, in the order of the descriptors that come along.
    Sockets {
        /// What they are.
        sockets: Vec<Offer>,
        /// There are more, in the next message.
        more: bool,
        /// Said once, with no socket.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        circumstances: Option<Circumstances>,
    },
    /// The new one is to serve. The descriptors that come along lead to earlier gates that still finish.
    Go,
    /// The old one accepts no more.
    Yours,
    /// How far the old one is with that.
    Finishing {
        /// Its process.
        pid: u32,
        /// Connections it still has.
        connections: usize,
    },
    /// Something that a later version says.
    #[serde(other)]
    Unknown,
}

/// What the new gate says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub enum FromNew {
    /// All that can fail has not failed.
    Prepared,
    /// It accepts connections.
    Serving {
        /// Its version.
        version: String,
    },
    /// It does not come up, and why.
    Failed {
        /// In words.
        reason: String,
    },
    /// It was configured anew: who is let into the admin pages may be decided by other rules now.
    AdminRules,
    /// Something that a later version says.
    #[serde(other)]
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_version_says_nothing_of_its_circumstances() {
        let earlier = r#"{"say": "sockets", "sockets": [], "more": true}"#;
        let understood = serde_json::from_str(earlier).unwrap();
        assert!(matches!(understood, FromOld::Sockets { circumstances: None, more: true, .. }));
        let partly = r#"{"say": "sockets", "sockets": [], "more": true, "circumstances": {"later": 1}}"#;
        let FromOld::Sockets { circumstances: Some(said), .. } = serde_json::from_str(partly).unwrap() else {
            panic!("sockets");
        };
        assert_eq!(said, Circumstances::default());
    }

    #[test]
    fn what_a_later_version_says_is_not_understood_and_no_fault() {
        let later = r#"{"say": "something-new", "with": [1, {"more": true}]}"#;
        assert!(matches!(serde_json::from_str(later), Ok(FromOld::Unknown)));
        assert!(matches!(serde_json::from_str(later), Ok(FromNew::Unknown)));
    }
}
