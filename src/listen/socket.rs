//! Binding: one socket per worker thread for each address.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// New connections that may wait for a worker.
const BACKLOG: i32 = 4096;

/// An address that is listened on: one socket for each worker, among which the kernel spreads connections.
#[derive(Debug)]
pub struct Bound {
    /// The address, with the port that was given where 0 was asked for.
    pub address: SocketAddr,
    /// One per worker where they were bound here, non-blocking.
    pub sockets: Vec<TcpListener>,
}

/// Binds `address` once for each of `workers`.
///
/// With `SO_REUSEPORT` a second gate could bind the same port without anybody noticing, so the address is
/// first tried without it: a port that is taken is an error here, not a mystery later.
pub fn bind(address: SocketAddr, workers: usize) -> io::Result<Bound> {
    bind_beside(address, workers, &[])
}

/// The same beside sockets of this program that listen at `others`, which may be the same port of all addresses.
pub fn bind_beside(address: SocketAddr, workers: usize, others: &[SocketAddr]) -> io::Result<Bound> {
    let overlaps = |other: &SocketAddr| {
        other.port() == address.port() && (other.ip().is_unspecified() || address.ip().is_unspecified())
    };
    if address.port() != 0 && !others.iter().any(overlaps) {
        drop(open(address, false)?);
    }
    let first = open(address, true)?;
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..workers {
        sockets.push(open(address, true)?);
    }
    Ok(Bound { address, sockets })
}

fn open(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // "[::]:80" beside "0.0.0.0:80" is two sockets, as the configuration shows them.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_refused_even_by_our_own_kind() {
        let bound = bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        assert_eq!(bound.sockets.len(), 2);
        let again = bind(bound.address, 2).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
    }
}
