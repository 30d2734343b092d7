//! The program's own log.

use std::io::IsTerminal;

use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Sends our own events, and nobody else's, to stderr: what libraries log may quote a request, and a request
/// may hold an address.
pub fn to_stderr() {
    let layer = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .with_filter(filter_fn(|event| {
            event.target().starts_with("farmgate") && *event.level() <= tracing::Level::INFO
        }));
    // Fails only when there is one already, as in tests that start several servers in one process.
    let _ = tracing_subscriber::registry().with(layer).try_init();
}
