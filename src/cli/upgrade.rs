//! `farmgate upgrade`

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::Failure;
use crate::config;
use crate::control::{self, Request};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The program to run from now on, instead of the one that this command is.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Where the running gate's control socket is, when the configuration names another one by now.
    #[arg(long, value_name = "SOCKET")]
    control: Option<PathBuf>,
    /// Seconds that it may take to come up.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

pub(super) fn run(config: &Path, arguments: &Arguments) -> Result<(), Failure> {
    let socket = match &arguments.control {
        Some(socket) => socket.clone(),
        None => config::control_socket(config)?,
    };
    // What is relative is so to the folder that this was typed in.
    let absolute = |path: &Path| {
        std::path::absolute(path).map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))
    };
    let binary = match &arguments.binary {
        Some(path) => absolute(path)?,
        None => std::env::current_exe().map_err(|error| {
            Failure::Failed(format!("this program cannot be found: {error}; name it with --binary"))
        })?,
    };
    let patience = Duration::from_secs(arguments.timeout);
    let request = Request::Upgrade { binary, config: absolute(config)?, patience };
    let reply = control::call_patiently(&socket, request, patience + control::PATIENCE)
        .map_err(|error| Failure::Failed(error.to_string()))?;
    super::pass_on(&reply)
}
