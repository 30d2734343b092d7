//! From a request to a response: what is stored, what is asked for, what is said about it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::Method;
use http::header::{self, HeaderMap, HeaderValue};

use super::control::Directives;
use super::entry::Entry;
use super::fetch::Fetch;
use super::flight::{Beginner, Landed, Landing, Own};
use super::freshness::Rules;
use super::hit::Body;
use super::key::{Digest, Key};
use super::object::Object;
use super::origin::{Answer, Failure, Origin};
use super::reuse::{self, Because, Reuse};
use super::space::Space;
use super::status_header::{CacheStatus, Forwarded, Outcome};
use super::{Cache, Which};

/// How often a request waits for a fetch that then turns out to be for others.
const ROUNDS: usize = 4;

/// Fields that a stored response does not have: `Age`, `Cache-Status`, `Accept-Ranges`, and one to spare.
const ADDED: usize = 4;

/// A request for something that may be stored: a GET or HEAD.
pub struct Ask<'a> {
    /// Where it is stored.
    pub space: Which,
    /// What it is stored under.
    pub key: Key,
    /// What the operator wants where the answer says nothing.
    pub rules: Rules,
    /// GET or HEAD.
    pub method: &'a Method,
    /// The request's fields as the client sent them.
    pub headers: &'a HeaderMap,
}

/// A response as a GET without conditions or ranges has it.
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Its fields, `Age` and `Cache-Status` among them.
    pub headers: HeaderMap,
    /// How long its body is, if that is known.
    pub length: Option<u64>,
    /// Its body.
    pub body: Body,
    /// What the cache did.
    pub outcome: Outcome,
}

/// One request on its way through.
struct Request<'a> {
    cache: &'a Arc<Cache>,
    ask: &'a Ask<'a>,
    space: &'a Arc<Space>,
    digest: Digest,
    wants: Directives,
    origin: Arc<dyn Origin>,
}

impl Cache {
    /// What is stored and fresh, if there is any: most requests need no more.
    pub async fn stored(self: &Arc<Self>, ask: &Ask<'_>) -> Option<Response> {
        if !self.charge.is_held() {
            return None;
        }
        let (space, now) = (self.space(ask.space), SystemTime::now());
        let entry = space.find(&ask.key, ask.headers, now).entry?;
        let object = self.open_entry(space, &entry, now).await?;
        let wants = Directives::of_request(ask.headers);
        let age = object.age(now);
        match reuse::judge(&object.meta.terms, age, &wants) {
            Reuse::Fresh | Reuse::Stale => Some(self.hit(space, &object, age, CacheStatus::default())),
            _ => None,
        }
    }

    fn hit(&self, space: &Arc<Space>, object: &Object, age: Duration, status: CacheStatus) -> Response {
        self.counters.hit();
        stored_response(space, object, age, status)
    }

    /// Responds from what is stored, or has `origin` asked, once for all who want the same.
    pub async fn respond(
        self: &Arc<Self>,
        ask: &Ask<'_>,
        origin: Arc<dyn Origin>,
    ) -> Result<Response, Failure> {
        let request = Request {
            cache: self,
            ask,
            space: self.space(ask.space),
            digest: ask.key.digest(),
            wants: Directives::of_request(ask.headers),
            origin,
        };
        request.respond().await
    }
}

impl Request<'_> {
    async fn respond(&self) -> Result<Response, Failure> {
        let mut rounds = 0;
        loop {
            if !self.cache.charge.is_held() {
                // What is stored is another process's.
                let alone = self.ask_alone(None, Forwarded::UriMiss);
                return if self.wants.has("only-if-cached") { Ok(not_cached()) } else { alone.await };
            }
            let now = SystemTime::now();
            let found = self.space.find(&self.ask.key, self.ask.headers, now);
            let stored = match &found.entry {
                Some(entry) => self.cache.open_entry(self.space, entry, now).await,
                None => None,
            };
            let missing = if found.others { Forwarded::VaryMiss } else { Forwarded::UriMiss };
            let forwarded = match &stored {
                None => missing,
                Some(object) => {
                    let age = object.age(now);
                    match reuse::judge(&object.meta.terms, age, &self.wants) {
                        Reuse::Fresh | Reuse::Stale => {
                            return Ok(self.cache.hit(self.space, object, age, CacheStatus::default()));
                        }
                        Reuse::StaleWhileRevalidate => {
                            self.revalidate_in_background(stored.clone());
                            let detail = Some("stale-while-revalidate");
                            let status = CacheStatus { detail, ..CacheStatus::default() };
                            return Ok(self.cache.hit(self.space, object, age, status));
                        }
                        Reuse::Ask(Because::Stale) => Forwarded::Stale,
                        Reuse::Ask(Because::Request) => Forwarded::Request,
                    }
                }
            };
            if self.wants.has("only-if-cached") {
                return Ok(not_cached());
            }
            let fetched = self.fetch(stored, forwarded, rounds >= ROUNDS).await;
            if let Some(done) = fetched.map_err(|failure| failure.forwarded(forwarded))? {
                return Ok(done);
            }
            rounds += 1;
        }
    }

    /// Has the origin asked. None: what came is for others, and it is time to look again.
    async fn fetch(
        &self,
        stored: Option<Object>,
        forwarded: Forwarded,
        alone: bool,
    ) -> Result<Option<Response>, Failure> {
        let is_head = self.ask.method == Method::HEAD;
        // A HEAD is not worth fetching a whole file for, unless there is one already.
        let under_way = || self.cache.flights.landed(&self.digest, &self.ask.key, self.ask.headers).is_some();
        let alone = alone
            || self.wants.has("no-store")
            || self.cache.passed.contains_key(&self.digest)
            || is_head && stored.is_none() && !under_way();
        if alone {
            return self.ask_alone(stored, forwarded).await.map(Some);
        }
        let (flight, is_mine) = self.cache.flights.join(self.digest, &self.ask.key, self.ask.headers);
        let beginner = is_mine.then(|| Beginner(flight.clone()));
        if is_mine {
            if forwarded != Forwarded::Request && self.was_just_stored(&stored) {
                let digest = self.digest;
                drop(Landed {
                    flights: &self.cache.flights,
                    digest,
                    flight: flight.clone(),
                    or: Landing::Again,
                });
                return Ok(None);
            }
            tokio::spawn(self.new_fetch(stored.clone()).run(flight.clone()));
        }
        let status =
            CacheStatus { forwarded: Some(forwarded), collapsed: !is_mine, ..CacheStatus::default() };
        let response = match flight.landed().await {
            Landing::Shared(fill) => {
                if reuse::is_error(fill.meta.status)
                    && let Some(object) = self.in_place_of_error(&stored)
                {
                    return Ok(Some(self.stand_in(object, Some(fill.meta.status))));
                }
                if !is_mine && !fill.meta.selecting.matches(self.ask.headers) {
                    return Ok(None);
                }
                let own = beginner.as_ref().and_then(|beginner| beginner.0.take_follower());
                let others = || Some((fill.follow()?, fill.meta.headers.clone()));
                let Some((follower, mut headers)) = own.or_else(others) else { return Ok(None) };
                self.cache.counters.missed();
                let age = reuse::age(&fill.meta.terms, fill.meta.arrived, SystemTime::now());
                let status = CacheStatus {
                    stored: fill.is_wanted(),
                    ttl: CacheStatus::ttl(fill.meta.terms.lifetime, age),
                    ..status
                };
                if !is_mine {
                    insert_age(&mut headers, age);
                }
                insert_length(&mut headers, fill.meta.status, fill.length);
                status.append_to(&mut headers);
                Response {
                    status: fill.meta.status,
                    headers,
                    length: fill.length,
                    body: Body::Filling(follower),
                    outcome: Outcome::Missed,
                }
            }
            Landing::Validated(object) => {
                if !object.meta.selecting.matches(self.ask.headers) {
                    return Ok(None);
                }
                self.cache.counters.validated();
                let status = CacheStatus { forwarded_status: Some(304), stored: true, ..status };
                stored_response(self.space, &object, object.age(SystemTime::now()), status)
            }
            Landing::Own => match beginner.as_ref().and_then(|beginner| beginner.0.take_own()) {
                Some(Own::Answer(answer, why)) => {
                    self.alone(Ok(answer), &stored, CacheStatus { detail: Some(why), ..status })?
                }
                Some(Own::Validated(object)) => {
                    self.cache.counters.validated();
                    let status = CacheStatus { forwarded_status: Some(304), ..status };
                    stored_response(self.space, &object, object.age(SystemTime::now()), status)
                }
                None => return self.ask_alone(stored, forwarded).await.map(Some),
            },
            Landing::Failed(failure) => self.alone(Err(failure), &stored, status)?,
            Landing::Again => return Ok(None),
        };
        Ok(Some(response))
    }

    /// Whether a fetch that ended since this request looked has brought what it wants.
    fn was_just_stored(&self, stored: &Option<Object>) -> bool {
        let entry = self.space.find(&self.ask.key, self.ask.headers, SystemTime::now()).entry;
        let is_new = |entry: &Arc<Entry>, object: &Object| {
            object.entry.name != entry.name || object.validations != entry.validations()
        };
        entry.is_some_and(|entry| stored.as_ref().is_none_or(|object| is_new(&entry, object)))
    }

    /// Asks for this request only; nothing is stored.
    async fn ask_alone(&self, stored: Option<Object>, forwarded: Forwarded) -> Result<Response, Failure> {
        let status = CacheStatus { forwarded: Some(forwarded), ..CacheStatus::default() };
        self.alone(self.origin.ask(&[]).await, &stored, status)
    }

    /// What came for this request alone, or what is stored if that may stand in for it.
    fn alone(
        &self,
        answer: Result<Answer, Failure>,
        stored: &Option<Object>,
        status: CacheStatus,
    ) -> Result<Response, Failure> {
        let error_status = match &answer {
            Ok(answer) if !reuse::is_error(answer.status) => None,
            Ok(answer) => Some(Some(answer.status)),
            Err(_) => Some(None),
        };
        if let (Some(error_status), Some(object)) = (error_status, self.in_place_of_error(stored)) {
            return Ok(self.stand_in(object, error_status));
        }
        self.cache.counters.passed();
        answer.map(|answer| direct(answer, status))
    }

    fn new_fetch(&self, stored: Option<Object>) -> Fetch {
        Fetch {
            cache: self.cache.clone(),
            space: self.space.clone(),
            rules: self.ask.rules,
            origin: self.origin.clone(),
            stored,
        }
    }

    fn revalidate_in_background(&self, stored: Option<Object>) {
        if self.cache.flights.is_asked(&self.digest) {
            return;
        }
        let (flight, is_mine) = self.cache.flights.join(self.digest, &self.ask.key, self.ask.headers);
        if is_mine {
            drop(Beginner(flight.clone()));
            tokio::spawn(self.new_fetch(stored).run(flight));
        }
    }

    /// What is stored, if it may be used in place of an error.
    fn in_place_of_error<'o>(&self, stored: &'o Option<Object>) -> Option<&'o Object> {
        let age = |object: &Object| object.age(SystemTime::now());
        stored.as_ref().filter(|object| reuse::on_error(&object.meta.terms, age(object), &self.wants))
    }

    /// What is stored, in place of an error.
    fn stand_in(&self, object: &Object, forwarded_status: Option<u16>) -> Response {
        let status =
            CacheStatus { forwarded_status, detail: Some("stale-if-error"), ..CacheStatus::default() };
        self.cache.hit(self.space, object, object.age(SystemTime::now()), status)
    }
}

fn stored_response(space: &Arc<Space>, object: &Object, age: Duration, status: CacheStatus) -> Response {
    // A clone would have no room for what is added, and be moved to another place for it.
    let stored = &object.meta.headers;
    let mut headers = HeaderMap::with_capacity(stored.len() + ADDED);
    for (name, value) in stored {
        headers.append(name, value.clone());
    }
    // RFC 9111 section 4.
    insert_age(&mut headers, age);
    insert_length(&mut headers, object.meta.status, Some(object.length));
    let ttl = CacheStatus::ttl(object.meta.terms.lifetime, age);
    let status = CacheStatus { ttl, ..status };
    status.append_to(&mut headers);
    Response {
        status: object.meta.status,
        headers,
        length: Some(object.length),
        body: object.body(space),
        outcome: status.outcome(),
    }
}

fn direct(answer: Answer, status: CacheStatus) -> Response {
    let arrived = SystemTime::now();
    // What is kept from a cache goes to the one who asked.
    let mut headers = super::freshness::fields_for_client(&answer.headers, arrived);
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    status.append_to(&mut headers);
    let body = Body::Direct(answer.body);
    Response { status: answer.status, headers, length, body, outcome: Outcome::Missed }
}

/// RFC 9111 section 5.2.1.7.
fn not_cached() -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.append("cache-status", HeaderValue::from_static("farmgate; detail=only-if-cached"));
    Response { status: 504, headers, length: Some(0), body: Body::Empty, outcome: Outcome::Missed }
}

fn insert_age(headers: &mut HeaderMap, age: Duration) {
    headers.insert(header::AGE, age.as_secs().into());
}

fn insert_length(headers: &mut HeaderMap, status: u16, length: Option<u64>) {
    match length {
        Some(length) if status != 204 => {
            headers.insert(header::CONTENT_LENGTH, length.into());
        }
        _ => {
            headers.remove(header::CONTENT_LENGTH);
        }
    }
}
