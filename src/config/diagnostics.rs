//! What is wrong with a configuration file, where, and what to do about it.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::secrets::{without_secrets, without_url_secrets};

/// Every problem of one file, in the order of its lines.
///
/// `Display` is for the terminal. For `--json` it serialises as a list of [`Diagnostic`].
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Diagnostics {
    #[serde(skip)]
    origin: PathBuf,
    items: Vec<Diagnostic>,
}

impl Diagnostics {
    pub(super) fn new(origin: &Path, mut items: Vec<Diagnostic>) -> Self {
        items.sort_by_key(|item| (item.line, item.column));
        Self { origin: origin.to_owned(), items }
    }

    /// The file they are about.
    pub fn origin(&self) -> &Path {
        &self.origin
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// One after the other, by line and column.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.items.iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl std::error::Error for Diagnostics {}

impl fmt::Display for Diagnostics {
    /// One below the other with a blank line between, and no newline at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rendered: Vec<_> = self.items.iter().map(|item| item.render(&self.origin)).collect();
        f.write_str(&rendered.join("\n\n"))
    }
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diagnostic {
    /// Whether the file is refused for it.
    pub severity: Severity,
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// Dotted name of the table or key it is about, such as `cache.static.max_size`; none where the file is
    /// not TOML.
    pub key: Option<String>,
    /// What is wrong, and what was expected.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// The line it stands on.
    #[serde(skip)]
    excerpt: String,
    /// How many characters of it are meant.
    #[serde(skip)]
    width: usize,
}

impl Diagnostic {
    /// The form rustc made well known: message, place, line, caret, help.
    ///
    /// Every character counts as one column wide; under East Asian text the caret stands too far left.
    fn render(&self, origin: &Path) -> String {
        let Self { severity, line, column, message, .. } = self;
        let margin = " ".repeat(line.to_string().len());
        let mut lines = vec![
            format!("{severity}: {message}"),
            format!("{margin}--> {}:{line}:{column}", origin.display()),
            format!("{margin} |"),
            format!("{line} | {}", printable(&self.excerpt)).trim_end().to_owned(),
            format!("{margin} | {}{}", " ".repeat(column - 1), "^".repeat(self.width)),
        ];
        if let Some(hint) = &self.hint {
            lines.push(format!("{margin} = help: {hint}"));
        }
        lines.join("\n")
    }
}

/// How much a [`Diagnostic`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is taken, but says something that is probably not meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// What is wrong with a value, said by one who does not know where in the file it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Complaint {
    message: String,
    hint: Option<String>,
}

impl fmt::Display for Complaint {
    /// For a command line, where there is no place to point at.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hint {
            Some(hint) => write!(f, "{}: {hint}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl Complaint {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    /// Adds `hint` where none is better.
    pub(super) fn or_hint(mut self, hint: &str) -> Self {
        self.hint.get_or_insert_with(|| hint.to_owned());
        self
    }

    /// Puts the complaint where it belongs.
    pub(super) fn at(
        self,
        source: &Source<'_>,
        span: Range<usize>,
        severity: Severity,
        key: Option<String>,
    ) -> Diagnostic {
        let place = source.place(span);
        Diagnostic {
            severity,
            line: place.line,
            column: place.column,
            key,
            message: printable(&without_url_secrets(&self.message)),
            hint: self.hint.as_deref().map(|hint| printable(&without_url_secrets(hint))),
            excerpt: without_secrets(place.excerpt),
            width: place.width,
        }
    }
}

/// The text of a file, for finding the line of a byte.
#[derive(Clone, Copy)]
pub(super) struct Source<'d> {
    pub(super) origin: &'d Path,
    pub(super) text: &'d str,
}

impl<'d> Source<'d> {
    /// Takes any span, also one beyond the end or inside a character: what a parser says is shown, not
    /// trusted.
    fn place(&self, span: Range<usize>) -> Place<'d> {
        let start = self.boundary(span.start);
        let line_start = self.text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = self.text[start..].find('\n').map_or(self.text.len(), |newline| start + newline);
        let end = self.boundary(span.end).clamp(start, line_end);
        Place {
            line: self.text[..line_start].matches('\n').count() + 1,
            column: self.text[line_start..start].chars().count() + 1,
            excerpt: self.text[line_start..line_end].trim_end_matches('\r'),
            width: self.text[start..end].chars().count().max(1),
        }
    }

    /// The line that the byte `at` is on, counted from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.place(at..at).line
    }

    /// The last place that something is written at: where to point when something is missing altogether.
    pub(super) fn end(&self) -> Range<usize> {
        let end = self.text.trim_end().len();
        end..end
    }

    fn boundary(&self, mut at: usize) -> usize {
        at = at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1; // 0 is a boundary of every text
        }
        at
    }
}

struct Place<'d> {
    line: usize,
    column: usize,
    excerpt: &'d str,
    width: usize,
}

/// `text` with every control character replaced one for one, so that carets stay below what they mean and a
/// file from elsewhere cannot talk to the terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .collect()
}
