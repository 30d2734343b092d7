//! Worker threads: one per core, each a small server of its own.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use pingora::apps::{HttpServerApp, HttpServerOptions};
use pingora::protocols::http::v2::server::H2Options;
use pingora::server::ShutdownWatch;
use rustls::ServerConfig;
use tokio::sync::watch;
use tracing::error;

use crate::acme::Challenges;
use crate::cache::Cache;
use crate::listen::{Acceptor, Caps, Limits, Protocol, Refusals};
use crate::metrics::{Metrics, Worker};
use crate::page::Page;
use crate::process;
use crate::proxy::{ConnectionOptions, Gatekeeper, Live, ParserRefusals};

/// Threads of a worker that wait for the disk. Each keeps some memory, and a disk has no use for the engine's 512.
const BLOCKING_THREADS: usize = 16;
/// A connection that has carried this many requests is closed in good order, and its memory given back.
const REQUESTS_PER_CONNECTION: u32 = 100_000;
/// A stream's share of what may be on its way to us; request bodies are small (RFC 9113 section 6.9.2).
const HTTP2_WINDOW: u32 = 64 * 1024;
/// What may wait to be sent to one slow HTTP/2 stream.
const HTTP2_SEND_BUFFER: usize = 256 * 1024;

/// What all workers share.
pub(super) struct Shared {
    pub live: Arc<Live>,
    pub tls: Arc<ServerConfig>,
    pub caps: Arc<Caps>,
    pub cache: Arc<Cache>,
    pub challenges: Arc<Challenges>,
    pub metrics: Arc<Metrics>,
    pub page: Arc<Page>,
}

/// The sockets of one worker.
#[derive(Default)]
pub(super) struct Sockets {
    pub http: Vec<TcpListener>,
    pub https: Vec<TcpListener>,
}

/// Starts a worker. It stops accepting when `shutdown` turns true, and ends when `end` does.
pub(super) fn start(
    number: usize,
    shared: Arc<Shared>,
    sockets: Sockets,
    shutdown: ShutdownWatch,
    end: watch::Receiver<bool>,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = match runtime.enable_all().max_blocking_threads(BLOCKING_THREADS).build() {
            Ok(runtime) => runtime,
            Err(error) => return error!("worker {number} cannot start: {error}"),
        };
        let worker = shared.metrics.worker(number);
        runtime.block_on(work(shared, worker, sockets, shutdown, end));
    })
}

async fn work(
    shared: Arc<Shared>,
    worker: Arc<Worker>,
    sockets: Sockets,
    mut shutdown: ShutdownWatch,
    mut end: watch::Receiver<bool>,
) {
    let app = Arc::new(gatekeeper(&shared, worker.clone()));
    let limits: Arc<dyn Fn() -> Limits + Send + Sync> = {
        let live = shared.live.clone();
        Arc::new(move || {
            let config = &live.load().config;
            let limits = &config.limits;
            Limits {
                // Not more than there are files for: those that are served need theirs for the backend.
                connections: limits.connections.min(process::connections_at_most()),
                per_client: limits.connections_per_client,
                header_timeout: limits.header_timeout,
                send_timeout: config.timeouts.send.max(config.timeouts.nar),
            }
        })
    };
    let refusals: Arc<dyn Refusals> = Arc::new(ParserRefusals::new(shared.live.clone(), worker.clone()));
    let plain = sockets.http.into_iter().map(|socket| (socket, Protocol::Http));
    let tls = sockets.https.into_iter().map(|socket| (socket, Protocol::Https(shared.tls.clone())));
    for (socket, protocol) in plain.chain(tls) {
        let acceptor = Acceptor {
            app: app.clone(),
            protocol,
            caps: shared.caps.clone(),
            limits: limits.clone(),
            refusals: refusals.clone(),
            worker: worker.clone(),
        };
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            if let Err(error) = acceptor.run(socket, shutdown).await {
                error!("a socket is no longer served: {error}");
            }
        });
    }
    // A closed channel means that the main thread is gone; either way it is time.
    let _ = shutdown.wait_for(|down| *down).await;
    // Idle connections are closed; busy ones finish what they have.
    app.http_cleanup().await;
    let _ = end.wait_for(|end| *end).await;
}

fn gatekeeper(shared: &Shared, worker: Arc<Worker>) -> Gatekeeper {
    let mut server = HttpServerOptions::default();
    server.keepalive_request_limit = Some(REQUESTS_PER_CONNECTION);
    server.h2_idle_timeout = Some(shared.live.load().config.timeouts.idle);
    let options = ConnectionOptions { server, http2: http2_options() };
    let (live, cache, challenges) = (shared.live.clone(), shared.cache.clone(), shared.challenges.clone());
    Gatekeeper::new(live, cache, challenges, shared.page.clone(), worker, options)
}

fn http2_options() -> H2Options {
    let mut options = H2Options::default();
    options
        .max_header_list_size(64 * 1024)
        .max_concurrent_streams(100)
        .initial_window_size(HTTP2_WINDOW)
        .max_send_buffer_size(HTTP2_SEND_BUFFER);
    options
}
