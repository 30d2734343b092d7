//! What is to be done with a request: the route table, the ports and the hosts, put together.
//!
//! Pure but for the clock that the gate's verdict needs: no reading, no writing.

use std::time::SystemTime;

use http::Method;
use pingora::http::RequestHeader;

use super::cross_site;
use super::error_page::Problem;
use super::generation::{Generation, Site};
use super::host::{self, HostIs};
use crate::admin::Administrator;
use crate::backend::Use;
use crate::config::{LogRoute, PlainHttp};
use crate::listen::ConnectionInfo;
use crate::route::{self, Door, Substitute};

/// A request's destination.
#[derive(Debug)]
pub enum Plan {
    /// To a backend.
    Forward(Upstream),
    /// To a backend, for an administrator.
    Admin(Upstream, Administrator),
    /// The built-in robots.txt.
    Robots,
    /// A file below `/.well-known`.
    WellKnown,
    /// To the same target over HTTPS; the host to name.
    Redirect(String),
    /// An error of our own.
    Refuse(Problem),
}

/// A backend and how to speak to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Which of the site's two.
    pub backend: Which,
    /// How the connection is used.
    pub usage: Use,
    /// Asking twice does no harm.
    pub repeatable: bool,
}

/// One of a site's backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// `guix publish`.
    Publish,
    /// Cuirass.
    Ci,
}

/// Decides about a request; also says which site it is for.
pub fn plan(generation: &Generation, connection: &ConnectionInfo, request: &RequestHeader) -> (usize, Plan) {
    match try_plan(generation, connection, request) {
        Ok(planned) => planned,
        Err(problem) => (0, Plan::Refuse(problem)),
    }
}

fn try_plan(
    generation: &Generation,
    connection: &ConnectionInfo,
    request: &RequestHeader,
) -> Result<(usize, Plan), Problem> {
    let target = target_of(request);
    let door = generation.door(target).map_err(|_| Problem::BadTarget)?;
    let host = host_of(request, target);
    let (index, redirect) = match host::look_up(generation, host) {
        HostIs::Malformed => return Err(Problem::BadHost),
        HostIs::Site(index) => (index, None),
        HostIs::Anonymous => (site_of_handshake(generation, connection).unwrap_or(0), None),
        HostIs::Unknown(_) if connection.tls.is_some() => {
            (site_of_handshake(generation, connection).unwrap_or(0), None)
        }
        HostIs::Unknown(name) => (0, Some(name)),
    };
    let site = generation.site(index);
    if misdirected(generation, connection, index) {
        return Err(Problem::Misdirected);
    }
    // Answered on both ports, for every host, and never redirected: other ACME clients depend on it.
    if matches!(door, Door::AcmeChallenge | Door::WellKnown) {
        return Ok((index, Plan::WellKnown));
    }
    if let Some(name) = redirect {
        return Ok((index, Plan::Redirect(name.to_owned())));
    }
    if connection.tls.is_none() && door != Door::Admin && to_https(site, door) {
        let name = match site.settings.names.first() {
            // A client that used an address is sent to the name the certificate has.
            Some(first) => host.and_then(|host| named(site, host)).unwrap_or(first),
            None => return Err(Problem::BadHost),
        };
        return Ok((index, Plan::Redirect(name.to_owned())));
    }
    let plan = match door {
        Door::Admin => admin(generation, connection, request, site)?,
        Door::Robots => Plan::Robots,
        _ => Plan::Forward(upstream(site, door, request)?),
    };
    Ok((index, plan))
}

/// The request-target as it was sent. In HTTP/2 it is `:path`.
pub fn target_of(request: &RequestHeader) -> &[u8] {
    request.raw_path()
}

/// The host that was asked for: the target's authority before the Host field (RFC 9112 section 3.2.2).
pub fn host_of<'a>(request: &'a RequestHeader, target: &'a [u8]) -> Option<&'a [u8]> {
    if !target.starts_with(b"/")
        && let Ok(parsed) = route::Target::parse(target)
        && parsed.authority.is_some()
    {
        return parsed.authority;
    }
    request
        .uri
        .authority()
        .map(|authority| authority.as_str().as_bytes())
        .or_else(|| request.headers.get(http::header::HOST).map(|host| host.as_bytes()))
}

/// A connection made for one site's name is no place to ask for another's (RFC 9110 section 15.5.20).
fn misdirected(generation: &Generation, connection: &ConnectionInfo, index: usize) -> bool {
    site_of_handshake(generation, connection).is_some_and(|named| named != index)
}

/// The site whose name the client gave in the handshake, and whose certificate it was shown.
fn site_of_handshake(generation: &Generation, connection: &ConnectionInfo) -> Option<usize> {
    generation.site_named(connection.tls.as_ref()?.server_name.as_deref()?)
}

fn named<'a>(site: &'a Site, host: &[u8]) -> Option<&'a String> {
    let host = host.split(|&byte| byte == b':').next().unwrap_or_default();
    site.settings.names.iter().find(|name| host.eq_ignore_ascii_case(name.as_bytes()))
}

fn to_https(site: &Site, door: Door) -> bool {
    match (site.settings.plain_http, door) {
        (PlainHttp::Serve, _) | (_, Door::Robots) => false,
        (PlainHttp::Substitutes, Door::Substitute(_)) => site.publish.is_none(),
        (PlainHttp::Substitutes | PlainHttp::Redirect, _) => true,
    }
}

fn admin(
    generation: &Generation,
    connection: &ConnectionInfo,
    request: &RequestHeader,
    site: &Site,
) -> Result<Plan, Problem> {
    let Some(tls) = &connection.tls else {
        return Err(Problem::AdminOverPlainHttp);
    };
    let administrator =
        generation.gate.judge(&tls.client_chain, SystemTime::now()).map_err(Problem::NotAdmitted)?;
    cross_site::check(request).map_err(|()| Problem::CrossSite)?;
    if site.ci.is_none() {
        return Err(Problem::NotFound);
    }
    // Cuirass changes state on GET: nothing here is asked twice, so a pooled connection, which may turn out
    // stale after the request was sent, is no place for it.
    let upstream = Upstream { backend: Which::Ci, usage: Use::Fresh, repeatable: false };
    Ok(Plan::Admin(upstream, administrator))
}

fn upstream(site: &Site, door: Door, request: &RequestHeader) -> Result<Upstream, Problem> {
    let (backend, usage) = match door {
        Door::Substitute(Substitute::Nar | Substitute::File) => (Which::Publish, Use::Nar),
        Door::Substitute(_) => (Which::Publish, Use::Pooled),
        Door::Log if site.settings.log_route == LogRoute::Publish => (Which::Publish, Use::Fresh),
        // After a file Cuirass closes without saying so: such a connection is no good to the pool.
        Door::Log | Door::Static | Door::Download => (ci_if_any(site), Use::Fresh),
        _ => (ci_if_any(site), Use::Pooled),
    };
    let is_read = matches!(request.method, Method::GET | Method::HEAD);
    match backend {
        Which::Publish if site.publish.is_none() => Err(Problem::NotFound),
        // It knows GET only.
        Which::Publish if !is_read => Err(Problem::MethodNotAllowed),
        Which::Ci if !is_passed_on(&request.method) => Err(Problem::MethodNotAllowed),
        _ => Ok(Upstream { backend, usage, repeatable: is_read }),
    }
}

fn ci_if_any(site: &Site) -> Which {
    if site.ci.is_some() { Which::Ci } else { Which::Publish }
}

/// TRACE would show a page the headers that the gate adds (RFC 9110 section 9.3.8); CONNECT is no proxying.
fn is_passed_on(method: &Method) -> bool {
    !matches!(*method, Method::TRACE | Method::CONNECT)
}
