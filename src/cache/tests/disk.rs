//! A disk that fails at every place where it can, and files that are not what they were.

use std::io;
use std::sync::atomic::AtomicU32;

use super::*;
use crate::cache::flight::Landing;

/// Fails one kind of operation, from the given time on.
struct Failing {
    op: Op,
    after: AtomicU32,
}

impl Faults for Failing {
    fn check(&self, op: Op) -> io::Result<()> {
        if op != self.op {
            return Ok(());
        }
        match self.after.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
            Ok(_) => Ok(()),
            Err(_) => Err(io::ErrorKind::StorageFull.into()),
        }
    }
}

/// A disk that takes its time to remove a file.
struct Slow;

impl Faults for Slow {
    fn check(&self, op: Op) -> io::Result<()> {
        if op == Op::Remove {
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

fn failing(op: Op, after: u32) -> Bench {
    Bench::on(Arc::new(Failing { op, after: AtomicU32::new(after) }), &settings(1 << 30, 0))
}

#[tokio::test]
async fn whatever_fails_whenever_the_backend_answers() {
    let body: Vec<u8> = (0..1_000_000u32).map(|at| (at / 7) as u8).collect();
    for op in [Op::Create, Op::Write, Op::Rename, Op::Open, Op::Read, Op::Remove] {
        for after in [0, 1, 2, 3, 5, 8] {
            let bench = failing(op, after);
            let origin = Scripted::new([Script::ok("max-age=60", body.clone()).unsized_in(50)]);
            for round in 0..3 {
                let answers = futures_join((0..4).map(|_| bench.ask(&origin, "/a", &[]))).await;
                for answer in answers {
                    match answer {
                        Ok(got) => assert!(got.body == body, "{op:?} {after} {round}"),
                        // A block that cannot be read when others were sent already: cut off, and visibly so.
                        Err(failure) => {
                            assert!(op == Op::Read && after > 1, "{op:?} {after} {round}: {failure}");
                        }
                    }
                }
                bench.settled().await;
            }
        }
    }
}

#[tokio::test]
async fn a_disk_that_fills_up_half_way_slows_the_fetch_to_its_clients() {
    let bench = failing(Op::Write, 3);
    let body = vec![9; 20 << 20];
    let origin = Scripted::new([Script::ok("max-age=60", body.clone()).unsized_in(200)]);
    let fields = HeaderMap::new();
    let ask = Ask {
        space: Which::Static,
        key: Key::new("site", "host", b"/a"),
        rules: RULES,
        method: &Method::GET,
        headers: &fields,
    };
    let response = bench.cache.respond(&ask, origin.clone()).await.unwrap();
    let mut delivery = response.for_request(&Method::GET, &fields);
    let mut total = 0;
    while let Some(bytes) = delivery.next().await.unwrap() {
        total += bytes.len() as u64;
        tokio::task::yield_now().await;
        for flight in bench.cache.flights.matching(|_| true) {
            let Landing::Shared(fill) = flight.landed().await else { panic!("nothing is shared") };
            // A window in memory, and what is read at a time.
            assert!(fill.received() <= total + (3 << 20), "{} after {total}", fill.received());
        }
    }
    assert_eq!((total, bench.files()), (body.len() as u64, 0));
}

#[tokio::test]
async fn a_client_that_leaves_a_fetch_that_nobody_keeps_ends_it() {
    let bench = failing(Op::Write, 1);
    let origin = Scripted::new([Script::ok("max-age=60", vec![9; 20 << 20]).unsized_in(200)]);
    let fields = HeaderMap::new();
    let ask = Ask {
        space: Which::Static,
        key: Key::new("site", "host", b"/a"),
        rules: RULES,
        method: &Method::GET,
        headers: &fields,
    };
    let response = bench.cache.respond(&ask, origin.clone()).await.unwrap();
    drop(response);
    bench.settled().await;
    assert_eq!(bench.files(), 0);
}

#[tokio::test]
async fn what_outgrows_the_space_passes_through() {
    let bench = Bench::on(Arc::new(NoFaults), &settings(1 << 20, 0));
    let body = vec![3; 5 << 20];
    let origin = Scripted::new([Script::ok("max-age=60", body.clone()).unsized_in(40)]);
    let answers = futures_join((0..5).map(|_| bench.ask(&origin, "/a", &[]))).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap().body == body));
    bench.settled().await;
    assert_eq!(bench.files(), 0);
    let sized = Scripted::new([Script::ok("max-age=60", body.clone())]);
    assert!(bench.ask(&sized, "/b", &[]).await.unwrap().cache_status().ends_with("detail=too-large"));
}

#[tokio::test]
async fn files_do_not_pile_up_on_a_disk_that_is_slow_to_remove_them() {
    let bench = Bench::on(Arc::new(Slow), &settings(1 << 20, 0));
    let origin = Scripted::new([Script::ok("max-age=60", vec![3; 300_000])]);
    for at in 0..30 {
        assert!(bench.ask(&origin, &format!("/{at}"), &[]).await.is_ok());
        bench.settled().await;
        assert!(bench.files() <= 3, "{at}: {} files", bench.files());
    }
}

#[tokio::test]
async fn a_file_that_is_not_what_it_was_is_fetched_again() {
    let bench = Bench::new();
    let origin = Scripted::new([Script::ok("max-age=60", "body")]);
    bench.store(&origin, "/a").await;
    let mut asked = 1;
    let damages: [fn(&Path); 4] = [
        |path| std::fs::write(path, "").unwrap(),
        |path| std::fs::remove_file(path).unwrap(),
        |path| {
            let mut bytes = std::fs::read(path).unwrap();
            bytes[1] ^= 4;
            std::fs::write(path, bytes).unwrap();
        },
        |path| std::fs::File::options().write(true).open(path).unwrap().set_len(30).unwrap(),
    ];
    for damage in damages {
        let entry = bench.cache.files.entries().remove(0);
        damage(&bench.cache.files.files.path(&entry.name));
        assert_eq!(bench.ask(&origin, "/a", &[]).await.unwrap().body, b"body");
        asked += 1;
        bench.settled().await;
        assert_eq!(bench.ask(&origin, "/a", &[]).await.unwrap().body, b"body");
        assert_eq!(origin.asked(), asked);
    }
}

#[tokio::test]
async fn a_block_that_went_bad_cuts_the_answer_off_and_the_next_one_is_good() {
    let bench = Bench::new();
    let body: Vec<u8> = (0..1_000_000u32).map(|at| (at / 7) as u8).collect();
    let origin = Scripted::new([Script::ok("max-age=60", body.clone())]);
    bench.store(&origin, "/a").await;
    let entry = bench.cache.files.entries().remove(0);
    let path = bench.cache.files.files.path(&entry.name);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[500_000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    // A range from where it is good is good.
    assert_eq!(bench.ask(&origin, "/a", &[("range", "bytes=0-9")]).await.unwrap().body, body[..10]);
    assert!(bench.ask(&origin, "/a", &[]).await.is_err());
    assert!(bench.ask(&origin, "/a", &[]).await.unwrap().body == body);
    assert_eq!(origin.asked(), 2);
}
