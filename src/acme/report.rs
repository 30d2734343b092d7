//! How the certificates stand, for `farmgate cert list`.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::challenges::Challenges;
use super::clock::Time;
use super::engine::{Engine, Standing};
use super::schedule::{self, Why};
use super::settings::{Settings, Site};

/// How one site's certificate stands. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SiteReport {
    /// The names that are wanted.
    pub names: Vec<String>,
    /// The names that the certificate in use is for; empty where there is none.
    pub certified: Vec<String>,
    /// Who signed it.
    pub issuer: Option<String>,
    /// Its number, in hexadecimal.
    pub serial: Option<String>,
    /// From when on it counts.
    pub not_before: Option<Time>,
    /// Until when.
    pub not_after: Option<Time>,
    /// When the next order is made.
    pub next_try: Time,
    /// What decides that.
    pub why: Why,
    /// The failures since the last success.
    pub failures: u32,
    /// What the last of them said.
    pub last_error: Option<String>,
    /// When that was.
    pub failed: Option<Time>,
    /// The file with the chain.
    pub chain: String,
    /// What a running gate is doing about it, or has last done.
    #[serde(default)]
    pub activity: Activity,
}

/// What a running gate does about a certificate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Activity {
    /// Counts the tries since the gate was started.
    pub tries: u64,
    /// One is under way.
    pub running: bool,
    /// The steps of this try, or of the last one.
    pub steps: Vec<String>,
    /// Whether the last try failed.
    pub failed: bool,
}

/// How the certificates of `settings` stand, by what is on disk. Needs no running gate.
pub fn report(settings: &Settings) -> Vec<SiteReport> {
    let engine = Engine::new(settings.clone(), Arc::new(Challenges::new(&settings.state)));
    settings.sites.iter().map(|site| engine.report(site, Activity::default())).collect()
}

impl Engine {
    pub(super) fn report(&self, site: &Site, activity: Activity) -> SiteReport {
        let now = Time::now();
        let Standing { certificate, state, known } = self.standing(site, now);
        let due = schedule::next(&known, now);
        let facts = certificate.map(|loaded| loaded.facts);
        let facts = facts.as_ref();
        SiteReport {
            names: site.names.clone(),
            certified: facts.map(|facts| facts.names.clone()).unwrap_or_default(),
            issuer: facts.map(|facts| facts.issuer.clone()),
            serial: facts.map(|facts| facts.serial.clone()),
            not_before: facts.map(|facts| facts.not_before),
            not_after: facts.map(|facts| facts.not_after),
            next_try: due.at.max(now),
            why: due.why,
            failures: state.failures,
            last_error: state.last_error,
            failed: state.failed,
            chain: display(&self.store.paths(site.key()).0),
            activity,
        }
    }
}

fn display(path: &Path) -> String {
    path.display().to_string()
}
