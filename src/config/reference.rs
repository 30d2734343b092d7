//! What each key means: the one place that says it. `docs/configuration.md` and the manual page farmgate.toml(5) are made of
//! this; tests hold it against what is read, and against the defaults that apply.

use std::fmt::Write as _;

/// A key of the configuration.
#[derive(Debug)]
pub struct Key {
    /// Dotted; keys of every site are below `site`.
    pub name: &'static str,
    /// What kind of value it takes.
    pub kind: &'static str,
    /// What counts when it is left out.
    pub default: Absent,
    /// What it does; Markdown.
    pub meaning: &'static str,
}

/// What counts when a key is left out.
#[derive(Debug)]
pub enum Absent {
    /// This value, as it would be written.
    Value(&'static str),
    /// Nothing; and what could be written, as an example.
    None(&'static str),
    /// It cannot be left out; and an example.
    Required(&'static str),
}

/// A table of the file.
#[derive(Debug)]
pub struct Table {
    /// Dotted.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
}

const fn key(name: &'static str, kind: &'static str, default: Absent, meaning: &'static str) -> Key {
    Key { name, kind, default, meaning }
}

use Absent::{None as Nothing, Required, Value};

/// Every key there is, in the order of the documentation.
pub const TABLES: &[Table] = &[
    Table {
        name: "site",
        about: "A farm; at least one. The first answers on https for hosts that no site names.",
        keys: &[
            key(
                "site.names",
                "list of host names",
                Required("[\"ci.example.org\"]"),
                "the names that clients use",
            ),
            key(
                "site.publish",
                "`http://HOST[:PORT]`",
                Nothing("\"http://localhost:3000\""),
                "`guix publish`; one of `publish` and `ci` must be there",
            ),
            key("site.ci", "`http://HOST[:PORT]`", Nothing("\"http://localhost:8081\""), "Cuirass"),
            key(
                "site.certificate",
                "word or table",
                Value("\"acme\""),
                "`\"acme\"` orders one, and serves a self-signed one until it is there; `\"self-signed\"`; or `{ chain = FILE, key = FILE }`",
            ),
            key(
                "site.certificate.chain",
                "file",
                Nothing("\"/etc/letsencrypt/live/ci.example.org/fullchain.pem\""),
                "PEM, leaf first",
            ),
            key(
                "site.certificate.key",
                "file",
                Nothing("\"/etc/letsencrypt/live/ci.example.org/privkey.pem\""),
                "PEM",
            ),
            key(
                "site.plain_http",
                "word",
                Value("\"serve\""),
                "without TLS: `\"serve\"` all but the admin pages; `\"substitutes\"`, with a redirect to https for the rest; or `\"redirect\"` everything, which hides the substitutes from clients that use `http://`",
            ),
            key(
                "site.log_route",
                "word",
                Value("\"ci\""),
                "who answers `/log/`: `\"ci\"` or `\"publish\"`; without `ci` it is `\"publish\"`",
            ),
            key(
                "site.webroot",
                "folder",
                Nothing("\"/var/www\""),
                "its `.well-known` is served, on both ports",
            ),
        ],
    },
    Table {
        name: "listen",
        about: "Where clients connect. `[::]` is IPv6 only, so name both; on a machine without IPv6 name the IPv4 one alone.",
        keys: &[
            key("listen.http", "list of addresses", Value("[\"0.0.0.0:80\", \"[::]:80\"]"), "plain HTTP"),
            key("listen.https", "list of addresses", Value("[\"0.0.0.0:443\", \"[::]:443\"]"), "TLS"),
        ],
    },
    Table {
        name: "paths",
        about: "Where things are kept.",
        keys: &[
            key(
                "paths.state",
                "folder",
                Value("\"/var/lib/farmgate\""),
                "certificates, the ACME account and the admin CA; made with mode 0700",
            ),
            key(
                "paths.cache",
                "folder",
                Value("\"/var/cache/farmgate\""),
                "what is kept of `/static`, `/download` and `/log`",
            ),
            key(
                "paths.control",
                "file",
                Value("\"/run/farmgate/control.sock\""),
                "the control socket; mode 0600",
            ),
            key("paths.pid", "file", Value("\"/run/farmgate/pid\""), "the number of the process"),
        ],
    },
    Table {
        name: "admin",
        about: "Who may see the admin pages.",
        keys: &[
            key(
                "admin.prefix",
                "path",
                Value("\"/admin\""),
                "the path that is guarded. Cuirass's own `/admin` stays guarded as well",
            ),
            key(
                "admin.client_ca",
                "file",
                Value("\"/var/lib/farmgate/admin/ca.crt\""),
                "PEM; every certificate in it counts. Missing: the admin pages are closed, all else is served. The default is in `paths.state`, and what `farmgate admin init` makes",
            ),
            key(
                "admin.crl",
                "list of files",
                Value("[]"),
                "revocation lists, PEM or DER. One that is missing or unusable closes the admin pages; one past its date still counts",
            ),
        ],
    },
    Table {
        name: "timeouts",
        about: "How long anything is waited for.",
        keys: &[
            key("timeouts.connect", "duration", Value("\"10s\""), "to one address of a backend"),
            key(
                "timeouts.read",
                "duration",
                Value("\"10s\""),
                "between two reads from a backend; also for a client's body",
            ),
            key("timeouts.send", "duration", Value("\"10s\""), "between two writes"),
            key(
                "timeouts.nar",
                "duration",
                Value("\"60s\""),
                "read and send for `/nar/` and `/file/`, which `guix publish` may have to compress first",
            ),
            key(
                "timeouts.backend_restart",
                "duration",
                Value("\"5s\""),
                "how long a request waits for a backend that refuses connections; `\"0s\"`: not at all",
            ),
            key(
                "timeouts.idle",
                "duration",
                Value("\"65s\""),
                "how long a client's connection may be silent between requests",
            ),
            key(
                "timeouts.queue",
                "duration",
                Value("\"10s\""),
                "how long a request waits for its turn at a backend that has enough to do (503); one for `guix publish` waits `nar`, if that is longer",
            ),
            key(
                "timeouts.route",
                "list of tables",
                Nothing("[{ paths = [\"/jobset\", \"/eval\", \"/search\"], read = \"6m\" }]"),
                "`[[timeouts.route]]`: pages that Cuirass needs longer for; `read` takes the place of `timeouts.read`. `*` in a path is one segment, and what is below a path belongs to it. The first table that fits counts",
            ),
        ],
    },
    Table {
        name: "access_log",
        about: "What is written about the requests.",
        keys: &[
            key(
                "access_log.http",
                "file, `\"-\"` or `\"off\"`",
                Value("\"/var/log/farmgate/http.access.log\""),
                "for plain HTTP; `\"-\"` is stdout",
            ),
            key(
                "access_log.https",
                "file, `\"-\"` or `\"off\"`",
                Value("\"/var/log/farmgate/https.access.log\""),
                "for TLS; may be the same file",
            ),
            key("access_log.format", "word", Value("\"combined\""), "or `\"json\"`, an object on each line"),
            key(
                "access_log.ipv4_mask",
                "0 to 32",
                Value("12"),
                "bits blanked from the right; 0 writes the whole address",
            ),
            key("access_log.ipv6_mask", "0 to 128", Value("84"), "the same for IPv6"),
            key(
                "access_log.rotate.size",
                "size",
                Value("\"100MiB\""),
                "a file that would grow beyond it is put aside",
            ),
            key("access_log.rotate.keep", "number", Value("7"), "how many of those are kept"),
            key(
                "access_log.rotate.age",
                "duration",
                Nothing("\"1d\""),
                "a file that is older is put aside, too",
            ),
        ],
    },
    Table {
        name: "limits",
        about: "What one client, or all of them, may use.",
        keys: &[
            key("limits.body", "size", Value("\"1MiB\""), "larger request bodies get 413"),
            key(
                "limits.header_timeout",
                "duration",
                Value("\"10s\""),
                "for a TLS handshake, and for a whole request head (408)",
            ),
            key(
                "limits.connections",
                "number",
                Value("10000"),
                "of all clients; further ones are closed without an answer",
            ),
            key(
                "limits.connections_per_client",
                "number",
                Value("256"),
                "of one IPv4 address or one IPv6 /64; likewise",
            ),
            key(
                "limits.connection_requests",
                "number",
                Value("100000"),
                "on one connection, which is then closed in good order; over HTTP/2 what a reload says counts for new connections",
            ),
            key(
                "limits.connection_age",
                "duration",
                Value("\"1h\""),
                "likewise, with the next answer behind which no further request has come yet; over HTTP/2 with the next request",
            ),
            key(
                "limits.bodies",
                "size",
                Value("\"64MiB\""),
                "request bodies in memory, of all clients together; who finds no room for a minute gets 503",
            ),
            key(
                "limits.nar_rate",
                "size",
                Nothing("\"10MiB\""),
                "bytes per second on one connection: nars, files, downloads, logs, `/static`",
            ),
            key(
                "limits.total_rate",
                "size",
                Nothing("\"11MiB\""),
                "bytes per second of all answers, shared evenly between clients",
            ),
            key(
                "limits.requests",
                "list of tables",
                Nothing("[{ paths = [\"/search\", \"/build/*/log\"], rate = \"30/m\", burst = 10 }]"),
                "`[[limits.requests]]`: how often one client may ask for these pages (`/s`, `/m` or `/h`), and how often at once (10); else 429. Paths as in `timeouts.route`",
            ),
            key(
                "limits.refused_agents",
                "list of parts of `User-Agent`",
                Value("[]"),
                "in any case of letters, such as `[\"GPTBot\"]`: 403 for Cuirass's pages",
            ),
            key(
                "limits.backend_requests",
                "number",
                Value("64"),
                "what one backend is asked at a time, by all together, and has not begun to answer; further requests wait for their turn",
            ),
            key(
                "limits.backend_nars",
                "number",
                Value("256"),
                "answers from `/nar/` and `/file/` on their way from one backend; a client has at most a quarter of them",
            ),
            key(
                "limits.backend_queue",
                "number",
                Value("16384"),
                "requests that wait for their turn at one backend, of each of the two kinds; more than `connections`, since an error costs a Guix client more than a wait",
            ),
        ],
    },
    Table {
        name: "acme",
        about: "Where certificates are ordered.",
        keys: &[
            key(
                "acme.directory",
                "word or URL",
                Value("\"letsencrypt\""),
                "or `\"letsencrypt-staging\"`, or an https URL",
            ),
            key("acme.contact", "list of mail addresses", Value("[]"), "for the CA"),
            key(
                "acme.ca_file",
                "file",
                Nothing("\"/etc/ssl/pebble.pem\""),
                "PEM root to trust when talking to the directory, for a private CA",
            ),
            key("acme.key_type", "word", Value("\"p256\""), "or `\"p384\"`, `\"rsa2048\"`, `\"rsa4096\"`"),
            key(
                "acme.profile",
                "word",
                Nothing("\"shortlived\""),
                "the kind of certificate, where the directory offers a choice",
            ),
            key(
                "acme.eab.kid",
                "word",
                Nothing("\"account-7\""),
                "an external account binding: the CA's name for the account",
            ),
            key("acme.eab.hmac_key", "base64url", Nothing("\"c2VjcmV0\""), "its key; or, in its place,"),
            key(
                "acme.eab.hmac_key_file",
                "file",
                Nothing("\"/etc/farmgate/eab\""),
                "the file that holds the key",
            ),
            key(
                "acme.fallback",
                "word, URL or table",
                Nothing("\"https://acme.example.org/directory\""),
                "where to order when the first has failed again and again",
            ),
            key(
                "acme.fallback.directory",
                "word or URL",
                Nothing("\"https://acme.example.org/directory\""),
                "as above, where it has more to say",
            ),
            key("acme.fallback.ca_file", "file", Nothing("\"/etc/ssl/other.pem\""), "as above"),
            key("acme.fallback.eab.kid", "word", Nothing("\"account-7\""), "as above"),
            key("acme.fallback.eab.hmac_key", "base64url", Nothing("\"c2VjcmV0\""), "as above"),
            key("acme.fallback.eab.hmac_key_file", "file", Nothing("\"/etc/farmgate/eab\""), "as above"),
        ],
    },
    Table {
        name: "cache",
        about: "What is kept of the answers, and how long. A `fallback_ttl` counts only where the answer says nothing, and `\"0s\"` \
                never guesses.",
        keys: &[
            key("cache.memory", "size", Value("\"32MiB\""), "hot bodies kept in memory"),
            key(
                "cache.static.max_size",
                "size",
                Value("\"200MiB\""),
                "on disk, for `/static` and `/download` together",
            ),
            key("cache.static.inactive", "duration", Value("\"10d\""), "unused for longer: removed"),
            key("cache.static.fallback_ttl", "duration", Value("\"2d\""), "for a 200"),
            key(
                "cache.static.fallback_ttl_other",
                "duration",
                Value("\"10m\""),
                "for other statuses that may be kept",
            ),
            key("cache.download.fallback_ttl", "duration", Value("\"30d\""), "for a 200"),
            key(
                "cache.download.fallback_ttl_other",
                "duration",
                Value("\"10m\""),
                "for other statuses that may be kept",
            ),
            key(
                "cache.download.expires",
                "duration",
                Value("\"10d\""),
                "how long a client is told to keep a 200 from now on, whatever the backend says",
            ),
            key("cache.logs.max_size", "size", Value("\"4GiB\""), "on disk, for finished build logs"),
            key("cache.logs.inactive", "duration", Value("\"60d\""), "unused for longer: removed"),
            key("cache.logs.fallback_ttl", "duration", Value("\"60d\""), "for a 200; others are not kept"),
        ],
    },
    Table {
        name: "process",
        about: "Who the process is, and what it gives up once it serves. Counts from the next start on.",
        keys: &[
            key(
                "process.user",
                "name",
                Nothing("\"farmgate\""),
                "started as root, `run` becomes this user once its ports are bound. Started as somebody else, that has to be this user",
            ),
            key(
                "process.group",
                "name",
                Nothing("\"farmgate\""),
                "in place of the user's own; further groups are those that the system lists the user in",
            ),
            key("process.landlock", "true or false", Value("true"), "only the folders it needs"),
            key("process.seccomp", "true or false", Value("true"), "only the system calls it needs"),
            key(
                "process.core_dumps",
                "true or false",
                Value("false"),
                "`true` for developers: a crash may write keys to a file, and debuggers may look",
            ),
        ],
    },
    Table {
        name: "metrics",
        about: "Where the state of the gate can be read.",
        keys: &[key(
            "metrics.listen",
            "address or `\"off\"`",
            Value("\"127.0.0.1:9145\""),
            "for Prometheus and health checks. There is no TLS and no password: keep it on loopback",
        )],
    },
];

/// The same as a page of the documentation.
pub fn in_markdown() -> String {
    let mut page = String::from(
        "# Configuration\n\n\
         <!-- Made from src/config/reference.rs by a test: see there. -->\n\n\
         One file, `/etc/farmgate/farmgate.toml` unless `--config` says otherwise, in TOML. Unknown keys are errors, with a\n\
         suggestion; all mistakes of a file are shown at once, each with its line. Durations are a whole number and `ms`, `s`,\n\
         `m`, `h` or `d`; sizes a whole number and `B`, `KiB`, `MiB`, `GiB` or `TiB`. Relative file names count from the folder\n\
         of the file. Only `[[site]]` must be there.\n",
    );
    for table in TABLES {
        // Writing to a string cannot fail, here and below.
        let _ = write!(
            page,
            "\n## `{}`\n\n{}\n\n| key | value | default | |\n|---|---|---|---|\n",
            heading(table),
            table.about
        );
        for key in table.keys {
            let default = match key.default {
                Value(value) => format!("`{value}`"),
                Nothing(_) => String::new(),
                Required(_) => "required".into(),
            };
            let short = key.name.strip_prefix(table.name).unwrap_or(key.name).trim_start_matches('.');
            let _ = writeln!(page, "| `{short}` | {} | {default} | {} |", key.kind, key.meaning);
        }
    }
    page
}

/// `[[site]]`, `[listen]`.
fn heading(table: &Table) -> String {
    if table.name == "site" { "[[site]]".into() } else { format!("[{}]", table.name) }
}

/// The same as the manual page farmgate.toml(5).
pub fn in_roff() -> String {
    use clap_mangen::roff::{Roff, bold, italic, roman};
    let mut page = Roff::new();
    page.control("TH", ["farmgate.toml", "5"]);
    page.control("SH", ["NAME"]).text([roman("farmgate.toml - the configuration of farmgate")]);
    page.control("SH", ["DESCRIPTION"]).text([roman(
        "TOML. Unknown keys are errors. Durations are a whole number and ms, s, m, h or d; sizes a whole number and B, KiB, MiB, \
         GiB or TiB. Relative file names count from the folder of the file. Only [[site]] must be there.",
    )]);
    for table in TABLES {
        page.control("SH", [heading(table).as_str()]).text([roman(plain(table.about))]);
        for key in table.keys {
            let default = match key.default {
                Value(value) => format!(" [default: {value}]"),
                Nothing(_) => String::new(),
                Required(_) => " [required]".into(),
            };
            page.control("TP", []);
            page.text([bold(key.name), roman(" "), italic(plain(key.kind))]);
            page.text([roman(format!("{}{default}", plain(key.meaning)))]);
        }
    }
    page.control("SH", ["SEE ALSO"]).text([
        bold("farmgate"),
        roman("(1), "),
        bold("farmgate-check"),
        roman("(1)"),
    ]);
    page.render()
}

fn plain(markdown: &str) -> String {
    markdown.replace('`', "")
}
