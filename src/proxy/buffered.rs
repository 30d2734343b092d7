//! Requests with a body.
//!
//! Guile's web server reads a whole request before it serves anybody else, so one client that is slow with its
//! upload would stall the farm. And it does not know chunked request bodies: their bytes would become the next
//! request. So a body is read in full first, and sent with its length. The engine streams bodies and has no way
//! to be given one that was read before; this exchange stands in for its upstream half, on its own client.

use bytes::{Bytes, BytesMut};
use http::header;
use pingora::connectors::TransportConnector;
use pingora::http::RequestHeader;
use pingora::protocols::http::v1::client::HttpSession as Upstream;
use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};

use super::phases::adapt_response;

/// Reads the request's body; none when it is larger than `limit` bytes.
pub async fn read_body(session: &mut Session, limit: u64) -> Result<Option<Bytes>> {
    let announced = session
        .get_header(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Ok(None);
    }
    if session.req_header().headers.contains_key(header::EXPECT) {
        session.write_continue_response().await?;
    }
    let mut body = BytesMut::new();
    while let Some(part) = session.read_request_body().await.map_err(|error| error.into_down())? {
        if (body.len() + part.len()) as u64 > limit {
            return Ok(None);
        }
        body.extend_from_slice(&part);
    }
    Ok(Some(body.freeze()))
}

/// Sends `request` with `body` to `peer` on a connection of its own, and the response to the client.
///
/// Nothing is tried twice: a request with a body changes something.
pub async fn exchange(
    session: &mut Session,
    connector: &TransportConnector,
    peer: &HttpPeer,
    mut request: RequestHeader,
    body: Bytes,
) -> Result<()> {
    request.insert_header(header::CONTENT_LENGTH, body.len())?;
    request.insert_header(header::CONNECTION, "close")?;
    let stream = connector.new_stream(peer).await.map_err(|error| error.into_up())?;
    let mut upstream = Upstream::new_with_options(stream, peer);
    upstream.read_timeout = peer.options.read_timeout;
    upstream.write_timeout = peer.options.write_timeout;
    send(&mut upstream, request, &body).await.map_err(|error| error.into_up())?;
    relay(session, &mut upstream).await
}

async fn send(upstream: &mut Upstream, request: RequestHeader, body: &[u8]) -> Result<()> {
    upstream.write_request_header(Box::new(request)).await?;
    upstream.write_body(body).await?;
    upstream.finish_body().await?;
    loop {
        upstream.read_response().await?;
        // 100 and its kin are one hop's business.
        match upstream.get_status() {
            Some(status) if status.is_informational() => {}
            Some(_) => return Ok(()),
            None => return Err(Error::new(ErrorType::InvalidHTTPHeader)),
        }
    }
}

async fn relay(session: &mut Session, upstream: &mut Upstream) -> Result<()> {
    let Some(mut response) = upstream.resp_header().cloned() else {
        return Err(Error::new(ErrorType::InternalError));
    };
    let sized = response.headers.contains_key(header::CONTENT_LENGTH);
    if !sized && !matches!(response.status.as_u16(), 204 | 304) {
        response.insert_header(header::TRANSFER_ENCODING, "chunked")?;
    }
    adapt_response(session, &mut response);
    let no_body = session.req_header().method == http::Method::HEAD;
    session.write_response_header(Box::new(response), no_body).await?;
    if no_body {
        return Ok(());
    }
    while let Some(part) = upstream.read_body_bytes().await.map_err(|error| error.into_up())? {
        session.write_response_body(Some(part), false).await?;
    }
    session.write_response_body(None, true).await
}
