//! The access log as requests see it: a buffer, sent to the writer in batches.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::anonymise::Anonymiser;
use super::combined::Entry;
use super::writer::{self, Message};
use crate::config::LogTarget;

/// A batch is sent when it is this large, or at the next `flush`.
const BATCH: usize = 32 * 1024;
/// How long to wait for the disk at the end.
const CLOSING: Duration = Duration::from_secs(2);

/// One of the two access logs, shared by all workers.
#[derive(Debug)]
pub struct AccessLog {
    anonymiser: Anonymiser,
    writer: Option<SyncSender<Message>>,
    // Held for the formatting of one line. With a worker per core that is rarely contended.
    buffer: Mutex<Vec<u8>>,
}

static DROPPED: AtomicU64 = AtomicU64::new(0);

impl AccessLog {
    /// Opens what `target` names.
    pub fn open(target: &LogTarget, anonymiser: Anonymiser) -> io::Result<Self> {
        let writer = match target {
            LogTarget::Off => None,
            LogTarget::Stdout => Some(writer::start(Box::new(io::stdout()), "on stdout".into())?),
            LogTarget::File(path) => {
                let file = writer::open(path)?;
                Some(writer::start(Box::new(file), path.display().to_string())?)
            }
        };
        Ok(Self { anonymiser, writer, buffer: Mutex::default() })
    }

    /// A log that writes nothing: what is left when the real one cannot be opened.
    pub fn off(anonymiser: Anonymiser) -> Self {
        Self { anonymiser, writer: None, buffer: Mutex::default() }
    }

    /// Notes a request.
    pub fn record(&self, entry: &Entry<'_>) {
        if self.writer.is_none() {
            return;
        }
        let mut buffer = self.lock();
        entry.write(self.anonymiser, &mut buffer);
        if buffer.len() >= BATCH {
            self.send(std::mem::take(&mut buffer));
        }
    }

    /// Sends what is waiting.
    pub fn flush(&self) {
        let batch = std::mem::take(&mut *self.lock());
        if !batch.is_empty() {
            self.send(batch);
        }
    }

    /// Sends what is waiting, and waits until it is written, for a moment at the most.
    pub fn close(&self) {
        self.flush();
        let Some(writer) = &self.writer else { return };
        let (done, wait) = sync_channel(1);
        if writer.try_send(Message::Sync(done)).is_ok() {
            // A disk that hangs should not keep the gate from ending.
            let _ = wait.recv_timeout(CLOSING);
        }
    }

    fn send(&self, batch: Vec<u8>) {
        let Some(writer) = &self.writer else { return };
        if let Err(TrySendError::Full(lost) | TrySendError::Disconnected(lost)) =
            writer.try_send(Message::Lines(batch))
            && let Message::Lines(lines) = lost
        {
            let lines = lines.iter().filter(|&&byte| byte == b'\n').count();
            DROPPED.fetch_add(lines as u64, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        // Lines are appended whole: what a panic left behind is still a log.
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Lines dropped since the start because the disk or the pipe could not keep up.
pub fn dropped_lines() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}
