//! Where answers come from, as the cache sees it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use pingora::{Error, ErrorSource, ErrorType};

use super::status_header::{CacheStatus, Forwarded};

/// Somebody to be asked for one target, as a GET for all of it: without the client's own conditions and ranges.
#[async_trait]
pub trait Origin: Send + Sync + 'static {
    /// Asks, with these conditions.
    async fn ask(&self, conditions: &[(HeaderName, HeaderValue)]) -> Result<Answer, Failure>;
}

/// An answer whose body is still to come.
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its fields as they came.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Box<dyn Arriving>,
}

/// A body on its way here.
#[async_trait]
pub trait Arriving: Send + Sync {
    /// The next bytes, never empty ones; none at the end. A body that ends before its end is a failure.
    async fn next(&mut self) -> Result<Option<Bytes>, Failure>;
}

/// Why there is no answer, or no more of it. Several may wait for one answer, and so may have one failure.
#[derive(Clone, Debug)]
pub struct Failure {
    kind: ErrorType,
    text: Arc<str>,
    /// Why the origin was asked, where that is known.
    pub(super) forwarded: Option<Forwarded>,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: ErrorType, text: impl Into<Arc<str>>) -> Self {
        Self { kind, text: text.into(), forwarded: None }
    }

    /// The same, of a request that was sent on for this reason.
    pub(super) fn forwarded(self, why: Forwarded) -> Self {
        Self { forwarded: Some(why), ..self }
    }

    /// `Cache-Status` of an answer that tells of it (RFC 9211).
    pub fn cache_status(&self) -> Option<HeaderValue> {
        CacheStatus::of_failure(self).value()
    }

    /// What went wrong.
    pub(super) fn in_a_word(&self) -> &'static str {
        match self.kind {
            ErrorType::ConnectTimedout | ErrorType::ReadTimedout | ErrorType::WriteTimedout => "timeout",
            ErrorType::ConnectRefused | ErrorType::ConnectError => "unreachable",
            ErrorType::HTTPStatus(_) => "busy",
            _ => "no-answer",
        }
    }

    /// The same, of somebody who has a name.
    pub fn of(self, name: &str) -> Self {
        let text = if self.text.is_empty() { name.into() } else { format!("{name}: {}", self.text).into() };
        Self { text, ..self }
    }
}

impl From<Box<Error>> for Failure {
    /// Takes the kind and what the system said. What else an error tells may quote what somebody sent.
    fn from(error: Box<Error>) -> Self {
        let mut text = String::new();
        let mut next = Some(&*error);
        while let Some(error) = next {
            let cause = error.cause.as_deref();
            if let Some(system) = cause.and_then(|cause| cause.downcast_ref::<std::io::Error>()) {
                text = system.kind().to_string();
            }
            // `more_context` boxes what is boxed already.
            next = cause.and_then(|cause| cause.downcast_ref::<Box<Error>>()).map(|boxed| &**boxed);
        }
        Self { kind: error.etype, text: text.into(), forwarded: None }
    }
}

impl From<Failure> for Box<Error> {
    fn from(failure: Failure) -> Self {
        Error::create(failure.kind, ErrorSource::Upstream, Some(failure.text.to_string().into()), None)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.kind.as_str(), self.text)
    }
}
