//! Answers to what the engine's parser refused: the same page as for every other error, and a line in the log.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::error_page::Problem;
use super::generation::Live;
use crate::listen::{ConnectionInfo, Refusals};
use crate::log::{Entry, RequestId};
use crate::metrics::{Protocol, Request, Route, Spent, Worker};

/// Dresses and logs the parser's refusals.
pub struct ParserRefusals {
    live: Arc<Live>,
    worker: Arc<Worker>,
}

impl ParserRefusals {
    /// Logs to the logs in force in `live`, and counts as `worker`.
    pub fn new(live: Arc<Live>, worker: Arc<Worker>) -> Self {
        Self { live, worker }
    }
}

impl Refusals for ParserRefusals {
    fn response(&self, status: u16, connection: &ConnectionInfo) -> Vec<u8> {
        let problem = Problem::from_status(status);
        let (id, status, title) = (RequestId::next(), problem.status(), problem.title());
        let page = problem.page(id, false);
        let generation = self.live.load();
        let log = if connection.tls.is_some() { &generation.logs.https } else { &generation.logs.http };
        log.record(&Entry {
            client: connection.peer.ip(),
            id,
            user: None,
            time: SystemTime::now(),
            duration: Duration::ZERO,
            backend: None,
            secure: connection.tls.is_some(),
            // Nobody knows which site it was for.
            site: None,
            route: Route::Malformed.token(),
            cache: None,
            // What could not be parsed is not quoted: it may be anything, an address included.
            method: "-",
            target: b"-",
            version: "-",
            status,
            bytes: page.len(),
            referer: None,
            user_agent: None,
        });
        generation.site(0).metrics.record(
            &self.worker,
            &Request {
                route: Route::Malformed,
                protocol: Protocol::of(http::Version::HTTP_11, connection.tls.is_some()),
                status,
                bytes_in: 0,
                bytes_out: page.len() as u64,
                compression: None,
                took: None,
                spent: &Spent::default(),
            },
        );
        format!(
            "HTTP/1.1 {status} {title}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n{page}",
            page.len()
        )
        .into_bytes()
    }
}
