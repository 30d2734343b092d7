//! Noticing that files changed.
//!
//! Files are looked at once a second, through links, so that it makes no difference whether they are written in
//! place, renamed over, or reached through a link that was turned: certbot does the last.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::admin::ca::register_file;
use crate::config::{Certificate, Config};

/// What tells one version of a file from another; none when it is not there.
type Stamp = Option<(u64, u64, i64, i64, u64)>;

/// What files looked like at one moment. To be taken *before* they are read: what is written later is a change.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Look(BTreeMap<PathBuf, Stamp>);

impl Look {
    pub(super) fn at(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(paths.into_iter().map(|path| (path.clone(), stamp(&path))).collect())
    }

    fn again(&self) -> Self {
        Self::at(self.0.keys().cloned())
    }
}

/// The files that are watched.
#[derive(Debug)]
pub(super) struct Watch {
    taken_up: Look,
    last_seen: Look,
    /// Files that belong together are not written in one moment: wait until they have come to rest.
    patient: bool,
}

impl Watch {
    /// Watches the files of `look`, which are taken up as they were then.
    pub(super) fn new(look: Look, patient: bool) -> Self {
        Self { last_seen: look.clone(), taken_up: look, patient }
    }

    /// How the files look now, if that is not what was taken up.
    pub(super) fn changed(&mut self) -> Option<Look> {
        let now = self.taken_up.again();
        let at_rest = now == self.last_seen || !self.patient;
        self.last_seen = now.clone();
        (at_rest && now != self.taken_up).then_some(now)
    }

    /// What was seen in `look` is in force. Until then it is reported again.
    pub(super) fn take_up(&mut self, look: Look) {
        self.taken_up = look;
    }
}

/// The files of a configuration that are watched: those that are served, and those that decide who is let in.
pub(super) struct Watches {
    pub(super) certificates: Watch,
    pub(super) gate: Watch,
}

/// How those files looked, before they were read.
pub(super) struct Looks {
    certificates: Look,
    gate: Look,
}

impl Looks {
    pub(super) fn at(config: &Config) -> Self {
        let pairs = config.sites.iter().filter_map(|site| match &site.certificate {
            Certificate::Files { chain, key } => Some([chain.clone(), key.clone()]),
            _ => None,
        });
        let mut gate = vec![config.admin.client_ca.clone(), register_file(&config.paths.state)];
        gate.extend(config.admin.crl.iter().cloned());
        Self { certificates: Look::at(pairs.flatten()), gate: Look::at(gate) }
    }
}

impl Watches {
    pub(super) fn new(looks: Looks) -> Self {
        // A chain and its key are two files. A revocation is one, and should not wait for a quiet second.
        Self { certificates: Watch::new(looks.certificates, true), gate: Watch::new(looks.gate, false) }
    }
}

fn stamp(path: &Path) -> Stamp {
    let file = std::fs::metadata(path).ok()?;
    // The inode's change time catches what keeps the modification time, such as a copied one.
    let changed = file.ctime().wrapping_mul(1_000_000_000).wrapping_add(file.ctime_nsec());
    Some((file.dev(), file.ino(), file.mtime(), changed, file.size()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn watch(path: &Path) -> Watch {
        Watch::new(Look::at([path.to_owned()]), true)
    }

    #[test]
    fn a_change_is_reported_when_it_has_come_to_rest_until_it_is_taken_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "one").unwrap();
        let mut watch = watch(&path);
        assert_eq!(watch.changed(), None);
        fs::write(&path, "two!").unwrap();
        assert_eq!(watch.changed(), None);
        assert!(watch.changed().is_some());
        let look = watch.changed().unwrap();
        watch.take_up(look);
        assert_eq!(watch.changed(), None);
    }

    #[test]
    fn what_is_written_after_the_look_is_a_change_though_it_came_before_the_watch() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "one").unwrap();
        let look = Look::at([path.clone()]);
        fs::write(&path, "two!").unwrap();
        let mut watch = Watch::new(look, true);
        watch.changed();
        assert!(watch.changed().is_some());
    }

    #[test]
    fn one_that_is_not_patient_reports_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut watch = Watch::new(Look::at([path.clone()]), false);
        fs::write(&path, "x").unwrap();
        assert!(watch.changed().is_some());
    }

    #[test]
    fn a_link_that_is_turned_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new, link) = (folder.path().join("1"), folder.path().join("2"), folder.path().join("live"));
        fs::write(&old, "same").unwrap();
        fs::write(&new, "same").unwrap();
        symlink(&old, &link).unwrap();
        let mut watch = watch(&link);
        fs::remove_file(&link).unwrap();
        symlink(&new, &link).unwrap();
        watch.changed();
        assert!(watch.changed().is_some());
    }
}
