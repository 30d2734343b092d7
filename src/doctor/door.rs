//! One way into a server: an address, with TLS or without.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::http::{Answer, Connection, LONGEST_BODY};
use super::stream::{Stream, Timed};
use super::target::Scheme;

/// Who asks. `guix substitute` says what it is built on; so does this.
const AGENT: &str = concat!("farmgate-doctor/", env!("CARGO_PKG_VERSION"));

/// Where and how to connect.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) scheme: Scheme,
    pub(super) address: SocketAddr,
    /// For `Host`.
    pub(super) authority: String,
    /// For SNI.
    pub(super) name: ServerName<'static>,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) patience: Duration,
}

impl Door {
    pub(super) fn connect(&self) -> io::Result<Connection> {
        self.connect_with(&self.tls).map(Connection::new)
    }

    /// With other settings for TLS, where it is spoken.
    pub(super) fn connect_with(&self, tls: &Arc<ClientConfig>) -> io::Result<Stream> {
        let tcp = Timed::connect(self.address, self.patience)?;
        match self.scheme {
            Scheme::Http => Ok(Stream::Plain(tcp)),
            Scheme::Https => Stream::tls(tcp, self.name.clone(), tls.clone()),
        }
    }

    /// What it answers for `target`, on a connection of its own.
    pub(super) fn get(&self, target: &str) -> io::Result<Answer> {
        self.ask("GET", target)
    }

    pub(super) fn ask(&self, method: &str, target: &str) -> io::Result<Answer> {
        let mut connection = self.connect()?;
        let sent = connection.send(self.request(method, target).as_bytes());
        // A refusal may come while we still write.
        connection.answer(method == "HEAD", LONGEST_BODY).map_err(|error| sent.err().unwrap_or(error))
    }

    /// A request after which the connection may go.
    pub(super) fn request(&self, method: &str, target: &str) -> String {
        let body = if method == "POST" { "Content-Length: 0\r\n" } else { "" };
        let authority = &self.authority;
        format!(
            "{method} {target} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: {AGENT}\r\n{body}Connection: close\r\n\r\n"
        )
    }
}
