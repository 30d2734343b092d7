//! A fetch that is under way, and those who follow it.
//!
//! The fetch is a task of its own, so it does not end with the client that began it, and none of its clients can
//! hold up another: each reads at its own pace what has arrived so far, the newest of it from memory, the rest
//! from the file in the making. When the disk fails half-way, the fetch goes on in memory alone, as fast as the
//! slowest of those who follow; then it is nobody else's any more, and is not stored.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use pingora::ErrorType;
use tokio::sync::Notify;

use super::control::Directives;
use super::meta::Meta;
use super::origin::Failure;
use super::reuse::{self, Reuse};

/// What is kept in memory of the newest bytes, for those who are near the front.
const WINDOW: u64 = 1 << 20;
/// What is read from the file at a time.
const PIECE: usize = 128 * 1024;

/// A fetch that is under way.
pub struct Fill {
    /// What it says of itself.
    pub meta: Arc<Meta>,
    /// How long it will be, if that is known.
    pub length: Option<u64>,
    /// Not to be joined, and not to be stored: it was purged, or cannot be.
    unwanted: AtomicBool,
    inner: Mutex<Inner>,
    more: Notify,
    room: Notify,
}

struct Inner {
    /// The newest bytes.
    window: VecDeque<Bytes>,
    /// Where they begin.
    window_at: u64,
    /// What has arrived.
    received: u64,
    /// What can be read from the file.
    on_disk: u64,
    file: Option<Arc<File>>,
    /// The disk has failed: the window is all there is to be of what is not on disk.
    memory_only: bool,
    end: Option<Result<(), Failure>>,
    followers: HashMap<u64, u64>,
    next_follower: u64,
}

impl Fill {
    pub(super) fn new(meta: Arc<Meta>, length: Option<u64>, file: Arc<File>) -> Arc<Self> {
        let inner = Inner {
            window: VecDeque::new(),
            window_at: 0,
            received: 0,
            on_disk: 0,
            file: Some(file),
            memory_only: false,
            end: None,
            followers: HashMap::new(),
            next_follower: 0,
        };
        Arc::new(Self {
            meta,
            length,
            unwanted: AtomicBool::new(false),
            inner: Mutex::new(inner),
            more: Notify::new(),
            room: Notify::new(),
        })
    }

    /// Whether it may answer a request with these fields that comes now.
    pub(super) fn may_be_reused_for(&self, request: &HeaderMap) -> bool {
        let age = reuse::age(&self.meta.terms, self.meta.arrived, SystemTime::now());
        !matches!(reuse::judge(&self.meta.terms, age, &Directives::of_request(request)), Reuse::Ask(_))
    }

    /// Follows it from the beginning. None: it is too late for that.
    pub fn follow(self: &Arc<Self>) -> Option<Follower> {
        let mut inner = self.lock();
        if inner.memory_only || matches!(inner.end, Some(Err(_))) {
            return None;
        }
        let id = inner.next_follower;
        inner.next_follower += 1;
        inner.followers.insert(id, 0);
        drop(inner);
        Some(Follower { fill: self.clone(), id, position: 0, end: u64::MAX })
    }

    /// Makes sure that it is neither joined nor stored.
    pub fn disown(&self) {
        self.unwanted.store(true, Ordering::SeqCst);
    }

    /// Whether it may be joined and stored.
    pub fn is_wanted(&self) -> bool {
        !self.unwanted.load(Ordering::SeqCst)
    }

    /// Bytes that have arrived.
    pub fn received(&self) -> u64 {
        self.lock().received
    }

    /// Bytes have arrived.
    pub(super) fn push(&self, bytes: Bytes) {
        let mut inner = self.lock();
        inner.received += bytes.len() as u64;
        inner.window.push_back(bytes);
        drop(inner);
        self.more.notify_waiters();
    }

    /// Everything that has arrived so far is on disk.
    pub(super) fn is_on_disk(&self) {
        let mut inner = self.lock();
        inner.on_disk = inner.received;
        while inner.received - inner.window_at > WINDOW && inner.window.len() > 1 {
            inner.drop_oldest();
        }
    }

    /// No more of it can be put on disk.
    pub(super) fn leave_disk(&self) {
        self.disown();
        self.lock().memory_only = true;
    }

    /// Waits until there is room for more in memory. False: nobody is there who would want more.
    pub(super) async fn wait_for_room(&self) -> bool {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            {
                let mut inner = self.lock();
                let Some(&slowest) = inner.followers.values().min() else { return false };
                while inner
                    .window
                    .front()
                    .is_some_and(|oldest| inner.window_at + oldest.len() as u64 <= slowest)
                {
                    inner.drop_oldest();
                }
                if inner.received - inner.window_at <= WINDOW {
                    return true;
                }
            }
            room.await;
        }
    }

    /// There is no more of it, for this reason.
    pub(super) fn end(&self, end: Result<(), Failure>) {
        let mut inner = self.lock();
        if inner.end.is_none() && end.is_err() {
            self.disown();
        }
        inner.end.get_or_insert(end);
        drop(inner);
        self.more.notify_waiters();
    }

    /// The whole body, if it is all still in memory.
    pub(super) fn whole(&self) -> Option<Bytes> {
        let inner = self.lock();
        if inner.window_at != 0 {
            return None;
        }
        match inner.window.len() {
            1 => inner.window.front().cloned(),
            _ => {
                let mut whole = BytesMut::with_capacity(inner.received as usize);
                inner.window.iter().for_each(|part| whole.extend_from_slice(part));
                Some(whole.freeze())
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that happens inside of it can panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.window.pop_front() {
            self.window_at += oldest.len() as u64;
        }
    }

    /// The bytes at `position` in memory, as far as they lie together.
    fn in_window(&self, position: u64) -> Option<Bytes> {
        let mut at = self.window_at;
        for part in &self.window {
            let next = at + part.len() as u64;
            if position >= at && position < next {
                return Some(part.slice((position - at) as usize..));
            }
            at = next;
        }
        None
    }
}

/// One client of a fetch.
pub struct Follower {
    fill: Arc<Fill>,
    id: u64,
    position: u64,
    end: u64,
}

/// Where the next bytes are.
enum Step {
    Here(Bytes),
    InFile(Arc<File>, usize),
    Wait,
    End,
}

impl Follower {
    /// Gives `range` only from now on.
    pub(super) fn seek(&mut self, range: Range<u64>) {
        (self.position, self.end) = (range.start, range.end);
        self.advance(0);
    }

    /// The next bytes; none at the end. A fetch that fails fails here too, so that what has come of it is not
    /// taken for the whole.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let fill = self.fill.clone();
        loop {
            let more = fill.more.notified();
            tokio::pin!(more);
            more.as_mut().enable();
            let bytes = match self.step()? {
                Step::End => return Ok(None),
                Step::Wait => {
                    more.await;
                    continue;
                }
                Step::Here(bytes) => bytes,
                Step::InFile(file, length) => self.read(file, length).await?,
            };
            let bytes = bytes.slice(..(bytes.len() as u64).min(self.end - self.position) as usize);
            self.advance(bytes.len() as u64);
            return Ok(Some(bytes));
        }
    }

    fn step(&self) -> Result<Step, Failure> {
        if self.position >= self.end {
            return Ok(Step::End);
        }
        let inner = self.fill.lock();
        if let Some(bytes) = inner.in_window(self.position) {
            return Ok(Step::Here(bytes));
        }
        if self.position < inner.on_disk
            && let Some(file) = &inner.file
        {
            let length = (inner.on_disk - self.position).min(PIECE as u64) as usize;
            return Ok(Step::InFile(file.clone(), length));
        }
        match &inner.end {
            Some(Err(failure)) => Err(failure.clone()),
            Some(Ok(())) if self.position >= inner.received => Ok(Step::End),
            None if self.position >= inner.received => Ok(Step::Wait),
            _ => Err(Failure::new(ErrorType::FileReadError, "a part is neither in memory nor on disk")),
        }
    }

    async fn read(&self, file: Arc<File>, length: usize) -> Result<Bytes, Failure> {
        let position = self.position;
        // Made here: see `Stored::room`.
        let mut piece = BytesMut::zeroed(length);
        let read = tokio::task::spawn_blocking(move || {
            file.read_exact_at(&mut piece, position).map(|()| piece.freeze())
        });
        match read.await {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(error)) => Err(Failure::new(ErrorType::FileReadError, error.to_string())),
            Err(_) => Err(Failure::new(ErrorType::InternalError, "the program is stopping")),
        }
    }

    fn advance(&mut self, bytes: u64) {
        self.position += bytes;
        let mut inner = self.fill.lock();
        inner.followers.insert(self.id, self.position);
        let slow = inner.memory_only;
        drop(inner);
        if slow {
            self.fill.room.notify_one();
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.fill.lock().followers.remove(&self.id);
        self.fill.room.notify_one();
    }
}
