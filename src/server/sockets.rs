//! The sockets that are listened on: given by a service manager or an earlier gate, or bound here.

use std::env;
use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;

use super::endpoint::Place;
use super::run::RunError;
use super::workers::Sockets;
use crate::config::Config;
use crate::control::Listening;
use crate::listen::{Bound, Given, GivenSocket, Source, share};
use crate::upgrade::{Kind, Offer};

/// All of them, ready to be served.
pub(super) struct Listeners {
    /// Where they are.
    pub listening: Listening,
    /// For each worker.
    pub workers: Vec<Sockets>,
    /// For metrics.
    pub endpoint: Option<Place>,
    /// Copies of those of the workers, to be handed to a gate that follows.
    pub copies: Vec<(Offer, TcpListener)>,
}

impl Listeners {
    /// Takes what was given, and binds what else `config` names.
    pub(super) fn open(config: &Config, mut given: Given, workers: usize) -> Result<Self, RunError> {
        let mut wanted: Vec<(Kind, SocketAddr)> = Vec::new();
        wanted.extend(config.listen.http.iter().map(|&address| (Kind::Http, address)));
        wanted.extend(config.listen.https.iter().map(|&address| (Kind::Https, address)));
        wanted.extend(config.metrics.listen.map(|address| (Kind::Metrics, address)));
        let names: Vec<_> = wanted.iter().map(|&(kind, address)| (kind.name(), address)).collect();
        let found = given.give_out(&names)?;

        let mut listeners = Self {
            listening: Listening::default(),
            workers: (0..workers).map(|_| Sockets::default()).collect(),
            endpoint: None,
            copies: Vec::new(),
        };
        for ((kind, address), found) in wanted.into_iter().zip(found) {
            let failed = |source| RunError::Listen { address, source };
            if kind == Kind::Metrics {
                let place = found.map(Place::Bound).map_or_else(|| Place::take(address), Ok);
                listeners.endpoint = Some(place.map_err(failed)?);
                continue;
            }
            let bound = found.map_or_else(|| given.bind(address, workers), Ok).map_err(failed)?;
            listeners.add(Offer { kind, configured: address }, bound).map_err(failed)?;
        }
        listeners.listening.metrics = listeners.endpoint.as_ref().map(Place::address);
        Ok(listeners)
    }

    fn add(&mut self, offer: Offer, bound: Bound) -> io::Result<()> {
        for socket in &bound.sockets {
            self.copies.push((offer, socket.try_clone()?));
        }
        let is_http = offer.kind == Kind::Http;
        let listening = if is_http { &mut self.listening.http } else { &mut self.listening.https };
        listening.push(bound.address);
        let shares = share(bound.sockets, self.workers.len())?;
        for (worker, sockets) in self.workers.iter_mut().zip(shares) {
            if is_http { &mut worker.http } else { &mut worker.https }.extend(sockets);
        }
        Ok(())
    }
}

/// What the service manager passed to this process (sd_listen_fds(3)). To be called once, before there are threads: it
/// takes the variables out of the environment.
pub(super) fn passed() -> Result<Given, RunError> {
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut passed = ListenFd::from_env();
    let mut sockets = Vec::new();
    for number in 0..passed.len() {
        let name = names.next().unwrap_or_default().to_owned();
        let socket = passed.take_tcp_listener(number).and_then(|socket| {
            // Each is taken once.
            let socket = socket.ok_or(io::ErrorKind::NotFound)?;
            GivenSocket::new(socket, name.clone(), None)
        });
        sockets.push(socket.map_err(|source| RunError::Passed { number: number + 1, name, source })?);
    }
    Ok(Given::new(Source::ServiceManager, sockets))
}

/// What an earlier gate handed over.
pub(super) fn handed(sockets: Vec<(Offer, TcpListener)>) -> Result<Given, RunError> {
    let sockets: io::Result<Vec<_>> = sockets
        .into_iter()
        .map(|(offer, socket)| GivenSocket::new(socket, offer.kind.name().into(), Some(offer.configured)))
        .collect();
    Ok(Given::new(Source::Predecessor, sockets?))
}
