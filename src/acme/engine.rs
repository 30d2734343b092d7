//! What is known about every site, and where from.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::account::Accounts;
use super::challenges::Challenges;
use super::clock::Time;
use super::http::Http;
use super::ledger::Ledger;
use super::renewal_info;
use super::schedule::{self, Known, Lifetime};
use super::settings::{Directory, Settings, Site};
use super::state::{State, States};
use super::store::{Loaded, Store};

/// The folders and settings that tries are made with.
#[derive(Clone)]
pub(super) struct Engine {
    pub settings: Settings,
    pub challenges: Arc<Challenges>,
    pub store: Store,
    pub states: States,
    pub ledger: Ledger,
    pub accounts: Accounts,
}

/// How a site stands.
pub(super) struct Standing {
    pub certificate: Option<Loaded>,
    pub state: State,
    pub known: Known,
}

impl Engine {
    pub(super) fn new(settings: Settings, challenges: Arc<Challenges>) -> Self {
        Self {
            store: Store::new(&settings.state),
            states: States::new(settings.path("sites")),
            ledger: Ledger::new(settings.path("orders.json")),
            accounts: Accounts::new(settings.path("accounts")),
            challenges,
            settings,
        }
    }

    /// Goes by `settings` from now on. What could not be written is kept, unless the folder is another one.
    pub(super) fn reconfigure(&mut self, settings: Settings) {
        if settings.state == self.settings.state {
            self.settings = settings;
        } else {
            *self = Self::new(settings, self.challenges.clone());
        }
    }

    /// How `site` stands, by what is on disk.
    pub(super) fn standing(&self, site: &Site, now: Time) -> Standing {
        let certificate = self.store.load(site.key()).ok();
        let state = self.states.read(site.key(), &site.names, now);
        let facts = certificate.as_ref().map(|loaded| &loaded.facts);
        let known = Known {
            certificate: facts.map(|facts| Lifetime {
                not_before: facts.not_before,
                not_after: facts.not_after,
                complete: facts.covers(&site.names),
                seed: facts.seed,
            }),
            window: state.window_of(facts.and_then(|facts| facts.ari_id.as_deref())),
            succeeded: state.succeeded,
            failures: state.failures,
            failed: state.failed,
            retry_after: self.next_ca(&state, now).and_then(|ca| state.patience_with(&ca.url)),
            capped_until: self.ledger.capped_until(&site.names, now),
        };
        Standing { certificate, state, known }
    }

    /// The CA to ask next.
    pub(super) fn next_ca(&self, state: &State, now: Time) -> Option<&Directory> {
        let all = &self.settings.directories;
        let patience =
            |ca: &Directory| state.patience_with(&ca.url).map_or(Duration::ZERO, |until| until.since(now));
        let patience: Vec<Duration> = all.iter().map(patience).collect();
        all.get(schedule::directory(state.ca_failures, &patience))
    }

    /// Asks when the CA wants the certificate of `site` renewed, if it is time to ask.
    pub(super) async fn ask_window(&self, site: &Site, now: Time) {
        let Standing { certificate, mut state, .. } = self.standing(site, now);
        let Some((certificate, ari_id)) =
            certificate.as_ref().and_then(|loaded| Some((loaded, loaded.facts.ari_id.as_deref()?)))
        else {
            return;
        };
        let planned = state.renewal.as_ref().filter(|renewal| renewal.ari_id == ari_id);
        if !schedule::window_is_due(planned.map(|renewal| renewal.ask_again), now) {
            return;
        }
        let Some(ca) = self.issuer(certificate) else { return };
        let Ok(http) = Http::new(ca.ca_file.as_deref(), &self.settings.timings) else { return };
        let renewal =
            renewal_info::ask(&ca.url, ari_id, state.renewal.as_ref(), &self.accounts, &http, now).await;
        if let Some(window) = renewal.window.filter(|_| state.window_of(Some(ari_id)) != renewal.window) {
            let why = renewal.explanation.as_deref().map(|url| format!(" ({url})")).unwrap_or_default();
            info!(
                "acme: {}: the CA suggests renewal from {} to {}{why}",
                site.key(),
                window.start,
                window.end
            );
        }
        state.renewal = Some(renewal);
        if let Err(error) = self.states.write(site.key(), &state) {
            warn!("acme: {}: {error}", site.key());
        }
    }

    /// The configured CA that a certificate is from.
    pub(super) fn issuer(&self, loaded: &Loaded) -> Option<&Directory> {
        let origin = loaded.origin.as_ref()?;
        self.settings.directories.iter().find(|ca| ca.url == origin.directory)
    }
}
