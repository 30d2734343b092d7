//! From a loaded configuration to a gate that serves, and to its end.

use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::access_logs;
use super::certificates::{OnFailure, Wardrobe, for_tls, throw_away_client_ca};
use super::endpoint::{Endpoint, Place};
use super::inspect;
use super::supervise::{State, Supervisor, load_gate};
use super::watch::{Looks, Watches};
use super::workers::{self, Shared, Sockets};
use crate::acme::Challenges;
use crate::admin::ca::LastSeen;
use crate::cache::Cache;
use crate::config::{self, Config};
use crate::control::{self, Listening};
use crate::history::History;
use crate::listen::{self, Bound, Caps};
use crate::log;
use crate::metrics::{Metrics, Phase, Surroundings};
use crate::page::Page;
use crate::proxy::{Generation, Live};
use crate::tls::{self, CertificateStore};

/// How long requests in flight may take to finish when the gate is told to stop.
const GRACE: Duration = Duration::from_secs(30);
/// How often changed files are looked for.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is written down what was served, and who was last seen when.
const REMEMBER: Duration = Duration::from_secs(60);
/// How often the totals are taken into the history, and when all that is written down first: a gate that ends again and
/// again after a start should still have some.
const SAMPLE: Duration = Duration::from_secs(5);

/// How often it is noted how much there is to do.
const TICK: Duration = Duration::from_secs(1);

/// What a caller wants to hear of.
#[derive(Default)]
pub struct Hooks {
    /// Called once when everything is served, with the addresses.
    pub ready: Option<Ready>,
}

/// Is given the addresses.
pub type Ready = Box<dyn FnOnce(&Listening) + Send>;

/// Why the gate could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An address could not be bound: usually another server has it, or the process may not use the port.
    #[error("cannot listen on {address}: {source}; is another server running there?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The configuration is valid, and asks for what is not allowed.
    #[error("{0}")]
    Refused(String),
    /// TLS could not be set up.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The system refused something that every program needs.
    #[error("{0}")]
    System(#[from] io::Error),
}

/// Serves until told to stop by SIGTERM or SIGINT.
pub fn run(loaded: config::Loaded, hooks: Hooks) -> Result<(), RunError> {
    // The engine would install another one. Fails only when one is there already, which is then the same.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    for warning in inspect::in_short(&loaded.warnings) {
        warn!("{warning}");
    }
    let gate = Prepared::new(loaded.config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(gate.serve(hooks))
}

/// Everything that can fail at the start has not failed.
struct Prepared {
    config: Arc<Config>,
    supervisor: Arc<Supervisor>,
    shared: Arc<Shared>,
    workers: Vec<Sockets>,
    endpoint: Option<Place>,
}

impl Prepared {
    fn new(config: Config) -> Result<Self, RunError> {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let (mut listening, workers) = bind_all(&config, cores)?;
        let endpoint = config.metrics.listen.map(take_for_metrics).transpose()?;
        listening.metrics = endpoint.as_ref().map(Place::address);
        prepare_folders(&config);
        let looks = Looks::at(&config);
        let mut wardrobe = Wardrobe::default();
        let (shown, problems) = wardrobe.load(&config, OnFailure::Keep);
        if let Some(refused) = problems.iter().find(|problem| problem.is_throw_away()) {
            return Err(RunError::Refused(refused.to_string()));
        }
        if let Some(refused) = throw_away_client_ca(&config) {
            return Err(RunError::Refused(refused));
        }
        for problem in problems {
            error!("{problem}; a self-signed certificate stands in");
        }
        let shown = shown.ok_or_else(|| RunError::Refused("no certificate could be made".into()))?;
        let certificates =
            for_tls(&shown).ok_or_else(|| RunError::Refused("no site is configured".into()))?;
        let store = Arc::new(CertificateStore::new(certificates));
        let tls = tls::server_config(store.clone())?;
        let (logs, problems) = access_logs::open(&config.access_log, None);
        for problem in problems {
            error!("{problem}; requests are served without it until it can be opened");
        }
        let config = Arc::new(config);
        let last_seen = Arc::new(LastSeen::load(&config.paths.state));
        let metrics = Metrics::new(cores);
        let gate = load_gate(&config, &last_seen);
        let generation = Generation::new(config.clone(), gate, logs, metrics.clone(), Arc::default())
            .map_err(|error| RunError::Refused(format!("admin.prefix: {error}")))?;
        let live: Arc<Live> = Arc::new(ArcSwap::from_pointee(generation));
        let caps = Arc::new(Caps::default());
        let cache = Cache::open(&config.paths.cache, &config.cache);
        let history = Arc::new(History::load(&config.paths.state, Instant::now()));
        let supervisor = Arc::new(Supervisor {
            live: live.clone(),
            store,
            caps: caps.clone(),
            cache: cache.clone(),
            metrics: metrics.clone(),
            history: history.clone(),
            listening,
            started: Instant::now(),
            last_seen,
            state: Mutex::new(State {
                wardrobe,
                shown,
                watches: Watches::new(looks),
                told: Vec::new(),
                last_reload: None,
                endpoint: None,
            }),
            acme: Mutex::new(None),
        });
        let challenges = Arc::new(Challenges::new(&config.paths.state));
        // Not the other way round: what is in force holds the metrics, and the supervisor what is in force.
        let surroundings: Weak<dyn Surroundings> = Arc::<Supervisor>::downgrade(&supervisor);
        metrics.surround(surroundings);
        let page = Page::new(&config.paths.state, supervisor.clone(), history, Arc::default())?;
        let page = Arc::new(page);
        let shared = Arc::new(Shared { live, tls, caps, cache, challenges, metrics, page });
        Ok(Self { config, supervisor, shared, workers, endpoint })
    }

    async fn serve(self, hooks: Hooks) -> Result<(), RunError> {
        let Self { config, supervisor, shared, workers, endpoint } = self;
        // Before anything is served, so that no signal finds its default, which is to kill.
        let mut hangup = signal(SignalKind::hangup())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        // First and last: it says whether the rest is there.
        supervisor.lock().endpoint = endpoint.map(|place| Endpoint::start(place, &supervisor.metrics));
        let mut reopen = signal(SignalKind::user_defined1())?;
        let challenges = shared.challenges.clone();
        let (shutdown, shutting_down) = watch::channel(false);
        let (end, ended) = watch::channel(false);
        let mut threads = Vec::new();
        for (number, sockets) in workers.into_iter().enumerate() {
            threads.push(workers::start(
                number,
                shared.clone(),
                sockets,
                shutting_down.clone(),
                ended.clone(),
            )?);
        }
        if let Err(error) = control::serve(&config.paths.control, supervisor.clone()) {
            error!("no control socket at {}: {error}", config.paths.control.display());
        }
        let pid_file = PidFile::write(&config.paths.pid);
        for (protocol, addresses) in
            [("http", &supervisor.listening.http), ("https", &supervisor.listening.https)]
        {
            for address in addresses {
                info!("listening {protocol} {address}");
            }
        }
        if let Some(ready) = hooks.ready {
            ready(&supervisor.listening);
        }
        supervisor.metrics.enter(Phase::Serving);
        info!("ready");
        // Only now is there somebody to answer challenges.
        supervisor.start_acme(challenges);

        let mut look = tokio::time::interval(LOOK);
        // A file system that hangs should hold up one look, not collect a thread for each.
        let mut looking: Option<JoinHandle<()>> = None;
        let mut sample = tokio::time::interval(SAMPLE);
        let mut remember = tokio::time::interval_at(tokio::time::Instant::now() + SAMPLE, REMEMBER);
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                _ = hangup.recv() => { in_background(&supervisor, |supervisor| drop(supervisor.reload())); }
                _ = look.tick() => if looking.as_ref().is_none_or(JoinHandle::is_finished) {
                    looking = Some(in_background(&supervisor, Supervisor::take_up_changed_files));
                },
                _ = tick.tick() => supervisor.metrics.tick(),
                _ = sample.tick() => supervisor.sample(),
                _ = reopen.recv() => supervisor.live.load().logs.reopen(),
                _ = remember.tick() => { in_background(&supervisor, write_down); }
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
        }
        supervisor.metrics.enter(Phase::Stopping);
        info!("stopping: no new connections, {} to finish", supervisor.caps.open());
        // Another gate may start while this one finishes: what is found by name is its from now on.
        let _ = std::fs::remove_file(&config.paths.control);
        drop(pid_file);
        // The receivers are there as long as their threads are; one that is gone needs no telling.
        let _ = shutdown.send(true);
        supervisor.stop_acme();
        tokio::select! {
            () = drain(&supervisor.caps) => {}
            // Told a second time, somebody is in a hurry.
            _ = terminate.recv() => warn!("told again to stop: {} connections are cut", supervisor.caps.open()),
            _ = interrupt.recv() => warn!("told again to stop: {} connections are cut", supervisor.caps.open()),
        }
        let _ = end.send(true);
        for thread in threads {
            let _ = thread.join();
        }
        write_down(&supervisor);
        supervisor.live.load().logs.close();
        log::wait_for_retired_writers();
        info!("stopped");
        Ok(())
    }
}

/// Waits for the last connection, as long as grace allows.
async fn drain(caps: &Caps) {
    let deadline = tokio::time::Instant::now() + GRACE;
    while caps.open() > 0 {
        if tokio::time::Instant::now() >= deadline {
            warn!("{} connections did not finish in {GRACE:?} and are cut", caps.open());
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn bind_all(config: &Config, workers: usize) -> Result<(Listening, Vec<Sockets>), RunError> {
    let mut sockets: Vec<Sockets> = (0..workers).map(|_| Sockets::default()).collect();
    let mut listening = Listening::default();
    for &address in &config.listen.http {
        let bound = bind(address, workers)?;
        listening.http.push(bound.address);
        sockets.iter_mut().zip(bound.sockets).for_each(|(worker, socket)| worker.http.push(socket));
    }
    for &address in &config.listen.https {
        let bound = bind(address, workers)?;
        listening.https.push(bound.address);
        sockets.iter_mut().zip(bound.sockets).for_each(|(worker, socket)| worker.https.push(socket));
    }
    Ok((listening, sockets))
}

fn take_for_metrics(address: SocketAddr) -> Result<Place, RunError> {
    Place::take(address).map_err(|source| RunError::Listen { address, source })
}

fn bind(address: SocketAddr, sockets: usize) -> Result<Bound, RunError> {
    listen::bind(address, sockets).map_err(|source| RunError::Listen { address, source })
}

/// Makes the state folder, for the owner only. A folder that cannot be made is no reason not to serve.
fn prepare_folders(config: &Config) {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&config.paths.state);
    if let Err(error) = made {
        error!("{}: cannot be made: {error}", config.paths.state.display());
    }
}

/// What is only in memory otherwise, and may be lost without harm.
fn write_down(supervisor: &Supervisor) {
    supervisor.sample();
    if let Err(error) = supervisor.history.save() {
        warn!("the history of what was served is not written: {error}");
    }
    if let Err(error) = supervisor.last_seen.flush() {
        warn!("the days on which certificates were last seen are not written: {error}");
    }
}

/// Reading and checking files takes a moment, in which signals should still be heard.
fn in_background(
    supervisor: &Arc<Supervisor>,
    work: impl FnOnce(&Supervisor) + Send + 'static,
) -> JoinHandle<()> {
    let supervisor = supervisor.clone();
    tokio::task::spawn_blocking(move || work(&supervisor))
}

/// The file with our process id, for deploy hooks that send SIGHUP. Removed when dropped.
struct PidFile(PathBuf);

impl PidFile {
    fn write(path: &Path) -> Option<Self> {
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        match made.and_then(|()| std::fs::write(path, format!("{}\n", std::process::id()))) {
            Ok(()) => Some(Self(path.to_owned())),
            Err(error) => {
                error!("{}: cannot be written: {error}", path.display());
                None
            }
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let ours = std::process::id().to_string();
        if std::fs::read_to_string(&self.0).is_ok_and(|pid| pid.trim() == ours) {
            let _ = std::fs::remove_file(&self.0);
        }
    }
}
