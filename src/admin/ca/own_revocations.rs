//! What our own CA revoked, as the running gate sees it.

use std::collections::HashSet;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::register::Register;
use super::store::{Folder, REGISTER};
use crate::admin::certificate::Certificate;
use crate::admin::closed::Closed;

/// The register, read again whenever it has changed. That is asked before each verdict: one `stat`, next to the
/// signature that is verified for it.
#[derive(Debug)]
pub(in crate::admin) struct OwnRevocations {
    folder: Folder,
    read: ArcSwapOption<Reading>,
}

/// What was read from one version of the file.
#[derive(Debug)]
struct Reading {
    stamp: Stamp,
    revoked: Result<Arc<Revoked>, Closed>,
}

/// Tells versions of the register apart. Each is another file, renamed into place. One that has the inode of an
/// earlier one, and was written within the same tick of the clock, still has another size: entries are only added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    changed: (i64, i64),
    size: u64,
}

/// The serial numbers that do not count any more.
#[derive(Debug, Default)]
pub(in crate::admin) struct Revoked {
    issuer: Vec<u8>,
    serials: HashSet<Vec<u8>>,
}

impl Revoked {
    /// Whether this certificate was revoked here.
    pub(in crate::admin) fn contains(&self, certificate: &Certificate) -> bool {
        certificate.issuer == self.issuer && self.serials.contains(&certificate.serial)
    }
}

impl OwnRevocations {
    /// Of the CA in the state folder `state`, which need not be there yet.
    pub(in crate::admin) fn new(state: &Path) -> Self {
        Self { folder: Folder::below(state), read: ArcSwapOption::empty() }
    }

    /// What is revoked at this moment, or why nobody knows. Without a CA of our own nothing is.
    pub(in crate::admin) fn current(&self) -> Result<Arc<Revoked>, Closed> {
        let path = self.folder.file(REGISTER);
        let stamp = match fs::metadata(&path) {
            Ok(metadata) => Stamp::of(&metadata),
            Err(error) => return self.without(&path, &error),
        };
        let known = self.read.load();
        if let Some(known) = known.as_ref().filter(|known| known.stamp == stamp) {
            return known.revoked.clone();
        }
        match read(&path) {
            Ok(reading) => {
                let revoked = reading.revoked.clone();
                // Another thread may have put a newer one there: then its stamp is wrong for the next verdict,
                // which reads again.
                self.read.store(Some(Arc::new(reading)));
                revoked
            }
            // Not kept: it may be different next time, as with "too many open files".
            Err(error) => self.without(&path, &error),
        }
    }

    fn without(&self, path: &Path, error: &io::Error) -> Result<Arc<Revoked>, Closed> {
        if error.kind() != io::ErrorKind::NotFound {
            return Err(Closed::Unreadable { path: path.to_owned(), reason: error.to_string() });
        }
        if self.folder.has_lost_its_register() {
            let reason = "it is missing, although the CA is there; restore it from a backup that has every \
                          revocation";
            return Err(Closed::invalid(path, reason));
        }
        Ok(Arc::default())
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            size: metadata.size(),
        }
    }
}

/// The stamp is that of the very file that is read.
fn read(path: &Path) -> io::Result<Reading> {
    let mut file = File::open(path)?;
    let stamp = Stamp::of(&file.metadata()?);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let register = Register::parse(&bytes).map_err(|reason| {
        let reason = format!("{reason}; restore it from a backup that has every revocation");
        Closed::invalid(path, reason)
    });
    let revoked = register.map(|register| {
        let revoked = register.entries.iter().filter(|entry| entry.revoked.is_some());
        let serials = revoked.filter_map(|entry| hex::decode(&entry.serial).ok()).collect();
        Arc::new(Revoked { issuer: register.issuer, serials })
    });
    Ok(Reading { stamp, revoked })
}
