//! Those who wait for a slot: who is next, who is pushed out, who gives up.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use super::{Refused, Share, Slots, TAKEN, WAITING};

/// Those who wait, by client.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) clients: HashMap<IpAddr, Line>,
    /// The clients that have somebody waiting; the next one first.
    pub(super) turns: VecDeque<IpAddr>,
    waiting: usize,
    next_id: u64,
}

#[derive(Debug, Default)]
pub(super) struct Line {
    waiting: VecDeque<Waiting>,
    /// Slots that the client has; counted where there are shares.
    pub(super) held: u32,
}

#[derive(Debug)]
pub(super) struct Waiting {
    id: u64,
    told: oneshot::Sender<Verdict>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Granted,
    /// The queue was full, and others had less of it.
    PushedOut,
}

impl Slots {
    /// Begins to wait; none if there is a slot after all.
    pub(super) fn stand_in_line(
        &self,
        client: IpAddr,
    ) -> Result<Option<(u64, oneshot::Receiver<Verdict>)>, Refused> {
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

    /// Who is to have the slot that `client` gives back; none: it is free.
    pub(super) fn next_for(&self, client: IpAddr) -> Option<(IpAddr, oneshot::Sender<Verdict>)> {
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
    pub(super) fn next_for_free_slot(&self) -> Option<(IpAddr, oneshot::Sender<Verdict>)> {
        let mut lines = self.lock();
        let limit = u64::from(self.limit.load(Ordering::Relaxed));
        // Taken while there is still somebody waiting: once the last one is popped, those who come take what is free
        // without the lock.
        let take = |word: u64| (word & TAKEN < limit).then_some(word + 1);
        self.word.fetch_update(Ordering::Acquire, Ordering::Relaxed, take).ok()?;
        let next = self.pop(&mut lines);
        if next.is_none() {
            self.word.fetch_sub(1, Ordering::Release);
        }
        next
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
}

impl Lines {
    /// Full addresses stay no longer than their clients.
    fn forget_if_idle(&mut self, client: IpAddr) {
        if self.clients.get(&client).is_some_and(|line| line.held == 0 && line.waiting.is_empty()) {
            self.clients.remove(&client);
        }
    }
}

/// A place in the queue.
pub(super) struct Place<'a> {
    pub(super) slots: &'a Slots,
    pub(super) client: IpAddr,
    pub(super) id: u64,
    pub(super) told: oneshot::Receiver<Verdict>,
    /// The verdict was heard.
    pub(super) is_over: bool,
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
