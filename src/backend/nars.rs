//! Nars that `guix publish` compresses while it sends them, so that many who ask for the same are one to it.
//!
//! A nar that publish has in its cache has a length, and costs it little: each client gets its own. One that is not
//! baked yet has none. It is exported and compressed for whoever asks, and for each of them anew, on the machine that
//! also builds; and those who see nothing come ask again. So the first who asks is let through, and who asks for the
//! same meanwhile waits for the head of that answer. If it has a length, or is an error, each asks for itself. If it is
//! live, it is read here as fast as publish compresses, whatever the first client's pace; the first is sent what comes,
//! and the others are sent the whole from memory as soon as it is whole.
//!
//! *Why not otherwise.* Feeding several clients from one stream as it comes would need the disk, or would let the
//! slowest of them set the pace of all. Waiting for the first client to be done would let it hold up everybody by
//! reading slowly. Here nobody is ever slower for somebody else's reading, and memory is bounded: a nar that outgrows
//! [`LARGEST`], or all of them together [`TOGETHER`], is the first client's alone from then on, and those who waited
//! have been sent nothing yet and ask for themselves. publish with a cache sends only items below 10 MiB live; without
//! one it is made for a few users, and compressing per request is what it is asked to do.
//!
//! *Who leaves.* A first client that leaves during the body takes nothing along: the nar is read to its end, and one
//! that comes back meanwhile finds it. One that leaves before the head ends its connection; publish notices at its
//! first write, so that what it began for that one ends about when the next in line asks, and no more than one
//! compression runs. HEAD needs no body: it is asked as it comes, and publish's work ends the same way. Ranges make
//! no difference: publish knows none and hears of none, so that equal targets have equal answers.

mod live;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use pingora::http::ResponseHeader;
use tokio::sync::watch;

pub use self::live::Reader;

use self::live::Live;
use super::Incoming;

/// What is kept of one nar.
pub const LARGEST: usize = 16 << 20;
/// What is kept of all nars of one backend.
pub const TOGETHER: usize = 64 << 20;

/// The nars of one backend that somebody is asking for.
#[derive(Debug, Default)]
pub struct Nars {
    asked: Mutex<HashMap<Vec<u8>, watch::Receiver<Outcome>>>,
    /// Bytes that are kept.
    kept: Arc<AtomicUsize>,
}

/// What came of asking for a nar, for those who asked for the same meanwhile.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Nothing yet.
    Pending,
    /// An answer that each can have for itself.
    Alone,
    /// All of it.
    Whole(Arc<Whole>),
}

/// A nar that is here.
#[derive(Debug)]
pub struct Whole {
    /// As publish sent it.
    pub head: ResponseHeader,
    /// The body.
    pub parts: Vec<Bytes>,
    /// The body's length.
    pub length: usize,
    _kept: Kept,
}

/// How a request for a nar goes on.
#[derive(Debug)]
pub enum Joined {
    /// It asks.
    First(First),
    /// Another one is asking.
    Later(Later),
}

/// The one who asks for a nar. Dropping it says that nothing came of it: the next in line asks.
#[derive(Debug)]
pub struct First {
    nars: Arc<Nars>,
    key: Vec<u8>,
    told: watch::Sender<Outcome>,
}

/// One who waits for what the first is told.
#[derive(Debug)]
pub struct Later(watch::Receiver<Outcome>);

impl Nars {
    /// Asks for `key`, which names all that makes a difference to the answer, or joins one who does.
    pub fn join(self: &Arc<Self>, key: Vec<u8>) -> Joined {
        let mut asked = self.lock();
        if let Some(outcome) = asked.get(&key) {
            return Joined::Later(Later(outcome.clone()));
        }
        let (told, outcome) = watch::channel(Outcome::Pending);
        asked.insert(key.clone(), outcome);
        Joined::First(First { nars: self.clone(), key, told })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Vec<u8>, watch::Receiver<Outcome>>> {
        // It is whole between any two statements.
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl First {
    /// The answer is one that each can have for itself.
    pub fn each_alone(self) {
        self.tell(Outcome::Alone);
    }

    /// Reads a live nar, for this one and all who wait. `held` is kept until its end, and `patience` is for each part.
    pub fn share(
        self,
        head: ResponseHeader,
        incoming: Incoming,
        patience: Duration,
        held: impl Send + 'static,
    ) -> Reader {
        Live::begin(self, head, incoming, patience, held)
    }

    fn tell(&self, outcome: Outcome) {
        // From here on who comes asks anew.
        self.nars.lock().remove(&self.key);
        self.told.send_replace(outcome);
    }
}

impl Drop for First {
    fn drop(&mut self) {
        if matches!(*self.told.borrow(), Outcome::Pending) {
            self.nars.lock().remove(&self.key);
        }
    }
}

impl Later {
    /// Waits for what comes of it. None: nothing did.
    pub async fn outcome(mut self) -> Option<Outcome> {
        let told = self.0.wait_for(|outcome| !matches!(outcome, Outcome::Pending)).await;
        told.ok().map(|outcome| outcome.clone())
    }
}

/// Memory that is kept for nars, given back when it is dropped.
#[derive(Debug)]
struct Kept {
    of: Arc<Nars>,
    bytes: usize,
}

impl Kept {
    /// Counts more; false where that is too much.
    fn grow(&mut self, bytes: usize) -> bool {
        let together = self.of.kept.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.bytes += bytes;
        self.bytes <= LARGEST && together <= TOGETHER
    }

    fn shrink(&mut self, bytes: usize) {
        self.of.kept.fetch_sub(bytes, Ordering::Relaxed);
        self.bytes -= bytes;
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.of.kept.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
