//! Paths of the UI, as settings name them.

use std::borrow::Cow;
use std::fmt;

/// A path and what is below it. A segment may be `*`, which stands for any one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathPattern(Vec<Option<Box<str>>>);

impl PathPattern {
    /// Reads `/build/*/log`: plain segments, as a path has them when nothing in it is encoded; not `/` alone.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let plain = |segment: &str| {
            !matches!(segment, "" | "." | "..")
                && segment
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-._~+=:@!$&'(),".contains(&byte))
        };
        let segments = text.strip_prefix('/')?.split('/').map(|segment| match segment {
            "*" => Some(None),
            segment => plain(segment).then(|| Some(segment.into())),
        });
        segments.collect::<Option<_>>().map(Self)
    }

    /// The first segment, if it is one and not any.
    pub(super) fn first(&self) -> Option<&str> {
        self.0.first()?.as_deref()
    }

    /// Whether a path of these segments is this one, or below it.
    pub fn matches(&self, segments: &[Cow<'_, [u8]>]) -> bool {
        segments.len() >= self.0.len()
            && self
                .0
                .iter()
                .zip(segments)
                .all(|(wanted, segment)| wanted.as_ref().is_none_or(|wanted| wanted.as_bytes() == &**segment))
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|segment| write!(f, "/{}", segment.as_deref().unwrap_or("*")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        let pattern = PathPattern::parse(pattern).unwrap();
        let segments: Vec<_> =
            path.split('/').skip(1).map(|segment| Cow::Borrowed(segment.as_bytes())).collect();
        pattern.matches(&segments)
    }

    #[test]
    fn a_pattern_is_a_path_and_all_below_it() {
        for (pattern, path, fits) in [
            ("/search", "/search", true),
            ("/search", "/search/x", true),
            ("/search", "/searches", false),
            ("/search", "/x/search", false),
            ("/build/*/log", "/build/12/log", true),
            ("/build/*/log", "/build/12/log/raw", true),
            ("/build/*/log", "/build/12", false),
            ("/build/*/log", "/build/12/details", false),
            ("/*", "/x", true),
            ("/*", "", false),
        ] {
            assert_eq!(matches(pattern, path), fits, "{pattern} {path}");
        }
    }

    #[test]
    fn what_could_be_spelled_in_two_ways_is_no_pattern() {
        for text in
            ["", "/", "search", "//x", "/x/", "/x/../y", "/./x", "/%73earch", "/se*ch", "/a b", "/x?y", "/ä"]
        {
            assert_eq!(PathPattern::parse(text), None, "{text}");
        }
        assert_eq!(PathPattern::parse("/build/*/log").unwrap().to_string(), "/build/*/log");
    }
}
