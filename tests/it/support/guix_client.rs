//! The Guix client's way with narinfos (`http-multiple-get` in guix/http-client.scm): up to a thousand requests in one
//! blocking write before it reads a byte, then the answers in order; on `Connection: close`, or when the connection
//! ends, it opens another and goes on with what is left.

use std::net::SocketAddr;

use super::config::HOST;
use super::http1::{Broken, Connection, Framing, Response};
use super::tls::TlsClient;

pub const BATCH: usize = 1000;

/// How it went.
#[derive(Debug)]
pub struct Report {
    pub connections: usize,
    /// In the order of the requests.
    pub answers: Vec<Response>,
    /// Connections that ended without saying `Connection: close` first.
    pub surprises: Vec<String>,
}

/// How to reach the server.
pub enum Way {
    Http(SocketAddr),
    /// No ALPN; SNI; no verification. One client, so sessions are resumed.
    Https(SocketAddr, Box<TlsClient>),
}

impl Way {
    pub fn https(address: SocketAddr) -> Way {
        Way::Https(address, Box::default())
    }

    fn connect(&self) -> Connection {
        match self {
            Way::Http(address) => Connection::plain(*address, HOST),
            Way::Https(address, client) => client.connect(*address, HOST),
        }
    }
}

/// Distinct, of the right length.
pub fn hashes(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("{index:032}")).collect()
}

/// Fetches `/HASH.narinfo` for each.
pub fn narinfos(way: &Way, hashes: &[String]) -> Report {
    let targets: Vec<String> = hashes.iter().map(|hash| format!("/{hash}.narinfo")).collect();
    multiple_get(way, &targets)
}

pub fn multiple_get(way: &Way, targets: &[String]) -> Report {
    let mut report = Report { connections: 0, answers: Vec::new(), surprises: Vec::new() };
    while report.answers.len() < targets.len() {
        let before = report.answers.len();
        let batch = &targets[before..targets.len().min(before + BATCH)];
        let bytes: String = batch
            .iter()
            .map(|target| format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: GNU Guile\r\n\r\n"))
            .collect();
        let mut connection = way.connect();
        report.connections += 1;
        connection.send(bytes.as_bytes());
        for _ in batch {
            match connection.try_response(false) {
                Ok(response) => {
                    let closes = response.closes();
                    report.answers.push(response);
                    if closes {
                        break;
                    }
                }
                Err(broken @ (Broken::Closed | Broken::Reset | Broken::Truncated(_))) => {
                    report.surprises.push(broken.to_string());
                    break;
                }
                Err(broken) => panic!("answer {} of {}: {broken}", report.answers.len(), targets.len()),
            }
        }
        assert!(
            report.answers.len() > before,
            "connection {} gave no answer at all, at {before} of {}: {:?}",
            report.connections,
            targets.len(),
            report.surprises
        );
    }
    report
}

/// Panics unless each answer is the narinfo that was asked for, with its length.
pub fn assert_right(report: &Report, hashes: &[String]) {
    assert_eq!(report.answers.len(), hashes.len());
    for (answer, hash) in report.answers.iter().zip(hashes) {
        assert_eq!(answer.status, 200, "{hash}: {answer:?}");
        assert_eq!(answer.framing, Framing::Length, "{hash}: {:?}", answer.headers);
        assert_eq!(answer.header("cache-control"), Some("max-age=7200"), "{hash}");
        assert!(
            answer.text().starts_with(&format!("StorePath: /gnu/store/{hash}-item\n")),
            "{hash}: {}",
            answer.text()
        );
    }
}
