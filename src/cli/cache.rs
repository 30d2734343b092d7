//! `farmgate cache`

use std::fmt::Write;
use std::path::Path;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::Failure;
use crate::cache::{Item, Purge, Stats};
use crate::config;
use crate::control::figures::{printable, size};
use crate::control::{self, Reply, Request};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show how the cache is doing.
    Stats(Format),
    /// List what is stored.
    List(List),
    /// Let go of what is stored; of what is being fetched as well.
    Purge(Which),
}

#[derive(Debug, Args)]
pub(super) struct Format {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only targets that begin so.
    #[arg(long, value_name = "PATH", default_value = "/")]
    prefix: String,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Which {
    /// One URL, with or without scheme and host.
    #[arg(long)]
    url: Option<String>,
    /// Targets that begin so, at every site.
    #[arg(long, value_name = "PATH")]
    prefix: Option<String>,
    /// Everything.
    #[arg(long)]
    all: bool,
}

pub(super) fn run(config: &Path, command: Command) -> Result<(), Failure> {
    match command {
        Command::Stats(format) => match ask(config, Request::CacheStats)? {
            Reply::CacheStats(stats) if format.json => json(&stats),
            Reply::CacheStats(stats) => super::print(&stats_text(&stats)),
            other => Err(unexpected(&other)),
        },
        Command::List(list) => match ask(config, Request::CacheList(Purge::Prefix(list.prefix)))? {
            Reply::CacheList(items) if list.format.json => json(&items),
            Reply::CacheList(items) => super::print(&list_text(&items)),
            other => Err(unexpected(&other)),
        },
        Command::Purge(which) => {
            let purge = match which {
                Which { url: Some(url), .. } => Purge::Url(url),
                Which { prefix: Some(prefix), .. } => Purge::Prefix(prefix),
                // clap sees to it that there is one of the three.
                _ => Purge::All,
            };
            match ask(config, Request::CachePurge(purge))? {
                Reply::Done(notes) => super::print(&format!("{}\n", notes.join("\n"))),
                other => Err(unexpected(&other)),
            }
        }
    }
}

fn ask(config: &Path, request: Request) -> Result<Reply, Failure> {
    control::call(&config::control_socket(config)?, request)
        .map_err(|error| Failure::Failed(error.to_string()))
}

fn unexpected(reply: &Reply) -> Failure {
    Failure::Failed(reply.error().unwrap_or("the gate sent something else").to_owned())
}

fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::Failed(error.to_string()))?;
    super::print(&format!("{text}\n"))
}

// Writing to a string cannot fail.
fn stats_text(stats: &Stats) -> String {
    let mut text = String::new();
    let answered = stats.hits + stats.validated + stats.misses + stats.passed;
    let share = ((stats.hits + stats.validated) * 100).checked_div(answered).unwrap_or(0);
    let _ = writeln!(
        text,
        "requests  {answered}: {} hits, {} validated, {} misses, {} passed ({share} % from the cache)",
        stats.hits, stats.validated, stats.misses, stats.passed
    );
    for space in &stats.spaces {
        let _ = writeln!(
            text,
            "{:<9} {} responses, {} of {}, {} evicted",
            space.name,
            space.count,
            size(space.bytes),
            size(space.max_size),
            space.evicted
        );
    }
    let _ = writeln!(text, "memory    {} of {}", size(stats.memory), size(stats.memory_limit));
    if !stats.indexed {
        text.push_str("what was there at the start is still being read\n");
    }
    text
}

fn list_text(items: &[Item]) -> String {
    let mut text = String::new();
    for item in items {
        let _ = writeln!(
            text,
            "{:>10}  {:<6}  {}{}",
            size(item.bytes),
            item.space,
            item.host,
            printable(&item.target)
        );
    }
    text
}
