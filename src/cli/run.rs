//! `farmgate run`

use std::path::Path;

use clap::Args;

use super::Failure;
use crate::server::Beginning;
use crate::upgrade::Predecessor;
use crate::{config, server};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Take over from the gate that started this process: `farmgate upgrade` has it started so.
    #[arg(long, hide = true)]
    take_over: bool,
}

pub(super) fn run(config: &Path, arguments: &Arguments) -> Result<(), Failure> {
    if !arguments.take_over {
        return serve(config::load(config)?, Beginning::Service);
    }
    let (predecessor, sockets) = Predecessor::meet().map_err(|lost| Failure::Failed(lost.to_string()))?;
    // The one who typed `upgrade` is to read it.
    let loaded = config::load(config).inspect_err(|error| predecessor.failed(&error.to_string()))?;
    serve(loaded, Beginning::TakeOver(predecessor, sockets))
}

fn serve(loaded: config::Loaded, beginning: Beginning) -> Result<(), Failure> {
    let _logging = server::logging::to_stderr();
    server::run(loaded, beginning, server::Hooks::default())
        .map_err(|error| Failure::Failed(error.to_string()))
}
