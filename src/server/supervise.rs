//! What can change while the gate runs, and who changes it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tracing::{error, info, warn};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::certificates::{OnFailure, Shown, Wardrobe, for_tls};
use super::endpoint::Endpoint;
use super::names::Names;
use super::reload;
use super::service_manager::ServiceManager;
use super::succession::Succession;
use super::unwritten::Unwritten;
use super::watch::{Look, Watches};
use crate::acme::{self, Challenges, Manager};
use crate::admin::Gate;
use crate::admin::ca::LastSeen;
use crate::cache::Cache;
use crate::config::{self, Config};
use crate::control::{
    BackendFailure, BackendStatus, CertificateStatus, Handler, LastReload, Listening, Reply, Request,
    SiteStatus, Status,
};
use crate::history::History;
use crate::limits::Limiter;
use crate::listen::Caps;
use crate::log::dropped_lines;
use crate::metrics::{self, Metrics, Observed, Role, Surroundings};
use crate::process::Confined;
use crate::proxy::{Live, Site};
use crate::tls::CertificateStore;

/// Swaps configurations, certificates and gates, one swap at a time.
pub(super) struct Supervisor {
    /// Itself, for threads that outlive a call.
    pub(super) this: Weak<Self>,
    pub(super) live: Arc<Live>,
    pub(super) store: Arc<CertificateStore>,
    pub(super) caps: Arc<Caps>,
    pub(super) limiter: Arc<Limiter>,
    pub(super) cache: Arc<Cache>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) history: Arc<History>,
    pub(super) listening: Listening,
    pub(super) started: Instant,
    pub(super) last_seen: Arc<LastSeen>,
    /// What is said about files that cannot be written.
    pub(super) unwritten: Unwritten,
    /// The folders that are left to this process; none where all are.
    pub(super) confined: Option<Confined>,
    pub(super) state: Mutex<State>,
    /// Keeps the certificates that are ordered. None before the start and after the end.
    pub(super) acme: Mutex<Option<Manager>>,
    pub(super) challenges: Arc<Challenges>,
    pub(super) manager: ServiceManager,
    pub(super) succession: Succession,
    pub(super) names: Mutex<Names>,
    /// Turned true when no more connections are to be accepted.
    pub(super) shutdown: watch::Sender<bool>,
}

/// What a swap leaves behind for the next one.
pub(super) struct State {
    pub(super) wardrobe: Wardrobe,
    pub(super) shown: Vec<Shown>,
    pub(super) watches: Watches,
    /// What was last said about certificates that cannot be taken up.
    pub(super) told: Vec<String>,
    pub(super) last_reload: Option<LastReload>,
    /// Who answers Prometheus; none before the start, and where nobody should.
    pub(super) endpoint: Option<Endpoint>,
    /// Another gate decides about administrators, and this one lets none in any more.
    pub(super) admin_is_elsewhere: bool,
}

impl Supervisor {
    /// Reads the configuration again. What is valid takes effect; else everything stays, and the reason is told.
    pub(super) fn reload(&self) -> Reply {
        let _alone = self.succession.alone();
        if let Some(follower) = self.succession.follower() {
            return Reply::TakenOver(follower.pid);
        }
        self.manager.reloading();
        let reply = self.reload_alone();
        self.manager.ready(&match reply.error() {
            None => self.in_a_line(),
            Some(why) => format!("{}; the last reload was refused: {why}", self.in_a_line()),
        });
        if reply.error().is_none() {
            self.succession.admin_rules_changed();
        }
        reply
    }

    fn reload_alone(&self) -> Reply {
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
        self.metrics.reloaded(error.is_none());
        let at = seconds(SystemTime::now());
        state.last_reload = Some(LastReload { at, error: error.clone(), notes: notes.clone() });
        error.map_or(Reply::Done(notes), Reply::Failed)
    }

    /// Takes up files that changed on disk since they were last read.
    pub(super) fn take_up_changed_files(&self) {
        let mut state = self.lock();
        if let Some(look) = state.watches.certificates.changed() {
            self.take_up_certificates(&mut state, look);
        }
        if !state.admin_is_elsewhere
            && let Some(look) = state.watches.gate.changed()
        {
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
    pub(super) fn status(&self) -> Status {
        let state = self.lock();
        let generation = self.live.load();
        let sites = generation.sites().iter().zip(&state.shown).map(|(site, shown)| site_status(site, shown));
        let pace = self.metrics.pace();
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            uptime: self.started.elapsed().as_secs(),
            listen: Listening {
                metrics: state.endpoint.as_ref().map(|endpoint| endpoint.address),
                ..self.listening.clone()
            },
            sites: sites.collect(),
            admin_closed: generation.gate.closed_because().map(|closed| closed.to_string()),
            connections: self.caps.open(),
            connections_refused: self.caps.refused(),
            log_lines_dropped: dropped_lines(),
            last_reload: state.last_reload.clone(),
            totals: self.metrics.totals(),
            requests_per_second: pace.requests,
            bytes_per_second: pace.bytes_out,
            cache: self.cache.stats(),
            finishing: self.succession.finishing(),
        }
    }

    /// How things are, for a service manager.
    pub(super) fn in_a_line(&self) -> String {
        let sites: Vec<String> =
            self.live.load().sites().iter().filter_map(|site| site.settings.names.first().cloned()).collect();
        format!("serving {}", sites.join(", "))
    }

    /// Has the workers accept no more connections, and end those that wait for a request.
    pub(super) fn stop_accepting(&self) {
        // The receivers are there as long as their threads are; one that is gone needs no telling.
        let _ = self.shutdown.send(true);
    }

    /// Writes down what is only in memory otherwise, and may be lost without harm.
    pub(super) fn write_down(&self) {
        self.sample();
        if self.succession.follower().is_none() {
            self.unwritten.tell("the history of what was served", self.history.save());
        }
        self.unwritten.tell("the list of when certificates were last seen", self.last_seen.flush());
    }

    pub(super) fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A swap that panicked left the old state or the new one: both are whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handler for Supervisor {
    fn handle(&self, request: Request) -> Reply {
        let changes = matches!(request, Request::Renew { .. } | Request::CachePurge(_));
        // Not in the middle of a hand-over: what would be changed then is nobody's.
        let _alone = changes.then(|| self.succession.alone());
        if let Some(follower) = self.succession.follower() {
            return Reply::TakenOver(follower.pid);
        }
        match request {
            Request::Reload => self.reload(),
            Request::Upgrade { binary, config, patience } => self.upgrade(&binary, &config, patience),
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

impl Surroundings for Supervisor {
    fn observe(&self) -> Observed {
        let generation = self.live.load_full();
        let certificates = self
            .lock()
            .shown
            .iter()
            .map(|shown| metrics::Shown {
                site: shown.names.first().cloned().unwrap_or_default(),
                source: shown.source,
                not_after: not_after(shown),
            })
            .collect();
        let (renewals, renewals_failed) = self.acme_tries();
        Observed {
            cache: self.cache.stats(),
            connections_refused: self.caps.refused(),
            bodies: self.limiter.bodies.taken(),
            bodies_limit: self.limiter.bodies.limit(),
            log_lines_dropped: dropped_lines(),
            certificates,
            renewals,
            renewals_failed,
            admin_open: generation.gate.closed_because().is_none(),
        }
    }

    fn open_connections(&self) -> u64 {
        self.caps.open() as u64
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

fn site_status(site: &Site, shown: &Shown) -> SiteStatus {
    let url = |backend: &Option<config::Backend>| backend.as_ref().map(|backend| format!("http://{backend}"));
    let (publish, ci) = (url(&site.settings.publish), url(&site.settings.ci));
    let backends = [(Role::Publish, &publish), (Role::Ci, &ci)].into_iter().filter_map(|(role, url)| {
        let counted = site.metrics.backend(role);
        Some(BackendStatus {
            role: role.token().into(),
            url: url.clone()?,
            up: counted.health.is_up(),
            requests: counted.in_flight(),
            waiting: counted.waiting(),
            last_error: counted
                .health
                .last_outage()
                .map(|outage| BackendFailure { at: seconds(outage.at), why: outage.why }),
        })
    });
    let facts = shown.pair.cert.first().and_then(acme::Facts::read);
    SiteStatus {
        names: site.settings.names.clone(),
        backends: backends.collect(),
        publish,
        ci,
        certificate: CertificateStatus {
            source: shown.source.into(),
            not_after: not_after(shown),
            names: facts.as_ref().map(|facts| facts.names.clone()).unwrap_or_default(),
            issuer: facts.map(|facts| facts.issuer),
        },
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn not_after(shown: &Shown) -> i64 {
    shown
        .pair
        .cert
        .first()
        .and_then(|leaf| X509Certificate::from_der(leaf).ok())
        .map_or(0, |(_, leaf)| leaf.validity().not_after.timestamp())
}
