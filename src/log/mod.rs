//! Logs: who asked for what, with nobody's full address. [`filter`] does the same to the logs of others.

mod access;
mod anonymise;
mod combined;
mod entry;
pub mod filter;
pub mod finder;
mod json;
mod keep;
mod request_id;
mod rotate;
mod sink;
mod time;
mod writer;

pub use access::AccessLog;
pub use anonymise::Anonymiser;
pub use entry::Entry;
pub use request_id::RequestId;
pub use time::Dates;
pub use writer::{Writer, dropped_lines, wait_for_retired_writers};
