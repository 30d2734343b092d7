//! `Cache-Control` and its kin, as parsed fields.

use std::time::Duration;

use http::header::{CACHE_CONTROL, HeaderMap, PRAGMA};

/// Larger than any number a directive may hold (RFC 9111 section 1.2.2).
const FOR_EVER: u64 = 1 << 31;

/// The field of RFC 9213 that is meant for caches such as this one, in front of an origin.
const TARGETED: &str = "cdn-cache-control";

/// A list of directives, in the order in which they came. Names are lower-case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directives(Vec<(String, Option<String>)>);

impl Directives {
    /// What a request says. `Pragma: no-cache` counts where there is no `Cache-Control` (RFC 9111 section 5.4).
    pub fn of_request(headers: &HeaderMap) -> Self {
        let mut directives = Self::parse(headers);
        if !headers.contains_key(CACHE_CONTROL)
            && headers.get_all(PRAGMA).iter().any(|pragma| {
                pragma.as_bytes().to_ascii_lowercase().windows(8).any(|part| part == b"no-cache")
            })
        {
            directives.0.push(("no-cache".into(), None));
        }
        directives
    }

    /// What a response says to this cache, and whether it said so to this kind of cache alone: then neither
    /// `Cache-Control` nor `Expires` counts (RFC 9213 section 2.2).
    pub fn of_response(headers: &HeaderMap) -> (Self, bool) {
        match Self::targeted(headers) {
            Some(targeted) => (targeted, true),
            None => (Self::parse(headers), false),
        }
    }

    fn parse(headers: &HeaderMap) -> Self {
        let mut directives = Vec::new();
        for value in headers.get_all(CACHE_CONTROL) {
            for part in split_list(&String::from_utf8_lossy(value.as_bytes())) {
                let (name, argument) = match part.split_once('=') {
                    Some((name, argument)) => (name, Some(unquote(argument.trim()))),
                    None => (part.as_str(), None),
                };
                directives.push((name.trim().to_ascii_lowercase(), argument));
            }
        }
        Self(directives)
    }

    /// The targeted field, a Structured Field dictionary; one that is malformed or empty does not count.
    fn targeted(headers: &HeaderMap) -> Option<Self> {
        let lines: Option<Vec<&str>> =
            headers.get_all(TARGETED).iter().map(|value| value.to_str().ok()).collect();
        let text = lines?.join(",");
        let mut directives: Vec<(String, Option<String>)> = Vec::new();
        for member in split_list(&text) {
            // Parameters carry no meaning here (RFC 9213 section 2.1).
            let member = member.split(';').next().unwrap_or_default().trim();
            let (name, value) = match member.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (member, None),
            };
            let well_named = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '*')
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.*".contains(&b));
            if !well_named {
                return None;
            }
            // In a dictionary the last of several members of one name is the one (RFC 8941 section 4.2.2).
            directives.retain(|(known, _)| known != name);
            match value {
                None | Some("?1") => directives.push((name.into(), None)),
                Some("?0") => {}
                Some(value) if value.starts_with('"') => directives.push((name.into(), Some(unquote(value)))),
                Some(value) if value.parse::<i64>().is_ok() || is_token(value) => {
                    directives.push((name.into(), Some(value.into())));
                }
                Some(_) => return None,
            }
        }
        (!directives.is_empty()).then_some(Self(directives))
    }

    /// Whether the directive is there, with or without an argument.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// Whether the directive is there without an argument.
    pub fn has_bare(&self, name: &str) -> bool {
        self.0.iter().any(|(known, argument)| known == name && argument.is_none())
    }

    /// The seconds that a directive names. None: it is not there. Zero stands for what is no number, or for
    /// several that disagree: such a response is to be considered stale (RFC 9111 section 4.2.1).
    pub fn seconds(&self, name: &str) -> Option<Duration> {
        let mut values = self
            .0
            .iter()
            .filter(|(known, _)| known == name)
            .map(|(_, value)| delta_seconds(value.as_deref()?));
        let first = values.next()?;
        let agreed = if values.all(|other| other == first) { first } else { None };
        Some(Duration::from_secs(agreed.unwrap_or(0)))
    }

    /// The seconds, or all of them when the directive is there without an argument.
    pub fn seconds_or_all(&self, name: &str) -> Option<Duration> {
        if self.has_bare(name) { Some(Duration::MAX) } else { self.seconds(name) }
    }

    /// The field names that a directive lists, such as `private="Set-Cookie"`.
    pub fn fields(&self, name: &str) -> Vec<String> {
        let arguments =
            self.0.iter().filter(|(known, _)| known == name).filter_map(|(_, value)| value.as_ref());
        arguments
            .flat_map(|list| list.split(','))
            .map(|field| field.trim().to_ascii_lowercase())
            .filter(|field| !field.is_empty())
            .collect()
    }
}

/// Decimal digits; too many of them mean for ever (RFC 9111 section 1.2.2).
pub fn delta_seconds(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(FOR_EVER).min(FOR_EVER))
}

/// Splits at the commas that stand outside of quotes.
fn split_list(text: &str) -> Vec<String> {
    let (mut parts, mut part, mut quoted, mut escaped) = (Vec::new(), String::new(), false, false);
    for character in text.chars() {
        match character {
            ',' if !quoted => parts.push(std::mem::take(&mut part)),
            _ => {
                quoted ^= character == '"' && !escaped;
                escaped = quoted && character == '\\' && !escaped;
                part.push(character);
            }
        }
    }
    parts.push(part);
    parts.into_iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

fn unquote(text: &str) -> String {
    match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => inner.replace("\\\"", "\"").replace("\\\\", "\\"),
        None => text.to_owned(),
    }
}

fn is_token(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '*')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::headers;
    use super::*;

    fn parse(value: &str) -> Directives {
        Directives::parse(&headers(&[("cache-control", value)]))
    }

    #[test]
    fn rfc9111_5_2_names_are_case_insensitive_and_arguments_tokens_or_quoted() {
        let directives = parse("Max-Age=\"10\", PRIVATE=\"Set-Cookie, X-A\" , no-cache");
        assert_eq!(directives.seconds("max-age"), Some(Duration::from_secs(10)));
        assert_eq!(directives.fields("private"), ["set-cookie", "x-a"]);
        assert!(!directives.has_bare("private") && directives.has_bare("no-cache"));
    }

    #[test]
    fn rfc9111_4_2_1_several_values_that_disagree_or_are_no_numbers_are_stale() {
        assert_eq!(parse("max-age=5, max-age=10").seconds("max-age"), Some(Duration::ZERO));
        assert_eq!(parse("max-age=5, max-age=5").seconds("max-age"), Some(Duration::from_secs(5)));
        for bad in ["max-age", "max-age=", "max-age=-1", "max-age=1.5", "max-age=x", "max-age=+5"] {
            assert_eq!(parse(bad).seconds("max-age"), Some(Duration::ZERO), "{bad}");
        }
    }

    #[test]
    fn rfc9111_1_2_2_numbers_too_large_mean_for_ever() {
        for many in ["2147483648", "99999999999999999999999"] {
            let lifetime = parse(&format!("max-age={many}")).seconds("max-age");
            assert_eq!(lifetime, Some(Duration::from_secs(FOR_EVER)));
        }
    }

    #[test]
    fn rfc9111_5_4_pragma_counts_only_without_cache_control() {
        let old = headers(&[("pragma", "No-Cache")]);
        assert!(Directives::of_request(&old).has("no-cache"));
        let both = headers(&[("pragma", "no-cache"), ("cache-control", "max-age=1")]);
        assert!(!Directives::of_request(&both).has("no-cache"));
    }

    #[test]
    fn rfc9213_2_2_the_targeted_field_stands_in_for_cache_control() {
        let both = headers(&[("cache-control", "no-store"), ("cdn-cache-control", "max-age=60")]);
        let (directives, targeted) = Directives::of_response(&both);
        assert!(targeted && !directives.has("no-store"));
        assert_eq!(directives.seconds("max-age"), Some(Duration::from_secs(60)));
    }

    #[test]
    fn rfc9213_2_1_a_targeted_field_that_is_malformed_or_empty_does_not_count() {
        for bad in ["", "max-age=60, &", "Max-Age=60", "max-age=(1 2)"] {
            let fields = headers(&[("cache-control", "max-age=5"), ("cdn-cache-control", bad)]);
            let (directives, targeted) = Directives::of_response(&fields);
            assert!(!targeted, "{bad:?}");
            assert_eq!(directives.seconds("max-age"), Some(Duration::from_secs(5)));
        }
    }

    #[test]
    fn rfc9213_2_1_booleans_parameters_and_repeats_are_those_of_structured_fields() {
        let fields = headers(&[
            ("cdn-cache-control", "no-store=?0, max-age=5;x=1"),
            ("cdn-cache-control", "max-age=7"),
        ]);
        let (directives, _) = Directives::of_response(&fields);
        assert!(!directives.has("no-store"));
        assert_eq!(directives.seconds("max-age"), Some(Duration::from_secs(7)));
    }
}
