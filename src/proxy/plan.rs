//! What is to be done with a request: the route table, the ports and the hosts, put together.
//!
//! Pure but for the clock that the gate's verdict needs: no reading, no writing.

use std::time::SystemTime;

use http::{Method, Version};
use pingora::http::RequestHeader;

use super::cross_site;
use super::error_page::Problem;
use super::generation::{Generation, Site};
use super::host::{self, HostIs};
use crate::admin::Administrator;
use crate::backend::Use;
use crate::config::{LogRoute, PlainHttp};
use crate::listen::ConnectionInfo;
use crate::route::{self, AdminDoor, Door, Substitute};

/// A request's destination.
#[derive(Debug)]
pub enum Plan {
    /// To a backend.
    Forward(Upstream),
    /// To a backend, for an administrator.
    Admin(Upstream, Administrator),
    /// The gate's own page, for an administrator; the segments below it, as [`AdminDoor::Page`] has them.
    Page(Option<Vec<String>>, Administrator),
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
    /// The answer may be kept.
    pub kept: Option<Kept>,
}

/// What is kept, each by its own settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// `/static`.
    Static,
    /// `/download`.
    Download,
    /// `/log`, once it is there.
    Log,
}

/// One of a site's backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// `guix publish`.
    Publish,
    /// Cuirass.
    Ci,
}

/// What was decided about a request.
#[derive(Debug)]
pub struct Planned {
    /// The site it is for; the first one where that cannot be told.
    pub site: usize,
    /// Where its target leads; none where it leads nowhere.
    pub door: Option<Door>,
    /// What is to be done.
    pub plan: Plan,
}

/// Decides about a request.
pub fn plan(generation: &Generation, connection: &ConnectionInfo, request: &RequestHeader) -> Planned {
    let Ok(door) = generation.door(target_of(request)) else {
        return Planned { site: 0, door: None, plan: Plan::Refuse(Problem::BadTarget) };
    };
    let mut site = 0;
    let plan = try_plan(generation, connection, request, door, &mut site).unwrap_or_else(Plan::Refuse);
    Planned { site, door: Some(door), plan }
}

/// The site is noted in `found` as soon as it is known, so that a refusal counts as its own.
fn try_plan(
    generation: &Generation,
    connection: &ConnectionInfo,
    request: &RequestHeader,
    door: Door,
    found: &mut usize,
) -> Result<Plan, Problem> {
    let target = target_of(request);
    let host = host_of(request, target);
    let (index, redirect) = match host::look_up(generation, host) {
        HostIs::Malformed => return Err(Problem::BadHost),
        // HTTP/1.1 requires the field (RFC 9112 section 3.2).
        HostIs::Anonymous if host.is_none() && request.version == Version::HTTP_11 => {
            return Err(Problem::BadHost);
        }
        HostIs::Site(index) => (index, None),
        HostIs::Anonymous => (site_of_handshake(generation, connection).unwrap_or(0), None),
        // What another name leads to here is nobody's admin page: the browser's ideas of who may ask for what
        // go by names.
        HostIs::Unknown(_) if door == Door::Admin && connection.tls.is_some() => {
            return Err(Problem::Misdirected);
        }
        HostIs::Unknown(_) if connection.tls.is_some() => {
            (site_of_handshake(generation, connection).unwrap_or(0), None)
        }
        HostIs::Unknown(name) => (0, Some(name)),
    };
    *found = index;
    let site = generation.site(index);
    if misdirected(generation, connection, index) {
        return Err(Problem::Misdirected);
    }
    // Answered on both ports, for every host, and never redirected: other ACME clients depend on it.
    if matches!(door, Door::AcmeChallenge | Door::WellKnown) {
        return Ok(Plan::WellKnown);
    }
    if let Some(name) = redirect {
        return Ok(Plan::Redirect(name.to_owned()));
    }
    if connection.tls.is_none() && door != Door::Admin && to_https(site, door) {
        let name = match site.settings.names.first() {
            // A client that used an address is sent to the name the certificate has.
            Some(first) => host.and_then(|host| named(site, host)).unwrap_or(first),
            None => return Err(Problem::BadHost),
        };
        return Ok(Plan::Redirect(name.to_owned()));
    }
    Ok(match door {
        Door::Admin => admin(generation, connection, request, site)?,
        Door::Robots => Plan::Robots,
        _ => Plan::Forward(upstream(site, door, request)?),
    })
}

/// Where a lookup leads that takes no more than to be passed on to publish: the site, and the door. None where a look at
/// the whole request may find anything else to do.
pub fn lookup(
    generation: &Generation,
    connection: &ConnectionInfo,
    target: &[u8],
    host: &[u8],
) -> Option<(usize, Door)> {
    let door = generation.door(target).ok()?;
    let Door::Substitute(Substitute::Narinfo | Substitute::CacheInfo | Substitute::SigningKey) = door else {
        return None;
    };
    let index = match host::look_up(generation, Some(host)) {
        HostIs::Site(index) => index,
        HostIs::Anonymous => site_of_handshake(generation, connection).unwrap_or(0),
        HostIs::Unknown(_) | HostIs::Malformed => return None,
    };
    let site = generation.site(index);
    let is_passed_on = site.publish.is_some()
        && !misdirected(generation, connection, index)
        && (connection.tls.is_some() || !to_https(site, door));
    is_passed_on.then_some((index, door))
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
        .filter(|host| !host.is_empty())
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
    if let AdminDoor::Page(path) =
        generation.admin_door(target_of(request)).map_err(|_| Problem::BadTarget)?
    {
        if request.method == Method::POST {
            cross_site::check_form(request).map_err(|()| Problem::CrossSite)?;
        }
        return Ok(Plan::Page(path, administrator));
    }
    if site.ci.is_none() {
        return Err(Problem::NotFound);
    }
    if !is_passed_on(&request.method) {
        return Err(Problem::MethodNotAllowed);
    }
    // Cuirass changes state on GET: nothing here is asked twice, so a pooled connection, which may turn out
    // stale after the request was sent, is no place for it.
    let upstream = Upstream { backend: Which::Ci, usage: Use::Fresh, repeatable: false, kept: None };
    Ok(Plan::Admin(upstream, administrator))
}

/// The verdict on the certificate of `connection`, as of now.
pub fn judge(generation: &Generation, connection: &ConnectionInfo) -> Result<Administrator, Problem> {
    let Some(tls) = &connection.tls else {
        return Err(Problem::AdminOverPlainHttp);
    };
    generation.gate.judge(&tls.client_chain, SystemTime::now()).map_err(Problem::NotAdmitted)
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
        _ => {
            let kept = match door {
                Door::Static => Some(Kept::Static),
                Door::Download => Some(Kept::Download),
                Door::Log => Some(Kept::Log),
                _ => None,
            };
            // A pooled connection may turn out stale when the request is already sent.
            let repeatable = is_read && !writes_on_get(target_of(request));
            let usage = if repeatable { usage } else { Use::Fresh };
            Ok(Upstream { backend, usage, repeatable, kept: kept.filter(|_| is_read) })
        }
    }
}

/// Cuirass registers a dashboard on GET.
fn writes_on_get(target: &[u8]) -> bool {
    target.starts_with(b"/api/dashboard/register")
}

fn ci_if_any(site: &Site) -> Which {
    if site.ci.is_some() { Which::Ci } else { Which::Publish }
}

/// TRACE would show a page the headers that the gate adds (RFC 9110 section 9.3.8); CONNECT is no proxying.
fn is_passed_on(method: &Method) -> bool {
    !matches!(*method, Method::TRACE | Method::CONNECT)
}

#[cfg(test)]
mod tests;
