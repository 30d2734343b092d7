//! Certificates that look after themselves: ACME (RFC 8555) with HTTP-01, and renewal as the CA suggests it
//! (RFC 9773).
//!
//! [`Manager`] is what a gate starts; [`schedule`] says when anything happens, and is pure; [`Store`] is what is
//! left on disk. Everything else is one noun of the protocol each. What fails here fails a certificate's renewal,
//! never the gate.
//!
//! ```text
//! STATE/certificates/SITE/{fullchain.pem,privkey.pem}   what is served      store.rs
//! STATE/acme/accounts/CA.json                           key and URL         account.rs
//! STATE/acme/pending/SITE.json                          an order under way  pending.rs
//! STATE/acme/sites/SITE.json                            what went wrong     state.rs
//! STATE/acme/orders.json                                what was ordered    ledger.rs
//! STATE/acme/challenges/TOKEN                           answers             challenges.rs
//! STATE/acme/lock                                       who orders          lock.rs
//! ```

mod account;
mod answer;
mod attempt;
mod certificate;
mod challenges;
mod clock;
mod engine;
mod failure;
mod http;
mod key;
mod ledger;
mod lock;
mod manager;
mod new_account;
mod once;
mod order;
mod pending;
mod preflight;
mod progress;
mod renewal_info;
mod report;
mod responder;
pub mod schedule;
mod settings;
mod state;
mod store;
mod validation;
mod wait;

#[cfg(test)]
mod tests;

pub use certificate::Facts;
pub use challenges::Challenges;
pub use clock::{Time, time_in_words};
pub use manager::{Manager, OnNewCertificate, Started};
pub use once::{Once, renew_once};
pub use report::{Activity, SiteReport, report};
pub use responder::respond;
pub use settings::{Directory, Settings, Site, Timings};
pub use store::{LoadError, Loaded, Store};
