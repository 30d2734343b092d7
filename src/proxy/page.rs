//! The gate's own page, between the engine and [`crate::page`].

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use pingora::{Error, ErrorType, Result};

use super::context::{Context, connection};
use super::error_page::Problem;
use super::generation::Live;
use super::session::Session;
use super::{plan, relay};
use crate::admin::Administrator;
use crate::metrics::waiting;
use crate::page::{Answer, Ask, LONGEST_FORM, Page};

/// What the page answers to a request of `administrator`, or why it is not asked.
pub async fn ask(
    page: &Arc<Page>,
    live: &Live,
    session: &mut Session,
    ctx: &Context,
    path: Option<Vec<String>>,
    administrator: Administrator,
) -> Result<Result<Answer, Problem>> {
    let method = session.req_header().method.clone();
    let mut form = Bytes::new();
    if method == Method::POST {
        let patience = ctx.generation.config.timeouts.read;
        let body = relay::read_body(session, LONGEST_FORM, patience);
        match waiting(&ctx.spent.client, body).await? {
            Some(body) => form = body,
            None => return Ok(Err(Problem::BodyTooLarge)),
        }
        // A body may take its time: what was decided at the head may no longer be true.
        if let Err(problem) = plan::judge(&live.load(), connection(session)) {
            return Ok(Err(problem));
        }
    }
    let ask = Ask { method, path, base: ctx.generation.page(), administrator, form };
    let page = page.clone();
    // The register is files, and a reload holds what the page asks of the process.
    match tokio::task::spawn_blocking(move || page.answer(&ask)).await {
        Ok(answer) => Ok(Ok(answer)),
        Err(error) => Err(Error::because(ErrorType::InternalError, "the page", error)),
    }
}
