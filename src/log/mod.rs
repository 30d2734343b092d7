//! The access log: who asked for what, with nobody's full address.

mod access;
mod anonymise;
mod combined;
mod writer;

pub use access::{AccessLog, dropped_lines};
pub use anonymise::Anonymiser;
pub use combined::Entry;
