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

/// Bodies larger than this are better read from the disk's own cache.
const LARGEST: u64 = 1 << 20;

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
        let weigh =
            |_: &u64, hot: &Hot| u32::try_from(hot.body.len() + hot.meta.weight()).unwrap_or(u32::MAX);
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
