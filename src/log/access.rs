//! The access log as requests see it: a line is made where the request is, and written elsewhere.

use std::sync::Arc;

use super::anonymise::Anonymiser;
use super::entry::Entry;
use super::writer::Writer;
use crate::config::{LogFormat, Rotate};

/// One of the two access logs, shared by all workers.
///
/// What is written, and how, is a matter of a configuration; where to is a [`Writer`], which outlives it.
#[derive(Debug)]
pub struct AccessLog {
    anonymiser: Anonymiser,
    format: LogFormat,
    writer: Option<Arc<Writer>>,
}

impl AccessLog {
    /// A log in `format` that `writer` writes; without one it writes nothing.
    pub fn new(writer: Option<Arc<Writer>>, format: LogFormat, anonymiser: Anonymiser) -> Self {
        Self { anonymiser, format, writer }
    }

    /// A log that writes nothing.
    pub fn off() -> Self {
        Self::new(None, LogFormat::Combined, Anonymiser::new(32, 128))
    }

    /// Notes a request. Costs no system call and, but for one line in hundreds, no allocation.
    pub fn record(&self, entry: &Entry<'_>) {
        let Some(writer) = &self.writer else { return };
        writer.append(|lines, dates| entry.write(self.format, self.anonymiser, dates, lines));
    }

    /// What writes it.
    pub fn writer(&self) -> Option<&Arc<Writer>> {
        self.writer.as_ref()
    }

    /// Opens the file anew, which somebody has put aside.
    pub fn reopen(&self) {
        if let Some(writer) = &self.writer {
            writer.reopen();
        }
    }

    /// Puts the file aside by other rules from now on.
    pub fn rotate_by(&self, rules: &Rotate) {
        if let Some(writer) = &self.writer {
            writer.rotate_by(rules);
        }
    }

    /// Waits until all that was noted is written, for a moment at the most.
    pub fn close(&self) {
        if let Some(writer) = &self.writer {
            writer.sync();
        }
    }
}
