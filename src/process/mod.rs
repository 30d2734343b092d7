//! What is left of the process's powers while it serves: its user, the folders and the system calls that it needs, and
//! limits.
//!
//! The order matters. Sockets are bound with what power there is; then folders are made and given to the user, who is
//! become; then Landlock, then seccomp, which lets the calls of the steps before it through no more. All of that comes
//! before the first thread: Landlock counts for the thread that asks, and for those which it starts.
//!
//! A user who cannot be become is fatal. Landlock and seccomp are as good as the kernel is: a gate that serves with
//! less than it asked for is better than none, and says so.

mod account;
mod folders;
mod landlock;
mod limits;
mod owner;
mod seccomp;

pub(crate) use account::{Account, AccountError, is_root};
pub(crate) use landlock::Confined;
pub(crate) use limits::{connections_at_most, open_files, tighten};
pub(crate) use owner::{cannot_read_again, is_given, prepare_folders, written_folders};

use tracing::{info, warn};

use crate::config::Config;
use crate::upgrade::Open;

/// Becomes who is configured, and gives up what is not needed to serve. The sockets are bound, and there is one thread.
///
/// `inherited` are the folders that are left by whoever started this process, where they are not all. Gives those that are
/// left from now on, if not all: a reload must not name others.
pub(crate) fn give_up_powers(
    config: &Config,
    inherited: Option<&[Open]>,
) -> Result<Option<Confined>, AccountError> {
    let account = Account::of(&config.process)?;
    prepare_folders(config, account.as_ref());
    match &account {
        Some(account) => {
            account.assume()?;
            // The kernel switched them off with the user.
            if config.process.core_dumps {
                limits::allow_core_dumps();
            }
            info!("runs as {account}");
        }
        None if is_root() => warn!(
            "runs as root, and needs none of its powers any more: name a user in [process], \
             user = \"farmgate\""
        ),
        None => {}
    }
    owner::tell_what_cannot_be_written(config);
    if let Some(warning) = cannot_read_again(config) {
        warn!("{warning}");
    }
    let inherited = inherited.map(Confined::inherited);
    let confined = if config.process.landlock {
        landlock::confine(config, inherited)
    } else {
        match &inherited {
            None => warn!("Landlock is switched off in [process]: {}", landlock::ALL_OPEN),
            Some(_) => warn!(
                "Landlock is switched off in [process], and until the next start that of the gate before this one is in force"
            ),
        }
        inherited
    };
    if config.process.seccomp {
        seccomp::confine();
    } else if seccomp::is_in_force() {
        warn!(
            "seccomp is switched off in [process], and a filter is in force all the same: that of whoever started this \
             process, the gate before it or a service manager"
        );
    } else {
        warn!("seccomp is switched off in [process]: all system calls are open to it");
    }
    Ok(confined)
}

#[cfg(test)]
mod tests;
