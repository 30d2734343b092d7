//! What is to be told about an import: no directive is left behind in silence.

use std::collections::BTreeMap;
use std::fmt;

use super::include::Tree;
use super::reasons::reason;
use super::syntax::{Directive, Place};

/// Something that whoever changes over should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A directive that has no counterpart in what was written.
    Left {
        /// Where it stands.
        place: Place,
        /// As it stands there, on one line.
        what: String,
        /// Why it has none.
        why: String,
    },
    /// Something that is answered in another way from now on.
    Different(String),
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Left { place, what, why } => {
                write!(f, "{place}: {} -- {}", printable(what), printable(why))
            }
            Self::Different(what) => f.write_str(&printable(what)),
        }
    }
}

/// `text` with every control character replaced: files may hold anything, and this goes to terminals and into comments.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// What became of the directives so far.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// By number: none where it was carried over, the reason where not.
    known: BTreeMap<usize, Option<String>>,
    different: Vec<String>,
}

impl Notes {
    /// `directive` is in what is written. A reason that was given before stays.
    pub(super) fn carried(&mut self, directive: &Directive) {
        self.known.entry(directive.id).or_insert(None);
    }

    /// `directive` is not, or not in full. With it goes all that stands in it.
    pub(super) fn left(&mut self, directive: &Directive, why: impl Into<String>) {
        self.known.insert(directive.id, Some(why.into()));
    }

    /// An answer will be another one.
    pub(super) fn different(&mut self, what: impl Into<String>) {
        let what = what.into();
        if !self.different.contains(&what) {
            self.different.push(what);
        }
    }

    /// Whether something was said about it.
    pub(super) fn is_known(&self, directive: &Directive) -> bool {
        self.known.contains_key(&directive.id)
    }

    /// All there is to tell: first what will be different, then every directive that was left behind, in the order of
    /// reading.
    pub(super) fn finish(self, tree: &Tree) -> Vec<Note> {
        let mut notes: Vec<Note> = self.different.iter().cloned().map(Note::Different).collect();
        self.walk(&tree.directives, &mut notes);
        for include in &tree.without {
            notes.push(left(include, "it is not there; such a list is for files, which are served as text"));
        }
        notes
    }

    /// Whether a block says nothing itself: what counts is what stands in it.
    fn is_shell(&self, block: &Directive) -> bool {
        match block.name.as_str() {
            "http" | "server" | "upstream" | "location" => true,
            // Of a condition something may have been carried over all the same, such as a redirect.
            "if" => block.inside().iter().any(|one| matches!(self.known.get(&one.id), Some(None))),
            _ => false,
        }
    }

    fn walk(&self, directives: &[Directive], notes: &mut Vec<Note>) {
        for one in directives {
            match self.known.get(&one.id) {
                Some(None) => {}
                Some(Some(why)) => {
                    notes.push(left(one, why));
                    continue;
                }
                // These hold others, and say nothing themselves.
                None if one.block.is_some() && self.is_shell(one) => {}
                None => {
                    notes.push(left(one, reason(&one.name)));
                    continue;
                }
            }
            self.walk(one.inside(), notes);
        }
    }
}

fn left(directive: &Directive, why: &str) -> Note {
    Note::Left { place: directive.place.clone(), what: directive.to_string(), why: why.to_owned() }
}
