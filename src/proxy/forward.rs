//! What goes on to a backend, and what comes back, as it is passed on.

use http::{HeaderName, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::{Error, ErrorType, Result};

use super::context::{Context, connection};
use super::generation::Site;
use super::plan::{self, Upstream, Which};
use super::session::Session;
use crate::backend::{self, Forwarded, Peers, Use};
use crate::cache::Key;

/// The backend that was chosen.
pub(super) fn peers_of(site: &Site, upstream: Upstream) -> Result<&Peers> {
    let peers = match upstream.backend {
        Which::Publish => site.publish.as_ref(),
        Which::Ci => site.ci.as_ref(),
    };
    // `plan` chose a backend that the site has.
    peers.ok_or_else(|| Error::new(ErrorType::InternalError))
}

/// What a site is called in the first place.
pub(super) fn site_name(ctx: &Context) -> &str {
    ctx.site().settings.names.first().map_or("localhost", String::as_str)
}

/// What an answer to this request is kept under.
pub(super) fn key_of(session: &Session, ctx: &Context) -> Key {
    Key::new(site_name(ctx), host_named(session, ctx), plan::target_of(session.req_header()))
}

/// The host that was asked for, or the site's own.
pub(super) fn host_named<'a>(session: &'a Session, ctx: &'a Context) -> &'a str {
    let request = session.req_header();
    plan::host_of(request, plan::target_of(request))
        .and_then(|host| std::str::from_utf8(host).ok())
        .or_else(|| ctx.site().settings.names.first().map(String::as_str))
        .unwrap_or("localhost")
}

pub(super) fn upstream_request(
    session: &Session,
    ctx: &Context,
    upstream: Upstream,
) -> Result<RequestHeader> {
    let request = session.req_header();
    let close = upstream.usage != Use::Pooled;
    match upstream.backend {
        Which::Publish => backend::to_publish(request, site_name(ctx), close),
        Which::Ci => {
            let connection = connection(session);
            let host = host_named(session, ctx);
            let administrator = ctx
                .administrator
                .as_ref()
                .map(|admin| (admin.header_safe_common_name(), admin.serial.as_str()));
            let forwarded = Forwarded {
                client: connection.peer.ip(),
                https: connection.tls.is_some(),
                host,
                port: connection.local.port(),
                administrator: administrator.as_ref().map(|(name, serial)| (name.as_ref(), *serial)),
            };
            backend::to_ci(request, &forwarded, close)
        }
    }
}

/// What every response from a backend goes through on its way out.
pub(super) fn adapt_response(session: &Session, response: &mut ResponseHeader) {
    // One hop's business (RFC 9110 section 7.6.1), and what that hop names as such; the engine sets
    // `Connection` anew.
    if response.headers.keys().any(|name| *name == header::CONNECTION || backend::ends_here(name.as_str())) {
        remove_hop_by_hop(response);
    }
    // HTTP/1.0 knows no chunks; there the end of the connection is the end of the body (RFC 9112 section 6.3).
    if session.req_header().version < Version::HTTP_11 {
        response.remove_header(&header::TRANSFER_ENCODING);
    }
}

fn remove_hop_by_hop(response: &mut ResponseHeader) {
    let nominated = response
        .headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .filter(|name| {
            !matches!(*name, header::TRANSFER_ENCODING | header::CONTENT_LENGTH)
                && !matches!(name.as_str(), "close" | "keep-alive")
        });
    let ending = response.headers.keys().filter(|name| backend::ends_here(name.as_str())).cloned();
    for name in nominated.chain(ending).collect::<Vec<_>>() {
        response.remove_header(&name);
    }
}
