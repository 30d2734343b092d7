//! Keeps the certificates of all sites, on a thread of its own: what it does and what befalls it is nothing to the
//! threads that serve.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tracing::{error, warn};

use super::attempt::Failed;
use super::challenges::Challenges;
use super::clock::Time;
use super::engine::Engine;
use super::failure::Failure;
use super::lock::Lock;
use super::once::Once;
use super::progress::Watcher;
use super::report::{Activity, SiteReport};
use super::schedule;
use super::settings::{Settings, Site};
use super::store::Loaded;
use crate::tls::Pair;

/// Is given a site's first name and its new certificate.
pub type OnNewCertificate = Arc<dyn Fn(&str, Pair) + Send + Sync>;

/// A step of a try is a line; a try has a few for each name.
const MOST_STEPS: usize = 500;

/// The thread that keeps certificates. Dropped, it stops at the next step, and leaves what is under way for the next
/// one to take up.
pub struct Manager {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    inbox: Mutex<Inbox>,
    wake: Notify,
    renewed: AtomicU64,
    failed: AtomicU64,
    on_new_certificate: OnNewCertificate,
}

/// What is known of the sites, and asked for.
struct Inbox {
    engine: Engine,
    /// By a site's first name.
    activities: HashMap<String, Activity>,
    /// The sites that somebody wants renewed now.
    asked: Vec<String>,
}

/// What came of asking for a renewal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Started {
    /// It is being done.
    Yes,
    /// It is not due before then; force does it all the same.
    NotDue(Time),
    /// The CA's patience, or our own, is used up until then.
    HeldBack(Time),
    /// No such site gets its certificate here.
    Unknown,
}

impl Manager {
    /// Starts keeping the certificates of `settings`. `on_new_certificate` is called for each one that comes, from
    /// us or from another process, and for those that are there already.
    pub fn start(
        settings: Settings,
        challenges: Arc<Challenges>,
        on_new_certificate: OnNewCertificate,
    ) -> io::Result<Self> {
        let engine = Engine::new(settings, challenges);
        let inbox = Inbox { engine, activities: HashMap::new(), asked: Vec::new() };
        let shared = Arc::new(Shared {
            inbox: Mutex::new(inbox),
            wake: Notify::new(),
            renewed: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            on_new_certificate,
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(4)
            .thread_name("acme-io")
            .enable_all()
            .build()?;
        let (stop, stopped) = watch::channel(false);
        let for_thread = shared.clone();
        let thread = thread::Builder::new().name("acme".into()).spawn(move || {
            runtime.block_on(keep(for_thread, stopped));
            // A resolver that hangs is not waited for.
            runtime.shutdown_timeout(Duration::from_millis(100));
        })?;
        Ok(Self { shared, stop, thread: Some(thread) })
    }

    /// From now on keeps the certificates of `settings`.
    pub fn reconfigure(&self, settings: Settings) {
        self.shared.lock().engine.reconfigure(settings);
        self.shared.wake.notify_one();
    }

    /// Renews the certificate of the site that has `name` now, if it is due or `force` is set.
    pub fn renew(&self, name: &str, force: bool) -> Started {
        let engine = self.shared.lock().engine.clone();
        let has_name = |site: &&Site| site.names.iter().any(|one| one == name);
        let Some(site) = engine.settings.sites.iter().find(has_name) else {
            return Started::Unknown;
        };
        match engine.not_now(site, force, Time::now()) {
            Some(Once::NotDue(at)) => return Started::NotDue(at),
            Some(Once::HeldBack(at)) => return Started::HeldBack(at),
            _ => {}
        }
        let mut inbox = self.shared.lock();
        if !inbox.asked.iter().any(|asked| asked == site.key()) {
            inbox.asked.push(site.key().to_owned());
        }
        drop(inbox);
        self.shared.wake.notify_one();
        Started::Yes
    }

    /// Tries to get a certificate since the start: those that did, and those that did not.
    pub fn tries(&self) -> (u64, u64) {
        (self.shared.renewed.load(Ordering::Relaxed), self.shared.failed.load(Ordering::Relaxed))
    }

    /// How the certificates stand, and what is being done about them.
    pub fn report(&self) -> Vec<SiteReport> {
        let (engine, activities) = {
            let inbox = self.shared.lock();
            (inbox.engine.clone(), inbox.activities.clone())
        };
        let activity = |site: &Site| activities.get(site.key()).cloned().unwrap_or_default();
        engine.settings.sites.iter().map(|site| engine.report(site, activity(site))).collect()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        // A thread that is gone needs no telling.
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inbox> {
        // What is in it is whole between any two statements.
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn keep(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let mut round = Round { shared: shared.clone(), known: HashMap::new() };
    loop {
        let wait = tokio::select! {
            wait = round.go() => wait,
            _ = stopped.wait_for(|stopped| *stopped) => return,
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = shared.wake.notified() => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
    }
}

/// One look at every site.
struct Round {
    shared: Arc<Shared>,
    /// What each site's link pointed to when its certificate was last handed on.
    known: HashMap<String, PathBuf>,
}

impl Round {
    /// Does what is due, and says how long to wait before the next look.
    async fn go(&mut self) -> Duration {
        let engine = self.shared.lock().engine.clone();
        engine.challenges.sweep();
        for site in engine.settings.sites.clone() {
            self.hand_on(&engine, &site);
            settle(&engine, &site);
            let asked = {
                let mut inbox = self.shared.lock();
                let before = inbox.asked.len();
                inbox.asked.retain(|asked| asked != site.key());
                inbox.asked.len() < before
            };
            self.care_for(&engine, &site, asked).await;
        }
        let now = Time::now();
        let wait = |site| schedule::next(&engine.standing(site, now).known, now).at.since(now);
        let next = engine.settings.sites.iter().map(wait).min().unwrap_or(Duration::MAX);
        // What is due and cannot be done, as long as another process is at it, is looked at every second.
        next.max(Duration::from_secs(1)).min(engine.settings.timings.look)
    }

    /// Does what is due for `site`.
    async fn care_for(&mut self, engine: &Engine, site: &Site, asked: bool) {
        let now = Time::now();
        let due = |now| schedule::next(&engine.standing(site, now).known, now).at <= now;
        let window_due = engine.window_is_due(site, now);
        let links_due = engine.store.lacks_links(site.key());
        if !asked && !due(now) && !window_due && !links_due {
            return;
        }
        // Another process that is at it now will have done it when we look again.
        let _lock = match Lock::try_take(&engine.settings.state) {
            Ok(Some(lock)) => lock,
            Ok(None) if asked => {
                self.shared.lock().asked.push(site.key().to_owned());
                return;
            }
            Ok(None) => return,
            // Whether another process is at it is then unknown. It is told once per backoff, and not at each look.
            Err(error) if asked || due(now) => {
                let hindrance = Failure::us(format!("{error}; nothing was ordered"));
                return self.attempt(engine, site, asked, Some(hindrance)).await;
            }
            Err(_) => return,
        };
        if links_due && let Err(error) = engine.store.make_links(site.key()) {
            warn!("acme: {}: {error}", site.key());
        }
        if window_due {
            engine.ask_window(site, now).await;
        }
        // With the lock held nobody else changes what is on disk: look again.
        if asked || due(Time::now()) {
            self.attempt(engine, site, asked, None).await;
        }
    }

    async fn attempt(&mut self, engine: &Engine, site: &Site, asked: bool, hindrance: Option<Failure>) {
        let key = site.key().to_owned();
        {
            let mut inbox = self.shared.lock();
            let activity = inbox.activities.entry(key.clone()).or_default();
            *activity = Activity { tries: activity.tries + 1, running: true, ..Activity::default() };
        }
        let watcher: Watcher = {
            let (shared, key) = (self.shared.clone(), key.clone());
            Arc::new(move |step| {
                if let Some(activity) = shared.lock().activities.get_mut(&key)
                    && activity.steps.len() < MOST_STEPS
                {
                    activity.steps.push(step.to_owned());
                }
            })
        };
        // A task of its own, so that a panic ends it and nothing else; ended with us, too.
        let (engine_of_task, site_of_task) = (engine.clone(), site.clone());
        let mut task = tokio::task::JoinSet::new();
        task.spawn(async move { engine_of_task.attempt(&site_of_task, asked, hindrance, watcher).await });
        let result =
            task.join_next().await.unwrap_or_else(|| Ok(Err(Failure::us("nothing was tried").into())));
        let failed = match result {
            Ok(Ok(loaded)) => {
                self.tell(engine, site, loaded);
                false
            }
            Ok(Err(Failed { unsaved, .. })) => {
                if let Some(pair) = unsaved {
                    (self.shared.on_new_certificate)(site.key(), pair);
                }
                true
            }
            Err(panic) => {
                error!("acme: {}: a fault in farmgate, please report it: {panic}", site.key());
                engine.note_fault(site);
                true
            }
        };
        let tally = if failed { &self.shared.failed } else { &self.shared.renewed };
        tally.fetch_add(1, Ordering::Relaxed);
        if let Some(activity) = self.shared.lock().activities.get_mut(&key) {
            activity.running = false;
            activity.failed = failed;
        }
    }

    /// Hands on what is in use if it is not what was handed on before: another process may have renewed it.
    fn hand_on(&mut self, engine: &Engine, site: &Site) {
        let Some(current) = engine.store.current(site.key()) else { return };
        if self.known.get(site.key()) == Some(&current) {
            return;
        }
        match engine.store.load(site.key()) {
            Ok(loaded) => self.tell(engine, site, loaded),
            Err(error) => warn!("acme: {}: {error}", site.key()),
        }
        self.known.insert(site.key().to_owned(), current);
    }

    fn tell(&mut self, engine: &Engine, site: &Site, loaded: Loaded) {
        for damage in &loaded.damaged {
            error!("acme: {}: {damage}; an older certificate is used", site.key());
        }
        (self.shared.on_new_certificate)(site.key(), loaded.pair);
        if let Some(current) = engine.store.current(site.key()) {
            self.known.insert(site.key().to_owned(), current);
        }
    }
}

/// Writes down what would otherwise be another thing at each look.
fn settle(engine: &Engine, site: &Site) {
    let (key, names, now) = (site.key(), &site.names, Time::now());
    if engine.states.is_unsettled(key, names, now)
        && let Ok(Some(_lock)) = Lock::try_take(&engine.settings.state)
    {
        engine.states.settle(key, names, now);
    }
}

impl Engine {
    fn window_is_due(&self, site: &Site, now: Time) -> bool {
        let standing = self.standing(site, now);
        // Only a CA that is configured is asked.
        let Some(ari_id) = standing
            .certificate
            .as_ref()
            .filter(|loaded| self.issuer(loaded).is_some())
            .and_then(|loaded| loaded.facts.ari_id.as_deref())
        else {
            return false;
        };
        let planned = standing.state.renewal.as_ref().filter(|renewal| renewal.ari_id == ari_id);
        schedule::window_is_due(planned.map(|renewal| renewal.ask_again), now)
    }

    /// A fault must not be met again at each look.
    fn note_fault(&self, site: &Site) {
        let now = Time::now();
        let mut state = self.states.read(site.key(), &site.names, now);
        state.note_failure(&Failure::us("a fault in farmgate, see its log"), "", now);
        if let Err(error) = self.states.write(site.key(), &state) {
            warn!("acme: {}: {error}", site.key());
        }
    }
}
