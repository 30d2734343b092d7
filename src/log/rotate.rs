//! Putting a log file aside when it is full or old, so that no line is lost or doubled whenever we are killed.
//!
//! The file gets another name in one step, and the next one is made. Its new name has the time, so that names sort as
//! their lines do. What happens to it then (compression, and removal when there are too many) is [`super::keep`]'s.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};

use super::keep::{Keeper, newest_stamp, with_suffix};
use super::sink::open_file;
use super::time::{parse_stamp, since_1970, stamp};
use crate::config::Rotate;

/// How often to try anew to open a file that others put aside meanwhile.
const TRIES: usize = 100;
/// How long to wait when a file that is too old could not be put aside.
const LATER: Duration = Duration::from_secs(60);

/// A log file that is being written.
pub(super) struct LogFile {
    file: File,
    /// Without links: what is put aside stays in the folder of the file itself.
    path: PathBuf,
    size: u64,
    /// When its first line may have been written.
    begun: SystemTime,
    /// By how much it may be larger than the rules say, because it could not be put aside.
    extra: u64,
    /// When the last one was put aside, by its name.
    last_aside: Option<u64>,
    keeper: Keeper,
}

impl LogFile {
    /// Takes over `file`, which was opened as `path`.
    pub(super) fn new(file: File, path: &Path, rules: &Rotate) -> io::Result<Self> {
        let path = fs::canonicalize(path)?;
        let (file, size, begun) = hold(file, &path)?;
        let file =
            Self { file, keeper: Keeper::start(&path)?, path, size, begun, extra: 0, last_aside: None };
        // What a gate that was killed left undone.
        file.keep_house(rules);
        Ok(file)
    }

    /// Its name.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether its name still leads to it.
    pub(super) fn is_in_place(&self) -> bool {
        is_at(&self.file, &self.path)
    }

    /// How many bytes of `lines`, to the end of a line, may go into it. 0: put it aside first.
    pub(super) fn fit(&self, lines: &[u8], rules: &Rotate) -> usize {
        let room = rules.size.saturating_add(self.extra).saturating_sub(self.size);
        if lines.len() as u64 <= room {
            return lines.len();
        }
        let room = usize::try_from(room).unwrap_or(lines.len());
        let last = |end: usize| lines[..end].iter().rposition(|&byte| byte == b'\n').map(|at| at + 1);
        match last(room) {
            Some(end) => end,
            // A line that is larger than a file has a file of its own.
            None if self.size == 0 => {
                lines.iter().position(|&byte| byte == b'\n').map_or(lines.len(), |at| at + 1)
            }
            None => 0,
        }
    }

    /// Whether lines have been in it for longer than `rules` say.
    pub(super) fn is_too_old(&self, rules: &Rotate) -> bool {
        let is_old = |most| match SystemTime::now().duration_since(self.begun) {
            Ok(age) => age >= most,
            // Nothing begins later than that: the clock was set back, and would not get there for years.
            Err(ahead) => ahead.duration() > LATER,
        };
        self.size > 0 && rules.age.is_some_and(is_old)
    }

    /// Puts off what [`Self::fit`] and [`Self::is_too_old`] ask for: a file that cannot be put aside had better grow
    /// than lose lines.
    pub(super) fn try_again_later(&mut self, rules: &Rotate) {
        self.extra = self.extra.saturating_add(rules.size);
        let later = SystemTime::now() + LATER;
        self.begun = later.checked_sub(rules.age.unwrap_or_default()).unwrap_or(later);
    }

    /// Gives the file another name and begins a new one.
    pub(super) fn put_aside(&mut self, rules: &Rotate) -> io::Result<()> {
        if self.is_in_place() {
            let name = self.name_aside()?;
            fs::rename(&self.path, name)?;
        }
        // From here on the old file is out of the way: if the new one cannot be opened, the next try begins with it.
        let (file, size, begun) = hold(open_file(&self.path)?, &self.path)?;
        (self.file, self.size, self.begun, self.extra) = (file, size, begun, 0);
        self.keep_house(rules);
        Ok(())
    }

    /// Has what was put aside compressed, and what is too much removed.
    pub(super) fn keep_house(&self, rules: &Rotate) {
        self.keeper.wake(rules.keep);
    }

    /// A name that no file has, and that sorts behind those put aside before, whatever the clock says.
    fn name_aside(&mut self) -> io::Result<PathBuf> {
        let now = since_1970(SystemTime::now()).as_secs();
        let newest = newest_stamp(&self.path)?.and_then(|newest| parse_stamp(&newest)).max(self.last_aside);
        let mut at = newest.map_or(now, |newest| now.max(newest + 1));
        loop {
            let name = with_suffix(&self.path, &format!("-{}", stamp(at)));
            // One that gets another name while the folder is read may not be seen in it at all, and what has a name is
            // lost when another file gets it. The order matters: it is the first name, and then the second.
            if !exists(&name) && !exists(&with_suffix(&name, ".gz")) {
                self.last_aside = Some(at);
                return Ok(name);
            }
            at += 1;
        }
    }
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Marks `file` as being written, so that no other gate compresses it meanwhile; another one, where `path` has come to
/// mean another one. Its size, and when it was begun.
fn hold(mut file: File, path: &Path) -> io::Result<(File, u64, SystemTime)> {
    for _ in 0..TRIES {
        // Where a file system knows no locks, one gate to a file is all there can be.
        let _ = flock(&file, FlockOperation::LockShared);
        if is_at(&file, path) {
            let metadata = file.metadata()?;
            // A file system that does not know when a file was made knows when it was last written, which is later.
            let begun = if metadata.len() == 0 {
                Ok(SystemTime::now())
            } else {
                metadata.created().or(metadata.modified())
            };
            return Ok((file, metadata.len(), begun?));
        }
        file = open_file(path)?;
    }
    Err(io::Error::other("it is put aside again and again"))
}

/// Whether `path` leads to `file`.
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(named)) = (file.metadata(), fs::metadata(path)) else { return false };
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}
