//! Reading the configuration again.

use std::sync::Arc;

use super::access_logs;
use super::certificates::{OnFailure, Problem, for_tls, throw_away_client_ca};
use super::endpoint::Change;
use super::inspect;
use super::supervise::{State, Supervisor, load_gate};
use super::watch::{Looks, Watches};
use crate::config::{self, Config};
use crate::process;
use crate::proxy::{Generation, Logs};

/// Puts the configuration on disk in force: all of it, or none. Gives what the operator should know, or why not.
pub(super) fn reload(supervisor: &Supervisor, state: &mut State) -> Result<Vec<String>, String> {
    let old = supervisor.live.load_full();
    let loaded = config::load(&old.config.origin).map_err(|error| error.to_string())?;
    let mut config = loaded.config;
    let mut notes: Vec<String> = inspect::in_short(&loaded.warnings).collect();
    for (section, changed, when) in [
        ("listen", config.listen != old.config.listen, "with `farmgate upgrade`, or at the next start"),
        ("paths", config.paths != old.config.paths, "with `farmgate upgrade`, or at the next start"),
        // What was given up is not had back, whoever takes over.
        ("process", config.process != old.config.process, "at the next start"),
    ] {
        if changed {
            notes.push(format!("[{section}] has changed; that takes effect {when}"));
        }
    }
    keep_until_restart(&mut config, &old.config);
    if let Some(refused) = supervisor.confined.as_ref().and_then(|confined| confined.refuses(&config)) {
        return Err(refused);
    }
    if config.limits.connections != old.config.limits.connections {
        notes.extend(process::open_files(config.limits.connections));
    }
    let looks = Looks::at(&config);

    // Everything that can fail comes before the first thing that takes effect.
    let (shown, problems) = state.wardrobe.load(&config, OnFailure::Refuse);
    let shown = shown.ok_or_else(|| lines(&problems))?;
    notes.extend(problems.iter().map(|problem| format!("{problem}; another one will be ordered")));
    if let Some(refused) = throw_away_client_ca(&config) {
        return Err(refused);
    }
    let certificates = for_tls(&shown).ok_or("no site is configured")?;
    let logs = logs_for(&config, &old)?;
    let endpoint = Change::between(&old.config.metrics, &config.metrics)?;
    let gate = load_gate(&config, &supervisor.last_seen);
    if let Some(closed) = gate.closed_because() {
        notes.push(format!("{} is closed: {closed}", config.admin.prefix));
    }
    let (metrics, backends) = (supervisor.metrics.clone(), old.backends.clone());
    let generation = Generation::new(Arc::new(config), gate, logs, metrics, backends)
        .map_err(|error| format!("admin.prefix: {error}"))?;

    supervisor.store.replace(certificates);
    supervisor.cache.reconfigure(&generation.config.cache);
    supervisor.limiter.reconfigure(&generation.config.limits);
    generation.logs.rotate_by(&generation.config.access_log.rotate);
    supervisor.live.store(Arc::new(generation));
    supervisor.reconfigure_acme();
    endpoint.carry_out(&mut state.endpoint, &supervisor.metrics);
    state.shown = shown;
    state.watches = Watches::new(looks);
    state.told.clear();
    Ok(notes)
}

/// Puts back what only a start can change, and what follows from it: the client CA is by default in the state
/// folder, and who is let in must not come from a folder that is not in use.
fn keep_until_restart(config: &mut Config, old: &Config) {
    let default_ca = |config: &Config| config.paths.state.join("admin/ca.crt");
    if config.admin.client_ca == default_ca(config) {
        config.admin.client_ca = default_ca(old);
    }
    config.listen = old.listen.clone();
    config.paths = old.paths.clone();
    config.process = old.process.clone();
}

fn logs_for(config: &Config, old: &Generation) -> Result<Logs, String> {
    if config.access_log == old.config.access_log {
        return Ok(old.logs.clone());
    }
    let (logs, problems) = access_logs::open(&config.access_log, Some(&old.logs));
    if problems.is_empty() { Ok(logs) } else { Err(problems.join("\n")) }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
