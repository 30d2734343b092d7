//! Requests whose answers are kept: from the cache to the client, and from the backend to the cache.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::{Error, ErrorType, Result};
use tokio::time::timeout;

use super::ask::{AS_LONG_AS_IT_TAKES, Everybody, Question};
use super::context::{Context, connection};
use super::forward::{adapt_response, key_of, peers_of, upstream_request};
use super::generation::Generation;
use super::pace::{self, Pace};
use super::plan::Kept;
use super::plan::Upstream as Destination;
use super::relay::while_client_waits;
use super::session::Session;
use crate::backend::{Asked, Head, Incoming};
use crate::cache::{
    Answer, Arriving, Ask, Cache, Delivery, Failure, Origin, Outcome, Response, Rules, Which,
};
use crate::config;
use crate::limits::network_of;
use crate::metrics::{CacheOutcome, Counter, Space, Spent, Worker, waiting};

/// What the cache did with a request.
#[derive(Debug, Default)]
pub struct Noted {
    /// In a word; none where there is no answer.
    pub outcome: Option<CacheOutcome>,
    /// As the client is told where there is none (RFC 9211).
    pub failed: Option<HeaderValue>,
}

/// Answers a GET or HEAD from the cache, or has the backend asked for it. What the cache did is `noted`
/// before anything is sent, which then keeps its `pace`.
#[expect(clippy::too_many_arguments, reason = "one caller, which has each of them at hand")]
pub async fn serve(
    cache: &Arc<Cache>,
    worker: &Arc<Worker>,
    session: &mut Session,
    ctx: &Context,
    upstream: Destination,
    kept: Kept,
    noted: &mut Noted,
    mut pace: Option<Box<Pace>>,
) -> Result<()> {
    let settings = &ctx.generation.config.cache;
    let (space, rules) = rules(kept, settings);
    let key = key_of(session, ctx);
    let request = session.req_header();
    let ask = Ask { space, key, rules, method: &request.method, headers: &request.headers };
    let (outcome, mut delivery) = match cache.stored(&ask).await {
        Some(response) => {
            (CacheOutcome::from(response.outcome), response.for_request(ask.method, ask.headers))
        }
        None => {
            // The session is needed to see whether the client is still there.
            let (method, headers) = (request.method.clone(), request.headers.clone());
            let ask = Ask { key: ask.key, space, rules, method: &method, headers: &headers };
            let origin = Arc::new(Backend {
                generation: ctx.generation.clone(),
                site: ctx.site,
                upstream,
                read_timeout: ctx.read_timeout,
                worker: worker.clone(),
                client: network_of(connection(session).peer.ip()),
                request: for_all(upstream_request(session, ctx, upstream)?),
            });
            // Boxed: a hit should not have to make room for what a miss needs.
            let answer = Box::pin(async {
                let answered = cache.respond(&ask, origin).await;
                answered.map_err(|failure| {
                    noted.failed = failure.cache_status();
                    Box::<Error>::from(failure)
                })
            });
            let answer = while_client_waits(session, answer, AS_LONG_AS_IT_TAKES);
            let answered = waiting(&ctx.spent.backend, pin!(answer)).await;
            let is_stored = |response: &Response| matches!(response.outcome, Outcome::Hit | Outcome::Stale);
            if !answered.as_ref().is_ok_and(is_stored) {
                ctx.spent.asked.increment();
            }
            let response = answered?;
            (CacheOutcome::from(response.outcome), response.for_request(&method, &headers))
        }
    };
    let counted = match space {
        Which::Static => Space::Static,
        Which::Logs => Space::Logs,
    };
    noted.outcome = Some(outcome);
    worker.cache[counted.index()][outcome.index()].increment();
    let is_stored = outcome != CacheOutcome::Miss;
    if kept == Kept::Download {
        delivery.expires(settings.download.expires);
    }
    // What is read from our own disk keeps no client waiting for the backend.
    let for_disk = Counter::default();
    let for_body = if is_stored { &for_disk } else { &ctx.spent.backend };
    send(session, delivery, for_body, &ctx.spent, &mut pace).await
}

/// Where answers of that kind are kept, and for how long if they do not say.
fn rules(kept: Kept, settings: &config::Cache) -> (Which, Rules) {
    let rules = |fallback, other| Rules { fallback, fallback_other: other };
    match kept {
        Kept::Static => {
            let config::CacheSpace { fallback_ttl, fallback_ttl_other, .. } = settings.static_files;
            (Which::Static, rules(fallback_ttl, Some(fallback_ttl_other)))
        }
        Kept::Download => {
            let config::DownloadCache { fallback_ttl, fallback_ttl_other, .. } = settings.download;
            (Which::Static, rules(fallback_ttl, Some(fallback_ttl_other)))
        }
        // A log that is not there yet may come.
        Kept::Log => (Which::Logs, rules(settings.logs.fallback_ttl, None)),
    }
}

/// Waits for the body are added to what is given for them.
async fn send(
    session: &mut Session,
    mut delivery: Delivery,
    for_body: &Counter,
    spent: &Spent,
    pace: &mut Option<Box<Pace>>,
) -> Result<()> {
    let date = delivery.headers.get(header::DATE).cloned();
    let mut response = head(delivery.status, std::mem::take(&mut delivery.headers))?;
    let no_body = matches!(delivery.status, 204 | 304);
    if !no_body && !response.headers.contains_key(header::CONTENT_LENGTH) {
        response.insert_header(header::TRANSFER_ENCODING, "chunked")?;
    }
    adapt_response(session, &mut response);
    // Over HTTP/1 the engine puts the time of sending in its place.
    if let (Some(outgoing), Some(date)) = (connection(session).outgoing(), date) {
        outgoing.date_next_head(date);
    }
    session.write_response_header(Box::new(response)).await.map_err(|error| error.into_down())?;
    if delivery.is_head_only {
        return Ok(());
    }
    loop {
        let part = match delivery.at_hand() {
            Some(part) => Some(part),
            None => {
                let next = pin!(async { delivery.next().await.map_err(Box::<Error>::from) });
                let next = pin!(while_client_waits(session, next, AS_LONG_AS_IT_TAKES));
                waiting(for_body, next).await?
            }
        };
        let Some(part) = part else { break };
        // With the last of it: otherwise the end would need a frame of its own.
        let is_last = !part.is_empty() && delivery.is_at_end();
        pace::send(session, part, is_last, pace, spent).await?;
    }
    session.finish_response_body().await.map_err(|error| error.into_down())
}

/// A response's head, of fields that are not copied for it.
fn head(status: u16, headers: HeaderMap) -> Result<ResponseHeader> {
    let (mut parts, ()) = http::Response::new(()).into_parts();
    parts.headers = headers;
    let mut response = ResponseHeader::from(parts);
    response.set_status(status)?;
    Ok(response)
}

/// The request as one for all of it, whoever else may be given the answer: conditions and ranges are the
/// client's own.
fn for_all(mut request: RequestHeader) -> RequestHeader {
    for name in [
        header::RANGE,
        header::IF_RANGE,
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_UNMODIFIED_SINCE,
    ] {
        request.remove_header(&name);
    }
    request
}

/// A backend, asked for one target.
struct Backend {
    generation: Arc<Generation>,
    site: usize,
    upstream: Destination,
    read_timeout: Option<Duration>,
    worker: Arc<Worker>,
    /// Who began to ask.
    client: IpAddr,
    request: RequestHeader,
}

#[async_trait]
impl Origin for Backend {
    async fn ask(&self, conditions: &[(HeaderName, HeaderValue)]) -> Result<Answer, Failure> {
        let mut request = self.request.clone();
        for (name, value) in conditions {
            request.insert_header(name, value).map_err(Failure::from)?;
        }
        let peers = peers_of(self.generation.site(self.site), self.upstream)?;
        let question = Question {
            peers,
            usage: self.upstream.usage,
            repeatable: self.upstream.repeatable,
            read_timeout: self.read_timeout,
            pool: None,
            worker: &self.worker,
            client: self.client,
        };
        let make = |_: &Everybody| Ok(Head::Fields(Box::new(request.clone())));
        let name = format!("backend {}", peers.name());
        let asked = question.ask(&mut Everybody, &make, None).await;
        let (mut incoming, asked) = asked.map_err(|error| Failure::from(error).of(&name))?;
        let Some(head) = incoming.take_head() else {
            return Err(Failure::new(ErrorType::InternalError, "a response without a head"));
        };
        let (status, headers) = (head.status.as_u16(), head.as_owned_parts().headers);
        let body = Body { incoming, patience: question.patience(), name, _asked: asked };
        Ok(Answer { status, headers, body: Box::new(body) })
    }
}

/// A body on its way from the backend.
struct Body {
    incoming: Incoming,
    patience: Duration,
    name: String,
    /// Its backend is at it until then.
    _asked: Asked,
}

#[async_trait]
impl Arriving for Body {
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            match in_time(self.incoming.owned_part(), self.patience).await {
                Ok(Some(bytes)) if bytes.is_empty() => {}
                Ok(other) => return Ok(other),
                Err(error) => return Err(Failure::from(error).of(&self.name)),
            }
        }
    }
}

async fn in_time<T>(read: impl Future<Output = Result<T>>, patience: Duration) -> Result<T> {
    match timeout(patience, read).await {
        Ok(result) => result.map_err(|error| error.into_up()),
        Err(_) => Err(Error::new_up(ErrorType::ReadTimedout)),
    }
}
