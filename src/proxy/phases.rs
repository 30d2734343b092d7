//! The phases of a request: decide, answer, log.
//!
//! This stands directly on the engine's sessions for HTTP/1, and on our own for HTTP/2. `pingora::proxy` has phases of
//! its own above them, for proxies that leave the exchange with the backend to it; here everything is answered before
//! that begins, and carrying the machinery for it cost each request 13 KiB of state to set up, and a fifth of its
//! instructions.

use std::pin::pin;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::{Method, Version, header};
use pingora::http::ResponseHeader;
use pingora::protocols::http::v1::server::HttpSession;
use pingora::{Error, ErrorSource, ErrorType, Result};
use tracing::field::Empty;
use tracing::{Instrument, debug, debug_span, warn};

use super::ask::Question;
use super::contain::{Panicked, contain};
use super::context::{Context, connection};
use super::error_page::Problem;
use super::failure::{problem_of, reason};
use super::forward::{key_of, peers_of, site_name, upstream_request};
use super::generation::Live;
use super::lookup::Begun;
use super::pace::Pace;
use super::plan::{self, Plan, Upstream, Which};
use super::relay::{self, BodyLimits, Exchange};
use super::session::Session;
use super::{answer, cached, local, measure, page, ui};
use crate::acme::Challenges;
use crate::admin::Administrator;
use crate::backend::{self, Head, Pool, Use};
use crate::cache::Cache;
use crate::history::Failed;
use crate::limits::{Limiter, network_of};
use crate::listen::{ConnectionInfo, Outgoing, Plain, Plainly, Respond, Stream};
use crate::log::Entry;
use crate::metrics::{CacheOutcome, Worker, waiting};
use crate::page::Page;
use crate::route;

/// A head larger than this gets 431. nginx takes 32 KiB; the engine would take 1 MiB.
const LARGEST_HEAD: usize = 64 * 1024;

/// The gate: what each request is handed to. One per worker thread.
pub struct Gatekeeper {
    pub(super) live: Arc<Live>,
    cache: Arc<Cache>,
    pub(super) limiter: Arc<Limiter>,
    challenges: Arc<Challenges>,
    pub(super) pool: Arc<Pool>,
    page: Arc<Page>,
    pub(super) worker: Arc<Worker>,
    /// What a test has go wrong.
    #[cfg(test)]
    pub(super) fault: Option<fn(&[u8])>,
}

impl Respond for Gatekeeper {
    type Begun = Begun;

    async fn respond_plain(
        &self,
        request: &Plain<'_>,
        connection: &ConnectionInfo,
        outgoing: &Outgoing,
    ) -> Plainly<Begun> {
        self.look_up(request, connection, outgoing).await
    }

    async fn respond_http1(
        &self,
        session: Box<HttpSession>,
        begun: Option<Begun>,
    ) -> Option<Box<HttpSession>> {
        let mut session = Session::H1(session);
        let is_reusable = self.exchange(&mut session, begun).await;
        match session {
            Session::H1(session) if is_reusable => Some(session),
            _ => None,
        }
    }

    fn respond_http2(self: Arc<Self>, stream: Stream) -> impl Future<Output = ()> + Send {
        let mut session = Session::H2(stream);
        // Boxed: the runtime moves what it is given half a dozen times, and this is some kilobytes.
        Box::pin(async move {
            let is_whole = self.exchange(&mut session, None).await;
            let Session::H2(mut stream) = session else { return };
            if !is_whole || stream.finish().is_err() {
                stream.abandon();
            }
        })
    }
}

impl Gatekeeper {
    /// A gate that follows `live`, keeps answers in `cache`, shares out as `limiter` says, answers `challenges`, shows
    /// `page`, and counts as `worker`.
    pub fn new(
        live: Arc<Live>,
        cache: Arc<Cache>,
        limiter: Arc<Limiter>,
        challenges: Arc<Challenges>,
        page: Arc<Page>,
        worker: Arc<Worker>,
    ) -> Self {
        Self {
            live,
            cache,
            limiter,
            challenges,
            pool: Arc::default(),
            page,
            worker,
            #[cfg(test)]
            fault: None,
        }
    }

    /// Answers a request that was read, and counts and logs it. False when the answer is not whole, or when it should be
    /// the last one.
    async fn exchange(&self, session: &mut Session, begun: Option<Begun>) -> bool {
        let mut ctx = Context::new(&self.live, begun);
        self.begin(session, &ctx);
        let span = debug_span!("request", id = %ctx.id, route = Empty, status = Empty);
        let id = ctx.id;
        let answered = contain(id, pin!(self.answer(session, &mut ctx).instrument(span.clone()))).await;
        let is_reusable = match answered {
            Ok(Ok(())) => true,
            Ok(Err(error)) => Box::pin(self.fail(session, &mut ctx, &error).instrument(span.clone())).await,
            Err(Panicked) => Box::pin(self.apologise(session, &ctx)).await,
        };
        span.record("route", ctx.route.token()).record("status", status(session));
        self.log(session, &ctx);
        is_reusable
    }

    fn begin(&self, session: &mut Session, ctx: &Context) {
        let (timeouts, limits) = (&ctx.generation.config.timeouts, &ctx.generation.config.limits);
        let (head, most, age) = (session.head_size(), limits.connection_requests, limits.connection_age);
        if connection(session).is_worn_out(head, most, age, ctx.began) {
            session.set_keepalive(None);
        }
        connection(session).request_begins(head);
        // The engine turns keep-alive off when the client or a shutdown wants it so. Otherwise it would wait
        // for ever.
        if session.get_keepalive().is_some() {
            session.set_keepalive(Some(timeouts.idle.as_secs().max(1)));
        }
        session.set_timeouts(timeouts.read, timeouts.nar.max(timeouts.send));
        // Nobody behind the gate speaks anything but HTTP/1.1. Without the field, the engine cannot take what
        // follows for another protocol; ignoring it is a server's right (RFC 9110 section 7.8).
        session.req_header_mut().remove_header(&header::UPGRADE);
    }

    async fn answer(&self, session: &mut Session, ctx: &mut Context) -> Result<()> {
        #[cfg(test)]
        if let Some(fault) = self.fault {
            fault(plan::target_of(session.req_header()));
        }
        if session.head_size() > LARGEST_HEAD {
            return self.refuse(session, ctx, &Problem::HeadTooLarge).await;
        }
        if session.is_malformed() {
            return self.refuse(session, ctx, &Problem::BadRequest).await;
        }
        // What would follow is no request of ours (RFC 9110 section 9.3.6).
        if session.req_header().method == Method::CONNECT {
            session.set_keepalive(None);
            return self.refuse(session, ctx, &Problem::MethodNotAllowed).await;
        }
        let planned = plan::plan(&ctx.generation, connection(session), session.req_header());
        measure::planned(&self.worker, &planned);
        (ctx.site, ctx.route) = (planned.site, planned.door.map_or(ctx.route, Into::into));
        let upstream = match planned.plan {
            Plan::Forward(upstream) => {
                let (requests, request) = (&self.limiter.requests, session.req_header());
                match ui::admit(requests, &self.worker, ctx, connection(session), request, upstream) {
                    Ok(()) => upstream,
                    Err(problem) => return self.refuse(session, ctx, &problem).await,
                }
            }
            Plan::Admin(upstream, administrator) => {
                ctx.generation.gate.admitted(&administrator, SystemTime::now());
                ctx.administrator = Some(administrator);
                upstream
            }
            // The rarer ways are boxed, so that the common one need not make room for their state.
            Plan::Page(path, administrator) => {
                return Box::pin(self.serve_page(session, ctx, path, administrator)).await;
            }
            Plan::Robots => {
                let text = answer::send(session, 200, "text/plain; charset=utf-8", local::ROBOTS.into());
                return Box::pin(text).await;
            }
            Plan::WellKnown => return Box::pin(self.serve_well_known(session, ctx)).await,
            Plan::Redirect(host) => {
                let target = path_and_query(plan::target_of(session.req_header()));
                return Box::pin(answer::send_redirect(session, &host, &target)).await;
            }
            Plan::Refuse(problem) => return self.refuse(session, ctx, &problem).await,
        };
        ctx.upstream = Some(upstream);
        ctx.read_timeout = ui::read_timeout(ctx, session.req_header(), upstream);
        match upstream.kept.filter(|_| session.is_body_empty()) {
            Some(kept) => {
                let mut noted = cached::Noted::default();
                let (cache, worker) = (&self.cache, &self.worker);
                let pace = Pace::of(&self.limiter, worker, session, ctx);
                let serve = cached::serve(cache, worker, session, ctx, upstream, kept, &mut noted, pace);
                let served = Box::pin(serve).await;
                (ctx.cache, ctx.cache_failed) = (noted.outcome, noted.failed);
                served
            }
            // Boxed: to make it elsewhere and move it here costs no less, and one from the cache need not make room for it.
            None => Box::pin(self.relay(session, ctx, upstream)).await,
        }
    }

    async fn refuse(&self, session: &mut Session, ctx: &mut Context, problem: &Problem) -> Result<()> {
        if problem.status() == 400 {
            // A client that does not speak as we do may mean something else by what it sends next.
            session.set_keepalive(None);
        }
        Box::pin(answer::send_problem(session, ctx.id, problem, None)).await
    }

    async fn serve_page(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        path: Option<Vec<String>>,
        administrator: Administrator,
    ) -> Result<()> {
        ctx.generation.gate.admitted(&administrator, SystemTime::now());
        ctx.administrator = Some(administrator.clone());
        match page::ask(&self.page, &self.live, &self.worker, session, ctx, path, administrator).await? {
            Ok(answer) => answer::send_own(session, answer).await,
            Err(problem) => self.refuse(session, ctx, &problem).await,
        }
    }

    async fn serve_well_known(&self, session: &mut Session, ctx: &mut Context) -> Result<()> {
        let segments: Option<Vec<Vec<u8>>> =
            route::well_known_segments(plan::target_of(session.req_header()))
                .ok()
                .map(|segments| segments.into_iter().map(|segment| segment.into_owned()).collect());
        let is_read = matches!(session.req_header().method, Method::GET | Method::HEAD);
        let ours = match segments.as_deref() {
            Some([challenge, token]) if is_read && challenge == b"acme-challenge" => {
                self.challenges.look_up(&String::from_utf8_lossy(token)).await
            }
            _ => None,
        };
        let found = match (ours, &ctx.site().settings.webroot, segments) {
            (Some(ours), ..) => Some(ours),
            (None, Some(webroot), Some(segments)) if is_read => {
                local::read_well_known(webroot, segments).await
            }
            _ => None,
        };
        match found {
            Some(content) => answer::send(session, 200, "text/plain; charset=utf-8", content).await,
            None => self.refuse(session, ctx, &Problem::NotFound).await,
        }
    }

    /// Answers from the backend.
    async fn relay(&self, session: &mut Session, ctx: &mut Context, upstream: Upstream) -> Result<()> {
        let body = if session.is_body_empty() {
            None
        } else {
            let config = &ctx.generation.config;
            let limits =
                BodyLimits { size: config.limits.body, patience: config.timeouts.read, worker: &self.worker };
            // What came before it need not wait with it for its room.
            relay::send_gathered(session).await?;
            let read = relay::read_body(session, limits, Some(self.limiter.bodies.none()));
            match waiting(&ctx.spent.client, Box::pin(read)).await? {
                Ok(body) => Some(body),
                Err(problem) => return self.refuse(session, ctx, &problem).await,
            }
        };
        // A body may take its time, and so may a backend that is restarted: what was decided at the head may
        // no longer be true when there is something to send.
        if ctx.administrator.is_some()
            && let Err(problem) = plan::judge(&self.live.load(), connection(session))
        {
            return self.refuse(session, ctx, &problem).await;
        }
        let under_way = ctx.under_way.take();
        let ctx = &*ctx;
        let has_body = body.is_some();
        let make = |session: &Session| {
            if ctx.administrator.is_some() && plan::judge(&self.live.load(), connection(session)).is_err() {
                return Err(Error::new_in(ErrorType::HTTPStatus(Problem::NoLongerAdmitted.status())));
            }
            match upstream.backend {
                Which::Publish if !has_body => {
                    let host = site_name(ctx);
                    let target = plan::target_of(session.req_header());
                    backend::written_to_publish(target, host, upstream.usage != Use::Pooled)
                        .map(Head::Written)
                }
                _ => upstream_request(session, ctx, upstream).map(|request| Head::Fields(Box::new(request))),
            }
        };
        let key = (!session.req_header().method.is_safe()).then(|| key_of(session, ctx));
        let changed = |response: &ResponseHeader| {
            if let Some(key) = &key {
                self.cache.invalidate(key, response.status.as_u16(), &response.headers);
            }
        };
        let question = Question {
            peers: peers_of(ctx.site(), upstream)?,
            usage: if body.is_some() && upstream.usage == Use::Pooled { Use::Fresh } else { upstream.usage },
            repeatable: upstream.repeatable && body.is_none(),
            read_timeout: ctx.read_timeout,
            pool: Some(&self.pool),
            worker: &self.worker,
            client: network_of(connection(session).peer.ip()),
        };
        let exchange = Exchange { question, spent: &ctx.spent, changed: &changed };
        let pace = Pace::of(&self.limiter, &self.worker, session, ctx);
        if exchange.question.usage == Use::Nar {
            let key = nar_key(site_name(ctx), plan::target_of(session.req_header()));
            return Box::pin(exchange.run_nar(session, &make, key, body, pace)).await;
        }
        match under_way {
            // Only a lookup is under way by now.
            Some(under_way) => Box::pin(exchange.go_on(session, &make, under_way, pace)).await,
            None => exchange.run(session, &make, body, pace).await,
        }
    }

    /// Tells the client of an error, if it can still be told. Whether the connection is good for another request.
    async fn fail(&self, session: &mut Session, ctx: &mut Context, error: &Error) -> bool {
        let Some(problem) = problem_of(error) else {
            return false;
        };
        let has_begun = session.status_sent().is_some();
        // A turn that did not come is counted where that was decided, and told once.
        if problem.status() >= 500 && !matches!(problem, Problem::Unavailable) {
            let what = if has_begun { "an answer was cut off" } else { problem.title() };
            self.note_failure(ctx, &problem, what, error);
        }
        if has_begun {
            // Cutting the connection is the only way left to tell.
            return false;
        }
        if *error.esource() == ErrorSource::Downstream {
            // Where a request that is broken ends is a matter of opinion: nothing behind it is taken for another.
            session.set_keepalive(None);
        }
        let sent = answer::send_problem(session, ctx.id, &problem, ctx.cache_failed.take()).await;
        // A batch of lookups should not end because one of them failed.
        sent.is_ok() && session.is_body_done()
    }

    /// Tells the client of a fault of ours, which the log has already. What it has left of the connection is good for
    /// nothing else.
    async fn apologise(&self, session: &mut Session, ctx: &Context) -> bool {
        self.remember(ctx, &Problem::Internal, "a panic: see the log".to_owned());
        if session.status_sent().is_none() {
            session.set_keepalive(None);
            // A client that has left misses nothing.
            let _ = answer::send_problem(session, ctx.id, &Problem::Internal, None).await;
        }
        false
    }

    /// Counts what is our fault or a backend's, and says so.
    fn note_failure(&self, ctx: &Context, problem: &Problem, what: &str, error: &Error) {
        measure::backend_failed(&self.worker, ctx, problem, || reason(error));
        let site = site_name(ctx);
        let (status, id, why) = (problem.status(), ctx.id, reason(error));
        if is_known_outage(ctx, error) {
            debug!("{site}: {status} {what} (id {id}): {why}");
        } else {
            warn!("{site}: {status} {what} (id {id}): {why}");
        }
        self.remember(ctx, problem, format!("{what}: {why}"));
    }

    /// For the gate's own page.
    fn remember(&self, ctx: &Context, problem: &Problem, reason: String) {
        self.page.errors().record(Failed {
            at: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            id: ctx.id.to_string(),
            site: site_name(ctx).to_owned(),
            route: ctx.route.token(),
            status: problem.status(),
            reason,
        });
    }

    fn log(&self, session: &mut Session, ctx: &Context) {
        let connection = connection(session);
        let chunked = session.req_header().headers.contains_key(header::TRANSFER_ENCODING);
        connection.request_ends((!chunked).then(|| session.body_bytes_read()));
        let status = status(session);
        measure::answered(&self.worker, session, ctx, status);
        let logs = &ctx.generation.logs;
        let request = session.req_header();
        let field = |name| request.headers.get(name).map(http::HeaderValue::as_bytes);
        let user = ctx.administrator.as_ref().map(|admin| admin.header_safe_common_name());
        let entry = Entry {
            client: connection.peer.ip(),
            id: ctx.id,
            user: user.as_deref(),
            time: SystemTime::now(),
            duration: ctx.began.elapsed(),
            // Who was answered by the cache was kept waiting by nobody else.
            backend: ctx
                .upstream
                .filter(|_| !matches!(ctx.cache, Some(CacheOutcome::Hit | CacheOutcome::Stale)))
                .map(|_| ctx.spent.on_backend()),
            secure: connection.tls.is_some(),
            site: ctx.site().settings.names.first().map(String::as_str),
            route: ctx.route.token(),
            cache: ctx.cache.map(CacheOutcome::token),
            method: request.method.as_str(),
            target: plan::target_of(request),
            version: version_name(request.version),
            status,
            bytes: session.body_bytes_sent(),
            referer: field(header::REFERER),
            user_agent: field(header::USER_AGENT),
        };
        if connection.tls.is_some() { &logs.https } else { &logs.http }.record(&entry);
    }
}

/// Names all that publish is told in a request for a nar, so that the answers to equal ones are equal.
fn nar_key(host: &str, target: &[u8]) -> Vec<u8> {
    [host.as_bytes(), b"\0", target].concat()
}

/// Whether a backend could not be reached, and the log has said so already: once for all requests of an outage.
fn is_known_outage(ctx: &Context, error: &Error) -> bool {
    let is_connecting = matches!(
        error.etype(),
        ErrorType::ConnectRefused | ErrorType::ConnectTimedout | ErrorType::ConnectError
    );
    let peers = ctx.upstream.and_then(|upstream| peers_of(ctx.site(), upstream).ok());
    is_connecting && peers.is_some_and(|peers| !peers.is_to_be_told())
}

/// The status that was sent, or 499 where the client left before there was one, as nginx has it.
fn status(session: &Session) -> u16 {
    session.status_sent().unwrap_or(499)
}

/// The part of a target that goes behind `https://host`.
fn path_and_query(target: &[u8]) -> Vec<u8> {
    match route::Target::parse(target) {
        Ok(parsed) => {
            let mut rest = if parsed.path.is_empty() { b"/".to_vec() } else { parsed.path.to_vec() };
            if let Some(query) = parsed.query {
                rest.push(b'?');
                rest.extend_from_slice(query);
            }
            rest
        }
        Err(_) => b"/".to_vec(),
    }
}

fn version_name(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_09 => "HTTP/0.9",
        _ => "HTTP/1.1",
    }
}
