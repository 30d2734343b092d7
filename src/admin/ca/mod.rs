//! The admin CA: issues client certificates, revokes them, and remembers both.
//!
//! All of it is files in one folder, `STATE/admin`:
//!
//! | file | what it is |
//! |---|---|
//! | `ca.crt`, `ca.key` | the CA; made by [`init`] or taken over by [`import`] |
//! | `register` | every certificate that was issued, and which are revoked: what counts |
//! | `register.lock` | held (`flock`) by the one command that may write the register |
//! | `ca.crl` | the revocations again, as a standard list for others; the gate does not read it |
//! | `last-seen` | the day each certificate was last let in; may be lost without harm |
//!
//! The commands and the running gate share nothing but these files. A command writes the register whole, beside
//! the old one, and renames it into place; the gate looks at it before each verdict (`OwnRevocations`). So a
//! revocation counts from the next request on, and an interrupted command leaves the old register or the new one.

mod authority;
mod crl;
mod dates;
mod der;
mod error;
mod files;
mod init;
mod keys;
mod last_seen;
mod leaf;
mod list;
mod names;
mod own_revocations;
mod own_side;
mod p12;
mod password;
mod reason;
mod register;
mod request;
mod store;
#[cfg(test)]
mod tests;

pub use self::authority::{Authority, Done, Issued, Revoked};
pub use self::error::CaError;
pub use self::init::{Init, import, init};
pub use self::keys::KeyType;
pub use self::last_seen::LastSeen;
pub use self::list::{Row, State, list};
pub use self::names::{BadName, Name};
pub(in crate::admin) use self::own_revocations::{OwnRevocations, Revoked as RevokedSerials};
pub use self::own_side::{bundle, request};
pub use self::p12::Format;
pub use self::password::Password;
pub use self::reason::Reason;

/// The register of the CA in the state folder `state`: what to watch for changes.
pub fn register_file(state: &std::path::Path) -> std::path::PathBuf {
    store::Folder::below(state).file(store::REGISTER)
}
