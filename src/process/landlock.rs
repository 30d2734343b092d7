//! Landlock: the folders that this process, and what it starts, can open files in from now on.
//!
//! Sockets are left alone: a reload may name other backends, and a certificate authority is anywhere.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd,
    RestrictionStatus, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus,
};
use tracing::{info, warn};

use super::folders::{Need, existing, needs, real};
use crate::config::Config;
use crate::upgrade::{Open, Use};

/// What is restricted where the kernel knows it: all that Linux 6.10 can.
const WANTED: ABI = ABI::V5;
/// Without this (Linux 5.19) no file could be moved from one folder to another, which the cache and the control socket
/// need.
const LEAST: ABI = ABI::V2;

/// Programs and libraries. `upgrade` starts another version of this program, and that one has to find its libraries.
const PROGRAMS: [&str; 9] =
    ["/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/gnu/store", "/nix/store", "/run/current-system"];
/// What the C library, the runtime and the allocator look at: accounts, names, time zones, roots of CAs, processors.
/// Files in /etc are replaced by others of the same name, so that the folder has to be open.
const SYSTEM: [&str; 11] = [
    "/etc",
    "/proc",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
    "/sys/kernel/mm/transparent_hugepage",
    "/run/NetworkManager",
    "/run/nscd",
    "/run/resolvconf",
    "/run/systemd/resolve",
    "/var/cache/nscd",
    "/var/lib/sss",
];
/// Where certbot has a folder of links for each certificate.
const CERTBOT: &str = "/etc/letsencrypt/live";
/// Written to by anybody.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];
/// Where the roots of CAs are said to be elsewhere.
const ROOTS: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// What to say where it is not in force.
pub(super) const ALL_OPEN: &str = "all files that its user may open are open to it";

/// The folders that are open to this process until it ends.
#[derive(Debug)]
pub(crate) struct Confined {
    open: Vec<Open>,
}

impl Confined {
    /// Those that are left by the process that started this one.
    pub(super) fn inherited(open: &[Open]) -> Self {
        Self { open: open.to_vec() }
    }

    /// What is open, to be told to a process that this one starts. (A name that is not UTF-8 cannot be told: the other one
    /// takes such a folder for closed.)
    pub(crate) fn open(&self) -> Vec<Open> {
        self.open.iter().filter(|open| open.path.to_str().is_some()).cloned().collect()
    }

    /// Where programs can be started from.
    pub(crate) fn programs(&self) -> String {
        list(self.open.iter().filter(|open| open.uses == Use::Run).map(|open| &*open.path))
    }

    /// What is open here and there.
    fn and(&self, other: &Self) -> Self {
        let both = |one: &Open, other: &Open| {
            let path = match () {
                () if one.path.starts_with(&other.path) => &one.path,
                () if other.path.starts_with(&one.path) => &other.path,
                () => return None,
            };
            let uses = if one.uses == other.uses { one.uses } else { Use::Read };
            Some(Open { path: path.clone(), uses })
        };
        let pairs =
            self.open.iter().flat_map(|one| other.open.iter().filter_map(move |other| both(one, other)));
        let mut open: Vec<Open> = Vec::new();
        for one in pairs {
            if !open.contains(&one) {
                open.push(one);
            }
        }
        Self { open }
    }

    /// Why `config` cannot take effect in this process, if it cannot: each file that lies elsewhere, with its key.
    pub(crate) fn refuses(&self, config: &Config) -> Option<String> {
        let outside: Vec<String> = needs(config)
            .iter()
            .filter(|need| !self.covers(need))
            .map(|need| format!("{}: {}", need.key, need.path.display()))
            .collect();
        (!outside.is_empty()).then(|| {
            format!(
                "outside of the folders that are open to this process since its start (Landlock):\n{}\nrestart it, or \
                 keep these files where the others are",
                outside.join("\n")
            )
        })
    }

    fn covers(&self, need: &Need) -> bool {
        // What is not there and would be at the root was opened to nobody, and said so at the start.
        let places = need.places().into_iter().filter(|place| !would_be_at_the_root(place));
        places.map(|place| real(&place)).all(|place| {
            self.open.iter().any(|open| {
                place.starts_with(&open.path) && (open.uses == Use::Write || need.uses == Use::Read)
            })
        })
    }
}

/// Leaves this thread, and all that it starts, the folders that `config` needs, as far as they are `inherited` where not all
/// are. Says what is in force.
pub(super) fn confine(config: &Config, inherited: Option<Confined>) -> Option<Confined> {
    let (programs, reads, writes) = (programs(), reads(config), places(config, Use::Write));
    match restrict(&programs, &reads, &writes) {
        Ok(status) if status.ruleset == RulesetStatus::NotEnforced => {
            warn!("Landlock is not in force: this kernel has none; {ALL_OPEN}");
            None
        }
        Ok(status) => {
            let open = |paths: &[PathBuf], uses| -> Vec<Open> {
                paths.iter().map(|path| Open { path: real(path), uses }).collect()
            };
            let open =
                [open(&programs, Use::Run), open(&reads, Use::Read), open(&writes, Use::Write)].concat();
            let asked = Confined { open };
            let confined =
                inherited.map_or_else(|| Confined { open: asked.open.clone() }, |before| asked.and(&before));
            let paths =
                |uses| list(confined.open.iter().filter(|open| open.uses == uses).map(|open| &*open.path));
            info!(
                "Landlock is in force{}; it writes below {}; it reads below {} {}",
                depth(&status),
                paths(Use::Write),
                paths(Use::Read),
                paths(Use::Run)
            );
            Some(confined)
        }
        // The kernel takes 16 layers, one above the other.
        Err(error) if inherited.is_some() => {
            warn!(
                "Landlock is in force as the gate before this one left it, and not tightened: {error}; after 16 starts by \
                 upgrade, one from the other, restart it"
            );
            inherited
        }
        Err(error) => {
            warn!("Landlock is not in force: {error}; it needs Linux 5.19 or newer; {ALL_OPEN}");
            None
        }
    }
}

fn list<'a>(paths: impl Iterator<Item = &'a Path>) -> String {
    paths.map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ")
}

fn depth(status: &RestrictionStatus) -> String {
    let version = match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => format!(" (version {})", effective_abi as i32),
        _ => String::new(),
    };
    let partly = status.ruleset == RulesetStatus::PartiallyEnforced;
    if partly { format!("{version}, as far as this kernel has it") } else { version }
}

fn restrict(
    programs: &[PathBuf],
    reads: &[PathBuf],
    writes: &[PathBuf],
) -> Result<RestrictionStatus, RulesetError> {
    let reading = AccessFs::from_read(WANTED);
    // Devices are made by nobody here, and what it writes it does not run.
    let never = AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::MakeFifo;
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(LEAST))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(WANTED))?
        .create()?;
    for path in programs {
        rules = allow(rules, path, reading)?;
    }
    for path in reads {
        rules = allow(rules, path, reading & !AccessFs::Execute)?;
    }
    for path in writes {
        rules = allow(rules, path, AccessFs::from_all(WANTED) & !never)?;
    }
    for path in DEVICES {
        rules = allow(rules, Path::new(path), AccessFs::ReadFile | AccessFs::WriteFile)?;
    }
    rules.restrict_self()
}

/// Opens `path`, if it is there. Pipes need no rule and can have none.
fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let Ok(descriptor) = PathFd::new(path) else {
        return Ok(rules);
    };
    // Rights over folders mean nothing for a file, and are refused there.
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(WANTED) };
    rules.add_rule(PathBeneath::new(descriptor, access))
}

fn programs() -> Vec<PathBuf> {
    let own = std::env::current_exe().ok().and_then(|path| path.parent().map(Path::to_owned));
    fewest(PROGRAMS.iter().map(PathBuf::from).filter(|path| path.is_dir()).chain(own).collect())
}

fn reads(config: &Config) -> Vec<PathBuf> {
    let mut reads = places(config, Use::Read);
    reads.extend(SYSTEM.iter().map(PathBuf::from).filter(|path| path.exists()));
    reads.extend(ROOTS.iter().filter_map(std::env::var_os).map(PathBuf::from).filter(|path| path.exists()));
    // What stands in for a certificate that is not there yet: links, as a rule into a folder beside.
    let of_certbot = std::fs::read_dir(CERTBOT).into_iter().flatten().flatten();
    reads.extend(of_certbot.flat_map(|site| Need::read(&site.path().join("privkey.pem")).places()));
    // Where the file of the name servers really is, if somebody else keeps it.
    let resolver = Path::new("/etc/resolv.conf").canonicalize().ok();
    reads.extend(resolver.and_then(|path| path.parent().map(Path::to_owned)));
    fewest(reads)
}

/// The folders of what `config` names for `uses`. Of one that is not there yet the nearest above it is opened, so that it
/// can still come; but not the root, which would be everything.
fn places(config: &Config, uses: Use) -> Vec<PathBuf> {
    let mut places = Vec::new();
    for need in needs(config).iter().filter(|need| need.uses == uses) {
        for place in need.places() {
            // What is opened is this folder, and not the next of its name; that one is made in the folder above.
            let above = place.parent().filter(|above| need.is_expendable && *above != Path::new("/"));
            places.extend(above.map(|above| existing(above).to_owned()));
            if would_be_at_the_root(&place) {
                warn!(
                    "{}: {} is not there; if it comes, it counts from the next start on",
                    need.key,
                    place.display()
                );
            } else {
                places.push(existing(&place).to_owned());
            }
        }
    }
    fewest(places)
}

/// Of what is not there, whether the nearest folder above it is the root.
fn would_be_at_the_root(place: &Path) -> bool {
    place != Path::new("/") && existing(place) == Path::new("/")
}

/// Without those that lie in others.
fn fewest(mut paths: Vec<PathBuf>) -> Vec<PathBuf> {
    paths = paths.iter().map(|path| real(path)).collect();
    paths.sort();
    paths.dedup_by(|path, above| path.starts_with(&*above));
    paths
}
