//! A connection on its way to the h2 crate, with an eye on what the client sends.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::budget::Budget;
use crate::listen::connection::Connection;

/// What is thought of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Verdict {
    /// Nothing bad.
    Bearable = 0,
    /// It sends too much that asks for nothing.
    Flood = 1,
    /// A request head did not come in time.
    SlowHead = 2,
}

/// What the connection's task is told: the h2 crate gives nobody the stream it was given.
// All on one thread; the atomic is for `Send`, not for ordering.
#[derive(Debug, Default)]
pub(super) struct Watch {
    verdict: AtomicU8,
}

impl Watch {
    pub(super) fn verdict(&self) -> Verdict {
        match self.verdict.load(Ordering::Relaxed) {
            0 => Verdict::Bearable,
            1 => Verdict::Flood,
            _ => Verdict::SlowHead,
        }
    }

    fn judge(&self, verdict: Verdict) {
        self.verdict.store(verdict as u8, Ordering::Relaxed);
    }
}

/// A connection whose frames are counted. Nothing more is read once the verdict is not bearable; what is to be sent
/// still goes out.
pub(super) struct Watched {
    connection: Connection,
    watch: Arc<Watch>,
    budget: Budget,
    head: Duration,
    /// For the head of that number, which has begun and is waited for.
    deadline: Option<(u64, Pin<Box<Sleep>>)>,
}

impl Watched {
    pub(super) fn new(connection: Connection, watch: Arc<Watch>, head: Duration) -> Self {
        Self { connection, watch, budget: Budget::new(), head, deadline: None }
    }

    /// Whether the head that has begun is late. There is no deadline for a head that comes in one go.
    fn is_head_late(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(number) = self.budget.open_head() else {
            self.deadline = None;
            return false;
        };
        if self.deadline.as_ref().is_none_or(|(head, _)| *head != number) {
            self.deadline = Some((number, Box::pin(tokio::time::sleep(self.head))));
        }
        self.deadline.as_mut().is_some_and(|(_, deadline)| deadline.as_mut().poll(cx).is_ready())
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.watch.verdict() != Verdict::Bearable {
            // Who polls looks at the verdict next.
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.connection).poll_read(cx, buf);
        if read.is_pending() {
            if self.is_head_late(cx) {
                self.watch.judge(Verdict::SlowHead);
            }
            return Poll::Pending;
        }
        let received = self.budget.received(&buf.filled()[before..]);
        if received.is_err() {
            self.watch.judge(Verdict::Flood);
            buf.set_filled(before);
            return Poll::Pending;
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.connection).poll_write(cx, buf);
        if let Poll::Ready(Ok(count)) = written {
            self.budget.sent(count);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}
