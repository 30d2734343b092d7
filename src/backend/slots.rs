//! A cap on what a backend is asked at a time, and a queue that is fair between clients.
//!
//! *What is counted.* Guile's web server makes an answer as a whole and then begins to write it: until the head is
//! here, a request has its server at work, or stands in front of it. So each request has a slot until then, and gives
//! it back before the first byte goes to the client: how fast a client reads is no reason to keep others from asking.
//! A nar is another matter. `guix publish` keeps a thread, a file and a connection for each, compresses while it
//! sends if there is nothing in its cache, and all that lasts as long as the slowest client likes. Counted with the
//! lookups, a few dozen slow downloads would end all lookups; not counted, they would use up publish's file
//! descriptors. They have slots of their own, to the end of the body, and one client has no more than its share of
//! these. Pages and files of the CI that are on their way are not counted: the former are small, the latter go to
//! the disk as fast as it takes them.
//!
//! *What it costs.* While there is room, a slot is one atomic operation to take and one to give back. Who gives one
//! back while others wait hands it over, which wakes the one it goes to, and nobody else.
//!
//! *Who is next.* Clients take turns, whatever number of requests each has waiting. When the queue is full, the newest
//! request of the client that has most of them goes, unless that is the one who comes.

mod queue;

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use self::queue::{Lines, Place, Verdict};

/// One who waits, in the upper half of `Slots::word`.
const WAITING: u64 = 1 << 32;
/// The slots that are taken, in the lower half.
const TAKEN: u64 = WAITING - 1;

/// The slots of one backend, for one kind of request.
#[derive(Debug)]
pub struct Slots {
    /// How many are taken, and how many requests wait: in one word, so that a slot is never given back unseen by
    /// somebody who begins to wait. Waiting begins and ends under the lock only.
    word: AtomicU64,
    limit: AtomicU32,
    /// What one client may have of them.
    share: Share,
    most_waiting: AtomicU32,
    lines: Mutex<Lines>,
}

/// What one client may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Anything: slots are soon given back.
    All,
    /// One in so many, and at least one.
    OneIn(u32),
}

/// A slot. Giving it back is dropping it.
#[derive(Debug)]
pub struct Slot<S: Deref<Target = Slots>> {
    slots: S,
    client: IpAddr,
}

/// There was no slot in time, or no room to wait for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

impl Slots {
    /// `limit` slots, with room for `most_waiting` requests to wait.
    pub fn new(limit: u32, most_waiting: u32, share: Share) -> Self {
        Self {
            word: AtomicU64::new(0),
            limit: AtomicU32::new(limit),
            share,
            most_waiting: AtomicU32::new(most_waiting),
            lines: Mutex::default(),
        }
    }

    /// Puts other limits in force. Slots that are taken stay so.
    pub fn resize(&self, limit: u32, most_waiting: u32) {
        self.most_waiting.store(most_waiting, Ordering::Relaxed);
        if self.limit.swap(limit, Ordering::Relaxed) >= limit {
            return;
        }
        while let Some((client, told)) = self.next_for_free_slot() {
            if told.send(Verdict::Granted).is_err() {
                self.give_back(client);
            }
        }
    }

    /// Slots that are taken now.
    pub fn taken(&self) -> u32 {
        (self.word.load(Ordering::Relaxed) & TAKEN) as u32
    }

    /// Requests that wait now.
    pub fn waiting(&self) -> u32 {
        (self.word.load(Ordering::Relaxed) >> 32) as u32
    }

    /// A slot, if there is one now.
    pub fn try_take<S: Deref<Target = Self>>(slots: S, client: IpAddr) -> Option<Slot<S>> {
        let is_taken = match slots.share {
            Share::All => slots.take_free(),
            Share::OneIn(_) => slots.take_locked(&mut slots.lock(), client),
        };
        is_taken.then(|| Slot { slots, client })
    }

    /// Waits for a slot, `patience` at the most.
    pub async fn wait<S: Deref<Target = Self>>(
        slots: S,
        client: IpAddr,
        patience: Duration,
    ) -> Result<Slot<S>, Refused> {
        let Some((id, told)) = slots.stand_in_line(client)? else {
            return Ok(Slot { slots, client });
        };
        let mut place = Place { slots: &slots, client, id, told, is_over: false };
        let verdict = timeout(patience, &mut place.told).await;
        place.is_over = matches!(verdict, Ok(Ok(_)));
        drop(place);
        match verdict {
            Ok(Ok(Verdict::Granted)) => Ok(Slot { slots, client }),
            _ => Err(Refused),
        }
    }

    /// Takes a slot that is free, where nobody waits.
    fn take_free(&self) -> bool {
        let limit = u64::from(self.limit.load(Ordering::Relaxed));
        let take = |word: u64| (word < limit).then_some(word + 1);
        self.word.fetch_update(Ordering::Acquire, Ordering::Relaxed, take).is_ok()
    }

    /// Takes a slot that is free, whoever waits: under the lock there is a free one only if none of those who wait
    /// may have it.
    fn take_locked(&self, lines: &mut Lines, client: IpAddr) -> bool {
        let limit = u64::from(self.limit.load(Ordering::Relaxed));
        if !self.may_have_one(lines, client) {
            return false;
        }
        let take = |word: u64| (word & TAKEN < limit).then_some(word + 1);
        let is_taken = self.word.fetch_update(Ordering::Acquire, Ordering::Relaxed, take).is_ok();
        if is_taken {
            self.hold(lines, client);
        }
        is_taken
    }

    /// Gives a slot back, or hands it over.
    fn give_back(&self, mut client: IpAddr) {
        if self.share == Share::All {
            let free = |word: u64| (word < WAITING).then(|| word - 1);
            if self.word.fetch_update(Ordering::Release, Ordering::Relaxed, free).is_ok() {
                return;
            }
        }
        while let Some((next, told)) = self.next_for(client) {
            if told.send(Verdict::Granted).is_ok() {
                return;
            }
            // That one is gone: its slot goes on.
            client = next;
        }
    }

    fn may_have_one(&self, lines: &Lines, client: IpAddr) -> bool {
        match self.share {
            Share::All => true,
            Share::OneIn(parts) => {
                let most = (self.limit.load(Ordering::Relaxed) / parts.max(1)).max(1);
                lines.clients.get(&client).is_none_or(|line| line.held < most)
            }
        }
    }

    fn hold(&self, lines: &mut Lines, client: IpAddr) {
        if self.share != Share::All {
            lines.clients.entry(client).or_default().held += 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        // Nothing that happens inside of it can panic.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Deref<Target = Slots>> Drop for Slot<S> {
    fn drop(&mut self) {
        self.slots.give_back(self.client);
    }
}

#[cfg(test)]
mod tests;
