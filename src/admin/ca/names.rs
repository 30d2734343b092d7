//! Names: of administrators, and of the CA.

use std::fmt;
use std::str::FromStr;

use rcgen::{DistinguishedName, DnType};

/// Longest common name, in characters (`ub-common-name`, RFC 5280 appendix A.1).
const LONGEST: usize = 64;
/// Longest name in bytes: it is part of a file name too, of which common file systems take 255.
const LONGEST_BYTES: usize = 200;

/// The name of an administrator: the common name of a certificate, and the stem of the files made with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `NAME.suffix`.
    pub fn file(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.0)
    }
}

impl FromStr for Name {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        match problem(text) {
            None => Ok(Self(text.to_owned())),
            // Whatever was in it, the message goes to a terminal.
            Some(reason) => Err(BadName { name: text.escape_debug().to_string(), reason }),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name that cannot be a common name and a file name at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{name}\" cannot be a name: {reason}")]
pub struct BadName {
    name: String,
    reason: &'static str,
}

fn problem(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("it is empty");
    }
    if name.chars().count() > LONGEST || name.len() > LONGEST_BYTES {
        return Some("it is longer than the 64 characters (200 bytes) that a name may have");
    }
    if name.contains(['/', '\\']) {
        return Some("it has a slash in it, and files are named by it");
    }
    if name.starts_with('.') || name.starts_with('-') {
        return Some("it begins with a dot or a dash, and files are named by it");
    }
    if name.starts_with(char::is_whitespace) || name.ends_with(char::is_whitespace) {
        return Some("it begins or ends with a space");
    }
    if name.chars().any(|character| character.is_control() || is_invisible(character)) {
        return Some("it has control characters in it, or others that cannot be seen");
    }
    None
}

/// Characters that make one name look like another: joiners, marks of direction, separators of lines.
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    )
}

/// Reads the subject of a CA: `/C=DE/O=GNU Guix/CN=Admin CA` as `openssl -subj` has it (a backslash makes the
/// next character part of a value), or text without a slash in front, which becomes the common name.
pub(super) fn subject(text: &str) -> Result<DistinguishedName, String> {
    let mut name = DistinguishedName::new();
    let Some(rest) = text.strip_prefix('/') else {
        check_value("CN", LONGEST, text)?;
        name.push(DnType::CommonName, text);
        return Ok(name);
    };
    for part in split(rest) {
        let (kind, value) = part.split_once('=').ok_or(format!("\"{part}\" is not TYPE=VALUE"))?;
        // Lengths: RFC 5280 appendix A.1.
        let (kind_of, longest) = match kind {
            "C" => (DnType::CountryName, 2),
            "ST" => (DnType::StateOrProvinceName, 128),
            "L" => (DnType::LocalityName, 128),
            "O" => (DnType::OrganizationName, LONGEST),
            "OU" => (DnType::OrganizationalUnitName, LONGEST),
            "CN" => (DnType::CommonName, LONGEST),
            _ => return Err(format!("\"{kind}\" is none of C, ST, L, O, OU and CN")),
        };
        check_value(kind, longest, value)?;
        if name.get(&kind_of).is_some() {
            return Err(format!("\"{kind}\" is there twice"));
        }
        if kind == "C" {
            // The one attribute that must not be UTF-8 (RFC 5280 appendix A.1, X520countryName).
            let country = value.to_ascii_uppercase();
            if country.len() != 2 || !country.bytes().all(|byte| byte.is_ascii_uppercase()) {
                return Err(format!("\"{value}\" is not a country code of two letters"));
            }
            let country = country.try_into().map_err(|_| "a country code has two letters".to_owned())?;
            name.push(kind_of, rcgen::DnValue::PrintableString(country));
        } else {
            name.push(kind_of, value);
        }
    }
    Ok(name)
}

fn check_value(kind: &str, longest: usize, value: &str) -> Result<(), String> {
    if value.is_empty() {
        return Err(format!("\"{kind}\" is empty"));
    }
    if value.chars().count() > longest {
        return Err(format!("\"{kind}\" is longer than {longest} characters"));
    }
    if value.chars().any(|character| character.is_control() || is_invisible(character)) {
        return Err(format!("\"{kind}\" has characters that cannot be seen"));
    }
    Ok(())
}

/// Splits at slashes that no backslash stands before.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '/' => parts.push(String::new()),
            // There is always a last part: it begins with one.
            _ => parts.last_mut().into_iter().for_each(|part| match character {
                '\\' => part.extend(characters.next()),
                other => part.push(other),
            }),
        }
    }
    parts
}

/// The names that look most like `asked`: at most three.
pub(super) fn near<'a>(asked: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let asked = asked.to_lowercase();
    let farthest = asked.chars().count().div_ceil(3);
    let mut found: Vec<(usize, &str)> = names
        .filter(|name| !name.is_empty())
        .filter_map(|name| {
            let lower = name.to_lowercase();
            let distance = if lower.contains(&asked) { 0 } else { distance(&asked, &lower) };
            (distance <= farthest).then_some((distance, name))
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().take(3).map(|(_, name)| name.to_owned()).collect()
}

/// Levenshtein's: insertions, deletions and replacements. Quadratic; names have at most 64 characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// A name that others wrote into a certificate, for a terminal.
pub(super) fn printable(name: &str) -> String {
    let bad = |character: char| character.is_control() || is_invisible(character);
    name.chars().map(|character| if bad(character) { '?' } else { character }).collect()
}
