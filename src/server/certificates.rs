//! The certificate of each site: read, made, or kept.

use std::collections::HashMap;

use crate::config::{Certificate, Config, Site};
use crate::tls::{Certificates, Pair, PairError, dev_keys, load_pair, self_signed};

/// The certificates of all sites, as last loaded.
#[derive(Default)]
pub struct Wardrobe {
    files: HashMap<Files, Pair>,
    self_signed: HashMap<Vec<String>, Pair>,
}

/// Chain and key.
type Files = (std::path::PathBuf, std::path::PathBuf);

/// What a site shows to its clients.
pub struct Shown {
    /// The site's names.
    pub names: Vec<String>,
    /// The chain and the key.
    pub pair: Pair,
    /// Where it is from: "file" or "self-signed".
    pub source: &'static str,
}

/// What to do with a site whose files cannot be used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// Serve what was served before, else a self-signed stand-in.
    Keep,
    /// Give up.
    Refuse,
}

impl Wardrobe {
    /// Loads the certificates of all sites of `config`, and says what went wrong with which.
    ///
    /// None with `OnFailure::Refuse` when anything did, and when a self-signed one could not be made.
    pub fn load(&mut self, config: &Config, on_failure: OnFailure) -> (Option<Vec<Shown>>, Vec<String>) {
        let mut shown = Vec::new();
        let mut problems = Vec::new();
        for site in &config.sites {
            match self.load_site(site, on_failure, &mut problems) {
                Some(one) => shown.push(one),
                None => return (None, problems),
            }
        }
        if on_failure == OnFailure::Refuse && !problems.is_empty() {
            return (None, problems);
        }
        (Some(shown), problems)
    }

    fn load_site(&mut self, site: &Site, on_failure: OnFailure, problems: &mut Vec<String>) -> Option<Shown> {
        let names = site.names.clone();
        if let Certificate::Files { chain, key } = &site.certificate {
            let at = (chain.clone(), key.clone());
            match load_pair(chain, key).and_then(|pair| refuse_throw_away(site, key, pair)) {
                Ok(pair) => {
                    self.files.insert(at, pair.clone());
                    return Some(Shown { names, pair, source: "file" });
                }
                Err(error) => problems.push(format!("{}: {error}", names.join(" "))),
            }
            if on_failure == OnFailure::Keep
                && let Some(pair) = self.files.get(&at)
            {
                return Some(Shown { names, pair: pair.clone(), source: "file" });
            }
        }
        let pair = match self.self_signed.get(&names) {
            Some(pair) => pair.clone(),
            None => match self_signed(&names) {
                Ok(pair) => pair,
                Err(error) => {
                    problems.push(format!("{}: no self-signed certificate: {error}", names.join(" ")));
                    return None;
                }
            },
        };
        self.self_signed.insert(names.clone(), pair.clone());
        Some(Shown { names, pair, source: "self-signed" })
    }
}

/// What the TLS side needs of `shown`; none without a site, which the configuration rules out.
pub fn for_tls(shown: &[Shown]) -> Option<Certificates> {
    Certificates::new(shown.iter().map(|one| (one.names.clone(), one.pair.clone())).collect())
}

/// The keys in `certs-dev` are known to everybody. For a name that others can reach they are refused.
fn refuse_throw_away(site: &Site, key: &std::path::Path, pair: Pair) -> Result<Pair, PairError> {
    let public = site.names.iter().find(|name| is_public(name));
    match public {
        Some(name) if pair.key.public_key().is_some_and(|key| dev_keys::is_throw_away(&key)) => {
            Err(PairError::ThrowAway { path: key.to_owned(), name: name.clone() })
        }
        _ => Ok(pair),
    }
}

/// Names that no public DNS has: RFC 6761 section 6, RFC 6762 section 3, RFC 8375, and ICANN's `internal`.
fn is_public(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    !matches!(last, "localhost" | "test" | "example" | "invalid" | "local" | "internal")
        && !name.ends_with(".home.arpa")
        && name.contains('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_stay_at_home_are_not_public() {
        for name in ["localhost", "ci.localhost", "farm.test", "farm", "farm.local", "a.home.arpa"] {
            assert!(!is_public(name), "{name}");
        }
        for name in ["ci.guix.gnu.org", "localhost.example.org", "test.org"] {
            assert!(is_public(name), "{name}");
        }
    }
}
