//! What a running gate is found by: its control socket and its pid file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::error;

use crate::config::Paths;
use crate::control::{self, Claim, ControlSocket, Handler};
use crate::files::{self, PUBLIC};

/// Both, as far as they could be made. They are taken away when this is dropped, unless another gate has taken them over.
#[derive(Default)]
pub(super) struct Names {
    control: Option<ControlSocket>,
    pid: Option<PidFile>,
}

impl Names {
    /// Makes them; within a runtime. A gate that cannot be found serves all the same.
    pub(super) fn take(paths: &Paths, handler: Arc<dyn Handler>, claim: Claim) -> Self {
        let control = control::serve(&paths.control, handler, claim)
            .inspect_err(|error| error!("no control socket at {}: {error}", paths.control.display()))
            .ok();
        Self { control, pid: PidFile::write(&paths.pid) }
    }

    /// Whether they still lead to us.
    pub(super) fn are_ours(&self) -> bool {
        self.control.as_ref().is_none_or(ControlSocket::is_in_place)
            && self.pid.as_ref().is_none_or(PidFile::is_ours)
    }

    /// Takes them away; what is being answered is answered.
    pub(super) fn give_up(&mut self) -> Option<ControlSocket> {
        self.pid = None;
        let control = self.control.take();
        control.inspect(ControlSocket::remove)
    }
}

/// The file with our process id, for deploy hooks that send SIGHUP. Removed when dropped.
struct PidFile(PathBuf);

impl PidFile {
    fn write(path: &Path) -> Option<Self> {
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        let pid = format!("{}\n", std::process::id());
        // In one step: who reads it while another gate takes over finds the one or the other. In a folder where we may
        // make no files, the one that is there may be ours.
        let put = || files::replace(path, pid.as_bytes(), PUBLIC).or_else(|_| std::fs::write(path, &pid));
        match made.and_then(|()| put()) {
            Ok(()) => Some(Self(path.to_owned())),
            Err(error) => {
                error!("{}: cannot be written: {error}", path.display());
                None
            }
        }
    }

    fn is_ours(&self) -> bool {
        let ours = std::process::id().to_string();
        std::fs::read_to_string(&self.0).is_ok_and(|pid| pid.trim() == ours)
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if self.is_ours() {
            let _ = std::fs::remove_file(&self.0);
        }
    }
}
