//! The listener that Prometheus and load balancers ask: `/metrics`, `/healthz`, `/readyz`.
//!
//! It is not for the public, and is no part of what is public: it has a listener, a thread's time and limits of its
//! own, so that it answers while the gate is full, and stays up until the last connection is done.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::{Metrics, Phase, exposition};

/// How the answer of `/readyz` begins from SIGTERM on.
pub const STOPPING: &str = "stopping";
/// Those that ask at the same time; further ones wait until there is room.
const CONNECTIONS: usize = 16;
/// For a connection, from its first byte to its last. Each has one request.
const PATIENCE: Duration = Duration::from_secs(10);
/// A request of Prometheus has some hundred bytes.
const LARGEST_HEAD: usize = 8 * 1024;
/// How long to pause when the process has no file descriptors left.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(50);

/// Answers on `listener`, which does not block, until dropped.
pub async fn serve(listener: TcpListener, metrics: Arc<Metrics>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let answers = Arc::new(Answers { metrics, scrapes: Arc::new(Semaphore::new(1)) });
    loop {
        // The semaphore is never closed.
        let Ok(place) = room.clone().acquire_owned().await else { return Ok(()) };
        match listener.accept().await {
            Ok((tcp, _)) => {
                let answers = answers.clone();
                tokio::spawn(async move {
                    if timeout(PATIENCE, converse(tcp, answers)).await.is_err() {
                        debug!("metrics: a client took too long");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                warn!("metrics: cannot accept connections: {error}; trying again");
                tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
            }
        }
    }
}

async fn converse(tcp: TcpStream, answers: Arc<Answers>) {
    let service = service_fn(move |request| {
        let answers = answers.clone();
        async move { Ok::<_, Infallible>(answers.answer(&request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(LARGEST_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(tcp), service)
        .await;
    if let Err(error) = served {
        debug!("metrics: {error}");
    }
}

struct Answers {
    metrics: Arc<Metrics>,
    /// One at a time: a scrape that hangs, as a file system may, should not collect a thread for each that follows.
    scrapes: Arc<Semaphore>,
}

impl Answers {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        const TEXT: &str = "text/plain; charset=utf-8";
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET and HEAD only\n".into());
        }
        match request.uri().path() {
            "/metrics" => match self.scrape().await {
                Some(text) => response(StatusCode::OK, exposition::CONTENT_TYPE, text),
                None => response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "no metrics\n".into()),
            },
            "/healthz" => response(StatusCode::OK, TEXT, "alive\n".into()),
            "/readyz" => {
                let (status, text) = self.readiness();
                response(status, TEXT, text)
            }
            _ => response(StatusCode::NOT_FOUND, TEXT, "/metrics, /healthz, /readyz\n".into()),
        }
    }

    async fn scrape(&self) -> Option<String> {
        let turn = self.scrapes.clone().acquire_owned().await.ok()?;
        let metrics = self.metrics.clone();
        let text = tokio::task::spawn_blocking(move || {
            let text = exposition::text(&metrics);
            drop(turn);
            text
        });
        text.await.ok()?.ok()
    }

    fn readiness(&self) -> (StatusCode, String) {
        match self.metrics.phase() {
            Phase::Serving => (StatusCode::OK, "ready\n".into()),
            Phase::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting: not serving yet\n".into()),
            Phase::Stopping => {
                let left = self.metrics.surroundings().map_or(0, |around| around.open_connections());
                let text = format!("{STOPPING}: no new connections, {left} to finish\n");
                (StatusCode::SERVICE_UNAVAILABLE, text)
            }
        }
    }
}

fn response(status: StatusCode, content_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
    }
    response
}
