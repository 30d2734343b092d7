//! Opening the access logs, at the start and anew at a reload.

use std::sync::Arc;

use crate::config::{self, LogTarget};
use crate::log::{AccessLog, Anonymiser, Writer};
use crate::proxy::Logs;

/// Opens both logs. Places that `old` writes to already go on with the writers they have, so that no line is lost and
/// no file is put aside by two. Also gives what cannot be opened, and why; that is tried again while requests are
/// served.
pub(super) fn open(settings: &config::AccessLog, old: Option<&Logs>) -> (Logs, Vec<String>) {
    let mut problems = Vec::new();
    let mut writer = |target: &LogTarget| {
        let held = old.iter().flat_map(|logs| [&logs.http, &logs.https]).filter_map(|log| log.writer());
        if let Some(writer) = held.into_iter().find(|writer| writer.target() == target) {
            return Some(writer.clone());
        }
        let (writer, problem) =
            Writer::start(target, &settings.rotate).unwrap_or_else(|error| (None, Some(error)));
        problems.extend(problem.map(|error| format!("access log {}: {error}", name_of(target))));
        writer
    };
    let anonymiser = Anonymiser::new(settings.ipv4_mask, settings.ipv6_mask);
    let log = |writer| Arc::new(AccessLog::new(writer, settings.format, anonymiser));
    let http = log(writer(&settings.http));
    // One file for both is one log.
    let https = if settings.http == settings.https { http.clone() } else { log(writer(&settings.https)) };
    (Logs { http, https }, problems)
}

fn name_of(target: &LogTarget) -> String {
    match target {
        LogTarget::File(path) => path.display().to_string(),
        LogTarget::Stdout => "on stdout".into(),
        LogTarget::Off => "off".into(),
    }
}
