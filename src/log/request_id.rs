//! What a request is called, in the logs and on an error page.

use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers that a thread takes at a time, so that threads seldom touch what they share.
const BLOCK: u64 = 4096;
/// Bits of the number; those above it are the process's.
const NUMBER: u32 = 40;

thread_local! {
    static CURRENT: Cell<Option<RequestId>> = const { Cell::new(None) };
}

/// The id of one request: unlike any other of this process, and unlikely to be another process's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(u64);

impl RequestId {
    /// The next one.
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        thread_local! {
            static OWN: Cell<u64> = const { Cell::new(0) };
        }
        let number = OWN.with(|own| {
            let number = match own.get() {
                used_up if used_up.is_multiple_of(BLOCK) => NEXT.fetch_add(BLOCK, Ordering::Relaxed),
                number => number,
            };
            own.set(number + 1);
            number
        });
        Self((process() << NUMBER) | (number % (1 << NUMBER)))
    }

    /// The one whose work this thread is at, for those who tell of what happens there.
    pub fn current() -> Option<Self> {
        // A thread that ends has no request any more.
        CURRENT.try_with(Cell::get).ok().flatten()
    }

    /// Does a piece of this request's work.
    pub fn at_work<T>(self, work: impl FnOnce() -> T) -> T {
        let before = CURRENT.replace(Some(self));
        let done = work();
        CURRENT.set(before);
        done
    }

    /// Sixteen digits of base 16.
    pub fn digits(self) -> [u8; 16] {
        std::array::from_fn(|at| b"0123456789abcdef"[(self.0 >> (60 - 4 * at)) as usize % 16])
    }
}

impl From<u64> for RequestId {
    fn from(bits: u64) -> Self {
        Self(bits)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// 24 bits that tell this process from others.
fn process() -> u64 {
    static PROCESS: OnceLock<u64> = OnceLock::new();
    // The standard library seeds its hashes at random.
    *PROCESS.get_or_init(|| RandomState::new().hash_one(std::process::id()) >> NUMBER)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::thread;

    use super::*;

    #[test]
    fn no_two_requests_have_the_same_id() {
        let ids = || (0..10_000).map(|_| RequestId::next()).collect::<Vec<_>>();
        let all: Vec<RequestId> = thread::scope(|scope| {
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(ids)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 30_000);
        assert!(all.iter().all(|id| id.0 >> NUMBER == process()));
    }

    #[test]
    fn an_id_is_sixteen_digits() {
        let id = RequestId::from(0x00ab_cdef_0123_4567);
        assert_eq!(id.to_string(), "00abcdef01234567");
        assert_eq!(&id.digits(), b"00abcdef01234567");
    }
}
