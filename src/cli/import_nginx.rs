//! `farmgate import-nginx`

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Failure;
use crate::nginx::{self, Imported, Options};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// nginx's main configuration file; what it includes is read as well.
    file: PathBuf,
    /// Write to this file, which must not be there yet, instead of standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Leave the admin pages closed, whatever nginx does with them.
    #[arg(long)]
    admin_closed: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let options = Options { admin_closed: arguments.admin_closed };
    let Imported { toml, notes } =
        nginx::import(&arguments.file, options).map_err(|refusal| Failure::Wrong(refusal.to_string()))?;
    match &arguments.output {
        Some(path) => write(path, &toml)?,
        None => super::print(&toml)?,
    }
    for note in &notes {
        eprintln!("{note}");
    }
    if let Some(path) = &arguments.output {
        eprintln!("{} is written. Next: farmgate check --config {}", path.display(), path.display());
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::AlreadyExists => {
            Failure::Failed(format!("{} is there already, and is left as it is", path.display()))
        }
        _ => Failure::Failed(format!("{}: {error}", path.display())),
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}
