//! Connecting to a backend: every address of its name, and patience while it is being restarted.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use pingora::{Error, ErrorType, Result};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::reach::{Attempt, Reach, Trying, is_away};
use super::stream::BackendStream;
use crate::config::{Backend, Host};
use crate::metrics::BackendShard;

/// Between two rounds of trying, while a backend refuses connections.
const RETRY: Duration = Duration::from_millis(50);
/// A backend that was away for so many times what a request waits for it is not being restarted: it is dead, and
/// requests are told at once.
const DEAD_AFTER: u32 = 3;

/// Connects to one backend.
///
/// A connection that is refused has cost the backend nothing and carried no byte of the request, so waiting
/// for the backend to come back is right for every method.
#[derive(Debug)]
pub(super) struct Connector {
    backend: Backend,
    /// For one address.
    connect: Duration,
    /// For a backend that refuses connections, in all.
    restart: Duration,
    known: Arc<Known>,
}

/// What is known of a backend, from one configuration to the next.
#[derive(Debug)]
pub(super) struct Known {
    pub reach: Reach,
    /// The addresses of the name, the one that answered last in front. Names rarely move, `localhost` is asked for at
    /// every connection, and a resolver may be gone for a while.
    addresses: Mutex<Vec<SocketAddr>>,
    names: Box<dyn Names>,
}

/// Who knows the addresses of names.
#[async_trait]
pub(super) trait Names: std::fmt::Debug + Send + Sync {
    /// All of them.
    async fn look_up(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The system's resolver.
#[derive(Debug)]
struct System;

#[async_trait]
impl Names for System {
    async fn look_up(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((name, port)).await?.collect())
    }
}

impl Default for Known {
    fn default() -> Self {
        Self::with_names(Box::new(System))
    }
}

impl Known {
    fn with_names(names: Box<dyn Names>) -> Self {
        Self { reach: Reach::default(), addresses: Mutex::default(), names }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<SocketAddr>> {
        // It is whole between any two statements.
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connector {
    pub(super) fn new(backend: Backend, connect: Duration, restart: Duration, known: Arc<Known>) -> Self {
        Self { backend, connect, restart, known }
    }

    /// A new connection, as soon as the backend takes one.
    pub(super) async fn open(&self, counted: &BackendShard) -> Result<BackendStream> {
        let mut patience = Patience::new(self.restart);
        let tcp = loop {
            if let Some(tcp) = self.until_up(&mut patience, counted).await.map_err(|e| self.explain(e))? {
                break tcp;
            }
            match self.try_once().await {
                Ok(tcp) => break tcp,
                // Whether it is worth waiting is known there.
                Err(_) if self.known.reach.is_down() => {}
                Err(error) => return Err(self.explain(error)),
            }
        };
        self.finish(tcp, counted)
    }

    /// Waits until a backend that is down is up again, as far as that is known. The connection, if it was this request
    /// that tried.
    pub(super) async fn wait(&self, counted: &BackendShard) -> Result<Option<BackendStream>> {
        let mut patience = Patience::new(self.restart);
        let tcp = self.until_up(&mut patience, counted).await.map_err(|error| self.explain(error))?;
        tcp.map(|tcp| self.finish(tcp, counted)).transpose()
    }

    fn finish(&self, tcp: TcpStream, counted: &BackendShard) -> Result<BackendStream> {
        counted.connections.increment();
        tcp.set_nodelay(true).map_err(|error| self.explain(error))?;
        Ok(BackendStream::new(tcp))
    }

    async fn until_up(
        &self,
        patience: &mut Patience,
        counted: &BackendShard,
    ) -> io::Result<Option<TcpStream>> {
        let reach = &self.known.reach;
        if !reach.is_down() {
            return Ok(None);
        }
        let mut turn: Option<Trying<'_>> = None;
        loop {
            let mut changed = pin!(reach.changed());
            // From here on no change is missed.
            changed.as_mut().enable();
            if turn.is_none() {
                match reach.attempt() {
                    Attempt::Free => return Ok(None),
                    Attempt::Mine(mine) => turn = Some(mine),
                    Attempt::Others => {}
                }
            }
            if turn.is_some()
                && let Ok(tcp) = self.try_once().await
            {
                return Ok(Some(tcp));
            }
            let Some(outage) = reach.outage() else { continue };
            let is_restarting = is_away(outage.last.kind) && patience.begin(outage.age);
            if turn.is_some() {
                if !is_restarting || Instant::now() + RETRY >= patience.deadline {
                    return Err(outage.last.into());
                }
                patience.count(counted);
                sleep(RETRY).await;
            } else if is_restarting {
                patience.count(counted);
                if timeout_at(patience.deadline, changed).await.is_err() {
                    return Err(outage.last.into());
                }
            } else {
                // A refusal comes at once, and so does its end; whatever takes longer is not waited for.
                let is_over = timeout(RETRY, changed).await.is_ok();
                if !is_over || reach.outage().is_some_and(|now| now.failures > outage.failures) {
                    return Err(outage.last.into());
                }
            }
        }
    }

    async fn try_once(&self) -> io::Result<TcpStream> {
        let began = Instant::now();
        let connected = self.try_addresses().await;
        match &connected {
            Ok(_) => self.known.reach.reached(&self.backend),
            Err(error) => self.known.reach.failed(&self.backend, error, began, self.restart),
        }
        connected
    }

    /// Tries each address once, the one that answered last before all others. When all fail, the error of the last
    /// one tells.
    async fn try_addresses(&self) -> io::Result<TcpStream> {
        let first = self.known.lock().first().copied();
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        if let Some(address) = first {
            match self.connect_to(address).await {
                Ok(tcp) => return Ok(tcp),
                Err(error) => failure = error,
            }
        }
        let addresses = match self.addresses().await {
            Ok(addresses) => addresses,
            // Where it was before, it may still be.
            Err(error) if first.is_none() => return Err(error),
            Err(_) => self.known.lock().clone(),
        };
        for &address in addresses.iter().filter(|&&address| Some(address) != first) {
            match self.connect_to(address).await {
                Ok(tcp) => {
                    let others = addresses.iter().copied().filter(|&other| other != address);
                    *self.known.lock() = std::iter::once(address).chain(others).collect();
                    return Ok(tcp);
                }
                // A refusal tells more than a timeout: somebody is there, and may be back soon.
                Err(error) if !is_away(failure.kind()) => failure = error,
                Err(_) => {}
            }
        }
        Err(failure)
    }

    async fn connect_to(&self, address: SocketAddr) -> io::Result<TcpStream> {
        timeout(self.connect, TcpStream::connect(address)).await?
    }

    async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        match &self.backend.host {
            Host::Address(address) => Ok(vec![SocketAddr::new(*address, self.backend.port)]),
            // A resolver may wait for servers that do not answer longer than anybody waits for us.
            Host::Name(name) => {
                timeout(self.connect, self.known.names.look_up(name, self.backend.port)).await?
            }
        }
    }

    fn explain(&self, error: io::Error) -> Box<Error> {
        let kind = match error.kind() {
            io::ErrorKind::TimedOut => ErrorType::ConnectTimedout,
            io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
            _ => ErrorType::ConnectError,
        };
        Error::because(kind, format!("backend {}", self.backend), error)
    }
}

/// How long one request waits for a backend that refuses connections.
struct Patience {
    restart: Duration,
    deadline: Instant,
    /// Whether there is any, once that is decided.
    begun: Option<bool>,
    is_counted: bool,
}

impl Patience {
    fn new(restart: Duration) -> Self {
        Self { restart, deadline: Instant::now() + restart, begun: None, is_counted: false }
    }

    /// Decides by the age of the outage that the request meets with. Who has begun to wait waits to the end.
    fn begin(&mut self, outage: Duration) -> bool {
        *self.begun.get_or_insert(!self.restart.is_zero() && outage < self.restart * DEAD_AFTER)
    }

    fn count(&mut self, counted: &BackendShard) {
        if !std::mem::replace(&mut self.is_counted, true) {
            counted.restart_waits.increment();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::net::TcpListener;

    use super::*;

    /// A resolver whose answers the test decides on.
    #[derive(Debug, Default)]
    struct Told {
        addresses: Mutex<Option<Vec<SocketAddr>>>,
        asked: AtomicUsize,
    }

    #[async_trait]
    impl Names for Arc<Told> {
        async fn look_up(&self, _: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let addresses = self.addresses.lock().unwrap().clone();
            addresses.ok_or_else(|| io::Error::other("no such name"))
        }
    }

    impl Told {
        fn tell(&self, addresses: Option<&[SocketAddr]>) {
            *self.addresses.lock().unwrap() = addresses.map(<[SocketAddr]>::to_vec);
        }
    }

    fn connector(names: &Arc<Told>, restart: Duration) -> Connector {
        let backend = Backend { host: Host::Name("publish.farm".into()), port: 1 };
        let known = Arc::new(Known::with_names(Box::new(names.clone())));
        Connector::new(backend, Duration::from_secs(5), restart, known)
    }

    /// An address where nobody listens, and that is given to nobody else meanwhile.
    fn refusing() -> (tokio::net::TcpSocket, SocketAddr) {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    #[tokio::test]
    async fn a_name_that_resolves_no_more_is_reached_where_it_was_and_one_that_never_did_is_an_error() {
        let names = Arc::new(Told::default());
        let connector = connector(&names, Duration::ZERO);
        let counted = BackendShard::default();
        assert!(connector.open(&counted).await.is_err());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (_nobody, elsewhere) = refusing();
        // It recovers as soon as there is a resolver.
        names.tell(Some(&[elsewhere, listener.local_addr().unwrap()]));
        connector.open(&counted).await.unwrap();
        names.tell(None);
        let asked = names.asked.load(Ordering::SeqCst);
        for _ in 0..3 {
            connector.open(&counted).await.unwrap();
        }
        assert_eq!(names.asked.load(Ordering::SeqCst), asked, "nobody needs to be asked");
        drop(listener);
        assert!(connector.open(&counted).await.is_err());
    }

    #[tokio::test]
    async fn of_several_addresses_the_one_that_works_is_tried_first() {
        let names = Arc::new(Told::default());
        let connector = connector(&names, Duration::ZERO);
        let counted = BackendShard::default();
        let (first, second) = (
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        );
        let (one, two) = (first.local_addr().unwrap(), second.local_addr().unwrap());
        names.tell(Some(&[one, two]));
        connector.open(&counted).await.unwrap();
        assert_eq!(connector.known.lock().first(), Some(&one));
        drop(first);
        connector.open(&counted).await.unwrap();
        assert_eq!(connector.known.lock().as_slice(), [two, one]);
        // Without a resolver, too, and back again.
        names.tell(None);
        let first = TcpListener::bind(one).await.unwrap();
        drop(second);
        connector.open(&counted).await.unwrap();
        assert_eq!(connector.known.lock().as_slice(), [one, two]);
        drop(first);
    }

    #[tokio::test]
    async fn while_a_backend_is_away_one_request_tries_and_all_are_saved_when_it_is_back() {
        const REQUESTS: usize = 50;
        let (socket, address) = refusing();
        let names = Arc::new(Told::default());
        names.tell(Some(&[address]));
        let connector = Arc::new(connector(&names, Duration::from_secs(3600)));
        let counted = Arc::new(BackendShard::default());
        let waiting: Vec<_> = (0..REQUESTS)
            .map(|_| {
                let (connector, counted) = (connector.clone(), counted.clone());
                tokio::spawn(async move { connector.open(&counted).await.map(drop) })
            })
            .collect();
        while counted.restart_waits.get() < REQUESTS as u64 {
            sleep(Duration::from_millis(1)).await;
        }
        // From here on only the one that tries asks for the address.
        let failures = |connector: &Connector| connector.known.reach.outage().unwrap().failures;
        let (from, began) = (failures(&connector), Instant::now());
        while failures(&connector) < from + 3 {
            sleep(Duration::from_millis(1)).await;
        }
        let tries = u128::from(failures(&connector) - from);
        let rounds = began.elapsed().as_millis() / RETRY.as_millis() + 1;
        assert!(tries <= rounds, "{tries} tries in {rounds} rounds");
        // Who tries may leave: another one goes on.
        waiting[0].abort();
        let listener = socket.listen(1024).unwrap();
        for (number, request) in waiting.into_iter().enumerate().skip(1) {
            request.await.unwrap().unwrap_or_else(|error| panic!("{number}: {error}"));
        }
        assert!(!connector.known.reach.is_down());
        drop(listener);
    }

    #[tokio::test]
    async fn a_backend_that_is_dead_costs_a_request_no_wait_and_is_found_when_it_lives() {
        let (socket, address) = refusing();
        let names = Arc::new(Told::default());
        names.tell(Some(&[address]));
        let restart = Duration::from_millis(100);
        let connector = connector(&names, restart);
        let counted = BackendShard::default();
        assert!(connector.open(&counted).await.is_err());
        assert_eq!(counted.restart_waits.get(), 1, "it may have been a restart");
        while connector.known.reach.outage().unwrap().age < restart * DEAD_AFTER {
            sleep(restart).await;
        }
        for _ in 0..20 {
            assert!(connector.open(&counted).await.is_err());
        }
        assert_eq!(counted.restart_waits.get(), 1, "that is no restart");
        let listener = socket.listen(1024).unwrap();
        connector.open(&counted).await.unwrap();
        drop(listener);
    }

    #[tokio::test]
    async fn a_failure_that_is_no_refusal_makes_an_outage_only_if_it_is_followed_by_others() {
        let reach = Reach::default();
        let slow = io::Error::from(io::ErrorKind::TimedOut);
        let fail_since = |began| reach.failed(&"publish", &slow, began, Duration::ZERO);
        let fail = || fail_since(Instant::now());
        fail();
        fail();
        reach.reached(&"publish");
        fail();
        fail();
        assert!(!reach.is_down() && matches!(reach.attempt(), Attempt::Free));
        fail();
        assert!(reach.is_down());
        let Attempt::Mine(mine) = reach.attempt() else { panic!("somebody has to try") };
        assert!(matches!(reach.attempt(), Attempt::Others));
        drop(mine);
        assert!(matches!(reach.attempt(), Attempt::Mine(_)));
        reach.reached(&"publish");
        assert!(!reach.is_down() && matches!(reach.attempt(), Attempt::Free));
        // Any number at the same time is one.
        let began = Instant::now() - Duration::from_secs(1);
        (0..10).for_each(|_| fail_since(began));
        assert!(!reach.is_down());
        assert_eq!(reach.outage().unwrap().failures, 1);
        fail();
        (0..10).for_each(|_| fail_since(began));
        assert!(!reach.is_down());
        fail();
        assert!(reach.is_down());
    }
}
