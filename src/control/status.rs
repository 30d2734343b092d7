//! How things are with a running gate.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::cache;
use crate::metrics::Totals;

/// A snapshot. Holds no client's address and no secret.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// Seconds since the start.
    pub uptime: u64,
    /// Addresses listened on.
    pub listen: Listening,
    /// The sites, in the configuration's order.
    pub sites: Vec<SiteStatus>,
    /// Why nobody is let into the admin pages, if nobody is.
    pub admin_closed: Option<String>,
    /// Connections open now.
    pub connections: usize,
    /// Connections refused by the limits since the start.
    pub connections_refused: u64,
    /// Lines of the access log dropped since the start.
    pub log_lines_dropped: u64,
    /// The last reload, if there was one.
    pub last_reload: Option<LastReload>,
    /// What happened since the start.
    pub totals: Totals,
    /// Requests per second, over the last ten seconds or so.
    pub requests_per_second: f64,
    /// Bytes of bodies sent to clients per second, likewise.
    pub bytes_per_second: f64,
    /// How the cache is doing.
    pub cache: cache::Stats,
    /// Gates that were upgraded and still have something to do.
    #[serde(default)]
    pub finishing: Vec<Finishing>,
}

/// A gate that finishes what it began before another one took over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finishing {
    /// Its process.
    pub pid: u32,
    /// Connections it still has.
    pub connections: usize,
}

/// Addresses listened on, with their real ports.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Listening {
    /// For plain HTTP.
    pub http: Vec<SocketAddr>,
    /// For HTTPS.
    pub https: Vec<SocketAddr>,
    /// For metrics.
    #[serde(default)]
    pub metrics: Option<SocketAddr>,
}

/// One site.
#[derive(Debug, Serialize, Deserialize)]
pub struct SiteStatus {
    /// Its names.
    pub names: Vec<String>,
    /// Where `guix publish` is.
    pub publish: Option<String>,
    /// Where Cuirass is.
    pub ci: Option<String>,
    /// The same two, and how they are.
    pub backends: Vec<BackendStatus>,
    /// What it shows to clients.
    pub certificate: CertificateStatus,
}

/// One backend of a site.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BackendStatus {
    /// "publish" or "ci".
    pub role: String,
    /// Where it is.
    pub url: String,
    /// Whether it could be reached when that was last tried; none: nobody has tried.
    pub up: Option<bool>,
    /// Requests it is at now, with those that wait for their turn.
    pub requests: u64,
    /// Requests that wait for their turn, as it has enough to do.
    #[serde(default)]
    pub waiting: u64,
    /// The last time it could not be reached, or gave no answer.
    pub last_error: Option<BackendFailure>,
}

/// What a backend did not do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BackendFailure {
    /// Seconds since 1970.
    pub at: u64,
    /// Why, in words that quote nobody.
    pub why: String,
}

/// A certificate that is served.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// "file", "acme" or "self-signed".
    pub source: String,
    /// When it ends, in seconds since 1970.
    pub not_after: i64,
    /// The names it is for.
    pub names: Vec<String>,
    /// Who signed it.
    pub issuer: Option<String>,
}

/// How a reload went.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LastReload {
    /// Seconds since 1970.
    pub at: u64,
    /// Why it was refused, if it was.
    pub error: Option<String>,
    /// What the operator should know.
    pub notes: Vec<String>,
}
