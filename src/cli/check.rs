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
            super::print(&format!("{}\n", json_of_error(&error)))?;
            return Err(error.into());
        }
        Err(error) => return Err(error.into()),
    };
    let mut report = inspect::inspect(&loaded.config);
    report.warnings.extend(inspect::in_short(&loaded.warnings));
    if arguments.json {
        let json =
            serde_json::to_string_pretty(&report).map_err(|error| Failure::Failed(error.to_string()))?;
        super::print(&format!("{json}\n"))?;
    } else {
        super::print(&as_text(&report))?;
    }
    if report.errors.is_empty() {
        return Ok(());
    }
    Err(Failure::Wrong(format!("{}: {} to correct", config.display(), count(report.errors.len(), "problem"))))
}

fn as_text(report: &Report) -> String {
    let mut lines = Vec::new();
    for site in &report.sites {
        lines.push(site.names.join(" "));
        lines.push(format!("  certificate   {}", site.certificate));
        lines.push(format!("  plain HTTP    {}\n", site.plain_http));
        let width = site.routes.iter().map(|row| row.path.chars().count()).max().unwrap_or(0);
        for row in &site.routes {
            let note = if row.note.is_empty() { String::new() } else { format!("  ({})", row.note) };
            lines.push(format!("  {:<width$}  {}{note}", row.path, row.answered_by));
        }
        lines.push(String::new());
    }
    lines.extend(report.warnings.iter().map(|warning| format!("warning: {warning}")));
    lines.extend(report.errors.iter().map(|error| format!("error: {error}")));
    if report.errors.is_empty() {
        lines.push(format!("The configuration is good ({}).", count(report.warnings.len(), "warning")));
    }
    lines.push(String::new());
    lines.join("\n")
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
