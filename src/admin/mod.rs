//! Who may enter `/admin`: the gate's verdict on a client certificate.
//!
//! The handshake has proven that the client holds the key ([`crate::tls::client_auth`]). Whether the
//! certificate is an administrator's is asked here on every request, because sessions are resumed and
//! connections outlive revocations.
//!
//! Everything here fails closed. A [`Gate`] can always be loaded; one whose files are not in order refuses
//! everybody and says why.

pub mod ca;
mod certificate;
mod client_ca;
mod closed;
mod path;
mod revocation;
mod signature;
#[cfg(test)]
pub(crate) mod tests;
mod verdict;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;

use self::ca::{LastSeen, OwnRevocations, RevokedSerials};
use self::certificate::Certificate;
use self::path::Rules;
use self::revocation::Revocations;

pub use self::closed::Closed;
pub use self::verdict::{Administrator, Refusal};

/// The client CA and what it revoked, as they were when loaded: load another one and swap. Only what our own CA
/// revoked is looked up again for each verdict.
#[derive(Debug)]
pub struct Gate {
    state: Result<Open, Closed>,
    own: Option<OwnRevocations>,
    last_seen: Option<Arc<LastSeen>>,
    warnings: Vec<String>,
}

#[derive(Debug)]
struct Open {
    anchors: Vec<Certificate>,
    revocations: Revocations,
}

impl Gate {
    /// Reads the client CA file (PEM; every certificate in it is a trust anchor) and the revocation lists
    /// (PEM or DER). Never fails: without usable files the gate is closed, see [`Self::closed_because`].
    pub fn load(client_ca: &Path, crls: &[PathBuf]) -> Self {
        Self::load_at(client_ca, crls, SystemTime::now())
    }

    /// A gate that lets nobody in.
    pub fn closed(because: Closed) -> Self {
        Self { state: Err(because), own: None, last_seen: None, warnings: Vec::new() }
    }

    /// The same gate, for which the revocations of the CA in the state folder `state` count at once.
    #[must_use]
    pub fn with_own_revocations(self, state: &Path) -> Self {
        Self { own: Some(OwnRevocations::new(state)), ..self }
    }

    /// The same gate, which remembers the day of each admission.
    #[must_use]
    pub fn with_last_seen(self, last_seen: Arc<LastSeen>) -> Self {
        Self { last_seen: Some(last_seen), ..self }
    }

    /// Remembers that `administrator` was let in at `now`. Of a verdict alone nothing is remembered: a request can
    /// still be refused for another reason.
    pub fn admitted(&self, administrator: &Administrator, now: SystemTime) {
        if let Some(last_seen) = &self.last_seen {
            last_seen.record(administrator, now);
        }
    }

    /// The reason, if the gate is closed.
    pub fn closed_because(&self) -> Option<Closed> {
        self.state.as_ref().err().cloned().or_else(|| self.own_revocations().err())
    }

    /// What an operator should know although the gate is open: whole sentences, each with the file it is
    /// about. As of loading: dates that pass later are not in it.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether the client that showed `chain` is an administrator at `now`. The first certificate is the
    /// client's own; the others help to find the CA, in any order.
    ///
    /// Proves nothing about who sent the chain: call it only with what a handshake has verified the key of.
    pub fn judge(&self, chain: &[CertificateDer<'_>], now: SystemTime) -> Result<Administrator, Refusal> {
        let open = self.state.as_ref().map_err(|_| Refusal::Closed)?;
        let [leaf, others @ ..] = chain else { return Err(Refusal::NoCertificate) };
        let leaf = Certificate::parse(leaf).map_err(|_| Refusal::Malformed)?;

        let own = self.own_revocations().map_err(|_| Refusal::Closed)?;
        let rules =
            Rules { anchors: &open.anchors, revocations: &open.revocations, own: &own, now: seconds(now) };
        rules.judge(&leaf, others)?;
        Ok(Administrator { serial: leaf.serial_hex(), common_name: leaf.common_name })
    }

    fn own_revocations(&self) -> Result<Arc<RevokedSerials>, Closed> {
        self.own.as_ref().map_or_else(|| Ok(Arc::default()), OwnRevocations::current)
    }

    fn load_at(client_ca: &Path, crls: &[PathBuf], now: SystemTime) -> Self {
        let now = seconds(now);
        let mut warnings = Vec::new();
        let state = client_ca::load(client_ca).and_then(|anchors| {
            let revocations = Revocations::load(crls, &anchors, now)?;
            warnings.extend(client_ca::expired(client_ca, &anchors, now));
            warnings.extend(revocations.warnings.iter().cloned());
            Ok(Open { anchors, revocations })
        });
        Self { state, own: None, last_seen: None, warnings }
    }
}

/// Seconds since 1970, rounded down: certificates have whole ones.
fn seconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        Err(before) => {
            let before = before.duration();
            let whole = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
            whole.saturating_neg().saturating_sub(i64::from(before.subsec_nanos() > 0))
        }
    }
}
