//! What is written: the TOML tree with its places in the file, and a reader that takes settings out of it.
//!
//! serde stops at the first thing it dislikes. The reader notes every problem and goes on, with the default
//! in place of what was wrong; a file with one error is refused as a whole in the end, so that such a
//! stand-in is never used.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostics::{Complaint, Diagnostic, Severity, Source};

/// What reading a file has turned up so far.
pub(super) struct Findings<'d> {
    pub(super) source: Source<'d>,
    pub(super) errors: Vec<Diagnostic>,
    pub(super) warnings: Vec<Diagnostic>,
    /// Dotted names that somebody asked for. What the file has beyond them is unknown: no second list of the
    /// keys is needed, and none can be forgotten in it.
    pub(super) known: BTreeSet<String>,
}

impl<'d> Findings<'d> {
    pub(super) fn new(source: Source<'d>) -> Self {
        Self { source, errors: Vec::new(), warnings: Vec::new(), known: BTreeSet::new() }
    }

    /// Findings about the same file that nobody will hear of.
    pub(super) fn rehearsal(&self) -> Self {
        Self::new(self.source)
    }

    pub(super) fn error(&mut self, span: Range<usize>, key: impl Into<String>, complaint: Complaint) {
        self.errors.push(complaint.at(&self.source, span, Severity::Error, Some(key.into())));
    }

    pub(super) fn warning(&mut self, span: Range<usize>, key: impl Into<String>, complaint: Complaint) {
        self.warnings.push(complaint.at(&self.source, span, Severity::Warning, Some(key.into())));
    }
}

/// Reads one table. One that the file does not have reads as if it were empty.
pub(super) struct Reader<'p, 'd> {
    pub(super) findings: &'p mut Findings<'d>,
    /// Dotted, empty for the file itself.
    name: String,
    table: Option<&'d DeTable<'d>>,
    span: Range<usize>,
}

impl<'p, 'd> Reader<'p, 'd> {
    /// Reads the file itself.
    pub(super) fn of_file(findings: &'p mut Findings<'d>, file: &'d DeTable<'d>) -> Self {
        Self { findings, name: String::new(), table: Some(file), span: 0..0 }
    }

    /// Reads a table that is not there: for learning which keys it could have.
    pub(super) fn of_nothing(findings: &'p mut Findings<'d>, name: &str) -> Self {
        Self { findings, name: name.to_owned(), table: None, span: 0..0 }
    }

    /// The value of `key`, if the file has a good one. A bad one is reported.
    pub(super) fn get<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&DeValue<'_>) -> Result<T, Complaint>,
    ) -> Option<T> {
        self.find(key, parse).map(Spanned::into_inner)
    }

    /// Like [`get`](Self::get), with the place of the value, for those who may yet complain.
    pub(super) fn find<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&DeValue<'_>) -> Result<T, Complaint>,
    ) -> Option<Spanned<T>> {
        let value = self.look_up(key)?;
        self.parse(key, value, parse)
    }

    /// The good elements of a list. Every bad one is reported.
    pub(super) fn list<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&DeValue<'_>) -> Result<T, Complaint>,
    ) -> Option<Vec<Spanned<T>>> {
        let value = self.look_up(key)?;
        let DeValue::Array(elements) = value.get_ref() else {
            let hint =
                value.get_ref().as_str().map(|text| format!("put it in brackets: {key} = [\"{text}\"]"));
            let complaint = Complaint::new(format!("expected a list, found {}", describe(value.get_ref())));
            self.error(value.span(), key, complaint.maybe_hint(hint));
            return None;
        };
        Some(elements.iter().filter_map(|element| self.parse(key, element, &parse)).collect())
    }

    /// Where the file has `[]` for `key`. A list of bad elements comes out of [`list`](Self::list) empty, but
    /// is not.
    pub(super) fn empty_list(&self, key: &str) -> Option<Range<usize>> {
        let value = self.table?.get(key)?;
        value.get_ref().as_array().filter(|elements| elements.is_empty()).map(|_| value.span())
    }

    /// What `read` makes of the table `key`.
    pub(super) fn table<T>(&mut self, key: &str, read: impl FnOnce(&mut Reader<'_, 'd>) -> T) -> T {
        if let Some(value) = self.look_up(key).filter(|value| !value.get_ref().is_table()) {
            let complaint = Complaint::new(format!("expected a table, found {}", describe(value.get_ref())));
            self.error(
                value.span(),
                key,
                complaint.hint(format!("write [{}] and its keys below", self.dotted(key))),
            );
        }
        self.table_or_nothing(key, read)
    }

    /// The same where something else than a table may stand too, for which `read` sees an empty one.
    pub(super) fn table_or_nothing<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&mut Reader<'_, 'd>) -> T,
    ) -> T {
        let value = self.look_up(key);
        let table = value.and_then(|value| value.get_ref().as_table());
        let span = value.map_or(self.span.clone(), Spanned::span);
        let name = self.dotted(key);
        read(&mut Reader { findings: &mut *self.findings, name, table, span })
    }

    /// What `read` makes of each table of the list `[[key]]`.
    pub(super) fn tables<T>(&mut self, key: &str, mut read: impl FnMut(&mut Reader<'_, 'd>) -> T) -> Vec<T> {
        let name = self.dotted(key);
        let double = format!("write it with two brackets: [[{name}]]");
        let Some(value) = self.look_up(key) else {
            return Vec::new();
        };
        let elements = match value.get_ref() {
            DeValue::Array(elements) => elements.iter().as_slice(),
            // Somebody wrote [site]. What stands below it is looked at all the same.
            DeValue::Table(_) => {
                self.error(
                    value.span(),
                    key,
                    Complaint::new(format!("`{name}` is a list of tables")).hint(&double),
                );
                std::slice::from_ref(value)
            }
            other => {
                let complaint =
                    Complaint::new(format!("expected a list of tables, found {}", describe(other)));
                self.error(value.span(), key, complaint.hint(double));
                return Vec::new();
            }
        };
        let mut results = Vec::new();
        for element in elements {
            if !element.get_ref().is_table() {
                let complaint =
                    Complaint::new(format!("expected a table, found {}", describe(element.get_ref())));
                self.error(element.span(), key, complaint.hint(&double));
                continue;
            }
            let table = element.get_ref().as_table();
            let span = element.span();
            results.push(read(&mut Reader {
                findings: &mut *self.findings,
                name: name.clone(),
                table,
                span,
            }));
        }
        results
    }

    /// Whether the file says something about `key`, good or bad.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Whether the file has a table for `key`, where something else could stand too.
    pub(super) fn has_table(&self, key: &str) -> bool {
        self.table.and_then(|table| table.get(key)).is_some_and(|value| value.get_ref().is_table())
    }

    /// Notes that `key` is missing, at the head of this table.
    pub(super) fn missing(&mut self, key: &str, complaint: Complaint) {
        self.error(self.span.clone(), key, complaint);
    }

    /// Notes a warning about this table as a whole, if the file has it.
    pub(super) fn remark(&mut self, message: &str) {
        if self.table.is_some() {
            self.findings.warning(self.span.clone(), self.name.clone(), Complaint::new(message));
        }
    }

    /// Notes an error about `key` of this table.
    pub(super) fn error(&mut self, span: Range<usize>, key: &str, complaint: Complaint) {
        let key = self.dotted(key);
        self.findings.error(span, key, complaint);
    }

    /// Notes a warning about `key` of this table.
    pub(super) fn warning(&mut self, span: Range<usize>, key: &str, complaint: Complaint) {
        let key = self.dotted(key);
        self.findings.warning(span, key, complaint);
    }

    fn look_up(&mut self, key: &str) -> Option<&'d Spanned<DeValue<'d>>> {
        let dotted = self.dotted(key);
        self.findings.known.insert(dotted);
        self.table?.get(key)
    }

    fn parse<T>(
        &mut self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        parse: impl FnOnce(&DeValue<'_>) -> Result<T, Complaint>,
    ) -> Option<Spanned<T>> {
        match parse(value.get_ref()) {
            Ok(good) => Some(Spanned::new(value.span(), good)),
            Err(complaint) => {
                self.error(value.span(), key, complaint);
                None
            }
        }
    }

    fn dotted(&self, key: &str) -> String {
        join(&self.name, key)
    }
}

/// The elements of a list, without their places.
pub(super) fn bare<T>(list: Vec<Spanned<T>>) -> Vec<T> {
    list.into_iter().map(Spanned::into_inner).collect()
}

/// The dotted name of `key` in `table`.
pub(super) fn join(table: &str, key: &str) -> String {
    if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") }
}

/// What a value is, for "expected …, found …".
pub(super) fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("\"{text}\""),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(truth) => format!("{truth}, without quotes"),
        DeValue::Datetime(date) => format!("the date {date}"),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
