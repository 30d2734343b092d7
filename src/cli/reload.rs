//! `farmgate reload`

use std::path::Path;

use super::Failure;
use crate::config;
use crate::control::{self, Request};

pub(super) fn run(config: &Path) -> Result<(), Failure> {
    let reply = control::call(&config::control_socket(config)?, Request::Reload)
        .map_err(|error| Failure::Failed(error.to_string()))?;
    super::pass_on(&reply)
}
