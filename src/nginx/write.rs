//! The TOML file.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use super::farm::{Farm, Key};
use super::notes::{Note, printable};

/// The order of tables in the file.
const TABLES: [&str; 7] =
    ["admin", "timeouts", "limits", "cache.static", "cache.download", "cache.logs", "access_log"];

/// The whole file, with what became of each line, and what did not, as comments.
pub(super) fn toml(origin: &Path, farm: &Farm, notes: &[Note]) -> String {
    let mut text =
        format!("# Made by `farmgate import-nginx` from {}.\n", printable(&origin.display().to_string()));
    text.push_str("# What was left behind, and what will be different, stands at the end.\n\n[listen]\n");
    listen(&mut text, "http", &farm.http);
    listen(&mut text, "https", &farm.https);
    for site in &farm.sites {
        text.push_str("\n[[site]]\n");
        keys(&mut text, site);
    }
    for table in TABLES {
        if let Some(found) = farm.tables.get(table) {
            let _ = write!(text, "\n[{table}]\n");
            keys(&mut text, found);
        }
    }
    let (different, left): (Vec<_>, Vec<_>) =
        notes.iter().partition(|note| matches!(note, Note::Different(_)));
    section(&mut text, "What will be different:", &different);
    section(&mut text, "What was left behind, and why:", &left);
    text
}

fn listen(text: &mut String, name: &str, addresses: &[SocketAddr]) {
    let addresses: Vec<_> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(text, "{name:<5} = [{}]", addresses.join(", "));
}

fn keys(text: &mut String, keys: &[Key]) {
    let width = keys.iter().map(|key| key.name.len()).max().unwrap_or_default();
    for key in keys {
        let _ = writeln!(text, "{:<width$} = {}    # {}", key.name, key.value, printable(&key.from));
    }
}

fn section(text: &mut String, heading: &str, notes: &[&Note]) {
    if notes.is_empty() {
        return;
    }
    let _ = write!(text, "\n# {heading}\n#\n");
    for note in notes {
        let _ = writeln!(text, "# {note}");
    }
}
