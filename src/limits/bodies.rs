//! Memory for request bodies, of all clients together.
//!
//! Each body has its own bound, `limits.body`. But a hundred streams on each of ten thousand connections would make a
//! terabyte of them. So each byte that is kept has its place in a sum. It is taken as it arrives: who only announces a
//! body takes nothing from those who send one.
//!
//! Bodies that are half here and wait for each other's places would wait for ever. So a part of the sum, as large as the
//! largest body, is a reserve that one body has at a time: that one can always come to its end, and gives back all it had.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// The places, one for each byte.
#[derive(Debug)]
pub struct Bodies(ArcSwap<Places>);

#[derive(Debug)]
struct Places {
    limit: usize,
    largest: usize,
    taken: AtomicUsize,
    free: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
}

/// The places of one body, which is not larger than the largest. They are free again when it is dropped.
#[derive(Debug)]
pub struct Held {
    places: Arc<Places>,
    bytes: usize,
    permit: Option<OwnedSemaphorePermit>,
    reserve: Option<OwnedSemaphorePermit>,
}

/// There was no place in time.
#[derive(Debug, PartialEq, Eq)]
pub struct NoRoom;

impl Default for Bodies {
    fn default() -> Self {
        Self(ArcSwap::from_pointee(Places::new(0, 0)))
    }
}

impl Bodies {
    /// There are `limit` places from now on, for bodies of up to `largest` bytes. Those of before stay with whom they
    /// were given to, and do not count.
    pub fn set_limit(&self, limit: u64, largest: u64) {
        let places = |count: u64| usize::try_from(count).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let (limit, largest) = (places(limit), places(largest));
        let old = self.0.load();
        if (old.limit, old.largest) != (limit, largest) {
            self.0.store(Arc::new(Places::new(limit, largest)));
        }
    }

    /// Places for a body, none yet.
    pub fn none(&self) -> Held {
        Held { places: self.0.load_full(), bytes: 0, permit: None, reserve: None }
    }

    /// How many are taken.
    pub fn taken(&self) -> u64 {
        self.0.load().taken.load(Ordering::Relaxed) as u64
    }

    /// How many there are.
    pub fn limit(&self) -> u64 {
        self.0.load().limit as u64
    }
}

impl Places {
    fn new(limit: usize, largest: usize) -> Self {
        let free = Arc::new(Semaphore::new(limit.saturating_sub(largest)));
        Self { limit, largest, taken: AtomicUsize::new(0), free, reserve: Arc::new(Semaphore::new(1)) }
    }
}

impl Held {
    /// Takes `bytes` more, if they are free.
    pub fn try_add(&mut self, bytes: usize) -> bool {
        if self.reserve.is_some() {
            self.count(bytes);
            return true;
        }
        if let Ok(permit) = self.places.free.clone().try_acquire_many_owned(permits(bytes)) {
            self.merge(permit);
        } else if let Ok(reserve) = self.places.reserve.clone().try_acquire_owned() {
            self.reserve = Some(reserve);
        } else {
            return false;
        }
        self.count(bytes);
        true
    }

    /// Waits for `bytes` more; those who came first are first.
    ///
    /// # Errors
    ///
    /// Where they are not free by `deadline`.
    pub async fn add(&mut self, bytes: usize, deadline: Instant) -> Result<(), NoRoom> {
        if self.try_add(bytes) {
            return Ok(());
        }
        let places = self.places.clone();
        let either = async {
            tokio::select! {
                biased;
                permit = places.free.clone().acquire_many_owned(permits(bytes)) => (permit.ok(), None),
                reserve = places.reserve.clone().acquire_owned() => (None, reserve.ok()),
            }
        };
        match timeout_at(deadline, either).await {
            Ok((Some(permit), _)) => self.merge(permit),
            Ok((None, Some(reserve))) => self.reserve = Some(reserve),
            // Nobody closes the two.
            Ok((None, None)) | Err(_) => return Err(NoRoom),
        }
        self.count(bytes);
        Ok(())
    }

    fn count(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.places.taken.fetch_add(bytes, Ordering::Relaxed);
    }

    fn merge(&mut self, permit: OwnedSemaphorePermit) {
        match &mut self.permit {
            Some(held) => held.merge(permit),
            None => self.permit = Some(permit),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.places.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A part of a body is a read, and those are small.
fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn bodies(limit: u64, largest: u64) -> Bodies {
        let bodies = Bodies::default();
        bodies.set_limit(limit, largest);
        bodies
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_place_gets_one_when_it_is_given_back_or_none_in_time() {
        let bodies = bodies(200, 100);
        let (mut one, mut reserved, mut two) = (bodies.none(), bodies.none(), bodies.none());
        assert!(one.try_add(60) && one.try_add(30) && reserved.try_add(11) && !two.try_add(11));
        assert_eq!(bodies.taken(), 101);
        let soon = Instant::now() + Duration::from_secs(1);
        assert_eq!(two.add(11, soon).await, Err(NoRoom));
        let (added, ()) = tokio::join!(two.add(11, soon + Duration::from_secs(60)), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(one);
        });
        assert_eq!((added, bodies.taken()), (Ok(()), 22));
        drop((two, reserved));
        assert_eq!(bodies.taken(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_that_are_half_here_never_wait_for_each_other_in_vain() {
        let bodies = bodies(250, 100);
        let deadline = Instant::now() + Duration::from_secs(60);
        let one = |mut held: Held| async move {
            for _ in 0..10 {
                held.add(10, deadline).await?;
                tokio::task::yield_now().await;
            }
            Ok::<_, NoRoom>(())
        };
        let mut all = tokio::task::JoinSet::new();
        (0..40).for_each(|_| drop(all.spawn(one(bodies.none()))));
        while let Some(done) = all.join_next().await {
            assert_eq!(done.unwrap(), Ok(()));
            assert!(bodies.taken() <= 250);
        }
        assert_eq!(bodies.taken(), 0);
    }

    #[test]
    fn another_limit_leaves_alone_who_has_places_and_the_same_changes_nothing() {
        let bodies = bodies(200, 100);
        let mut one = bodies.none();
        assert!(one.try_add(100));
        bodies.set_limit(200, 100);
        assert_eq!(bodies.taken(), 100);
        bodies.set_limit(10, 10);
        let (mut two, mut three) = (bodies.none(), bodies.none());
        assert!(two.try_add(10) && !three.try_add(1));
        drop(one);
        assert_eq!((bodies.taken(), bodies.limit()), (10, 10));
    }
}
