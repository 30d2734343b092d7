//! One process orders at a time.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::files;

/// Held while ordering. The system lets go of it when the process ends, however it does: there is nothing stale to
/// clean up.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the state folder; none while another process has it.
    pub(super) fn try_take(state: &Path) -> io::Result<Option<Self>> {
        let path = state.join("acme/lock");
        Self::open(&path)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    }

    fn open(path: &Path) -> io::Result<Option<Self>> {
        let folder = path.parent().unwrap_or(Path::new("."));
        files::make_folder(folder)?;
        let file = files::open_lock(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_has_the_lock_until_it_lets_go() {
        let state = tempfile::tempdir().unwrap();
        let held = Lock::try_take(state.path()).unwrap();
        assert!(held.is_some());
        assert!(Lock::try_take(state.path()).unwrap().is_none());
        drop(held);
        assert!(Lock::try_take(state.path()).unwrap().is_some());
    }

    #[test]
    fn a_link_in_its_place_is_refused() {
        let (state, outside) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
        std::fs::create_dir(state.path().join("acme")).unwrap();
        std::os::unix::fs::symlink(outside.path(), state.path().join("acme/lock")).unwrap();
        let refused = Lock::try_take(state.path()).unwrap_err().to_string();
        assert!(refused.contains("acme/lock"), "{refused}");
    }
}
