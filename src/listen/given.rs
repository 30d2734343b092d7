//! Listening sockets that somebody else has bound: a service manager, or the gate that this one takes over from.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use rustix::net::sockopt::{ipv6_v6only, socket_acceptconn};

use super::socket::{Bound, bind_beside};

/// The names that say something.
const NAMES: [&str; 3] = ["http", "https", "metrics"];

/// Who gave the sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// systemd, the Shepherd, or another program that speaks as they do. What it gave is meant for this
    /// configuration, and all of it has to fit.
    ServiceManager,
    /// The gate before this one. What the configuration no longer names is let go of.
    Predecessor,
}

/// One of them.
#[derive(Debug)]
pub struct GivenSocket {
    socket: TcpListener,
    address: SocketAddr,
    /// It is bound to the IPv4 addresses as well.
    both_families: bool,
    /// "http", "https" or "metrics"; anything else says nothing.
    name: String,
    /// The address that the configuration had it by.
    configured: Option<SocketAddr>,
}

impl GivenSocket {
    /// Takes `socket`, if it is one that listens. It will not block from now on.
    pub fn new(socket: TcpListener, name: String, configured: Option<SocketAddr>) -> io::Result<Self> {
        if !socket_acceptconn(&socket)? {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not listening"));
        }
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let both_families =
            address.is_ipv6() && address.ip().is_unspecified() && !ipv6_v6only(&socket).unwrap_or(true);
        Ok(Self { socket, address, both_families, name, configured })
    }

    fn is_for(&self, name: &str, wanted: SocketAddr) -> bool {
        let is_there = self.address == wanted || self.covers(wanted);
        match self.configured {
            // What was HTTP may be HTTPS from now on; only of port 0 there can be several.
            Some(configured) => is_there || configured == wanted && (wanted.port() != 0 || self.name == name),
            None => is_there && (self.name == name || !NAMES.contains(&self.name.as_str())),
        }
    }

    /// `[::]` of both families is `0.0.0.0` as well.
    fn covers(&self, wanted: SocketAddr) -> bool {
        self.both_families && wanted == SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.address.port()))
    }
}

/// A socket that fits no address of the configuration.
#[derive(Debug, thiserror::Error)]
#[error(
    "the service manager passed a socket for {address}{}, and [listen] has no address that it fits: {hint}",
    Named(name)
)]
pub struct Unfit {
    address: SocketAddr,
    name: String,
    hint: &'static str,
}

struct Named<'a>(&'a str);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " named {:?}", self.0) }
    }
}

/// Sockets that were given, and are given out by the addresses that are wanted.
#[derive(Debug)]
pub struct Given {
    source: Source,
    left: Vec<GivenSocket>,
    /// Where any of them listens.
    addresses: Vec<SocketAddr>,
}

impl Given {
    /// Those of `source`.
    pub fn new(source: Source, sockets: Vec<GivenSocket>) -> Self {
        let addresses = sockets.iter().map(|socket| socket.address).collect();
        Self { source, left: sockets, addresses }
    }

    /// None.
    pub fn nothing() -> Self {
        Self::new(Source::Predecessor, Vec::new())
    }

    /// For each of the `wanted` names and addresses what was given for it, if anything was. Those of a service manager go
    /// by their address; what is left by then, and has a name, takes the place of an address of that name for which
    /// nothing was given.
    pub fn give_out(&mut self, wanted: &[(&str, SocketAddr)]) -> Result<Vec<Option<Bound>>, Unfit> {
        let mut found: Vec<Option<Bound>> = wanted.iter().map(|_| None).collect();
        let order = by_family(wanted);
        for &at in &order {
            let (name, address) = wanted[at];
            let (fitting, left): (Vec<_>, Vec<_>) =
                self.left.drain(..).partition(|given| given.is_for(name, address));
            self.left = left;
            let Some(first) = fitting.first() else { continue };
            // Of sockets that were asked for with port 0 each has an address of its own.
            let bound_to = first.address;
            let (same, others): (Vec<_>, Vec<_>) =
                fitting.into_iter().partition(|given| given.address == bound_to);
            self.left.extend(others);
            let covered = wanted.iter().position(|&(_, other)| same[0].covers(other) && other != address);
            if let Some(covered) = covered.filter(|&covered| found[covered].is_none()) {
                // The same socket is there already.
                found[covered] = Some(Bound { address: wanted[covered].1, sockets: Vec::new() });
            }
            found[at] = Some(Bound {
                address: bound_to,
                sockets: same.into_iter().map(|given| given.socket).collect(),
            });
        }
        if self.source == Source::ServiceManager {
            self.give_out_by_name(wanted, &mut found)?;
        }
        Ok(found)
    }

    fn give_out_by_name(
        &mut self,
        wanted: &[(&str, SocketAddr)],
        found: &mut [Option<Bound>],
    ) -> Result<(), Unfit> {
        for given in std::mem::take(&mut self.left) {
            let is_free = |&at: &usize| found[at].is_none() && wanted[at].0 == given.name;
            let is_of_family = |&at: &usize| wanted[at].1.is_ipv4() == given.address.is_ipv4();
            let free = || (0..wanted.len()).filter(is_free);
            match free().find(is_of_family).or_else(|| free().next()) {
                Some(at) => found[at] = Some(Bound { address: given.address, sockets: vec![given.socket] }),
                None => return Err(given.unfit(wanted)),
            }
        }
        Ok(())
    }

    /// Binds `address` for so many workers, beside those that were given.
    pub fn bind(&self, address: SocketAddr, workers: usize) -> io::Result<Bound> {
        bind_beside(address, workers, &self.addresses)
    }
}

impl GivenSocket {
    fn unfit(self, wanted: &[(&str, SocketAddr)]) -> Unfit {
        let is_named = wanted.iter().any(|(name, _)| *name == self.name);
        let hint = if is_named {
            "as many sockets of that name were passed as there are addresses"
        } else {
            "add its address there, or name the socket http or https"
        };
        Unfit { address: self.address, name: self.name, hint }
    }
}

/// The order to look in: IPv6 first, as a socket of both families is best taken for what it is called.
fn by_family(wanted: &[(&str, SocketAddr)]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|&at| wanted[at].1.ip() != Ipv6Addr::UNSPECIFIED);
    order
}

/// Deals `sockets` out to so many workers. Every socket has one at least that accepts from it, and every worker has one at
/// least, which it may share.
pub fn share(sockets: Vec<TcpListener>, workers: usize) -> io::Result<Vec<Vec<TcpListener>>> {
    let mut dealt: Vec<Vec<TcpListener>> = (0..workers).map(|_| Vec::new()).collect();
    if sockets.is_empty() || workers == 0 {
        return Ok(dealt);
    }
    for number in sockets.len()..workers {
        let shared = sockets[number % sockets.len()].try_clone()?;
        dealt[number].push(shared);
    }
    for (number, socket) in sockets.into_iter().enumerate() {
        dealt[number % workers].push(socket);
    }
    Ok(dealt)
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Socket, Type};

    use super::*;

    fn listening(address: &str) -> (TcpListener, SocketAddr) {
        let socket = TcpListener::bind(address).unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    fn given(socket: &TcpListener, name: &str) -> GivenSocket {
        GivenSocket::new(socket.try_clone().unwrap(), name.into(), None).unwrap()
    }

    fn any(port: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, port).into()
    }

    #[test]
    fn a_socket_is_known_by_its_address_and_else_by_its_name() {
        let ((one, at), (other, elsewhere)) = (listening("127.0.0.1:0"), listening("127.0.0.1:0"));
        let mut sockets =
            Given::new(Source::ServiceManager, vec![given(&other, "https"), given(&one, "unknown")]);
        let wanted = [("http", any(1)), ("http", at), ("https", any(2))];
        let found = sockets.give_out(&wanted).unwrap();
        assert!(found[0].is_none());
        assert_eq!(found[1].as_ref().unwrap().address, at);
        assert_eq!(found[2].as_ref().unwrap().address, elsewhere);
    }

    #[test]
    fn what_fits_nothing_is_told_of() {
        let (one, at) = listening("127.0.0.1:0");
        for (name, http) in [("", any(1)), ("gopher", any(1)), ("https", any(1)), ("https", at)] {
            let mut sockets = Given::new(Source::ServiceManager, vec![given(&one, name)]);
            let error = sockets.give_out(&[("http", http)]).unwrap_err().to_string();
            assert!(error.contains(&at.to_string()) && error.contains(name), "{error}");
        }
    }

    #[test]
    fn more_of_a_name_than_there_are_addresses_is_told_of() {
        let (one, other) = (listening("127.0.0.1:0").0, listening("127.0.0.1:0").0);
        let mut sockets =
            Given::new(Source::ServiceManager, vec![given(&one, "http"), given(&other, "http")]);
        assert!(sockets.give_out(&[("http", any(1))]).unwrap_err().to_string().contains("as many"));
    }

    #[test]
    fn one_of_both_families_stands_for_both() {
        let socket = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
        socket.set_only_v6(false).unwrap();
        if socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).into()).is_err() {
            return; // no IPv6 here
        }
        socket.listen(1).unwrap();
        let socket = TcpListener::from(socket);
        let port = socket.local_addr().unwrap().port();
        let (v4, v6) = ((Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into());
        for wanted in [vec![("http", v4), ("http", v6)], vec![("http", v4)], vec![("http", v6)]] {
            let mut sockets = Given::new(Source::ServiceManager, vec![given(&socket, "")]);
            let found = sockets.give_out(&wanted).unwrap();
            assert!(found.iter().all(Option::is_some));
            assert_eq!(found.iter().flatten().map(|bound| bound.sockets.len()).sum::<usize>(), 1);
        }
    }

    #[test]
    fn a_gate_that_follows_knows_them_by_how_they_were_configured_and_leaves_the_rest() {
        let (sockets, addresses): (Vec<_>, Vec<_>) = (0..3).map(|_| listening("127.0.0.1:0")).unzip();
        let any = any(0);
        let handed = [("http", any), ("https", any), ("http", addresses[2])];
        let handed = handed.iter().zip(&sockets).map(|((name, configured), socket)| {
            let socket = socket.try_clone().unwrap();
            GivenSocket::new(socket, (*name).into(), Some(*configured)).unwrap()
        });
        let mut given = Given::new(Source::Predecessor, handed.collect());
        let found = given.give_out(&[("https", any), ("http", any)]).unwrap();
        let found: Vec<_> = found.into_iter().map(|bound| bound.unwrap().address).collect();
        assert_eq!(found, [addresses[1], addresses[0]]);
    }

    #[test]
    fn what_does_not_listen_is_refused() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&any(0).into()).unwrap();
        assert!(GivenSocket::new(socket.into(), String::new(), None).is_err());
    }

    #[test]
    fn every_socket_has_a_worker_and_every_worker_a_socket() {
        for (sockets, workers) in [(1, 1), (1, 4), (4, 1), (3, 2), (2, 3), (0, 2)] {
            let sockets: Vec<_> = (0..sockets).map(|_| listening("127.0.0.1:0").0).collect();
            let all: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
            let dealt = share(sockets, workers).unwrap();
            let dealt: Vec<Vec<_>> = dealt
                .iter()
                .map(|own| own.iter().map(|socket| socket.local_addr().unwrap()).collect())
                .collect();
            assert_eq!(dealt.len(), workers);
            assert!(all.iter().all(|socket| dealt.iter().flatten().any(|dealt| dealt == socket)));
            assert!(all.is_empty() || dealt.iter().all(|own| !own.is_empty()));
        }
    }
}
