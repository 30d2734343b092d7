//! The folder of one space: names, and what is done with files before anybody looks into them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::cache::key::Digest;

/// What is asked of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// A folder is made, or a file in one.
    Create,
    /// Bytes are written.
    Write,
    /// A file is moved into place.
    Rename,
    /// A file is opened for reading.
    Open,
    /// Bytes are read.
    Read,
    /// A file is removed.
    Remove,
}

/// Where a test can make the disk fail.
pub trait Faults: Send + Sync {
    /// Called before each operation; an error is what the operation gives.
    fn check(&self, op: Op) -> io::Result<()>;
}

/// The disk as it is.
#[derive(Debug)]
pub struct NoFaults;

impl Faults for NoFaults {
    fn check(&self, _: Op) -> io::Result<()> {
        Ok(())
    }
}

/// A stored response's name: no two that were ever stored have the same one, so that removing an old one
/// cannot hit its successor. Later ones have greater numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// Of the key.
    pub digest: Digest,
    /// Of this response.
    pub id: u64,
}

impl Name {
    /// A new name.
    pub fn new(digest: Digest) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let now = u64::try_from(now).unwrap_or(u64::MAX / 2);
        let mut id = now;
        // Never fails: the closure gives always something.
        let _ = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
            id = now.max(last + 1);
            Some(id)
        });
        Self { digest, id }
    }

    pub(super) fn file_name(&self) -> String {
        format!("{}-{:016x}", hex::encode(self.digest), self.id)
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        let (digits, id) = name.split_once('-')?;
        if digits.len() != 32 || id.len() != 16 || !digits.is_ascii() {
            return None;
        }
        let mut digest = Digest::default();
        for (at, byte) in digest.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[at * 2..at * 2 + 2], 16).ok()?;
        }
        Some(Self { digest, id: u64::from_str_radix(id, 16).ok()? })
    }
}

/// The folder of one space.
///
/// Files lie in 4096 folders named by the first digits of the key's digest: a million files are some 250 in
/// each. Those in the making lie in a folder of this process.
#[derive(Clone)]
pub struct Files {
    root: PathBuf,
    pub(super) faults: Arc<dyn Faults>,
}

impl Files {
    /// The files below `root`. Touches nothing.
    pub fn new(root: PathBuf, faults: Arc<dyn Faults>) -> Self {
        Self { root, faults }
    }

    /// Where they are.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where `name` is, or would be.
    pub fn path(&self, name: &Name) -> PathBuf {
        let file_name = name.file_name();
        let mut path = PathBuf::with_capacity(self.root.as_os_str().len() + 5 + file_name.len());
        path.extend([self.root.as_path(), file_name[..3].as_ref(), file_name.as_ref()]);
        path
    }

    /// A new file in the making, and its path.
    pub(super) fn create(&self, name: &Name) -> io::Result<(File, PathBuf)> {
        self.faults.check(Op::Create)?;
        let path = self.making(std::process::id()).join(name.file_name());
        let mut options = File::options();
        options.read(true).write(true).create_new(true);
        let file = match options.open(&path) {
            // The first one, or somebody has emptied the cache by hand.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_folders(path.parent().unwrap_or(&self.root))?;
                options.open(&path)?
            }
            other => other?,
        };
        Ok((file, path))
    }

    /// Moves a file from where it was made to where it is looked for.
    pub(super) fn put_in_place(&self, made: &Path, name: &Name) -> io::Result<()> {
        self.faults.check(Op::Rename)?;
        let path = self.path(name);
        match fs::rename(made, &path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_folders(path.parent().unwrap_or(&self.root))?;
                fs::rename(made, &path)
            }
            other => other,
        }
    }

    /// Removes a file. One that is not there is as good as removed.
    pub fn remove(&self, name: &Name) -> io::Result<()> {
        self.faults.check(Op::Remove)?;
        match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Says that a file was used just now: a restart goes by that.
    pub fn touch(&self, name: &Name) -> io::Result<()> {
        File::options().append(true).open(self.path(name))?.set_modified(SystemTime::now())
    }

    /// Removes what processes left half-made that are no more.
    pub(super) fn remove_half_made(&self) {
        let Ok(entries) = fs::read_dir(&self.root) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let process = name.to_str().and_then(|name| name.strip_prefix("making-")).map(str::parse::<u32>);
            // During an upgrade the old process is still at it.
            if let Some(Ok(process)) = process
                && process != std::process::id()
                && !Path::new("/proc").join(process.to_string()).exists()
            {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    fn making(&self, process: u32) -> PathBuf {
        self.root.join(format!("making-{process}"))
    }
}

/// For the owner only: answers may be for few eyes.
fn make_folders(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
