//! Small bodies that are asked for often, ready to be sent.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;

use super::meta::Meta;

/// A stored response, whole.
#[derive(Clone)]
pub struct Hot {
    /// What it says of itself.
    pub meta: Arc<Meta>,
    /// Its body.
    pub body: Bytes,
}

impl Hot {
    fn weight(&self) -> u64 {
        (self.body.len() + self.meta.weight()) as u64
    }
}

/// Bodies larger than this are better read from the disk's own cache.
const LARGEST: u64 = 1 << 20;

/// A body from disk is offered to a memory that is full each time it was read so often. Every offer is weighed against
/// what it would push out; where all are asked for alike, each would be made in vain, or to undo another.
const OFFER_EVERY: u32 = 4;

/// The memory for hot bodies, all spaces together.
///
/// What comes in has to have been asked for more often than what it would push out.
pub struct Memory {
    shelf: ArcSwap<Shelf>,
}

struct Shelf {
    limit: u64,
    bodies: moka::sync::Cache<u64, Hot>,
}

impl Shelf {
    fn new(limit: u64) -> Self {
        let weigh = |_: &u64, hot: &Hot| u32::try_from(hot.weight()).unwrap_or(u32::MAX);
        Self { limit, bodies: moka::sync::Cache::builder().max_capacity(limit).weigher(weigh).build() }
    }
}

impl Memory {
    /// For `limit` bytes; 0 keeps none.
    pub fn new(limit: u64) -> Self {
        Self { shelf: ArcSwap::from_pointee(Shelf::new(limit)) }
    }

    /// Begins anew, when the limit is another one.
    pub fn resize(&self, limit: u64) {
        if self.shelf.load().limit != limit {
            self.shelf.store(Arc::new(Shelf::new(limit)));
        }
    }

    /// Begins anew.
    pub fn clear(&self) {
        let limit = self.shelf.load().limit;
        self.shelf.store(Arc::new(Shelf::new(limit)));
    }

    /// Whether a body of `length` bytes is kept here.
    pub fn takes(&self, length: u64) -> bool {
        length <= LARGEST.min(self.shelf.load().limit / 8)
    }

    /// Whether a response is to be kept here that was read from disk, and so many times before.
    pub fn wants(&self, hot: &Hot, before: u32) -> bool {
        let has_room = || {
            let shelf = self.shelf.load();
            shelf.bodies.weighted_size() + hot.weight() <= shelf.limit
        };
        self.takes(hot.body.len() as u64) && (before % OFFER_EVERY == OFFER_EVERY - 1 || has_room())
    }

    /// The response with this id.
    pub fn get(&self, id: u64) -> Option<Hot> {
        self.shelf.load().bodies.get(&id)
    }

    /// Keeps a response.
    pub fn put(&self, id: u64, hot: Hot) {
        self.shelf.load().bodies.insert(id, hot);
    }

    /// Forgets a response.
    pub fn remove(&self, id: u64) {
        self.shelf.load().bodies.invalidate(&id);
    }

    /// Bytes in use, and the limit.
    pub fn used(&self) -> (u64, u64) {
        let shelf = self.shelf.load();
        shelf.bodies.run_pending_tasks();
        (shelf.bodies.weighted_size(), shelf.limit)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::freshness::Terms;
    use super::super::key::Key;
    use super::super::vary::Selecting;
    use super::*;

    fn hot(length: usize) -> Hot {
        let meta = Meta {
            key: Key::new("s", "h", b"/static/a"),
            selecting: Selecting::default(),
            status: 200,
            headers: http::HeaderMap::new(),
            arrived: SystemTime::now(),
            terms: Terms::default(),
        };
        Hot { meta: Arc::new(meta), body: Bytes::from(vec![7; length]) }
    }

    #[test]
    fn a_memory_with_room_takes_all_and_a_full_one_looks_at_what_comes_again_and_again() {
        let memory = Memory::new(64 * 1024);
        for id in 0..100 {
            assert!(id > 40 || memory.wants(&hot(1024), 0), "{id}");
            memory.put(id, hot(1024));
            assert!(memory.used().0 <= 64 * 1024);
        }
        let wanted: Vec<u32> = (0..9).filter(|before| memory.wants(&hot(1024), *before)).collect();
        assert_eq!(wanted, [3, 7]);
        assert!(!memory.wants(&hot(9 * 1024), 3), "an eighth of it is the most");
    }
}
