//! The register as a file: who may write it, and how.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::error::CaError;
use super::register::Register;
use crate::files::{self, SECRET};

pub(super) const CERTIFICATE: &str = "ca.crt";
pub(super) const KEY: &str = "ca.key";
pub(super) const LIST: &str = "ca.crl";
pub(super) const REGISTER: &str = "register";
pub(super) const LOCK: &str = "register.lock";
pub(super) const LAST_SEEN: &str = "last-seen";

/// How long to wait for another command. None of them waits for a person while it holds the lock.
const PATIENCE: Duration = Duration::from_secs(10);

/// The folder of the CA.
#[derive(Clone, Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// The one in the state folder of a gate.
    pub(super) fn below(state: &Path) -> Self {
        Self(state.join("admin"))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Reads the register.
    pub(super) fn register(&self) -> Result<Register, CaError> {
        let path = self.file(REGISTER);
        match fs::read(&path) {
            Ok(bytes) => Register::parse(&bytes).map_err(|reason| CaError::Damaged { path, reason }),
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.has_lost_its_register() => {
                Err(CaError::Damaged { path, reason: "it is missing, although the CA is there".into() })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(CaError::NoAuthority(self.0.clone()))
            }
            Err(error) => Err(CaError::file(&path, "read")(error)),
        }
    }

    /// Whether there is a CA of ours: then there was a register. (A lone `ca.crt` may be somebody's who put the
    /// certificate of another CA where the gate looks by default.)
    pub(super) fn has_lost_its_register(&self) -> bool {
        [KEY, LOCK].iter().any(|name| fs::symlink_metadata(self.file(name)).is_ok())
    }
}

/// The one who may write the register, as long as it lives.
pub(super) struct Writer<'a> {
    folder: &'a Folder,
    pub(super) register: Register,
    /// Closing it gives the lock back, and so does the end of the process, however it ends.
    _lock: File,
}

impl<'a> Writer<'a> {
    /// Waits for the lock, then reads the register.
    pub(super) fn open(folder: &'a Folder) -> Result<Self, CaError> {
        let path = folder.file(LOCK);
        // Says "no CA" or "damaged" before it complains about the lock.
        folder.register()?;
        let lock = files::open_lock(&path).map_err(CaError::file(&path, "opened"))?;
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            if error != rustix::io::Errno::WOULDBLOCK {
                return Err(CaError::file(&path, "locked")(error.into()));
            }
            if Instant::now() >= deadline {
                return Err(CaError::Busy(path));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(Self { folder, register: folder.register()?, _lock: lock })
    }

    /// Writes the register whole. When this returns, it is on disk.
    pub(super) fn save(&mut self) -> Result<(), CaError> {
        self.register.revision += 1;
        let path = self.folder.file(REGISTER);
        let contents = self.register.encode().map_err(CaError::crypto("write the register"))?;
        files::replace(&path, &contents, SECRET).map_err(CaError::file(&path, "written"))
    }
}
