//! A request and its answer, whatever version of HTTP they are spoken in.
//!
//! The engine has the same for its own two versions. Its seam for a third would box every read and write, and wants
//! forty methods of which a gate needs twenty.

use std::future::pending;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http::header::AsHeaderName;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::v1::server::HttpSession;
use pingora::{Error, ErrorType, Result};
use tokio::time::sleep;

use crate::listen::{ConnectionInfo, Stream, info_of};

/// How long a client over HTTP/1 is still waited with that has ended its side. Nobody can tell whether it has said all that
/// it had to say, or has left: that shows when it is sent something.
const AFTER_THE_END: Duration = Duration::from_secs(2);

/// A request and its answer.
// Each lives in the task of its request or connection: boxing the larger one would only cost.
#[allow(clippy::large_enum_variant)]
pub enum Session {
    /// HTTP/1.0 and HTTP/1.1, by the engine.
    H1(Box<HttpSession>),
    /// HTTP/2.
    H2(Stream),
}

impl Session {
    /// The facts of the connection it came on.
    pub fn connection(&self) -> &ConnectionInfo {
        match self {
            Self::H1(http1) => http1
                .digest()
                .proxy_digest
                .as_deref()
                .map(info_of)
                // Every stream of the engine's is a `Connection`, and says so in its digest.
                .expect("requests come on our own connections"),
            Self::H2(http2) => http2.connection(),
        }
    }

    /// The head of the request.
    pub fn req_header(&self) -> &RequestHeader {
        match self {
            Self::H1(http1) => http1.req_header(),
            Self::H2(http2) => http2.request(),
        }
    }

    /// The same, to be changed.
    pub fn req_header_mut(&mut self) -> &mut RequestHeader {
        match self {
            Self::H1(http1) => http1.req_header_mut(),
            Self::H2(http2) => http2.request_mut(),
        }
    }

    /// The first value of a field of the request.
    pub fn get_header<K: AsHeaderName>(&self, name: K) -> Option<&HeaderValue> {
        self.req_header().headers.get(name)
    }

    /// Bytes of the request's head as it came; 0 over HTTP/2, where the limit is part of the settings (RFC 9113 section
    /// 6.5.2).
    pub fn head_size(&self) -> usize {
        match self {
            Self::H1(http1) => http1.get_headers_raw_bytes().len(),
            Self::H2(_) => 0,
        }
    }

    /// Whether this may not be taken for a request. Over HTTP/1 the parser has said so before.
    pub fn is_malformed(&self) -> bool {
        match self {
            Self::H1(_) => false,
            Self::H2(http2) => http2.is_malformed(),
        }
    }

    /// Whether the request has no body.
    pub fn is_body_empty(&mut self) -> bool {
        match self {
            Self::H1(http1) => http1.is_body_empty(),
            Self::H2(http2) => http2.is_body_empty(),
        }
    }

    /// Whether all of the request's body was read.
    pub fn is_body_done(&mut self) -> bool {
        match self {
            Self::H1(http1) => http1.is_body_done(),
            Self::H2(http2) => http2.is_body_done(),
        }
    }

    /// The next part of the request's body; none when it is over.
    pub async fn read_request_body(&mut self) -> Result<Option<Bytes>> {
        match self {
            Self::H1(http1) => http1.read_body_bytes().await,
            Self::H2(http2) => http2.read_body().await,
        }
    }

    /// Asks for the body (RFC 9110 section 10.1.1).
    pub async fn write_continue_response(&mut self) -> Result<()> {
        match self {
            Self::H1(http1) => http1.write_continue_response().await,
            Self::H2(http2) => http2.send_continue(),
        }
    }

    /// Sends the head of the answer.
    pub async fn write_response_header(&mut self, response: Box<ResponseHeader>) -> Result<()> {
        match self {
            Self::H1(http1) => http1.write_response_header(response).await,
            Self::H2(http2) => http2.send_head(*response),
        }
    }

    /// Sends a part of the answer's body, or nothing, and with `end` says that it was the last one.
    pub async fn write_response_body(&mut self, part: Bytes, end: bool) -> Result<()> {
        match self {
            Self::H1(http1) => {
                // Nothing would be the last chunk.
                if !part.is_empty() {
                    http1.write_body(&part).await?;
                }
                if end {
                    http1.finish_body().await?;
                }
                Ok(())
            }
            Self::H2(http2) => http2.send_body(part, end).await,
        }
    }

    /// Ends the answer's body, unless that was said with its last part.
    pub async fn finish_response_body(&mut self) -> Result<()> {
        match self {
            Self::H1(http1) => http1.finish_body().await.map(drop),
            Self::H2(http2) => http2.finish(),
        }
    }

    /// The final status that was sent.
    pub fn status_sent(&self) -> Option<u16> {
        match self {
            Self::H1(http1) => http1
                .response_written()
                .filter(|response| !response.status.is_informational())
                .map(|response| response.status.as_u16()),
            Self::H2(http2) => http2.status().map(|status| status.as_u16()),
        }
    }

    /// Pends for as long as the client is there, and tells why it no longer is. What it sends meanwhile is kept for
    /// its next request.
    pub async fn client_gone(&mut self) -> Box<Error> {
        let outgoing = match self {
            Self::H1(http1) => {
                http1.digest().proxy_digest.as_deref().and_then(|facts| info_of(facts).outgoing().cloned())
            }
            Self::H2(http2) => return http2.taken_back().await,
        };
        // The engine would take the end of the client's side for its leaving, and forget what was read of a batch.
        match outgoing {
            Some(outgoing) => match outgoing.ended().await {
                Ok(()) => {
                    sleep(AFTER_THE_END).await;
                    Error::new(ErrorType::ConnectionClosed)
                }
                Err(error) => Error::because(ErrorType::ReadError, "from the client", error),
            },
            None => pending().await,
        }
    }

    /// Bytes of the request's body that were read.
    pub fn body_bytes_read(&self) -> usize {
        match self {
            Self::H1(http1) => http1.body_bytes_read(),
            Self::H2(http2) => http2.body_read(),
        }
    }

    /// Bytes of the answer's body that were sent.
    pub fn body_bytes_sent(&self) -> usize {
        match self {
            Self::H1(http1) => http1.body_bytes_sent(),
            Self::H2(http2) => http2.body_sent(),
        }
    }

    /// How long the connection is kept for the next request, in seconds; none for not at all. An HTTP/2 connection is
    /// not its requests' to close.
    pub fn get_keepalive(&self) -> Option<u64> {
        match self {
            Self::H1(http1) => http1.get_keepalive_timeout(),
            Self::H2(_) => None,
        }
    }

    /// Sets that.
    pub fn set_keepalive(&mut self, seconds: Option<u64>) {
        if let Self::H1(http1) = self {
            http1.set_server_keepalive(seconds);
        }
    }

    /// How long to wait for the client: for each part of its body (which `relay::read_body` minds over HTTP/2), and for
    /// it to take something of the answer's.
    pub fn set_timeouts(&mut self, read: Duration, write: Duration) {
        match self {
            Self::H1(http1) => {
                http1.set_read_timeout(Some(read));
                http1.set_write_timeout(Some(write));
            }
            Self::H2(http2) => http2.set_patience(write),
        }
    }
}
