//! From a loaded configuration to a gate that serves, and to its end.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZero;
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Interval;
use tracing::{error, info, warn};

use super::access_logs;
use super::certificates::{OnFailure, Wardrobe, for_tls, throw_away_client_ca};
use super::drain::{GRACE, Signals, Told, drain};
use super::endpoint::{Endpoint, Place};
use super::inspect;
use super::names::Names;
use super::service_manager::ServiceManager;
use super::sockets::{self, Listeners};
use super::succession::Succession;
use super::supervise::{State, Supervisor, load_gate};
use super::unwritten::Unwritten;
use super::watch::{Looks, Watches};
use super::watchdog::Watchdog;
use super::workers::{self, Shared, Sockets};
use crate::acme::Challenges;
use crate::admin::ca::LastSeen;
use crate::cache::Cache;
use crate::config::{self, Config};
use crate::control::{Claim, Listening};
use crate::history::History;
use crate::limits::Limiter;
use crate::listen::{Caps, Given, Unfit};
use crate::log;
use crate::metrics::{Metrics, Phase, Surroundings};
use crate::page::Page;
use crate::process::{self, AccountError};
use crate::proxy::{Generation, Live};
use crate::tls::{self, CertificateStore};
use crate::upgrade::{Begun, Lost, Offer, Predecessor};

/// How often changed files are looked for.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is written down what was served, and who was last seen when.
const REMEMBER: Duration = Duration::from_secs(60);
/// How often the totals are taken into the history, and when all that is written down first: a gate that ends again and
/// again after a start should still have some.
const SAMPLE: Duration = Duration::from_secs(5);

/// How often it is noted how much there is to do.
const TICK: Duration = Duration::from_secs(1);
/// How long the answers on the control socket may take to leave when everything else is done.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What a caller wants to hear of.
#[derive(Default)]
pub struct Hooks {
    /// Called once when everything is served, with the addresses.
    pub ready: Option<Ready>,
    /// The caller does other things in this process, which `[process]` of the configuration knows nothing of: its user
    /// and its powers are left alone.
    pub shared_process: bool,
}

/// Is given the addresses.
pub type Ready = Box<dyn FnOnce(&Listening) + Send>;

/// How a gate comes to its sockets.
pub enum Beginning {
    /// It binds all of them, and no other process follows it.
    Alone,
    /// It takes what a service manager passed to this process, and binds the rest. To be used before there are threads.
    Service,
    /// It takes over from the gate that started it, with the sockets that one has.
    TakeOver(Predecessor, Vec<(Offer, TcpListener)>),
}

/// Why the gate could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An address could not be bound: usually another server has it, or the process may not use the port.
    #[error("cannot listen on {address}: {source}{}", advice(address, source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// What a service manager passed is no listening TCP socket.
    #[error("socket {number} that was passed by LISTEN_FDS{} cannot be used: {source}", named(name))]
    Passed {
        /// Which one, from 1.
        number: usize,
        /// Its name, if it has one.
        name: String,
        /// What is wrong with it.
        source: io::Error,
    },
    /// What a service manager passed is not in the configuration.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The gate that this one was to take over from is not there.
    #[error(transparent)]
    Lost(#[from] Lost),
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

/// Serves until told to stop by SIGTERM or SIGINT, or until another gate has taken over.
pub fn run(loaded: config::Loaded, beginning: Beginning, hooks: Hooks) -> Result<(), RunError> {
    // The engine would install another one. Fails only when one is there already, which is then the same.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    for warning in inspect::in_short(&loaded.warnings) {
        warn!("{warning}");
    }
    let can_be_followed = !matches!(beginning, Beginning::Alone);
    let (given, predecessor) = match beginning {
        Beginning::Alone => (Given::nothing(), None),
        Beginning::Service => (sockets::passed()?, None),
        Beginning::TakeOver(predecessor, sockets) => (sockets::handed(sockets)?, Some(predecessor)),
    };
    if !hooks.shared_process {
        process::tighten(&loaded.config);
    }
    let gate = Prepared::new(loaded.config, given, predecessor.as_ref(), can_be_followed, &hooks);
    let gate = gate.inspect_err(|error| {
        if let Some(predecessor) = &predecessor {
            predecessor.failed(&error.to_string());
        }
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(gate.serve(predecessor, hooks))
}

/// Everything that can fail at the start has not failed.
struct Prepared {
    config: Arc<Config>,
    supervisor: Arc<Supervisor>,
    shared: Arc<Shared>,
    workers: Vec<Sockets>,
    endpoint: Option<Place>,
    shutting_down: watch::Receiver<bool>,
    /// The gates before the one that is taken over from, as far as they still finish.
    before: Vec<Begun>,
}

impl Prepared {
    fn new(
        config: Config,
        given: Given,
        predecessor: Option<&Predecessor>,
        can_be_followed: bool,
        hooks: &Hooks,
    ) -> Result<Self, RunError> {
        let old = predecessor.map(Predecessor::circumstances);
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let Listeners { listening, workers, endpoint, copies } = Listeners::open(&config, given, cores)?;
        // Nothing that follows needs the powers that the sockets needed, and no thread has been started.
        let confined = if hooks.shared_process {
            process::prepare_folders(&config, None);
            None
        } else {
            let inherited = old.and_then(|old| old.open.as_deref());
            process::give_up_powers(&config, inherited).map_err(refused)?
        };
        // At a start there is nothing yet that it would be worse than.
        if let Some(confined) = confined.as_ref().filter(|_| old.is_some())
            && let Some(why) = confined.refuses(&config)
        {
            return Err(RunError::Refused(why));
        }
        let looks = Looks::at(&config);
        let mut wardrobe = Wardrobe::default();
        let (shown, problems) = wardrobe.load(&config, OnFailure::Keep);
        if let Some(refused) = problems.iter().find(|problem| problem.is_throw_away()) {
            return Err(RunError::Refused(refused.to_string()));
        }
        if let Some(refused) = throw_away_client_ca(&config) {
            return Err(RunError::Refused(refused));
        }
        if let Some(stand_ins) = old.and_then(|old| old.stand_ins.as_ref())
            && let Some(problem) = problems.iter().find(|problem| !problem.concerns_one_of(stand_ins))
        {
            return Err(RunError::Refused(format!("{problem}; the running gate has a certificate to show")));
        }
        for problem in problems {
            error!("{problem}; a self-signed certificate stands in");
        }
        let shown = shown.ok_or_else(|| RunError::Refused("no certificate could be made".into()))?;
        let certificates =
            for_tls(&shown).ok_or_else(|| RunError::Refused("no site is configured".into()))?;
        let store = Arc::new(CertificateStore::new(certificates));
        let tls = tls::server_config(store.clone())?;
        // Up to here nothing was touched that two gates cannot both have.
        let before = predecessor.map(Predecessor::prepared).transpose()?.unwrap_or_default();
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
        let limiter = Limiter::new(&config.limits);
        let cache = Cache::open(&config.paths.cache, &config.cache);
        let history = Arc::new(History::load(&config.paths.state, Instant::now()));
        let challenges = Arc::new(Challenges::new(&config.paths.state));
        let manager = ServiceManager::of_environment();
        // Until the other one says so, it is the main process.
        manager.be_silent(predecessor.is_some());
        let watchdog = Arc::new(Watchdog::new(manager.watchdog(), cores));
        let (shutdown, shutting_down) = watch::channel(false);
        let supervisor = Arc::new_cyclic(|this| Supervisor {
            this: this.clone(),
            live: live.clone(),
            store,
            caps: caps.clone(),
            limiter: limiter.clone(),
            cache: cache.clone(),
            metrics: metrics.clone(),
            history: history.clone(),
            listening,
            started: Instant::now(),
            last_seen,
            unwritten: Unwritten::default(),
            confined,
            state: Mutex::new(State {
                wardrobe,
                shown,
                watches: Watches::new(looks),
                told: Vec::new(),
                last_reload: None,
                endpoint: None,
                admin_is_elsewhere: false,
            }),
            acme: Mutex::new(None),
            challenges: challenges.clone(),
            manager,
            succession: Succession::new(can_be_followed.then_some(copies)),
            names: Mutex::default(),
            shutdown,
        });
        // Not the other way round: what is in force holds the metrics, and the supervisor what is in force.
        let surroundings: Weak<dyn Surroundings> = Arc::<Supervisor>::downgrade(&supervisor);
        metrics.surround(surroundings);
        let page = Page::new(&config.paths.state, supervisor.clone(), history, Arc::default())?;
        let page = Arc::new(page);
        let shared =
            Arc::new(Shared { live, tls, caps, limiter, cache, challenges, metrics, page, watchdog });
        Ok(Self { config, supervisor, shared, workers, endpoint, shutting_down, before })
    }

    async fn serve(self, predecessor: Option<Predecessor>, hooks: Hooks) -> Result<(), RunError> {
        let Self { config, supervisor, shared, workers, endpoint, shutting_down, before } = self;
        // Before anything is served, so that no signal finds its default, which is to kill.
        let mut signals = Signals::take()?;
        // First and last: it says whether the rest is there.
        supervisor.lock().endpoint = endpoint
            .zip(config.metrics.listen)
            .map(|(place, configured)| Endpoint::start(place, configured, &supervisor.metrics));
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
        let claim = if predecessor.is_some() { Claim::FromPredecessor } else { Claim::IfFree };
        *supervisor.names() = Names::take(&config.paths, supervisor.clone(), claim);
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
        match predecessor {
            None => supervisor.manager.ready(&supervisor.in_a_line()),
            Some(predecessor) => {
                predecessor.serving()?;
                supervisor.succeed(predecessor, before);
            }
        }
        // Only now is there somebody to answer challenges.
        supervisor.start_acme();
        serve_on(&supervisor, &shared.watchdog, &mut signals).await;

        let control = supervisor.names().give_up();
        let grace = match supervisor.succession.follower() {
            Some(follower) => {
                let left = supervisor.caps.open();
                info!("process {} has taken over: {left} connections to finish", follower.pid);
                None
            }
            None => {
                supervisor.metrics.enter(Phase::Stopping);
                let status = format!("stopping: no new connections, {} to finish", supervisor.caps.open());
                info!("{status}");
                supervisor.manager.stopping(&status);
                supervisor.succession.let_go();
                supervisor.stop_accepting();
                supervisor.stop_acme();
                Some(GRACE)
            }
        };
        drain(&supervisor, &mut signals, grace).await;
        let _ = end.send(true);
        for thread in threads {
            let _ = thread.join();
        }
        supervisor.write_down();
        supervisor.live.load().logs.close();
        log::wait_for_retired_writers();
        if let Some(control) = control {
            // Who had us upgraded is still to be told.
            let _ = tokio::time::timeout(LAST_WORDS, control.idle()).await;
        }
        info!("stopped");
        Ok(())
    }
}

/// Looks after what is served, until we are told to stop or another gate has taken over.
async fn serve_on(supervisor: &Arc<Supervisor>, watchdog: &Watchdog, signals: &mut Signals) {
    let mut looking = Looking::new();
    let mut sample = tokio::time::interval(SAMPLE);
    let mut remember = tokio::time::interval_at(tokio::time::Instant::now() + SAMPLE, REMEMBER);
    let mut tick = tokio::time::interval(TICK);
    let mut watch = watchdog.period().map(tokio::time::interval);
    loop {
        tokio::select! {
            told = signals.next() => match told {
                Told::Reload => drop(in_background(supervisor, |supervisor| drop(supervisor.reload()))),
                Told::Reopen => supervisor.live.load().logs.reopen(),
                Told::Stop => return,
            },
            () = looking.due() => looking.look(supervisor),
            _ = tick.tick() => supervisor.metrics.tick(),
            _ = sample.tick() => supervisor.sample(),
            _ = remember.tick() => { in_background(supervisor, Supervisor::write_down); }
            () = next(&mut watch) => mind(supervisor, watchdog),
            () = supervisor.succession.over.notified() => return,
        }
    }
}

/// Tells the service manager that we are alive, if all workers are.
fn mind(supervisor: &Arc<Supervisor>, watchdog: &Watchdog) {
    let stuck = watchdog.stuck();
    let was_stuck = watchdog.note(!stuck.is_empty());
    if stuck.is_empty() {
        supervisor.manager.alive();
        if was_stuck {
            supervisor.manager.status(&supervisor.in_a_line());
        }
    } else if !was_stuck {
        let which = format!("worker {} hangs: the watchdog is not told that we are alive", stuck[0]);
        supervisor.manager.status(&which);
        // It may be what we log to that hangs.
        in_background(supervisor, move |_| error!("{which}"));
    }
}

async fn next(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}

/// Looks for changed files now and then.
pub(super) struct Looking {
    interval: Interval,
    /// A file system that hangs should hold up one look, not collect a thread for each.
    last: Option<JoinHandle<()>>,
}

impl Looking {
    pub(super) fn new() -> Self {
        Self { interval: tokio::time::interval(LOOK), last: None }
    }

    pub(super) async fn due(&mut self) {
        self.interval.tick().await;
    }

    pub(super) fn look(&mut self, supervisor: &Arc<Supervisor>) {
        if self.last.as_ref().is_none_or(JoinHandle::is_finished) {
            self.last = Some(in_background(supervisor, Supervisor::take_up_changed_files));
        }
    }
}

/// An account that cannot be become is no account to serve as.
fn refused(error: AccountError) -> RunError {
    RunError::Refused(error.to_string())
}

/// Reading and checking files takes a moment, in which signals should still be heard.
fn in_background(
    supervisor: &Arc<Supervisor>,
    work: impl FnOnce(&Supervisor) + Send + 'static,
) -> JoinHandle<()> {
    let supervisor = supervisor.clone();
    tokio::task::spawn_blocking(move || work(&supervisor))
}

/// What may be behind it, and what to do.
fn advice(address: &SocketAddr, error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; is another server running there?",
        io::ErrorKind::PermissionDenied if address.port() < 1024 => {
            "; this user may not bind so low a port: it takes root or CAP_NET_BIND_SERVICE, which a gate that was started as \
             root has given up, and has again after a restart"
        }
        _ => "",
    }
}

fn named(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!(" as {name:?}") }
}
