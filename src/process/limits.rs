//! Limits of the process: files, core dumps, and what new files let others do.

use rustix::fs::Mode;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask,
};
use tracing::{error, warn};

use super::account::is_root;
use crate::config::Config;

/// Bits that no new file has, whatever is asked for: others get nothing, the group does not write.
const UMASK: Mode = Mode::from_raw_mode(0o027);
/// Open files besides those of connections: sockets, logs, files of the cache and of certificates.
const BESIDES: u64 = 512;
/// Of each connection: the client's, and one to a backend or to a file of the cache.
const PER_CONNECTION: u64 = 2;

/// What comes first: no secret may get into a core dump, nor a file be made that everybody can read.
pub(crate) fn tighten(config: &Config) {
    let before = umask(UMASK);
    umask(before | UMASK);
    if !config.process.core_dumps {
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        // The kernel writes no file then, and sends none to a program that collects them, as systemd-coredump.
        let limited = setrlimit(Resource::Core, none);
        if let Err(error) = limited.and(set_dumpable_behavior(DumpableBehavior::NotDumpable)) {
            error!("core dumps cannot be switched off: {error}; a crash may write keys to a file");
        }
    }
    if let Some(warning) = open_files(config.limits.connections) {
        warn!("{warning}");
    }
}

/// For developers: debuggers may look, and what the shell's limit allows is written.
pub(super) fn allow_core_dumps() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::Dumpable) {
        warn!("core dumps cannot be switched on: {error}");
    }
}

/// Raises how many files may be open to what so many connections need, and says if that cannot be had.
pub(crate) fn open_files(connections: usize) -> Option<String> {
    let connections = u64::try_from(connections).unwrap_or(u64::MAX);
    let needed = connections.saturating_mul(PER_CONNECTION).saturating_add(BESIDES);
    let limit = getrlimit(Resource::Nofile);
    let has = |limit: &Rlimit| limit.current.is_none_or(|current| current >= needed);
    if !has(&limit) {
        let most = limit.maximum.map_or(needed, |maximum| maximum.min(needed));
        // Root may have more than the hard limit; who may not keeps to it.
        let raised = is_root()
            && setrlimit(
                Resource::Nofile,
                Rlimit { current: Some(needed), maximum: limit.maximum.map(|maximum| maximum.max(needed)) },
            )
            .is_ok();
        if !raised {
            let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limit.maximum });
        }
    }
    let limit = getrlimit(Resource::Nofile);
    (!has(&limit)).then(|| {
        format!(
            "this process may have {} files open, and limits.connections = {connections} may need {needed}: {} are \
             taken at the most; raise LimitNOFILE, or lower limits.connections",
            limit.current.unwrap_or_default(),
            connections_at_most()
        )
    })
}

/// As many connections as the files that may be open are enough for, now. With more, those that are open already could
/// not be served.
pub(crate) fn connections_at_most() -> usize {
    let Some(files) = getrlimit(Resource::Nofile).current else {
        return usize::MAX;
    };
    let besides = BESIDES.min(files / 2);
    usize::try_from((files - besides) / PER_CONNECTION).unwrap_or(usize::MAX).max(1)
}
