//! What clients may take of what all of them share: the line, the UI's time, and memory for what they send.
//!
//! One [`Limiter`] for the process, which outlives reloads: who has waited keeps their place, and who has used up their
//! requests gets no new ones for it. Clients are told apart by [`network_of`]; their addresses are in memory, for as
//! long as they take something, and nowhere else.

mod bodies;
mod bucket;
mod requests;
mod share;

use std::net::IpAddr;
use std::sync::Arc;

pub use bodies::{Bodies, Held, NoRoom};
pub use bucket::{Bucket, Paced};
pub use requests::Requests;
pub use share::{Share, Turn};

use crate::config;

/// Everything that is shared out.
#[derive(Debug, Default)]
pub struct Limiter {
    /// The line, by `limits.total_rate`.
    pub share: Arc<Share>,
    /// Requests for the UI's expensive pages, by `limits.requests`.
    pub requests: Requests,
    /// Memory for request bodies, by `limits.bodies`.
    pub bodies: Bodies,
}

impl Limiter {
    /// Shares out by `limits`.
    pub fn new(limits: &config::Limits) -> Arc<Self> {
        let limiter = Self::default();
        limiter.reconfigure(limits);
        Arc::new(limiter)
    }

    /// Goes by `limits` from now on. What has begun at no rate goes on at none.
    pub fn reconfigure(&self, limits: &config::Limits) {
        self.share.set_rate(limits.total_rate);
        self.bodies.set_limit(limits.bodies, limits.body);
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
