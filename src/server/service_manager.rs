//! Telling a service manager how things are (sd_notify(3)): systemd, or whatever sets `NOTIFY_SOCKET`.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tracing::warn;

/// How long a manager that reads nothing may hold us up.
const PATIENCE: Duration = Duration::from_secs(1);

/// Who started us, if it wants to hear from us.
#[derive(Debug, Default)]
pub(super) struct ServiceManager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
    /// Another process is the service's main one.
    silent: AtomicBool,
}

impl ServiceManager {
    /// The one that the environment names.
    pub(super) fn of_environment() -> Self {
        let socket = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()).and_then(|name| {
            open(&name).inspect_err(|error| warn!("NOTIFY_SOCKET: {}: {error}", name.display())).ok()
        });
        let number = |name| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|&usec| is_ours && usec > 0 && socket.is_some());
        Self { socket, watchdog: watchdog.map(Duration::from_micros), silent: AtomicBool::new(false) }
    }

    /// How often it wants to hear that we are alive, at the least.
    pub(super) fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// From now on says nothing, or speaks again.
    pub(super) fn be_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::Release);
    }

    /// We serve, or serve on after a reload.
    pub(super) fn ready(&self, status: &str) {
        self.tell(&["READY=1", &format!("STATUS={status}")]);
    }

    /// The configuration is being read. Has to be followed by [`Self::ready`].
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let usec = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000);
        self.tell(&["RELOADING=1", &format!("MONOTONIC_USEC={usec}")]);
    }

    /// We are on our way out.
    pub(super) fn stopping(&self, status: &str) {
        self.tell(&["STOPPING=1", &format!("STATUS={status}")]);
    }

    /// Another process is the main one from now on, and speaks for itself.
    pub(super) fn main_process_is(&self, pid: u32) {
        self.tell(&[&format!("MAINPID={pid}")]);
        self.be_silent(true);
    }

    /// How things are, in a line.
    pub(super) fn status(&self, status: &str) {
        self.tell(&[&format!("STATUS={status}")]);
    }

    /// We are alive.
    pub(super) fn alive(&self) {
        self.tell(&["WATCHDOG=1"]);
    }

    fn tell(&self, words: &[&str]) {
        let Some((socket, address)) = &self.socket else { return };
        if self.silent.load(Ordering::Acquire) {
            return;
        }
        // A line is an assignment: one of ours has to stay one.
        let message: String = words.iter().map(|word| word.replace('\n', " ") + "\n").collect();
        if let Err(error) = socket.send_to_addr(message.as_bytes(), address) {
            warn!("the service manager is not told {:?}: {error}", words[0]);
        }
    }
}

fn open(name: &OsString) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a path nor an abstract name")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok((socket, address))
}
