//! Idle connections to the backends, of one worker.
//!
//! The engine's own pool serves any number of threads: it keeps a task and two channels for every idle
//! connection, and asks the kernel for its peer each time. A worker that is alone with its connections needs a
//! list. (Measured on narinfos over TLS, together with the exchange in `proxy::relay`: see `bench`.)

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, ReadBuf};

use super::stream::BackendStream;

/// Connections kept for each backend.
const MOST: usize = 512;
/// An idle connection is good for this long. It is closed when the next one is put back.
const IDLE: Duration = Duration::from_secs(60);

/// Idle connections, by backend.
#[derive(Debug, Default)]
pub struct Pool {
    // One worker's requests take turns on its thread: the lock is never waited for.
    idle: Mutex<HashMap<u64, Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    stream: Box<BackendStream>,
    since: Instant,
}

impl Pool {
    /// An idle connection to the backend `key`, if there is one that is still good.
    pub fn take(&self, key: u64) -> Option<Box<BackendStream>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = idle.get_mut(&key)?;
        while let Some(mut last) = connections.pop() {
            if last.since.elapsed() < IDLE && is_quiet(&mut last.stream) {
                return Some(last.stream);
            }
        }
        None
    }

    /// Keeps a connection whose last answer was read to its end.
    pub fn put(&self, key: u64, stream: Box<BackendStream>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |one: &Idle| one.since.elapsed() >= IDLE;
        if idle.values().any(|connections| connections.first().is_some_and(is_over)) {
            idle.retain(|_, connections| {
                connections.retain(|one| !is_over(one));
                !connections.is_empty()
            });
        }
        let connections = idle.entry(key).or_default();
        if connections.len() < MOST {
            connections.push(Idle { stream, since: Instant::now() });
        }
    }
}

/// Whether a connection is open and has nothing to say. Bytes that nobody asked for would be taken for the
/// answer to the next request.
fn is_quiet(stream: &mut BackendStream) -> bool {
    let mut byte = [0];
    // No task waits for this: what the runtime already knows of the socket is enough, and costs no call.
    let mut context = Context::from_waker(Waker::noop());
    let read = Pin::new(stream).poll_read(&mut context, &mut ReadBuf::new(&mut byte));
    matches!(read, Poll::Pending)
}
