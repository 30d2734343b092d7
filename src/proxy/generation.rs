//! Everything a request needs to know, whole: either all of the old configuration or all of the new.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::admin::Gate;
use crate::backend::{Backends, Peers};
use crate::config::{self, Config};
use crate::log::AccessLog;
use crate::metrics::{self, Metrics, Role};
use crate::route::{self, AdminDoor, AdminPrefix, BadAdminPrefix, BadTarget, Door};

/// Where Cuirass has its admin pages.
const CUIRASS_ADMIN: &str = "/admin";
/// Where the gate has its own page, below the admin prefix.
const PAGE: &str = "gate";

/// The generation in force. A request takes it once and keeps it.
pub type Live = ArcSwap<Generation>;

/// A configuration, made ready for requests.
#[derive(Debug)]
pub struct Generation {
    /// The configuration it was made from.
    pub config: Arc<Config>,
    /// Where the admin pages begin. Cuirass knows its own prefix only, and is sent targets as they came: that
    /// one is guarded whatever the configuration says.
    guarded: Vec<AdminPrefix>,
    /// Where the gate's own page is: below the first of them.
    page: AdminPrefix,
    /// Who is let in there.
    pub gate: Arc<Gate>,
    /// The two access logs.
    pub logs: Logs,
    /// What is counted; the same from one generation to the next.
    pub metrics: Arc<Metrics>,
    /// How the backends stand; the same as well.
    pub backends: Arc<Backends>,
    /// In the configuration's order, and never empty.
    sites: Vec<Site>,
    by_name: HashMap<String, usize>,
}

/// One site, with its backends.
#[derive(Debug)]
pub struct Site {
    /// As configured.
    pub settings: config::Site,
    /// `guix publish`, where the site has one.
    pub publish: Option<Peers>,
    /// Cuirass, where the site has one.
    pub ci: Option<Peers>,
    /// What is counted about it.
    pub metrics: Arc<metrics::Site>,
}

/// The access logs of both ports.
#[derive(Clone, Debug)]
pub struct Logs {
    /// Of plain HTTP.
    pub http: Arc<AccessLog>,
    /// Of HTTPS.
    pub https: Arc<AccessLog>,
}

impl Logs {
    /// Opens the files anew, which somebody has put aside.
    pub fn reopen(&self) {
        self.each().for_each(AccessLog::reopen);
    }

    /// Puts the files aside by other rules from now on.
    pub fn rotate_by(&self, rules: &config::Rotate) {
        self.each().for_each(|log| log.rotate_by(rules));
    }

    /// Waits until all that was noted is written, for a moment at the most.
    pub fn close(&self) {
        self.each().for_each(AccessLog::close);
    }

    /// One file for both is one log.
    fn each(&self) -> impl Iterator<Item = &AccessLog> {
        let https = (!Arc::ptr_eq(&self.http, &self.https)).then_some(&*self.https);
        std::iter::once(&*self.http).chain(https)
    }
}

impl Generation {
    /// Makes `config` ready. Fails only on an admin prefix that the router cannot guard.
    pub fn new(
        config: Arc<Config>,
        gate: Arc<Gate>,
        logs: Logs,
        metrics: Arc<Metrics>,
        backends: Arc<Backends>,
    ) -> Result<Self, BadAdminPrefix> {
        let configured = AdminPrefix::parse(&config.admin.prefix)?;
        let page = AdminPrefix::parse(&format!("{configured}/{PAGE}"))?;
        let mut guarded = vec![configured];
        let cuirass = AdminPrefix::parse(CUIRASS_ADMIN)?;
        if !guarded.contains(&cuirass) {
            guarded.push(cuirass);
        }
        let sites: Vec<Site> = config
            .sites
            .iter()
            .map(|site| {
                let counted = metrics.site(site.names.first().map_or("", String::as_str));
                let peers = |backend: &Option<config::Backend>, role| {
                    let backend = backend.as_ref()?;
                    Some(Peers::new(backend, role, &config, &backends, counted.backend(role).clone()))
                };
                Site {
                    settings: site.clone(),
                    publish: peers(&site.publish, Role::Publish),
                    ci: peers(&site.ci, Role::Ci),
                    metrics: counted,
                }
            })
            .collect();
        let by_name = sites
            .iter()
            .enumerate()
            .flat_map(|(at, site)| site.settings.names.iter().map(move |name| (name.clone(), at)))
            .collect();
        Ok(Self { config, guarded, page, gate, logs, metrics, backends, sites, by_name })
    }

    /// The same generation with another gate.
    pub fn with_gate(&self, gate: Arc<Gate>) -> Result<Self, BadAdminPrefix> {
        let (metrics, backends) = (self.metrics.clone(), self.backends.clone());
        Self::new(self.config.clone(), gate, self.logs.clone(), metrics, backends)
    }

    /// The door that `target` leads to.
    pub fn door(&self, target: &[u8]) -> Result<Door, BadTarget> {
        let mut door = Door::Other;
        for prefix in &self.guarded {
            door = route::decide(target, prefix)?.door;
            if door == Door::Admin {
                break;
            }
        }
        Ok(door)
    }

    /// Who answers `target`, which leads to [`Door::Admin`].
    pub fn admin_door(&self, target: &[u8]) -> Result<AdminDoor, BadTarget> {
        route::admin_door(target, &self.page)
    }

    /// The path of the gate's own page, without a slash at the end.
    pub fn page(&self) -> String {
        self.page.to_string()
    }

    /// The site that has `name`: lower-case, without port and trailing dot.
    pub fn site_named(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The site at `index`, as `site_named` gave it; 0 is the one for hosts that no site names.
    pub fn site(&self, index: usize) -> &Site {
        &self.sites[index]
    }

    /// All sites, in the configuration's order.
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }
}
