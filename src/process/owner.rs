//! The folders that the gate writes to: made, and given to the user that it becomes.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, fchown, lchown};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use tracing::{error, info};

use super::account::{Account, is_root};
use super::folders::needs;
use crate::config::Config;
use crate::files;
use crate::upgrade::Use;

/// Makes the folders that `config` names, for `account` where there is one. A folder that cannot be made is no reason
/// not to serve.
///
/// State and cache are the gate's alone. Where root owns them, from a time when the gate ran as root or from commands
/// before its first start, all that root owns in them is given to `account`. Other folders may be shared: they are given
/// only when they are made here.
pub(crate) fn prepare_folders(config: &Config, account: Option<&Account>) {
    let Some(account) = account.filter(|_| is_root()) else {
        return make(&config.paths.state, 0o700, None);
    };
    for folder in [&config.paths.state, &config.paths.cache] {
        make(folder, 0o700, Some(account));
        match give(folder, account) {
            Ok(0) => {}
            Ok(count) => {
                info!("{}: given to {}, with what is in it ({count})", folder.display(), account.name)
            }
            Err(error) => error!("{}: cannot be given to {}: {error}", folder.display(), account.name),
        }
    }
    for need in needs(config).iter().filter(|need| need.uses == Use::Write) {
        make(&need.folder(), 0o750, Some(account));
    }
}

/// Says which folders this process cannot write to, and what to do.
pub(super) fn tell_what_cannot_be_written(config: &Config) {
    let mut told = Vec::new();
    for need in needs(config).iter().filter(|need| need.uses == Use::Write) {
        let folder = need.folder();
        if folder.is_dir()
            && access(&folder, Access::WRITE_OK | Access::EXEC_OK).is_err()
            && !told.contains(&folder)
        {
            let user = config.process.user.as_deref().unwrap_or("USER");
            error!(
                "{}: {} cannot be written to by this user: chown {user} it, or name another",
                need.key,
                folder.display()
            );
            told.push(folder);
        }
    }
}

/// What to say where this process, with the user it is, cannot read its configuration again.
pub(crate) fn cannot_read_again(config: &Config) -> Option<String> {
    let error = access(&config.origin, Access::READ_OK).err()?;
    let user = config.process.user.as_deref().unwrap_or("its user");
    let path = config.origin.display();
    Some(format!(
        "{path}: cannot be read by {user}: {error}; neither a reload nor an upgrade will work: let that user's group read it, \
         chgrp {user} {path} and chmod g+r {path}"
    ))
}

/// The folders that `config` has the gate write to, each with its key.
pub(crate) fn written_folders(config: &Config) -> Vec<(String, PathBuf)> {
    let written = needs(config).into_iter().filter(|need| need.uses == Use::Write);
    // What is there and no folder is a device.
    written
        .map(|need| (need.key.clone(), need.folder()))
        .filter(|(_, folder)| folder.is_dir() || !folder.exists())
        .collect()
}

fn make(folder: &Path, mode: u32, owner: Option<&Account>) {
    if let Err(error) = try_to_make(folder, mode, owner) {
        error!("{}: cannot be made: {error}", folder.display());
    }
}

fn try_to_make(folder: &Path, mode: u32, owner: Option<&Account>) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        // Whoever owns what is below has to get there; they own none of the way.
        try_to_make(above, if owner.is_some() { 0o755 } else { mode }, None)?;
    }
    match DirBuilder::new().mode(mode).create(folder) {
        // Somebody else was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => return Ok(()),
        other => other?,
    }
    // Not by its name: somebody else's may be the folder above.
    let made = files::open_folder(folder)?;
    // The umask may be tighter.
    made.set_permissions(Permissions::from_mode(mode))?;
    match owner {
        Some(account) => fchown(&made, Some(account.uid.as_raw()), Some(account.gid.as_raw())),
        None => Ok(()),
    }
}

/// Whether root owns `folder`, so that a start as another user gives it to that one.
pub(crate) fn is_given(folder: &Path) -> bool {
    fs::metadata(folder).is_ok_and(|folder| folder.uid() == 0)
}

/// Gives `folder` and what is in it to `account`, if it is root's. Gives how many it was.
fn give(folder: &Path, account: &Account) -> io::Result<u64> {
    if !is_given(folder) {
        return Ok(0);
    }
    // A link may lead to it; what is in it is taken by its name and not by where it leads.
    give_tree(&folder.canonicalize()?, account)
}

/// From the leaves to the root: at no moment does somebody else own a folder that we have still to look into, and could
/// put a link into it that leads us elsewhere.
fn give_tree(path: &Path, account: &Account) -> io::Result<u64> {
    let entry = fs::symlink_metadata(path)?;
    // What is somebody else's is their business; what has a second name may be a file of the system's.
    if entry.uid() != 0 || (!entry.is_dir() && entry.nlink() > 1) {
        return Ok(0);
    }
    let mut count = 1;
    if entry.is_dir() {
        for inside in fs::read_dir(path)? {
            count += give_tree(&inside?.path(), account)?;
        }
    }
    lchown(path, Some(account.uid.as_raw()), Some(account.gid.as_raw()))?;
    Ok(count)
}
