use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

fn ip(number: usize) -> IpAddr {
    Ipv4Addr::from_bits(number as u32).into()
}

/// A body in a made-up line.
struct Body {
    client: IpAddr,
    seat: Arc<Seat>,
    place: Option<Place>,
}

/// A line whose time is told to it.
struct Line {
    ledger: Ledger,
    now: Duration,
    bodies: Vec<Body>,
    /// When, to whom, how many bytes.
    sent: Vec<(Duration, IpAddr, u64)>,
}

impl Line {
    fn new(rate: u64) -> Self {
        let mut ledger = Ledger::default();
        ledger.set_rate(Some(rate), Duration::ZERO);
        Self { ledger, now: Duration::ZERO, bodies: Vec::new(), sent: Vec::new() }
    }

    fn begin(&mut self, client: IpAddr) {
        self.ledger.join(client);
        self.bodies.push(Body { client, seat: Arc::default(), place: None });
    }

    /// A body that is given up, whatever it has.
    fn end(&mut self, at: usize) {
        let body = self.bodies.swap_remove(at);
        if let Some(place) = body.place {
            self.ledger.give_up(body.client, place);
        }
        let unused = body.seat.granted.swap(0, Ordering::Relaxed);
        self.ledger.leave(body.client, unused);
    }

    /// Every body wants more whenever it has sent what it had.
    fn run(&mut self, step: Duration) {
        self.now += step;
        loop {
            for body in &mut self.bodies {
                if body.place.is_none() {
                    body.place = Some(self.ledger.wait(body.client, &body.seat));
                }
            }
            self.ledger.dispatch(self.now);
            let before = self.sent.len();
            for body in &mut self.bodies {
                let granted = body.seat.granted.swap(0, Ordering::Relaxed);
                if granted > 0 {
                    body.place = None;
                    self.sent.push((self.now, body.client, granted));
                }
            }
            if self.sent.len() == before {
                return;
            }
        }
    }

    fn sent_to(&self, client: IpAddr) -> u64 {
        self.sent.iter().filter(|(_, to, _)| *to == client).map(|(.., count)| count).sum()
    }
}

#[derive(Clone, Debug)]
enum Event {
    Begin(usize),
    End(usize),
    Ahead(usize, u64),
    Wait(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        2 => (0usize..6).prop_map(Event::Begin),
        1 => (0usize..40).prop_map(Event::End),
        1 => (0usize..6, 1u64..200_000).prop_map(|(client, count)| Event::Ahead(client, count)),
        6 => (1u64..60_000).prop_map(Event::Wait),
    ];
    proptest::collection::vec(event, 1..200)
}

proptest! {
    /// Whatever comes and goes.
    #[test]
    fn over_any_window_what_takes_turns_never_exceeds_the_rate_and_a_burst(
        rate in 16_384u64..1 << 31,
        events in events(),
    ) {
        let mut line = Line::new(rate);
        for event in events {
            match event {
                Event::Begin(client) => line.begin(ip(client)),
                Event::End(at) if at < line.bodies.len() => line.end(at),
                Event::End(_) => {}
                Event::Ahead(client, count) => line.ledger.charge(ip(client), count),
                Event::Wait(microseconds) => line.run(Duration::from_micros(microseconds)),
            }
        }
        // A bucket with a hole: it runs over if and only if some window has more than its rate and a burst.
        let (mut level, mut before) = (0, Duration::ZERO);
        for (at, _, count) in line.sent {
            let flowed = (at - before).as_nanos() * u128::from(rate) / 1_000_000_000;
            level = u128::saturating_sub(level, flowed) + u128::from(count);
            // A byte for each time that a part of one was cut off.
            prop_assert!(level <= u128::from(burst_of(rate)) + 200, "{level} at {at:?}");
            before = at;
        }
    }

    /// Clients with any number of bodies, all of which have no end.
    #[test]
    fn clients_that_want_all_they_can_get_get_the_same_and_all_of_it(
        rate in 1_000_000u64..1 << 30,
        bodies in proptest::collection::vec(1usize..20, 1..12),
        steps in proptest::collection::vec(1u64..40, 100..150),
    ) {
        let mut line = Line::new(rate);
        for (client, &count) in bodies.iter().enumerate() {
            (0..count).for_each(|_| line.begin(ip(client)));
        }
        for milliseconds in steps {
            line.run(Duration::from_millis(milliseconds));
        }
        let sent: Vec<u64> = (0..bodies.len()).map(|client| line.sent_to(ip(client))).collect();
        // Two that always wait are never apart by as much as a burst.
        let (least, most) = (sent.iter().min().unwrap(), sent.iter().max().unwrap());
        prop_assert!(most - least <= burst_of(rate), "{sent:?}");
        let quantum = (rate / 100).clamp(SMALLEST_QUANTUM, LARGEST_QUANTUM);
        // And the line is never idle: no step was longer than a burst, and what is left is less than a quantum.
        let flowed = line.now.as_nanos() as u64 / 1000 * rate / 1_000_000;
        let sum: u64 = sent.iter().sum();
        prop_assert!(sum + quantum + SMALLEST_QUANTUM >= flowed, "{sum} of {flowed}");
    }

    /// Pages that go ahead take what they want, and still nobody starves.
    #[test]
    fn those_who_wait_have_a_quarter_whatever_goes_ahead(
        rate in 1_000_000u64..1 << 30,
        ahead in 1u64..10,
    ) {
        let mut line = Line::new(rate);
        line.begin(ip(1));
        for _ in 0..1000 {
            line.ledger.charge(ip(2), rate / 100 * ahead);
            line.run(Duration::from_millis(10));
        }
        // Less than a quantum is left over in the end, and less than a byte each time.
        let quarter = rate / 4 * 10;
        prop_assert!(line.sent_to(ip(1)) + LARGEST_QUANTUM + 1000 >= quarter);
    }
}

#[test]
fn who_asks_anew_for_each_quantum_gets_no_more_than_who_goes_on_with_one() {
    let mut line = Line::new(10_000_000);
    line.begin(ip(1));
    for _ in 0..3000 {
        line.begin(ip(2));
        line.run(Duration::from_millis(1));
        let ended = line.bodies.iter().position(|body| body.client == ip(2) && body.place.is_none());
        let ended = ended.or_else(|| line.bodies.iter().position(|body| body.client == ip(2)));
        line.end(ended.unwrap());
    }
    let (steady, restless) = (line.sent_to(ip(1)), line.sent_to(ip(2)));
    assert!(restless <= steady + steady / 10, "{steady} {restless}");
}

#[test]
fn what_goes_ahead_is_made_up_for() {
    let mut line = Line::new(1_000_000);
    line.begin(ip(1));
    for _ in 0..100 {
        line.ledger.charge(ip(2), 5_000);
        line.run(Duration::from_millis(10));
    }
    // In a second, half of it went ahead, and the rest is what remains, give or take a burst.
    let sent = line.sent_to(ip(1));
    assert!((400_000..=600_000).contains(&sent), "{sent}");
}

#[test]
fn clients_that_have_left_are_forgotten() {
    let mut line = Line::new(1_000_000);
    line.begin(ip(0));
    line.begin(ip(1));
    for client in 2..20_000 {
        line.begin(ip(client));
        line.run(Duration::from_millis(1));
        line.end(line.bodies.len() - 1);
    }
    assert!(line.ledger.clients.len() < 2100, "{}", line.ledger.clients.len());
    line.end(0);
    line.end(0);
    assert!(line.ledger.clients.is_empty() && line.ledger.waiting.is_empty());
}

#[test]
fn what_it_costs_to_let_one_go_does_not_grow_with_how_many_wait() {
    const BODIES: usize = 3000;
    let mut line = Line::new(1 << 30);
    (0..BODIES).for_each(|_| line.begin(ip(1)));
    for body in &mut line.bodies {
        body.place = Some(line.ledger.wait(body.client, &body.seat));
    }
    for look in 1..=BODIES as u64 {
        line.ledger.dispatch(Duration::from_millis(10 * look));
    }
    assert!(line.ledger.waiting.is_empty());
    assert!(line.ledger.looked_at <= 2 * BODIES, "{}", line.ledger.looked_at);
}

#[test]
fn one_that_comes_after_another_of_its_client_has_given_up_is_let_go_in_its_turn() {
    let mut line = Line::new(1_000_000);
    (0..3).for_each(|_| line.begin(ip(1)));
    for body in &mut line.bodies {
        body.place = Some(line.ledger.wait(body.client, &body.seat));
    }
    line.end(0);
    line.end(0);
    line.begin(ip(1));
    (0..100).for_each(|_| line.run(Duration::from_millis(20)));
    line.end(0);
    line.end(0);
    assert!(line.ledger.waiting.is_empty() && line.ledger.first.is_empty());
    assert!(line.sent_to(ip(1)) >= 1_900_000, "{}", line.sent_to(ip(1)));
}

fn share(rate: u64) -> Arc<Share> {
    let share = Arc::new(Share::default());
    share.set_rate(Some(rate));
    share
}

/// Takes `bytes`; how many milliseconds of the stopped clock that took.
async fn download(share: &Arc<Share>, client: usize, mut bytes: usize) -> u128 {
    let began = Instant::now();
    let mut turn = share.turn(ip(client)).unwrap();
    while bytes > 0 {
        match turn.take(bytes.min(65_536)) {
            0 => turn.ready().await,
            count => bytes -= count,
        }
    }
    began.elapsed().as_millis()
}

#[tokio::test(start_paused = true)]
async fn two_clients_take_twice_as_long_as_one_and_one_that_is_done_leaves_its_share() {
    let alone = download(&share(1 << 20), 1, 10 << 20).await;
    assert!((9_900..=10_100).contains(&alone), "{alone}");
    let both = share(1 << 20);
    let (long, short) = tokio::join!(download(&both, 1, 10 << 20), download(&both, 2, 2 << 20));
    assert!((3_800..=4_200).contains(&short), "{short}");
    assert!((11_800..=12_200).contains(&long), "{long}");
}

#[tokio::test(start_paused = true)]
async fn one_that_leaves_while_it_is_the_first_to_wait_holds_nobody_up() {
    let line = share(100_000);
    let mut first = line.turn(ip(1)).unwrap();
    while first.take(usize::MAX) > 0 {}
    let mut second = line.turn(ip(2)).unwrap();
    tokio::select! {
        biased;
        () = first.ready() => panic!("it has just taken all there was"),
        () = second.ready() => panic!("it is behind"),
        () = std::future::ready(()) => {}
    }
    drop(first);
    tokio::time::timeout(Duration::from_secs(1), second.ready()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_line_without_a_limit_lets_everybody_go_at_once() {
    let line = share(20_000);
    let mut turn = line.turn(ip(1)).unwrap();
    while turn.take(usize::MAX) > 0 {}
    let began = Instant::now();
    tokio::join!(turn.ready(), async { line.set_rate(None) });
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert!(line.turn(ip(1)).is_none());
    assert!(turn.take(usize::MAX) > 0);
}
