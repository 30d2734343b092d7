//! Why there is no new certificate, in words for an operator.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use instant_acme::{Error, Problem};

/// A try that came to nothing.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Failure {
    /// What stands in the log and in `cert list`.
    pub message: String,
    /// Who might do better.
    pub blame: Blame,
    /// How long the CA wants to be left alone.
    pub retry_after: Option<Duration>,
}

/// Who might do better next time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    /// This machine: another CA would not help.
    Us,
    /// The CA, or the way there: another one may help.
    Ca,
}

impl Failure {
    pub(super) fn us(message: impl Into<String>) -> Self {
        Self { message: message.into(), blame: Blame::Us, retry_after: None }
    }

    pub(super) fn ca(message: impl Into<String>) -> Self {
        Self { message: message.into(), blame: Blame::Ca, retry_after: None }
    }

    pub(super) fn retry_after(mut self, wait: impl Into<Option<Duration>>) -> Self {
        self.retry_after = wait.into();
        self
    }

    /// A file of ours that could not be written: usually the disk is full, or the folder somebody else's.
    pub(super) fn file(path: &Path, error: &io::Error) -> Self {
        Self::us(format!("{}: {error}", path.display()))
    }

    /// What the CA answered, or that it did not, while we were `doing` something.
    pub(super) fn of(doing: &str, error: &Error) -> Self {
        Self::ca(format!("{doing}: {}", describe(error)))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// An error in words that may be shown.
pub(super) fn describe(error: &Error) -> String {
    match error {
        Error::Api(problem) => in_words(problem),
        other => clean(&other.to_string()),
    }
}

/// A problem document (RFC 8555 section 6.7), on one line.
pub(super) fn in_words(problem: &Problem) -> String {
    let detail = problem.detail.as_deref().unwrap_or("no reason given");
    let mut words = clean(detail);
    if let Some(kind) = problem.r#type.as_deref() {
        words.push_str(&format!(" ({})", kind.trim_start_matches("urn:ietf:params:acme:error:")));
    }
    for part in &problem.subproblems {
        words.push_str(&format!("; {part}"));
    }
    clean(&words)
}

/// What others wrote goes to a terminal: one line of it, of bearable length, and nothing that steers one.
pub(super) fn clean(text: &str) -> String {
    const LONGEST: usize = 600;
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    let mut clean: String = text.chars().take(LONGEST).map(printable).collect();
    if text.chars().nth(LONGEST).is_some() {
        clean.push('…');
    }
    clean
}

/// Whether the CA answered with the problem `kind` (RFC 8555 section 6.7).
pub(super) fn is(error: &Error, kind: &str) -> bool {
    let Error::Api(problem) = error else { return false };
    problem.r#type.as_deref().and_then(|full| full.strip_prefix("urn:ietf:params:acme:error:")) == Some(kind)
}

/// The status of an answer that was a problem.
pub(super) fn status(error: &Error) -> Option<u16> {
    match error {
        Error::Api(problem) => problem.status,
        _ => None,
    }
}

/// The CA has decided, and would again. Not so when it is busy, or has trouble of its own.
pub(super) fn is_refusal(error: &Error) -> bool {
    let Error::Api(problem) = error else { return false };
    let passing = ["rateLimited", "serverInternal", "badNonce"].iter().any(|kind| is(error, kind));
    !passing && problem.status.is_none_or(|status| (400..500).contains(&status) && status != 429)
}

/// Tries again what the CA refused for its nonce alone (RFC 8555 section 6.5). instant-acme does so too, three times
/// in all; a CA that is asked through several front ends may need more.
macro_rules! patiently {
    ($request:expr) => {{
        let mut left = 6;
        loop {
            match $request.await {
                Err(error) if $crate::acme::failure::is(&error, "badNonce") && left > 0 => left -= 1,
                other => break other,
            }
        }
    }};
}
pub(super) use patiently;
