//! The certificates on disk.
//!
//! ```text
//! STATE/certificates/SITE/
//!     fullchain.pem -> current/fullchain.pem    what others read; so are the next two
//!     privkey.pem   -> current/privkey.pem
//!     current       -> 000007                   turned by one rename: chain and key change in the same moment
//!     000007/{fullchain.pem, privkey.pem, origin.json}
//!     000006/…                                  what was before, for going back: ln -sfn 000006 current
//! ```
//!
//! A version is complete and on disk before the link points to it, and is never written again.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::certificate::Facts;
use super::clock::Time;
use crate::files::{self, Content, SECRET};
use crate::tls::{Pair, PairError, load_pair};

const CHAIN: &str = "fullchain.pem";
const KEY: &str = "privkey.pem";
const ORIGIN: &str = "origin.json";
const CURRENT: &str = "current";

/// How many versions stay, the one in use among them.
const KEPT: usize = 5;

/// The folder with the certificates of all sites.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

/// A certificate that can be served.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Chain and key, which belong together.
    pub pair: Pair,
    /// What the certificate says.
    pub facts: Facts,
    /// How it came here, if that is known.
    pub origin: Option<Origin>,
    /// The number of its version.
    pub version: u64,
    /// What is wrong with the versions that should have been used before this one.
    pub damaged: Vec<String>,
}

/// How a certificate came here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// The URL of the directory it was ordered from.
    pub directory: String,
    /// The kind that was asked for.
    pub profile: Option<String>,
    /// The type of its key.
    pub key_type: String,
    /// When it came.
    pub issued: Time,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// None has been stored yet.
    #[error("there is none yet")]
    None,
    /// None of those that were stored can be used: usually the disk lost them.
    #[error("{}", .0.join("; "))]
    Damaged(Vec<String>),
}

impl Store {
    /// The certificates of the gates with this state folder.
    pub fn new(state: &Path) -> Self {
        Self { folder: state.join("certificates") }
    }

    /// Chain and key of a site, as others should name them.
    pub fn paths(&self, site: &str) -> (PathBuf, PathBuf) {
        let folder = self.folder.join(site);
        (folder.join(CHAIN), folder.join(KEY))
    }

    /// What a site's link points to: changes with its certificate, and is cheap to ask for.
    pub fn current(&self, site: &str) -> Option<PathBuf> {
        fs::read_link(self.folder.join(site).join(CURRENT)).ok()
    }

    /// The certificate in use: the current version, or, if that one is damaged, the newest that is not.
    pub fn load(&self, site: &str) -> Result<Loaded, LoadError> {
        let folder = self.folder.join(site);
        // The link is followed once: chain and key are of one version, also while it is being turned.
        let current = fs::read_link(folder.join(CURRENT)).ok().and_then(|to| number(to.to_str()?));
        let older = versions(&folder).into_iter().rev().filter(|version| Some(*version) != current);
        let mut damaged = Vec::new();
        for version in current.into_iter().chain(older) {
            match load_version(&folder, version) {
                Ok((pair, facts, origin)) => return Ok(Loaded { pair, facts, origin, version, damaged }),
                Err(error) => damaged.push(error.to_string()),
            }
        }
        // Where nobody can look, nobody knows that there is none.
        if damaged.is_empty()
            && let Err(error) = fs::read_dir(&folder)
            && error.kind() != io::ErrorKind::NotFound
        {
            damaged.push(format!("{}: {error}", folder.display()));
        }
        Err(if damaged.is_empty() { LoadError::None } else { LoadError::Damaged(damaged) })
    }

    /// The certificate that is valid at `now` for most of `names`, whichever site it was for: for a site whose first
    /// name has changed, and which has none of its own yet.
    pub fn best_for(&self, names: &[String], now: Time) -> Option<Loaded> {
        let sites = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let valid = sites
            .filter_map(|site| self.load(site.file_name().to_str()?).ok())
            .filter(|loaded| loaded.facts.is_valid_at(now));
        let covered = |loaded: &Loaded| names.iter().filter(|name| loaded.facts.is_for(name)).count();
        valid
            .filter(|loaded| covered(loaded) > 0)
            .max_by_key(|loaded| (covered(loaded), loaded.facts.not_after))
    }

    /// Stores a chain and its key, both PEM, as the new version, and turns the link to it.
    ///
    /// Whatever stops it in the middle, [`load`](Self::load) gives the old pair or the new one.
    pub fn install(&self, site: &str, chain: &str, key: &str, origin: &Origin) -> io::Result<Loaded> {
        let folder = self.folder.join(site);
        files::make_folder(&folder)?;
        let fresh = files::temporary_name(&folder.join("version"));
        remove_folder(&fresh)?;
        files::make_folder(&fresh)?;
        crash_point()?;
        let create = |name, content: &[u8]| files::create(&fresh.join(name), content, SECRET, &folder);
        create(CHAIN, chain.as_bytes())?;
        crash_point()?;
        create(KEY, key.as_bytes())?;
        create(ORIGIN, &serde_json::to_vec_pretty(origin)?)?;
        files::sync(&fresh)?;
        crash_point()?;
        let version = versions(&folder).last().map_or(1, |last| last + 1);
        let name = format!("{version:06}");
        fs::rename(&fresh, folder.join(&name))?;
        files::sync(&folder)?;
        crash_point()?;
        let (pair, facts, origin) = load_version(&folder, version).map_err(|error| {
            let _ = fs::remove_dir_all(folder.join(&name));
            io::Error::new(io::ErrorKind::InvalidData, error.to_string())
        })?;
        turn_link(&folder.join(CURRENT), Path::new(&name))?;
        crash_point()?;
        make_file_links(&folder)?;
        tidy(&folder, version);
        Ok(Loaded { pair, facts, origin, version, damaged: Vec::new() })
    }

    /// Whether a link is missing that others read a site's certificate by: whoever stored the first one was stopped
    /// before its last step.
    pub(super) fn lacks_links(&self, site: &str) -> bool {
        let folder = self.folder.join(site);
        let complete =
            self.current(site).is_some() && file_links(&folder).all(|(link, to)| leads(&link, &to));
        !complete && !versions(&folder).is_empty()
    }

    /// Makes the links that are missing. The lock is held by the caller.
    pub(super) fn make_links(&self, site: &str) -> Result<(), LoadError> {
        let folder = self.folder.join(site);
        let failed = |error: io::Error| LoadError::Damaged(vec![format!("{}: {error}", folder.display())]);
        if self.current(site).is_none() {
            let version = format!("{:06}", self.load(site)?.version);
            turn_link(&folder.join(CURRENT), Path::new(&version)).map_err(failed)?;
        }
        make_file_links(&folder).map_err(failed)
    }
}

/// The links for others to read, and what they lead to.
fn file_links(folder: &Path) -> impl Iterator<Item = (PathBuf, PathBuf)> {
    [CHAIN, KEY].into_iter().map(|file| (folder.join(file), Path::new(CURRENT).join(file)))
}

fn leads(link: &Path, to: &Path) -> bool {
    fs::read_link(link).is_ok_and(|target| target == to)
}

fn make_file_links(folder: &Path) -> io::Result<()> {
    for (link, to) in file_links(folder) {
        if !leads(&link, &to) {
            turn_link(&link, &to)?;
        }
    }
    Ok(())
}

/// Makes `link` lead to `target`, in one step.
fn turn_link(link: &Path, target: &Path) -> io::Result<()> {
    let fresh = files::temporary_name(link);
    files::remove(&fresh)?;
    symlink(target, &fresh)?;
    crash_point()?;
    fs::rename(&fresh, link)?;
    files::sync_folder_of(link)
}

type Version = (Pair, Facts, Option<Origin>);

fn load_version(folder: &Path, version: u64) -> Result<Version, PairError> {
    let folder = folder.join(format!("{version:06}"));
    let chain = folder.join(CHAIN);
    let pair = load_pair(&chain, &folder.join(KEY))?;
    let facts = pair.cert.first().and_then(Facts::read).ok_or_else(|| PairError::Invalid {
        path: chain,
        reason: "holds a certificate that does not parse".into(),
    })?;
    let origin = match files::read_json(&folder.join(ORIGIN)) {
        Content::Good(origin) => Some(origin),
        // It is for us alone; the certificate is good without.
        Content::Missing | Content::Damaged(_) | Content::Unreadable(_) => None,
    };
    Ok((pair, facts, origin))
}

/// The versions in `folder`, oldest first.
fn versions(folder: &Path) -> Vec<u64> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut versions: Vec<u64> = entries.filter_map(|entry| number(entry.file_name().to_str()?)).collect();
    versions.sort_unstable();
    versions
}

/// The number of a version from the name of its folder.
fn number(name: &str) -> Option<u64> {
    // As many digits as no number of renewals has, and that can be counted on from.
    ((6..=15).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| name.parse().ok())
        .flatten()
}

/// Removes a folder; one that is not there counts as removed.
fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes versions that are too old to go back to. That some of them stay is no harm.
fn tidy(folder: &Path, current: u64) {
    let versions = versions(folder);
    let old = versions.iter().rev().filter(|version| **version != current).skip(KEPT - 1);
    for version in old {
        let _ = fs::remove_dir_all(folder.join(format!("{version:06}")));
    }
}

/// Where a test lets the power fail.
#[cfg(not(test))]
fn crash_point() -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
thread_local! {
    /// How many more of them are passed.
    static CRASH_AFTER: std::cell::Cell<usize> = const { std::cell::Cell::new(usize::MAX) };
}

#[cfg(test)]
fn crash_point() -> io::Result<()> {
    CRASH_AFTER.with(|left| match left.get() {
        0 => Err(io::Error::other("the power failed")),
        some => {
            left.set(some.saturating_sub(usize::from(some != usize::MAX)));
            Ok(())
        }
    })
}

#[cfg(test)]
mod tests;
