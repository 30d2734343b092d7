//! What there is to know about every certificate.

use std::path::Path;

use serde::Serialize;

use super::dates;
use super::error::CaError;
use super::last_seen;
use super::names;
use super::reason::Reason;
use super::register::Entry;
use super::store::Folder;

const DAY: i64 = 24 * 60 * 60;

/// One certificate, as `farmgate admin list` shows it. Times are seconds since 1970, days `2026-11-22`, in UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Whose it is; empty when that is not known.
    pub name: String,
    /// Its serial number, in upper-case hexadecimal.
    pub serial: String,
    /// Its first second. None, like `not_after`, when the register does not have the certificate itself.
    pub not_before: Option<i64>,
    /// Its last second.
    pub not_after: Option<i64>,
    /// What it is good for.
    pub state: State,
    /// When it was revoked, and why.
    pub revoked_at: Option<i64>,
    /// Why it was revoked.
    pub reason: Option<Reason>,
    /// The day on which the gate last let it in.
    pub last_seen: Option<String>,
}

impl Row {
    /// The first day, `?` when it is not known.
    pub fn first_day(&self) -> String {
        self.not_before.map_or("?".into(), dates::day)
    }

    /// The last day, `?` when it is not known.
    pub fn last_day(&self) -> String {
        self.not_after.map_or("?".into(), dates::day)
    }

    /// The day on which it was revoked.
    pub fn revoked_day(&self) -> Option<String> {
        self.revoked_at.map(dates::day)
    }
}

/// What a certificate is good for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It opens the gate.
    Valid,
    /// Its last second has passed.
    Expired,
    /// It was revoked. Stays so when it would have expired.
    Revoked,
    /// The gate let it in, and the register does not have it: it was issued elsewhere, such as before the CA was
    /// taken over. "revoke SERIAL --unlisted" revokes it, if our CA signed it.
    Unlisted,
}

/// Every certificate in the register, in the order of issuing, then those that the gate saw besides.
///
/// # Errors
///
/// Where there is no CA, or its register is damaged.
pub fn list(state: &Path) -> Result<Vec<Row>, CaError> {
    let folder = Folder::below(state);
    let register = folder.register()?;
    let mut seen = last_seen::read(&folder);
    let now = dates::now();
    let mut rows = Vec::new();
    for entry in register.entries {
        let sight = seen.remove(&entry.serial);
        let last_seen = sight.as_ref().map(|sight| dates::day(sight.day * DAY));
        let state = state_of(&entry, now);
        let name = entry.name.or(sight.map(|sight| names::printable(&sight.name))).unwrap_or_default();
        rows.push(Row {
            name,
            serial: entry.serial,
            not_before: entry.dates.map(|dates| dates.not_before),
            not_after: entry.dates.map(|dates| dates.not_after),
            state,
            revoked_at: entry.revoked.map(|revoked| revoked.at),
            reason: entry.revoked.map(|revoked| revoked.reason),
            last_seen,
        });
    }
    rows.extend(seen.into_iter().map(|(serial, sight)| Row {
        name: names::printable(&sight.name),
        serial,
        not_before: None,
        not_after: None,
        state: State::Unlisted,
        revoked_at: None,
        reason: None,
        last_seen: Some(dates::day(sight.day * DAY)),
    }));
    Ok(rows)
}

fn state_of(entry: &Entry, now: i64) -> State {
    match entry.dates {
        _ if entry.revoked.is_some() => State::Revoked,
        Some(dates) if dates.not_after < now => State::Expired,
        _ => State::Valid,
    }
}
