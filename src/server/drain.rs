//! The end of a gate: what is under way is finished, and nothing new is begun.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;
use tracing::{info, warn};

use super::run::Looking;
use super::supervise::Supervisor;

/// How long requests in flight may take to finish when the gate is told to stop.
pub(super) const GRACE: Duration = Duration::from_secs(30);
/// How often it is looked whether all are done.
const LOOK: Duration = Duration::from_millis(20);
/// How often whoever serves now is told how many are left.
const REPORT: Duration = Duration::from_secs(1);

/// What a gate can be told by signals.
pub(super) struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    reopen: Signal,
}

impl Signals {
    /// From here on none of them does what it does by default, which is to kill.
    pub(super) fn take() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reopen: signal(SignalKind::user_defined1())?,
        })
    }

    /// The next thing we are told.
    pub(super) async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.hangup.recv() => Told::Reload,
            _ = self.reopen.recv() => Told::Reopen,
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
        }
    }
}

/// What a signal says.
pub(super) enum Told {
    /// Read the configuration again.
    Reload,
    /// Open the access logs anew.
    Reopen,
    /// Stop.
    Stop,
}

/// Waits for the last connection: as long as `grace` allows, or as long as it takes. Who is let in is still looked after:
/// a revocation counts for these connections too.
pub(super) async fn drain(supervisor: &Arc<Supervisor>, signals: &mut Signals, grace: Option<Duration>) {
    let mut deadline = grace.map(|grace| Instant::now() + grace);
    let mut look = tokio::time::interval(LOOK);
    let mut report = tokio::time::interval(REPORT);
    let mut looking = Looking::new();
    loop {
        tokio::select! {
            _ = look.tick() => {
                let left = supervisor.caps.open();
                if left == 0 {
                    return;
                }
                if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    return warn!("{left} connections did not finish in {GRACE:?} and are cut");
                }
            }
            _ = report.tick() => if let Some(follower) = supervisor.succession.follower() {
                follower.tell(supervisor.caps.open());
            },
            () = looking.due() => looking.look(supervisor),
            told = signals.next() => match told {
                Told::Reload => info!("this gate finishes, and reads no configuration any more"),
                Told::Reopen => supervisor.live.load().logs.reopen(),
                Told::Stop => {
                    let left = supervisor.caps.open();
                    if deadline.is_some() {
                        // Told a second time, somebody is in a hurry.
                        return warn!("told again to stop: {left} connections are cut");
                    }
                    info!("stopping: {left} connections have {GRACE:?} to finish");
                    deadline = Some(Instant::now() + GRACE);
                }
            }
        }
    }
}
