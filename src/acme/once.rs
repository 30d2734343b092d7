//! Renewing because somebody asks for it.

use std::sync::Arc;

use super::challenges::Challenges;
use super::clock::Time;
use super::engine::Engine;
use super::lock::Lock;
use super::schedule::{self, Known};
use super::settings::{Settings, Site};

/// How a renewal without a running gate went.
#[derive(Debug)]
pub enum Once {
    /// There is a new certificate.
    Renewed,
    /// It was not due until then, and nobody insisted.
    NotDue(Time),
    /// The CA's patience, or our own, is used up until then.
    HeldBack(Time),
    /// Another process is at it.
    Busy,
    /// It failed, and why.
    Failed(String),
}

/// Renews the certificate of `site` in this process, for when no gate is running. Somebody has to answer challenges
/// on port 80 meanwhile: see [`respond`](super::respond).
pub async fn renew_once(
    settings: &Settings,
    site: &Site,
    force: bool,
    challenges: Arc<Challenges>,
    watcher: impl Fn(&str) + Send + Sync + 'static,
) -> Once {
    let _lock = match Lock::try_take(&settings.state) {
        Ok(Some(lock)) => lock,
        Ok(None) => return Once::Busy,
        Err(error) => return Once::Failed(error.to_string()),
    };
    let engine = Engine::new(settings.clone(), challenges);
    let now = Time::now();
    if let Some(refused) = engine.not_now(site, force, now) {
        return refused;
    }
    match engine.attempt(site, true, None, Arc::new(watcher)).await {
        Ok(_) => Once::Renewed,
        Err(failed) => Once::Failed(failed.failure.message),
    }
}

impl Engine {
    /// Why somebody who asks for a new certificate does not get one now. Without `force` the schedule has the say,
    /// apart from waits after failures; with it only the caps do.
    pub(super) fn not_now(&self, site: &Site, force: bool, now: Time) -> Option<Once> {
        let known = self.standing(site, now).known;
        let allowed = schedule::next_if_asked(&known, now);
        if allowed.at > now {
            return Some(Once::HeldBack(allowed.at));
        }
        let wanted = schedule::next(&Known { failures: 0, failed: None, ..known }, now);
        (!force && wanted.at > now).then_some(Once::NotDue(wanted.at))
    }
}
