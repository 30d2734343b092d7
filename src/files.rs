//! Files that are there in full or not at all, whatever the power does.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Everything below the state folder is its owner's alone.
const OWNER_ONLY: u32 = 0o600;

/// Puts `content` at `path`: readers see all of the old file or all of the new one.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    make_folder(folder)?;
    let fresh = folder.join(fresh_name());
    let written = write_new(&fresh, content).and_then(|()| fs::rename(&fresh, path));
    if let Err(error) = written {
        // What could not be finished is nobody's; a full disk is glad of the space.
        let _ = fs::remove_file(&fresh);
        return Err(error);
    }
    sync_folder(folder)
}

/// Writes a file that is not there yet, down to the disk.
pub(crate) fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Makes sure that names in `folder` are on disk.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes `folder`, and those above it, for their owner only.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    folder.parent().map_or(Ok(()), sync_folder)
}

/// A name that nobody else uses: not another process, and not an earlier one with our number.
pub(crate) fn fresh_name() -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let moment = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!(".new-{}-{moment:x}-{count}", std::process::id()).into()
}

/// Removes a file; one that is not there counts as removed.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What a JSON file holds.
pub(crate) enum Content<T> {
    /// There is no such file.
    Missing,
    /// What it says.
    Good(T),
    /// It says nothing that can be understood, and why.
    Damaged(String),
}

/// Reads a JSON file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Content<T> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Content::Missing,
        Err(error) => Content::Damaged(error.to_string()),
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(value) => Content::Good(value),
            Err(error) => Content::Damaged(error.to_string()),
        },
    }
}

/// Writes a JSON file that people may want to read.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let mut json = serde_json::to_vec_pretty(value)?;
    json.push(b'\n');
    write_atomically(path, &json)
}
