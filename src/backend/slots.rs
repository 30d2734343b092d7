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

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

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

/// Those who wait, by client.
#[derive(Debug, Default)]
struct Lines {
    clients: HashMap<IpAddr, Line>,
    /// The clients that have somebody waiting; the next one first.
    turns: VecDeque<IpAddr>,
    waiting: usize,
    next_id: u64,
}

#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<Waiting>,
    /// Slots that the client has; counted where there are shares.
    held: u32,
}

#[derive(Debug)]
struct Waiting {
    id: u64,
    told: oneshot::Sender<Verdict>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Granted,
    /// The queue was full, and others had less of it.
    PushedOut,
}

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

    /// Begins to wait; none if there is a slot after all.
    fn stand_in_line(&self, client: IpAddr) -> Result<Option<(u64, oneshot::Receiver<Verdict>)>, Refused> {
        let mut lines = self.lock();
        let lines = &mut *lines;
        let limit = u64::from(self.limit.load(Ordering::Relaxed));
        let may = self.may_have_one(lines, client);
        // Either takes a slot or begins to wait, and never looks away between the two.
        let take_or_wait =
            |word: u64| Some(if may && word & TAKEN < limit { word + 1 } else { word + WAITING });
        let Ok(before) = self.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, take_or_wait) else {
            return Err(Refused);
        };
        if may && before & TAKEN < limit {
            self.hold(lines, client);
            return Ok(None);
        }
        let is_full = lines.waiting >= self.most_waiting.load(Ordering::Relaxed) as usize;
        if is_full && !self.push_out_for(lines, client) {
            self.word.fetch_sub(WAITING, Ordering::Release);
            return Err(Refused);
        }
        let (told, verdict) = oneshot::channel();
        let id = lines.next_id;
        lines.next_id += 1;
        lines.waiting += 1;
        let line = lines.clients.entry(client).or_default();
        if line.waiting.is_empty() {
            lines.turns.push_back(client);
        }
        line.waiting.push_back(Waiting { id, told });
        Ok(Some((id, verdict)))
    }

    /// Makes room for one of `client`, at the cost of who has most waiting. False: that is `client` itself.
    fn push_out_for(&self, lines: &mut Lines, client: IpAddr) -> bool {
        let own = lines.clients.get(&client).map_or(0, |line| line.waiting.len());
        // Linear in the clients that wait, and only while the queue is full.
        let most = lines.clients.iter().max_by_key(|(_, line)| line.waiting.len());
        let Some((&greediest, _)) = most.filter(|(_, line)| line.waiting.len() > own + 1) else {
            return false;
        };
        let newest = lines.clients.get_mut(&greediest).and_then(|line| line.waiting.pop_back());
        let Some(newest) = newest else { return false };
        lines.waiting -= 1;
        self.word.fetch_sub(WAITING, Ordering::Release);
        // One that has just given up does not mind.
        let _ = newest.told.send(Verdict::PushedOut);
        true
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

    /// Who is to have the slot that `client` gives back; none: it is free.
    fn next_for(&self, client: IpAddr) -> Option<(IpAddr, oneshot::Sender<Verdict>)> {
        let mut lines = self.lock();
        if self.share != Share::All
            && let Some(line) = lines.clients.get_mut(&client)
        {
            line.held = line.held.saturating_sub(1);
            lines.forget_if_idle(client);
        }
        let is_one_too_many = self.taken() > self.limit.load(Ordering::Relaxed);
        let next = if is_one_too_many { None } else { self.pop(&mut lines) };
        if next.is_none() {
            self.word.fetch_sub(1, Ordering::Release);
        }
        next
    }

    /// Who is to have a slot that is free; none: nobody, or there is none.
    fn next_for_free_slot(&self) -> Option<(IpAddr, oneshot::Sender<Verdict>)> {
        let mut lines = self.lock();
        if self.taken() >= self.limit.load(Ordering::Relaxed) {
            return None;
        }
        let next = self.pop(&mut lines)?;
        self.word.fetch_add(1, Ordering::Acquire);
        Some(next)
    }

    /// The next one who waits and may have a slot.
    fn pop(&self, lines: &mut Lines) -> Option<(IpAddr, oneshot::Sender<Verdict>)> {
        let at = lines.turns.iter().position(|&client| self.may_have_one(lines, client))?;
        let client = lines.turns.remove(at)?;
        let line = lines.clients.get_mut(&client)?;
        let next = line.waiting.pop_front()?;
        if !line.waiting.is_empty() {
            lines.turns.push_back(client);
        }
        lines.waiting -= 1;
        self.word.fetch_sub(WAITING, Ordering::Release);
        self.hold(lines, client);
        lines.forget_if_idle(client);
        Some((client, next.told))
    }

    /// Somebody gives up waiting.
    fn leave(&self, client: IpAddr, id: u64) {
        let mut lines = self.lock();
        let lines = &mut *lines;
        let Some(line) = lines.clients.get_mut(&client) else { return };
        let Some(at) = line.waiting.iter().position(|waiting| waiting.id == id) else { return };
        line.waiting.remove(at);
        if line.waiting.is_empty() {
            lines.turns.retain(|&other| other != client);
        }
        lines.waiting -= 1;
        self.word.fetch_sub(WAITING, Ordering::Release);
        lines.forget_if_idle(client);
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

impl Lines {
    /// Full addresses stay no longer than their clients.
    fn forget_if_idle(&mut self, client: IpAddr) {
        if self.clients.get(&client).is_some_and(|line| line.held == 0 && line.waiting.is_empty()) {
            self.clients.remove(&client);
        }
    }
}

impl<S: Deref<Target = Slots>> Drop for Slot<S> {
    fn drop(&mut self) {
        self.slots.give_back(self.client);
    }
}

/// A place in the queue.
struct Place<'a> {
    slots: &'a Slots,
    client: IpAddr,
    id: u64,
    told: oneshot::Receiver<Verdict>,
    /// The verdict was heard.
    is_over: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        // From here on nobody can hand anything over; what was before is ours to give back.
        self.told.close();
        match self.told.try_recv() {
            Ok(Verdict::Granted) => self.slots.give_back(self.client),
            Ok(Verdict::PushedOut) => {}
            Err(_) => self.slots.leave(self.client, self.id),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn ip(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn take(slots: &Arc<Slots>, client: u8) -> Option<Slot<Arc<Slots>>> {
        Slots::try_take(slots.clone(), ip(client))
    }

    /// A request that waits, and is in the queue when this returns. It tells its name when it has its turn.
    async fn wait(
        slots: &Arc<Slots>,
        client: u8,
        name: &str,
        served: &Arc<Mutex<Vec<String>>>,
    ) -> tokio::task::JoinHandle<Result<(), Refused>> {
        let (slots, served, name) = (slots.clone(), served.clone(), name.to_owned());
        let waiting = tokio::spawn(async move {
            let slot = Slots::wait(slots, ip(client), LONG).await?;
            served.lock().unwrap().push(name);
            drop(slot);
            Ok(())
        });
        tokio::task::yield_now().await;
        waiting
    }

    #[tokio::test]
    async fn there_are_as_many_as_the_limit_says_and_one_given_back_is_free_again() {
        let slots = Arc::new(Slots::new(2, 10, Share::All));
        let (one, two) = (take(&slots, 1), take(&slots, 1));
        assert!(one.is_some() && two.is_some() && take(&slots, 2).is_none());
        drop(one);
        assert!(take(&slots, 2).is_some());
        drop(two);
        assert_eq!((slots.taken(), slots.waiting()), (0, 0));
        assert!(slots.lock().clients.is_empty(), "no address is kept");
    }

    #[tokio::test]
    async fn clients_take_turns_whatever_number_each_has_waiting() {
        let slots = Arc::new(Slots::new(1, 100, Share::All));
        let held = take(&slots, 1).unwrap();
        let served = Arc::default();
        let mut waiting = Vec::new();
        for (client, name) in [(1, "a1"), (1, "a2"), (1, "a3"), (2, "b1"), (3, "c1"), (2, "b2")] {
            waiting.push(wait(&slots, client, name, &served).await);
        }
        assert_eq!(slots.waiting(), 6);
        drop(held);
        for request in waiting {
            assert_eq!(request.await.unwrap(), Ok(()));
        }
        assert_eq!(*served.lock().unwrap(), ["a1", "b1", "c1", "a2", "b2", "a3"]);
        assert_eq!((slots.taken(), slots.waiting()), (0, 0));
    }

    #[tokio::test]
    async fn when_the_queue_is_full_the_one_who_has_most_of_it_goes() {
        let slots = Arc::new(Slots::new(1, 3, Share::All));
        let held = take(&slots, 1).unwrap();
        let served = Arc::default();
        let first = wait(&slots, 1, "a1", &served).await;
        let second = wait(&slots, 1, "a2", &served).await;
        let third = wait(&slots, 1, "a3", &served).await;
        // It has most itself.
        assert_eq!(Slots::wait(slots.clone(), ip(1), LONG).await.unwrap_err(), Refused);
        let other = wait(&slots, 2, "b1", &served).await;
        assert_eq!(third.await.unwrap(), Err(Refused));
        // Equal shares: nobody is pushed out for another one.
        assert_eq!(Slots::wait(slots.clone(), ip(2), LONG).await.unwrap_err(), Refused);
        drop(held);
        for request in [first, second, other] {
            assert_eq!(request.await.unwrap(), Ok(()));
        }
        assert_eq!((slots.taken(), slots.waiting()), (0, 0));
        assert!(slots.lock().clients.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_waited_long_enough_is_refused_and_leaves_no_trace() {
        let slots = Arc::new(Slots::new(1, 3, Share::All));
        let held = take(&slots, 1).unwrap();
        let began = tokio::time::Instant::now();
        let refused = Slots::wait(slots.clone(), ip(2), Duration::from_secs(7)).await;
        assert_eq!((refused.unwrap_err(), began.elapsed().as_secs()), (Refused, 7));
        assert_eq!((slots.taken(), slots.waiting()), (1, 0));
        assert!(slots.lock().clients.is_empty() && slots.lock().turns.is_empty());
        drop(held);
        assert!(take(&slots, 2).is_some());
    }

    #[tokio::test]
    async fn a_slot_that_is_handed_to_somebody_who_has_left_goes_on() {
        let slots = Arc::new(Slots::new(1, 10, Share::All));
        let held = take(&slots, 1).unwrap();
        let served = Arc::default();
        let (gone, waiting) =
            (wait(&slots, 2, "gone", &served).await, wait(&slots, 3, "here", &served).await);
        // Handed over first, and left with it unheard.
        drop(held);
        gone.abort();
        assert!(gone.await.unwrap_err().is_cancelled());
        assert_eq!(waiting.await.unwrap(), Ok(()));
        assert_eq!(*served.lock().unwrap(), ["here"]);
        assert_eq!((slots.taken(), slots.waiting()), (0, 0));
    }

    #[tokio::test]
    async fn one_client_has_no_more_than_its_share_where_there_are_shares() {
        let slots = Arc::new(Slots::new(4, 10, Share::OneIn(2)));
        let held = [take(&slots, 1).unwrap(), take(&slots, 1).unwrap()];
        assert!(take(&slots, 1).is_none());
        let served = Arc::default();
        let third = wait(&slots, 1, "a3", &served).await;
        assert_eq!(slots.waiting(), 1);
        // Who is below its own share does not wait behind that one.
        let others = [take(&slots, 2).unwrap(), take(&slots, 2).unwrap()];
        drop(others);
        assert_eq!(slots.waiting(), 1);
        drop(held);
        assert_eq!(third.await.unwrap(), Ok(()));
        assert_eq!((slots.taken(), slots.waiting()), (0, 0));
        assert!(slots.lock().clients.is_empty());
    }

    #[tokio::test]
    async fn a_higher_limit_counts_at_once_and_a_lower_one_as_slots_come_back() {
        let slots = Arc::new(Slots::new(1, 10, Share::All));
        let held = take(&slots, 1).unwrap();
        let served = Arc::default();
        let waiting = wait(&slots, 2, "b", &served).await;
        slots.resize(2, 10);
        assert_eq!(waiting.await.unwrap(), Ok(()));
        let second = take(&slots, 3).unwrap();
        slots.resize(1, 10);
        let waiting = wait(&slots, 2, "c", &served).await;
        drop(second);
        assert_eq!((slots.taken(), slots.waiting()), (1, 1));
        drop(held);
        assert_eq!(waiting.await.unwrap(), Ok(()));
        assert_eq!((slots.taken(), slots.waiting()), (0, 0));
    }

    #[test]
    fn several_threads_never_take_more_than_there_are_nor_lose_one() {
        const THREADS: usize = 4;
        for share in [Share::All, Share::OneIn(2)] {
            let slots = Arc::new(Slots::new(2, 1000, share));
            let most = Arc::new(AtomicU32::new(0));
            let at_it = Arc::new(AtomicU32::new(0));
            std::thread::scope(|scope| {
                for thread in 0..THREADS {
                    let (slots, most, at_it) = (slots.clone(), most.clone(), at_it.clone());
                    scope.spawn(move || {
                        let runtime =
                            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                        runtime.block_on(async {
                            let one = || async {
                                for _ in 0..300 {
                                    let client = ip(thread as u8);
                                    let slot = match Slots::try_take(slots.clone(), client) {
                                        Some(slot) => slot,
                                        None => Slots::wait(slots.clone(), client, LONG).await.unwrap(),
                                    };
                                    most.fetch_max(
                                        at_it.fetch_add(1, Ordering::SeqCst) + 1,
                                        Ordering::SeqCst,
                                    );
                                    tokio::task::yield_now().await;
                                    at_it.fetch_sub(1, Ordering::SeqCst);
                                    drop(slot);
                                }
                            };
                            tokio::join!(one(), one(), one());
                        });
                    });
                }
            });
            assert_eq!((slots.taken(), slots.waiting()), (0, 0), "{share:?}");
            assert_eq!(most.load(Ordering::SeqCst), 2, "{share:?}");
            assert!(slots.lock().clients.is_empty() && slots.lock().turns.is_empty());
        }
    }
}
