//! Idle connections to the backends, of one worker.
//!
//! The engine's own pool serves any number of threads: it keeps a task and two channels for every idle
//! connection, and asks the kernel for its peer each time. A worker that is alone with its connections needs a
//! list. (Measured on narinfos over TLS, together with the exchange in `proxy::relay`: see `bench`.)

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, sleep};

use super::stream::BackendStream;

/// Connections kept for each backend. What is open at a time has a bound already, `limits.backend_requests`; where that was
/// raised, one that is thrown away at the end of each answer costs more than one that is kept.
const MOST: usize = 16 * 1024;
/// An idle connection is good for this long.
const IDLE: Duration = Duration::from_secs(60);
/// How often those are looked for that are not. One timer for all of them, and none while there are no connections.
const SWEEP: Duration = Duration::from_secs(10);

/// Idle connections, by backend.
#[derive(Debug, Default)]
pub struct Pool {
    // One worker's requests take turns on its thread: the lock is never waited for.
    idle: Mutex<HashMap<u64, Vec<Idle>>>,
    /// The next sweep is under way.
    is_swept: AtomicBool,
}

#[derive(Debug)]
struct Idle {
    stream: Box<BackendStream>,
    since: Instant,
}

impl Pool {
    /// An idle connection to the backend `key`, if there is one that is still good.
    pub fn take(&self, key: u64) -> Option<Box<BackendStream>> {
        let mut idle = self.lock();
        let connections = idle.get_mut(&key)?;
        while let Some(mut last) = connections.pop() {
            if last.since.elapsed() < IDLE && is_quiet(&mut last.stream) {
                return Some(last.stream);
            }
        }
        None
    }

    /// Keeps a connection whose last answer was read to its end.
    pub fn put(self: &Arc<Self>, key: u64, stream: Box<BackendStream>) {
        let mut idle = self.lock();
        let connections = idle.entry(key).or_default();
        if connections.len() >= MOST {
            return;
        }
        connections.push(Idle { stream, since: Instant::now() });
        drop(idle);
        if !self.is_swept.swap(true, Ordering::Relaxed) {
            tokio::spawn(Sweep(self.clone()).run());
        }
    }

    /// Closes connections that were idle for too long, or that the backend has closed. False: there are no others.
    fn sweep(&self) -> bool {
        let mut idle = self.lock();
        idle.retain(|_, connections| {
            connections.retain_mut(|one| one.since.elapsed() < IDLE && is_quiet(&mut one.stream));
            !connections.is_empty()
        });
        !idle.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Vec<Idle>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sweeps of a pool, until it is empty or the runtime ends.
struct Sweep(Arc<Pool>);

impl Sweep {
    async fn run(self) {
        loop {
            sleep(SWEEP).await;
            if !self.0.sweep() {
                return;
            }
        }
    }
}

impl Drop for Sweep {
    fn drop(&mut self) {
        // A connection that is put back from now on begins them anew: all this is one thread's.
        self.0.is_swept.store(false, Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// A connection, and the backend's end of it.
    async fn connection() -> (Box<BackendStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (theirs, _) = listener.accept().await.unwrap();
        (Box::new(BackendStream::new(ours)), theirs)
    }

    /// Whether the other side has closed.
    async fn is_closed(backend: &TcpStream) -> bool {
        tokio::time::timeout(Duration::from_millis(1), backend.readable()).await.is_ok()
            && matches!(backend.try_read(&mut [0]), Ok(0))
    }

    #[tokio::test]
    async fn idle_connections_are_closed_by_the_clock_and_then_nothing_runs_any_more() {
        let pool = Arc::new(Pool::default());
        let (old, its_end) = connection().await;
        let (young, other_end) = connection().await;
        tokio::time::pause();
        pool.put(1, old);
        sleep(Duration::from_secs(45)).await;
        pool.put(2, young);
        assert!(!is_closed(&its_end).await);
        sleep(Duration::from_secs(30)).await;
        assert!(is_closed(&its_end).await && !is_closed(&other_end).await);
        assert!(pool.is_swept.load(Ordering::Relaxed));
        sleep(Duration::from_secs(60)).await;
        assert!(is_closed(&other_end).await);
        assert!(pool.lock().is_empty() && !pool.is_swept.load(Ordering::Relaxed));
        // The next one has its sweeps again.
        tokio::time::resume();
        let (next, its_end) = connection().await;
        tokio::time::pause();
        pool.put(1, next);
        sleep(Duration::from_secs(90)).await;
        assert!(is_closed(&its_end).await);
    }

    #[tokio::test]
    async fn a_connection_that_the_backend_has_closed_does_not_stay_until_it_is_wanted() {
        let pool = Arc::new(Pool::default());
        let (stream, backend) = connection().await;
        pool.put(1, stream);
        drop(backend);
        // The runtime has to hear of it.
        tokio::time::timeout(Duration::from_secs(20), async {
            while pool.sweep() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("it goes");
        assert!(pool.take(1).is_none());
    }
}
