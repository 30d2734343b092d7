//! The program's own log.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::panic::{self, Location};
use std::thread;

use tracing::{Level, warn};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::log::RequestId;
use crate::log::finder::addresses;

/// The variable that says how much is told.
const LEVEL: &str = "FARMGATE_LOG";

/// Sends our own events, and nobody else's, to stderr: what libraries log may quote a request, and a request
/// may hold an address. Panics go there too, without addresses.
///
/// With `FARMGATE_LOG=debug` each request is a span that ends with a line: its id, and the time it was worked on and
/// waited for. Otherwise a span costs the look at a flag.
///
/// What it returns is to be kept until the end: in a build with the feature `otlp` it sends what is left of the spans.
#[must_use = "what is left of the spans is sent when it goes"]
pub fn to_stderr() -> Logging {
    let wanted = std::env::var(LEVEL).unwrap_or_default();
    let known = level(&wanted);
    let most = known.unwrap_or(Level::INFO);
    let layer = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .with_span_events(FmtSpan::CLOSE)
        .with_filter(filter_fn(move |event| {
            event.target().starts_with("farmgate") && *event.level() <= most
        }));
    let registry = tracing_subscriber::registry().with(layer);
    #[cfg(feature = "otlp")]
    let (export, problem) = match super::otlp::Export::of_environment() {
        Ok(export) => (export, None),
        Err(problem) => (None, Some(problem)),
    };
    #[cfg(feature = "otlp")]
    let registry = registry.with(export.as_ref().map(super::otlp::Export::layer));
    // Fails only when there is one already, as in tests that start several servers in one process.
    let _ = registry.try_init();
    tell_of_panics();
    #[cfg(feature = "otlp")]
    if let Some(problem) = problem {
        warn!("{problem}");
    }
    if known.is_none() {
        warn!("{LEVEL} is {wanted:?}: it can be error, warn, info or debug; info it is");
    }
    Logging {
        #[cfg(feature = "otlp")]
        _export: export,
    }
}

/// What is told of, as long as it is there.
#[derive(Debug)]
pub struct Logging {
    #[cfg(feature = "otlp")]
    _export: Option<super::otlp::Export>,
}

fn level(wanted: &str) -> Option<Level> {
    match wanted {
        "error" => Some(Level::ERROR),
        "warn" => Some(Level::WARN),
        "" | "info" => Some(Level::INFO),
        "debug" => Some(Level::DEBUG),
        _ => None,
    }
}

/// What a panic says may quote anything that was at hand, in our code or a library's: a request, or the address of who
/// sent it. Where it happened tells more.
fn tell_of_panics() {
    panic::set_hook(Box::new(|info| {
        let mut text = describe(info.payload(), info.location());
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            // Writing to a string cannot fail.
            let _ = write!(text, "{backtrace}");
        }
        // Not by way of `tracing`, in which it may have happened. Nobody may be there to read it.
        let _ = io::stderr().write_all(text.as_bytes());
    }));
}

fn describe(payload: &(dyn Any + Send), place: Option<&Location<'_>>) -> String {
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    let mut masked = String::with_capacity(message.len());
    let mut end = 0;
    for (range, _) in addresses(message.as_bytes()) {
        // An address is ASCII, so that its ends are ends of characters.
        masked.push_str(message.get(end..range.start).unwrap_or_default());
        masked.push_str("(an address)");
        end = range.end;
    }
    masked.push_str(message.get(end..).unwrap_or_default());
    let place = place.map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let thread = thread::current();
    let request = RequestId::current().map_or_else(String::new, |id| format!(" (id {id})"));
    // One line, whatever it says: the rest of the program's log has a line for everything.
    let thread = thread.name().unwrap_or("a thread");
    format!("PANIC in {thread} at {place}{request}: {}\n", masked.escape_debug())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_panic_is_told_in_a_line_without_addresses() {
        const CHILD: &str = "FARMGATE_TEST_PANIC";
        if std::env::var_os(CHILD).is_some() {
            tell_of_panics();
            panic!("no room for 203.0.113.77:4711,\nor [2001:db8::77] é");
        }
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "server::logging::tests::a_panic_is_told_in_a_line_without_addresses"])
            .arg("--nocapture")
            .env(CHILD, "1")
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        let line = stderr.lines().find(|line| line.starts_with("PANIC in ")).expect("a line");
        assert!(line.contains("src/server/logging.rs:"), "{line}");
        assert!(line.ends_with(": no room for (an address):4711,\\nor [(an address)] é"), "{line}");
        let all = [&output.stdout[..], &output.stderr].concat();
        assert!(!String::from_utf8_lossy(&all).contains("203.0.113.77"), "{stderr}");
    }
}
