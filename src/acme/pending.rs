//! An order that is under way, so that a restart goes on with it: another order for the same would count twice with
//! the CA.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::warn;
use zeroize::Zeroizing;

use super::clock::Time;
use super::failure::Failure;
use crate::config::KeyType;
use crate::files::{self, Content};

/// No CA keeps an order open for longer (RFC 8555 section 7.1.3, `expires`).
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// An order, and the key its certificate will be for.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Pending {
    /// Where it was ordered.
    pub directory: String,
    /// By which account.
    pub account: String,
    /// The order's own URL.
    pub url: String,
    /// The names, in the site's order.
    pub names: Vec<String>,
    /// The type of the key.
    pub key_type: String,
    /// The kind of certificate.
    pub profile: Option<String>,
    /// The private key, in PEM.
    pub key: Zeroizing<String>,
    /// When it was ordered.
    pub ordered: Time,
}

impl Pending {
    /// Whether it is an order for just that.
    pub(super) fn is_for(
        &self,
        directory: &str,
        names: &[String],
        key_type: KeyType,
        profile: Option<&str>,
        now: Time,
    ) -> bool {
        self.directory == directory
            && self.names == names
            && self.key_type == key_type.name()
            && self.profile.as_deref() == profile
            && now.since(self.ordered) < LONGEST
    }
}

/// The file for a site's order.
#[derive(Clone, Debug)]
pub(super) struct PendingFile(pub(super) PathBuf);

impl PendingFile {
    /// The order, if one is under way. Fails where there may be one, and it cannot be read now.
    pub(super) fn read(&self) -> Result<Option<Pending>, Failure> {
        match files::read_json(&self.0) {
            Content::Good(pending) => Ok(Some(pending)),
            Content::Missing => Ok(None),
            Content::Unreadable(why) => Err(Failure::us(format!("{}: {why}", self.0.display()))),
            Content::Damaged(why) => {
                warn!("{}: {why}; the order in it is given up", self.0.display());
                Ok(None)
            }
        }
    }

    pub(super) fn write(&self, pending: &Pending) -> io::Result<()> {
        files::write_json(&self.0, pending)
    }

    /// Forgets the order. It is kept at the CA until it expires there.
    pub(super) fn remove(&self) {
        if let Err(error) = files::remove(&self.0) {
            warn!("{}: {error}", self.0.display());
        }
    }
}
