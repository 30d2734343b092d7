//! The s-expressions in which libgcrypt writes keys and signatures: lists and strings of bytes, nothing else.
//!
//! Read are the forms that SPKI's S-expressions have (draft-rivest-sexp): the advanced one, which libgcrypt prints
//! and Guix publishes, and within it the canonical one, `3:abc`. Display hints (`[…]`) are not: Guix has none.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Lists in lists; a signature has four.
const DEEPEST: usize = 16;

/// A string of bytes, or a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sexp {
    Atom(Vec<u8>),
    List(Vec<Sexp>),
}

impl Sexp {
    /// Reads one that is all of `text`, white space aside.
    ///
    /// # Errors
    ///
    /// In words: what was expected, and at which byte.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let mut reader = Reader { text, at: 0 };
        let sexp = reader.sexp(0)?;
        reader.skip_space();
        match reader.peek() {
            None => Ok(sexp),
            Some(_) => Err(reader.expected("nothing behind the s-expression")),
        }
    }

    /// The first list that begins with `name`, this one or any below it; it is how libgcrypt looks for things.
    pub(super) fn find(&self, name: &str) -> Option<&Self> {
        let Self::List(items) = self else { return None };
        if self.name() == Some(name.as_bytes()) {
            return Some(self);
        }
        items.iter().find_map(|item| item.find(name))
    }

    /// The string that a list begins with.
    pub(super) fn name(&self) -> Option<&[u8]> {
        match self {
            Self::List(items) => items.first()?.atom(),
            Self::Atom(_) => None,
        }
    }

    /// What follows the name of a list.
    pub(super) fn rest(&self) -> &[Self] {
        match self {
            Self::List(items) => items.get(1..).unwrap_or_default(),
            Self::Atom(_) => &[],
        }
    }

    pub(super) fn atom(&self) -> Option<&[u8]> {
        match self {
            Self::Atom(bytes) => Some(bytes),
            Self::List(_) => None,
        }
    }

    /// The one value of the first list that begins with `name`: of `(q #60…#)` the bytes.
    pub(super) fn value(&self, name: &str) -> Option<&[u8]> {
        match self.find(name)?.rest() {
            [value] => value.atom(),
            _ => None,
        }
    }
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn sexp(&mut self, depth: usize) -> Result<Sexp, String> {
        self.skip_space();
        match self.peek() {
            Some(b'(') if depth < DEEPEST => {
                self.at += 1;
                self.list(depth)
            }
            Some(b'(') => Err(format!("lists in lists, more than {DEEPEST} deep")),
            Some(b'#') => self.between(b'#').and_then(|text| {
                hex::decode(&text)
                    .map(Sexp::Atom)
                    .map_err(|_| self.expected("hexadecimal digits before this"))
            }),
            Some(b'|') => self.between(b'|').and_then(|text| {
                STANDARD.decode(&text).map(Sexp::Atom).map_err(|_| self.expected("base64 before this"))
            }),
            // Escapes would be needed for nothing that Guix writes.
            Some(b'"') => match self.between(b'"')? {
                text if text.contains(&b'\\') => Err(self.expected("a string without escapes before this")),
                text => Ok(Sexp::Atom(text)),
            },
            Some(byte) if byte.is_ascii_digit() => self.counted(),
            Some(byte) if is_of_token(byte) => Ok(Sexp::Atom(self.token().to_vec())),
            _ => Err(self.expected("a list or a string")),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Sexp, String> {
        let mut items = Vec::new();
        loop {
            self.skip_space();
            match self.peek() {
                Some(b')') => {
                    self.at += 1;
                    return Ok(Sexp::List(items));
                }
                Some(_) => items.push(self.sexp(depth + 1)?),
                None => return Err(self.expected("`)`")),
            }
        }
    }

    /// What is between two of `mark`, without white space where that means nothing.
    fn between(&mut self, mark: u8) -> Result<Vec<u8>, String> {
        let rest = &self.text[self.at + 1..];
        let Some(end) = rest.iter().position(|byte| *byte == mark) else {
            return Err(self.expected(&format!("a closing `{}`", char::from(mark))));
        };
        self.at += end + 2;
        let inside = rest[..end].iter().copied();
        Ok(inside.filter(|byte| mark == b'"' || !byte.is_ascii_whitespace()).collect())
    }

    /// `3:abc`; or a number, which is a string of digits.
    fn counted(&mut self) -> Result<Sexp, String> {
        let digits = self.token();
        if self.peek() != Some(b':') {
            return Ok(Sexp::Atom(digits.to_vec()));
        }
        let length = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<usize>().ok());
        let begin = self.at + 1;
        let bytes = length.and_then(|length| self.text.get(begin..begin.checked_add(length)?));
        let Some(bytes) = bytes else { return Err(self.expected("as many bytes as the number says")) };
        self.at = begin + bytes.len();
        Ok(Sexp::Atom(bytes.to_vec()))
    }

    fn token(&mut self) -> &'a [u8] {
        let rest = &self.text[self.at..];
        let token = &rest[..rest.iter().position(|byte| !is_of_token(*byte)).unwrap_or(rest.len())];
        self.at += token.len();
        token
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn expected(&self, what: &str) -> String {
        format!("expected {what}, at byte {} of {}", self.at, self.text.len())
    }
}

/// The colon is one of them in the draft; here it ends a number, and no name has one.
fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-./_*+=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn atom(bytes: &[u8]) -> Sexp {
        Sexp::Atom(bytes.to_vec())
    }

    #[test]
    fn every_way_to_write_a_string_is_read() {
        let read =
            Sexp::parse(b" (key-data (hash sha256 #61 62\n63#) 3:a)b \"two words\" |YWJj| 256)\n").unwrap();
        assert_eq!(read.name(), Some(&b"key-data"[..]));
        assert_eq!(read.find("hash").unwrap().rest(), [atom(b"sha256"), atom(b"abc")]);
        assert_eq!(read.rest()[1..], [atom(b"a)b"), atom(b"two words"), atom(b"abc"), atom(b"256")]);
        assert_eq!(read.value("hash"), None, "two values");
    }

    #[test]
    fn what_is_none_says_where_it_ends_to_be_one() {
        for (text, says) in [
            ("", "a list or a string, at byte 0 of 0"),
            ("(a", "`)`, at byte 2"),
            ("(a))", "nothing behind"),
            ("(a #6#)", "hexadecimal"),
            ("(a #61)", "closing `#`"),
            ("(a |!|)", "base64"),
            ("(a \"x)", "closing `\"`"),
            (r#"(a "x\n")"#, "without escapes"),
            ("(a 9:xx)", "as many bytes"),
            ("(a 99999999999999999999:xx)", "as many bytes"),
            ("(a [h] b)", "a list or a string, at byte 3"),
            (&"(".repeat(10_000), "16 deep"),
        ] {
            let error = Sexp::parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(says), "{text:?}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(text in r#"[(): #|"0-9a-z\\]{0,60}"#) {
            if let Ok(sexp) = Sexp::parse(text.as_bytes()) {
                let _ = (sexp.find("hash"), sexp.value("q"), sexp.rest());
            }
        }
    }
}
