//! A request's exchange with its backend, and the answer on its way to the client.
//!
//! This stands in for the upstream half of the engine, on the engine's own client and server sessions, and for
//! two reasons.
//!
//! *Bodies.* Guile's web server reads a whole request before it serves anybody else, so one client that is slow
//! with its upload would stall the farm; and it does not know chunked request bodies, whose bytes would become
//! the next request. A body has to be here in full before the backend hears of it, and the engine, which
//! streams, has no way to be given one.
//!
//! *Cost.* The engine runs the two directions of a request as two state machines joined by channels, which is
//! what HTTP/2 backends, upgrades and uploads need. A narinfo needs one after the other.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, header};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession as Session;
use pingora::{Error, ErrorType, Result};
use tokio::time::timeout;
use tracing::{Instrument, debug_span};

use super::ask::{MakeRequest, Question};
use super::context::connection;
use super::forward::adapt_response;
use super::pulse;
use crate::backend::{Asked, Incoming, Use};
use crate::metrics::{Spent, waiting};

/// A request body is small, and is not waited for longer than this.
const WHOLE_BODY: Duration = Duration::from_secs(60);

/// Where a request goes, and how.
pub struct Exchange<'a> {
    /// What is asked.
    pub question: Question<'a>,
    /// Where the request's time goes.
    pub spent: &'a Spent,
    /// Told of the answer's head, before the client is, where the request may have changed something (RFC 9110
    /// section 9.2.1).
    pub changed: &'a (dyn Fn(&ResponseHeader) + Send + Sync),
}

/// Reads the request's body; none when it is larger than `limit` bytes. `patience` is for each part of it.
pub async fn read_body(session: &mut Session, limit: u64, patience: Duration) -> Result<Option<Bytes>> {
    // The engine minds neither over HTTP/2, and only the first over HTTP/1.
    match timeout(WHOLE_BODY, read_parts(session, limit, patience)).await {
        Ok(body) => body,
        Err(_) => Err(Error::new_down(ErrorType::ReadTimedout)),
    }
}

async fn read_parts(session: &mut Session, limit: u64, patience: Duration) -> Result<Option<Bytes>> {
    let announced = session
        .get_header(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Ok(None);
    }
    if session.req_header().headers.contains_key(header::EXPECT) {
        // With a body that is still to come the engine gives up the connection, for this answer as for a final one.
        let keepalive = session.get_keepalive();
        session.write_continue_response().await.map_err(|error| error.into_down())?;
        session.set_keepalive(keepalive);
    }
    let mut body = BytesMut::new();
    loop {
        let part = timeout(patience, session.read_request_body())
            .await
            .map_err(|_| Error::new_down(ErrorType::ReadTimedout))?
            .map_err(|error| error.into_down())?;
        let Some(part) = part else { break };
        if (body.len() + part.len()) as u64 > limit {
            return Ok(None);
        }
        body.extend_from_slice(&part);
    }
    Ok(Some(body.freeze()))
}

impl Exchange<'_> {
    /// Sends the request that `make` makes, with `body` if there is one, and the answer to the client.
    pub async fn run(
        &self,
        session: &mut Session,
        make: &MakeRequest<'_, Session>,
        body: Option<Bytes>,
    ) -> Result<()> {
        self.spent.asked.increment();
        let (incoming, asked) = self.ask(session, make, body.as_ref()).await?;
        self.pass_on(session, incoming, asked).await
    }

    /// Sends the request until there is the head of an answer.
    pub(super) async fn ask(
        &self,
        session: &mut Session,
        make: &MakeRequest<'_, Session>,
        body: Option<&Bytes>,
    ) -> Result<(Incoming, Asked)> {
        let ask = self.question.ask(session, make, body);
        let ask = ask.instrument(debug_span!("backend", name = self.question.peers.name()));
        waiting(&self.spent.backend, ask).await
    }

    /// Sends an answer to the client.
    pub(super) async fn pass_on(
        &self,
        session: &mut Session,
        mut incoming: Incoming,
        _asked: Asked,
    ) -> Result<()> {
        let Some(response) = incoming.take_head() else {
            return Err(Error::new(ErrorType::InternalError));
        };
        if !session.req_header().method.is_safe() {
            (self.changed)(&response);
        }
        let head_only = session.req_header().method == Method::HEAD;
        send_head(session, response).await?;
        if !head_only {
            send_body(session, &mut incoming, self.question.patience(), self.spent).await?;
        }
        if self.question.usage == Use::Pooled
            && let Some(pool) = self.question.pool
            && let Some(stream) = incoming.into_reusable().await
        {
            pool.put(self.question.peers.key(), stream);
        }
        Ok(())
    }
}

pub(super) async fn send_head(session: &mut Session, mut response: ResponseHeader) -> Result<()> {
    let sized = response.headers.contains_key(header::CONTENT_LENGTH);
    if !sized && !matches!(response.status.as_u16(), 204 | 304) {
        response.insert_header(header::TRANSFER_ENCODING, "chunked")?;
    }
    adapt_response(session, &mut response);
    session.write_response_header(Box::new(response)).await.map_err(|error| error.into_down())
}

async fn send_body(
    session: &mut Session,
    incoming: &mut Incoming,
    patience: Duration,
    spent: &Spent,
) -> Result<()> {
    loop {
        let part = while_client_waits(session, incoming.part(), patience);
        let Some(part) = waiting(&spent.backend, part).await? else { break };
        // The engine gives nothing where a chunk ends, and takes nothing for the end of ours.
        if part.is_empty() {
            continue;
        }
        let written = async {
            match &mut *session {
                // Straight from the buffer it was read into.
                Session::H1(http1) => http1.write_body(part).await.map(drop),
                other => other.write_response_body(Bytes::copy_from_slice(part), false).await,
            }
        };
        let written = waiting(&spent.client, written).await;
        written.map_err(|error| error.into_down())?;
    }
    session.write_response_body(Bytes::new(), true).await.map_err(|error| error.into_down())
}

/// Waits for the backend, `patience` at the most, and after a moment for the client to leave as well: then nobody
/// needs the answer.
pub(super) async fn while_client_waits<T>(
    session: &mut Session,
    backend: impl Future<Output = Result<T>>,
    patience: Duration,
) -> Result<T> {
    let mut backend = pin!(backend);
    let prompt = tokio::select! {
        biased;
        answer = &mut backend => Some(answer),
        () = pulse::beat() => None,
    };
    let answer = match prompt {
        Some(answer) => answer,
        None => {
            // This may take a while. What the client has been answered so far should not wait for it.
            send_gathered(session).await?;
            tokio::select! {
                biased;
                answer = timeout(patience, &mut backend) => match answer {
                    Ok(answer) => answer,
                    Err(_) => Err(Error::new(ErrorType::ReadTimedout)),
                },
                // Pends for as long as the client is there; what it sends meanwhile is kept for its next request.
                gone = session.read_body_or_idle(true) => return match gone {
                    Err(error) => Err(error.into_down()),
                    Ok(_) => Err(Error::new_down(ErrorType::ConnectionClosed)),
                },
            }
        }
    };
    answer.map_err(|error| error.into_up())
}

/// Sends what was gathered for the client. Over HTTP/2 the connection's own task does so by itself.
async fn send_gathered(session: &Session) -> Result<()> {
    let outgoing = connection(session).outgoing().cloned();
    match outgoing {
        Some(outgoing) => outgoing
            .send()
            .await
            .map_err(|error| Error::because(ErrorType::WriteError, "to the client", error).into_down()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use pingora::protocols::l4::stream::Stream as TcpSession;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// A session whose client has sent `bytes`, and the client.
    async fn session(bytes: &str) -> (Session, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.write_all(bytes.as_bytes()).await.unwrap();
        let (tcp, _) = listener.accept().await.unwrap();
        let mut session = Session::new_http1(Box::new(TcpSession::from(tcp)));
        assert!(session.read_request().await.unwrap());
        (session, client)
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_given_up_after_a_minute_however_patient_the_reads_are() {
        let (mut session, _client) =
            session("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc").await;
        // With the clock stopped, time goes on to the next timer whenever there is nothing else to do.
        tokio::time::pause();
        let began = tokio::time::Instant::now();
        let read = read_body(&mut session, 100, Duration::from_secs(3600)).await;
        assert_eq!(*read.unwrap_err().etype(), ErrorType::ReadTimedout);
        assert_eq!(began.elapsed().as_secs(), WHOLE_BODY.as_secs());
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_none_whether_it_is_announced_or_not() {
        let announced = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabcdefghi";
        let chunked =
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabcdefghi\r\n0\r\n\r\n";
        for request in [announced, chunked] {
            let (mut session, _client) = session(request).await;
            let patience = Duration::from_secs(3600);
            assert_eq!(read_body(&mut session, 8, patience).await.unwrap(), None, "{request}");
            let (mut session, _client) = self::session(request).await;
            assert_eq!(read_body(&mut session, 9, patience).await.unwrap().unwrap(), "abcdefghi");
        }
    }
}
