//! Questions to an origin that are under way, so that many who ask at once are one (RFC 9111 section 4).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderMap;
use pingora::ErrorType;
use tokio::sync::Notify;

use super::key::{Digest, Key};
use super::miss::{Fill, Follower};
use super::object::Object;
use super::origin::{Answer, Failure};

/// A question that is under way.
pub struct Flight {
    /// What is asked for.
    pub key: Key,
    /// As who: the fields of the request that began it.
    pub request: HeaderMap,
    purged: AtomicBool,
    state: Mutex<State>,
    landed: Notify,
}

#[derive(Default)]
struct State {
    landing: Option<Landing>,
    own: Option<Own>,
    follower: Option<(Follower, HeaderMap)>,
    /// The one who began it is gone.
    left: bool,
}

/// What came for the one who asked alone.
pub enum Own {
    /// An answer that is not kept, and why.
    Answer(Answer, &'static str),
    /// What is stored is still good for that one, but what the origin said of it is for nobody else.
    Validated(Object),
}

/// What came of it.
#[derive(Clone)]
pub enum Landing {
    /// A response that may be shared, and is on its way.
    Shared(Arc<Fill>),
    /// What is stored is still good.
    Validated(Arc<Object>),
    /// A response for the one who asked alone; see [`Flight::take_own`].
    Own,
    /// Nothing.
    Failed(Failure),
    /// Nothing was asked: what is wanted had just been stored.
    Again,
}

impl Flight {
    /// Waits for the head of an answer.
    pub async fn landed(&self) -> Landing {
        loop {
            let landed = self.landed.notified();
            tokio::pin!(landed);
            landed.as_mut().enable();
            if let Some(landing) = &self.lock().landing {
                return landing.clone();
            }
            landed.await;
        }
    }

    /// What is for one alone: once.
    pub fn take_own(&self) -> Option<Own> {
        self.lock().own.take()
    }

    /// Tells those who wait. The first word counts.
    pub(super) fn land(&self, landing: Landing) {
        self.lock().landing.get_or_insert(landing);
        self.landed.notify_waiters();
    }

    /// The place among those who follow that was kept for the one who asked, and all fields: some may be for
    /// that one alone.
    pub fn take_follower(&self) -> Option<(Follower, HeaderMap)> {
        self.lock().follower.take()
    }

    /// With a place for the one who asked, which cannot be had any more when the disk fails right away.
    pub(super) fn land_shared(&self, fill: &Arc<Fill>, fields: HeaderMap) {
        let follower = fill.follow().map(|follower| (follower, fields));
        let mut state = self.lock();
        if !state.left {
            state.follower = follower;
        }
        drop(state);
        self.land(Landing::Shared(fill.clone()));
    }

    pub(super) fn land_own(&self, own: Own) {
        let mut state = self.lock();
        if !state.left {
            state.own = Some(own);
        }
        drop(state);
        self.land(Landing::Own);
    }

    /// What comes of it is not to be stored, nor given to anybody who was not there before now.
    pub(super) fn purge(&self) {
        self.purged.store(true, Ordering::SeqCst);
        if let Some(Landing::Shared(fill)) = &self.lock().landing {
            fill.disown();
        }
    }

    pub(super) fn is_purged(&self) -> bool {
        self.purged.load(Ordering::SeqCst)
    }

    /// Whether a request with these fields may wait for it. While the origin is being asked, any may: the answer
    /// will be younger than the request. After that, one that could be given it from what is stored as well:
    /// a file that takes an hour to come may be stale before it is here (RFC 9111 section 4).
    fn may_join(&self, key: &Key, request: &HeaderMap) -> bool {
        if self.is_purged() || self.key != *key {
            return false;
        }
        match &self.lock().landing {
            None => true,
            Some(Landing::Shared(fill)) => {
                fill.is_wanted() && fill.meta.selecting.matches(request) && fill.may_be_reused_for(request)
            }
            Some(_) => false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that happens inside of it can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one who began a flight. When it leaves, nothing is kept for it.
pub(super) struct Beginner(pub Arc<Flight>);

impl Drop for Beginner {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.left = true;
        let kept = (state.follower.take(), state.own.take());
        // A follower that goes looks at its fill, and an answer closes its connection: not under the lock.
        drop(state);
        drop(kept);
    }
}

/// All questions that are under way.
#[derive(Default)]
pub struct Flights(Mutex<HashMap<Digest, Vec<Arc<Flight>>>>);

impl Flights {
    /// Joins a question for the same, or begins one: then the caller has to see to it.
    pub fn join(&self, digest: Digest, key: &Key, request: &HeaderMap) -> (Arc<Flight>, bool) {
        let mut flights = self.lock();
        let same = flights.entry(digest).or_default();
        if let Some(flight) = same.iter().find(|flight| flight.may_join(key, request)) {
            return (flight.clone(), false);
        }
        let flight = Arc::new(Flight {
            key: key.clone(),
            request: request.clone(),
            purged: AtomicBool::new(false),
            state: Mutex::default(),
            landed: Notify::new(),
        });
        same.push(flight.clone());
        (flight, true)
    }

    /// One that is under way and has the head of an answer to such a request.
    pub fn landed(&self, digest: &Digest, key: &Key, request: &HeaderMap) -> Option<Arc<Flight>> {
        let flights = self.lock();
        let has_head = |flight: &&Arc<Flight>| flight.lock().landing.is_some();
        flights.get(digest)?.iter().filter(has_head).find(|flight| flight.may_join(key, request)).cloned()
    }

    /// Whether anything is being asked for `key`.
    pub fn is_asked(&self, digest: &Digest) -> bool {
        self.lock().contains_key(digest)
    }

    /// Those that `which` picks.
    pub fn matching(&self, which: impl Fn(&Key) -> bool) -> Vec<Arc<Flight>> {
        self.lock().values().flatten().filter(|flight| which(&flight.key)).cloned().collect()
    }

    fn remove(&self, digest: &Digest, flight: &Arc<Flight>) {
        let mut flights = self.lock();
        if let Some(same) = flights.get_mut(digest) {
            same.retain(|other| !Arc::ptr_eq(other, flight));
            if same.is_empty() {
                flights.remove(digest);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Vec<Arc<Flight>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sees to it that whoever waits for a flight is told, also when its task is dropped with the program.
pub(super) struct Landed<'a> {
    pub flights: &'a Flights,
    pub digest: Digest,
    pub flight: Arc<Flight>,
    /// What they are told if they were not told anything.
    pub or: Landing,
}

impl<'a> Landed<'a> {
    pub fn new(flights: &'a Flights, digest: Digest, flight: Arc<Flight>) -> Self {
        Self { flights, digest, flight, or: Landing::Failed(given_up()) }
    }
}

impl Drop for Landed<'_> {
    fn drop(&mut self) {
        // Whoever comes now begins anew; whoever has come is told below.
        self.flights.remove(&self.digest, &self.flight);
        self.flight.land(self.or.clone());
        if let Some(Landing::Shared(fill)) = &self.flight.lock().landing {
            // One that has ended keeps its end.
            fill.end(Err(given_up()));
        }
    }
}

fn given_up() -> Failure {
    Failure::new(ErrorType::InternalError, "the fetch was given up")
}
