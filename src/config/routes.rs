//! Settings that go by the path of a page: how often a client may ask for it, and how long it may take.

use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::diagnostics::Complaint;
use super::pattern::PathPattern;
use super::settings::{RequestLimit, RouteTimeout};
use super::values::{number, positive_duration, string};
use super::wire::{Reader, bare};

/// Requests of a client at once when the file does not say.
const BURST: u32 = 10;
/// What begins the paths of substitutes, of files, and of what the gate answers itself. None of it is a page.
const NO_PAGES: [&str; 7] =
    ["nar", "file", "nix-cache-info", "signing-key.pub", "static", "robots.txt", ".well-known"];

/// `[[limits.requests]]`.
pub(super) fn requests(limits: &mut Reader<'_, '_>) -> Vec<RequestLimit> {
    let all = limits.tables("requests", |table| {
        let paths = paths(table);
        if !table.has("rate") {
            let hint = "add rate = \"30/m\", for each client";
            table.missing("rate", Complaint::new("`rate` is missing").hint(hint));
        }
        let interval = table.get("rate", request_rate);
        let burst = table.get("burst", number(1..=1_000_000u32)).unwrap_or(BURST);
        Some(RequestLimit { paths: paths?, interval: interval?, burst })
    });
    all.into_iter().flatten().collect()
}

/// `[[timeouts.route]]`.
pub(super) fn timeouts(timeouts: &mut Reader<'_, '_>) -> Vec<RouteTimeout> {
    let all = timeouts.tables("route", |table| {
        let paths = paths(table);
        if !table.has("read") {
            let hint = "add read = \"6m\", or what these pages need";
            table.missing("read", Complaint::new("`read` is missing").hint(hint));
        }
        let read = table.get("read", positive_duration);
        Some(RouteTimeout { paths: paths?, read: read? })
    });
    all.into_iter().flatten().collect()
}

fn paths(table: &mut Reader<'_, '_>) -> Option<Vec<PathPattern>> {
    let example = "paths = [\"/search\", \"/build/*/log\"]";
    if !table.has("paths") {
        table.missing("paths", Complaint::new("`paths` is missing").hint(format!("add {example}")));
    }
    let paths: Vec<Spanned<PathPattern>> = table.list("paths", pattern)?;
    if let Some(span) = table.empty_list("paths") {
        let complaint = Complaint::new("there is no path in it");
        table.error(span, "paths", complaint.hint(format!("write {example}, or leave the whole table out")));
    }
    Some(bare(paths))
}

fn pattern(value: &DeValue<'_>) -> Result<PathPattern, Complaint> {
    let expected = "a path such as \"/search\" or \"/build/*/log\"";
    let text = string(value, expected)?;
    let Some(pattern) = PathPattern::parse(text) else {
        let complaint = Complaint::new(format!("expected {expected}, found \"{text}\""));
        let hint = "it begins with a slash and does not end with one; `*` stands for one whole segment; \
                    what is below a path belongs to it";
        return Err(complaint.hint(hint));
    };
    let first = pattern.first().unwrap_or_default();
    if NO_PAGES.contains(&first) || first.ends_with(".narinfo") {
        let complaint = Complaint::new(format!("\"{text}\" is no page of the UI"));
        return Err(
            complaint.hint("this is for what Cuirass makes: substitutes and files are not touched by it")
        );
    }
    Ok(pattern)
}

/// Reads "30/m": the time between two.
fn request_rate(value: &DeValue<'_>) -> Result<Duration, Complaint> {
    let expected = "a number of requests and a time, such as \"30/m\"";
    let text = string(value, expected)?;
    let complaint = || Complaint::new(format!("expected {expected}, found \"{text}\""));
    let (count, unit) = text.split_once('/').ok_or_else(complaint)?;
    let nanoseconds: u64 = match unit {
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return Err(complaint().hint("the time is s, m or h: one second, minute or hour")),
    };
    match count.parse::<u32>() {
        Ok(0) => Err(complaint().hint("none at all is no rate: the least is \"1/h\"")),
        Ok(count) if count <= 1_000_000 && !text.starts_with('+') => {
            Ok(Duration::from_nanos(nanoseconds / u64::from(count)))
        }
        _ => Err(complaint().hint("the number is a whole one, up to 1000000")),
    }
}

/// A part of what a program calls itself in `User-Agent`, lower-case.
pub(super) fn agent(value: &DeValue<'_>) -> Result<String, Complaint> {
    let expected = "a part of the name of a program, such as \"GPTBot\"";
    let text = string(value, expected)?;
    let complaint = || Complaint::new(format!("expected {expected}, found \"{text}\""));
    if text.trim() != text || !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(
            complaint().hint("visible ASCII, without blanks around it: it is looked for as it stands")
        );
    }
    if text.len() < 3 {
        return Err(complaint().hint("so short a part is in the names of browsers, too"));
    }
    let lower = text.to_ascii_lowercase();
    if "mozilla/5.0".contains(&lower) {
        return Err(complaint().hint("nearly every browser has it in its name"));
    }
    Ok(lower)
}
