//! The new gate's side: taking over from the one that started it.

use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::time::Duration;

use super::channel::Channel;
use super::message::{Circumstances, FromNew, FromOld, Offer};

/// How long the old gate may take for its next word. It has its own deadline for us, which is shorter.
const PATIENCE: Duration = Duration::from_secs(600);

/// Why there is nothing to take over.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// Somebody typed it.
    #[error("--take-over is for a gate that is started by another one: use `farmgate upgrade`")]
    NobodyThere,
    /// The old gate has ended, or given us up.
    #[error("the gate that started this one is gone, and nothing was taken over")]
    Gone,
    /// The conversation broke off.
    #[error("the conversation with the gate that started this one broke off: {0}")]
    Broken(#[from] io::Error),
}

/// The gate that started this one.
#[derive(Debug)]
pub struct Predecessor {
    channel: Channel,
    circumstances: Circumstances,
}

/// A gate that finishes, seen from the one that serves.
#[derive(Debug)]
pub struct Begun {
    channel: Channel,
}

impl Predecessor {
    /// Meets the gate at the other end of stdin, and takes the sockets it has.
    pub fn meet() -> Result<(Self, Vec<(Offer, TcpListener)>), Lost> {
        let stdin = io::stdin().as_fd().try_clone_to_owned()?;
        if rustix::net::sockopt::socket_type(&stdin) != Ok(rustix::net::SocketType::SEQPACKET) {
            return Err(Lost::NobodyThere);
        }
        // The channel ends when we let go of it, and not only when we end.
        rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?).map_err(io::Error::from)?;
        let mut this = Self { channel: stdin.into(), circumstances: Circumstances::default() };
        let mut sockets = Vec::new();
        loop {
            let Some((message, descriptors)) = this.channel.receive(Some(PATIENCE))? else {
                return Err(Lost::Gone);
            };
            let FromOld::Sockets { sockets: offers, more, circumstances } = message else {
                return Err(unexpected(&message));
            };
            this.circumstances = circumstances.unwrap_or(this.circumstances);
            if offers.len() != descriptors.len() {
                let reason = format!("{} sockets were told of, and {} came", offers.len(), descriptors.len());
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason).into());
            }
            sockets.extend(offers.into_iter().zip(descriptors.into_iter().map(TcpListener::from)));
            if !more {
                return Ok((this, sockets));
            }
        }
    }

    /// What it said of itself.
    pub fn circumstances(&self) -> &Circumstances {
        &self.circumstances
    }

    /// Says that all that can fail has not failed, and waits for the word to go. The gates that still finish, apart from
    /// this one.
    pub fn prepared(&self) -> Result<Vec<Begun>, Lost> {
        self.channel.send(&FromNew::Prepared, &[])?;
        match self.channel.receive(Some(PATIENCE))? {
            None => Err(Lost::Gone),
            Some((FromOld::Go, links)) => {
                Ok(links.into_iter().map(|link| Begun { channel: link.into() }).collect())
            }
            Some((message, _)) => Err(unexpected(&message)),
        }
    }

    /// Says that this gate serves.
    pub fn serving(&self) -> Result<(), Lost> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        self.channel.send(&FromNew::Serving { version }, &[]).map_err(|_| Lost::Gone)
    }

    /// Waits until the old gate accepts no more, or is gone. It blocks.
    pub fn yields(self) -> Begun {
        while let Ok(Some((message, _))) = self.channel.receive::<FromOld>(None) {
            if let FromOld::Yours = message {
                break;
            }
        }
        Begun { channel: self.channel }
    }

    /// Says why this gate does not come up.
    pub fn failed(&self, reason: &str) {
        // Nobody may be there to hear it.
        let _ = self.channel.send(&FromNew::Failed { reason: reason.to_owned() }, &[]);
    }
}

impl Begun {
    /// Tells it that who is let into the admin pages may be decided by other rules now.
    pub fn admin_rules_changed(&self) {
        // One that is gone lets nobody in.
        let _ = self.channel.send(&FromNew::AdminRules, &[]);
    }

    /// Waits for it to say how far it is; none: it is gone. It blocks.
    pub fn hear(&self) -> Option<(u32, usize)> {
        loop {
            match self.channel.receive(None).ok()?? {
                (FromOld::Finishing { pid, connections }, _) => return Some((pid, connections)),
                _ => continue,
            }
        }
    }

    /// A copy of the link, to be handed on.
    pub fn link(&self) -> io::Result<Channel> {
        self.channel.again()
    }
}

fn unexpected(message: &FromOld) -> Lost {
    let reason = format!("it says {message:?}, which is not its turn; is it another version of farmgate?");
    io::Error::new(io::ErrorKind::InvalidData, reason).into()
}
