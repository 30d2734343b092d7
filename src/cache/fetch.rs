//! The task that asks an origin, and keeps what comes.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::SystemTime;

use bytes::Bytes;
use http::header;

use super::entry::Entry;
use super::flight::{Flight, Landed, Landing, Own};
use super::freshness::{self, Arrival, Rules};
use super::memory::Hot;
use super::meta::Meta;
use super::miss::Fill;
use super::object::Object;
use super::origin::{Answer, Failure, Origin};
use super::space::Space;
use super::storage::{Name, Writer};
use super::vary::Selecting;
use super::{Cache, conditions, reuse};
use crate::cache::control::Directives;

/// What is gathered before it is written.
const WRITE: usize = 256 * 1024;

/// One fetch.
pub(super) struct Fetch {
    pub cache: Arc<Cache>,
    pub space: Arc<Space>,
    pub rules: Rules,
    pub origin: Arc<dyn Origin>,
    /// What there is already, to be validated.
    pub stored: Option<Object>,
}

impl Fetch {
    /// Asks, tells those who wait for `flight`, and keeps the answer if it may.
    pub async fn run(self, flight: Arc<Flight>) {
        let digest = flight.key.digest();
        let landed = Landed::new(&self.cache.flights, digest, flight.clone());
        let conditions = self.stored.as_ref().map(|stored| conditions::validators(&stored.meta.headers));
        let mut asked = SystemTime::now();
        let mut answer = self.origin.ask(&conditions.unwrap_or_default()).await;
        if let (Ok(new), Some(stored)) = (&answer, &self.stored)
            && new.status == 304
        {
            match self.validated(stored, new, &flight, asked).await {
                Some((object, true)) => return landed.flight.land(Landing::Validated(Arc::new(object))),
                Some((object, false)) => return landed.flight.land_own(Own::Validated(object)),
                // It spoke of something else (RFC 9111 section 4.3.4).
                None => {
                    asked = SystemTime::now();
                    answer = self.origin.ask(&[]).await;
                }
            }
        }
        match answer {
            Ok(answer) => self.take(answer, asked, &flight).await,
            Err(failure) => flight.land(Landing::Failed(failure)),
        }
    }

    /// The stored response as a 304 makes it, and whether it may be used for others than the one who asked; none
    /// when that is of another one.
    async fn validated(
        &self,
        stored: &Object,
        new: &Answer,
        flight: &Flight,
        asked: SystemTime,
    ) -> Option<(Object, bool)> {
        if !conditions::selects(&new.headers, &stored.meta.headers) {
            return None;
        }
        let arrived = SystemTime::now();
        let headers = freshness::updated_fields(&stored.meta.headers, &new.headers, arrived);
        let arrival = Arrival {
            request: &flight.request,
            status: stored.meta.status,
            response: &headers,
            asked,
            arrived,
        };
        let terms = freshness::judge(&arrival, &self.rules);
        let same = Selecting::new(&flight.request, &headers)
            .is_some_and(|selecting| selecting.same_names(&stored.meta.selecting));
        let storable = terms.is_ok() && same && !flight.is_purged();
        let terms = terms.unwrap_or_default();
        let meta = Meta { headers, arrived, terms, ..(*stored.meta).clone() };
        let object = stored.with_meta(Arc::new(meta));
        if storable {
            self.cache.freshen(&self.space, &object).await;
        } else {
            // It was validated, so it may be used this once.
            self.space.discard(&stored.entry.key, &stored.entry.name);
            self.cache.memory.remove(stored.entry.name.id);
        }
        Some((object, storable))
    }

    /// Keeps an answer, or leaves it to the one who asked.
    async fn take(&self, answer: Answer, asked: SystemTime, flight: &Arc<Flight>) {
        let arrived = SystemTime::now();
        let (meta, length) = match self.judge(&answer, asked, arrived, flight) {
            Ok(judged) => judged,
            Err(why) => {
                // One request's doing says nothing of the next one.
                if !matches!(why, "request-no-store" | "authorization" | "stale-if-error") {
                    self.cache.passed.insert(flight.key.digest(), ());
                }
                return flight.land_own(Own::Answer(answer, why));
            }
        };
        let name = Name::new(flight.key.digest());
        let files = self.space.files.clone();
        let writer = match blocking(move || Writer::create(&files, name, length)).await {
            Ok(writer) => writer,
            Err(error) => {
                self.space.health.failed("write", &error);
                return flight.land_own(Own::Answer(answer, "disk"));
            }
        };
        let fill = Fill::new(Arc::new(meta), length, writer.file());
        flight.land_shared(&fill, freshness::fields_for_client(&answer.headers, arrived));
        // A purge that came before that did not see the fill.
        if flight.is_purged() {
            fill.disown();
        }
        let outcome = self.fill(&fill, answer, writer, name, flight).await;
        fill.end(outcome);
    }

    fn judge(
        &self,
        answer: &Answer,
        asked: SystemTime,
        arrived: SystemTime,
        flight: &Flight,
    ) -> Result<(Meta, Option<u64>), &'static str> {
        let arrival = Arrival {
            request: &flight.request,
            status: answer.status,
            response: &answer.headers,
            asked,
            arrived,
        };
        let terms = freshness::judge(&arrival, &self.rules).map_err(|refusal| refusal.0)?;
        let selecting = Selecting::new(&flight.request, &answer.headers).ok_or("vary")?;
        if let Some(stored) = &self.stored
            && reuse::is_error(answer.status)
            && reuse::on_error(
                &stored.meta.terms,
                reuse::age(&stored.meta.terms, stored.meta.arrived, arrived),
                &Directives::default(),
            )
        {
            // What is there can still stand in for the error, and would be pushed out by it.
            return Err("stale-if-error");
        }
        let length =
            answer.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let length = if answer.status == 204 { Some(0) } else { length };
        if length.is_some_and(|length| length > self.space.limits().max_size) {
            return Err("too-large");
        }
        let headers = freshness::storable_fields(&answer.headers, arrived);
        let meta =
            Meta { key: flight.key.clone(), selecting, status: answer.status, headers, arrived, terms };
        Ok((meta, length))
    }

    /// Receives the body, and puts the whole into the index.
    async fn fill(
        &self,
        fill: &Arc<Fill>,
        mut answer: Answer,
        writer: Writer,
        name: Name,
        flight: &Arc<Flight>,
    ) -> Result<(), Failure> {
        let mut writer = Some(writer);
        let max_size = self.space.limits().max_size;
        loop {
            let (parts, end) = gather(&mut answer).await?;
            for part in &parts {
                fill.push(part.clone());
            }
            if !parts.is_empty() {
                writer = self.write(fill, writer.take(), parts, max_size).await;
                if writer.is_none() && !end && !fill.wait_for_room().await {
                    return Err(Failure::new(pingora::ErrorType::WriteError, "nobody is left to receive it"));
                }
            }
            if end {
                break;
            }
        }
        if fill.length.is_some_and(|length| length != fill.received()) {
            // An incomplete response is not to be used as a complete one (RFC 9111 section 3.3).
            return Err(Failure::new(pingora::ErrorType::ConnectionClosed, "the response ended early"));
        }
        // Those who follow have the end now, whatever the disk says.
        fill.end(Ok(()));
        if let Some(writer) = writer {
            self.keep(fill, writer, name, flight).await;
        }
        Ok(())
    }

    /// Writes parts; gives the writer back as long as there is a point to it.
    async fn write(
        &self,
        fill: &Fill,
        writer: Option<Writer>,
        parts: Vec<Bytes>,
        max_size: u64,
    ) -> Option<Writer> {
        let mut writer = writer?;
        if fill.received() > max_size {
            fill.leave_disk();
            return None;
        }
        let written = blocking(move || {
            for part in &parts {
                writer.append(part)?;
            }
            // What was allocated over there is given back over there: see `Stored::room`.
            Ok((writer, parts))
        });
        match written.await {
            Ok((writer, _parts)) => {
                fill.is_on_disk();
                Some(writer)
            }
            Err(error) => {
                self.space.health.failed("write", &error);
                fill.leave_disk();
                None
            }
        }
    }

    /// Moves a whole file into place and its name into the index.
    async fn keep(&self, fill: &Arc<Fill>, writer: Writer, name: Name, flight: &Arc<Flight>) {
        if flight.is_purged() || !fill.is_wanted() {
            return;
        }
        let (meta, length) = (fill.meta.clone(), fill.received());
        let (cache, space) = (self.cache.clone(), self.space.clone());
        let body = if cache.memory.takes(length) { fill.whole() } else { None };
        let hot = body.map(|body| Hot { meta: meta.clone(), body });
        let entry = Entry::new(name, meta.key.clone(), meta.selecting.clone(), length, meta.arrived);
        let flight = flight.clone();
        let kept = blocking(move || {
            // Who is in charge by now does not know of it, and would not find it any more.
            let Some(in_charge) = cache.charge.hold() else { return Ok(()) };
            entry.set_file_length(writer.commit(&meta)?);
            space.insert(entry);
            if let Some(hot) = hot {
                cache.memory.put(name.id, hot);
            }
            // A purge that came before it was in the index did not see it there.
            if flight.is_purged() {
                space.discard(&meta.key, &name);
                cache.memory.remove(name.id);
                // At once: what is removed later is left to whoever is in charge then, who would take it up.
                space.files.remove(&name)?;
            }
            space.settle();
            // Held any longer, it would be waited for by who removes files.
            drop(in_charge);
            // What had to go for it is gone before this fetch is over: where files come faster than they can be
            // removed, the disk would fill up with what the index knows nothing of.
            space.wait_until_removed();
            Ok(())
        });
        match kept.await {
            Ok(()) => self.space.health.works(),
            Err(error) => self.space.health.failed("write", &error),
        }
    }
}

/// What of the body is here already, up to a limit, and at least something; and whether that was all.
async fn gather(answer: &mut Answer) -> Result<(Vec<Bytes>, bool), Failure> {
    let mut parts = Vec::new();
    let mut total = 0;
    let mut next = answer.body.next().await?;
    while let Some(part) = next {
        total += part.len();
        parts.push(part);
        if total >= WRITE {
            return Ok((parts, false));
        }
        let mut soon = pin!(answer.body.next());
        // Nothing is lost by asking only once: a read that was given up took nothing.
        next = match poll_fn(|cx| Poll::Ready(soon.as_mut().poll(cx))).await {
            Poll::Ready(next) => next?,
            Poll::Pending => return Ok((parts, false)),
        };
    }
    Ok((parts, true))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|stopping| Err(io::Error::other(stopping)))
}
