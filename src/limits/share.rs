//! The line, shared fairly between clients.
//!
//! `limits.total_rate` is what all answers together may take. A client is an address ([`super::network_of`]), so that
//! opening more connections gets nobody more of it. What is short goes ahead: a page does not wait for the nars that
//! others are downloading. It is charged all the same, and the nars make room for it.
//!
//! The order is that of start-time fair queueing (Goyal, Vin and Cheng, 1996). Bodies are let go by the quantum. Each
//! client has a count of what it was promised, its *finish*; a new promise *starts* there, or about where the last one
//! started that was kept, whichever is later; and the one that starts first is kept first. So who has had less is next,
//! and nobody saves up for later by asking for nothing.
//!
//! Workers meet in one lock, which is held for a moment for each quantum and not for each write: at a gigabit, a few
//! hundred times a second. Of all that wait one has a timer, the first, and lets go who can be when it is due.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::bucket::{burst_of, time_for};
use super::network_of;

/// What a body is let go by, in bytes: a TLS record at least, so that records need not be cut.
const SMALLEST_QUANTUM: u64 = 16 * 1024;
const LARGEST_QUANTUM: u64 = 1024 * 1024;
/// Clients that have left, of whom it is not worth looking which can be forgotten.
const FEW: usize = 512;

/// The line.
#[derive(Debug)]
pub struct Share {
    /// Looked at by each answer; the rest only where there is a rate.
    limited: AtomicBool,
    began: Instant,
    ledger: Mutex<Ledger>,
}

impl Default for Share {
    fn default() -> Self {
        Self { limited: AtomicBool::new(false), began: Instant::now(), ledger: Mutex::default() }
    }
}

impl Share {
    /// From now on the line takes `rate` bytes per second, or whatever comes.
    pub fn set_rate(&self, rate: Option<u64>) {
        self.limited.store(rate.is_some(), Ordering::Relaxed);
        let mut ledger = self.lock();
        let now = self.now();
        ledger.set_rate(rate, now);
        ledger.dispatch(now);
    }

    /// A body that is to be sent to `client`; none where there is no rate to keep.
    pub fn turn(self: &Arc<Self>, client: IpAddr) -> Option<Turn> {
        if !self.limited.load(Ordering::Relaxed) {
            return None;
        }
        let client = network_of(client);
        self.lock().join(client);
        Some(Turn { share: self.clone(), client, lease: 0, seat: Arc::default(), place: None })
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        // A panic elsewhere at the worst leaves a promise that is not kept: the sums are whole.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One body's part in it. What it was let go and did not send is given back when it is dropped.
#[derive(Debug)]
pub struct Turn {
    share: Arc<Share>,
    client: IpAddr,
    /// Bytes that may be sent.
    lease: u64,
    seat: Arc<Seat>,
    /// Where it waits for more.
    place: Option<Place>,
}

impl Turn {
    /// How many of `wanted` bytes may be sent now; 0 where others are first: [`ready`](Self::ready) waits for them.
    pub fn take(&mut self, wanted: usize) -> usize {
        if self.lease == 0 {
            self.look();
        }
        let count = wanted.min(usize::try_from(self.lease).unwrap_or(usize::MAX));
        self.lease -= count as u64;
        count
    }

    /// Sends `count` bytes ahead of all that wait, and has them make up for it.
    pub fn take_ahead(&self, count: usize) {
        self.share.lock().charge(self.client, count as u64);
    }

    /// Waits until there is something to [`take`](Self::take).
    pub async fn ready(&mut self) {
        loop {
            let until_first = self.look();
            if self.lease > 0 {
                return;
            }
            match until_first {
                Some(wait) => tokio::select! {
                    () = sleep(wait) => {}
                    () = self.seat.called.notified() => {}
                },
                None => self.seat.called.notified().await,
            }
        }
    }

    /// Sees whether it was let go, or can be. How long that will take, if it is the first that waits.
    fn look(&mut self) -> Option<Duration> {
        let mut ledger = self.share.lock();
        let now = self.share.now();
        let place = *self.place.get_or_insert_with(|| ledger.wait(self.client, &self.seat));
        ledger.dispatch(now);
        let granted = self.seat.granted.swap(0, Ordering::Relaxed);
        if granted > 0 {
            self.lease += granted;
            self.place = None;
            return None;
        }
        ledger.until_first(place)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut ledger = self.share.lock();
        if let Some(place) = self.place.take() {
            ledger.give_up(self.client, place);
        }
        let unused = self.lease + self.seat.granted.swap(0, Ordering::Relaxed);
        ledger.leave(self.client, unused);
        let now = self.share.now();
        ledger.dispatch(now);
        // It may have been the one with the timer.
        ledger.call_first();
    }
}

/// Where somebody waits.
#[derive(Debug, Default)]
struct Seat {
    /// Bytes it was let go.
    granted: AtomicU64,
    called: Notify,
}

/// The start of a promise, and a number that tells it from others that start there.
type Place = (u64, u64);

/// Who was promised what. Time is counted from whenever the owner likes.
#[derive(Debug, Default)]
struct Ledger {
    /// Bytes per second; none: as many as are wanted.
    rate: Option<u64>,
    /// Bytes that may be let go.
    tokens: u64,
    /// Bytes that went ahead and are to be made up for.
    debt: u64,
    /// Until when tokens have flowed in.
    at: Duration,
    /// Where the last promise started that was kept.
    turn: u64,
    clients: HashMap<IpAddr, Account>,
    /// Those who wait, by client and in order. Nobody's line is empty.
    waiting: HashMap<IpAddr, BTreeMap<Place, Waiting>>,
    /// Who is the first of each of these lines.
    first: BTreeMap<Place, IpAddr>,
    number: u64,
    #[cfg(test)]
    looked_at: usize,
    /// Clients that have left and are ahead of their share, or were when that was last looked at.
    gone: usize,
    /// How many of those there may be before that is looked at again.
    forget_at: usize,
}

#[derive(Debug, Default)]
struct Account {
    /// Where its next promise starts.
    finish: u64,
    /// Bodies that are being sent to it.
    bodies: usize,
}

#[derive(Debug)]
struct Waiting {
    wanted: u64,
    seat: Arc<Seat>,
}

impl Ledger {
    fn set_rate(&mut self, rate: Option<u64>, now: Duration) {
        self.flow(now);
        self.rate = rate;
        self.at = now;
        self.tokens = self.tokens.min(self.burst());
        self.debt = 0;
        // What was asked for by the old rate may be more than the new one ever has at once.
        let burst = self.burst();
        let waiting = self.waiting.values_mut().flat_map(BTreeMap::values_mut);
        waiting.for_each(|waiting| waiting.wanted = waiting.wanted.min(burst));
    }

    fn burst(&self) -> u64 {
        self.rate.map_or(LARGEST_QUANTUM, burst_of)
    }

    /// What the next body is let go by: what flows in within 10 ms, divided by the clients that are here, so that it is
    /// the same for each of them; but not so little that a timer, which is good for a millisecond, could not keep up.
    fn quantum(&self) -> u64 {
        let Some(rate) = self.rate else { return LARGEST_QUANTUM };
        let each = rate / 100 / (self.clients.len().max(1) as u64);
        each.max(rate / 500).clamp(SMALLEST_QUANTUM, LARGEST_QUANTUM).min(self.burst())
    }

    fn join(&mut self, client: IpAddr) {
        let account = self.clients.entry(client).or_insert_with(|| {
            self.gone += 1;
            // Who comes now has been promised nothing, and is owed nothing.
            Account { finish: self.turn, bodies: 0 }
        });
        self.gone -= usize::from(account.bodies == 0);
        account.bodies += 1;
    }

    /// A body is done, or its client has left, with `unused` bytes of what it was let go.
    fn leave(&mut self, client: IpAddr, unused: u64) {
        self.tokens = (self.tokens + unused).min(self.burst());
        let Some(account) = self.clients.get_mut(&client) else { return };
        account.finish = account.finish.saturating_sub(unused);
        account.bodies = account.bodies.saturating_sub(1);
        if account.bodies > 0 {
            return;
        }
        // Whoever is ahead of its share is remembered until the others have caught up: asking anew for each nar gets
        // nobody more. To be ahead takes bytes of the line, so they are few.
        if self.waiting.is_empty() || account.finish <= self.turn {
            self.clients.remove(&client);
        } else {
            self.gone += 1;
        }
        if self.gone > self.forget_at || (self.gone > 0 && self.waiting.is_empty()) {
            let caught_up = if self.waiting.is_empty() { u64::MAX } else { self.turn };
            self.clients.retain(|_, account| account.bodies > 0 || account.finish > caught_up);
            self.gone = self.clients.values().filter(|account| account.bodies == 0).count();
            self.forget_at = 2 * self.gone.max(FEW);
        }
    }

    /// Promises the next quantum to a body of `client`.
    fn wait(&mut self, client: IpAddr, seat: &Arc<Seat>) -> Place {
        let wanted = self.quantum();
        // A body that has just sent what it had is back in a moment, in which others may have been let go. It is not set
        // back for that.
        let earliest = self.turn.saturating_sub(self.burst());
        let account = self.clients.entry(client).or_default();
        let start = account.finish.max(earliest);
        account.finish = start + wanted;
        self.number += 1;
        let place = (start, self.number);
        let line = self.waiting.entry(client).or_default();
        // As a rule it is behind all others of its client; before them where one of these has given up what it was promised.
        let before = line.first_key_value().map(|(first, _)| *first);
        if before.is_none_or(|first| place < first) {
            before.and_then(|first| self.first.remove(&first));
            self.first.insert(place, client);
        }
        line.insert(place, Waiting { wanted, seat: seat.clone() });
        place
    }

    fn give_up(&mut self, client: IpAddr, place: Place) {
        let promised = self.remove(client, place).map_or(0, |waiting| waiting.wanted);
        if let Some(account) = self.clients.get_mut(&client) {
            account.finish = account.finish.saturating_sub(promised);
        }
    }

    /// Takes one out, and lets the next of its client be the first where it was.
    fn remove(&mut self, client: IpAddr, place: Place) -> Option<Waiting> {
        let line = self.waiting.get_mut(&client)?;
        let removed = line.remove(&place)?;
        if self.first.remove(&place).is_some()
            && let Some((next, _)) = line.first_key_value()
        {
            self.first.insert(*next, client);
        }
        if line.is_empty() {
            self.waiting.remove(&client);
        }
        Some(removed)
    }

    /// The one whose turn is next.
    fn next(&self) -> Option<(Place, &Waiting)> {
        let (place, client) = self.first.first_key_value()?;
        Some((*place, self.waiting.get(client)?.get(place)?))
    }

    /// Lets go who can be, in order, and one body of each client: where there is much to give at once, a client with one
    /// body has to ask again in between, and one with many would have had it all by then. The others of a client are not
    /// looked at, however many there are.
    fn dispatch(&mut self, now: Duration) {
        self.flow(now);
        let mut granted = Vec::new();
        if self.rate.is_none() {
            let all = self.waiting.iter();
            granted.extend(all.flat_map(|(client, line)| line.keys().map(|place| (*place, *client))));
        }
        for (place, client) in self.first.iter().filter(|_| self.rate.is_some()) {
            #[cfg(test)]
            {
                self.looked_at += 1;
            }
            let wanted =
                self.waiting.get(client).and_then(|line| line.get(place)).map_or(0, |one| one.wanted);
            if wanted > self.tokens {
                break;
            }
            self.tokens -= wanted;
            granted.push((*place, *client));
        }
        for &(place, client) in &granted {
            let Some(Waiting { wanted, seat }) = self.remove(client, place) else { continue };
            self.turn = self.turn.max(place.0);
            seat.granted.store(wanted, Ordering::Relaxed);
            seat.called.notify_one();
        }
        if !granted.is_empty() {
            self.call_first();
        }
    }

    /// Has the first that waits look how long it will take.
    fn call_first(&self) {
        if let Some((_, first)) = self.next() {
            first.seat.called.notify_one();
        }
    }

    /// How long it takes until `place`, if it is the first, can be let go.
    fn until_first(&self, place: Place) -> Option<Duration> {
        let (first, waiting) = self.next()?;
        let rate = self.rate?;
        let missing = waiting.wanted.saturating_sub(self.tokens);
        (first == place).then(|| Duration::from_nanos(time_for(missing, rate)).max(Duration::from_millis(1)))
    }

    /// `count` bytes went ahead.
    fn charge(&mut self, client: IpAddr, count: u64) {
        let Some(rate) = self.rate else { return };
        // A second's worth is enough to be made up for. More would be a long time on a short ration for everybody.
        self.debt = (self.debt + count).min(rate);
        // Where nobody waits, nobody is kept waiting by it.
        if let Some(account) = self.clients.get_mut(&client).filter(|_| !self.waiting.is_empty()) {
            let most = (self.turn + rate).max(account.finish);
            account.finish = (account.finish.max(self.turn) + count).min(most);
        }
    }

    /// Takes in what has flowed until `now`.
    fn flow(&mut self, now: Duration) {
        let Some(rate) = self.rate else { return };
        let passed = now.saturating_sub(self.at).as_nanos();
        let flowed = u64::try_from(passed * u128::from(rate) / 1_000_000_000).unwrap_or(u64::MAX);
        if flowed == 0 {
            return;
        }
        // Not `now`: less than a byte's time is not lost.
        self.at = (self.at + Duration::from_nanos(time_for(flowed, rate))).min(now);
        // A quarter is for those who wait, whatever goes ahead of them: nobody starves.
        let repaid = self.debt.min(flowed - flowed / 4);
        self.debt -= repaid;
        self.tokens = self.tokens.saturating_add(flowed - repaid).min(self.burst());
    }
}

#[cfg(test)]
mod tests;
