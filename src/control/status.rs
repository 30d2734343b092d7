//! How things are with a running gate.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A snapshot. Holds no client's address and no secret.
#[derive(Debug, Serialize, Deserialize)]
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
}

/// Addresses listened on, with their real ports.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Listening {
    /// For plain HTTP.
    pub http: Vec<SocketAddr>,
    /// For HTTPS.
    pub https: Vec<SocketAddr>,
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
    /// What it shows to clients.
    pub certificate: CertificateStatus,
}

/// A certificate that is served.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// "file", "acme" or "self-signed".
    pub source: String,
    /// When it ends, in seconds since 1970.
    pub not_after: i64,
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

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uptime = humanly(Duration::from_secs(self.uptime));
        writeln!(f, "farmgate {} · process {} · up {uptime}", self.version, self.pid)?;
        for (protocol, addresses) in [("http", &self.listen.http), ("https", &self.listen.https)] {
            let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
            writeln!(f, "  {protocol:<12} {}", addresses.join(", "))?;
        }
        writeln!(
            f,
            "  {:<12} {} open, {} refused",
            "connections", self.connections, self.connections_refused
        )?;
        if self.log_lines_dropped > 0 {
            writeln!(f, "  {:<12} {} lines dropped", "access log", self.log_lines_dropped)?;
        }
        let admin = self
            .admin_closed
            .as_deref()
            .map_or("open to certificate holders".into(), |why| format!("closed: {why}"));
        writeln!(f, "  {:<12} {admin}", "admin")?;
        if let Some(reload) = &self.last_reload {
            let result =
                reload.error.as_deref().map_or("done".to_owned(), |error| format!("refused: {error}"));
            writeln!(f, "  {:<12} {}", "last reload", result.lines().next().unwrap_or_default())?;
        }
        for site in &self.sites {
            writeln!(f, "\n{}", site.names.join(" "))?;
            let backends = [("publish", &site.publish), ("ci", &site.ci)];
            for (name, backend) in backends.iter().filter_map(|(name, at)| Some((name, at.as_ref()?))) {
                writeln!(f, "  {name:<12} {backend}")?;
            }
            let left = site.certificate.not_after - now();
            let left = u64::try_from(left)
                .map_or("EXPIRED".into(), |left| format!("{} left", humanly(Duration::from_secs(left))));
            writeln!(f, "  {:<12} {}, {left}", "certificate", site.certificate.source)?;
        }
        Ok(())
    }
}

fn now() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// The two largest units: "3 d 4 h".
fn humanly(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}
