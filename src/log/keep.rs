//! What becomes of log files that were put aside: they are compressed, and the oldest go.
//!
//! At any moment, also when we are killed, each line is in exactly one file that a reader would take for a log. A
//! file is compressed under a name that begins with a dot; that one then takes the place of the original in one step, and
//! gets the name that tells what it is in another. Between the two it is compressed and not called so, which `zcat -f`
//! does not mind, and the next start puts it right.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tracing::warn;

use super::rotate::is_at;
use super::time::parse_stamp;

/// The length of a stamp, "20261122T203200Z".
const STAMP: usize = 16;
/// How a file begins that gzip made (RFC 1952 section 2.3.1). No log line begins so.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A thread that keeps what was put aside in order. Ends when this is dropped.
pub(super) struct Keeper {
    wake: SyncSender<()>,
    keep: Arc<AtomicU32>,
}

impl Keeper {
    /// Starts one for the log file `path`.
    pub(super) fn start(path: &Path) -> io::Result<Self> {
        // One that wakes up does all there is to do: there is no point in more than one call waiting.
        let (wake, woken) = sync_channel(1);
        let keep = Arc::new(AtomicU32::new(u32::MAX));
        let (path, limit) = (path.to_owned(), keep.clone());
        thread::Builder::new().name("log-keeper".into()).spawn(move || {
            let mut told = None;
            for () in woken {
                let problem = keep_house(&path, &limit).err().map(|error| error.to_string());
                if let Some(problem) = problem.as_ref().filter(|problem| told.as_ref() != Some(*problem)) {
                    warn!("access log {}: what was put aside is not in order: {problem}", path.display());
                }
                told = problem;
            }
        })?;
        Ok(Self { wake, keep })
    }

    /// Has it look, and keep so many files at the most.
    pub(super) fn wake(&self, keep: u32) {
        self.keep.store(keep, Ordering::Relaxed);
        let _ = self.wake.try_send(());
    }
}

/// A file that was put aside.
struct Aside {
    path: PathBuf,
    stamp: String,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Compressed,
    Unfinished,
}

/// The stamp of the file that was put aside last.
pub(super) fn newest_stamp(log: &Path) -> io::Result<Option<String>> {
    Ok(list(log)?.pop().map(|file| file.stamp))
}

fn keep_house(log: &Path, keep: &AtomicU32) -> io::Result<()> {
    let files = list(log)?;
    let is_there = |stamp: &str| files.iter().any(|file| file.stamp == stamp && file.kind == Kind::Plain);
    for file in files.iter().filter(|file| file.kind == Kind::Unfinished && !is_there(&file.stamp)) {
        remove(&file.path)?;
    }
    for file in files.iter().filter(|file| file.kind == Kind::Plain) {
        // Before each, as more may have been put aside while the last one was compressed.
        prune(log, keep)?;
        match compress(&file.path) {
            // It was one too many.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result?,
        }
    }
    prune(log, keep)
}

/// Removes the oldest files until there are no more than `keep`.
fn prune(log: &Path, keep: &AtomicU32) -> io::Result<()> {
    let mut files = list(log)?;
    files.retain(|file| file.kind != Kind::Unfinished);
    // One that gets another name while the folder is read may be seen twice.
    files.dedup_by(|one, other| one.stamp == other.stamp);
    let keep = usize::try_from(keep.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
    let excess = files.len().saturating_sub(keep);
    files[..excess].iter().try_for_each(|file| remove(&file.path))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Compresses `path`, unless another gate still writes it: then it is left for the next time.
fn compress(path: &Path) -> io::Result<()> {
    let mut original = File::open(path)?;
    if flock(&original, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
        return Ok(());
    }
    // Another gate may have compressed it before we had the lock.
    if !is_at(&original, path) {
        return Ok(());
    }
    if !is_gzip(path)? {
        let unfinished = unfinished(path);
        // One that is there was left by somebody who was killed.
        remove(&unfinished)?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(&unfinished)?;
        let mut encoder = GzEncoder::new(file, Compression::default());
        io::copy(&mut original, &mut encoder)?;
        encoder.finish()?.sync_all()?;
        fs::set_permissions(&unfinished, original.metadata()?.permissions())?;
        fs::rename(&unfinished, path)?;
    }
    fs::rename(path, with_suffix(path, ".gz"))
}

fn is_gzip(path: &Path) -> io::Result<bool> {
    let mut beginning = Vec::new();
    File::open(path)?.take(GZIP.len() as u64).read_to_end(&mut beginning)?;
    Ok(beginning == GZIP)
}

/// Where `path` is compressed to at first: no pattern for logs has it.
fn unfinished(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".gz.tmp");
    path.with_file_name(name)
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(suffix);
    name.into()
}

/// What was put aside of `log`, oldest first.
fn list(log: &Path) -> io::Result<Vec<Aside>> {
    let (Some(folder), Some(name)) = (log.parent(), log.file_name()) else { return Ok(Vec::new()) };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let found = entry.file_name();
        let found = found.as_encoded_bytes();
        let (is_hidden, found) = found.strip_prefix(b".").map_or((false, found), |found| (true, found));
        let Some(rest) = found.strip_prefix(name.as_encoded_bytes()) else { continue };
        let Some(rest) = rest.strip_prefix(b"-").and_then(|rest| std::str::from_utf8(rest).ok()) else {
            continue;
        };
        let Some((stamp, suffix)) = rest.split_at_checked(STAMP) else { continue };
        let kind = match (is_hidden, suffix) {
            (false, "") => Kind::Plain,
            (false, ".gz") => Kind::Compressed,
            (true, ".gz.tmp") => Kind::Unfinished,
            _ => continue,
        };
        if parse_stamp(stamp).is_some() {
            files.push(Aside { path: entry.path(), stamp: stamp.to_owned(), kind });
        }
    }
    files.sort_by(|one, other| one.stamp.cmp(&other.stamp));
    Ok(files)
}
