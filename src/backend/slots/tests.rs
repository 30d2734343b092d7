use std::sync::Arc;

use super::*;

const LONG: Duration = Duration::from_secs(3600);

fn ip(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

fn take(slots: &Arc<Slots>, client: u8) -> Option<Slot<Arc<Slots>>> {
    Slots::try_take(slots.clone(), ip(client))
}

/// A request that waits, and is in the queue when this returns. It tells its name when it has its turn.
async fn wait(
    slots: &Arc<Slots>,
    client: u8,
    name: &str,
    served: &Arc<Mutex<Vec<String>>>,
) -> tokio::task::JoinHandle<Result<(), Refused>> {
    let (slots, served, name) = (slots.clone(), served.clone(), name.to_owned());
    let waiting = tokio::spawn(async move {
        let slot = Slots::wait(slots, ip(client), LONG).await?;
        served.lock().unwrap().push(name);
        drop(slot);
        Ok(())
    });
    tokio::task::yield_now().await;
    waiting
}

#[tokio::test]
async fn there_are_as_many_as_the_limit_says_and_one_given_back_is_free_again() {
    let slots = Arc::new(Slots::new(2, 10, Share::All));
    let (one, two) = (take(&slots, 1), take(&slots, 1));
    assert!(one.is_some() && two.is_some() && take(&slots, 2).is_none());
    drop(one);
    assert!(take(&slots, 2).is_some());
    drop(two);
    assert_eq!((slots.taken(), slots.waiting()), (0, 0));
    assert!(slots.lock().clients.is_empty(), "no address is kept");
}

#[tokio::test]
async fn clients_take_turns_whatever_number_each_has_waiting() {
    let slots = Arc::new(Slots::new(1, 100, Share::All));
    let held = take(&slots, 1).unwrap();
    let served = Arc::default();
    let mut waiting = Vec::new();
    for (client, name) in [(1, "a1"), (1, "a2"), (1, "a3"), (2, "b1"), (3, "c1"), (2, "b2")] {
        waiting.push(wait(&slots, client, name, &served).await);
    }
    assert_eq!(slots.waiting(), 6);
    drop(held);
    for request in waiting {
        assert_eq!(request.await.unwrap(), Ok(()));
    }
    assert_eq!(*served.lock().unwrap(), ["a1", "b1", "c1", "a2", "b2", "a3"]);
    assert_eq!((slots.taken(), slots.waiting()), (0, 0));
}

#[tokio::test]
async fn when_the_queue_is_full_the_one_who_has_most_of_it_goes() {
    let slots = Arc::new(Slots::new(1, 3, Share::All));
    let held = take(&slots, 1).unwrap();
    let served = Arc::default();
    let first = wait(&slots, 1, "a1", &served).await;
    let second = wait(&slots, 1, "a2", &served).await;
    let third = wait(&slots, 1, "a3", &served).await;
    // It has most itself.
    assert_eq!(Slots::wait(slots.clone(), ip(1), LONG).await.unwrap_err(), Refused);
    let other = wait(&slots, 2, "b1", &served).await;
    assert_eq!(third.await.unwrap(), Err(Refused));
    // Equal shares: nobody is pushed out for another one.
    assert_eq!(Slots::wait(slots.clone(), ip(2), LONG).await.unwrap_err(), Refused);
    drop(held);
    for request in [first, second, other] {
        assert_eq!(request.await.unwrap(), Ok(()));
    }
    assert_eq!((slots.taken(), slots.waiting()), (0, 0));
    assert!(slots.lock().clients.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_long_enough_is_refused_and_leaves_no_trace() {
    let slots = Arc::new(Slots::new(1, 3, Share::All));
    let held = take(&slots, 1).unwrap();
    let began = tokio::time::Instant::now();
    let refused = Slots::wait(slots.clone(), ip(2), Duration::from_secs(7)).await;
    assert_eq!((refused.unwrap_err(), began.elapsed().as_secs()), (Refused, 7));
    assert_eq!((slots.taken(), slots.waiting()), (1, 0));
    assert!(slots.lock().clients.is_empty() && slots.lock().turns.is_empty());
    drop(held);
    assert!(take(&slots, 2).is_some());
}

#[tokio::test]
async fn a_slot_that_is_handed_to_somebody_who_has_left_goes_on() {
    let slots = Arc::new(Slots::new(1, 10, Share::All));
    let held = take(&slots, 1).unwrap();
    let served = Arc::default();
    let (gone, waiting) = (wait(&slots, 2, "gone", &served).await, wait(&slots, 3, "here", &served).await);
    // Handed over first, and left with it unheard.
    drop(held);
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    assert_eq!(waiting.await.unwrap(), Ok(()));
    assert_eq!(*served.lock().unwrap(), ["here"]);
    assert_eq!((slots.taken(), slots.waiting()), (0, 0));
}

#[tokio::test]
async fn one_client_has_no_more_than_its_share_where_there_are_shares() {
    let slots = Arc::new(Slots::new(4, 10, Share::OneIn(2)));
    let held = [take(&slots, 1).unwrap(), take(&slots, 1).unwrap()];
    assert!(take(&slots, 1).is_none());
    let served = Arc::default();
    let third = wait(&slots, 1, "a3", &served).await;
    assert_eq!(slots.waiting(), 1);
    // Who is below its own share does not wait behind that one.
    let others = [take(&slots, 2).unwrap(), take(&slots, 2).unwrap()];
    drop(others);
    assert_eq!(slots.waiting(), 1);
    drop(held);
    assert_eq!(third.await.unwrap(), Ok(()));
    assert_eq!((slots.taken(), slots.waiting()), (0, 0));
    assert!(slots.lock().clients.is_empty());
}

#[tokio::test]
async fn a_higher_limit_counts_at_once_and_a_lower_one_as_slots_come_back() {
    let slots = Arc::new(Slots::new(1, 10, Share::All));
    let held = take(&slots, 1).unwrap();
    let served = Arc::default();
    let waiting = wait(&slots, 2, "b", &served).await;
    slots.resize(2, 10);
    assert_eq!(waiting.await.unwrap(), Ok(()));
    let second = take(&slots, 3).unwrap();
    slots.resize(1, 10);
    let waiting = wait(&slots, 2, "c", &served).await;
    drop(second);
    assert_eq!((slots.taken(), slots.waiting()), (1, 1));
    drop(held);
    assert_eq!(waiting.await.unwrap(), Ok(()));
    assert_eq!((slots.taken(), slots.waiting()), (0, 0));
}

#[test]
fn several_threads_never_take_more_than_there_are_nor_lose_one() {
    const THREADS: usize = 4;
    for share in [Share::All, Share::OneIn(2)] {
        let slots = Arc::new(Slots::new(2, 1000, share));
        let most = Arc::new(AtomicU32::new(0));
        let at_it = Arc::new(AtomicU32::new(0));
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (slots, most, at_it) = (slots.clone(), most.clone(), at_it.clone());
                scope.spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(async {
                        let one = || async {
                            for _ in 0..300 {
                                let client = ip(thread as u8);
                                let slot = match Slots::try_take(slots.clone(), client) {
                                    Some(slot) => slot,
                                    None => Slots::wait(slots.clone(), client, LONG).await.unwrap(),
                                };
                                most.fetch_max(at_it.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                                tokio::task::yield_now().await;
                                at_it.fetch_sub(1, Ordering::SeqCst);
                                drop(slot);
                            }
                        };
                        tokio::join!(one(), one(), one());
                    });
                });
            }
        });
        assert_eq!((slots.taken(), slots.waiting()), (0, 0), "{share:?}");
        assert_eq!(most.load(Ordering::SeqCst), 2, "{share:?}");
        assert!(slots.lock().clients.is_empty() && slots.lock().turns.is_empty());
    }
}

#[test]
fn a_slot_that_a_higher_limit_makes_is_given_to_one_alone() {
    for _ in 0..3000 {
        let slots = Slots::new(1, 10, Share::All);
        let held = Slots::try_take(&slots, ip(1)).unwrap();
        let (_, mut told) = slots.stand_in_line(ip(2)).unwrap().unwrap();
        let [is_here, is_over] = [false, false].map(std::sync::atomic::AtomicBool::new);
        std::thread::scope(|scope| {
            // Somebody who comes at this very moment.
            let other = scope.spawn(|| {
                is_here.store(true, Ordering::Relaxed);
                while !is_over.load(Ordering::Relaxed) {
                    if let Some(slot) = Slots::try_take(&slots, ip(3)) {
                        return Some(slot);
                    }
                }
                None
            });
            while !is_here.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            slots.resize(2, 10);
            is_over.store(true, Ordering::Relaxed);
            let other = other.join().unwrap();
            assert_eq!(told.try_recv(), Ok(Verdict::Granted));
            assert!(other.is_none() && slots.taken() == 2, "{} slots of 2", slots.taken());
        });
        slots.give_back(ip(2));
        drop(held);
        assert_eq!((slots.taken(), slots.waiting()), (0, 0));
    }
}
