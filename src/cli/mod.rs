//! The command line: what can be typed, and which part of the library does it.

mod admin;
mod anonip;
mod cache;
mod cert;
mod check;
mod completions;
mod demo;
mod doctor;
mod import_nginx;
mod man;
pub mod reference;
mod reload;
mod run;
mod status;
mod upgrade;

use std::fmt;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// The front door of a GNU Guix build farm.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: Global,
}

#[derive(Debug, Args)]
struct Global {
    /// The configuration file; also how commands find a running gate.
    #[arg(long, value_name = "FILE", global = true, default_value = "/etc/farmgate/farmgate.toml")]
    config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve, in the foreground. The program's own log goes to stderr.
    Run(run::Arguments),
    /// Validate everything `run` would load, and print the resulting route table.
    Check(check::Arguments),
    /// Make the admin CA; issue, revoke and list client certificates.
    #[command(subcommand)]
    Admin(admin::Command),
    /// Mask addresses in log lines: a filter.
    Anonip(anonip::Arguments),
    /// Show what the cache holds, or let go of it.
    #[command(subcommand)]
    Cache(cache::Command),
    /// Show and renew the certificates that are ordered.
    #[command(subcommand)]
    Cert(cert::Command),
    /// Print what a shell needs to complete this program's commands and options.
    Completions(completions::Arguments),
    /// Serve a made-up farm on loopback, with nothing to configure.
    Demo(demo::Arguments),
    /// Look at a substitute server from outside, and follow one substitute to its verified bytes.
    Doctor(doctor::Arguments),
    /// Write the configuration that does what a farm's nginx.conf does.
    ImportNginx(import_nginx::Arguments),
    /// Print the manual page, or write the pages of all commands.
    Man(man::Arguments),
    /// Have the running gate read its configuration again.
    Reload,
    /// Show what the running gate is doing.
    Status(status::Arguments),
    /// Have the running gate hand over to this program, or another one: no connection is lost.
    Upgrade(upgrade::Arguments),
}

/// Runs the command.
pub fn run(cli: Cli) -> Result<(), Failure> {
    let config = cli.global.config;
    match cli.command {
        Command::Run(arguments) => run::run(&config, &arguments),
        Command::Check(arguments) => check::run(&config, &arguments),
        Command::Admin(command) => admin::run(&config, command),
        Command::Anonip(arguments) => anonip::run(&arguments),
        Command::Cache(command) => cache::run(&config, command),
        Command::Cert(command) => cert::run(&config, &command),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&config, &arguments),
        Command::ImportNginx(arguments) => import_nginx::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
        Command::Reload => reload::run(&config),
        Command::Status(arguments) => status::run(&config, &arguments),
        Command::Upgrade(arguments) => upgrade::run(&config, &arguments),
    }
}

/// Says what the gate has to say to a request, and fails if it did.
fn pass_on(reply: &crate::control::Reply) -> Result<(), Failure> {
    for note in reply.notes() {
        print(&format!("{note}\n"))?;
    }
    match reply.error() {
        None => Ok(()),
        Some(error) => Err(Failure::Failed(error.to_owned())),
    }
}

/// Prints `text` on stdout. A reader that has seen enough, such as `head`, is no failure of ours.
fn print(text: &str) -> Result<(), Failure> {
    use std::io::Write;
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(error.to_string()))
        }
        _ => Ok(()),
    }
}

/// Whether colours are, where there is a terminal. https://no-color.org: not, if it is set and not empty.
fn colours_are_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// How a command failed.
#[derive(Debug)]
pub enum Failure {
    /// What was asked for could not be done: exit status 1.
    Failed(String),
    /// The command line or the configuration is wrong: exit status 2.
    Wrong(String),
}

impl Failure {
    /// The exit status.
    pub fn status(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Wrong(_) => 2,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(text) | Self::Wrong(text) => f.write_str(text.trim_end()),
        }
    }
}

impl std::error::Error for Failure {}

impl From<crate::config::ConfigError> for Failure {
    fn from(error: crate::config::ConfigError) -> Self {
        Self::Wrong(error.to_string())
    }
}
