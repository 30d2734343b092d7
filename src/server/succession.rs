//! Handing over to another process: `farmgate upgrade`. See [`crate::upgrade`] for what the two say to each other.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::Notify;
use tracing::{error, info, warn};

use super::endpoint::{Endpoint, Place};
use super::names::Names;
use super::supervise::Supervisor;
use crate::admin::{Closed, Gate};
use crate::config::{self, Rotate};
use crate::control::{Claim, Finishing, Reply};
use crate::listen::Bound;
use crate::metrics::Phase;
use crate::process::Confined;
use crate::upgrade::{
    Begun, Channel, Circumstances, Failure, Followed, FromNew, Kind, Offer, Predecessor, Successor,
};

/// What an upgrade needs, and leaves behind.
#[derive(Default)]
pub(super) struct Succession {
    /// Held by whoever changes what another process would take over: one reload or upgrade at a time.
    changing: Mutex<()>,
    /// Copies of the sockets that the workers accept from. None: nobody could follow.
    copies: Mutex<Option<Vec<(Offer, TcpListener)>>>,
    /// Gates before this one that still finish.
    finishing: Mutex<Vec<Arc<Link>>>,
    follower: OnceLock<Followed>,
    /// Told when there is a follower.
    pub(super) over: Notify,
}

/// A gate before this one, and what was last heard of it.
struct Link {
    gate: Begun,
    heard: Mutex<Option<Finishing>>,
}

impl Succession {
    /// Of a gate that accepts from these sockets; none for one that cannot be upgraded.
    pub(super) fn new(copies: Option<Vec<(Offer, TcpListener)>>) -> Self {
        Self { copies: Mutex::new(copies), ..Self::default() }
    }

    /// For as long as this is kept, no other process takes over and no configuration is put in force.
    pub(super) fn alone(&self) -> MutexGuard<'_, ()> {
        lock(&self.changing)
    }

    /// The gate that has taken over.
    pub(super) fn follower(&self) -> Option<&Followed> {
        self.follower.get()
    }

    /// Lets go of the sockets: from now on nobody could follow, and they close when the workers close theirs.
    pub(super) fn let_go(&self) {
        *lock(&self.copies) = None;
    }

    /// Tells the gates before this one that they may have to ask somebody else who is an administrator.
    pub(super) fn admin_rules_changed(&self) {
        lock(&self.finishing).iter().for_each(|link| link.gate.admin_rules_changed());
    }

    /// The gates before this one, as far as they were heard of.
    pub(super) fn finishing(&self) -> Vec<Finishing> {
        lock(&self.finishing).iter().filter_map(|link| *lock(&link.heard)).collect()
    }

    fn links(&self) -> Vec<Channel> {
        // Without a link, it lets no administrators in any more: that is on the safe side.
        lock(&self.finishing).iter().filter_map(|link| link.gate.link().ok()).collect()
    }
}

impl Supervisor {
    /// Has `binary` take over, on the configuration `config`. Fails where it does not come up; then everything is as it was.
    pub(super) fn upgrade(&self, binary: &Path, config: &Path, patience: Duration) -> Reply {
        let _alone = self.succession.alone();
        if let Some(follower) = self.succession.follower() {
            return Reply::TakenOver(follower.pid);
        }
        info!("upgrade: to {} on {}", binary.display(), config.display());
        match self.try_upgrade(binary, config, patience) {
            Ok(note) => {
                info!("upgrade: {note}");
                Reply::Done(vec![note])
            }
            Err(why) => {
                error!("upgrade failed, this gate serves on: {why}");
                Reply::Failed(why)
            }
        }
    }

    fn try_upgrade(&self, binary: &Path, config: &Path, patience: Duration) -> Result<String, String> {
        let mut sockets = lock(&self.succession.copies)
            .as_ref()
            .ok_or("this gate cannot be upgraded: it is a demo, or is stopping")?
            .iter()
            .map(|(offer, socket)| Ok((*offer, socket.try_clone()?)))
            .collect::<std::io::Result<Vec<_>>>()
            .map_err(|error| format!("the sockets cannot be handed over: {error}"))?;
        let metrics = self.lock().endpoint.as_ref().and_then(Endpoint::copy);
        sockets.extend(
            metrics
                .into_iter()
                .map(|(configured, socket)| (Offer { kind: Kind::Metrics, configured }, socket)),
        );
        // One that a later version can read and this one cannot, it judges itself.
        if let Ok(loaded) = config::load(config)
            && let Some(why) = self.confined.as_ref().and_then(|confined| confined.refuses(&loaded.config))
        {
            return Err(why);
        }
        // Told to stop meanwhile, nobody is to serve.
        let is_wanted = || self.metrics.phase() != Phase::Stopping;
        let mut successor =
            Successor::start(binary, config, &sockets, self.circumstances(), patience, &is_wanted)
                .map_err(|failure| self.in_words(&failure))?;
        successor.prepared().map_err(|failure| self.in_words(&failure))?;
        let set_aside = self.step_back();
        let served = successor.go(&self.succession.links());
        let served = served.and_then(|version| is_wanted().then_some(version).ok_or(Failure::Unwanted));
        match served {
            Ok(version) => {
                let pid = successor.pid();
                self.hand_over(successor, config);
                let left = self.caps.open();
                Ok(format!(
                    "process {pid} (farmgate {version}) serves; {} finishes {left} connections, and goes",
                    std::process::id()
                ))
            }
            Err(failure) => {
                // Ended before anything is taken back from it.
                drop(successor);
                if is_wanted() {
                    self.step_forward(set_aside);
                }
                Err(failure.to_string())
            }
        }
    }

    /// What the other process has to know of this one.
    fn circumstances(&self) -> Circumstances {
        let state = self.lock();
        let stand_ins = state.shown.iter().filter(|shown| shown.source == "self-signed");
        Circumstances {
            open: self.confined.as_ref().map(Confined::open),
            stand_ins: Some(stand_ins.flat_map(|shown| shown.names.clone()).collect()),
        }
    }

    fn in_words(&self, failure: &Failure) -> String {
        let programs = self.confined.as_ref().map(Confined::programs);
        match (failure, programs) {
            (Failure::Start { source, .. }, Some(programs))
                if source.kind() == ErrorKind::PermissionDenied =>
            {
                format!(
                    "{failure}; it has to be executable for the gate's user, and, under Landlock, below one of {programs}"
                )
            }
            _ => failure.to_string(),
        }
    }

    /// Leaves to the other process what only one of two may do, so that it finds all of it done. We serve on.
    fn step_back(&self) -> SetAside {
        self.stop_acme();
        self.write_down();
        self.cache.give_up();
        let generation = self.live.load_full();
        let rules = Rotate { size: u64::MAX, age: None, ..generation.config.access_log.rotate.clone() };
        generation.logs.rotate_by(&rules);
        generation.logs.close();
        let mut state = self.lock();
        let metrics = state.endpoint.as_ref().and_then(Endpoint::copy);
        // One that waits for its address has nothing to hand over.
        if metrics.is_some() {
            state.endpoint = None;
        }
        SetAside { metrics }
    }

    /// Takes it back: the other process has ended.
    fn step_forward(&self, set_aside: SetAside) {
        let generation = self.live.load_full();
        generation.logs.rotate_by(&generation.config.access_log.rotate);
        self.cache.take_back();
        if let Some((configured, socket)) = set_aside.metrics {
            let bound = socket.local_addr().map(|address| Bound { address, sockets: vec![socket] });
            let started = bound.map(|bound| Endpoint::start(Place::Bound(bound), configured, &self.metrics));
            self.lock().endpoint =
                started.inspect_err(|error| error!("metrics are not served: {error}")).ok();
        }
        let Some(this) = self.this.upgrade() else { return };
        let mut names = self.names();
        if !names.are_ours() {
            names.give_up();
            *names = Names::take(&generation.config.paths, this.clone(), Claim::FromPredecessor);
        }
        drop(names);
        this.start_acme();
    }

    /// Accepts no more, and lets the other process know, which is on the configuration `config`.
    fn hand_over(&self, successor: Successor<'_>, config: &Path) {
        self.manager.main_process_is(successor.pid());
        self.metrics.enter(Phase::Stopping);
        // Nobody else sets it: whoever upgrades is alone.
        let _ = self.succession.follower.set(successor.followed());
        if !self.has_the_admin_rules_of(config) {
            self.close_admin();
        }
        self.succession.let_go();
        self.stop_accepting();
        self.succession.over.notify_one();
        if let Some(this) = self.this.upgrade() {
            let listener = thread::Builder::new().name("follower".into()).spawn(move || this.follow());
            if let Err(error) = listener {
                warn!("upgrade: {error}; the admin pages are closed on connections from before it");
                self.close_admin();
            }
        }
    }

    /// Whether who is an administrator is decided here as it is by the configuration `path`.
    fn has_the_admin_rules_of(&self, path: &Path) -> bool {
        let ours = self.live.load();
        config::load(path).is_ok_and(|loaded| {
            let theirs = loaded.config;
            theirs.admin == ours.config.admin && theirs.paths.state == ours.config.paths.state
        })
    }

    /// Hears what the gate that serves now has to say, to its end.
    fn follow(&self) {
        while let Some(message) = self.succession.follower().and_then(Followed::hear) {
            if let FromNew::AdminRules = message {
                self.close_admin();
            }
        }
        // Whoever comes next may serve by any rules.
        self.close_admin();
    }

    /// Lets no administrator in any more, who is connected to us from before the upgrade.
    fn close_admin(&self) {
        let mut state = self.lock();
        if std::mem::replace(&mut state.admin_is_elsewhere, true) {
            return;
        }
        let generation = self.live.load_full();
        match generation.with_gate(Arc::new(Gate::closed(Closed::TakenOver))) {
            Ok(generation) => {
                self.live.store(Arc::new(generation));
                info!("upgrade: the admin pages are closed on connections from before it");
            }
            // The prefix was good when this generation was made, and is the same.
            Err(error) => error!("the admin gate was not closed: {error}"),
        }
    }

    /// Hears of the gates before this one, to their end.
    pub(super) fn hear_of(self: &Arc<Self>, gates: impl IntoIterator<Item = Begun>) {
        for gate in gates {
            let link = Arc::new(Link { gate, heard: Mutex::default() });
            lock(&self.succession.finishing).push(link.clone());
            let this = self.clone();
            let listener = thread::Builder::new().name("finishing".into()).spawn(move || this.attend(&link));
            if let Err(error) = listener {
                warn!("upgrade: {error}; a gate that finishes is not heard of");
            }
        }
    }

    fn attend(&self, link: &Arc<Link>) {
        while let Some((pid, connections)) = link.gate.hear() {
            *lock(&link.heard) = Some(Finishing { pid, connections });
            if self.succession.follower().is_some() {
                // Ours is not the only hand on this link any more: the other one listens.
                break;
            }
        }
        lock(&self.succession.finishing).retain(|other| !Arc::ptr_eq(other, link));
        if let Some(Finishing { pid, .. }) = *lock(&link.heard)
            && self.succession.follower().is_none()
        {
            info!("upgrade: process {pid} has finished");
        }
    }

    /// Waits, on a thread, until the gate before this one accepts no more: then we are the main process.
    pub(super) fn succeed(self: &Arc<Self>, predecessor: Predecessor, before: Vec<Begun>) {
        let this = self.clone();
        let wait = move || {
            let gate = predecessor.yields();
            this.manager.be_silent(false);
            this.manager.ready(&this.in_a_line());
            this.hear_of(before.into_iter().chain([gate]));
        };
        if let Err(error) = thread::Builder::new().name("predecessor".into()).spawn(wait) {
            error!("upgrade: {error}; the service manager is not told that this gate serves");
        }
    }
}

/// What was put by until it is certain that the other process serves.
struct SetAside {
    /// The socket for metrics, and its address as it is configured.
    metrics: Option<(SocketAddr, TcpListener)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in them is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
