//! `farmgate doctor`: looks at a substitute server from the outside, as the Guix daemon, a browser, a CA and somebody
//! who wants in would, and follows one substitute from its URL to its bytes.
//!
//! It takes any such server: this gate, nginx in front of a farm, `guix publish` alone. What only this gate promises is
//! held against a server only where it is known to be one.
//!
//! Everything a server sends is doubted and bounded: no size, no wait and no number of redirects is its own to choose.
//! Requests change nothing on the other side: what is asked of the admin pages is a name that no action has.

mod admin;
mod cache;
mod door;
mod ecdsa;
mod http;
mod nar;
mod narinfo;
mod old_tls;
mod pages;
mod pipelining;
mod reach;
#[doc(hidden)]
pub mod readers;
mod report;
mod sexp;
mod signature;
mod stream;
mod target;
mod tls;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use rustls::RootCertStore;

pub use report::{Audience, Finding, Paper, Report, Verdict};
pub use target::{Scheme, Target};

use crate::control::figures::printable;
use crate::tls::roots;
use signature::Key;

/// Of what one check found, in characters.
const LONGEST_FOUND: usize = 500;

/// What to look at, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whom to look at.
    pub target: Target,
    /// It is this gate, by the configuration: its promises are to be kept.
    pub own: bool,
    /// Where it is, whatever its name resolves to.
    pub address: Option<IpAddr>,
    /// The store item to look at, by its path, name or hash.
    pub item: Option<String>,
    /// The file of the key that must have signed it, instead of what the server says its key is.
    pub key: Option<PathBuf>,
    /// PEM roots to trust, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// Whether nars are downloaded.
    pub download: bool,
    /// The largest nar that is, in bytes as they are sent.
    pub largest: u64,
    /// How long a connection, and each part of an answer, may take.
    pub patience: Duration,
}

/// Looks at everything, and tells `audience` of each thing as it is found.
///
/// # Errors
///
/// Where what was given is wrong, so that nothing can be looked at: in words.
pub fn examine(settings: &Settings, audience: &mut dyn Audience) -> Result<Report, String> {
    let key = settings.key.as_ref().map(|path| {
        let named = |why: String| format!("{}: {why}", path.display());
        let text = std::fs::read(path).map_err(|error| named(error.to_string()))?;
        Key::parse(&text).map_err(named)
    });
    let item = settings.item.as_deref().map(|item| {
        narinfo::hash_part(item).map(str::to_owned).ok_or_else(|| {
            format!("expected a store item such as /gnu/store/HASH-hello-2.12.1, or its hash, found {item:?}")
        })
    });
    let mut doctor = Doctor {
        key: key.transpose()?,
        item: item.transpose()?,
        roots: match &settings.ca_file {
            Some(path) => Ok(roots::of(path)?),
            None => roots::system(),
        },
        target: settings.target.clone(),
        settings,
        audience,
        checks: Vec::new(),
        has_ci: false,
        built: Vec::new(),
    };
    doctor.examine();
    Ok(Report { url: settings.target.to_string(), checks: doctor.checks })
}

struct Doctor<'a> {
    settings: &'a Settings,
    target: Target,
    /// The hash of the item to look at, where one was given.
    item: Option<String>,
    key: Option<Key>,
    roots: Result<RootCertStore, String>,
    audience: &'a mut dyn Audience,
    checks: Vec<Finding>,
    /// Cuirass answers there too.
    has_ci: bool,
    /// Hashes of what it built last.
    built: Vec<String>,
}

impl Doctor<'_> {
    fn examine(&mut self) {
        let addresses = self.look_at_name();
        if addresses.is_empty() {
            return;
        }
        let plain = self.look_at_port(Scheme::Http, &addresses);
        let secure = self.look_at_port(Scheme::Https, &addresses);
        let secure = secure.filter(|door| self.look_at_tls(door));
        let doors: Vec<_> = match self.target.scheme {
            Scheme::Http => [plain.clone(), secure],
            Scheme::Https => [secure, plain.clone()],
        }
        .into_iter()
        .flatten()
        .collect();
        let Some(main) = doors.first() else { return };
        self.look_for_ci(main);
        let store = self.look_at_cache_info(main);
        let item = store.and_then(|store| self.look_at_substitute(main, &store));
        for door in &doors {
            self.look_at_pipelining(door, item.as_deref());
        }
        for door in &doors {
            self.look_at_admin(door);
        }
        self.look_at_robots(main);
        if let Some(plain) = &plain {
            self.look_at_challenges(plain);
        }
    }

    fn ok(&mut self, check: &str, found: impl Into<String>) {
        self.add(check, Verdict::Ok, found.into(), None);
    }

    fn warning(&mut self, check: &str, found: impl Into<String>, advice: &str) {
        self.add(check, Verdict::Warning, found.into(), Some(advice));
    }

    fn failure(&mut self, check: &str, found: impl Into<String>, advice: &str) {
        self.add(check, Verdict::Failure, found.into(), Some(advice));
    }

    /// A promise of this gate's that others need not keep.
    fn broken_promise(&mut self, check: &str, found: impl Into<String>, advice: &str) {
        let verdict = if self.settings.own { Verdict::Failure } else { Verdict::Warning };
        self.add(check, verdict, found.into(), Some(advice));
    }

    fn add(&mut self, check: &str, verdict: Verdict, found: String, advice: Option<&str>) {
        let finding = Finding {
            check: check.to_owned(),
            verdict,
            found: printable(&cut(found)),
            advice: advice.map(str::to_owned),
        };
        self.audience.found(&finding);
        self.checks.push(finding);
    }
}

/// Much of it may be what the server sent.
fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(LONGEST_FOUND) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// What names an answer that was not hoped for.
fn status_in_words(status: u16) -> String {
    match ::http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()) {
        Some(reason) => format!("{status} {reason}"),
        None => status.to_string(),
    }
}
