//! From lines in memory to a file, off the request's path.
//!
//! Workers append to a buffer of their own. A full one is handed to a thread, which five times a second also collects
//! what the others hold. The thread alone touches the disk: when that cannot keep up, lines are dropped and counted,
//! and no request waits.

use std::cell::Cell;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use std::{io, mem};

use super::sink::Sink;
use super::time::Dates;
use crate::config::{LogTarget, Rotate};

/// A buffer is handed over when it is this large.
const BATCH: usize = 32 * 1024;
/// Room for the line that makes it so, as a rule.
const ROOM: usize = BATCH + 4096;
/// Batches that may wait for the disk: 8 MiB.
const WAITING: usize = 256;
/// How often the buffers are collected.
const COLLECT: Duration = Duration::from_millis(200);
/// How long to wait for the disk at the end.
const CLOSING: Duration = Duration::from_secs(2);

static DROPPED: AtomicU64 = AtomicU64::new(0);
/// Writers that somebody holds, and threads that write: the difference is what has yet to finish.
static WRITERS: AtomicUsize = AtomicUsize::new(0);
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// Lines dropped since the start because the disk or the pipe could not take them.
pub fn dropped_lines() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

pub(super) fn count_dropped(lines: u64) {
    DROPPED.fetch_add(lines, Ordering::Relaxed);
}

/// Waits until what was given to writers that are gone is written, for a moment at the most.
pub fn wait_for_retired_writers() {
    let end = Instant::now() + CLOSING;
    while THREADS.load(Ordering::Acquire) > WRITERS.load(Ordering::Acquire) && Instant::now() < end {
        thread::sleep(Duration::from_millis(5));
    }
}

/// Writes lines to one place. When the last one who holds it lets go, what it has is written, and its thread ends.
#[derive(Debug)]
pub struct Writer {
    target: LogTarget,
    shared: Arc<Shared>,
    sender: SyncSender<Message>,
}

#[derive(Debug)]
struct Shared {
    shards: Box<[Shard]>,
    orders: Mutex<Orders>,
    /// Nobody holds the writer any more.
    retired: AtomicBool,
}

/// A worker's buffer, on cache lines of its own (two of them: processors fetch pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(Mutex<Buffer>);

#[derive(Debug, Default)]
struct Buffer {
    lines: Vec<u8>,
    dates: Dates,
}

/// What the thread is to do besides writing.
#[derive(Debug, Default)]
struct Orders {
    reopen: bool,
    rules: Option<Rotate>,
    waiting: Vec<SyncSender<()>>,
}

#[derive(Debug)]
enum Message {
    /// Whole lines.
    Lines(Vec<u8>),
    /// There are orders.
    Look,
}

impl Writer {
    /// Starts writing to `target`. One that cannot be opened now is tried again and again; the error says why. None
    /// for [`LogTarget::Off`].
    pub fn start(target: &LogTarget, rules: &Rotate) -> io::Result<(Option<Arc<Self>>, Option<io::Error>)> {
        let Some(mut sink) = Sink::new(target, rules.clone()) else { return Ok((None, None)) };
        let problem = sink.open().err();
        let shards = thread::available_parallelism().map_or(1, NonZero::get);
        let shared = Arc::new(Shared {
            shards: (0..shards).map(|_| Shard::default()).collect(),
            orders: Mutex::default(),
            retired: AtomicBool::new(false),
        });
        let (sender, receiver) = sync_channel(WAITING);
        let held = shared.clone();
        // Counted before it runs, so that nobody sees the writer without it.
        THREADS.fetch_add(1, Ordering::AcqRel);
        let started = thread::Builder::new().name("access-log".into()).spawn(move || {
            write_all(&held, &receiver, &mut sink);
            THREADS.fetch_sub(1, Ordering::AcqRel);
        });
        if let Err(error) = started {
            THREADS.fetch_sub(1, Ordering::AcqRel);
            return Err(error);
        }
        WRITERS.fetch_add(1, Ordering::AcqRel);
        Ok((Some(Arc::new(Self { target: target.clone(), shared, sender })), problem))
    }

    /// Where it writes to.
    pub fn target(&self) -> &LogTarget {
        &self.target
    }

    /// Has `make` append a line: whole, and with its newline.
    pub(super) fn append(&self, make: impl FnOnce(&mut Vec<u8>, &mut Dates)) {
        let mut buffer = lock(&self.shared.shards[shard_of_this_thread() % self.shared.shards.len()].0);
        let Buffer { lines, dates } = &mut *buffer;
        make(lines, dates);
        if lines.len() >= BATCH {
            let batch = mem::replace(lines, Vec::with_capacity(ROOM));
            if let Err(TrySendError::Full(lost) | TrySendError::Disconnected(lost)) =
                self.sender.try_send(Message::Lines(batch))
                && let Message::Lines(lines) = lost
            {
                count_dropped(count_lines(&lines));
            }
        }
    }

    pub(super) fn reopen(&self) {
        self.order(|orders| orders.reopen = true);
    }

    pub(super) fn rotate_by(&self, rules: &Rotate) {
        self.order(|orders| orders.rules = Some(rules.clone()));
    }

    pub(super) fn sync(&self) {
        let (done, wait) = sync_channel(1);
        self.order(|orders| orders.waiting.push(done));
        // A disk that hangs should not keep the gate from ending.
        let _ = wait.recv_timeout(CLOSING);
    }

    fn order(&self, give: impl FnOnce(&mut Orders)) {
        give(&mut lock(&self.shared.orders));
        // With a full queue the thread comes by soon anyway.
        let _ = self.sender.try_send(Message::Look);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.retired.store(true, Ordering::Release);
        WRITERS.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The thread.
fn write_all(shared: &Shared, messages: &Receiver<Message>, sink: &mut Sink) {
    let mut retired_since = None;
    let mut hopeless = || {
        shared.retired.load(Ordering::Acquire)
            && retired_since.get_or_insert_with(Instant::now).elapsed() > CLOSING
    };
    let mut next = Instant::now() + COLLECT;
    loop {
        let is_last = match messages.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(Message::Lines(lines)) => {
                sink.write(&lines, &mut hopeless);
                if Instant::now() < next {
                    continue;
                }
                false
            }
            Ok(Message::Look) | Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        };
        let orders = mem::take(&mut *lock(&shared.orders));
        if !orders.waiting.is_empty() {
            // What was handed over before the order was given.
            for message in messages.try_iter().take(WAITING) {
                if let Message::Lines(lines) = message {
                    sink.write(&lines, &mut hopeless);
                }
            }
        }
        for shard in &shared.shards {
            let lines = mem::take(&mut lock(&shard.0).lines);
            if !lines.is_empty() {
                sink.write(&lines, &mut hopeless);
            }
        }
        if let Some(rules) = orders.rules {
            sink.rotate_by(rules);
        }
        if orders.reopen {
            sink.reopen();
        }
        sink.look_at_the_clock();
        for waiting in orders.waiting {
            // Whoever asked may have stopped waiting.
            let _ = waiting.send(());
        }
        if is_last {
            return;
        }
        next = Instant::now() + COLLECT;
    }
}

pub(super) fn count_lines(lines: &[u8]) -> u64 {
    lines.iter().filter(|&&byte| byte == b'\n').count() as u64
}

/// Each thread that writes lines has a number of its own, so that workers share no buffer.
fn shard_of_this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<Option<usize>> = const { Cell::new(None) };
    }
    OWN.with(|own| {
        let number = own.get().unwrap_or_else(|| NEXT.fetch_add(1, Ordering::Relaxed));
        own.set(Some(number));
        number
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Lines are appended whole: what a panic left behind is still a log.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
