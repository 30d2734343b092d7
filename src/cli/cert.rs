//! `farmgate cert`

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};

use super::{Failure, print};
use crate::acme::{self, Challenges, Once, Settings, SiteReport, Started, Time, time_in_words};
use crate::config::{self, Config};
use crate::control::{self, CallError, Reply, Request};

/// How often a running gate is asked how far it is.
const LOOK: Duration = Duration::from_millis(300);
/// Longer than any try takes; the gate has an end of its own to each.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show the certificates that are ordered: names, issuer, end, next try, last error.
    List(ListArguments),
    /// Renew now, and show how it goes. A running gate does it; without one, this command does.
    Renew(RenewArguments),
}

#[derive(Debug, Args)]
pub(super) struct ListArguments {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct RenewArguments {
    /// A name of the site whose certificate it is. [default: all sites]
    name: Option<String>,
    /// Also when it is not due. The limit of orders in a day holds all the same.
    #[arg(long)]
    force: bool,
}

pub(super) fn run(config: &Path, command: &Command) -> Result<(), Failure> {
    let loaded = config::load(config)?;
    match command {
        Command::List(arguments) => list(&loaded.config, arguments),
        Command::Renew(arguments) => renew(&loaded.config, arguments),
    }
}

fn list(config: &Config, arguments: &ListArguments) -> Result<(), Failure> {
    let reports = match control::call(&config.paths.control, Request::Certificates) {
        // A gate that is running also knows what it could not write down.
        Ok(Reply::Certificates(reports)) if !reports.is_empty() => reports,
        _ => by_what_is_on_disk(config)?,
    };
    if arguments.json {
        let json =
            serde_json::to_string_pretty(&reports).map_err(|error| Failure::Failed(error.to_string()))?;
        return print(&format!("{json}\n"));
    }
    if reports.is_empty() {
        return print("No site has certificate = \"acme\".\n");
    }
    let texts: Vec<String> = reports.iter().map(in_words).collect();
    print(&texts.join("\n"))
}

fn by_what_is_on_disk(config: &Config) -> Result<Vec<SiteReport>, Failure> {
    let settings = Settings::of(config);
    // A folder that may not be read would look like one that is empty.
    if let Err(error) = std::fs::read_dir(&settings.state)
        && error.kind() == std::io::ErrorKind::PermissionDenied
    {
        return Err(Failure::Failed(format!("{}: {error}", settings.state.display())));
    }
    Ok(acme::report(&settings))
}

fn in_words(report: &SiteReport) -> String {
    let now = Time::now();
    let mut text = format!("{}\n", report.names.join(" "));
    let mut row = |name: &str, value: String| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {name:<12} {value}");
    };
    match report.not_after {
        Some(end) if end > now => row("until", format!("{end}, {} left", time_in_words(end.since(now)))),
        Some(end) => row("until", format!("{end}, EXPIRED {} ago", time_in_words(now.since(end)))),
        None => row("until", "none yet; a stand-in is served".into()),
    }
    if let Some(issuer) = &report.issuer {
        row("issuer", issuer.clone());
    }
    let missing: Vec<&str> =
        report.names.iter().filter(|name| !report.certified.contains(name)).map(String::as_str).collect();
    if report.not_after.is_some() && !missing.is_empty() {
        row("not yet for", missing.join(" "));
    }
    let wait = report.next_try.since(now);
    let when = if wait.is_zero() { "now".to_owned() } else { format!("in {}", time_in_words(wait)) };
    row("next try", format!("{}, {when}: {}", report.next_try, report.why));
    if let Some(error) = &report.last_error {
        let ago =
            report.failed.map(|at| format!(", {} ago", time_in_words(now.since(at)))).unwrap_or_default();
        row("last error", format!("{error} (failures in a row: {}{ago})", report.failures));
    }
    if report.not_after.is_some() {
        row("chain", report.chain.clone());
    }
    text
}

fn renew(config: &Config, arguments: &RenewArguments) -> Result<(), Failure> {
    let settings = Settings::of(config);
    let names: Vec<String> = settings
        .sites
        .iter()
        .filter(|site| arguments.name.as_ref().is_none_or(|name| site.names.contains(name)))
        .map(|site| site.key().to_owned())
        .collect();
    match &arguments.name {
        Some(name) if names.is_empty() => {
            return Err(Failure::Wrong(format!("no site with certificate = \"acme\" has the name {name}")));
        }
        None if names.is_empty() => return print("No site has certificate = \"acme\".\n"),
        _ => {}
    }
    // Asked first, so that a try that is over in no time is noticed.
    match control::call(&config.paths.control, Request::Certificates) {
        Ok(Reply::Certificates(before)) => renew_there(config, &names, arguments.force, &before),
        Ok(other) => Err(Failure::Failed(other.error().unwrap_or("the gate gave another answer").to_owned())),
        Err(CallError::NotRunning { .. }) => renew_here(config, &settings, &names, arguments.force),
        Err(error) => Err(Failure::Failed(error.to_string())),
    }
}

/// Has the running gate do it.
fn renew_there(config: &Config, names: &[String], force: bool, before: &[SiteReport]) -> Result<(), Failure> {
    let ask = |request| {
        control::call(&config.paths.control, request).map_err(|error| Failure::Failed(error.to_string()))
    };
    let reply = ask(Request::Renew { names: names.to_vec(), force })?;
    let Reply::Renewals(started) = reply else {
        return Err(Failure::Failed(reply.error().unwrap_or("the gate gave another answer").to_owned()));
    };
    let mut failed = Vec::new();
    for (name, started) in started {
        match started {
            Started::Yes => {
                let tries = find(before, &name).map_or(0, |report| report.activity.tries);
                if !follow(&name, tries, || ask(Request::Certificates))? {
                    failed.push(name);
                }
            }
            Started::NotDue(at) => say_not_due(&name, at)?,
            Started::HeldBack(at) => {
                print(&format!("{name}: {}\n", held_back(at)))?;
                failed.push(name);
            }
            Started::Unknown => {
                print(&format!("{name}: the running gate does not order it; farmgate reload\n"))?;
                failed.push(name);
            }
        }
    }
    end(&failed)
}

/// Prints the steps of the try after `tries`, until it is over. Whether it succeeded.
fn follow(name: &str, tries: u64, ask: impl Fn() -> Result<Reply, Failure>) -> Result<bool, Failure> {
    let deadline = Instant::now() + PATIENCE;
    let mut printed = 0;
    while Instant::now() < deadline {
        if let Reply::Certificates(reports) = ask()?
            && let Some(report) = find(&reports, name).filter(|report| report.activity.tries > tries)
        {
            for step in report.activity.steps.iter().skip(printed) {
                print(&format!("{name}: {step}\n"))?;
            }
            printed = report.activity.steps.len().max(printed);
            if !report.activity.running {
                return Ok(!report.activity.failed);
            }
        }
        thread::sleep(LOOK);
    }
    print(&format!("{name}: the gate is still at it; farmgate cert list shows how it went\n"))?;
    Ok(false)
}

fn find<'a>(reports: &'a [SiteReport], name: &str) -> Option<&'a SiteReport> {
    reports.iter().find(|report| report.names.first().is_some_and(|first| first == name))
}

/// Does it in this process, which then has to answer on port 80 as well.
fn renew_here(config: &Config, settings: &Settings, names: &[String], force: bool) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::Failed(error.to_string());
    print("No gate is running: doing it here.\n")?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(failed)?;
    let challenges = Arc::new(Challenges::new(&config.paths.state));
    for &address in &config.listen.http {
        let listener = runtime.block_on(tokio::net::TcpListener::bind(address)).map_err(|error| {
            Failure::Failed(format!("cannot listen on {address}, where the CA will ask: {error}"))
        })?;
        runtime.spawn(acme::respond(listener, challenges.clone()));
    }
    let mut failures = Vec::new();
    for site in settings.sites.iter().filter(|site| names.iter().any(|name| name == site.key())) {
        let name = site.key().to_owned();
        let watcher = {
            let name = name.clone();
            // A reader that has gone is no reason to leave an order half done.
            move |step: &str| drop(print(&format!("{name}: {step}\n")))
        };
        match runtime.block_on(acme::renew_once(settings, site, force, challenges.clone(), watcher)) {
            Once::Renewed => {}
            Once::NotDue(at) => say_not_due(&name, at)?,
            Once::HeldBack(at) => {
                print(&format!("{name}: {}\n", held_back(at)))?;
                failures.push(name);
            }
            Once::Busy => {
                print(&format!("{name}: another process is ordering with this state folder\n"))?;
                failures.push(name);
            }
            // The last step has said why.
            Once::Failed(_) => failures.push(name),
        }
    }
    end(&failures)
}

fn say_not_due(name: &str, at: Time) -> Result<(), Failure> {
    print(&format!("{name}: not due before {at}; --force renews it now\n"))
}

fn held_back(at: Time) -> String {
    format!("not before {at}: the CA has asked for patience, or enough was ordered for a day")
}

fn end(failed: &[String]) -> Result<(), Failure> {
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::Failed(format!("not renewed: {}", failed.join(" "))))
}
