//! Telling the answers to one target apart by what they vary with (RFC 9111 section 4.1).

use http::header::{HeaderMap, HeaderName, VARY};

/// Fields a response may nominate; one with more is kept from the cache.
const MOST: usize = 16;
/// Fields that say who asks, besides those of the gate itself. An answer chosen by one is for nobody else, and what was
/// asked with is written to disk with the answer: no address is to be.
const OF_ONE_CLIENT: [&str; 4] = ["cf-connecting-ip", "from", "true-client-ip", "x-real-ip"];

/// The fields a response was chosen by, with the values of the request that it answered. Sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selecting(Vec<Field>);

/// A name and the value that it had, if it was there.
pub(super) type Field = (Box<str>, Option<Box<[u8]>>);

impl Selecting {
    /// What `response` varies by, as `request` had it. None: by more than a request can show, so that no later
    /// request can be known to match.
    pub fn new(request: &HeaderMap, response: &HeaderMap) -> Option<Self> {
        let mut names = Vec::new();
        for value in response.get_all(VARY) {
            for name in value.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                match name {
                    b"" => {}
                    // A list that has it anywhere fails always.
                    b"*" => return None,
                    name => names.push(HeaderName::from_bytes(name).ok().filter(is_comparable)?),
                }
            }
        }
        names.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        names.dedup();
        if names.len() > MOST {
            return None;
        }
        let fields = names.iter().map(|name| (name.as_str().into(), normalised(request, name))).collect();
        Some(Self(fields))
    }

    /// From what [`Self::fields`] gave.
    pub(super) fn from_fields(fields: Vec<Field>) -> Self {
        Self(fields)
    }

    /// The fields and their values.
    pub(super) fn fields(&self) -> &[Field] {
        &self.0
    }

    /// Whether a response so chosen may answer `request`.
    pub fn matches(&self, request: &HeaderMap) -> bool {
        self.0.iter().all(|(name, value)| normalised(request, name.as_ref()) == *value)
    }

    /// Whether both nominate the same fields.
    pub fn same_names(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(|(one, two)| one.0 == two.0)
    }
}

/// Whether another client may be given the answer that was chosen by this field: it does not say who asked, and the
/// origin sees in it what the client said, and not what the gate says of the client.
fn is_comparable(name: &HeaderName) -> bool {
    let name = name.as_str();
    let is_ours = name == "forwarded" || name.starts_with("x-forwarded") || name.starts_with("x-client-cert");
    !is_ours && !OF_ONE_CLIENT.contains(&name)
}

/// A field's value with what may differ without meaning taken out: lines combined, whitespace around commas.
/// None: the field is absent, which matches absence only.
fn normalised(request: &HeaderMap, name: impl http::header::AsHeaderName) -> Option<Box<[u8]>> {
    let mut lines = request.get_all(name).iter().peekable();
    lines.peek()?;
    let mut value = Vec::new();
    let mut quoted = false;
    for line in lines {
        if !value.is_empty() {
            value.push(b',');
        }
        for part in line.as_bytes().split_inclusive(|&byte| byte == b',') {
            // A comma inside of a quoted string separates nothing.
            let part = if quoted { part } else { part.trim_ascii_start() };
            quoted ^= part.iter().filter(|&&byte| byte == b'"').count() % 2 == 1;
            match part.strip_suffix(b",") {
                Some(member) if !quoted => {
                    value.extend_from_slice(member.trim_ascii_end());
                    value.push(b',');
                }
                _ => value.extend_from_slice(if quoted { part } else { part.trim_ascii_end() }),
            }
        }
    }
    Some(value.into())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::headers;
    use super::*;

    fn varying(vary: &str, request: &[(&'static str, &str)]) -> Option<Selecting> {
        Selecting::new(&headers(request), &headers(&[("vary", vary)]))
    }

    #[test]
    fn rfc9111_4_1_a_star_anywhere_in_the_list_never_matches() {
        for vary in ["*", "Accept, *", "*, Accept", ",*,"] {
            assert!(varying(vary, &[]).is_none(), "{vary}");
        }
        let two = headers(&[("vary", "accept"), ("vary", "*")]);
        assert!(Selecting::new(&HeaderMap::new(), &two).is_none());
    }

    #[test]
    fn what_varies_by_who_asks_is_kept_for_nobody() {
        let request = [("x-forwarded-for", "203.0.113.77"), ("forwarded", "for=203.0.113.77")];
        for vary in ["X-Forwarded-For", "Accept, Forwarded", "x-real-ip"] {
            assert!(varying(vary, &request).is_none(), "{vary}");
        }
    }

    #[test]
    fn rfc9111_4_1_what_the_gate_says_of_a_client_cannot_be_matched_with_what_the_client_says() {
        for vary in ["X-Forwarded-Proto", "Accept, x-forwarded-for", "Forwarded", "X-Client-Cert-CN"] {
            assert!(varying(vary, &[]).is_none(), "{vary}");
        }
    }

    #[test]
    fn rfc9111_4_1_all_nominated_fields_have_to_match() {
        let selecting =
            varying("Accept-Encoding, Accept", &[("accept-encoding", "gzip"), ("accept", "a")]).unwrap();
        assert!(selecting.matches(&headers(&[
            ("accept", "a"),
            ("accept-encoding", "gzip"),
            ("cookie", "1")
        ])));
        assert!(!selecting.matches(&headers(&[("accept", "b"), ("accept-encoding", "gzip")])));
        assert!(!selecting.matches(&headers(&[("accept", "a")])));
    }

    #[test]
    fn rfc9111_4_1_absence_matches_absence_only() {
        let selecting = varying("accept", &[]).unwrap();
        assert!(selecting.matches(&headers(&[])));
        assert!(!selecting.matches(&headers(&[("accept", "")])));
    }

    #[test]
    fn rfc9111_4_1_whitespace_and_lines_may_be_normalised() {
        let selecting = varying("accept", &[("accept", "a ,  b"), ("accept", "c")]).unwrap();
        assert!(selecting.matches(&headers(&[("accept", "a,b,c")])));
        assert!(!selecting.matches(&headers(&[("accept", "b,a,c")])));
        let quoted = varying("accept", &[("accept", "\"a , b\"")]).unwrap();
        assert!(!quoted.matches(&headers(&[("accept", "\"a,b\"")])));
    }

    #[test]
    fn a_name_that_is_none_is_taken_for_a_star() {
        assert!(varying("a b", &[]).is_none());
        assert_eq!(varying("Accept, accept", &[]).unwrap().fields().len(), 1);
        assert!(varying("", &[]).unwrap().fields().is_empty());
    }
}
