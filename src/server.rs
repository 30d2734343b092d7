//! Puts the services together: sockets, worker threads, signals, the control socket, and what is swapped while
//! they run.
//!
//! There is one single-threaded worker per core, each with sockets of its own (`SO_REUSEPORT`), its own engine
//! and its own pool of connections to the backends. A request never leaves the thread it arrived on, so nothing
//! on its way needs to wake another core up.

mod access_logs;
mod acme;
mod drain;
mod endpoint;
pub mod inspect;
pub mod logging;
mod names;
#[cfg(feature = "otlp")]
mod otlp;
mod overview;
mod reload;
mod run;
mod service_manager;
mod sockets;
mod succession;
mod supervise;
mod unwritten;
mod watch;
mod watchdog;
mod workers;

pub mod certificates;

pub use run::{Beginning, Hooks, RunError, run};
