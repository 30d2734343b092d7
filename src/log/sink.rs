//! Where lines end up: a file that is put aside now and then, a pipe, a terminal.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;
use tracing::{info, warn};

use super::rotate::LogFile;
use super::writer::{count_dropped, count_lines};
use crate::config::{LogTarget, Rotate};

/// How long to leave a full pipe alone.
const BREATH: Duration = Duration::from_millis(20);

/// One place for lines.
pub(super) struct Sink {
    target: LogTarget,
    rules: Rotate,
    out: Option<Out>,
    /// The rest of a line of which the beginning is written already.
    torn: Vec<u8>,
    /// Lines lost since it was last said that some are; none when all is well.
    failing: Option<u64>,
}

enum Out {
    /// Grows, and is put aside.
    File(LogFile),
    /// Pipes, terminals and other devices.
    Stream(File),
}

impl Sink {
    /// Opens nothing yet. None for [`LogTarget::Off`].
    pub(super) fn new(target: &LogTarget, rules: Rotate) -> Option<Self> {
        let is_off = matches!(target, LogTarget::Off);
        (!is_off).then(|| Self { target: target.clone(), rules, out: None, torn: Vec::new(), failing: None })
    }

    /// Opens it, unless it is open. A pipe that nobody reads is no error: somebody may.
    pub(super) fn open(&mut self) -> io::Result<()> {
        if self.out.is_none() {
            self.out = match open(&self.target, &self.rules) {
                Err(error) if is_unread_pipe(&error) => None,
                opened => Some(opened?),
            };
        }
        Ok(())
    }

    /// Writes whole lines. What cannot be written is dropped and counted. A full pipe is waited for, unless the case
    /// is `hopeless`.
    pub(super) fn write(&mut self, lines: &[u8], hopeless: &mut dyn FnMut() -> bool) {
        match self.try_write(lines, hopeless) {
            Ok(()) => {
                if let Some(lost) = self.failing.take() {
                    info!("access log {}: can be written again; {lost} lines were lost", self.name());
                }
            }
            Err((written, error)) => {
                // A line that was begun is finished when writing works again.
                let rest = &lines[written..];
                let begun = written > 0 && lines[written - 1] != b'\n';
                let end = rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |end| end + 1);
                let (torn, lost) = rest.split_at(if begun { end } else { 0 });
                self.torn.extend_from_slice(torn);
                let lost = count_lines(lost);
                count_dropped(lost);
                match &mut self.failing {
                    Some(before) => *before += lost,
                    // Said once, not once per line.
                    None => {
                        self.failing = Some(lost);
                        warn!(
                            "access log {}: cannot be written: {error}; lines are lost until it can",
                            self.name()
                        );
                    }
                }
                if matches!(self.out, Some(Out::Stream(_))) {
                    // A reader that left may be followed by another one.
                    self.leave();
                }
            }
        }
    }

    /// How many bytes of `lines` were written before the error came.
    fn try_write(
        &mut self,
        lines: &[u8],
        hopeless: &mut dyn FnMut() -> bool,
    ) -> Result<(), (usize, io::Error)> {
        if let Some(Out::File(file)) = &self.out
            && !file.is_in_place()
        {
            // Somebody has put it aside: another gate on the same file, or logrotate.
            self.leave();
        }
        self.open().map_err(|error| (0, error))?;
        match &mut self.out {
            None => Err((0, io::Error::other("nobody reads the pipe"))),
            Some(Out::Stream(stream)) => {
                finish_line(stream, &mut self.torn, hopeless)?;
                put(stream, lines, hopeless)
            }
            Some(Out::File(file)) => {
                finish_line(file, &mut self.torn, hopeless)?;
                let mut written = 0;
                while written < lines.len() {
                    let rest = &lines[written..];
                    let fit = file.fit(rest, &self.rules);
                    if fit == 0 {
                        if let Err(error) = file.put_aside(&self.rules) {
                            not_put_aside(file, &self.rules, error).map_err(|error| (written, error))?;
                        }
                        continue;
                    }
                    put(file, &rest[..fit], hopeless).map_err(|(more, error)| (written + more, error))?;
                    written += fit;
                }
                Ok(())
            }
        }
    }

    /// Follows other rules from now on.
    pub(super) fn rotate_by(&mut self, rules: Rotate) {
        self.rules = rules;
        if let Some(Out::File(file)) = &self.out {
            file.keep_house(&self.rules);
        }
    }

    /// Opens anew what has this name now.
    pub(super) fn reopen(&mut self) {
        if let LogTarget::File(_) = self.target {
            self.leave();
            if let Err(error) = self.open() {
                warn!("access log {}: cannot be opened again: {error}", self.name());
            }
        }
    }

    /// Puts a file aside that has got too old.
    pub(super) fn look_at_the_clock(&mut self) {
        if let Some(Out::File(file)) = &mut self.out
            && self.torn.is_empty()
            && file.is_in_place()
            && file.is_too_old(&self.rules)
            && let Err(error) = file.put_aside(&self.rules)
        {
            // With the next line, if it is to be opened anew.
            let _ = not_put_aside(file, &self.rules, error);
        }
    }

    fn leave(&mut self) {
        self.out = None;
        // Its beginning is in the other file, and stays a beginning.
        if !self.torn.is_empty() {
            self.torn.clear();
            count_dropped(1);
        }
    }

    fn name(&self) -> String {
        match &self.target {
            LogTarget::File(path) => path.display().to_string(),
            LogTarget::Stdout | LogTarget::Off => "on stdout".into(),
        }
    }
}

/// Goes on with a file that is where it was; gives the error back if it is not.
fn not_put_aside(file: &mut LogFile, rules: &Rotate, error: io::Error) -> io::Result<()> {
    if !file.is_in_place() {
        return Err(error);
    }
    warn!("access log {}: cannot be put aside, and grows on: {error}", file.path().display());
    file.try_again_later(rules);
    Ok(())
}

fn open(target: &LogTarget, rules: &Rotate) -> io::Result<Out> {
    let LogTarget::File(path) = target else {
        // Not by way of std's own buffer, which looks for newlines.
        return Ok(Out::Stream(io::stdout().as_fd().try_clone_to_owned()?.into()));
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let file = open_file(path)?;
    if file.metadata()?.is_file() {
        LogFile::new(file, path, rules).map(Out::File)
    } else {
        Ok(Out::Stream(file))
    }
}

/// Opens `path` for appending, readable by the owner and the group. Does not wait for the reader of a pipe.
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits();
    OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(flags.cast_signed()).open(path)
}

fn is_unread_pipe(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::NXIO.raw_os_error())
}

fn finish_line(
    out: &mut impl Write,
    torn: &mut Vec<u8>,
    hopeless: &mut dyn FnMut() -> bool,
) -> Result<(), (usize, io::Error)> {
    let result = put(out, torn, hopeless);
    match result {
        Ok(()) => torn.clear(),
        Err((written, _)) => drop(torn.drain(..written)),
    }
    result.map_err(|(_, error)| (0, error))
}

fn put(
    out: &mut impl Write,
    bytes: &[u8],
    hopeless: &mut dyn FnMut() -> bool,
) -> Result<(), (usize, io::Error)> {
    let mut written = 0;
    while written < bytes.len() {
        match out.write(&bytes[written..]) {
            Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !hopeless() => thread::sleep(BREATH),
            Err(error) => return Err((written, error)),
        }
    }
    Ok(())
}
