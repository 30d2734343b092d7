//! Which files and folders a configuration needs, and where they really are.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::config::{Certificate, Config, Eab, HmacKey, LogTarget};
use crate::upgrade::Use;

/// Links on the way to one file, at most: as many as Linux follows.
const MOST_LINKS: usize = 40;

/// A file or folder that the configuration names.
#[derive(Clone, Debug)]
pub(crate) struct Need {
    /// The key that names it.
    pub(crate) key: String,
    pub(crate) path: PathBuf,
    /// Else it is a file: what counts is its folder, in which it may be replaced.
    pub(crate) is_folder: bool,
    /// The folder may be removed by hand while the gate runs; then it is made again: another one, of the same name.
    pub(crate) is_expendable: bool,
    pub(crate) uses: Use,
}

/// All that `config` names.
pub(crate) fn needs(config: &Config) -> Vec<Need> {
    let mut needs = Vec::new();
    let mut add = |key: &str, path: &Path, is_folder, uses| {
        let is_expendable = key == "paths.cache";
        needs.push(Need { key: key.to_owned(), path: path.to_owned(), is_folder, is_expendable, uses });
    };
    add("paths.state", &config.paths.state, true, Use::Write);
    add("paths.cache", &config.paths.cache, true, Use::Write);
    add("paths.control", &config.paths.control, false, Use::Write);
    add("paths.pid", &config.paths.pid, false, Use::Write);
    for (key, target) in
        [("access_log.http", &config.access_log.http), ("access_log.https", &config.access_log.https)]
    {
        if let LogTarget::File(path) = target {
            add(key, path, is_device(path), Use::Write);
        }
    }
    add("the configuration", &config.origin, false, Use::Read);
    for site in &config.sites {
        if let Certificate::Files { chain, key } = &site.certificate {
            add("site.certificate.chain", chain, false, Use::Read);
            add("site.certificate.key", key, false, Use::Read);
        }
        if let Some(folder) = &site.webroot {
            add("site.webroot", folder, true, Use::Read);
        }
    }
    add("admin.client_ca", &config.admin.client_ca, false, Use::Read);
    config.admin.crl.iter().for_each(|path| add("admin.crl", path, false, Use::Read));
    let fallback = config.acme.fallback.as_ref();
    let ca_files = [&config.acme.ca_file, &fallback.and_then(|fallback| fallback.ca_file.clone())];
    ca_files.into_iter().flatten().for_each(|path| add("acme.ca_file", path, false, Use::Read));
    let accounts = [config.acme.eab.as_ref(), fallback.and_then(|fallback| fallback.eab.as_ref())];
    for account in accounts.into_iter().flatten() {
        if let Eab { hmac_key: HmacKey::File(path), .. } = account {
            add("acme.eab.hmac_key_file", path, false, Use::Read);
        }
    }
    needs
}

/// Pipes, terminals and the like are what they are; nothing is put aside beside them.
fn is_device(path: &Path) -> bool {
    path.starts_with("/dev") || path.starts_with("/proc")
}

impl Need {
    /// A file that nothing names and that may be read all the same.
    pub(crate) fn read(path: &Path) -> Self {
        let path = path.to_owned();
        Self { key: String::new(), path, is_folder: false, is_expendable: false, uses: Use::Read }
    }

    /// The folder that is written to.
    pub(crate) fn folder(&self) -> PathBuf {
        match self.is_folder {
            true => self.path.clone(),
            false => self.path.parent().unwrap_or(Path::new("/")).to_owned(),
        }
    }

    /// The folders in which it is, or will be: where its name is, where links on the way lead, and where a link is that
    /// may be turned to another place beside it, as certbot and our own store turn theirs.
    pub(crate) fn places(&self) -> BTreeSet<PathBuf> {
        let mut places = BTreeSet::new();
        let mut path = match self.is_folder {
            // Any name: what counts is what it is in.
            true => self.path.join("x"),
            false => self.path.clone(),
        };
        for _ in 0..MOST_LINKS {
            places.extend(path.parent().map(Path::to_owned));
            let Some((link, target, rest)) = first_link(&path) else { break };
            let above = link.parent().unwrap_or(Path::new("/"));
            let stays =
                target.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
            if stays {
                places.insert(above.to_owned());
            }
            path = plain(&above.join(target).join(rest));
        }
        // Whatever was taken for what it is not above: where it is now.
        places.extend(self.path.canonicalize().ok().and_then(|path| match self.is_folder {
            true => Some(path),
            false => path.parent().map(Path::to_owned),
        }));
        places
    }
}

/// The first component of `path` that is a link, where it leads, and what comes behind it.
fn first_link(path: &Path) -> Option<(PathBuf, PathBuf, PathBuf)> {
    let mut upper: Vec<&Path> = path.ancestors().collect();
    upper.reverse();
    upper.into_iter().find_map(|upper| {
        let target = fs::read_link(upper).ok()?;
        let rest = path.strip_prefix(upper).ok()?;
        Some((upper.to_owned(), target, rest.to_owned()))
    })
}

/// Without `..`: nothing before it is a link, as a rule, so that it means what it says.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

/// Where `path` is, without links; of one that does not exist, where it would be.
pub(crate) fn real(path: &Path) -> PathBuf {
    let there = existing(path);
    let rest = path.strip_prefix(there).unwrap_or(Path::new(""));
    let real = there.canonicalize().unwrap_or_else(|_| there.to_owned());
    // Joining nothing would leave a slash at the end.
    if rest.as_os_str().is_empty() { real } else { real.join(rest) }
}

/// `path`, or the nearest above it that is there.
pub(crate) fn existing(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"))
}
