//! Puts the services together: sockets, worker threads, signals, the control socket, and what is swapped while
//! they run.
//!
//! There is one single-threaded worker per core, each with sockets of its own (`SO_REUSEPORT`), its own engine
//! and its own pool of connections to the backends. A request never leaves the thread it arrived on, so nothing
//! on its way needs to wake another core up.

mod access_logs;
mod acme;
mod endpoint;
pub mod inspect;
pub mod logging;
mod overview;
mod reload;
mod run;
mod supervise;
mod unwritten;
mod watch;
mod workers;

pub mod certificates;

pub use run::{Hooks, RunError, run};
