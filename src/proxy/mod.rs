//! The gate as the HTTP engine drives it: the phases of a request, each a short one, with the work in the
//! modules beside this.

mod answer;
mod ask;
mod cached;
mod contain;
mod context;
mod cross_site;
mod error_page;
mod failure;
mod forward;
mod generation;
mod host;
mod local;
mod lookup;
mod measure;
mod nar;
mod pace;
mod page;
mod phases;
mod plan;
mod pulse;
mod refusals;
mod relay;
mod session;
mod ui;

#[cfg(test)]
mod tests;

pub use context::Context;
pub use generation::{Generation, Live, Logs, Site};
pub use phases::Gatekeeper;
pub use refusals::ParserRefusals;
pub use session::Session;
