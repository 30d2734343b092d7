//! The gate's own page, between the engine and [`crate::page`].

use std::pin::pin;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::Method;
use pingora::{Error, ErrorType, Result};

use super::context::{Context, connection};
use super::error_page::Problem;
use super::generation::Live;
use super::plan;
use super::relay::{self, BodyLimits};
use super::session::Session;
use crate::admin::Administrator;
use crate::metrics::{Worker, waiting};
use crate::page::{Answer, Ask, LONGEST_FORM, Page};

/// What the page answers to a request of `administrator`, or why it is not asked.
pub async fn ask(
    page: &Arc<Page>,
    live: &Arc<Live>,
    worker: &Worker,
    session: &mut Session,
    ctx: &Context,
    path: Option<Vec<String>>,
    administrator: Administrator,
) -> Result<Result<Answer, Problem>> {
    let method = session.req_header().method.clone();
    let mut form = Bytes::new();
    if method == Method::POST {
        let patience = ctx.generation.config.timeouts.read;
        let limits = BodyLimits { size: LONGEST_FORM, patience, worker };
        // It is small, and comes from an administrator: it gets through when others have taken all the room there is.
        match waiting(&ctx.spent.client, pin!(relay::read_body(session, limits, None))).await? {
            Ok(body) => form = body.bytes,
            Err(problem) => return Ok(Err(problem)),
        }
        // A body may take its time: what was decided at the head may no longer be true.
        if let Err(problem) = plan::judge(&live.load(), connection(session)) {
            return Ok(Err(problem));
        }
    }
    let is_read = method != Method::POST;
    let ask = Ask { method, path, base: ctx.generation.page(), administrator, form };
    let chain = connection(session).tls.as_ref().map(|tls| tls.client_chain.clone()).unwrap_or_default();
    let (page, at_that_time) = (page.clone(), live.clone());
    // The register is files, and a reload holds what the page asks of the process.
    let answer = tokio::task::spawn_blocking(move || {
        let is_admitted = || at_that_time.load().gate.judge(&chain, SystemTime::now()).is_ok();
        page.answer(&ask, &is_admitted)
    });
    let answer = answer.await.map_err(|error| Error::because(ErrorType::InternalError, "the page", error))?;
    // That may have waited, and who asked may be none who sees it any more. What was changed was judged where it was
    // done, and is told of also to whom it was done to.
    match plan::judge(&live.load(), connection(session)) {
        Err(problem) if is_read => Ok(Err(problem)),
        _ => Ok(Ok(answer)),
    }
}
