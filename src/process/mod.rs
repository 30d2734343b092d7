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
pub(crate) use owner::{is_given, prepare_folders};

use tracing::{info, warn};

use crate::config::Config;

/// Becomes who is configured, and gives up what is not needed to serve. The sockets are bound, and there is one thread.
///
/// Gives the folders that are left, where that is in force: a reload must not name others.
pub(crate) fn give_up_powers(config: &Config) -> Result<Option<Confined>, AccountError> {
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
    let confined = if config.process.landlock {
        landlock::confine(config)
    } else {
        warn!("Landlock is switched off in [process]: all files that its user may open are open to it");
        None
    };
    if config.process.seccomp {
        seccomp::confine();
    } else {
        warn!("seccomp is switched off in [process]: all system calls are open to it");
    }
    Ok(confined)
}

#[cfg(test)]
mod tests;
