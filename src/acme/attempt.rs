//! One try to get one site a new certificate, with all that is looked at before and after.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use instant_acme::CertificateIdentifier;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tracing::{info, warn};

use super::account::Accounts;
use super::certificate::Facts;
use super::challenges::Challenges;
use super::clock::Time;
use super::failure::Failure;
use super::http::Http;
use super::ledger::Ledger;
use super::lock::Lock;
use super::order::{Issued, Job};
use super::pending::PendingFile;
use super::preflight;
use super::progress::{Progress, Watcher};
use super::renewal_info;
use super::schedule::{self, Due, Known, Lifetime};
use super::settings::{Directory, Settings, Site};
use super::state::{State, States, in_words};
use super::store::{Loaded, Origin, Store};

/// A clock that is this far from the CA's is wrong.
const SKEW: Duration = Duration::from_secs(24 * 3600);
/// Our own port 80 may be wrong about itself: after so many refusals in a row the CA is asked all the same, once.
const PORT_80_HEEDED: u32 = 3;

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
            retry_after: state.retry_after,
            capped_until: self.ledger.capped_until(&site.names, now),
        };
        Standing { certificate, state, known }
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
            info!("acme: {}: the CA suggests renewal from {} to {}{why}", site.key(), window.start, window.end);
        }
        state.renewal = Some(renewal);
        if let Err(error) = self.states.write(site.key(), &state) {
            warn!("acme: {}: {error}", site.key());
        }
    }

    /// Tries to get `site` a new certificate, and remembers how it went. The lock is held by the caller.
    pub(super) async fn attempt(&self, site: &Site, asked: bool, watcher: Watcher) -> Result<Loaded, Failed> {
        let progress = Progress::new(site.key(), watcher);
        let patience = self.settings.timings.attempt;
        let result = tokio::time::timeout(patience, self.try_once(site, asked, &progress)).await;
        let result = result.unwrap_or_else(|_| {
            Err(Failure::ca(format!("nothing came of it in {}", in_words(patience))).into())
        });
        let now = Time::now();
        let mut state = self.states.read(site.key(), &site.names, now);
        match &result {
            Ok(loaded) => {
                state.note_success(now);
                progress.tell(format!("new certificate, good until {}", loaded.facts.not_after));
            }
            Err(failed) => {
                state.note_failure(&failed.failure, now);
                (progress.watcher())(&failed.failure.message);
            }
        }
        if let Err(error) = self.states.write(site.key(), &state) {
            warn!("acme: {}: {error}", site.key());
        }
        if let Err(failed) = &result {
            let next = schedule::next(&self.standing(site, now).known, now);
            let fate = self.fate(site, now);
            warn!("acme: {}: {}; {fate}; next try {}", site.key(), failed.failure, next.at.max(now));
        }
        result
    }

    /// What is served meanwhile.
    fn fate(&self, site: &Site, now: Time) -> String {
        match self.store.load(site.key()).map(|loaded| loaded.facts.not_after) {
            Ok(end) if end > now => format!("the certificate in use is good for {}", in_words(end.since(now))),
            Ok(end) => format!("the certificate in use has EXPIRED {} ago", in_words(now.since(end))),
            Err(_) => "a stand-in is served".into(),
        }
    }

    async fn try_once(&self, site: &Site, asked: bool, progress: &Progress) -> Result<Loaded, Failed> {
        let now = Time::now();
        let Standing { certificate, state, known } = self.standing(site, now);
        let settings = &self.settings;
        let ca = settings
            .directories
            .get(schedule::directory(state.ca_failures, settings.directories.len()))
            .ok_or_else(|| Failure::us("no ACME directory is configured"))?;
        progress.tell(format!("asking {}", ca.url));
        preflight::check_folder(&settings.state)?;
        let http = Http::new(ca.ca_file.as_deref(), &settings.timings)?;
        let account = self.accounts.open(ca, &settings.contact, &http).await?;
        if !asked {
            check_clock(&http, &known, now)?;
        }
        let pending = self.pending_file(site, certificate.is_some());
        let job = Job {
            settings,
            site,
            ca,
            http: &http,
            accounts: &self.accounts,
            challenges: &self.challenges,
            ledger: &self.ledger,
            pending: &pending,
            progress,
            replaces: certificate.as_ref().and_then(|loaded| replaced(loaded, ca)),
            ask_port_80: state.failures % (PORT_80_HEEDED + 1) != PORT_80_HEEDED,
        };
        let issued = job.obtain(account).await?;
        let suggested = schedule::next(&known, now).why == schedule::Why::Suggested;
        let result = self.take(site, ca, &issued, certificate.as_ref().filter(|_| !asked && !suggested));
        // Kept only where it can still bring what is missing: the certificate that could not be stored.
        if !matches!(&result, Err(Failed { unsaved: Some(_), .. })) {
            pending.remove();
        }
        result
    }

    /// The order under way. One whose certificate is in use already has been brought to its end: we were stopped
    /// before it was forgotten.
    fn pending_file(&self, site: &Site, has_certificate: bool) -> PendingFile {
        let file = PendingFile(self.settings.path("pending").join(format!("{}.json", site.key())));
        if has_certificate
            && let Some(pending) = file.read()
            && let Ok(key) = std::fs::read_to_string(self.store.paths(site.key()).1)
            && key == pending.key
        {
            file.remove();
        }
        file
    }

    /// Looks at what the CA has sent, and stores it.
    fn take(
        &self,
        site: &Site,
        ca: &Directory,
        issued: &Issued,
        in_use: Option<&Loaded>,
    ) -> Result<Loaded, Failed> {
        let leaf = CertificateDer::pem_slice_iter(issued.chain.as_bytes()).next().and_then(Result::ok);
        let facts = leaf.as_ref().and_then(Facts::read);
        let facts = facts.ok_or_else(|| Failure::ca("the CA sent something that is no certificate"))?;
        if !facts.covers(&site.names) {
            let names = facts.names.join(" ");
            return Err(Failure::ca(format!("the CA's certificate is for {names} only: not taken")).into());
        }
        let origin = Origin {
            directory: ca.url.clone(),
            profile: ca.profile.clone(),
            key_type: self.settings.key_type.name().to_owned(),
            issued: Time::now(),
        };
        if let Some(in_use) = in_use
            && is_worse(&facts, &origin, in_use, site, origin.issued)
        {
            return Err(Failure::ca(format!(
                "the CA's certificate ends {}, before the one in use ({}): not taken",
                facts.not_after, in_use.facts.not_after
            ))
            .into());
        }
        self.store.install(site.key(), &issued.chain, &issued.key, &origin).map_err(|error| {
            let why = format!("the new certificate could not be stored: {error}");
            Failed { failure: Failure::us(why), unsaved: crate::tls::pair_from_pem(&issued.chain, &issued.key) }
        })
    }

    /// The configured CA that a certificate is from.
    fn issuer(&self, loaded: &Loaded) -> Option<&Directory> {
        let origin = loaded.origin.as_ref()?;
        self.settings.directories.iter().find(|ca| ca.url == origin.directory)
    }
}

/// A try that came to nothing, or to a certificate that could not be stored.
pub(super) struct Failed {
    pub failure: Failure,
    /// It can be served as long as we run.
    pub unsaved: Option<crate::tls::Pair>,
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self { failure, unsaved: None }
    }
}

/// A shorter certificate is no renewal, unless it is of another kind: then somebody wanted it so.
fn is_worse(new: &Facts, origin: &Origin, in_use: &Loaded, site: &Site, now: Time) -> bool {
    let same_kind = in_use.origin.as_ref().is_some_and(|old| {
        (&old.directory, &old.profile) == (&origin.directory, &origin.profile)
    });
    let usable = in_use.facts.covers(&site.names) && in_use.facts.is_valid_at(now);
    same_kind && usable && new.not_after < in_use.facts.not_after
}

/// What a new certificate from `ca` replaces: only the CA that made the old one knows it.
fn replaced(loaded: &Loaded, ca: &Directory) -> Option<CertificateIdentifier<'static>> {
    let origin = loaded.origin.as_ref().filter(|origin| origin.directory == ca.url)?;
    debug_assert_eq!(origin.directory, ca.url);
    renewal_info::identifier(loaded.facts.ari_id.as_deref()?)
}

/// Our clock may be years off. Then the CA's says whether anything is due: by a wrong clock every certificate has
/// just expired, the one that would come next too.
fn check_clock(http: &Http, known: &Known, now: Time) -> Result<(), Failure> {
    let Some(date) = http.heard().date.and_then(|date| date.duration_since(UNIX_EPOCH).ok()) else {
        return Ok(());
    };
    let theirs = Time::from_unix(i64::try_from(date.as_secs()).unwrap_or(i64::MAX));
    let skew = theirs.since(now).max(now.since(theirs));
    if skew < SKEW {
        return Ok(());
    }
    // Waits are measured by our clock and say nothing here.
    let plain = Known { certificate: known.certificate, window: known.window, ..Known::default() };
    let Due { at, .. } = schedule::next(&plain, theirs);
    let words = in_words(skew);
    if at <= theirs {
        warn!("acme: this machine's clock ({now}) is {words} away from the CA's ({theirs}): set it");
        return Ok(());
    }
    Err(Failure::us(format!(
        "this machine's clock ({now}) is {words} away from the CA's ({theirs}), by which nothing is due before {at}: \
         set the clock"
    )))
}

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
        Err(error) => return Once::Failed(format!("{}: {error}", settings.state.display())),
    };
    let engine = Engine::new(settings.clone(), challenges);
    let now = Time::now();
    if let Some(refused) = engine.not_now(site, force, now) {
        return refused;
    }
    match engine.attempt(site, true, Arc::new(watcher)).await {
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
