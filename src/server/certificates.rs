//! The certificate of each site: read, made, or kept.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::acme;
use crate::config::{Certificate, Config, Site};
use crate::tls::{Certificates, Pair, PairError, dev_keys, load_pair, self_signed};

/// The certificates of all sites, as last loaded.
#[derive(Default)]
pub struct Wardrobe {
    files: HashMap<Files, Pair>,
    self_signed: HashMap<Vec<String>, Pair>,
    /// What the certificate manager handed on last, by a site's first name.
    ordered: HashMap<String, Pair>,
    /// What was last read of those that were ordered before this process began: better than a stand-in where the disk
    /// loses it.
    stored: HashMap<String, Pair>,
}

/// Chain and key.
type Files = (PathBuf, PathBuf);

/// What a site shows to its clients.
pub struct Shown {
    /// The site's names.
    pub names: Vec<String>,
    /// The chain and the key.
    pub pair: Pair,
    /// Where it is from: "file", "acme" or "self-signed".
    pub source: &'static str,
}

/// Why a site cannot have the certificate it should.
#[derive(Debug)]
pub struct Problem {
    names: Vec<String>,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Files(PairError),
    /// What was ordered once is on disk, and cannot be used.
    Stored(acme::LoadError),
    SelfSigned(Box<dyn std::error::Error + Send + Sync>),
}

impl Problem {
    /// The site would show a key that everybody has. That is no reason for a stand-in, but for not starting.
    pub fn is_throw_away(&self) -> bool {
        matches!(self.cause, Cause::Files(PairError::ThrowAway { .. }))
    }

    /// It is over as soon as another certificate is ordered: no reason against a configuration.
    pub fn is_mended_by_ordering(&self) -> bool {
        matches!(self.cause, Cause::Stored(_))
    }

    /// Whether the site has one of these names.
    pub fn concerns_one_of(&self, names: &[String]) -> bool {
        self.names.iter().any(|name| names.contains(name))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.names.join(" ");
        match &self.cause {
            Cause::Files(error) => write!(f, "{names}: {error}"),
            Cause::Stored(error) => {
                write!(f, "{names}: no certificate that was ordered can be used: {error}")
            }
            Cause::SelfSigned(error) => write!(f, "{names}: no self-signed certificate: {error}"),
        }
    }
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
    /// None with `OnFailure::Refuse` when anything did that ordering does not mend, and when a self-signed one could not be
    /// made.
    pub fn load(&mut self, config: &Config, on_failure: OnFailure) -> (Option<Vec<Shown>>, Vec<Problem>) {
        let mut problems = Vec::new();
        let shown: Vec<Shown> = config
            .sites
            .iter()
            .filter_map(|site| {
                let loaded = self.load_site(site, on_failure, &config.paths.state);
                problems.extend(loaded.1);
                loaded.0
            })
            .collect();
        let complete = shown.len() == config.sites.len();
        let accepted = on_failure == OnFailure::Keep || problems.iter().all(Problem::is_mended_by_ordering);
        ((complete && accepted).then_some(shown), problems)
    }

    fn load_site(
        &mut self,
        site: &Site,
        on_failure: OnFailure,
        state: &Path,
    ) -> (Option<Shown>, Option<Problem>) {
        let names = site.names.clone();
        let mut problem = None;
        if let Certificate::Files { chain, key } = &site.certificate {
            let at = (chain.clone(), key.clone());
            match load_pair(chain, key).and_then(|pair| refuse_throw_away(site, key, pair)) {
                Ok(pair) => {
                    self.files.insert(at, pair.clone());
                    return (Some(Shown { names, pair, source: "file" }), None);
                }
                Err(error) => problem = Some(Problem { names: names.clone(), cause: Cause::Files(error) }),
            }
            if on_failure == OnFailure::Keep
                && let Some(pair) = self.files.get(&at)
            {
                return (Some(Shown { names, pair: pair.clone(), source: "file" }), problem);
            }
        }
        if site.certificate == Certificate::Acme {
            match self.ordered_for(&names, state) {
                Ok((pair, source)) => return (Some(Shown { names, pair, source }), None),
                Err(acme::LoadError::None) => {}
                Err(error) => problem = Some(Problem { names: names.clone(), cause: Cause::Stored(error) }),
            }
        }
        match self.self_signed_for(&names) {
            Ok(pair) => (Some(Shown { names, pair, source: "self-signed" }), problem),
            Err(error) => (None, Some(Problem { names, cause: Cause::SelfSigned(error) })),
        }
    }

    /// From now on the site whose first name is `site` shows `pair`.
    pub fn hand_on(&mut self, site: &str, pair: Pair) {
        self.ordered.insert(site.to_owned(), pair);
    }

    /// The certificate that was ordered for `names`, as handed on, else as stored, and where it is from.
    ///
    /// Where there is none yet, or none that counts for all of them now, one of somebody else's stands in that does:
    /// what a site was configured to show before, or what certbot has. Then what is best of our own.
    fn ordered_for(
        &mut self,
        names: &[String],
        state: &Path,
    ) -> Result<(Pair, &'static str), acme::LoadError> {
        let first = names.first().ok_or(acme::LoadError::None)?;
        let (store, now) = (acme::Store::new(state), acme::Time::now());
        let own = match self.ordered.get(first) {
            Some(pair) => Ok(pair.clone()),
            None => match store.load(first) {
                Ok(loaded) => {
                    self.stored.insert(first.clone(), loaded.pair.clone());
                    Ok(loaded.pair)
                }
                Err(acme::LoadError::None) => Err(acme::LoadError::None),
                Err(damaged) => self.stored.get(first).cloned().ok_or(damaged),
            },
        };
        let own = own.map(|pair| (pair, "acme"));
        if own.as_ref().is_ok_and(|(pair, _)| counts(pair, names, now)) {
            return own;
        }
        let of_files = self.files.values().find(|pair| counts(pair, names, now)).cloned();
        of_files
            .or_else(|| of_certbot(Path::new(CERTBOT), names, now))
            .map(|pair| (pair, "file"))
            .or_else(|| store.best_for(names, now).map(|loaded| (loaded.pair, "acme")))
            .map_or(own, Ok)
    }

    /// The self-signed certificate for `names`: the same one for as long as the process lives.
    fn self_signed_for(
        &mut self,
        names: &[String],
    ) -> Result<Pair, Box<dyn std::error::Error + Send + Sync>> {
        if let Some(pair) = self.self_signed.get(names) {
            return Ok(pair.clone());
        }
        let pair = self_signed(names)?;
        self.self_signed.insert(names.to_vec(), pair.clone());
        Ok(pair)
    }
}

/// Where certbot keeps what it has got, each certificate in a folder of its own.
const CERTBOT: &str = "/etc/letsencrypt/live";

/// What certbot left behind for `names`, if it still counts: better than a stand-in until the first one of our own.
/// Its folders are named by people.
fn of_certbot(live: &Path, names: &[String], now: acme::Time) -> Option<Pair> {
    let folders = std::fs::read_dir(live).into_iter().flatten().flatten().map(|folder| folder.path());
    folders
        .filter_map(|folder| load_pair(&folder.join("fullchain.pem"), &folder.join("privkey.pem")).ok())
        .filter(|pair| counts(pair, names, now))
        .max_by_key(|pair| facts_of(pair).map(|facts| facts.not_after))
}

/// Whether a certificate is for all of `names`, and valid at `now`.
fn counts(pair: &Pair, names: &[String], now: acme::Time) -> bool {
    facts_of(pair).is_some_and(|facts| facts.is_valid_at(now) && facts.covers(names))
}

fn facts_of(pair: &Pair) -> Option<acme::Facts> {
    acme::Facts::read(pair.cert.first()?)
}

/// What the TLS side needs of `shown`; none without a site, which the configuration rules out.
pub fn for_tls(shown: &[Shown]) -> Option<Certificates> {
    Certificates::new(shown.iter().map(|one| (one.names.clone(), one.pair.clone())).collect())
}

/// Whether the client CA of `config` is one whose key everybody has, while a site has a public name: then
/// everybody could make himself an administrator.
pub fn throw_away_client_ca(config: &Config) -> Option<String> {
    let name = config.sites.iter().flat_map(|site| &site.names).find(|name| is_public(name))?;
    let path = &config.admin.client_ca;
    // A file that cannot be read lets nobody in, and is reported by the gate.
    let pem = std::fs::read(path).ok()?;
    let known = CertificateDer::pem_slice_iter(&pem).flatten().any(|certificate| {
        X509Certificate::from_der(&certificate)
            .is_ok_and(|(_, parsed)| dev_keys::is_throw_away(parsed.public_key().raw))
    });
    known.then(|| {
        format!(
            "{}: the key of this CA is published with farmgate's source, and {name} is a public name; \
             make a CA of your own",
            path.display()
        )
    })
}

/// The keys in `certs-dev` are known to everybody. For a name that others can reach they are refused.
fn refuse_throw_away(site: &Site, key: &Path, pair: Pair) -> Result<Pair, PairError> {
    let known = pair.key.public_key().is_some_and(|public_key| dev_keys::is_throw_away(&public_key));
    match site.names.iter().find(|name| is_public(name)) {
        Some(name) if known => Err(PairError::ThrowAway { path: key.to_owned(), name: name.clone() }),
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

    /// A certificate for `names` that ends after so many days, or did.
    fn certificate(names: &[&str], days: i64) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.not_before =
            (std::time::SystemTime::now() - std::time::Duration::from_secs(90 * 86_400)).into();
        let end = acme::Time::now().unix() + days * 86_400;
        params.not_after =
            (std::time::UNIX_EPOCH + std::time::Duration::from_secs(end.try_into().unwrap())).into();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn put(folder: &Path, (chain, key): (String, String)) {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("fullchain.pem"), chain).unwrap();
        std::fs::write(folder.join("privkey.pem"), key).unwrap();
    }

    #[test]
    fn what_has_ended_gives_way_to_what_counts_for_all_names() {
        let state = tempfile::tempdir().unwrap();
        let names = ["a.example".to_owned(), "b.example".to_owned()];
        let files = (PathBuf::from("chain"), PathBuf::from("key"));
        let mut wardrobe = Wardrobe::default();
        let shown = |wardrobe: &mut Wardrobe| {
            wardrobe.ordered_for(&names, state.path()).ok().map(|(_, source)| source)
        };
        let pair = |(chain, key): (String, String)| crate::tls::pair_from_pem(&chain, &key).unwrap();
        assert_eq!(shown(&mut wardrobe), None);
        wardrobe.hand_on("a.example", pair(certificate(&["a.example", "b.example"], -1)));
        assert_eq!(shown(&mut wardrobe), Some("acme"));
        wardrobe.files.insert(files.clone(), pair(certificate(&["a.example"], 9)));
        assert_eq!(shown(&mut wardrobe), Some("acme"));
        wardrobe.files.insert(files, pair(certificate(&["a.example", "b.example"], 9)));
        assert_eq!(shown(&mut wardrobe), Some("file"));
        wardrobe.hand_on("a.example", pair(certificate(&["a.example", "b.example"], 1)));
        assert_eq!(shown(&mut wardrobe), Some("acme"));
    }

    #[test]
    fn what_certbot_left_behind_stands_in_while_it_counts_for_all_names() {
        let live = tempfile::tempdir().unwrap();
        let names = ["a.example".to_owned(), "b.example".to_owned()];
        put(&live.path().join("farm-0001"), certificate(&["a.example", "b.example"], 9));
        put(&live.path().join("wild"), certificate(&["*.wild.example", "wild.example"], 9));
        put(&live.path().join("ended.example"), certificate(&["ended.example"], -1));
        std::fs::write(live.path().join("README"), "certbot has one").unwrap();
        let now = acme::Time::now();
        assert!(of_certbot(live.path(), &["wild.example".into(), "ci.wild.example".into()], now).is_some());
        assert!(of_certbot(live.path(), &["a.ci.wild.example".into()], now).is_none());
        assert!(of_certbot(live.path(), &["ended.example".into()], now).is_none());
        let reversed = [names[1].clone(), names[0].clone()];
        assert!(of_certbot(live.path(), &reversed, now).is_some());
        assert!(of_certbot(live.path(), &[names[0].clone(), "c.example".into()], now).is_none());
        assert!(of_certbot(live.path(), &names, acme::Time::from_unix(i64::MAX)).is_none());
    }

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
