//! What is known of each backend, shared by all sites and workers, and kept from one configuration to the next.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use super::connect::Known;
use super::nars::Nars;
use super::slots::{Share, Slots};
use crate::config::{Backend, BackendLimits};

/// One client has at most one in so many of a backend's slots for nars: they last as long as a client likes, and a few
/// that like it very long must not have them all.
const NARS_PER_CLIENT: u32 = 4;

/// All backends that are configured, by their address: two sites may have the same one.
#[derive(Debug, Default)]
pub struct Backends(Mutex<HashMap<String, Arc<Standing>>>);

/// How one backend stands.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) known: Arc<Known>,
    /// Requests that it has not begun to answer.
    pub(super) requests: Arc<Slots>,
    /// Nars and files that are on their way.
    pub(super) nars: Arc<Slots>,
    /// Nars that it compresses just now.
    pub(super) live: Arc<Nars>,
    /// Requests are being refused, and the log has said so.
    pub(super) refuses: AtomicBool,
}

impl Backends {
    /// What is known of `backend`, which has these limits from now on.
    pub(super) fn get(&self, backend: &Backend, limits: &BackendLimits) -> Arc<Standing> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those of an older configuration go with the last request that uses them.
        all.retain(|_, standing| Arc::strong_count(standing) > 1);
        let standing = all.entry(backend.to_string()).or_insert_with(|| {
            Arc::new(Standing {
                known: Arc::default(),
                requests: Arc::new(Slots::new(limits.requests, limits.queue, Share::All)),
                nars: Arc::new(Slots::new(limits.nars, limits.queue, Share::OneIn(NARS_PER_CLIENT))),
                live: Arc::default(),
                refuses: AtomicBool::new(false),
            })
        });
        standing.requests.resize(limits.requests, limits.queue);
        standing.nars.resize(limits.nars, limits.queue);
        standing.clone()
    }
}
