//! What the engine is told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{Certificate, Config, Eab, HmacKey, KeyType};

/// Everything that ordering depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The state folder.
    pub state: PathBuf,
    /// Where certificates are ordered: first here, and after repeated failure at the next. Never empty.
    pub directories: Vec<Directory>,
    /// Mail addresses of the account, without `mailto:`.
    pub contact: Vec<String>,
    /// The key of a certificate.
    pub key_type: KeyType,
    /// What is ordered.
    pub sites: Vec<Site>,
    /// The port that CAs connect to (RFC 8555 section 8.3). Tests have another.
    pub challenge_port: u16,
    /// Whether we listen there ourselves, with nothing in front of us.
    pub challenge_port_is_ours: bool,
    /// How long anything is waited for.
    pub timings: Timings,
}

/// A CA.
#[derive(Clone, Debug, PartialEq)]
pub struct Directory {
    /// The URL of its directory.
    pub url: String,
    /// PEM file of the roots to trust, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// The account that is known to the CA by other means.
    pub eab: Option<Eab>,
    /// The kind of certificate, where the CA offers a choice.
    pub profile: Option<String>,
}

/// What one certificate is for.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// Its names, never empty. The first one names its files.
    pub names: Vec<String>,
}

impl Site {
    /// The name of its files.
    pub fn key(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }
}

/// How long anything is waited for.
#[derive(Clone, Debug, PartialEq)]
pub struct Timings {
    /// For one address to accept a connection, and once more for its TLS.
    pub connect: Duration,
    /// For one request, all of it.
    pub request: Duration,
    /// For our own port 80 to answer.
    pub preflight: Duration,
    /// Between two looks at an order, to begin with; each further one waits twice as long.
    pub poll: Duration,
    /// Between two looks at the most.
    pub poll_longest: Duration,
    /// For an order to be validated and issued.
    pub order: Duration,
    /// For everything together.
    pub attempt: Duration,
    /// How often the clock and the state folder are looked at: a clock may be set, and another gate may renew.
    pub look: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            request: Duration::from_secs(30),
            preflight: Duration::from_secs(5),
            poll: Duration::from_secs(1),
            poll_longest: Duration::from_secs(15),
            order: Duration::from_secs(5 * 60),
            attempt: Duration::from_secs(10 * 60),
            look: Duration::from_secs(30),
        }
    }
}

impl Settings {
    /// What `config` says.
    pub fn of(config: &Config) -> Self {
        let acme = &config.acme;
        let first = Directory {
            url: acme.directory.clone(),
            ca_file: acme.ca_file.clone(),
            eab: acme.eab.clone(),
            profile: acme.profile.clone(),
        };
        let fallback = acme.fallback.as_ref().map(|fallback| Directory {
            url: fallback.directory.clone(),
            ca_file: fallback.ca_file.clone(),
            eab: fallback.eab.clone(),
            profile: None,
        });
        Self {
            state: config.paths.state.clone(),
            directories: std::iter::once(first).chain(fallback).collect(),
            contact: acme.contact.clone(),
            key_type: acme.key_type,
            sites: config
                .sites
                .iter()
                .filter(|site| site.certificate == Certificate::Acme)
                .map(|site| Site { names: site.names.clone() })
                .collect(),
            challenge_port: 80,
            challenge_port_is_ours: config.listen.http.iter().any(|address| address.port() == 80),
            timings: Timings::default(),
        }
    }

    /// What is wrong with the files that are named, for whoever checks before ordering.
    pub fn problems(&self) -> Vec<String> {
        let open = |what: &str, path: &Path| {
            std::fs::read(path).err().map(|error| format!("{what}: {}: {error}", path.display()))
        };
        let of = |ca: &Directory| {
            let root = ca.ca_file.as_deref().and_then(|path| open("acme.ca_file", path));
            let secret = ca.eab.as_ref().and_then(|eab| match &eab.hmac_key {
                HmacKey::File(path) => open("acme.eab.hmac_key_file", path),
                HmacKey::Inline(_) => None,
            });
            root.into_iter().chain(secret)
        };
        self.directories.iter().flat_map(of).collect()
    }

    /// A folder or file of ours.
    pub(super) fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.state.join("acme").join(below)
    }
}
