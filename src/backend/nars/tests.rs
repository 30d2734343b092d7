use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::super::BackendStream;
use super::live::AHEAD;
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
    let writing = tokio::spawn(async move { publish.write_all(&vec![b'n'; size]).await.map(|()| publish) });
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
