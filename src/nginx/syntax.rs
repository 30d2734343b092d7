//! nginx's syntax: words, semicolons and braces, as its own reader takes them apart.
//!
//! There are crates for this. The one that is kept up (nginx-lint-parser) overflows the stack on deep nesting, which ends the
//! process, and the others know a fixed set of directives or have been left alone for years. nginx's rules for words fit on a
//! page, and are all that is needed.

use std::cell::OnceCell;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use regex::Regex;

use super::Reason;

/// Blocks within blocks. nginx's own configurations have four or five.
const DEEPEST: usize = 32;

/// Where a directive begins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file.
    pub file: Arc<Path>,
    /// Counted from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", super::notes::printable(&self.file.display().to_string()), self.line)
    }
}

/// A word and what follows it, up to a semicolon or a block's end.
#[derive(Debug)]
pub(super) struct Directive {
    /// Tells it from all others of the same tree.
    pub(super) id: usize,
    pub(super) name: String,
    /// Without quotes and escapes.
    pub(super) args: Vec<String>,
    /// What stands between its braces.
    pub(super) block: Option<Vec<Directive>>,
    pub(super) place: Place,
    /// Of a `location`: its regular expression, once it was needed; none if it cannot be read.
    pub(super) regex: OnceCell<Option<Regex>>,
}

impl Directive {
    /// The first argument; empty if there is none.
    pub(super) fn arg(&self) -> &str {
        self.args.first().map_or("", String::as_str)
    }

    /// What stands in its block; nothing if it has none.
    pub(super) fn inside(&self) -> &[Directive] {
        self.block.as_deref().unwrap_or_default()
    }
}

impl fmt::Display for Directive {
    /// On one line, as it could be written, without its block.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = std::iter::once(&self.name).chain(&self.args);
        let text = words.map(String::as_str).collect::<Vec<_>>().join(" ");
        match text.char_indices().nth(100) {
            Some((end, _)) => write!(f, "{} …", &text[..end]),
            None => f.write_str(&text),
        }
    }
}

/// Who is asked for the contents of `include`d files: gets the `include`, and the depth of blocks that it stands in.
pub(super) type Included<'i> =
    &'i mut dyn FnMut(&Directive, usize, &mut usize) -> Result<Vec<Directive>, Reason>;

/// Takes `text`, which stands in `file`, apart. `depth` blocks are around it.
///
/// # Errors
///
/// The first thing that nginx would refuse, or that is too deep for any good reason.
pub(super) fn parse(
    text: &str,
    file: &Arc<Path>,
    depth: usize,
    next_id: &mut usize,
    included: Included<'_>,
) -> Result<Vec<Directive>, Reason> {
    let mut words = Words { rest: text, line: 1, file };
    block(&mut words, depth, depth, next_id, included)
}

/// Reads up to the end of the block, or of the file where `depth` is the one that the file began at.
fn block(
    words: &mut Words<'_>,
    outermost: usize,
    depth: usize,
    next_id: &mut usize,
    included: Included<'_>,
) -> Result<Vec<Directive>, Reason> {
    let mut directives = Vec::new();
    loop {
        let (first, place) = match words.next()? {
            (Token::Word(word), place) => (word, place),
            (Token::End, _) if depth == outermost => return Ok(directives),
            (Token::End, place) => {
                return Err(Reason::new(Some(&place), "the file ends within a block: a \"}\" is missing"));
            }
            (Token::Close, _) if depth > outermost => return Ok(directives),
            (other, place) => return Err(Reason::new(Some(&place), format!("unexpected {other}"))),
        };
        *next_id += 1;
        let mut directive = Directive {
            id: *next_id,
            name: first,
            args: Vec::new(),
            block: None,
            place,
            regex: OnceCell::new(),
        };
        loop {
            match words.next()? {
                (Token::Word(word), _) => directive.args.push(word),
                (Token::Semicolon, _) => break,
                (Token::Open, place) => {
                    if directive.name.ends_with("_by_lua_block") {
                        let message = format!("{} decides in Lua, which cannot be read here", directive.name);
                        return Err(Reason::new(Some(&directive.place), message));
                    }
                    if depth + 1 > DEEPEST {
                        let message = format!("more than {DEEPEST} blocks within each other");
                        return Err(Reason::new(Some(&place), message));
                    }
                    directive.block = Some(block(words, outermost, depth + 1, next_id, included)?);
                    break;
                }
                (other, place) => {
                    let message =
                        format!("unexpected {other} after \"{}\": a \";\" is missing", directive.name);
                    return Err(Reason::new(Some(&place), message));
                }
            }
        }
        if directive.name == "include" && directive.block.is_none() {
            directives.extend(included(&directive, depth, next_id)?);
        } else {
            directives.push(directive);
        }
    }
}

enum Token {
    Word(String),
    Semicolon,
    Open,
    Close,
    End,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => write!(f, "\"{word}\""),
            Self::Semicolon => f.write_str("\";\""),
            Self::Open => f.write_str("\"{\""),
            Self::Close => f.write_str("\"}\""),
            Self::End => f.write_str("end of file"),
        }
    }
}

struct Words<'t> {
    rest: &'t str,
    line: usize,
    file: &'t Arc<Path>,
}

impl Words<'_> {
    fn next(&mut self) -> Result<(Token, Place), Reason> {
        self.skip_blanks();
        let place = self.place();
        let token = match self.rest.chars().next() {
            None => return Ok((Token::End, place)),
            Some(';') => Token::Semicolon,
            Some('{') => Token::Open,
            Some('}') => Token::Close,
            Some(quote @ ('"' | '\'')) => return self.quoted(quote).map(|word| (Token::Word(word), place)),
            Some(_) => return Ok((Token::Word(self.bare()), place)),
        };
        self.bump();
        Ok((token, place))
    }

    /// White space, and comments where a word could begin.
    fn skip_blanks(&mut self) {
        while let Some(c) = self.rest.chars().next() {
            match c {
                ' ' | '\t' | '\r' | '\n' => {
                    self.bump();
                }
                '#' => {
                    let end = self.rest.find('\n').unwrap_or(self.rest.len());
                    self.rest = &self.rest[end..];
                }
                _ => return,
            }
        }
    }

    /// A word in quotes; behind it a word must end.
    fn quoted(&mut self, quote: char) -> Result<String, Reason> {
        let start = self.place();
        self.bump();
        let mut word = String::new();
        loop {
            match self.bump() {
                None => return Err(Reason::new(Some(&start), format!("this {quote} is never closed"))),
                Some(c) if c == quote => break,
                Some('\\') => self.escape(&mut word),
                Some(c) => word.push(c),
            }
        }
        match self.rest.chars().next() {
            // The parenthesis is for `if ($a = "b")`.
            None | Some(' ' | '\t' | '\r' | '\n' | ';' | '{' | ')') => Ok(word),
            Some(c) => Err(Reason::new(
                Some(&self.place()),
                format!("unexpected \"{c}\" right behind a closing {quote}"),
            )),
        }
    }

    /// A word without quotes: up to a blank, a semicolon or a brace, but for the braces of `${name}`.
    fn bare(&mut self) -> String {
        let mut word = String::new();
        while let Some(c) = self.rest.chars().next() {
            match c {
                ' ' | '\t' | '\r' | '\n' | ';' => break,
                '{' if !word.ends_with('$') => break,
                '\\' => {
                    self.bump();
                    self.escape(&mut word);
                }
                c => {
                    self.bump();
                    word.push(c);
                }
            }
        }
        word
    }

    /// What follows a backslash. All but a few are for somebody else, and keep it.
    fn escape(&mut self, word: &mut String) {
        match self.bump() {
            Some(c @ ('"' | '\'' | '\\')) => word.push(c),
            Some('t') => word.push('\t'),
            Some('r') => word.push('\r'),
            Some('n') => word.push('\n'),
            Some(c) => word.extend(['\\', c]),
            None => word.push('\\'),
        }
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        self.line += usize::from(c == '\n');
        Some(c)
    }

    fn place(&self) -> Place {
        Place { file: self.file.clone(), line: self.line }
    }
}
