//! Lookups, without the engine.
//!
//! A Guix client asks for narinfos by the thousand, and each is a line to publish and a kilobyte back. On the engine's
//! sessions that is 43,000 instructions, two thirds of them to set up fields and sessions that nobody looks at again.
//! Here the request lies in the buffer it was read into, and the answer goes from one buffer to the other: 17,000, to
//! nginx's 26,000 (callgrind, plain HTTP, with logs and metrics).
//!
//! This is for the case that is nearly all of them: a plain request for what is never cached, a backend that is up and
//! has a slot free and an idle connection, and an answer that is short, plain and soon there. As soon as it is
//! another, the engine's way goes on from there with what was begun, and all that is decided about waiting, asking again
//! and telling of errors is decided in one place. Which requests may come here at all is for [`plan::lookup`] to say.

use std::cell::RefCell;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use http::Version;
use tokio::io::AsyncReadExt;

use super::ask::UnderWay;
use super::contain::contain;
use super::generation::Generation;
use super::phases::Gatekeeper;
use super::{plan, pulse};
use crate::backend::{self, Answer, Short};
use crate::limits::network_of;
use crate::listen::{ConnectionInfo, Outgoing, Plain, Plainly};
use crate::log::{Entry, RequestId};
use crate::metrics::{Protocol, Request, Route, Spent, waiting};

/// What is read at once of an answer; a narinfo comes with it.
const READ: usize = 4 * 1024;
/// An answer that is longer is not for here.
const LARGEST: usize = 32 * 1024;

/// A lookup that was sent to its backend.
pub struct Begun {
    /// The configuration it began with.
    pub generation: Arc<Generation>,
    /// When its head was here.
    pub began: Instant,
    /// Where its time went since then.
    pub spent: Spent,
    /// The question.
    pub under_way: UnderWay,
}

/// What belongs to a lookup that is for here.
struct Lookup {
    id: RequestId,
    site: usize,
    route: Route,
    begun: Begun,
}

impl Gatekeeper {
    /// Answers `request` if it is a lookup that takes no more than that.
    pub(super) async fn look_up(
        &self,
        request: &Plain<'_>,
        connection: &ConnectionInfo,
        outgoing: &Outgoing,
    ) -> Plainly<Begun> {
        // A client that takes nothing has the engine's patience.
        if outgoing.room().await.is_err() {
            return Plainly::Passed(None);
        }
        let Some(lookup) = self.begin_lookup(request, connection) else {
            return Plainly::Passed(None);
        };
        let id = lookup.id;
        let passed_on = pin!(self.pass_on(request, connection, outgoing, lookup));
        contain(id, passed_on).await.unwrap_or(Plainly::Lost)
    }

    /// Sends a lookup to its backend, if it is for here and can be sent at once.
    fn begin_lookup(&self, request: &Plain<'_>, connection: &ConnectionInfo) -> Option<Lookup> {
        // The spans of a request are the engine's way's.
        if tracing::enabled!(tracing::Level::DEBUG) {
            return None;
        }
        let (generation, began) = (self.live.load_full(), Instant::now());
        let (site, door) = plan::lookup(&generation, connection, request.target, request.host)?;
        let limits = &generation.config.limits;
        if connection.is_worn_out(request.size, limits.connection_requests, limits.connection_age, began) {
            return None;
        }
        let (peers, name) = {
            let site = generation.site(site);
            (site.publish.as_ref()?, site.settings.names.first()?)
        };
        let head = backend::written_to_publish(request.target, name, false).ok()?;
        if peers.is_down() {
            return None;
        }
        let slot = peers.try_own_slot(network_of(connection.peer.ip()))?;
        let stream = self.pool.take(peers.key())?;
        if !stream.write_at_once(&head) {
            return None;
        }
        let under_way = UnderWay { stream, slot, asked: peers.asked(&self.worker) };
        let spent = Spent::default();
        let begun = Begun { generation, began, spent, under_way };
        Some(Lookup { id: RequestId::next(), site, route: door.into(), begun })
    }

    /// Passes the answer on, when it is here and short.
    async fn pass_on(
        &self,
        request: &Plain<'_>,
        connection: &ConnectionInfo,
        outgoing: &Outgoing,
        mut lookup: Lookup,
    ) -> Plainly<Begun> {
        #[cfg(test)]
        if let Some(fault) = self.fault {
            fault(request.target);
        }
        let mut buffer = BytesMut::with_capacity(READ);
        let mut patience = pin!(patience(outgoing));
        loop {
            let begun = &mut lookup.begun;
            let read = async {
                tokio::select! {
                    biased;
                    read = begun.under_way.stream.read_buf(&mut buffer) => matches!(read, Ok(1..)),
                    () = &mut patience => false,
                }
            };
            let has_come = waiting(&begun.spent.backend, pin!(read)).await && buffer.len() <= LARGEST;
            let mut room = backend::no_fields();
            match Answer::of(&buffer, &mut room) {
                Answer::Partial if has_come => buffer.reserve(READ),
                Answer::Whole(answer) if has_come => {
                    let now = SystemTime::now();
                    outgoing.gather(|out| write(&answer, now, out));
                    connection.request_begins(request.size);
                    connection.request_ends(Some(0));
                    if let Some(turn) = self.limiter.share.turn(connection.peer.ip()) {
                        turn.take_ahead(answer.body.len());
                    }
                    self.note(request, connection, &answer, &lookup, now);
                    let Begun { generation, under_way, .. } = lookup.begun;
                    if answer.is_reusable
                        && let Some(peers) = &generation.site(lookup.site).publish
                    {
                        self.pool.put(peers.key(), under_way.stream);
                    }
                    return Plainly::Answered;
                }
                _ => {
                    lookup.begun.under_way.stream.unread(buffer.freeze());
                    return Plainly::Passed(Some(lookup.begun));
                }
            }
        }
    }

    /// Counts and logs what was answered.
    fn note(
        &self,
        request: &Plain<'_>,
        connection: &ConnectionInfo,
        answer: &Short<'_, '_>,
        lookup: &Lookup,
        now: SystemTime,
    ) {
        let Lookup { id, site, route, begun: Begun { generation, began, spent, .. } } = lookup;
        let (site, took, secure) = (generation.site(*site), began.elapsed(), connection.tls.is_some());
        spent.asked.increment();
        site.metrics.record(
            &self.worker,
            &Request {
                route: *route,
                protocol: Protocol::of(Version::HTTP_11, secure),
                status: answer.status,
                bytes_in: 0,
                bytes_out: answer.body.len() as u64,
                compression: None,
                took: Some(took),
                spent,
            },
        );
        let log = if secure { &generation.logs.https } else { &generation.logs.http };
        log.record(&Entry {
            client: connection.peer.ip(),
            id: *id,
            user: None,
            time: now,
            duration: took,
            backend: Some(spent.on_backend()),
            secure,
            site: site.settings.names.first().map(String::as_str),
            route: route.token(),
            cache: None,
            method: "GET",
            target: request.target,
            version: "HTTP/1.1",
            status: answer.status,
            bytes: answer.body.len(),
            referer: request.referer,
            user_agent: request.user_agent,
        });
    }
}

/// Ends when a lookup takes longer than lookups do. What was gathered for its client leaves before.
async fn patience(outgoing: &Outgoing) {
    pulse::beat().await;
    let mut slow = pin!(async {
        // The first may come at once.
        pulse::slow_beat().await;
        pulse::slow_beat().await;
    });
    // A client that takes nothing is waited for no longer than others.
    tokio::select! {
        biased;
        () = &mut slow => {}
        sent = outgoing.send() => if sent.is_ok() {
            slow.await;
        },
    }
}

/// Writes an answer as the engine would: its fields, the gate's `Date` and `Connection`, and the body.
fn write(answer: &Short<'_, '_>, now: SystemTime, out: &mut BytesMut) {
    thread_local! {
        /// The second that was written last, and how.
        static DATE: RefCell<(u64, String)> = RefCell::default();
    }
    out.reserve(answer.body.len() + 1024);
    let digit = |by: u16| b'0' + (answer.status / by % 10) as u8;
    let status = [digit(100), digit(10), digit(1)];
    for part in [b"HTTP/1.1 ", &status[..], b" ", answer.reason.as_bytes(), b"\r\n"] {
        out.extend_from_slice(part);
    }
    for (name, value) in answer.fields() {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    DATE.with_borrow_mut(|(second, text)| {
        let now_second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if *second != now_second || text.is_empty() {
            (*second, *text) = (now_second, httpdate::fmt_http_date(now));
        }
        for part in ["Date: ", text, "\r\nConnection: keep-alive\r\n\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
    });
    out.extend_from_slice(answer.body);
}
