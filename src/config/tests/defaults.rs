use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{config, loaded, origin};
use crate::config::*;

/// The listing of the design page, with names in place of its ellipses.
const DESIGN: &str = r#"
[listen]
http  = ["0.0.0.0:80", "[::]:80"]
https = ["0.0.0.0:443", "[::]:443"]

[paths]
state   = "/var/lib/farmgate"          # certificates, ACME account, admin CA: mode 0700
cache   = "/var/cache/farmgate"
control = "/run/farmgate/control.sock" # mode 0600
pid     = "/run/farmgate/pid"          # so that `kill -HUP $(cat pid)` keeps working in old deploy hooks

[[site]]                               # at least one; the first is the default for unknown hosts on https
names       = ["cuirass.example.org"]  # required
publish     = "http://localhost:3000"  # guix publish } at least one of the two
ci          = "http://localhost:8081"  # Cuirass      }
certificate = "acme"                   # or "self-signed", or { chain = "…/fullchain.pem", key = "…/privkey.pem" }
plain_http  = "serve"                  # or "substitutes" (UI redirected, substitutes served), or "redirect"
log_route   = "ci"                     # who answers /log/: "ci" or "publish" (default: ci where there is one)
webroot     = "/var/www"               # optional: files under /.well-known, for another ACME client

[admin]
prefix    = "/admin"
client_ca = "/etc/ssl-ca/certs/ca.crt"
crl       = []                                # further PEM CRLs; our own revocations always count

[acme]
directory = "letsencrypt"              # or "letsencrypt-staging", or a URL
contact   = []                         # mail addresses
ca_file   = "/etc/pebble.pem"          # PEM root for a private ACME server (Pebble, step-ca)

[cache]
memory = "32MiB"                       # hot bodies kept in memory, all spaces together
[cache.static]
max_size = "200MiB"                    # bodies on disk, /static and /download together; least recently used go first
inactive = "10d"                       # unused for longer: removed
fallback_ttl = "2d"                    # only where the answer itself says nothing; "0s": never guess
fallback_ttl_other = "10m"             # same, for statuses other than 200 that may be stored
[cache.download]                       # in the space of cache.static
fallback_ttl = "30d"
fallback_ttl_other = "10m"
expires = "10d"                        # what a 200 tells the client, in place of the backend's Cache-Control
[cache.logs]                           # finished build logs, a space of their own
max_size = "4GiB"
inactive = "60d"
fallback_ttl = "60d"                   # 200 only: a log that is not there yet may come

[timeouts]
connect = "10s"
read    = "10s"
send    = "10s"
nar     = "60s"                        # read and send on /nar/ and /file/
backend_restart = "5s"                 # how long a safe request waits for a backend that refuses connections
idle    = "65s"                        # client keep-alive

[access_log]
http  = "/var/log/farmgate/http.access.log"    # "-" is stdout, "off" is none
https = "/var/log/farmgate/https.access.log"
format = "combined"                    # or "json"
ipv4_mask = 12                         # bits blanked from the right, as anonip counts them; 0 keeps the address
ipv6_mask = 84
rotate = { size = "100MiB", keep = 7 }

[metrics]
listen = "127.0.0.1:9145"              # Prometheus text at /metrics, /healthz, /readyz; "off" to disable

[limits]
body = "1MiB"                          # larger request bodies get 413
header_timeout = "10s"                 # for the whole request head
connections = 10000
connections_per_client = 256           # per IPv4 /32, IPv6 /64
connection_requests = 100000
connection_age = "1h"
bodies = "64MiB"
refused_agents = []

[process]
landlock = true                        # only the folders it needs
seccomp  = true                        # only the system calls it needs
core_dumps = false
"#;

#[test]
fn the_shortest_file_means_what_the_listing_of_the_design_says() {
    let design = loaded(DESIGN);
    assert!(design.warnings.is_empty(), "{}", design.warnings);
    let mut design = design.config;

    // What the listing shows but does not default to.
    design.sites[0].names = vec!["ci.example.org".into()];
    design.sites[0].webroot = None;
    design.admin.client_ca = "/var/lib/farmgate/admin/ca.crt".into();
    design.acme.ca_file = None;
    assert_eq!(config(""), design);
}

/// Both sides of the test above go through the same reader; this one does not.
#[test]
fn the_defaults_are_those_of_the_design() {
    const MIB: u64 = 1024 * 1024;
    const DAY: u64 = 24 * 60 * 60;
    let seconds = Duration::from_secs;
    let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
    let backend = |port| Some(Backend { host: Host::Name("localhost".into()), port });

    let expected = Config {
        origin: origin().to_owned(),
        listen: Listen {
            http: vec![address("0.0.0.0:80"), address("[::]:80")],
            https: vec![address("0.0.0.0:443"), address("[::]:443")],
        },
        paths: Paths {
            state: "/var/lib/farmgate".into(),
            cache: "/var/cache/farmgate".into(),
            control: "/run/farmgate/control.sock".into(),
            pid: "/run/farmgate/pid".into(),
        },
        sites: vec![Site {
            names: vec!["ci.example.org".into()],
            publish: backend(3000),
            ci: backend(8081),
            certificate: Certificate::Acme,
            plain_http: PlainHttp::Serve,
            log_route: LogRoute::Ci,
            webroot: None,
        }],
        admin: Admin {
            prefix: "/admin".into(),
            client_ca: "/var/lib/farmgate/admin/ca.crt".into(),
            crl: vec![],
        },
        acme: Acme {
            directory: "https://acme-v02.api.letsencrypt.org/directory".into(),
            contact: vec![],
            ca_file: None,
            eab: None,
            profile: None,
            key_type: KeyType::P256,
            fallback: None,
        },
        cache: Cache {
            memory: 32 * MIB,
            static_files: CacheSpace {
                max_size: 200 * MIB,
                inactive: seconds(10 * DAY),
                fallback_ttl: seconds(2 * DAY),
                fallback_ttl_other: seconds(600),
            },
            download: DownloadCache {
                fallback_ttl: seconds(30 * DAY),
                fallback_ttl_other: seconds(600),
                expires: seconds(10 * DAY),
            },
            logs: LogCache {
                max_size: 4096 * MIB,
                inactive: seconds(60 * DAY),
                fallback_ttl: seconds(60 * DAY),
            },
        },
        timeouts: Timeouts {
            connect: seconds(10),
            read: seconds(10),
            send: seconds(10),
            nar: seconds(60),
            backend_restart: seconds(5),
            idle: seconds(65),
            routes: vec![],
            queue: seconds(10),
        },
        access_log: AccessLog {
            http: LogTarget::File(PathBuf::from("/var/log/farmgate/http.access.log")),
            https: LogTarget::File(PathBuf::from("/var/log/farmgate/https.access.log")),
            format: LogFormat::Combined,
            ipv4_mask: 12,
            ipv6_mask: 84,
            rotate: Rotate { size: 100 * MIB, keep: 7, age: None },
        },
        metrics: Metrics { listen: Some(address("127.0.0.1:9145")) },
        limits: Limits {
            body: MIB,
            header_timeout: seconds(10),
            connections: 10_000,
            connections_per_client: 256,
            connection_requests: 100_000,
            connection_age: seconds(3600),
            bodies: 64 * MIB,
            nar_rate: None,
            total_rate: None,
            requests: vec![],
            refused_agents: vec![],
            backend: BackendLimits { requests: 64, nars: 256, queue: 16_384 },
        },
        process: Process { user: None, group: None, landlock: true, seccomp: true, core_dumps: false },
    };
    assert_eq!(config(""), expected);
}

#[test]
fn what_the_file_gives_is_listed_by_dotted_name() {
    let given = loaded(
        r#"
        cache.static.max_size = "1GiB"
        [[site]]
        names = ["a.example.org"]
        publish = "http://localhost"
        [[site]]
        names = ["b.example.org"]
        ci = "http://localhost"
        certificate = { chain = "chain.pem", key = "key.pem" }
        [access_log]
        rotate = { keep = 1 }
        [limits]
        "#,
    )
    .given;
    let expected = [
        "access_log",
        "access_log.rotate",
        "access_log.rotate.keep",
        "cache",
        "cache.static",
        "cache.static.max_size",
        "limits",
        "site",
        "site.certificate",
        "site.certificate.chain",
        "site.certificate.key",
        "site.ci",
        "site.names",
        "site.publish",
    ];
    assert_eq!(given.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}
