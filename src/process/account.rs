//! The user that the gate runs as.

use std::ffi::CString;
use std::fmt;

use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User, getgroups, initgroups, setresgid, setresuid, setuid};

use crate::config::Process;

/// An account of this system that is not root.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
}

/// Why the gate cannot run as it is told to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccountError {
    /// The system does not know it: usually the package or `adduser` has not run.
    #[error(
        "process.{key}: there is no {key} \"{name}\" on this system; adduser --system --group {name} makes one"
    )]
    Unknown {
        /// `user` or `group`.
        key: &'static str,
        /// What was asked for.
        name: String,
    },
    /// It has all the powers that were to be given up.
    #[error("process.user: \"{0}\" is root by another name; name an account that is not")]
    Root(String),
    /// Only root can become somebody else.
    #[error(
        "process.user = \"{wanted}\", and this process belongs to {actual}: start it as root or as \"{wanted}\", or \
         take the line out"
    )]
    NotOurs {
        /// Who is configured.
        wanted: String,
        /// Who we are.
        actual: String,
    },
    /// Only root can take another group on.
    #[error(
        "process.group = \"{wanted}\", and the group of this process is {actual}: start it as root or with that group, or \
         take the line out"
    )]
    NotOurGroup {
        /// What is configured.
        wanted: String,
        /// What it is.
        actual: String,
    },
    /// The system did not let us: usually a container without CAP_SETUID and CAP_SETGID.
    #[error("process.user: cannot become \"{name}\": {source}; is CAP_SETUID or CAP_SETGID missing?")]
    Refused {
        /// Who is configured.
        name: String,
        /// What the system said.
        source: Errno,
    },
    /// What was given up can be had back. Nobody should rely on it.
    #[error("process.user: \"{0}\" could become root again")]
    NotForGood(String),
}

impl Account {
    /// The account that `process` names, if it names one that this process is or can become.
    pub(crate) fn of(process: &Process) -> Result<Option<Self>, AccountError> {
        let Some(name) = &process.user else {
            return Ok(None);
        };
        let unknown = |key, name: &str| AccountError::Unknown { key, name: name.to_owned() };
        let user = User::from_name(name).ok().flatten().ok_or_else(|| unknown("user", name))?;
        if user.uid.is_root() {
            return Err(AccountError::Root(name.clone()));
        }
        let gid = match &process.group {
            None => user.gid,
            Some(group) => Group::from_name(group).ok().flatten().ok_or_else(|| unknown("group", group))?.gid,
        };
        if !is_root() && Uid::effective() != user.uid {
            return Err(AccountError::NotOurs { wanted: name.clone(), actual: name_of(Uid::effective()) });
        }
        if let Some(group) = process.group.as_ref().filter(|_| !is_root() && Gid::effective() != gid) {
            return Err(AccountError::NotOurGroup {
                wanted: group.clone(),
                actual: name_of_group(Gid::effective()),
            });
        }
        Ok(Some(Self { name: name.clone(), uid: user.uid, gid }))
    }

    /// Becomes it, in all threads, with the groups that the system lists it in. There is no way back.
    pub(crate) fn assume(&self) -> Result<(), AccountError> {
        if !is_root() {
            // It is us already: see `of`.
            return Ok(());
        }
        let refused = |source| AccountError::Refused { name: self.name.clone(), source };
        let name = CString::new(self.name.as_str()).map_err(|_| refused(Errno::EINVAL))?;
        // Groups first: they are root's to give.
        initgroups(&name, self.gid).map_err(refused)?;
        setresgid(self.gid, self.gid, self.gid).map_err(refused)?;
        setresuid(self.uid, self.uid, self.uid).map_err(refused)?;
        if Uid::current() != self.uid || Uid::effective() != self.uid || setuid(Uid::from_raw(0)).is_ok() {
            return Err(AccountError::NotForGood(self.name.clone()));
        }
        Ok(())
    }
}

impl fmt::Display for Account {
    /// As the log has it, with the groups of this process.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (uid {}, gid {}, groups", self.name, self.uid, Gid::effective())?;
        getgroups().unwrap_or_default().iter().try_for_each(|group| write!(f, " {group}"))?;
        f.write_str(")")
    }
}

/// Whether this process may become somebody else.
pub(crate) fn is_root() -> bool {
    Uid::effective().is_root()
}

fn name_of_group(gid: Gid) -> String {
    let group = Group::from_gid(gid).ok().flatten();
    group.map_or_else(|| gid.to_string(), |group| format!("\"{}\"", group.name))
}

fn name_of(uid: Uid) -> String {
    User::from_uid(uid)
        .ok()
        .flatten()
        .map_or_else(|| format!("user {uid}"), |user| format!("\"{}\"", user.name))
}
