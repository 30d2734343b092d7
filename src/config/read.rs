//! From the one to the other: every table of the file, its keys, their defaults, and what must hold between
//! them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;

use super::diagnostics::Complaint;
use super::settings::*;
use super::values::*;
use super::wire::{Reader, bare};
use super::{listen, routes, sites};

const KIB: u64 = 1 << 10;
const MIB: u64 = KIB << 10;
const GIB: u64 = MIB << 10;

/// Reads the whole file. The result means something only if nothing was found wrong.
pub(super) fn config(file: &mut Reader<'_, '_>, origin: &Path) -> Config {
    let folder = origin.parent().unwrap_or(Path::new(""));

    let (listen, metrics) = listen::listen_and_metrics(file);
    let paths = file.table("paths", |table| paths(table, folder));
    let sites = sites::sites(file, folder);
    let orders = sites.iter().any(|site| site.certificate == Certificate::Acme);
    Config {
        origin: origin.to_owned(),
        admin: file.table("admin", |table| admin(table, folder, &paths.state)),
        acme: file.table("acme", |table| acme(table, folder, orders)),
        cache: file.table("cache", cache),
        timeouts: file.table("timeouts", timeouts),
        access_log: file.table("access_log", |table| access_log(table, folder)),
        limits: file.table("limits", limits),
        process: file.table("process", process),
        listen,
        paths,
        sites,
        metrics,
    }
}

/// Where the control socket is when the file does not say.
pub(super) const DEFAULT_CONTROL: &str = "/run/farmgate/control.sock";

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
    // The defaults lie apart, so one of the two was given if they do not.
    let blame = match (&state, &cache) {
        (Some(state), _) => Some(("state", state.span())),
        (None, Some(cache)) => Some(("cache", cache.span())),
        (None, None) => None,
    };
    let paths = Paths {
        state: state.map_or("/var/lib/farmgate".into(), Spanned::into_inner),
        cache: cache.map_or("/var/cache/farmgate".into(), Spanned::into_inner),
        control: control.map_or(DEFAULT_CONTROL.into(), Spanned::into_inner),
        pid: pid.unwrap_or("/run/farmgate/pid".into()),
    };
    // Of what is written, without asking the disk: a `..` or a symbolic link hides from this.
    if let Some((key, span)) = blame.filter(|_| paths.state.starts_with(&paths.cache)) {
        let complaint = Complaint::new("state lies inside cache, where anything may be removed at any time");
        table.error(span, key, complaint.hint("keys and certificates need a folder of their own"));
    }
    paths
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
        eab: eab(table, folder),
        profile: table.get("profile", word),
        key_type: table.get("key_type", one_of(&KEY_TYPES)).unwrap_or_default(),
        fallback: acme_fallback(table, folder),
    }
}

const KEY_TYPES: [(&str, KeyType); 4] = [
    ("p256", KeyType::P256),
    ("p384", KeyType::P384),
    ("rsa2048", KeyType::Rsa2048),
    ("rsa4096", KeyType::Rsa4096),
];

/// `fallback = "letsencrypt"`, or `[acme.fallback]` with an account of its own.
fn acme_fallback(table: &mut Reader<'_, '_>, folder: &Path) -> Option<AcmeFallback> {
    let is_table = table.has_table("fallback");
    let of_table = table.table_or_nothing("fallback", |fallback| {
        let directory = fallback.get("directory", acme_directory);
        if is_table && !fallback.has("directory") {
            let hint = "add directory = \"letsencrypt\", or a URL";
            fallback.missing("directory", Complaint::new("`directory` is missing").hint(hint));
        }
        let ca_file = fallback.get("ca_file", path(folder));
        let eab = eab(fallback, folder);
        directory.map(|directory| AcmeFallback { directory, ca_file, eab })
    });
    if is_table {
        return of_table;
    }
    let directory = table.get("fallback", acme_directory)?;
    Some(AcmeFallback { directory, ca_file: None, eab: None })
}

fn eab(table: &mut Reader<'_, '_>, folder: &Path) -> Option<Eab> {
    let is_there = table.has("eab");
    table.table("eab", |eab| {
        let kid = eab.get("kid", word);
        if is_there && !eab.has("kid") {
            let hint = "the CA gives it out together with the key";
            eab.missing("kid", Complaint::new("`kid` is missing").hint(hint));
        }
        let inline = eab.get("hmac_key", base64url).map(HmacKey::Inline);
        let file = eab.get("hmac_key_file", path(folder)).map(HmacKey::File);
        if is_there && eab.has("hmac_key") == eab.has("hmac_key_file") {
            let hint = "one of the two holds the CA's key; the file keeps it out of the configuration";
            eab.missing("hmac_key", Complaint::new("expected `hmac_key` or `hmac_key_file`").hint(hint));
        }
        Some(Eab { kid: kid?, hmac_key: file.or(inline)? })
    })
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
        routes: routes::timeouts(table),
        queue: table.get("queue", duration).unwrap_or(seconds(10)),
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
            age: rotate.get("age", positive_duration),
        }),
    }
}

fn limits(table: &mut Reader<'_, '_>) -> Limits {
    // More than a million sockets no process gets; the bound also keeps the number within usize everywhere.
    let count = |count: u32| count as usize;
    let connections = table.get("connections", number(1..=1_000_000u32));
    let per_client = table.find("connections_per_client", number(1..=1_000_000u32));
    let bodies = table.find("bodies", positive_size);
    let nar_rate = table.find("nar_rate", rate);
    let total_rate = table.get("total_rate", rate);
    let limits = Limits {
        body: table.get("body", size).unwrap_or(MIB),
        header_timeout: table.get("header_timeout", positive_duration).unwrap_or(seconds(10)),
        connections: connections.map_or(10_000, count),
        connections_per_client: per_client.as_ref().map_or(256, |given| count(*given.get_ref())),
        connection_requests: table.get("connection_requests", number(1..=u32::MAX)).map_or(100_000, count),
        connection_age: table.get("connection_age", positive_duration).unwrap_or(minutes(60)),
        bodies: bodies.as_ref().map_or(64 * MIB, |given| *given.get_ref()),
        nar_rate: nar_rate.as_ref().map(|given| *given.get_ref()),
        total_rate,
        requests: routes::requests(table),
        refused_agents: table.list("refused_agents", routes::agent).map(bare).unwrap_or_default(),
        backend: BackendLimits {
            requests: table.get("backend_requests", number(1..=1_000_000u32)).unwrap_or(64),
            nars: table.get("backend_nars", number(1..=1_000_000u32)).unwrap_or(256),
            queue: table.get("backend_queue", number(0..=1_000_000u32)).unwrap_or(16_384),
        },
    };
    if limits.bodies < limits.body {
        let complaint = Complaint::new("all bodies together have less room than `body` gives to one");
        let hint = "no body of that size could ever be read: raise `bodies`, or lower `body`";
        // The default is larger than that of `body`: one of the two was given.
        let (key, span) = match bodies {
            Some(given) => ("bodies", given.span()),
            None => ("body", table.find("body", size).map_or(0..0, |given| given.span())),
        };
        table.error(span, key, complaint.hint(hint));
    }
    if let Some(given) = nar_rate.filter(|given| total_rate.is_some_and(|total| *given.get_ref() > total)) {
        let complaint = Complaint::new("one connection may be sent more than `total_rate` lets go to all");
        table.warning(given.span(), "nar_rate", complaint.hint("it has no effect"));
    }
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

fn process(table: &mut Reader<'_, '_>) -> Process {
    let user = table.get("user", account_name);
    let group = table.find("group", account_name);
    if let Some(group) = group.as_ref().filter(|_| !table.has("user")) {
        let complaint = Complaint::new("there is a group and no user");
        table.error(
            group.span(),
            // It is that one which is wrong: by not being there.
            "user",
            complaint.hint("add user = \"farmgate\", or whoever it is to run as"),
        );
    }
    Process {
        user,
        group: group.map(Spanned::into_inner),
        landlock: table.get("landlock", boolean).unwrap_or(true),
        seccomp: table.get("seccomp", boolean).unwrap_or(true),
        core_dumps: table.get("core_dumps", boolean).unwrap_or(false),
    }
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
