//! The certificates that are ordered: where the manager that keeps them meets the handshakes that show them.

use std::sync::{Arc, MutexGuard, PoisonError};

use tracing::error;

use super::supervise::Supervisor;
use crate::acme::{Manager, Settings};
use crate::control::Reply;
use crate::tls::Pair;

impl Supervisor {
    /// Starts to order certificates. A failure is no reason not to serve.
    pub(super) fn start_acme(self: &Arc<Self>) {
        // The manager is ours; if it held us too, neither would ever be dropped.
        let this = Arc::downgrade(self);
        let on_new_certificate = Arc::new(move |site: &str, pair: Pair| {
            if let Some(this) = this.upgrade() {
                this.take_up_ordered(site, pair);
            }
        });
        let settings = Settings::of(&self.live.load().config);
        match Manager::start(settings, self.challenges.clone(), on_new_certificate) {
            Ok(manager) => *self.acme() = Some(manager),
            Err(error) => error!("certificates are not ordered: {error}"),
        }
    }

    /// Stops ordering. What is under way is taken up at the next start.
    pub(super) fn stop_acme(&self) {
        let manager = self.acme().take();
        drop(manager);
    }

    /// From now on goes by the configuration in force.
    pub(super) fn reconfigure_acme(&self) {
        if let Some(manager) = self.acme().as_ref() {
            manager.reconfigure(Settings::of(&self.live.load().config));
        }
    }

    /// Has the sites with `names` renewed.
    pub(super) fn renew(&self, names: &[String], force: bool) -> Reply {
        let acme = self.acme();
        let Some(manager) = acme.as_ref() else {
            return Reply::Failed("the gate orders no certificates; its log says why".into());
        };
        Reply::Renewals(names.iter().map(|name| (name.clone(), manager.renew(name, force))).collect())
    }

    /// How the certificates stand that are ordered.
    pub(super) fn certificates(&self) -> Reply {
        Reply::Certificates(self.acme().as_ref().map(Manager::report).unwrap_or_default())
    }

    /// Tries to get a certificate since the start: those that did, and those that did not.
    pub(super) fn acme_tries(&self) -> (u64, u64) {
        self.acme().as_ref().map(Manager::tries).unwrap_or_default()
    }

    fn take_up_ordered(&self, site: &str, pair: Pair) {
        let mut state = self.lock();
        state.wardrobe.hand_on(site, pair);
        for problem in self.show_certificates(&mut state) {
            error!("certificate not taken up, the old one stays: {problem}");
        }
    }

    /// The certificate manager. Who has locked it must not lock the state: a reload does it the other way round.
    fn acme(&self) -> MutexGuard<'_, Option<Manager>> {
        self.acme.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
