//! Asking a backend, up to the head of its answer: in turn, on a good connection, and again where that may help.

use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use pingora::http::RequestHeader;
use pingora::protocols::http::v1::client::HttpSession as Upstream;
use pingora::{Error, ErrorSource, ErrorType, Result};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::pulse;
use super::relay::while_client_waits;
use super::session::Session;
use crate::backend::slots::{Slot, Slots};
use crate::backend::{Asked, BackendStream, Head, Incoming, Peers, Pool, Use};
use crate::metrics::Worker;

/// How often a request is sent anew that its backend dropped without a word.
const TRIES: usize = 3;
/// What is waited for ends by itself.
pub(super) const AS_LONG_AS_IT_TAKES: Duration = Duration::MAX;

/// Makes the backend's request from the client's; called for each try.
pub type MakeRequest<'a, W> = dyn Fn(&W) -> Result<Head> + Send + Sync + 'a;

/// Who waits for an answer.
pub(super) trait Waiter: Send + Sync {
    /// Waits for `backend`, `patience` at the most.
    fn wait<T: Send>(
        &mut self,
        backend: impl Future<Output = Result<T>> + Send + Unpin,
        patience: Duration,
    ) -> impl Future<Output = Result<T>> + Send;
}

/// A client, who may leave.
impl Waiter for Session {
    async fn wait<T: Send>(
        &mut self,
        backend: impl Future<Output = Result<T>> + Send + Unpin,
        patience: Duration,
    ) -> Result<T> {
        while_client_waits(self, backend, patience).await
    }
}

/// Nobody in particular: the answer is wanted whoever leaves.
#[derive(Debug)]
pub(super) struct Everybody;

impl Waiter for Everybody {
    async fn wait<T: Send>(
        &mut self,
        mut backend: impl Future<Output = Result<T>> + Send + Unpin,
        patience: Duration,
    ) -> Result<T> {
        let answer = tokio::select! {
            biased;
            answer = &mut backend => answer,
            // A timer of its own is for who has to wait longer.
            () = pulse::beat() => match timeout(patience, backend).await {
                Ok(answer) => answer,
                Err(_) => Err(Error::new(ErrorType::ReadTimedout)),
            },
        };
        answer.map_err(|error| error.into_up())
    }
}

/// What a backend is asked, and how.
pub struct Question<'a> {
    /// The backend.
    pub peers: &'a Peers,
    /// How its connections are used.
    pub usage: Use,
    /// Asking twice does no harm.
    pub repeatable: bool,
    /// How long the backend may say nothing, where that is not as for all.
    pub read_timeout: Option<Duration>,
    /// The idle connections of this worker, where they may be used.
    pub pool: Option<&'a Arc<Pool>>,
    /// What this worker counts.
    pub worker: &'a Arc<Worker>,
    /// Who wants to know: its address, or its network.
    pub client: IpAddr,
}

/// A question that was sent on an idle connection of the pool, and is not answered yet.
pub struct UnderWay {
    /// The connection; what has come of the answer was put back.
    pub stream: Box<BackendStream>,
    /// Its slot at the backend.
    pub slot: Slot<Arc<Slots>>,
    /// Counts it.
    pub asked: Asked,
}

impl Question<'_> {
    /// How long the backend may say nothing.
    pub fn patience(&self) -> Duration {
        self.read_timeout.unwrap_or(self.peers.timeouts(self.usage).0)
    }

    /// Waits for the answer to a question that was sent already, and asks again where that may help.
    pub(super) async fn go_on<W: Waiter>(
        &self,
        waiter: &mut W,
        make: &MakeRequest<'_, W>,
        under_way: UnderWay,
    ) -> Result<(Incoming, Asked)> {
        let UnderWay { stream, slot, asked } = under_way;
        match waiter.wait(pin!(Incoming::read(stream)), self.patience()).await {
            Ok(incoming) => Ok((incoming, asked)),
            // It keeps its turn: to stand in line again could end in an error.
            Err(error) if self.repeatable && was_dropped(&error) => {
                self.peers.counted(self.worker).retries.increment();
                let incoming = self.until_answered(waiter, make, None, [None, None]).await?;
                drop(slot);
                Ok((incoming, asked))
            }
            Err(error) => Err(self.told(error)),
        }
    }

    /// Sends the request until there is the head of an answer.
    pub(super) async fn ask<W: Waiter>(
        &self,
        waiter: &mut W,
        make: &MakeRequest<'_, W>,
        body: Option<&Bytes>,
    ) -> Result<(Incoming, Asked)> {
        let asked = self.peers.asked(self.worker);
        let pool = self.pool.filter(|_| self.usage == Use::Pooled);
        let from_pool = || pool.and_then(|pool| pool.take(self.peers.key()));
        let is_down = self.peers.is_down();
        // Who has a connection that is open needs no new one: a backend that takes none may answer all the same.
        let mut pooled = if is_down { from_pool() } else { None };
        // Who waits for a restart takes no slot from those who wait for an answer.
        let made = match is_down && pooled.is_none() {
            // What is rare is boxed: lookups need not make room for its state.
            true => waiter.wait(Box::pin(self.peers.wait_until_up(self.worker)), AS_LONG_AS_IT_TAKES).await?,
            false => None,
        };
        // Given back at the end of this: see `backend::slots`.
        let at_once = self.peers.try_slot(self.client);
        let _in_turn = match &at_once {
            Some(_) => None,
            None => {
                let turn = Box::pin(self.peers.slot(self.client, self.worker));
                Some(waiter.wait(turn, AS_LONG_AS_IT_TAKES).await?)
            }
        };
        // One idle connection at the most: what is dropped once may be dropped for what was asked, and the others are
        // good for somebody else.
        if made.is_none() && pooled.is_none() {
            pooled = from_pool();
        }
        Ok((self.until_answered(waiter, make, body, [pooled, made]).await?, asked))
    }

    /// Sends the request, and again where that may help: on a connection that was idle, on one that was made already, on new ones.
    async fn until_answered<W: Waiter>(
        &self,
        waiter: &mut W,
        make: &MakeRequest<'_, W>,
        body: Option<&Bytes>,
        [mut pooled, mut made]: [Option<Box<BackendStream>>; 2],
    ) -> Result<Incoming> {
        let mut tries = 0;
        loop {
            let was_pooled = pooled.is_some();
            let stream = match pooled.take().or(made.take()) {
                Some(stream) => stream,
                None => waiter.wait(Box::pin(self.peers.connect(self.worker)), AS_LONG_AS_IT_TAKES).await?,
            };
            let head = make(waiter)?;
            match self.converse(waiter, stream, head, body).await {
                Ok(incoming) => return Ok(incoming),
                // A pooled connection may have been closed while the request was on its way, and a backend that
                // is restarted drops what it was doing. Both are saved by asking again.
                Err(error) if self.repeatable && was_dropped(&error) && (was_pooled || tries < TRIES) => {
                    tries += usize::from(!was_pooled);
                    self.peers.counted(self.worker).retries.increment();
                }
                Err(error) => return Err(self.told(error)),
            }
        }
    }

    /// An error, with the backend's name if it is the backend's.
    fn told(&self, error: Box<Error>) -> Box<Error> {
        match error.esource() {
            ErrorSource::Upstream => error.more_context(format!("backend {}", self.peers.name())),
            _ => error,
        }
    }

    /// One request, up to the head of its answer.
    async fn converse<W: Waiter>(
        &self,
        waiter: &mut W,
        mut stream: Box<BackendStream>,
        head: Head,
        body: Option<&Bytes>,
    ) -> Result<Incoming> {
        let (read, write) = (self.patience(), self.peers.timeouts(self.usage).1);
        match head {
            Head::Written(head) => {
                write_out(&mut stream, &head, write).await.map_err(|error| error.into_up())?;
                waiter.wait(pin!(Incoming::read(stream)), read).await
            }
            Head::Fields(request) => {
                let upstream = write_fields(stream, request, body, write);
                let upstream = upstream.await.map_err(|error| error.into_up())?;
                waiter.wait(pin!(Incoming::of(upstream)), read).await
            }
        }
    }
}

/// A method that is expected to have a body says so when it has none (RFC 9110 section 8.6).
fn set_length(request: &mut RequestHeader, body: Option<&Bytes>) -> Result<()> {
    if body.is_some() || matches!(request.method, Method::POST | Method::PUT | Method::PATCH) {
        request.insert_header(http::header::CONTENT_LENGTH, body.map_or(0, Bytes::len))?;
    }
    Ok(())
}

/// Writes a head that needs no fields set up.
async fn write_out(stream: &mut BackendStream, head: &[u8], patience: Duration) -> Result<()> {
    let write = async {
        stream.write_all(head).await?;
        stream.flush().await
    };
    match timeout(patience, write).await {
        Ok(written) => {
            written.map_err(|error| Error::because(ErrorType::WriteError, "a request head", error))
        }
        Err(_) => Err(Error::new(ErrorType::WriteTimedout)),
    }
}

/// Has the engine write a head, and what belongs to it.
async fn write_fields(
    stream: Box<BackendStream>,
    mut request: Box<RequestHeader>,
    body: Option<&Bytes>,
    patience: Duration,
) -> Result<Box<Upstream>> {
    set_length(&mut request, body)?;
    let mut upstream = Box::new(Upstream::new(stream));
    upstream.write_timeout = Some(patience);
    upstream.write_request_header(request).await?;
    if let Some(body) = body {
        upstream.write_body(body).await?;
        upstream.finish_body().await?;
    }
    Ok(upstream)
}

/// Whether the backend closed the connection before there was a whole head of an answer.
fn was_dropped(error: &Error) -> bool {
    matches!(error.etype(), ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError)
        && *error.esource() == ErrorSource::Upstream
}
