//! What goes for the UI's pages alone: who may ask how often, who may not ask at all, and what may take long.
//!
//! Substitutes are never touched by any of it. An error is expensive there: a Guix client remembers it, and builds what
//! it could have had.

use std::time::Duration;

use http::header;
use pingora::http::RequestHeader;

use super::context::Context;
use super::error_page::Problem;
use super::plan::{self, Upstream, Which};
use crate::config::PathPattern;
use crate::limits::Requests;
use crate::listen::ConnectionInfo;
use crate::metrics::{Refused, Route, Worker};
use crate::route;

/// What of a `User-Agent` is looked at, in bytes.
const LONGEST_AGENT: usize = 512;

/// Whether a page may be asked for, by the limits. Counts what may not.
pub fn admit(
    requests: &Requests,
    worker: &Worker,
    ctx: &Context,
    connection: &ConnectionInfo,
    request: &RequestHeader,
    upstream: Upstream,
) -> Result<(), Problem> {
    let limits = &ctx.generation.config.limits;
    if (limits.requests.is_empty() && limits.refused_agents.is_empty()) || !is_page(ctx.route, upstream) {
        return Ok(());
    }
    if is_refused(request, &limits.refused_agents) {
        worker.refused[Refused::Agent.index()].increment();
        return Err(Problem::RefusedAgent);
    }
    if let Some(limit) = first_of(&limits.requests, |limit| &limit.paths, request) {
        requests.admit(connection.peer.ip(), limit).map_err(|seconds| {
            worker.refused[Refused::Rate.index()].increment();
            Problem::TooManyRequests(seconds)
        })?;
    }
    Ok(())
}

/// How long the CI may take for a page, where that is not as for all of them.
pub fn read_timeout(ctx: &Context, request: &RequestHeader, upstream: Upstream) -> Option<Duration> {
    let routes = &ctx.generation.config.timeouts.routes;
    if routes.is_empty() || upstream.backend != Which::Ci {
        return None;
    }
    first_of(routes, |route| &route.paths, request).map(|route| route.read)
}

/// Pages of the CI that everybody may ask for. Its files are cheap, and those of `/static` are part of every page.
fn is_page(route: Route, upstream: Upstream) -> bool {
    upstream.backend == Which::Ci && matches!(route, Route::Page | Route::Log | Route::Download)
}

/// The first that is for the path of `request`.
fn first_of<'a, T>(all: &'a [T], paths: fn(&T) -> &[PathPattern], request: &RequestHeader) -> Option<&'a T> {
    if all.is_empty() {
        return None;
    }
    // What is malformed was refused before.
    let segments = route::segments(plan::target_of(request)).ok()?;
    all.iter().find(|one| paths(one).iter().any(|path| path.matches(&segments)))
}

/// Whether what sends `request` calls itself by a name that has one of `parts`, which are lower-case, in it.
fn is_refused(request: &RequestHeader, parts: &[String]) -> bool {
    request.headers.get_all(header::USER_AGENT).iter().any(|agent| {
        let agent = agent.as_bytes();
        let agent = &agent[..agent.len().min(LONGEST_AGENT)];
        parts.iter().any(|part| {
            agent.windows(part.len().max(1)).any(|window| window.eq_ignore_ascii_case(part.as_bytes()))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_known_by_a_part_of_its_name_in_any_case() {
        let parts = ["gptbot".to_owned(), "ahrefs".to_owned()];
        let asks = |agent: &str| {
            let mut request = RequestHeader::build("GET", b"/", None).unwrap();
            request.insert_header("User-Agent", agent).unwrap();
            is_refused(&request, &parts)
        };
        assert!(asks("Mozilla/5.0 (compatible; GPTBot/1.2)") && asks("AHREFSBot"));
        assert!(!asks("GNU Guile") && !asks("") && !asks("gpt bot"));
        let long = format!("{}GPTBot", "x".repeat(64 * 1024));
        assert!(!asks(&long), "of a long one only the beginning is looked at");
        assert!(!is_refused(&RequestHeader::build("GET", b"/", None).unwrap(), &parts));
    }
}
