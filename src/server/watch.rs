//! Noticing that files changed.
//!
//! Files are looked at once a second, through links, so that it makes no difference whether they are written in
//! place, renamed over, or reached through a link that was turned: certbot does the last.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What tells one version of a file from another; none when it is not there.
type Stamp = Option<(u64, u64, i64, i64, u64)>;

/// The files that are watched.
#[derive(Debug, Default)]
pub(super) struct Watch {
    taken_up: BTreeMap<PathBuf, Stamp>,
    last_seen: BTreeMap<PathBuf, Stamp>,
}

impl Watch {
    /// Watches `paths` from now on. What they hold now counts as taken up.
    pub(super) fn set(&mut self, paths: impl IntoIterator<Item = PathBuf>) {
        self.taken_up = paths.into_iter().map(|path| (path.clone(), stamp(&path))).collect();
        self.last_seen = self.taken_up.clone();
    }

    /// Whether something changed since it was last taken up, and has come to rest: files that belong together
    /// are not written in one moment.
    pub(super) fn changed(&mut self) -> bool {
        let now: BTreeMap<_, _> = self.taken_up.keys().map(|path| (path.clone(), stamp(path))).collect();
        let at_rest = now == self.last_seen;
        self.last_seen = now;
        if at_rest && self.last_seen != self.taken_up {
            self.taken_up = self.last_seen.clone();
            return true;
        }
        false
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

    #[test]
    fn a_change_is_reported_once_and_only_when_it_has_come_to_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "one").unwrap();
        let mut watch = Watch::default();
        watch.set([path.clone()]);
        assert!(!watch.changed());
        fs::write(&path, "two!").unwrap();
        assert!(!watch.changed());
        assert!(watch.changed());
        assert!(!watch.changed());
    }

    #[test]
    fn a_link_that_is_turned_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new, link) = (folder.path().join("1"), folder.path().join("2"), folder.path().join("live"));
        fs::write(&old, "same").unwrap();
        fs::write(&new, "same").unwrap();
        symlink(&old, &link).unwrap();
        let mut watch = Watch::default();
        watch.set([link.clone()]);
        fs::remove_file(&link).unwrap();
        symlink(&new, &link).unwrap();
        watch.changed();
        assert!(watch.changed());
    }

    #[test]
    fn a_file_that_appears_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.crt");
        let mut watch = Watch::default();
        watch.set([path.clone()]);
        fs::write(&path, "x").unwrap();
        watch.changed();
        assert!(watch.changed());
    }
}
