//! What can change while the gate runs, and who changes it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tracing::{error, info, warn};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::certificates::{OnFailure, Shown, Wardrobe, for_tls};
use super::reload;
use super::watch::{Look, Watches};
use crate::acme::Manager;
use crate::admin::Gate;
use crate::admin::ca::LastSeen;
use crate::cache::Cache;
use crate::config::Config;
use crate::control::{CertificateStatus, Handler, LastReload, Listening, Reply, Request, SiteStatus, Status};
use crate::listen::Caps;
use crate::log::dropped_lines;
use crate::proxy::Live;
use crate::tls::CertificateStore;

/// Swaps configurations, certificates and gates, one swap at a time.
pub(super) struct Supervisor {
    pub(super) live: Arc<Live>,
    pub(super) store: Arc<CertificateStore>,
    pub(super) caps: Arc<Caps>,
    pub(super) cache: Arc<Cache>,
    pub(super) listening: Listening,
    pub(super) started: Instant,
    pub(super) last_seen: Arc<LastSeen>,
    pub(super) state: Mutex<State>,
    /// Keeps the certificates that are ordered. None before the start and after the end.
    pub(super) acme: Mutex<Option<Manager>>,
}

/// What a swap leaves behind for the next one.
pub(super) struct State {
    pub(super) wardrobe: Wardrobe,
    pub(super) shown: Vec<Shown>,
    pub(super) watches: Watches,
    /// What was last said about certificates that cannot be taken up.
    pub(super) told: Vec<String>,
    pub(super) last_reload: Option<LastReload>,
}

impl Supervisor {
    /// Reads the configuration again. What is valid takes effect; else everything stays, and the reason is told.
    pub(super) fn reload(&self) -> Reply {
        let mut state = self.lock();
        let result = reload::reload(self, &mut state);
        let (notes, error) = match result {
            Ok(notes) => {
                info!("reloaded");
                for note in &notes {
                    info!("{note}");
                }
                (notes, None)
            }
            Err(why) => {
                error!("reload refused: {why}");
                (Vec::new(), Some(why))
            }
        };
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        state.last_reload = Some(LastReload { at, error: error.clone(), notes: notes.clone() });
        error.map_or(Reply::Done(notes), Reply::Failed)
    }

    /// Takes up files that changed on disk since they were last read.
    pub(super) fn take_up_changed_files(&self) {
        let mut state = self.lock();
        if let Some(look) = state.watches.certificates.changed() {
            self.take_up_certificates(&mut state, look);
        }
        if let Some(look) = state.watches.gate.changed() {
            let generation = self.live.load_full();
            let gate = load_gate(&generation.config, &self.last_seen);
            match generation.with_gate(gate) {
                Ok(generation) => self.live.store(Arc::new(generation)),
                // The prefix was good when this generation was made, and is the same.
                Err(error) => error!("the admin gate was not taken up: {error}"),
            }
            state.watches.gate.take_up(look);
        }
    }

    fn take_up_certificates(&self, state: &mut State, look: Look) {
        let problems = self.show_certificates(state);
        if problems.is_empty() {
            state.watches.certificates.take_up(look);
        } else if problems != state.told {
            // Tried again at every look, as the reason may go away without the files changing; told once.
            for problem in &problems {
                error!("certificate not taken up, the old one stays: {problem}");
            }
        }
        state.told = problems;
    }

    /// Shows the certificates as they are now, and says which could not be had.
    pub(super) fn show_certificates(&self, state: &mut State) -> Vec<String> {
        let config = self.live.load().config.clone();
        let (shown, problems) = state.wardrobe.load(&config, OnFailure::Keep);
        if let Some(shown) = shown
            && let Some(certificates) = for_tls(&shown)
        {
            let renewed = shown.iter().zip(&state.shown).filter(|(new, old)| new.pair.cert != old.pair.cert);
            for (new, _) in renewed {
                info!("new certificate for {}", new.names.join(" "));
            }
            self.store.replace(certificates);
            state.shown = shown;
        }
        problems.iter().map(ToString::to_string).collect()
    }

    /// How things are.
    fn status(&self) -> Status {
        let state = self.lock();
        let generation = self.live.load();
        let sites = generation.sites().iter().zip(&state.shown).map(|(site, shown)| SiteStatus {
            names: site.settings.names.clone(),
            publish: site.settings.publish.as_ref().map(|backend| format!("http://{backend}")),
            ci: site.settings.ci.as_ref().map(|backend| format!("http://{backend}")),
            certificate: CertificateStatus { source: shown.source.into(), not_after: not_after(shown) },
        });
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            uptime: self.started.elapsed().as_secs(),
            listen: self.listening.clone(),
            sites: sites.collect(),
            admin_closed: generation.gate.closed_because().map(|closed| closed.to_string()),
            connections: self.caps.open(),
            connections_refused: self.caps.refused(),
            log_lines_dropped: dropped_lines(),
            last_reload: state.last_reload.clone(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A swap that panicked left the old state or the new one: both are whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handler for Supervisor {
    fn handle(&self, request: Request) -> Reply {
        match request {
            Request::Reload => self.reload(),
            Request::Renew { names, force } => self.renew(&names, force),
            Request::Certificates => self.certificates(),
            Request::Status => Reply::Status(Box::new(self.status())),
            Request::CacheStats => Reply::CacheStats(self.cache.stats()),
            Request::CacheList(which) => Reply::CacheList(self.cache.list(&which)),
            Request::CachePurge(which) => match self.cache.purge(&which) {
                Ok(count) => Reply::Done(vec![format!("{count} purged")]),
                Err(error) => Reply::Failed(format!("not all of it could be removed: {error}")),
            },
        }
    }
}

/// Loads the gate, and logs what an operator should know of it.
pub(super) fn load_gate(config: &Config, last_seen: &Arc<LastSeen>) -> Arc<Gate> {
    let gate = Gate::load(&config.admin.client_ca, &config.admin.crl)
        .with_own_revocations(&config.paths.state)
        .with_last_seen(last_seen.clone());
    if let Some(closed) = gate.closed_because() {
        warn!("{} is closed: {closed}", config.admin.prefix);
    }
    for warning in gate.warnings() {
        warn!("{warning}");
    }
    Arc::new(gate)
}

fn not_after(shown: &Shown) -> i64 {
    shown
        .pair
        .cert
        .first()
        .and_then(|leaf| X509Certificate::from_der(leaf).ok())
        .map_or(0, |(_, leaf)| leaf.validity().not_after.timestamp())
}
