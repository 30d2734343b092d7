//! `farmgate man`

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};
use clap_mangen::Man;

use super::{Cli, Failure};
use crate::config::reference;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Write all pages into this folder, as farmgate-COMMAND.1 and farmgate.toml.5, instead of printing the first one.
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.folder {
        Some(folder) => write_all(folder)
            .map_err(|error| Failure::Failed(format!("{}: cannot be written to: {error}", folder.display()))),
        None => print_first(),
    }
}

fn print_first() -> Result<(), Failure> {
    let mut page = Vec::new();
    // Writing to a vector cannot fail.
    let _ = Man::new(Cli::command()).render(&mut page);
    super::print(&String::from_utf8_lossy(&page))
}

fn write_all(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Cli::command(), folder)?;
    std::fs::write(folder.join("farmgate.toml.5"), reference::in_roff())
}
