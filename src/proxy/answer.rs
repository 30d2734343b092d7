//! Responses that the gate makes itself.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use pingora::http::ResponseHeader;
use pingora::{Error, Result};

use super::error_page::Problem;
use super::session::Session;
use crate::cache::CACHE_STATUS;
use crate::log::RequestId;
use crate::page;

/// When somebody who got no turn may come again, in seconds (RFC 9110 section 10.2.3).
const RETRY_AFTER: &str = "10";

/// Sends `body` with `status`.
pub async fn send(session: &mut Session, status: u16, content_type: &str, body: Bytes) -> Result<()> {
    let response = head(status, content_type, body.len())?;
    send_whole(session, response, body).await
}

fn head(status: u16, content_type: &str, length: usize) -> Result<ResponseHeader> {
    let mut response = ResponseHeader::build(status, Some(4))?;
    response.insert_header(header::CONTENT_TYPE, content_type)?;
    response.insert_header(header::CONTENT_LENGTH, length)?;
    match status {
        405 => response.insert_header(header::ALLOW, "GET, HEAD")?,
        503 => response.insert_header(header::RETRY_AFTER, RETRY_AFTER)?,
        _ => {}
    }
    Ok(response)
}

/// Sends an answer of the gate's own page, with what goes with each of them.
pub async fn send_own(session: &mut Session, answer: page::Answer) -> Result<()> {
    let mut response = ResponseHeader::build(answer.status, Some(12))?;
    response.insert_header(header::CONTENT_TYPE, answer.content_type)?;
    response.insert_header(header::CONTENT_LENGTH, answer.body.len())?;
    for (name, value) in page::HEADERS {
        response.insert_header(name, value)?;
    }
    for (name, value) in answer.headers {
        response.insert_header(name, value)?;
    }
    send_whole(session, response, answer.body).await
}

/// Sends the page for `problem`, which befell the request with `id`, and what the cache did before, if it was asked.
pub async fn send_problem(
    session: &mut Session,
    id: RequestId,
    problem: &Problem,
    cache_status: Option<HeaderValue>,
) -> Result<()> {
    let html = wants_html(session);
    let content_type = if html { "text/html; charset=utf-8" } else { "text/plain; charset=utf-8" };
    let page = problem.page(id, html);
    let mut response = head(problem.status(), content_type, page.len())?;
    if let Problem::TooManyRequests(seconds) = problem {
        response.insert_header(header::RETRY_AFTER, *seconds)?;
    }
    if let Some(cache_status) = cache_status {
        response.insert_header(CACHE_STATUS, cache_status)?;
    }
    send_whole(session, response, page.into()).await
}

/// Sends the client to the same target at `https://host`.
pub async fn send_redirect(session: &mut Session, host: &str, target: &[u8]) -> Result<()> {
    let mut location = format!("https://{host}").into_bytes();
    location.extend_from_slice(target);
    let mut response = ResponseHeader::build(308, Some(3))?;
    response.insert_header(header::LOCATION, location.as_slice())?;
    response.insert_header(header::CONTENT_LENGTH, 0)?;
    send_whole(session, response, Bytes::new()).await
}

async fn send_whole(session: &mut Session, response: ResponseHeader, body: Bytes) -> Result<()> {
    let no_body = body.is_empty() || session.req_header().method == http::Method::HEAD;
    let sent = async {
        session.write_response_header(Box::new(response)).await?;
        if no_body { Ok(()) } else { session.write_response_body(body, true).await }
    };
    // Who cannot be written to has left, and nothing of ours has failed.
    sent.await.map_err(|error: Box<Error>| error.into_down())
}

fn wants_html(session: &Session) -> bool {
    session
        .req_header()
        .headers
        .get_all(header::ACCEPT)
        .iter()
        .any(|accept| accept.as_bytes().windows(9).any(|part| part == b"text/html"))
}
