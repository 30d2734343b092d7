//! The old gate's side: starting the new one, and waiting for it to come up.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::channel::{Channel, MOST_DESCRIPTORS, is_late};
use super::message::{Circumstances, FromNew, FromOld, Offer};

/// How long one that has hung up may take to end, so that its exit status can be told.
const ENDING: Duration = Duration::from_secs(2);
/// How often it is asked whether it is still wanted.
const LOOK: Duration = Duration::from_millis(200);
/// How often it is looked at meanwhile.
const AGAIN: Duration = Duration::from_millis(10);
/// What a service manager told us alone. The watchdog is the whole service's, but its variable names one process.
const NOT_INHERITED: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];

/// Why the new gate is not there.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The file could not be started: usually it is not there, or is not executable for the gate's user.
    #[error("{} cannot be started: {source}", binary.display())]
    Start {
        /// The file.
        binary: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It said itself why not.
    #[error("the new gate does not come up: {0}")]
    Refused(String),
    /// It ended without a word to us: it is another program, an older farmgate, or it crashed.
    #[error("{} ended before it was ready ({status}); what it said is in the running gate's log", binary.display())]
    Ended {
        /// The file.
        binary: PathBuf,
        /// How.
        status: ExitStatus,
    },
    /// It did not get ready in time, and was killed.
    #[error("{} was not ready within {patience:?}, and was killed", binary.display())]
    Late {
        /// The file.
        binary: PathBuf,
        /// How long was waited.
        patience: Duration,
    },
    /// It is not to follow any more.
    #[error("the running gate was told to stop meanwhile")]
    Unwanted,
    /// The conversation broke off.
    #[error("the conversation with the new gate broke off: {0}")]
    Broken(#[from] io::Error),
}

/// A new gate on its way up. Dropped before it is there, it is killed.
pub struct Successor<'a> {
    binary: PathBuf,
    child: Option<Child>,
    channel: Arc<Channel>,
    patience: Duration,
    deadline: Instant,
    is_wanted: &'a dyn Fn() -> bool,
}

impl<'a> Successor<'a> {
    /// Starts `binary` on the configuration `config`, and hands it copies of `sockets`, with what it has to know. It has
    /// `patience` to come up, and is waited for as long as it `is_wanted`.
    pub fn start(
        binary: &Path,
        config: &Path,
        sockets: &[(Offer, TcpListener)],
        circumstances: Circumstances,
        patience: Duration,
        is_wanted: &'a dyn Fn() -> bool,
    ) -> Result<Self, Failure> {
        let (channel, theirs) = Channel::pair()?;
        let mut command = Command::new(binary);
        command.args(["run", "--take-over", "--config"]).arg(config).stdin(Stdio::from(theirs));
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        let started = command.spawn();
        // The other end of the channel is the new one's alone: its end is the channel's.
        drop(command);
        let child = started.map_err(|source| Failure::Start { binary: binary.to_owned(), source })?;
        info!("upgrade: {} was started as process {}", binary.display(), child.id());
        let deadline = Instant::now() + patience;
        let mut successor = Self {
            binary: binary.to_owned(),
            child: Some(child),
            channel: Arc::new(channel),
            patience,
            deadline,
            is_wanted,
        };
        successor.offer(sockets, circumstances).map_err(|error| successor.hung_up(error))?;
        Ok(successor)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Waits until it is prepared.
    pub fn prepared(&mut self) -> Result<(), Failure> {
        match self.receive()? {
            FromNew::Prepared => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Has it serve, and speak with those at the other ends of `finishing`; waits until it does. Its version.
    pub fn go(&mut self, finishing: &[Channel]) -> Result<String, Failure> {
        let links: Vec<BorrowedFd<'_>> = finishing.iter().map(AsFd::as_fd).collect();
        let kept = links.len().min(MOST_DESCRIPTORS);
        self.channel.send(&FromOld::Go, &links[..kept]).map_err(|error| self.hung_up(error))?;
        match self.receive()? {
            FromNew::Serving { version } => Ok(version),
            other => Err(unexpected(other)),
        }
    }

    /// It is there, and on its own from here on: it may outlive us, and end before us.
    pub fn followed(mut self) -> Followed {
        let followed = Followed { pid: self.pid(), channel: self.channel.clone() };
        if let Some(mut child) = self.child.take() {
            // One that ends before us should not stay a zombie. Without the thread it would, until we end.
            let _ = std::thread::Builder::new().name("successor".into()).spawn(move || child.wait());
        }
        // One that is gone already has nothing more to hear.
        let _ = followed.channel.send(&FromOld::Yours, &[]);
        followed
    }

    fn offer(&mut self, sockets: &[(Offer, TcpListener)], circumstances: Circumstances) -> io::Result<()> {
        let said = FromOld::Sockets { sockets: vec![], more: true, circumstances: Some(circumstances) };
        match self.channel.send(&said, &[]) {
            // Without it the new one finds out later what it cannot open.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => warn!("upgrade: {error}"),
            other => other?,
        }
        let mut left = sockets;
        loop {
            let (now, later) = left.split_at(left.len().min(MOST_DESCRIPTORS));
            let message = FromOld::Sockets {
                sockets: now.iter().map(|(offer, _)| *offer).collect(),
                more: !later.is_empty(),
                circumstances: None,
            };
            let descriptors: Vec<BorrowedFd<'_>> = now.iter().map(|(_, socket)| socket.as_fd()).collect();
            self.channel.send(&message, &descriptors)?;
            if later.is_empty() {
                return Ok(());
            }
            left = later;
        }
    }

    fn receive(&mut self) -> Result<FromNew, Failure> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            match self.channel.receive(Some(left.min(LOOK))) {
                Ok(Some((FromNew::Failed { reason }, _))) => return Err(Failure::Refused(reason)),
                Ok(Some((message, _))) => return Ok(message),
                Ok(None) => return Err(self.hung_up(io::ErrorKind::UnexpectedEof.into())),
                Err(error) if is_late(&error) && left.is_zero() => {
                    return Err(Failure::Late { binary: self.binary.clone(), patience: self.patience });
                }
                Err(error) if is_late(&error) && !(self.is_wanted)() => return Err(Failure::Unwanted),
                Err(error) if is_late(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What is behind an end of the conversation: most often that of the process.
    fn hung_up(&mut self, error: io::Error) -> Failure {
        let end = Instant::now() + ENDING;
        while let Some(child) = &mut self.child
            && Instant::now() < end
        {
            if let Ok(Some(status)) = child.try_wait() {
                return Failure::Ended { binary: self.binary.clone(), status };
            }
            std::thread::sleep(AGAIN);
        }
        error.into()
    }
}

impl Drop for Successor<'_> {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // One that has ended by itself cannot be killed, and need not be.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn unexpected(message: FromNew) -> Failure {
    Failure::Refused(format!("it says {message:?}, which is not its turn"))
}

/// A new gate that has taken over.
#[derive(Debug)]
pub struct Followed {
    /// Its process.
    pub pid: u32,
    channel: Arc<Channel>,
}

impl Followed {
    /// Tells whoever serves now how far we are.
    pub fn tell(&self, connections: usize) {
        // Nobody may be there any more.
        let _ = self.channel.send(&FromOld::Finishing { pid: std::process::id(), connections }, &[]);
    }

    /// Waits for what whoever serves now has to say; none: nobody serves any more.
    pub fn hear(&self) -> Option<FromNew> {
        self.channel.receive(None).ok().flatten().map(|(message, _)| message)
    }
}
