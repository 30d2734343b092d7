//! Parts of a stored whole (RFC 9110 section 14).

use std::ops::Range;

use http::header::{self, HeaderMap, HeaderValue};

/// More parts than this are no honest request (RFC 9110 section 17.15): the whole is sent.
const MOST: usize = 64;

/// What of a body is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// One part: 206.
    Single(Range<u64>),
    /// Several, in the order in which they were asked for: 206 with `multipart/byteranges`.
    Several(Vec<Range<u64>>),
    /// None of what was asked for is there: 416.
    Unsatisfiable,
}

/// The part of a body of `length` bytes that `request` asks for. What is malformed, or in another unit, is
/// ignored, as if it had not been sent (section 14.2).
pub fn requested(request: &HeaderMap, length: u64) -> Part {
    let mut lines = request.get_all(header::RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Part::Whole;
    };
    let Some((unit, set)) = line.to_str().ok().and_then(|line| line.split_once('=')) else {
        return Part::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Part::Whole;
    }
    let mut parts = Vec::new();
    for (count, spec) in set.split(',').map(str::trim).filter(|spec| !spec.is_empty()).enumerate() {
        if count == MOST {
            return Part::Whole;
        }
        match one(spec, length) {
            Err(()) => return Part::Whole,
            Ok(Some(part)) => parts.push(part),
            Ok(None) => {}
        }
    }
    // Overlapping parts may be sent as one (section 15.3.7.2); asking for them over and over is no way to
    // have more sent than there is.
    let total: u64 = parts.iter().map(|part| part.end - part.start).sum();
    match parts.len() {
        0 if set.trim_matches([',', ' ']).is_empty() => Part::Whole,
        0 => Part::Unsatisfiable,
        1 => Part::Single(parts.remove(0)),
        _ if total > length => Part::Whole,
        _ => Part::Several(parts),
    }
}

/// `first-last`, `first-` or `-suffix`; none when that is beyond the end.
fn one(spec: &str, length: u64) -> Result<Option<Range<u64>>, ()> {
    let (first, last) = spec.split_once('-').ok_or(())?;
    let number = |digits: &str| match digits.bytes().all(|byte| byte.is_ascii_digit()) {
        // Too large a number is just beyond the end.
        true if !digits.is_empty() => Ok(digits.parse().unwrap_or(u64::MAX)),
        _ => Err(()),
    };
    let range = if first.is_empty() {
        length.saturating_sub(number(last)?)..length
    } else {
        let first = number(first)?;
        let last = if last.is_empty() { u64::MAX } else { number(last)? };
        if last < first {
            return Err(());
        }
        first..last.saturating_add(1).min(length)
    };
    Ok((range.start < range.end).then_some(range))
}

/// `Content-Range` of one part (section 14.4).
pub fn content_range(part: &Range<u64>, length: u64) -> String {
    format!("bytes {}-{}/{length}", part.start, part.end - 1)
}

/// What goes in front of each part, and behind the last, of a `multipart/byteranges` (section 14.6).
#[derive(Clone, Debug)]
pub struct Multipart {
    boundary: String,
    content_type: Option<HeaderValue>,
    length: u64,
}

impl Multipart {
    /// For a body of `length` bytes; `boundary` should not occur in it, and one with 128 random bits does not.
    pub fn new(boundary: String, content_type: Option<HeaderValue>, length: u64) -> Self {
        Self { boundary, content_type, length }
    }

    /// The type of the whole answer.
    pub fn content_type(&self) -> String {
        format!("multipart/byteranges; boundary={}", self.boundary)
    }

    /// The delimiter and head of a part.
    pub fn head(&self, part: &Range<u64>) -> Vec<u8> {
        let mut head = format!("\r\n--{}\r\n", self.boundary).into_bytes();
        if let Some(content_type) = &self.content_type {
            head.extend_from_slice(b"Content-Type: ");
            head.extend_from_slice(content_type.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        let range = content_range(part, self.length);
        head.extend_from_slice(format!("Content-Range: {range}\r\n\r\n").as_bytes());
        head
    }

    /// The last delimiter.
    pub fn end(&self) -> Vec<u8> {
        format!("\r\n--{}--\r\n", self.boundary).into_bytes()
    }

    /// How long the whole answer is.
    pub fn total(&self, parts: &[Range<u64>]) -> u64 {
        let framed = parts.iter().map(|part| self.head(part).len() as u64 + (part.end - part.start));
        framed.sum::<u64>() + self.end().len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::headers;
    use super::*;

    fn ask(range: &str) -> Part {
        requested(&headers(&[("range", range)]), 100)
    }

    #[test]
    fn rfc9110_14_1_2_each_form_of_a_byte_range() {
        assert_eq!(ask("bytes=0-9"), Part::Single(0..10));
        assert_eq!(ask("Bytes=90-"), Part::Single(90..100));
        assert_eq!(ask("bytes=-10"), Part::Single(90..100));
        assert_eq!(ask("bytes=-1000"), Part::Single(0..100));
        assert_eq!(ask("bytes=99-99999999999999999999999"), Part::Single(99..100));
        assert_eq!(ask("bytes= 0-0 , ,-1"), Part::Several(vec![0..1, 99..100]));
    }

    #[test]
    fn rfc9110_14_2_what_is_malformed_is_ignored() {
        for bad in [
            "bytes",
            "bytes=",
            "bytes=a-b",
            "bytes=5-4",
            "bytes=-",
            "lines=0-1",
            "bytes=1-2-3",
            "bytes=0-1,x",
        ] {
            assert_eq!(ask(bad), Part::Whole, "{bad}");
        }
        assert_eq!(requested(&headers(&[("range", "bytes=0-1"), ("range", "bytes=2-3")]), 100), Part::Whole);
    }

    #[test]
    fn rfc9110_15_5_17_nothing_in_reach_is_unsatisfiable() {
        for beyond in ["bytes=100-", "bytes=200-300,400-", "bytes=-0"] {
            assert_eq!(ask(beyond), Part::Unsatisfiable, "{beyond}");
        }
        assert_eq!(ask("bytes=200-300, 0-1"), Part::Single(0..2));
        assert_eq!(requested(&headers(&[("range", "bytes=0-")]), 0), Part::Unsatisfiable);
    }

    #[test]
    fn rfc9110_17_15_more_than_the_whole_is_the_whole() {
        assert_eq!(ask("bytes=0-,0-,0-"), Part::Whole);
        assert_eq!(ask(&format!("bytes={}", "1-1,".repeat(65))), Part::Whole);
    }

    #[test]
    fn rfc9110_14_6_a_multipart_answer_is_as_long_as_it_says() {
        let multipart = Multipart::new("b".into(), Some(HeaderValue::from_static("text/plain")), 100);
        let parts = [0..2, 98..100];
        let mut whole = Vec::new();
        for part in &parts {
            whole.extend(multipart.head(part));
            whole.extend([b'x', b'x']);
        }
        whole.extend(multipart.end());
        assert_eq!(multipart.total(&parts), whole.len() as u64);
        let text = String::from_utf8(whole).unwrap();
        assert!(text.contains(
            "\r\n--b\r\nContent-Type: text/plain\r\nContent-Range: bytes 98-99/100\r\n\r\nxx\r\n--b--"
        ));
    }
}
