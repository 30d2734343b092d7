//! One try to get one site a new certificate, with all that is looked at before and after.

use std::time::{Duration, UNIX_EPOCH};

use instant_acme::CertificateIdentifier;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tracing::warn;
use zeroize::Zeroizing;

use super::certificate::Facts;
use super::clock::{Time, time_in_words};
use super::engine::{Engine, Standing};
use super::failure::{Failure, clean};
use super::http::Http;
use super::order::{Issued, Job};
use super::pending::PendingFile;
use super::preflight;
use super::progress::{Progress, Watcher};
use super::renewal_info;
use super::schedule::{self, Due, Known};
use super::settings::{Directory, Site};
use super::store::{Loaded, Origin};
use crate::config::without_url_secrets;
use crate::tls::{Pair, pair_from_pem};

/// A clock that is this far from the CA's is wrong.
const SKEW: Duration = Duration::from_secs(24 * 3600);
/// Our own port 80 may be wrong about itself: after so many refusals in a row the CA is asked all the same, once.
const PORT_80_HEEDED: u32 = 3;

impl Engine {
    /// Tries to get `site` a new certificate, and remembers how it went. The lock is held by the caller.
    ///
    /// `hindrance` is what is in its way already.
    pub(super) async fn attempt(
        &self,
        site: &Site,
        asked: bool,
        hindrance: Option<Failure>,
        watcher: Watcher,
    ) -> Result<Loaded, Failed> {
        let progress = Progress::new(site.key(), watcher);
        let patience = self.settings.timings.attempt;
        let begin = Time::now();
        let state = self.states.read(site.key(), &site.names, begin);
        let directory = self.next_ca(&state, begin).map(|ca| ca.url.clone()).unwrap_or_default();
        let result = match hindrance {
            Some(hindrance) => Err(hindrance.into()),
            None => {
                tokio::time::timeout(patience, self.try_once(site, asked, &progress)).await.unwrap_or_else(
                    |_| Err(Failure::ca(format!("nothing came of it in {}", time_in_words(patience))).into()),
                )
            }
        };
        let now = Time::now();
        let mut state = self.states.read(site.key(), &site.names, now);
        match &result {
            Ok(loaded) => {
                state.note_success(now);
                progress.tell(format!("new certificate, good until {}", loaded.facts.not_after));
            }
            Err(failed) => {
                state.note_failure(&failed.failure, &directory, now);
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
            Ok(end) if end > now => {
                format!("the certificate in use is good for {}", time_in_words(end.since(now)))
            }
            Ok(end) => format!("the certificate in use has EXPIRED {} ago", time_in_words(now.since(end))),
            Err(_) => "a stand-in is served".into(),
        }
    }

    async fn try_once(&self, site: &Site, asked: bool, progress: &Progress) -> Result<Loaded, Failed> {
        let now = Time::now();
        let Standing { certificate, state, known } = self.standing(site, now);
        let settings = &self.settings;
        let ca = self.next_ca(&state, now).ok_or_else(|| Failure::us("no ACME directory is configured"))?;
        progress.tell(format!("asking {}", without_url_secrets(&ca.url)));
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
            && let Ok(Some(pending)) = file.read()
            && let Ok(key) = std::fs::read_to_string(self.store.paths(site.key()).1).map(Zeroizing::new)
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
            let names = clean(&facts.names.join(" "));
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
            if error.kind() == std::io::ErrorKind::InvalidData {
                return Failure::ca(format!("the CA's certificate cannot be used: {error}")).into();
            }
            let why = format!("the new certificate could not be stored: {error}");
            Failed { failure: Failure::us(why), unsaved: pair_from_pem(&issued.chain, &issued.key) }
        })
    }
}

/// A try that came to nothing, or to a certificate that could not be stored.
pub(super) struct Failed {
    pub failure: Failure,
    /// It can be served as long as we run.
    pub unsaved: Option<Pair>,
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self { failure, unsaved: None }
    }
}

/// A shorter certificate is no renewal, unless it is of another kind: then somebody wanted it so.
fn is_worse(new: &Facts, origin: &Origin, in_use: &Loaded, site: &Site, now: Time) -> bool {
    let same_kind = in_use
        .origin
        .as_ref()
        .is_some_and(|old| (&old.directory, &old.profile) == (&origin.directory, &origin.profile));
    let usable = in_use.facts.covers(&site.names) && in_use.facts.is_valid_at(now);
    same_kind && usable && new.not_after < in_use.facts.not_after
}

/// What a new certificate from `ca` replaces: only the CA that made the old one knows it.
fn replaced(loaded: &Loaded, ca: &Directory) -> Option<CertificateIdentifier<'static>> {
    loaded.origin.as_ref().filter(|origin| origin.directory == ca.url)?;
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
    let words = time_in_words(skew);
    if at <= theirs {
        warn!("acme: this machine's clock ({now}) is {words} away from the CA's ({theirs}): set it");
        return Ok(());
    }
    Err(Failure::us(format!(
        "this machine's clock ({now}) is {words} away from the CA's ({theirs}), by which nothing is due before {at}: \
         set the clock"
    )))
}
