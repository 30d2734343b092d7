//! A nar on its way: read as fast as it comes, kept for those who wait, and passed on to who was first.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorSource, ErrorType, Result};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{First, Incoming, Kept, Outcome, Whole};

/// What may lie ready for a client when the nar is its alone.
pub(super) const AHEAD: usize = 256 << 10;

/// A nar that is being compressed.
#[derive(Debug)]
pub(super) struct Live {
    inner: Mutex<Inner>,
    more: Notify,
    room: Notify,
}

#[derive(Debug)]
struct Inner {
    /// From the beginning, while it is kept; after that, what the first client has not been sent.
    parts: VecDeque<Bytes>,
    /// The one that the first client is sent next.
    next: usize,
    /// Others may want all of it. If not, it is the first client's alone.
    is_shared: bool,
    /// What of it is in `parts`.
    kept: Kept,
    /// The first client is there.
    is_read: bool,
    end: Option<std::result::Result<(), ErrorType>>,
}

impl Live {
    /// Reads it for `first`, and for all who wait.
    pub(super) fn begin(
        first: First,
        head: ResponseHeader,
        incoming: Incoming,
        patience: Duration,
        held: impl Send + 'static,
    ) -> Reader {
        let kept = Kept { of: first.nars.clone(), bytes: 0 };
        let inner =
            Inner { parts: VecDeque::new(), next: 0, is_shared: true, kept, is_read: true, end: None };
        let live = Arc::new(Live { inner: Mutex::new(inner), more: Notify::new(), room: Notify::new() });
        tokio::spawn(live.clone().read(first, head, incoming, patience, held));
        Reader(live)
    }

    async fn read(
        self: Arc<Self>,
        first: First,
        head: ResponseHeader,
        mut incoming: Incoming,
        patience: Duration,
        held: impl Send + 'static,
    ) {
        let end = loop {
            match timeout(patience, incoming.part()).await {
                Ok(Ok(Some([]))) => {}
                Ok(Ok(Some(part))) => {
                    // A copy of its own size: what it was read into is larger.
                    if !self.push(Bytes::copy_from_slice(part), &first).await {
                        return;
                    }
                }
                Ok(Ok(None)) => break Ok(()),
                Ok(Err(error)) => break Err(error.etype.clone()),
                Err(_) => break Err(ErrorType::ReadTimedout),
            }
        };
        // Only now is the backend done with it.
        drop((incoming, held));
        if end.is_ok() {
            self.hand_out(&first, head);
        }
        self.lock().end = Some(end);
        self.more.notify_one();
    }

    /// Takes a part. False: nobody is left who would want it.
    async fn push(&self, part: Bytes, first: &First) -> bool {
        {
            let mut inner = self.lock();
            let fits = inner.kept.grow(part.len());
            inner.parts.push_back(part);
            if inner.is_shared && !fits {
                inner.leave_to_the_first();
                first.tell(Outcome::Alone);
            }
        }
        self.more.notify_one();
        loop {
            {
                let inner = self.lock();
                if inner.is_shared {
                    return true;
                }
                if !inner.is_read {
                    return false;
                }
                if inner.kept.bytes <= AHEAD {
                    return true;
                }
            }
            self.room.notified().await;
        }
    }

    /// Gives those who wait the whole of it.
    fn hand_out(&self, first: &First, head: ResponseHeader) {
        let mut inner = self.lock();
        if !inner.is_shared {
            return;
        }
        let parts: Vec<Bytes> = inner.parts.iter().cloned().collect();
        // The same memory is the first client's for as long as that one takes.
        let mut kept = Kept { of: inner.kept.of.clone(), bytes: 0 };
        kept.grow(inner.kept.bytes);
        inner.leave_to_the_first();
        drop(inner);
        first.tell(Outcome::Whole(Arc::new(Whole { head, parts, length: kept.bytes, _kept: kept })));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that happens inside of it can panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Keeps only what the first client has not been sent.
    fn leave_to_the_first(&mut self) {
        self.is_shared = false;
        for part in self.parts.drain(..std::mem::take(&mut self.next)) {
            self.kept.shrink(part.len());
        }
    }
}

/// The first client's view of a live nar.
#[derive(Debug)]
pub struct Reader(Arc<Live>);

impl Reader {
    /// The next part; none at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            {
                let mut inner = self.0.lock();
                if inner.is_shared {
                    if let Some(part) = inner.parts.get(inner.next).cloned() {
                        inner.next += 1;
                        return Ok(Some(part));
                    }
                } else if let Some(part) = inner.parts.pop_front() {
                    inner.kept.shrink(part.len());
                    drop(inner);
                    self.0.room.notify_one();
                    return Ok(Some(part));
                }
                match &inner.end {
                    Some(Ok(())) => return Ok(None),
                    Some(Err(kind)) => {
                        return Err(Error::create(kind.clone(), ErrorSource::Upstream, None, None));
                    }
                    None => {}
                }
            }
            // One reads, and a word that came before is kept for it.
            self.0.more.notified().await;
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.lock().is_read = false;
        self.0.room.notify_one();
    }
}
