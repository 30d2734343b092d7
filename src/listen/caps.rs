//! How many connections there may be: in all, and per client.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts connections and says no to those over the limits.
#[derive(Debug, Default)]
pub struct Caps {
    open: AtomicUsize,
    refused: AtomicU64,
    // One lock for all clients: it is held for one hash look-up per connection, which costs nothing beside
    // a TLS handshake. Full addresses live here, in memory, and nowhere else.
    clients: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection's place. Giving it back is dropping it.
#[derive(Debug)]
pub struct Permit {
    caps: Arc<Caps>,
    client: IpAddr,
}

impl Caps {
    /// A place for a connection from `client`, unless there are `total` connections or `per_client` of this
    /// client already.
    pub fn admit(self: &Arc<Self>, client: IpAddr, total: usize, per_client: usize) -> Option<Permit> {
        let client = network_of(client);
        let permit = self.try_admit(client, total, per_client);
        if permit.is_none() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        permit
    }

    fn try_admit(self: &Arc<Self>, client: IpAddr, total: usize, per_client: usize) -> Option<Permit> {
        if self.open.load(Ordering::Relaxed) >= total {
            return None;
        }
        // A poisoned lock means a panic elsewhere; the counts it guards are whole after every statement.
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let count = clients.entry(client).or_default();
        if *count >= per_client {
            return None;
        }
        *count += 1;
        self.open.fetch_add(1, Ordering::Relaxed);
        Some(Permit { caps: self.clone(), client })
    }

    /// Connections open now, those that linger included.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections refused since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.caps.open.fetch_sub(1, Ordering::Relaxed);
        let mut clients = self.caps.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = clients.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                clients.remove(&self.client);
            }
        }
    }
}

/// What counts as one client: an IPv4 address, or an IPv6 /64, which is what one host is given.
pub fn network_of(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(v6) => {
            let bits = u128::from(v6) & !u128::from(u64::MAX);
            IpAddr::V6(bits.into())
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_client_cannot_take_all_places() {
        let caps = Arc::new(Caps::default());
        let held: Vec<_> = (0..2).filter_map(|_| caps.admit(ip("192.0.2.1"), 10, 2)).collect();
        assert_eq!(held.len(), 2);
        assert!(caps.admit(ip("192.0.2.1"), 10, 2).is_none());
        assert!(caps.admit(ip("192.0.2.2"), 10, 2).is_some());
        assert_eq!(caps.refused(), 1);
    }

    #[test]
    fn addresses_of_one_ipv6_host_count_as_one_client() {
        let caps = Arc::new(Caps::default());
        let _held = caps.admit(ip("2001:db8::1"), 10, 1).unwrap();
        assert!(caps.admit(ip("2001:db8::ffff:2"), 10, 1).is_none());
        assert!(caps.admit(ip("2001:db8:0:1::1"), 10, 1).is_some());
    }

    #[test]
    fn a_place_given_back_is_free_again() {
        let caps = Arc::new(Caps::default());
        drop(caps.admit(ip("192.0.2.1"), 1, 1).unwrap());
        assert_eq!(caps.open(), 0);
        assert!(caps.clients.lock().unwrap().is_empty());
        assert!(caps.admit(ip("::ffff:192.0.2.1"), 1, 1).is_some());
    }

    #[test]
    fn the_total_bounds_everybody() {
        let caps = Arc::new(Caps::default());
        let _held = caps.admit(ip("192.0.2.1"), 1, 9).unwrap();
        assert!(caps.admit(ip("192.0.2.2"), 1, 9).is_none());
    }
}
