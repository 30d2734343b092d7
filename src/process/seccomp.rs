//! seccomp: the system calls that this process, and what it starts, can make from now on.
//!
//! Three filters; of their verdicts the kernel takes the strictest. What is on no list is answered `EPERM`, as if rights
//! were missing: a library that tries is told no and goes on, and nobody's download dies for a call that was forgotten.
//! Only what nothing here could ever want ends the process. And what a C library tries first and has another way for is
//! answered `ENOSYS`, which is what it waits for.
//!
//! For calls that are allowed whatever their arguments, the kernel runs no filter (Linux 5.11): it remembers.

mod calls;

use std::collections::BTreeMap;

use rustix::io::Errno;
use seccompiler::{
    BackendError, BpfProgram, Error as FilterError, SeccompAction, SeccompCmpArgLen, SeccompCmpOp,
    SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use tracing::{info, warn};

use self::calls::{ALLOWED, DEADLY, FAMILIES, IOCTLS, LOOKED_AT, NAMESPACES, NEWER};

/// What follows which call.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Leaves this process, and all that it starts, the calls that it needs. Says what is in force.
pub(super) fn confine() {
    let filters = match filters() {
        Ok(filters) => filters,
        Err(error) => return warn!("seccomp is not in force: {error}; all system calls are open to it"),
    };
    for filter in &filters {
        if let Err(error) = seccompiler::apply_filter_all_threads(filter) {
            return warn!(
                "seccomp is not in force, or not in full: {error}; it needs a kernel with CONFIG_SECCOMP_FILTER, and \
                 not too many starts by upgrade from one to the next"
            );
        }
    }
    info!(
        "seccomp is in force: {} system calls are open to it, {} end the process, and all others are refused",
        ALLOWED.len() + LOOKED_AT.len(),
        DEADLY.len()
    );
}

/// Whether a filter is in force by now, whosever it is (proc(5)). A kernel without seccomp does not say.
pub(super) fn is_in_force() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("Seccomp:")).is_some_and(|mode| mode.trim() == "2")
}

fn filters() -> Result<[BpfProgram; 3], FilterError> {
    let arch: TargetArch = std::env::consts::ARCH.try_into()?;
    let compiled = |rules, otherwise, matched| -> Result<BpfProgram, FilterError> {
        Ok(SeccompFilter::new(rules, otherwise, matched, arch)?.try_into()?)
    };
    let all = |calls: &[i64]| -> Rules { calls.iter().map(|call| (*call, Vec::new())).collect() };
    let refused = |errno: Errno| SeccompAction::Errno(errno.raw_os_error().unsigned_abs());
    Ok([
        compiled(all(DEADLY), SeccompAction::Allow, SeccompAction::KillProcess)?,
        compiled(allowed()?, refused(Errno::PERM), SeccompAction::Allow)?,
        // Of two that refuse, the kernel goes by the one that came last.
        compiled(all(&unknown()), SeccompAction::Allow, refused(Errno::NOSYS))?,
    ])
}

/// Calls that a C library newer than this program may try, and those whose arguments no filter can look into.
fn unknown() -> Vec<i64> {
    let newer = NEWER.filter(|call| !ALLOWED.contains(call) && !DEADLY.contains(call));
    newer.chain([libc::SYS_clone3]).collect()
}

fn allowed() -> Result<Rules, FilterError> {
    let mut rules: Rules = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    let is = |argument, value| {
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)?;
        SeccompRule::new(vec![condition])
    };
    let one_of = |argument, values: &[u64]| -> Result<Vec<SeccompRule>, BackendError> {
        values.iter().map(|value| is(argument, *value)).collect()
    };
    rules.insert(libc::SYS_socket, one_of(0, FAMILIES)?);
    rules.insert(libc::SYS_socketpair, one_of(0, FAMILIES)?);
    rules.insert(libc::SYS_ioctl, one_of(1, IOCTLS)?);
    let no_namespace =
        SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(NAMESPACES), 0)?;
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![no_namespace])?]);
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_can_be_made_and_no_call_is_on_two_lists() {
        assert_eq!(filters().unwrap().len(), 3);
        let mut calls: Vec<i64> = ALLOWED.iter().chain(DEADLY).copied().chain(unknown()).collect();
        let count = calls.len();
        calls.sort_unstable();
        calls.dedup();
        assert_eq!(calls.len(), count);
        assert_eq!(allowed().unwrap().len(), ALLOWED.len() + LOOKED_AT.len());
    }
}
