//! What `farmgate check` finds out: everything `run` would load, without serving.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::certificates::{OnFailure, Problem, Wardrobe, throw_away_client_ca};
use crate::acme;
use crate::admin::Gate;
use crate::config::{
    Backend, Certificate, Config, Diagnostics, Host, LogRoute, PlainHttp, Site, without_url_secrets,
};
use crate::process::{Account, AccountError, cannot_read_again, is_given, is_root, written_folders};
use crate::route::AdminPrefix;

/// The findings.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What keeps the gate from doing what the configuration says.
    pub errors: Vec<String>,
    /// What is probably not meant, or has no effect.
    pub warnings: Vec<String>,
    /// The routes of each site, in the configuration's order.
    pub sites: Vec<SiteRoutes>,
}

/// A site's route table.
#[derive(Debug, Serialize)]
pub struct SiteRoutes {
    /// Its names.
    pub names: Vec<String>,
    /// What it serves on plain HTTP.
    pub plain_http: &'static str,
    /// What it shows to clients.
    pub certificate: String,
    /// First match wins.
    pub routes: Vec<Row>,
}

/// A row of the route table.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The path, as design and README write it.
    pub path: String,
    /// Who answers.
    pub answered_by: String,
    /// What is special about it.
    pub note: &'static str,
}

/// Looks at everything `config` names. As root, it does so as the user of `[process]`, and this process is that user
/// from then on.
pub fn inspect(config: &Config) -> Report {
    let mut errors = Vec::new();
    let mut warnings = Vec::new();
    listening(config, &mut errors);
    let user = user(config, &mut errors, &mut warnings);
    // Those that are there are judged by whoever will write to them; those that are not will be made by root.
    let folders = written_folders(config);
    let (later, now) = folders.into_iter().partition(|(_, folder)| user.is_some() && folder.exists());
    writability(now, &mut errors);
    errors.extend(user.and_then(|user| user.assume().err()).map(|error| error.to_string()));
    writability(later, &mut errors);
    warnings.extend(cannot_read_again(config));
    let (_, problems) = Wardrobe::default().load(config, OnFailure::Refuse);
    let (mended, problems): (Vec<_>, Vec<_>) = problems.into_iter().partition(Problem::is_mended_by_ordering);
    warnings.extend(mended.iter().map(|problem| format!("{problem}; another one will be ordered")));
    errors.extend(problems.iter().map(ToString::to_string));
    errors.extend(throw_away_client_ca(config));
    ordering(config, &mut errors, &mut warnings);
    admin(config, &mut errors, &mut warnings);
    if let Some(address) = config.metrics.listen.filter(|address| !address.ip().is_loopback()) {
        warnings.push(format!(
            "metrics.listen: {address} is not loopback: whoever can reach it reads the metrics"
        ));
    }
    for site in &config.sites {
        backends(site, &mut warnings);
        if site.plain_http == PlainHttp::Redirect && site.publish.is_some() {
            warnings.push(format!(
                "{}: plain_http = \"redirect\" hides the substitutes from clients that use http://: \
                 a Guix client takes a redirected narinfo for an absent one",
                site.names.join(" ")
            ));
        }
    }
    let sites = config.sites.iter().map(|site| routes(config, site)).collect();
    Report { errors, warnings, sites }
}

/// Each of `diagnostics` on one line, for a log.
pub fn in_short(diagnostics: &Diagnostics) -> impl Iterator<Item = String> + '_ {
    diagnostics.iter().map(|one| {
        let help = one.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        format!("{}:{}: {}{help}", diagnostics.origin().display(), one.line, one.message)
    })
}

fn listening(config: &Config, errors: &mut Vec<String>) {
    let public = config.listen.http.iter().chain(&config.listen.https).map(|address| ("listen", address));
    let metrics = config.metrics.listen.iter().map(|address| ("metrics.listen", address));
    for (key, &address) in public.chain(metrics) {
        // Another port of the same address tells whether the machine has it, also while the gate is running.
        if let Err(error) = TcpListener::bind(SocketAddr::new(address.ip(), 0)) {
            errors.push(format!("{key}: {address} cannot be bound: {error}"));
        }
    }
}

/// The user of `[process]`, if this process is to become it now.
fn user(config: &Config, errors: &mut Vec<String>, warnings: &mut Vec<String>) -> Option<Account> {
    match Account::of(&config.process) {
        Ok(Some(account)) if is_root() && is_given(&config.paths.state) => {
            warnings.push(format!(
                "{} belongs to root, and a start gives it to {}: until then this is what root can read",
                config.paths.state.display(),
                account.name
            ));
            None
        }
        Ok(account) => account.filter(|_| is_root()),
        // `run` is not this process.
        Err(error @ (AccountError::NotOurs { .. } | AccountError::NotOurGroup { .. })) => {
            warnings.push(error.to_string());
            None
        }
        Err(error) => {
            errors.push(error.to_string());
            None
        }
    }
}

fn writability(folders: Vec<(String, PathBuf)>, errors: &mut Vec<String>) {
    for (key, folder) in folders {
        if let Err(error) = writable(&folder) {
            errors.push(format!("{key}: {} is not writable: {error}", folder.display()));
        }
    }
}

/// Whether files can be made in `folder`, or in the nearest one above it that exists.
fn writable(folder: &Path) -> std::io::Result<()> {
    let existing = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let probe = existing.join(format!(".farmgate-check-{}", std::process::id()));
    std::fs::File::create_new(&probe)?;
    std::fs::remove_file(&probe)
}

fn admin(config: &Config, errors: &mut Vec<String>, warnings: &mut Vec<String>) {
    let prefix = &config.admin.prefix;
    if let Err(error) = AdminPrefix::parse(prefix) {
        errors.push(format!("admin.prefix: {error}"));
    }
    if prefix != "/admin" {
        warnings.push(format!(
            "admin.prefix = \"{prefix}\": Cuirass's own admin pages are below /admin, which stays guarded as well"
        ));
    }
    let gate =
        Gate::load(&config.admin.client_ca, &config.admin.crl).with_own_revocations(&config.paths.state);
    if let Some(closed) = gate.closed_because() {
        warnings.push(format!("{prefix} is closed: {closed}"));
    }
    warnings.extend(gate.warnings().iter().cloned());
}

fn backends(site: &Site, warnings: &mut Vec<String>) {
    for (key, backend) in [("publish", &site.publish), ("ci", &site.ci)] {
        if let Some(Backend { host: Host::Name(name), port }) = backend
            && let Err(error) = (name.as_str(), *port).to_socket_addrs()
        {
            warnings.push(format!("{}: {key}: {name} has no address: {error}", site.names.join(" ")));
        }
    }
}

/// What ordering certificates needs.
fn ordering(config: &Config, errors: &mut Vec<String>, warnings: &mut Vec<String>) {
    let settings = acme::Settings::of(config);
    if settings.sites.is_empty() {
        return;
    }
    errors.extend(settings.problems());
    if config.listen.http.iter().all(|address| address.port() != 80) {
        warnings.push(
            "certificate = \"acme\": the CA asks on port 80 (RFC 8555 section 8.3), and listen.http has no address \
             with it; something else has to hand its requests on to us"
                .into(),
        );
    }
}

/// The certificate that was ordered for `site`.
fn ordered(config: &Config, site: &Site) -> String {
    let store = acme::Store::new(&config.paths.state);
    let first = site.names.first().map_or("", String::as_str);
    match store.load(first) {
        Ok(loaded) => format!("acme, until {} ({})", loaded.facts.not_after, loaded.facts.issuer),
        Err(error) => format!(
            "acme: {error}; a stand-in until it comes from {}",
            without_url_secrets(&config.acme.directory)
        ),
    }
}

fn routes(config: &Config, site: &Site) -> SiteRoutes {
    let at = |name: &str, backend: &Option<Backend>| {
        backend.as_ref().map(|backend| format!("{name} (http://{backend})"))
    };
    let nobody = || "nobody (404)".to_owned();
    let publish = at("publish", &site.publish);
    let ci = at("ci", &site.ci);
    let substitutes = publish.clone().unwrap_or_else(nobody);
    let pages = ci.clone().or_else(|| publish.clone()).unwrap_or_else(nobody);
    let logs = match site.log_route {
        LogRoute::Ci => ci.clone().unwrap_or_else(nobody),
        LogRoute::Publish => substitutes.clone(),
    };
    let webroot =
        site.webroot.as_ref().map_or_else(nobody, |folder| format!("files of {}", folder.display()));
    let row = |path: &str, answered_by: &str, note| Row {
        path: path.into(),
        answered_by: answered_by.into(),
        note,
    };
    let guarded = format!("{}…", config.admin.prefix);
    let page = format!("{}/gate/…", config.admin.prefix.trim_end_matches('/'));
    let routes = vec![
        row(&page, "built in: the gate's own page", "only with a valid client certificate, over HTTPS"),
        row(&guarded, &ci.unwrap_or_else(nobody), "only with a valid client certificate, over HTTPS"),
        row("/.well-known/…", &webroot, "on both ports, never redirected"),
        row("/robots.txt", "built in", "crawlers may index / only"),
        row("/nix-cache-info", &substitutes, ""),
        row("/HASH.narinfo", &substitutes, ""),
        row("/nar/… /file/…", &substitutes, ""),
        row("/signing-key.pub", &substitutes, ""),
        row("/log/…", &logs, ""),
        row("/static/…", &pages, ""),
        row("/download/…", &pages, ""),
        row("everything else", &pages, ""),
    ];
    SiteRoutes {
        names: site.names.clone(),
        plain_http: match site.plain_http {
            PlainHttp::Serve => "everything but the admin pages",
            PlainHttp::Substitutes => "substitutes; the rest is redirected to HTTPS",
            PlainHttp::Redirect => "nothing; everything is redirected to HTTPS",
        },
        certificate: match &site.certificate {
            Certificate::Files { chain, .. } => chain.display().to_string(),
            Certificate::SelfSigned => "self-signed".into(),
            Certificate::Acme => ordered(config, site),
        },
        routes,
    }
}
