//! A body's way to its client, no faster than the limits allow.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pingora::{Error, Result};
use tokio::time::sleep;

use super::context::{Context, connection};
use super::relay::while_client_waits;
use super::session::Session;
use crate::limits::{Limiter, Paced, Turn};
use crate::metrics::{Route, Share, Spent, Worker, waiting};

/// This much of an answer that is no download goes ahead of those that are: a page with its files, a narinfo.
const AHEAD: usize = 256 * 1024;

/// How fast a body may be sent.
pub struct Pace {
    worker: Arc<Worker>,
    /// Bytes per second on its connection.
    rate: Option<u64>,
    turn: Option<Turn>,
    /// Bytes that need not wait for their turn.
    ahead: usize,
}

impl Pace {
    /// Of an answer that has begun; none where no limit is set, which is what is usual.
    pub fn of(
        limiter: &Limiter,
        worker: &Arc<Worker>,
        session: &Session,
        ctx: &Context,
    ) -> Option<Box<Self>> {
        let is_download = matches!(ctx.route, Route::Nar | Route::File | Route::Download | Route::Log);
        let rate =
            ctx.generation.config.limits.nar_rate.filter(|_| is_download || ctx.route == Route::Static);
        let turn = limiter.share.turn(connection(session).peer.ip());
        if rate.is_none() && turn.is_none() {
            return None;
        }
        let ahead = if is_download { 0 } else { AHEAD };
        Some(Box::new(Self { worker: worker.clone(), rate, turn, ahead }))
    }

    /// Waits until something of `wanted` bytes may be sent; how much of it.
    async fn wait(&mut self, session: &mut Session, wanted: usize, spent: &Spent) -> Result<usize> {
        let mut count = self.rate.map_or(wanted, |rate| wanted.min(Paced::most(rate)));
        if let Some(turn) = &mut self.turn {
            if self.ahead > 0 {
                count = count.min(self.ahead);
                self.ahead -= count;
                turn.take_ahead(count);
            } else {
                count = match turn.take(count) {
                    0 => {
                        self.worker.waits[Share::TotalRate.index()].increment();
                        until(session, spent, turn.ready()).await?;
                        turn.take(count)
                    }
                    taken => taken,
                };
            }
        }
        if let Some(rate) = self.rate {
            loop {
                let connection = connection(session);
                let Err(wait) = connection.paced.take(connection.since.elapsed(), count, rate) else { break };
                self.worker.waits[Share::NarRate.index()].increment();
                until(session, spent, sleep(wait)).await?;
            }
        }
        Ok(count)
    }
}

/// A part of a body, as it is at hand.
pub trait Part: AsRef<[u8]> {
    /// Takes the first `count` bytes off.
    fn take_first(&mut self, count: usize) -> Self;

    /// The same as owned bytes.
    fn into_bytes(self) -> Bytes;
}

impl Part for Bytes {
    fn take_first(&mut self, count: usize) -> Self {
        self.split_to(count)
    }

    fn into_bytes(self) -> Bytes {
        self
    }
}

/// In the buffer it was read into, where it stays over HTTP/1.
impl Part for &[u8] {
    fn take_first(&mut self, count: usize) -> Self {
        let (now, later) = self.split_at(count);
        *self = later;
        now
    }

    fn into_bytes(self) -> Bytes {
        Bytes::copy_from_slice(self)
    }
}

/// Sends a part of an answer's body, at its pace; nothing, if it is empty. `is_last` spares the end of the body a frame
/// of its own over HTTP/2.
pub async fn send(
    session: &mut Session,
    mut part: impl Part,
    is_last: bool,
    pace: &mut Option<Box<Pace>>,
    spent: &Spent,
) -> Result<()> {
    while !part.as_ref().is_empty() {
        let now = part.take_first(allowed(pace, session, part.as_ref().len(), spent).await?);
        let end = is_last && part.as_ref().is_empty();
        let written = async {
            match &mut *session {
                Session::H1(http1) => http1.write_body(now.as_ref()).await.map(drop),
                other => other.write_response_body(now.into_bytes(), end).await,
            }
        };
        waiting(&spent.client, pin!(written)).await.map_err(|error: Box<Error>| error.into_down())?;
    }
    Ok(())
}

/// How much of `wanted` bytes may be sent now: all of it where there is no pace to keep.
async fn allowed(
    pace: &mut Option<Box<Pace>>,
    session: &mut Session,
    wanted: usize,
    spent: &Spent,
) -> Result<usize> {
    match pace {
        // Boxed: most answers need not make room for it.
        Some(pace) => Box::pin(pace.wait(session, wanted, spent)).await,
        None => Ok(wanted),
    }
}

/// Waits for `time` to come, as long as the client is there; what it has so far is sent meanwhile.
async fn until(session: &mut Session, spent: &Spent, time: impl Future<Output = ()>) -> Result<()> {
    let time = pin!(async {
        time.await;
        Ok(())
    });
    waiting(&spent.client, pin!(while_client_waits(session, time, Duration::MAX))).await
}
