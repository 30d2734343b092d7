//! A stored response without its body, in memory and as bytes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::freshness::Terms;
use super::key::Key;
use super::vary::Selecting;

/// A stored response without its body.
#[derive(Clone, Debug, PartialEq)]
pub struct Meta {
    /// What it answers.
    pub key: Key,
    /// Which requests for that.
    pub selecting: Selecting,
    /// Its status.
    pub status: u16,
    /// Its fields, those of one hop left out.
    pub headers: HeaderMap,
    /// When it came, or was last validated.
    pub arrived: SystemTime,
    /// On what terms it is kept.
    pub terms: Terms,
}

/// Set in the flags of the terms.
const ALWAYS_VALIDATE: u64 = 1;
const NEVER_STALE: u64 = 2;
const IMMUTABLE: u64 = 4;

impl Meta {
    /// As bytes. Times are in milliseconds.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        put(&mut out, self.key.site().as_bytes());
        put(&mut out, self.key.host().as_bytes());
        put(&mut out, self.key.target());
        number(&mut out, self.selecting.fields().len() as u64);
        for (name, value) in self.selecting.fields() {
            put(&mut out, name.as_bytes());
            number(&mut out, u64::from(value.is_some()));
            put(&mut out, value.as_deref().unwrap_or_default());
        }
        number(&mut out, u64::from(self.status));
        number(&mut out, millis(self.arrived.duration_since(UNIX_EPOCH).unwrap_or_default()));
        let terms = &self.terms;
        for span in [terms.initial_age, terms.lifetime, terms.while_revalidate, terms.if_error] {
            number(&mut out, millis(span));
        }
        let flag = |set: bool, bit: u64| if set { bit } else { 0 };
        let flags = flag(terms.always_validate, ALWAYS_VALIDATE)
            | flag(terms.never_stale, NEVER_STALE)
            | flag(terms.immutable, IMMUTABLE);
        number(&mut out, flags);
        number(&mut out, self.headers.len() as u64);
        for (name, value) in &self.headers {
            put(&mut out, name.as_str().as_bytes());
            put(&mut out, value.as_bytes());
        }
        out
    }

    /// From bytes, which the values of its fields go on to share; none when they are not what [`Self::encode`] made.
    pub fn decode(bytes: &Bytes) -> Option<Self> {
        let mut input = &bytes[..];
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(Box::<str>::from);
        let (site, host) = (text(take(&mut input)?)?, text(take(&mut input)?)?);
        let key = Key::from_parts(site, host, take(&mut input)?.into());
        let mut fields = Vec::new();
        for _ in 0..take_number(&mut input)? {
            let name = text(take(&mut input)?)?;
            let is_there = take_number(&mut input)? == 1;
            let value = take(&mut input)?;
            fields.push((name, is_there.then(|| value.into())));
        }
        let status = u16::try_from(take_number(&mut input)?).ok()?;
        let arrived = UNIX_EPOCH.checked_add(Duration::from_millis(take_number(&mut input)?))?;
        let mut span = || Some(Duration::from_millis(take_number(&mut input)?));
        let (initial_age, lifetime, while_revalidate, if_error) = (span()?, span()?, span()?, span()?);
        let flags = take_number(&mut input)?;
        let terms = Terms {
            initial_age,
            lifetime,
            while_revalidate,
            if_error,
            always_validate: flags & ALWAYS_VALIDATE != 0,
            never_stale: flags & NEVER_STALE != 0,
            immutable: flags & IMMUTABLE != 0,
        };
        let count = usize::try_from(take_number(&mut input)?).ok()?;
        // No more than fit in: each has two lengths in front.
        let mut headers = HeaderMap::try_with_capacity(count.min(input.len() / 16)).ok()?;
        for _ in 0..count {
            let name = HeaderName::from_bytes(take(&mut input)?).ok()?;
            let value = bytes.slice_ref(take(&mut input)?);
            headers.try_append(name, HeaderValue::from_maybe_shared(value).ok()?).ok()?;
        }
        let selecting = Selecting::from_fields(fields);
        input.is_empty().then_some(Self { key, selecting, status, headers, arrived, terms })
    }

    /// About what it takes in memory.
    pub fn weight(&self) -> usize {
        let fields: usize =
            self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 128).sum();
        256 + self.key.target().len() + fields
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn number(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn take_number(input: &mut &[u8]) -> Option<u64> {
    let (head, rest) = input.split_first_chunk::<8>()?;
    *input = rest;
    Some(u64::from_be_bytes(*head))
}

fn take<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_number(input)?).ok()?;
    let (head, rest) = input.split_at_checked(length)?;
    *input = rest;
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::headers;
    use super::*;

    fn sample() -> Meta {
        let fields = headers(&[("etag", "\"1\""), ("x-a", "1"), ("x-a", "2"), ("vary", "accept, x")]);
        Meta {
            key: Key::new("s", "h", b"/static/\xffa?b"),
            selecting: Selecting::new(&headers(&[("accept", "a")]), &fields).unwrap(),
            status: 200,
            headers: fields,
            arrived: UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
            terms: Terms { lifetime: Duration::from_secs(5), never_stale: true, ..Terms::default() },
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        assert_eq!(Meta::decode(&sample().encode().into()).unwrap(), sample());
    }

    #[test]
    fn bytes_that_were_cut_or_are_too_many_are_refused() {
        let bytes = sample().encode();
        for end in 0..bytes.len() {
            assert!(Meta::decode(&Bytes::copy_from_slice(&bytes[..end])).is_none(), "{end}");
        }
        assert!(Meta::decode(&[&bytes[..], &[0]].concat().into()).is_none());
    }
}
