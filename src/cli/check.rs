//! `farmgate check`

use std::path::Path;

use clap::Args;

use super::Failure;
use crate::config::{self, ConfigError};
use crate::server::inspect::{self, Report};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Path, arguments: &Arguments) -> Result<(), Failure> {
    let loaded = match config::load(config) {
        Ok(loaded) => loaded,
        Err(error) if arguments.json => {
            println!("{}", json_of_error(&error));
            return Err(error.into());
        }
        Err(error) => return Err(error.into()),
    };
    let mut report = inspect::inspect(&loaded.config, &loaded.given);
    report.warnings.extend(inspect::in_short(&loaded.warnings));
    if arguments.json {
        let json =
            serde_json::to_string_pretty(&report).map_err(|error| Failure::Failed(error.to_string()))?;
        println!("{json}");
    } else {
        print(&report);
    }
    if report.errors.is_empty() {
        return Ok(());
    }
    Err(Failure::Wrong(format!("{}: {} to correct", config.display(), count(report.errors.len(), "problem"))))
}

fn print(report: &Report) {
    for site in &report.sites {
        println!("{}", site.names.join(" "));
        println!("  certificate   {}", site.certificate);
        println!("  plain HTTP    {}\n", site.plain_http);
        let width = site.routes.iter().map(|row| row.path.chars().count()).max().unwrap_or(0);
        for row in &site.routes {
            let note = if row.note.is_empty() { String::new() } else { format!("  ({})", row.note) };
            println!("  {:<width$}  {}{note}", row.path, row.answered_by);
        }
        println!();
    }
    for warning in &report.warnings {
        println!("warning: {warning}");
    }
    for error in &report.errors {
        println!("error: {error}");
    }
    if report.errors.is_empty() {
        println!("The configuration is good ({}).", count(report.warnings.len(), "warning"));
    }
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn json_of_error(error: &ConfigError) -> serde_json::Value {
    match error {
        ConfigError::Unreadable { .. } => serde_json::json!({ "errors": [error.to_string()] }),
        ConfigError::Invalid(diagnostics) => {
            let errors: Vec<_> = diagnostics
                .iter()
                .map(|one| {
                    serde_json::json!({
                        "file": diagnostics.origin(), "line": one.line, "column": one.column,
                        "key": one.key, "message": one.message, "help": one.hint,
                    })
                })
                .collect();
            serde_json::json!({ "errors": errors })
        }
    }
}
