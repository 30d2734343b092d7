//! `farmgate run`

use std::path::Path;

use super::Failure;
use crate::{config, server};

pub(super) fn run(config: &Path) -> Result<(), Failure> {
    let loaded = config::load(config)?;
    let _logging = server::logging::to_stderr();
    server::run(loaded, server::Hooks::default()).map_err(|error| Failure::Failed(error.to_string()))
}
