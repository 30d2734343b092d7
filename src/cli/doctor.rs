//! `farmgate doctor`

use std::io::{IsTerminal, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::Failure;
use crate::config;
use crate::control::figures::size;
use crate::doctor::{self, Audience, Finding, Paper, Report, Scheme, Settings, Target, Verdict};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The cache of substitutes, such as https://ci.guix.gnu.org or http://localhost:3000. [default: the first site]
    ///
    /// Without a port both usual ones are looked at, 80 and 443; with one, that alone.
    url: Option<String>,
    /// The store item to look at: /gnu/store/HASH-NAME, or the hash. [default: one that Cuirass built lately]
    #[arg(long, value_name = "ITEM")]
    item: Option<String>,
    /// The public key that must have signed it. [default: what is at /signing-key.pub]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Roots to trust, PEM. [default: the system's]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Connect to this address, whatever the name resolves to.
    #[arg(long, value_name = "ADDRESS")]
    address: Option<IpAddr>,
    /// The port for plain HTTP.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    http: Option<u16>,
    /// The port for HTTPS.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    https: Option<u16>,
    /// Fetch no nars.
    #[arg(long)]
    no_download: bool,
    /// The largest nar to fetch.
    #[arg(long, value_name = "SIZE", default_value = "200MiB", value_parser = config::size)]
    max_size: u64,
    /// How long a connection and each part of an answer may take; a nar has six times as long to begin.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = patience)]
    timeout: Duration,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Path, arguments: &Arguments) -> Result<(), Failure> {
    let mut target = match &arguments.url {
        Some(url) => Target::parse(url).map_err(Failure::Wrong)?,
        None => first_site(config)?,
    };
    target.http = arguments.http.or(target.http);
    target.https = arguments.https.or(target.https);
    let settings = Settings {
        target,
        own: arguments.url.is_none(),
        address: arguments.address,
        item: arguments.item.clone(),
        key: arguments.key.clone(),
        ca_file: arguments.ca_file.clone(),
        download: !arguments.no_download,
        largest: arguments.max_size,
        patience: arguments.timeout,
    };
    let mut screen = Screen {
        paper: (!arguments.json).then(paper),
        moving: std::io::stderr().is_terminal(),
        failed: None,
    };
    let report = doctor::examine(&settings, &mut screen).map_err(Failure::Wrong)?;
    if let Some(failure) = screen.failed.take() {
        return Err(failure);
    }
    match screen.paper {
        None => super::print(&format!("{}\n", json(&report)?))?,
        Some(paper) => super::print(&paper.summary(&report))?,
    }
    match report.count(Verdict::Failure) {
        0 => Ok(()),
        1 => Err(Failure::Failed("1 check failed".into())),
        failed => Err(Failure::Failed(format!("{failed} checks failed"))),
    }
}

/// The gate that this configuration is of, as others see it.
fn first_site(config: &Path) -> Result<Target, Failure> {
    let loaded = config::load(config).map_err(|error| {
        Failure::Wrong(format!(
            "{error}\nor give the URL of the server: farmgate doctor https://cuirass.example.org"
        ))
    })?;
    let config = &loaded.config;
    let host = config.sites.first().and_then(|site| site.names.first()).cloned().unwrap_or_default();
    let port = |addresses: &[std::net::SocketAddr]| match addresses.first().map(std::net::SocketAddr::port) {
        Some(0) => Err(Failure::Wrong("the configuration leaves the port to the system: give a URL".into())),
        port => Ok(port),
    };
    let (http, https) = (port(&config.listen.http)?, port(&config.listen.https)?);
    let scheme = if https.is_some() { Scheme::Https } else { Scheme::Http };
    Ok(Target { scheme, host, http, https, base: String::new() })
}

fn patience(text: &str) -> Result<Duration, String> {
    match config::duration(text)? {
        Duration::ZERO => Err("expected more than nothing".into()),
        patience => Ok(patience.min(Duration::from_secs(3600))),
    }
}

fn json(report: &Report) -> Result<String, Failure> {
    #[derive(serde::Serialize)]
    struct Counted<'a> {
        #[serde(flatten)]
        report: &'a Report,
        ok: usize,
        warnings: usize,
        failures: usize,
    }
    let counted = Counted {
        report,
        ok: report.count(Verdict::Ok),
        warnings: report.count(Verdict::Warning),
        failures: report.count(Verdict::Failure),
    };
    serde_json::to_string_pretty(&counted).map_err(|error| Failure::Failed(error.to_string()))
}

fn paper() -> Paper {
    let is_terminal = std::io::stdout().is_terminal();
    let width = match rustix::termios::tcgetwinsize(std::io::stdout()) {
        Ok(size) if is_terminal => size.ws_col.into(),
        _ => 0,
    };
    Paper { colour: is_terminal && super::colours_are_wanted(), width }
}

/// Shows each finding as it comes, and below the last one what is going on.
struct Screen {
    paper: Option<Paper>,
    /// Somebody sees stderr.
    moving: bool,
    failed: Option<Failure>,
}

impl Audience for Screen {
    fn found(&mut self, finding: &Finding) {
        self.note("");
        if let Some(paper) = self.paper {
            self.failed = self.failed.take().or(super::print(&paper.line(finding)).err());
        }
    }

    fn progress(&mut self, what: &str, done: u64, of: Option<u64>) {
        let of = of.map_or_else(String::new, |of| format!(" of {}", size(of)));
        self.note(&format!("{what}: {}{of}", size(done)));
    }
}

impl Screen {
    /// Over what was there.
    fn note(&self, text: &str) {
        if self.moving {
            // A terminal that is gone needs none.
            let _ = write!(std::io::stderr(), "\r\x1b[K{text}");
        }
    }
}
