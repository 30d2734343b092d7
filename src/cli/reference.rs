//! The commands as a page of the documentation, from the definitions that the program goes by.

use std::fmt::Write as _;

use clap::{Command, CommandFactory};

use super::Cli;

/// Every command with its `--help`, in the order in which `--help` lists them.
pub fn in_markdown() -> String {
    let mut page = String::from(
        "# Commands\n\n\
         <!-- Made from the definitions in src/cli by a test: see tests/it/reference.rs. -->\n\n\
         What `--help` says, for each command. Exit status: **0** done; **1** failed (an address is taken, no gate answers, a\n\
         reload was refused); **2** the command line or the configuration is wrong.\n",
    );
    let mut command = Cli::command().term_width(100);
    command.build();
    describe(&mut command, "", &mut page);
    page
}

fn describe(command: &mut Command, above: &str, page: &mut String) {
    let name = format!("{above}{}", command.get_name());
    let help = command.clone().render_long_help().to_string();
    let lines: Vec<_> = help.lines().map(str::trim_end).collect();
    // Writing to a string cannot fail.
    let _ = write!(page, "\n## `{name}`\n\n```text\n{}\n```\n", lines.join("\n").trim_end());
    for below in command.get_subcommands_mut().filter(|one| one.get_name() != "help" && !one.is_hide_set()) {
        describe(below, &format!("{name} "), page);
    }
}
