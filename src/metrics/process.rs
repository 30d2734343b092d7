//! What the system says of this process, under the names that Prometheus's own clients use.
//!
//! All of it is read from `/proc/self`: a filter of system calls, as service managers set them, may take the asking
//! for limits for the setting of them.

use std::fs;

/// Ticks of the clock in a second, as `/proc` counts them: `USER_HZ`, which is part of the kernel's interface.
const TICKS_PER_SECOND: f64 = 100.0;

/// Figures of this process; what cannot be read is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Process {
    /// User and system time, in seconds.
    pub cpu_seconds: Option<f64>,
    /// Resident memory, in bytes.
    pub resident: Option<u64>,
    /// Virtual memory, in bytes.
    pub virtual_memory: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// File descriptors that are open.
    pub open_fds: Option<u64>,
    /// File descriptors that may be; none where there is no limit.
    pub max_fds: Option<u64>,
}

impl Process {
    /// This process, now.
    pub fn now() -> Self {
        let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        // The folder itself is open while it is read.
        let open_fds = fs::read_dir("/proc/self/fd").ok().map(|fds| (fds.count() as u64).saturating_sub(1));
        Self { open_fds, ..Self::parse(&read("stat"), &read("status"), &read("limits")) }
    }

    /// What the files of that name say (proc(5)).
    fn parse(stat: &str, status: &str, limits: &str) -> Self {
        // The second field is the program's name in brackets, which may hold anything, brackets and spaces too.
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or("", |(_, behind)| behind).split_whitespace().collect();
        // Numbered as in the manual, where the first one behind the name is the third.
        let ticks = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let line = |text: &str, name: &str, word: usize| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().nth(word)?.parse::<u64>().ok()
        };
        Self {
            cpu_seconds: ticks(14)
                .zip(ticks(15))
                .map(|(user, system)| (user + system) as f64 / TICKS_PER_SECOND),
            resident: line(status, "VmRSS:", 0).map(|kib| kib * 1024),
            virtual_memory: line(status, "VmSize:", 0).map(|kib| kib * 1024),
            threads: line(status, "Threads:", 0),
            open_fds: None,
            max_fds: line(limits, "Max open files", 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_those_of_the_manual_whatever_the_program_is_called() {
        let stat = "7 (a) (b c) S 1 7 7 0 -1 4194560 1 2 3 4 250 150 0 0 20 0 9 0 77";
        let status = "Name:\tx\nVmSize:\t   4000 kB\nVmRSS:\t     25 kB\nThreads:\t9\n";
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max open files            1024                 4096                 files\n";
        let process = Process::parse(stat, status, limits);
        assert_eq!(process.cpu_seconds, Some(4.0));
        assert_eq!((process.resident, process.virtual_memory), (Some(25 * 1024), Some(4000 * 1024)));
        assert_eq!((process.threads, process.max_fds), (Some(9), Some(1024)));
        assert_eq!(Process::parse("nonsense", "", "Max open files unlimited"), Process::default());
    }

    #[test]
    fn this_process_is_there() {
        let now = Process::now();
        assert!(now.cpu_seconds.is_some() && now.resident > Some(0) && now.threads > Some(0));
        assert!(now.open_fds > Some(2));
    }
}
