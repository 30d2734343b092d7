//! From the one to the other: every table of the file, its keys, their defaults, and what must hold between them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;

use super::diagnostics::Complaint;
use super::settings::*;
use super::values::*;
use super::wire::Reader;

const KIB: u64 = 1 << 10;
const MIB: u64 = KIB << 10;
const GIB: u64 = MIB << 10;

/// Reads the whole file. The result means something only if nothing was found wrong.
pub(super) fn config(file: &mut Reader<'_, '_>, origin: &Path) -> Config {
    let folder = origin.parent().unwrap_or(Path::new(""));

    let mut addresses = Addresses::default();
    let listen = file.table("listen", |table| listen(table, &mut addresses));
    let metrics = file.table("metrics", |table| metrics(table, &mut addresses));
    let paths = file.table("paths", |table| paths(table, folder));
    let sites = sites(file, folder);
    let orders = sites.iter().any(|site| site.certificate == Certificate::Acme);
    Config {
        origin: origin.to_owned(),
        admin: file.table("admin", |table| admin(table, folder, &paths.state)),
        acme: file.table("acme", |table| acme(table, folder, orders)),
        cache: file.table("cache", cache),
        timeouts: file.table("timeouts", timeouts),
        access_log: file.table("access_log", |table| access_log(table, folder)),
        limits: file.table("limits", limits),
        listen,
        paths,
        sites,
        metrics,
    }
}

/// Who listens where: the key and line of each address so far.
#[derive(Default)]
struct Addresses(BTreeMap<SocketAddr, (&'static str, usize)>);

impl Addresses {
    fn claim(
        &mut self,
        table: &mut Reader<'_, '_>,
        key: &'static str,
        name: &'static str,
        address: &Spanned<SocketAddr>,
    ) {
        if address.get_ref().port() == 0 {
            return; // the system chooses another one each time
        }
        let line = table.findings.source.line(address.span().start);
        if let Some((taken, line)) = self.0.insert(*address.get_ref(), (name, line)) {
            let message = format!("{} is listened on already, by {taken} in line {line}", address.get_ref());
            table.error(address.span(), key, Complaint::new(message).hint("leave it in one of them"));
        }
    }
}

fn listen(table: &mut Reader<'_, '_>, addresses: &mut Addresses) -> Listen {
    let mut read = |key, name, port| match table.list(key, listen_address) {
        Some(list) => {
            for address in list.get_ref() {
                addresses.claim(table, key, name, address);
            }
            bare(list)
        }
        None => everywhere(port),
    };
    let http = read("http", "listen.http", 80);
    let https = read("https", "listen.https", 443);
    if http.is_empty() && https.is_empty() {
        table.missing(
            "https",
            Complaint::new("there is nothing to listen on").hint("give http or https an address"),
        );
    }
    Listen { http, https }
}

/// Every address of this machine, of both families.
fn everywhere(port: u16) -> Vec<SocketAddr> {
    vec![([0u8; 4], port).into(), ([0u8; 16], port).into()]
}

fn metrics(table: &mut Reader<'_, '_>, addresses: &mut Addresses) -> Metrics {
    let listen = match table.find("listen", optional_listen_address) {
        None => Some(([127, 0, 0, 1], 9145).into()),
        Some(given) => {
            if let Some(address) = given.get_ref() {
                addresses.claim(table, "listen", "metrics.listen", &Spanned::new(given.span(), *address));
            }
            given.into_inner()
        }
    };
    Metrics { listen }
}

/// `sun_path` holds 108 bytes with the zero at the end (unix(7)).
const LONGEST_SOCKET_NAME: usize = 107;

fn paths(table: &mut Reader<'_, '_>, folder: &Path) -> Paths {
    let state = table.find("state", path(folder));
    let cache = table.find("cache", path(folder));
    let control = table.find("control", path(folder));
    let pid = table.get("pid", path(folder));

    if let Some(name) = control.as_ref().filter(|name| name.get_ref().as_os_str().len() > LONGEST_SOCKET_NAME)
    {
        let complaint =
            Complaint::new(format!("the name of a socket has {LONGEST_SOCKET_NAME} bytes at most"));
        table.error(
            name.span(),
            "control",
            complaint.hint("choose a folder nearer to the root, such as /run/farmgate"),
        );
    }
    let blame = state.as_ref().or(cache.as_ref()).map(Spanned::span);
    let paths = Paths {
        state: state.map_or("/var/lib/farmgate".into(), Spanned::into_inner),
        cache: cache.map_or("/var/cache/farmgate".into(), Spanned::into_inner),
        control: control.map_or("/run/farmgate/control.sock".into(), Spanned::into_inner),
        pid: pid.unwrap_or("/run/farmgate/pid".into()),
    };
    // The defaults lie apart, so one of the two was given if they do not.
    if let Some(span) = blame.filter(|_| paths.state.starts_with(&paths.cache)) {
        let complaint = Complaint::new("state lies inside cache, where anything may be removed at any time");
        table.error(span, "state", complaint.hint("keys and certificates need a folder of their own"));
    }
    paths
}

fn sites(file: &mut Reader<'_, '_>, folder: &Path) -> Vec<Site> {
    let mut taken = BTreeMap::new();
    let sites = file.tables("site", |table| site(table, folder, &mut taken));
    if sites.is_empty() {
        // Whoever forgot the heading wrote the keys elsewhere, and is to be told where they belong.
        let mut unheard = file.findings.rehearsal();
        site(&mut Reader::of_nothing(&mut unheard, "site"), folder, &mut taken);
        file.findings.known.append(&mut unheard.known);

        let hint = "write [[site]], and below it names = [\"ci.example.org\"] and publish = \"http://localhost:3000\"";
        let end = file.findings.source.end();
        file.error(end, "site", Complaint::new("there is no site").hint(hint));
    }
    sites
}

/// `taken` has the names of the sites before, with their lines.
fn site(table: &mut Reader<'_, '_>, folder: &Path, taken: &mut BTreeMap<String, usize>) -> Site {
    let names = site_names(table, taken);
    let publish = table.get("publish", backend);
    let ci = table.get("ci", backend);
    let (has_publish, has_ci) = (table.has("publish"), table.has("ci"));
    if !has_publish && !has_ci {
        let hint = "add publish = \"http://localhost:3000\" or ci = \"http://localhost:8081\"";
        table.missing("publish", Complaint::new("this site has neither publish nor ci").hint(hint));
    }

    let policies = [
        ("serve", PlainHttp::Serve),
        ("substitutes", PlainHttp::Substitutes),
        ("redirect", PlainHttp::Redirect),
    ];
    let plain_http = table.find("plain_http", one_of(&policies));
    if let Some(policy) =
        plain_http.as_ref().filter(|policy| *policy.get_ref() == PlainHttp::Substitutes && !has_publish)
    {
        let complaint = Complaint::new("this site has no publish, and so no substitutes to serve");
        table.warning(policy.span(), "plain_http", complaint.hint("\"redirect\" says the same"));
    }

    let log_route = table.find("log_route", one_of(&[("ci", LogRoute::Ci), ("publish", LogRoute::Publish)]));
    if let Some(route) = &log_route {
        let (has, name) = match route.get_ref() {
            LogRoute::Ci => (has_ci, "ci"),
            LogRoute::Publish => (has_publish, "publish"),
        };
        if !has {
            let complaint = Complaint::new(format!("this site has no {name} to answer /log/"));
            table.error(
                route.span(),
                "log_route",
                complaint.hint(format!("add {name}, or leave log_route out")),
            );
        }
    }

    Site {
        names,
        publish,
        ci,
        certificate: certificate(table, folder),
        plain_http: plain_http.map_or(PlainHttp::Serve, Spanned::into_inner),
        log_route: match log_route {
            Some(route) => route.into_inner(),
            None if has_ci => LogRoute::Ci,
            None => LogRoute::Publish,
        },
        webroot: table.get("webroot", path(folder)),
    }
}

fn site_names(table: &mut Reader<'_, '_>, taken: &mut BTreeMap<String, usize>) -> Vec<String> {
    let given = table.list("names", site_name);
    let Some(names) = given else {
        if !table.has("names") {
            let hint = "add the names that clients use: names = [\"ci.example.org\"]";
            table.missing("names", Complaint::new("this site has no names").hint(hint));
        }
        return Vec::new();
    };
    if names.get_ref().is_empty() {
        let hint = "list the names that clients use: [\"ci.example.org\"]";
        table.error(names.span(), "names", Complaint::new("a site needs a name at least").hint(hint));
    }
    for name in names.get_ref() {
        let line = table.findings.source.line(name.span().start);
        if let Some(line) = taken.insert(name.get_ref().clone(), line) {
            let complaint =
                Complaint::new(format!("\"{}\" is named already, in line {line}", name.get_ref()));
            table.error(name.span(), "names", complaint.hint("a name belongs to one site, once"));
        }
    }
    bare(names)
}

fn certificate(table: &mut Reader<'_, '_>, folder: &Path) -> Certificate {
    // Read in any case, so that the keys are known.
    let is_table = table.has_table("certificate");
    let part = |files: &mut Reader<'_, '_>, key: &str, example: &str| {
        if is_table && !files.has(key) {
            let complaint = Complaint::new(format!("{key} is missing"));
            files.missing(key, complaint.hint(format!("add {key} = \"{example}\"")));
        }
        files.get(key, path(folder)).unwrap_or_default()
    };
    let files = table.table_or_nothing("certificate", |files| Certificate::Files {
        chain: part(files, "chain", "/etc/…/fullchain.pem"),
        key: part(files, "key", "/etc/…/privkey.pem"),
    });
    if is_table {
        return files;
    }
    let words = one_of(&[("acme", Certificate::Acme), ("self-signed", Certificate::SelfSigned)]);
    let of_files = "for files write { chain = \"…/fullchain.pem\", key = \"…/privkey.pem\" }";
    let word =
        table.get("certificate", |value| words(value).map_err(|complaint| complaint.or_hint(of_files)));
    word.unwrap_or(Certificate::Acme)
}

fn admin(table: &mut Reader<'_, '_>, folder: &Path, state: &Path) -> Admin {
    Admin {
        prefix: table.get("prefix", prefix).unwrap_or("/admin".into()),
        client_ca: table.get("client_ca", path(folder)).unwrap_or(state.join("admin/ca.crt")),
        crl: table.list("crl", path(folder)).map(bare).unwrap_or_default(),
    }
}

/// `orders` says whether a site has its certificate from there.
fn acme(table: &mut Reader<'_, '_>, folder: &Path, orders: bool) -> Acme {
    if !orders {
        table.remark("no site has certificate = \"acme\": this table has no effect");
    }
    Acme {
        directory: table.get("directory", acme_directory).unwrap_or(LETSENCRYPT.into()),
        contact: table.list("contact", mail_address).map(bare).unwrap_or_default(),
        ca_file: table.get("ca_file", path(folder)),
    }
}

fn cache(table: &mut Reader<'_, '_>) -> Cache {
    Cache {
        memory: table.get("memory", size).unwrap_or(32 * MIB),
        static_files: table.table("static", |space| CacheSpace {
            max_size: space.get("max_size", size).unwrap_or(200 * MIB),
            inactive: space.get("inactive", positive_duration).unwrap_or(days(10)),
            fallback_ttl: space.get("fallback_ttl", duration).unwrap_or(days(2)),
            fallback_ttl_other: space.get("fallback_ttl_other", duration).unwrap_or(minutes(10)),
        }),
        download: table.table("download", |space| DownloadCache {
            fallback_ttl: space.get("fallback_ttl", duration).unwrap_or(days(30)),
            fallback_ttl_other: space.get("fallback_ttl_other", duration).unwrap_or(minutes(10)),
            expires: space.get("expires", duration).unwrap_or(days(10)),
        }),
        logs: table.table("logs", |space| LogCache {
            max_size: space.get("max_size", size).unwrap_or(4 * GIB),
            inactive: space.get("inactive", positive_duration).unwrap_or(days(60)),
            fallback_ttl: space.get("fallback_ttl", duration).unwrap_or(days(60)),
        }),
    }
}

fn timeouts(table: &mut Reader<'_, '_>) -> Timeouts {
    Timeouts {
        connect: table.get("connect", positive_duration).unwrap_or(seconds(10)),
        read: table.get("read", positive_duration).unwrap_or(seconds(10)),
        send: table.get("send", positive_duration).unwrap_or(seconds(10)),
        nar: table.get("nar", positive_duration).unwrap_or(seconds(60)),
        backend_restart: table.get("backend_restart", duration).unwrap_or(seconds(5)),
        idle: table.get("idle", positive_duration).unwrap_or(seconds(65)),
    }
}

fn access_log(table: &mut Reader<'_, '_>, folder: &Path) -> AccessLog {
    let file = |name| LogTarget::File(PathBuf::from("/var/log/farmgate").join(name));
    let formats = [("combined", LogFormat::Combined), ("json", LogFormat::Json)];
    AccessLog {
        http: table.get("http", log_target(folder)).unwrap_or(file("http.access.log")),
        https: table.get("https", log_target(folder)).unwrap_or(file("https.access.log")),
        format: table.get("format", one_of(&formats)).unwrap_or(LogFormat::Combined),
        ipv4_mask: table.get("ipv4_mask", number(0..=32u8)).unwrap_or(12),
        ipv6_mask: table.get("ipv6_mask", number(0..=128u8)).unwrap_or(84),
        rotate: table.table("rotate", |rotate| Rotate {
            size: rotate.get("size", positive_size).unwrap_or(100 * MIB),
            keep: rotate.get("keep", number(0..=100_000u32)).unwrap_or(7),
        }),
    }
}

fn limits(table: &mut Reader<'_, '_>) -> Limits {
    // More than a million sockets no process gets; the bound also keeps the number within usize everywhere.
    let count = |count: u32| count as usize;
    let connections = table.get("connections", number(1..=1_000_000u32));
    let per_client = table.find("connections_per_client", number(1..=1_000_000u32));
    let limits = Limits {
        body: table.get("body", size).unwrap_or(MIB),
        header_timeout: table.get("header_timeout", positive_duration).unwrap_or(seconds(10)),
        connections: connections.map_or(10_000, count),
        connections_per_client: per_client.as_ref().map_or(256, |given| count(*given.get_ref())),
    };
    if let Some(given) = per_client.filter(|_| limits.connections_per_client > limits.connections) {
        let complaint =
            Complaint::new(format!("all clients together have {} connections", limits.connections));
        table.warning(
            given.span(),
            "connections_per_client",
            complaint.hint("one client can use them all up"),
        );
    }
    limits
}

fn bare<T>(list: Spanned<Vec<Spanned<T>>>) -> Vec<T> {
    list.into_inner().into_iter().map(Spanned::into_inner).collect()
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn minutes(count: u64) -> Duration {
    seconds(count * 60)
}

fn days(count: u64) -> Duration {
    minutes(count * 60 * 24)
}
