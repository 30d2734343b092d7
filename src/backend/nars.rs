//! Nars that `guix publish` compresses while it sends them, so that many who ask for the same are one to it.
//!
//! A nar that publish has in its cache has a length, and costs it little: each client gets its own. One that is not
//! baked yet has none. It is exported and compressed for whoever asks, and for each of them anew, on the machine that
//! also builds; and those who see nothing come ask again. So the first who asks is let through, and who asks for the
//! same meanwhile waits for the head of that answer. If it has a length, or is an error, each asks for itself. If it is
//! live, it is read here as fast as publish compresses, whatever the first client's pace; the first is sent what comes,
//! and the others are sent the whole from memory as soon as it is whole.
//!
//! *Why not otherwise.* Feeding several clients from one stream as it comes would need the disk, or would let the
//! slowest of them set the pace of all. Waiting for the first client to be done would let it hold up everybody by
//! reading slowly. Here nobody is ever slower for somebody else's reading, and memory is bounded: a nar that outgrows
//! [`LARGEST`], or all of them together [`TOGETHER`], is the first client's alone from then on, and those who waited
//! have been sent nothing yet and ask for themselves. publish with a cache sends only items below 10 MiB live; without
//! one it is made for a few users, and compressing per request is what it is asked to do.
//!
//! *Who leaves.* A first client that leaves during the body takes nothing along: the nar is read to its end, and one
//! that comes back meanwhile finds it. One that leaves before the head ends its connection; publish notices at its
//! first write, so that what it began for that one ends about when the next in line asks, and no more than one
//! compression runs. HEAD needs no body: it is asked as it comes, and publish's work ends the same way. Ranges make
//! no difference: publish knows none and hears of none, so that equal targets have equal answers.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorSource, ErrorType, Result};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::Incoming;

/// What is kept of one nar.
pub const LARGEST: usize = 16 << 20;
/// What is kept of all nars of one backend.
pub const TOGETHER: usize = 64 << 20;
/// What may lie ready for a client when the nar is its alone.
const AHEAD: usize = 256 << 10;

/// The nars of one backend that somebody is asking for.
#[derive(Debug, Default)]
pub struct Nars {
    asked: Mutex<HashMap<Vec<u8>, watch::Receiver<Outcome>>>,
    /// Bytes that are kept.
    kept: Arc<AtomicUsize>,
}

/// What came of asking for a nar, for those who asked for the same meanwhile.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Nothing yet.
    Pending,
    /// An answer that each can have for itself.
    Alone,
    /// All of it.
    Whole(Arc<Whole>),
}

/// A nar that is here.
#[derive(Debug)]
pub struct Whole {
    /// As publish sent it.
    pub head: ResponseHeader,
    /// The body.
    pub parts: Vec<Bytes>,
    /// The body's length.
    pub length: usize,
    _kept: Kept,
}

/// How a request for a nar goes on.
#[derive(Debug)]
pub enum Joined {
    /// It asks.
    First(First),
    /// Another one is asking.
    Later(Later),
}

/// The one who asks for a nar. Dropping it says that nothing came of it: the next in line asks.
#[derive(Debug)]
pub struct First {
    nars: Arc<Nars>,
    key: Vec<u8>,
    told: watch::Sender<Outcome>,
}

/// One who waits for what the first is told.
#[derive(Debug)]
pub struct Later(watch::Receiver<Outcome>);

impl Nars {
    /// Asks for `key`, which names all that makes a difference to the answer, or joins one who does.
    pub fn join(self: &Arc<Self>, key: Vec<u8>) -> Joined {
        let mut asked = self.lock();
        if let Some(outcome) = asked.get(&key) {
            return Joined::Later(Later(outcome.clone()));
        }
        let (told, outcome) = watch::channel(Outcome::Pending);
        asked.insert(key.clone(), outcome);
        Joined::First(First { nars: self.clone(), key, told })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Vec<u8>, watch::Receiver<Outcome>>> {
        // It is whole between any two statements.
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl First {
    /// The answer is one that each can have for itself.
    pub fn each_alone(self) {
        self.tell(Outcome::Alone);
    }

    /// Reads a live nar, for this one and all who wait. `held` is kept until its end, and `patience` is for each part.
    pub fn share(
        self,
        head: ResponseHeader,
        incoming: Incoming,
        patience: Duration,
        held: impl Send + 'static,
    ) -> Reader {
        let kept = Kept { of: self.nars.clone(), bytes: 0 };
        let inner =
            Inner { parts: VecDeque::new(), next: 0, is_shared: true, kept, is_read: true, end: None };
        let live = Arc::new(Live { inner: Mutex::new(inner), more: Notify::new(), room: Notify::new() });
        tokio::spawn(live.clone().read(self, head, incoming, patience, held));
        Reader(live)
    }

    fn tell(&self, outcome: Outcome) {
        // From here on who comes asks anew.
        self.nars.lock().remove(&self.key);
        self.told.send_replace(outcome);
    }
}

impl Drop for First {
    fn drop(&mut self) {
        if matches!(*self.told.borrow(), Outcome::Pending) {
            self.nars.lock().remove(&self.key);
        }
    }
}

impl Later {
    /// Waits for what comes of it. None: nothing did.
    pub async fn outcome(mut self) -> Option<Outcome> {
        let told = self.0.wait_for(|outcome| !matches!(outcome, Outcome::Pending)).await;
        told.ok().map(|outcome| outcome.clone())
    }
}

/// Memory that is kept for nars, given back when it is dropped.
#[derive(Debug)]
struct Kept {
    of: Arc<Nars>,
    bytes: usize,
}

impl Kept {
    /// Counts more; false where that is too much.
    fn grow(&mut self, bytes: usize) -> bool {
        let together = self.of.kept.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.bytes += bytes;
        self.bytes <= LARGEST && together <= TOGETHER
    }

    fn shrink(&mut self, bytes: usize) {
        self.of.kept.fetch_sub(bytes, Ordering::Relaxed);
        self.bytes -= bytes;
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.of.kept.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A nar that is being compressed.
#[derive(Debug)]
struct Live {
    inner: Mutex<Inner>,
    more: Notify,
    room: Notify,
}

#[derive(Debug)]
struct Inner {
    /// From the beginning, while it is kept; after that, what the first client has not been sent.
    parts: VecDeque<Bytes>,
    /// The one that the first client is sent next.
    next: usize,
    /// Others may want all of it. If not, it is the first client's alone.
    is_shared: bool,
    /// What of it is in `parts`.
    kept: Kept,
    /// The first client is there.
    is_read: bool,
    end: Option<std::result::Result<(), ErrorType>>,
}

impl Live {
    async fn read(
        self: Arc<Self>,
        first: First,
        head: ResponseHeader,
        mut incoming: Incoming,
        patience: Duration,
        held: impl Send + 'static,
    ) {
        let end = loop {
            match timeout(patience, incoming.part()).await {
                Ok(Ok(Some([]))) => {}
                Ok(Ok(Some(part))) => {
                    // A copy of its own size: what it was read into is larger.
                    if !self.push(Bytes::copy_from_slice(part), &first).await {
                        return;
                    }
                }
                Ok(Ok(None)) => break Ok(()),
                Ok(Err(error)) => break Err(error.etype.clone()),
                Err(_) => break Err(ErrorType::ReadTimedout),
            }
        };
        // Only now is the backend done with it.
        drop((incoming, held));
        if end.is_ok() {
            self.hand_out(&first, head);
        }
        self.lock().end = Some(end);
        self.more.notify_one();
    }

    /// Takes a part. False: nobody is left who would want it.
    async fn push(&self, part: Bytes, first: &First) -> bool {
        {
            let mut inner = self.lock();
            let fits = inner.kept.grow(part.len());
            inner.parts.push_back(part);
            if inner.is_shared && !fits {
                inner.leave_to_the_first();
                first.tell(Outcome::Alone);
            }
        }
        self.more.notify_one();
        loop {
            {
                let inner = self.lock();
                if inner.is_shared {
                    return true;
                }
                if !inner.is_read {
                    return false;
                }
                if inner.kept.bytes <= AHEAD {
                    return true;
                }
            }
            self.room.notified().await;
        }
    }

    /// Gives those who wait the whole of it.
    fn hand_out(&self, first: &First, head: ResponseHeader) {
        let mut inner = self.lock();
        if !inner.is_shared {
            return;
        }
        let parts: Vec<Bytes> = inner.parts.iter().cloned().collect();
        // The same memory is the first client's for as long as that one takes.
        let mut kept = Kept { of: inner.kept.of.clone(), bytes: 0 };
        kept.grow(inner.kept.bytes);
        inner.leave_to_the_first();
        drop(inner);
        first.tell(Outcome::Whole(Arc::new(Whole { head, parts, length: kept.bytes, _kept: kept })));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that happens inside of it can panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Keeps only what the first client has not been sent.
    fn leave_to_the_first(&mut self) {
        self.is_shared = false;
        for part in self.parts.drain(..std::mem::take(&mut self.next)) {
            self.kept.shrink(part.len());
        }
    }
}

/// The first client's view of a live nar.
#[derive(Debug)]
pub struct Reader(Arc<Live>);

impl Reader {
    /// The next part; none at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            {
                let mut inner = self.0.lock();
                if inner.is_shared {
                    if let Some(part) = inner.parts.get(inner.next).cloned() {
                        inner.next += 1;
                        return Ok(Some(part));
                    }
                } else if let Some(part) = inner.parts.pop_front() {
                    inner.kept.shrink(part.len());
                    drop(inner);
                    self.0.room.notify_one();
                    return Ok(Some(part));
                }
                match &inner.end {
                    Some(Ok(())) => return Ok(None),
                    Some(Err(kind)) => {
                        return Err(Error::create(kind.clone(), ErrorSource::Upstream, None, None));
                    }
                    None => {}
                }
            }
            // One reads, and a word that came before is kept for it.
            self.0.more.notified().await;
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.lock().is_read = false;
        self.0.room.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::super::BackendStream;
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(600);

    /// An answer without a length, of which the head is here, and where its body comes from.
    async fn live() -> (ResponseHeader, Incoming, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut publish, _) = listener.accept().await.unwrap();
        publish.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let mut incoming = Incoming::read(Box::new(BackendStream::new(ours))).await.unwrap();
        (incoming.take_head().unwrap(), incoming, publish)
    }

    fn first(nars: &Arc<Nars>) -> First {
        match nars.join(b"nar".to_vec()) {
            Joined::First(first) => first,
            Joined::Later(_) => panic!("somebody asks already"),
        }
    }

    fn later(nars: &Arc<Nars>) -> Later {
        match nars.join(b"nar".to_vec()) {
            Joined::Later(later) => later,
            Joined::First(_) => panic!("nobody asks"),
        }
    }

    async fn all(reader: &mut Reader) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(part) = reader.next().await.unwrap() {
            all.extend_from_slice(&part);
        }
        all
    }

    fn kept(nars: &Nars) -> usize {
        nars.kept.load(Ordering::Relaxed)
    }

    /// Waits until nothing is kept: what was handed out goes with the last who has it.
    async fn nothing_is_kept(nars: &Nars) {
        let gone = async {
            while kept(nars) > 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(20), gone).await.expect("memory is given back");
        assert!(nars.lock().is_empty());
    }

    #[tokio::test]
    async fn who_waits_gets_the_whole_though_the_first_one_reads_nothing() {
        let nars = Arc::new(Nars::default());
        let (head, incoming, mut publish) = live().await;
        let first = first(&nars);
        let (early, mut reader) = (later(&nars), first.share(head, incoming, PATIENCE, ()));
        publish.write_all(&[b'n'; 1_000_000]).await.unwrap();
        let late = later(&nars);
        drop(publish);
        for waiting in [early, late] {
            let Some(Outcome::Whole(whole)) = waiting.outcome().await else { panic!("a nar") };
            assert_eq!(whole.length, 1_000_000);
            assert_eq!(whole.parts.concat(), [b'n'; 1_000_000]);
        }
        assert_eq!(all(&mut reader).await, [b'n'; 1_000_000]);
        drop(reader);
        nothing_is_kept(&nars).await;
    }

    #[tokio::test]
    async fn the_first_one_is_sent_what_comes_as_it_comes() {
        let nars = Arc::new(Nars::default());
        let (head, incoming, mut publish) = live().await;
        let mut reader = first(&nars).share(head, incoming, PATIENCE, ());
        for _ in 0..3 {
            publish.write_all(b"part").await.unwrap();
            assert_eq!(reader.next().await.unwrap().unwrap(), "part");
        }
        drop(publish);
        assert_eq!(reader.next().await.unwrap(), None);
        drop(reader);
        nothing_is_kept(&nars).await;
    }

    #[tokio::test]
    async fn a_first_one_that_leaves_during_the_body_takes_nothing_along() {
        let nars = Arc::new(Nars::default());
        let (head, incoming, mut publish) = live().await;
        let reader = first(&nars).share(head, incoming, PATIENCE, ());
        publish.write_all(b"half ").await.unwrap();
        drop(reader);
        // As one does that comes back.
        let again = later(&nars);
        publish.write_all(b"and half").await.unwrap();
        drop(publish);
        let Some(Outcome::Whole(whole)) = again.outcome().await else { panic!("a nar") };
        assert_eq!(whole.parts.concat(), b"half and half");
        drop(whole);
        nothing_is_kept(&nars).await;
    }

    #[tokio::test]
    async fn a_nar_that_grows_too_large_is_the_first_ones_alone_and_at_its_pace() {
        let nars = Arc::new(Nars::default());
        let (head, incoming, mut publish) = live().await;
        let first = first(&nars);
        let waiting = later(&nars);
        let mut reader = first.share(head, incoming, PATIENCE, ());
        let size = LARGEST + 5_000_000;
        let writing =
            tokio::spawn(async move { publish.write_all(&vec![b'n'; size]).await.map(|()| publish) });
        assert!(matches!(waiting.outcome().await, Some(Outcome::Alone)));
        assert!(kept(&nars) <= LARGEST + AHEAD, "{}", kept(&nars));
        // The next one asks for itself.
        assert!(matches!(nars.join(b"nar".to_vec()), Joined::First(_)));
        assert_eq!(all_of(&mut reader, size).await, size);
        drop(writing.await.unwrap().unwrap());
        assert_eq!(reader.next().await.unwrap(), None);
        drop(reader);
        nothing_is_kept(&nars).await;
    }

    async fn all_of(reader: &mut Reader, size: usize) -> usize {
        let mut read = 0;
        while read < size {
            read += reader.next().await.unwrap().expect("more").len();
        }
        read
    }

    #[tokio::test]
    async fn a_nar_that_nobody_wants_any_more_is_read_no_further_than_fits() {
        let nars = Arc::new(Nars::default());
        let (head, incoming, mut publish) = live().await;
        drop(first(&nars).share(head, incoming, PATIENCE, ()));
        let endless = async { while publish.write_all(&[b'n'; 100_000]).await.is_ok() {} };
        timeout(Duration::from_secs(60), endless).await.expect("the connection ends");
        nothing_is_kept(&nars).await;
    }

    #[tokio::test]
    async fn a_nar_that_breaks_off_is_not_taken_for_the_whole_by_anybody() {
        let nars = Arc::new(Nars::default());
        let (head, incoming, mut publish) = live().await;
        let first = first(&nars);
        let waiting = later(&nars);
        let mut reader = first.share(head, incoming, PATIENCE, ());
        publish.write_all(b"half").await.unwrap();
        assert_eq!(reader.next().await.unwrap().unwrap(), "half");
        // A reset, which is how a program ends that is killed with something unread.
        socket2::SockRef::from(&publish).set_linger(Some(Duration::ZERO)).unwrap();
        drop(publish);
        assert!(reader.next().await.is_err());
        assert!(waiting.outcome().await.is_none(), "the next one asks");
        drop(reader);
        nothing_is_kept(&nars).await;
    }

    #[tokio::test]
    async fn one_who_asks_and_gets_nothing_leaves_it_to_the_next_in_line() {
        let nars = Arc::new(Nars::default());
        let asking = first(&nars);
        let waiting = later(&nars);
        drop(asking);
        assert!(waiting.outcome().await.is_none());
        let asking = first(&nars);
        let waiting = later(&nars);
        asking.each_alone();
        assert!(matches!(waiting.outcome().await, Some(Outcome::Alone)));
        nothing_is_kept(&nars).await;
    }
}
