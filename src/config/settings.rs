//! What is meant: the configuration in types that cannot hold a wrong value.
//!
//! Made by [`load`](super::load) and [`parse`](super::parse) only. File names are resolved against the folder
//! of the configuration file, host names are lower-case, well-known names are expanded.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

pub use super::pattern::PathPattern;

/// Everything a gate is told, from one file.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The file it was read from.
    pub origin: PathBuf,
    /// Where clients connect.
    pub listen: Listen,
    /// Where things are kept.
    pub paths: Paths,
    /// The farms behind this gate; never empty. The first one answers for hosts that nobody names.
    pub sites: Vec<Site>,
    /// Who may pass to the admin pages.
    pub admin: Admin,
    /// Where certificates are ordered.
    pub acme: Acme,
    /// What is kept of the answers.
    pub cache: Cache,
    /// How long anything is waited for.
    pub timeouts: Timeouts,
    /// What is written about the requests.
    pub access_log: AccessLog,
    /// Where the state of the gate can be read.
    pub metrics: Metrics,
    /// What one client, or all of them, may use.
    pub limits: Limits,
    /// Who the process is, and what it may do.
    pub process: Process,
}

/// Where clients connect. No address stands in it twice, and at least one stands in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Listen {
    /// Addresses that speak plain HTTP.
    pub http: Vec<SocketAddr>,
    /// Addresses that speak TLS.
    pub https: Vec<SocketAddr>,
}

/// Where things are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Paths {
    /// Folder of certificates, the ACME account and the admin CA. Never inside `cache`.
    pub state: PathBuf,
    /// Folder of cached answers: may be lost at any time.
    pub cache: PathBuf,
    /// The control socket; short enough to be the name of a Unix socket.
    pub control: PathBuf,
    /// The file that holds the number of the running process.
    pub pid: PathBuf,
}

/// One farm: the names it is asked for by, and who answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// Host names, lower-case, without trailing dot and port; never empty, and no name is in two sites.
    pub names: Vec<String>,
    /// `guix publish`. One of `publish` and `ci` is always there.
    pub publish: Option<Backend>,
    /// Cuirass.
    pub ci: Option<Backend>,
    /// Where the certificate for the names comes from.
    pub certificate: Certificate,
    /// What a client gets that comes without TLS.
    pub plain_http: PlainHttp,
    /// Who answers `/log/`; always one that the site has.
    pub log_route: LogRoute,
    /// Folder whose files are served under `/.well-known`, for another ACME client.
    pub webroot: Option<PathBuf>,
}

/// The address of a program behind the gate, reached over plain HTTP.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// The machine, nearly always this one.
    pub host: Host,
    /// The TCP port, never 0.
    pub port: u16,
}

impl fmt::Display for Backend {
    /// `localhost:3000`, `[::1]:3000`: the form that a `Host` header and a resolver take.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Name(name) => write!(f, "{name}:{}", self.port),
            Host::Address(address) => SocketAddr::new(*address, self.port).fmt(f),
        }
    }
}

/// The host part of a backend's address.
#[derive(Clone, Debug, PartialEq)]
pub enum Host {
    /// A name to be resolved, lower-case.
    Name(String),
    /// An address, which needs no resolving.
    Address(IpAddr),
}

/// Where a site's certificate comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Certificate {
    /// Ordered from an ACME server, and renewed.
    Acme,
    /// Made here, trusted by nobody.
    SelfSigned,
    /// Somebody else's, in PEM files.
    Files {
        /// The certificate and those above it, leaf first.
        chain: PathBuf,
        /// The private key of the leaf.
        key: PathBuf,
    },
}

/// What a site serves without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainHttp {
    /// Everything but the admin pages.
    Serve,
    /// Substitutes; all else is redirected to https.
    Substitutes,
    /// Nothing: all is redirected to https.
    Redirect,
}

/// Who answers `/log/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogRoute {
    /// Cuirass.
    Ci,
    /// `guix publish`.
    Publish,
}

/// Who may pass to the admin pages.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// The path that is gated, with all below it: absolute, no trailing slash, no empty or dot segments,
    /// nothing in it that percent-encoding could spell differently and mean otherwise; never `/`.
    pub prefix: String,
    /// PEM file of the CA whose certificates open the gate. It may be missing: the gate is closed then.
    pub client_ca: PathBuf,
    /// PEM revocation lists to heed besides our own.
    pub crl: Vec<PathBuf>,
}

/// Where certificates are ordered.
#[derive(Clone, Debug, PartialEq)]
pub struct Acme {
    /// URL of the ACME directory, always https.
    pub directory: String,
    /// Mail addresses of the account, without `mailto:`.
    pub contact: Vec<String>,
    /// PEM file of the root to trust when talking to `directory`, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// The account at `directory` that is known there by other means.
    pub eab: Option<Eab>,
    /// The kind of certificate, where `directory` offers a choice.
    pub profile: Option<String>,
    /// The key of a certificate.
    pub key_type: KeyType,
    /// Where to order when `directory` has failed again and again.
    pub fallback: Option<AcmeFallback>,
}

/// A second ACME server.
#[derive(Clone, Debug, PartialEq)]
pub struct AcmeFallback {
    /// URL of the ACME directory, always https.
    pub directory: String,
    /// PEM file of the root to trust when talking to it, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// The account that is known there by other means.
    pub eab: Option<Eab>,
}

/// An external account binding (RFC 8555 section 7.3.4).
#[derive(Clone, Debug, PartialEq)]
pub struct Eab {
    /// The CA's name for the account.
    pub kid: String,
    /// The secret shared with the CA, in base64url.
    pub hmac_key: HmacKey,
}

/// Where a shared secret is.
#[derive(Clone, PartialEq)]
pub enum HmacKey {
    /// In the configuration.
    Inline(Zeroizing<String>),
    /// In a file of its own.
    File(PathBuf),
}

impl fmt::Debug for HmacKey {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(_) => f.write_str("Inline(…)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// The key of a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyType {
    /// ECDSA on P-256: small, fast, and known to everything that speaks TLS 1.2.
    #[default]
    P256,
    /// ECDSA on P-384.
    P384,
    /// RSA with 2048 bits, for clients older than that.
    Rsa2048,
    /// RSA with 4096 bits.
    Rsa4096,
}

impl KeyType {
    /// As the configuration writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::P256 => "p256",
            Self::P384 => "p384",
            Self::Rsa2048 => "rsa2048",
            Self::Rsa4096 => "rsa4096",
        }
    }
}

/// What is kept of the answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Cache {
    /// Bytes of hot bodies in memory, all spaces together; 0 keeps none there.
    pub memory: u64,
    /// The space of `/static` and `/download`.
    pub static_files: CacheSpace,
    /// What differs for `/download`.
    pub download: DownloadCache,
    /// The space of finished build logs.
    pub logs: LogCache,
}

/// A space on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheSpace {
    /// Bytes of bodies on disk; beyond it the least recently used go.
    pub max_size: u64,
    /// Unused for longer: removed. Never zero.
    pub inactive: Duration,
    /// How long a 200 is fresh that does not say; zero means never to guess.
    pub fallback_ttl: Duration,
    /// The same for other statuses that may be stored.
    pub fallback_ttl_other: Duration,
}

/// What differs for `/download`, which lives in the space of [`Cache::static_files`].
#[derive(Clone, Debug, PartialEq)]
pub struct DownloadCache {
    /// How long a 200 is fresh that does not say; zero means never to guess.
    pub fallback_ttl: Duration,
    /// The same for other statuses that may be stored.
    pub fallback_ttl_other: Duration,
    /// What a 200 tells the client, in place of the backend's `Cache-Control`.
    pub expires: Duration,
}

/// The space of finished build logs.
#[derive(Clone, Debug, PartialEq)]
pub struct LogCache {
    /// Bytes of bodies on disk; beyond it the least recently used go.
    pub max_size: u64,
    /// Unused for longer: removed. Never zero.
    pub inactive: Duration,
    /// How long a 200 is fresh that does not say. Other statuses are not kept: a log that is not there yet
    /// may come.
    pub fallback_ttl: Duration,
}

/// How long anything is waited for. Only `backend_restart` and `queue` may be zero.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeouts {
    /// For a connection to a backend.
    pub connect: Duration,
    /// Between two reads from a backend.
    pub read: Duration,
    /// Between two writes.
    pub send: Duration,
    /// Read and send for `/nar/` and `/file/`, which `guix publish` may have to compress first.
    pub nar: Duration,
    /// How long a safe request waits for a backend that refuses connections; zero: not at all.
    pub backend_restart: Duration,
    /// How long a client's connection may be silent between requests.
    pub idle: Duration,
    /// Pages that Cuirass needs longer for; the first that fits counts.
    pub routes: Vec<RouteTimeout>,
    /// How long a request waits for its turn at a backend that has enough to do. Those for `guix publish` wait
    /// for `nar` if that is longer.
    pub queue: Duration,
}

/// How long some pages are waited for.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteTimeout {
    /// Which ones; never empty.
    pub paths: Vec<PathPattern>,
    /// Between two reads from Cuirass, in place of [`Timeouts::read`]. Never zero.
    pub read: Duration,
}

/// What is written about the requests.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog {
    /// For requests over plain HTTP.
    pub http: LogTarget,
    /// For requests over TLS. May be the same file as `http`.
    pub https: LogTarget,
    /// The form of a line.
    pub format: LogFormat,
    /// Bits blanked from the right of an IPv4 address, 0 to 32.
    pub ipv4_mask: u8,
    /// Bits blanked from the right of an IPv6 address, 0 to 128.
    pub ipv6_mask: u8,
    /// When a new file is begun.
    pub rotate: Rotate,
}

/// Where log lines go.
#[derive(Clone, Debug, PartialEq)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// Nowhere.
    Off,
    /// A file, which is appended to and rotated.
    File(PathBuf),
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// The "combined" format of Apache and nginx.
    Combined,
    /// One JSON object per line.
    Json,
}

/// When a new log file is begun.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotate {
    /// Bytes after which the file is put aside. Never zero.
    pub size: u64,
    /// How many of those put aside are kept; 0 keeps none.
    pub keep: u32,
    /// How long a file is written before it is put aside, if it is not full before. Never zero.
    pub age: Option<Duration>,
}

/// Where the state of the gate can be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    /// The address, or `None` for nowhere.
    pub listen: Option<SocketAddr>,
}

/// What one client, or all of them, may use.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of a request body.
    pub body: u64,
    /// For the whole head of a request. Never zero.
    pub header_timeout: Duration,
    /// Open connections of all clients together. Never zero.
    pub connections: usize,
    /// Open connections of one IPv4 address or one IPv6 /64. Never zero.
    pub connections_per_client: usize,
    /// Requests on one HTTP/1 connection before it is closed in good order. Never zero.
    pub connection_requests: usize,
    /// How old an HTTP/1 connection gets before that. Never zero.
    pub connection_age: Duration,
    /// Bytes of request bodies in memory, of all clients together. Not less than `body`.
    pub bodies: u64,
    /// Bytes of large answers per second on one connection; 16 KiB at least.
    pub nar_rate: Option<u64>,
    /// Bytes of all answers per second; 16 KiB at least.
    pub total_rate: Option<u64>,
    /// How often a client may ask for some of the UI's pages; the first that fits counts.
    pub requests: Vec<RequestLimit>,
    /// Parts of the names of programs that get none of the UI's pages, lower-case.
    pub refused_agents: Vec<String>,
    /// What one backend may be asked at a time.
    pub backend: BackendLimits,
}

/// What one backend may be asked at a time, by all clients of all sites together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendLimits {
    /// Requests that it has not begun to answer. Never zero.
    pub requests: u32,
    /// Nars and files that are on their way from it. Never zero.
    pub nars: u32,
    /// Requests that wait for their turn, of each of the two kinds.
    pub queue: u32,
}

/// How often a client may ask for some of the UI's pages.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestLimit {
    /// Which ones; never empty.
    pub paths: Vec<PathPattern>,
    /// The time after which there may be another. Never zero.
    pub interval: Duration,
    /// How many there may be at once. Never zero.
    pub burst: u32,
}

/// Who the process is, and what it may do. Counts for `run` from its start on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The user to become once the sockets are bound.
    pub user: Option<String>,
    /// The group, where it is not the user's own. Never without `user`.
    pub group: Option<String>,
    /// Whether Landlock keeps it to the folders it needs, as far as the kernel can.
    pub landlock: bool,
    /// Whether seccomp keeps it to the system calls it needs, as far as the kernel can.
    pub seccomp: bool,
    /// Whether its memory may be written to a file when it crashes, and looked at by debuggers.
    pub core_dumps: bool,
}
