//! The part of a response that a client asked for.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Method;
use http::header::{self, HeaderMap, HeaderValue};

use super::conditions;
use super::freshness;
use super::hit::Body;
use super::origin::Failure;
use super::range::{self, Multipart, Part};
use super::respond::Response;

/// What is sent to a client.
pub struct Delivery {
    /// Its status.
    pub status: u16,
    /// Its fields, `Content-Length` among them where the length is known.
    pub headers: HeaderMap,
    /// No body follows.
    pub is_head_only: bool,
    body: Body,
    pieces: VecDeque<Piece>,
}

enum Piece {
    /// Bytes of our own making.
    Made(Vec<u8>),
    /// A part of the body.
    Part(Range<u64>),
    /// What the body gives now.
    Rest,
}

impl Response {
    /// What a client gets that asked with this method and these fields.
    pub fn for_request(mut self, method: &Method, request: &HeaderMap) -> Delivery {
        if conditions::is_not_modified(request, self.status, &self.headers) {
            conditions::without_body(&mut self.headers);
            return Delivery::head(304, self.headers);
        }
        let part = match self.length {
            // Ranges are for GET (RFC 9110 section 14.2).
            Some(length) if self.status == 200 && method == Method::GET => {
                if self.body.can_seek() {
                    self.headers.entry(header::ACCEPT_RANGES).or_insert(HeaderValue::from_static("bytes"));
                }
                match conditions::range_applies(request, &self.headers) && self.body.can_seek() {
                    true => range::requested(request, length),
                    false => Part::Whole,
                }
            }
            _ => Part::Whole,
        };
        // Never zero: only what has a length has parts.
        let length = self.length.unwrap_or_default();
        match part {
            Part::Whole => Delivery {
                status: self.status,
                is_head_only: method == Method::HEAD || matches!(self.status, 204 | 304),
                headers: self.headers,
                body: self.body,
                pieces: VecDeque::from([Piece::Rest]),
            },
            Part::Unsatisfiable => {
                conditions::without_body(&mut self.headers);
                set(&mut self.headers, header::CONTENT_RANGE, format!("bytes */{length}"));
                self.headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
                Delivery::head(416, self.headers)
            }
            Part::Single(part) => {
                set(&mut self.headers, header::CONTENT_RANGE, range::content_range(&part, length));
                self.headers.insert(header::CONTENT_LENGTH, (part.end - part.start).into());
                self.parts(VecDeque::from([Piece::Part(part)]))
            }
            Part::Several(parts) => {
                let content_type = self.headers.get(header::CONTENT_TYPE).cloned();
                let multipart = Multipart::new(boundary(), content_type, length);
                set(&mut self.headers, header::CONTENT_TYPE, multipart.content_type());
                self.headers.insert(header::CONTENT_LENGTH, multipart.total(&parts).into());
                let mut pieces = VecDeque::new();
                for part in parts {
                    pieces.push_back(Piece::Made(multipart.head(&part)));
                    pieces.push_back(Piece::Part(part));
                }
                pieces.push_back(Piece::Made(multipart.end()));
                self.parts(pieces)
            }
        }
    }

    fn parts(self, pieces: VecDeque<Piece>) -> Delivery {
        Delivery { status: 206, headers: self.headers, is_head_only: false, body: self.body, pieces }
    }
}

impl Delivery {
    fn head(status: u16, headers: HeaderMap) -> Self {
        Self { status, headers, is_head_only: true, body: Body::Empty, pieces: VecDeque::new() }
    }

    /// Tells the client to keep a success for `expires` from now, in place of what the origin said. The client
    /// will count from when the answer was made (RFC 9111 section 4.2.3), so the time since then comes on top.
    pub fn expires(&mut self, expires: Duration) {
        if matches!(self.status, 200 | 206 | 304) {
            let max_age = expires.saturating_add(freshness::age_shown(&self.headers, SystemTime::now()));
            set(&mut self.headers, header::CACHE_CONTROL, format!("max-age={}", max_age.as_secs()));
            // It would say otherwise.
            self.headers.remove(header::EXPIRES);
        }
    }

    /// Whether it is known that nothing is left to send.
    pub fn is_at_end(&self) -> bool {
        match (self.pieces.front(), self.pieces.len()) {
            (None, _) => true,
            (Some(Piece::Rest), 1) => self.body.is_at_end(),
            _ => false,
        }
    }

    /// The next bytes to send, if they are in memory: they are all of what is left. For them it is not worth while to
    /// prepare for a wait.
    pub fn at_hand(&mut self) -> Option<Bytes> {
        match (self.pieces.front(), self.pieces.len(), &mut self.body) {
            (Some(Piece::Rest), 1, Body::Memory(bytes)) => {
                Some(std::mem::take(bytes)).filter(|bytes| !bytes.is_empty())
            }
            _ => None,
        }
    }

    /// The next bytes to send; none at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            match self.pieces.pop_front() {
                None => return Ok(None),
                Some(Piece::Made(bytes)) => return Ok(Some(bytes.into())),
                Some(Piece::Part(part)) => {
                    if let Body::Memory(whole) = &self.body {
                        // Both ends are within: ranges were cut to its length, which fits into memory.
                        return Ok(Some(whole.slice(part.start as usize..part.end as usize)));
                    }
                    self.body.seek(part);
                    self.pieces.push_front(Piece::Rest);
                }
                Some(Piece::Rest) => {
                    if let Some(bytes) = self.body.next().await? {
                        self.pieces.push_front(Piece::Rest);
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }
}

fn set(headers: &mut HeaderMap, name: header::HeaderName, value: String) {
    // Made of numbers and of what a header held before.
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

/// 128 bits that no body can foresee.
fn boundary() -> String {
    format!("{:016x}{:016x}", RandomState::new().hash_one(0), RandomState::new().hash_one(1))
}
