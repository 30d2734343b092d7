//! The admin prefix, and whether any reading of a path is below it.

use std::borrow::Cow;
use std::fmt;

use super::path::{decode, is_unreserved};

/// The path prefix that the certificate gate guards, such as `/admin` or `/cuirass/admin`.
///
/// Its segments are plain: only unreserved characters, no dot segment. What is said below about readings leans on that:
/// a segment equal to one of these has nothing left to decode, to split or to resolve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminPrefix {
    segments: Vec<Box<[u8]>>,
}

impl AdminPrefix {
    /// Reads a prefix as the configuration has it. One slash at the end is allowed and means nothing.
    pub fn parse(prefix: &str) -> Result<AdminPrefix, BadAdminPrefix> {
        let below_root = prefix.strip_prefix('/').ok_or(BadAdminPrefix::NoSlash)?;
        let below_root = below_root.strip_suffix('/').unwrap_or(below_root);
        if below_root.is_empty() {
            return Err(BadAdminPrefix::WholeSite);
        }
        let segments = below_root.split('/').map(|segment| match segment {
            "" | "." | ".." => Err(BadAdminPrefix::Segment),
            _ if segment.bytes().all(is_unreserved) => Ok(Box::from(segment.as_bytes())),
            _ => Err(BadAdminPrefix::Character),
        });
        Ok(AdminPrefix { segments: segments.collect::<Result<_, _>>()? })
    }

    /// Whether `segments` begins with this prefix. Case is ignored: Cuirass answers 404 to `/Admin`, so that closing it
    /// costs nobody anything, and stays right should a backend ever fold case.
    pub(super) fn starts<'a>(&self, mut segments: impl Iterator<Item = &'a [u8]>) -> bool {
        self.segments.iter().all(|wanted| segments.next().is_some_and(|s| s.eq_ignore_ascii_case(wanted)))
    }

    /// Whether `segments` can begin with this prefix once some of them are left out.
    fn occurs_in<'a>(&self, mut segments: impl Iterator<Item = &'a [u8]>) -> bool {
        self.segments.iter().all(|wanted| segments.any(|s| s.eq_ignore_ascii_case(wanted)))
    }

    /// What comes behind this prefix, where `segments` begins with it to the letter.
    pub(super) fn rest(&self, segments: Vec<Cow<'_, [u8]>>) -> Option<Vec<String>> {
        let (own, rest) = segments.split_at_checked(self.segments.len())?;
        if own.iter().zip(&self.segments).any(|(segment, wanted)| **segment != **wanted) {
            return None;
        }
        rest.iter().map(|segment| String::from_utf8(segment.to_vec()).ok()).collect()
    }

    /// Whether any reading of `path` is below this prefix.
    ///
    /// Readings differ in how often they decode (we allow for two times; Guile does it once), in whether an encoded
    /// slash or a backslash splits, and in where they resolve dot segments, if at all. Not all combinations need to be
    /// tried. Take the finest split there is, on the path decoded twice: a segment of the prefix is too plain to be
    /// changed by either, so it is a whole segment here whenever it is one in some reading, and in the same order. Then
    ///
    /// - without `..`, readings leave out nothing but empty segments and `.`, so the prefix must come first;
    /// - with `..`, they may leave out more, so it may come anywhere. That closes `/x/../y/admin` without need, but
    ///   clients resolve dots themselves, and no link of Cuirass has any.
    pub(super) fn may_hold(&self, path: &[u8]) -> bool {
        let once = decode(path);
        let twice = decode(&once);
        let mut climbs = false;
        let mut segments = Vec::new();
        for segment in twice.split(|b| matches!(b, b'/' | b'\\')) {
            match until_terminator(segment) {
                b"" | b"." => {}
                b".." => climbs = true,
                name => segments.push(name),
            }
        }
        let names = segments.iter().copied();
        // `//host/admin` is a path to Guile, and a host with a path to a general URI parser.
        self.starts(names.clone())
            || (path.starts_with(b"//") && self.starts(names.clone().skip(1)))
            || (climbs && self.occurs_in(names))
    }
}

impl fmt::Display for AdminPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.segments.iter().try_for_each(|segment| write!(f, "/{}", segment.escape_ascii()))
    }
}

/// Why a configured admin prefix cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadAdminPrefix {
    /// It does not begin with a slash.
    NoSlash,
    /// It is `/`: the whole site would be behind the gate, substitutes included.
    WholeSite,
    /// It has an empty segment or a dot segment, which readers of a path drop or resolve.
    Segment,
    /// It has a character that could be written in more than one way, or that ends a path.
    Character,
}

impl fmt::Display for BadAdminPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadAdminPrefix::NoSlash => r#"expected a path that begins with "/", such as "/admin""#,
            BadAdminPrefix::WholeSite => r#""/" closes the whole site; expected a path such as "/admin""#,
            BadAdminPrefix::Segment => r#"expected a path without "//", "/./" and "/../", such as "/admin""#,
            BadAdminPrefix::Character => {
                r#"expected only letters, digits, "-", ".", "_", "~" between the slashes"#
            }
        })
    }
}

impl std::error::Error for BadAdminPrefix {}

/// A segment up to where some reader could end it: NUL in C, `;` where parameters are stripped (Guile does neither), an
/// encoded `?` or `#` where the query is cut off after decoding.
fn until_terminator(segment: &[u8]) -> &[u8] {
    segment.split(|b| matches!(b, 0 | b';' | b'?' | b'#')).next().unwrap_or_default()
}
