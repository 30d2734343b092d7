//! `farmgate status`

use std::path::Path;

use clap::Args;

use super::Failure;
use crate::config;
use crate::control::{self, Request};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Path, arguments: &Arguments) -> Result<(), Failure> {
    let reply = control::call(&config::control_socket(config)?, Request::Status)
        .map_err(|error| Failure::Failed(error.to_string()))?;
    let status = reply.status().ok_or_else(|| Failure::Failed("the gate sent no status".into()))?;
    if !arguments.json {
        return super::print(&status.to_string());
    }
    let json = serde_json::to_string_pretty(status).map_err(|error| Failure::Failed(error.to_string()))?;
    super::print(&format!("{json}\n"))
}
