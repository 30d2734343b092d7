//! Worker threads: one per core, each a small server of its own.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use pingora::server::ShutdownWatch;
use rustls::ServerConfig;
use tokio::sync::watch;
use tracing::error;

use super::watchdog::Watchdog;
use crate::acme::Challenges;
use crate::cache::Cache;
use crate::limits::Limiter;
use crate::listen::{Acceptor, Caps, Limits, Protocol, Refusals};
use crate::metrics::{Metrics, Worker};
use crate::page::Page;
use crate::process;
use crate::proxy::{Gatekeeper, Live, ParserRefusals};

/// Threads of a worker that wait for the disk. Each keeps some memory, and a disk has no use for the engine's 512.
const BLOCKING_THREADS: usize = 16;

/// What all workers share.
pub(super) struct Shared {
    pub live: Arc<Live>,
    pub tls: Arc<ServerConfig>,
    pub caps: Arc<Caps>,
    pub limiter: Arc<Limiter>,
    pub cache: Arc<Cache>,
    pub challenges: Arc<Challenges>,
    pub metrics: Arc<Metrics>,
    pub page: Arc<Page>,
    pub watchdog: Arc<Watchdog>,
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
        if shared.watchdog.period().is_some() {
            let watchdog = shared.watchdog.clone();
            runtime.spawn(async move { watchdog.beat(number).await });
        }
        runtime.block_on(work(shared, worker, sockets, shutdown, end));
    })
}

async fn work(
    shared: Arc<Shared>,
    worker: Arc<Worker>,
    sockets: Sockets,
    shutdown: ShutdownWatch,
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
                idle: config.timeouts.idle,
                requests: limits.connection_requests,
                age: limits.connection_age,
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
    let _ = end.wait_for(|end| *end).await;
}

fn gatekeeper(shared: &Shared, worker: Arc<Worker>) -> Gatekeeper {
    let (live, cache, challenges) = (shared.live.clone(), shared.cache.clone(), shared.challenges.clone());
    Gatekeeper::new(live, cache, shared.limiter.clone(), challenges, shared.page.clone(), worker)
}
