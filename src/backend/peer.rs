//! What the engine needs to know of a backend.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};

use super::connect::Connector;
use crate::config::{Backend, Timeouts};

/// Idle connections to a backend are given up after this long.
const IDLE: Duration = Duration::from_secs(60);

/// How a connection to a backend is to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Use {
    /// Short answers: the connection goes back to the pool.
    Pooled,
    /// Answers that end their connection, or that may not be asked for twice: a fresh one each time.
    Fresh,
    /// A store item: fresh, and with time for the backend to compress.
    Nar,
}

/// One backend, in the engine's terms.
#[derive(Clone, Debug)]
pub struct Peers {
    pooled: HttpPeer,
    fresh: HttpPeer,
    nar: HttpPeer,
}

impl Peers {
    /// Describes `backend`.
    pub fn new(backend: &Backend, timeouts: &Timeouts) -> Self {
        let connector = Arc::new(Connector::new(backend.clone(), timeouts.connect, timeouts.backend_restart));
        let make = |kind: Use, read: Duration, send: Duration| {
            // The connector knows the addresses. The engine's own idea of one is a key of its pool, and the
            // unspecified address is the one that it does not compare with a pooled connection's peer.
            let mut peer = HttpPeer::new((Ipv4Addr::UNSPECIFIED, backend.port), false, String::new());
            peer.group_key = group_key(backend, kind);
            peer.options.custom_l4 = Some(connector.clone());
            peer.options.read_timeout = Some(read);
            peer.options.write_timeout = Some(send);
            peer.options.idle_timeout = Some(if kind == Use::Pooled { IDLE } else { Duration::ZERO });
            peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
            peer
        };
        Self {
            pooled: make(Use::Pooled, timeouts.read, timeouts.send),
            fresh: make(Use::Fresh, timeouts.read, timeouts.send),
            nar: make(Use::Nar, timeouts.nar, timeouts.nar),
        }
    }

    /// The peer for a request.
    pub fn peer(&self, usage: Use) -> &HttpPeer {
        match usage {
            Use::Pooled => &self.pooled,
            Use::Fresh => &self.fresh,
            Use::Nar => &self.nar,
        }
    }
}

/// Keeps the pools of different backends, and of different uses, apart.
fn group_key(backend: &Backend, kind: Use) -> u64 {
    let mut hasher = DefaultHasher::new();
    backend.to_string().hash(&mut hasher);
    kind.hash(&mut hasher);
    hasher.finish()
}
