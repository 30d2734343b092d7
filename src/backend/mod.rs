//! The programs behind the gate: reaching them, and speaking as they can bear.
//!
//! Both are built on Guile's web server, whose habits decide most of what is here (`farm-facts` in short: it
//! serves one request at a time, reads each whole before the next, and answers headers it cannot parse with
//! a 400).

mod connect;
mod incoming;
pub mod nars;
mod peer;
mod pool;
mod reach;
mod request;
mod short;
pub mod slots;
mod standing;
mod stream;
mod typed_headers;

pub use incoming::Incoming;
pub use nars::{Joined, Outcome, Whole};
pub use peer::{Asked, NarSlot, Peers, Use};
pub use pool::Pool;
pub use request::{Forwarded, Head, to_ci, to_publish, written_to_publish};
pub use short::{Answer, Short, ends_here, no_fields};
pub use standing::Backends;
pub use stream::BackendStream;
