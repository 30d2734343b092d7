//! Spans to an OpenTelemetry collector, by OTLP over HTTP: only in a build with the feature `otlp`, and only where the standard
//! variables name a collector.
//!
//! Requests hand a finished span to a queue and never wait: a full queue drops. A thread of the SDK's own sends what is in it
//! in batches, and waits for the collector in their place. What goes out are the spans of `FARMGATE_LOG=debug`, with their
//! fields and nothing else: no event, whose words are for people, no address.

use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, SdkTracer, SdkTracerProvider, Span, SpanData, SpanProcessor,
};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tracing::{Subscriber, warn};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

/// Either of these names the collector.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// For one batch, from the connection to the last byte of the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// For what is left when the gate ends.
const LAST_PATIENCE: Duration = Duration::from_secs(5);
/// A collector's answer says how many spans it refused, if that.
const LARGEST_ANSWER: usize = 64 * 1024;

/// Sends spans for as long as it is there; what is left when it goes.
#[derive(Debug)]
pub(super) struct Export(SdkTracerProvider);

impl Export {
    /// Where the environment names no collector there is nothing to do.
    ///
    /// # Errors
    ///
    /// Where what it says cannot be done.
    pub(super) fn of_environment() -> Result<Option<Self>, String> {
        let is_named = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let Some(variable) = ENDPOINTS.iter().find(|name| is_named(name)) else { return Ok(None) };
        if std::env::var("OTEL_SDK_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let failed = |error: &dyn fmt::Display| format!("{variable}: no spans are sent: {error}");
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Client::new().map_err(|error| failed(&error))?)
            .build()
            .map_err(|error| failed(&error))?;
        let resource = Resource::builder();
        let resource = match std::env::var_os("OTEL_SERVICE_NAME") {
            Some(_) => resource,
            None => resource.with_service_name("farmgate"),
        };
        // Queue, batch and interval are the standard's, which its variables change (OTEL_BSP_…).
        let provider = SdkTracerProvider::builder()
            .with_span_processor(FromFirstSpan::to(exporter))
            .with_resource(resource.build())
            .build();
        Ok(Some(Self(provider)))
    }

    /// What sees the spans.
    pub(super) fn layer<S: Subscriber + for<'s> LookupSpan<'s>>(&self) -> impl Layer<S> + use<S> {
        OpenTelemetryLayer::<S, SdkTracer>::new(self.0.tracer("farmgate"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(|span| span.is_span() && span.target().starts_with("farmgate")))
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(LAST_PATIENCE) {
            warn!("the last spans were not sent: {error}");
        }
    }
}

/// Starts the SDK's thread with the first span that ends. That is a request's, so it ends on a worker, and a thread of a
/// worker's is under Landlock as the worker is. Logging begins before that is in force: a thread that began then would
/// stay outside.
#[derive(Debug)]
struct FromFirstSpan {
    started: OnceLock<Option<BatchSpanProcessor>>,
    waiting: Mutex<Option<SpanExporter>>,
    resource: Resource,
}

impl FromFirstSpan {
    fn to(exporter: SpanExporter) -> Self {
        let resource = Resource::builder_empty().build();
        Self { started: OnceLock::new(), waiting: Mutex::new(Some(exporter)), resource }
    }

    fn started(&self) -> Option<&BatchSpanProcessor> {
        let start = || {
            // Asked once, and then it is there.
            let exporter = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take()?;
            let mut processor = BatchSpanProcessor::builder(exporter).build();
            processor.set_resource(&self.resource);
            Some(processor)
        };
        self.started.get_or_init(start).as_ref()
    }
}

impl SpanProcessor for FromFirstSpan {
    fn on_start(&self, _: &mut Span, _: &opentelemetry::Context) {}

    fn on_end(&self, span: SpanData) {
        if let Some(started) = self.started() {
            started.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.started.get().and_then(Option::as_ref).map_or(Ok(()), SpanProcessor::force_flush)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.started
            .get()
            .and_then(Option::as_ref)
            .map_or(Ok(()), |started| started.shutdown_with_timeout(timeout))
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.clone();
    }
}

/// Sends one batch after the other, each on a connection of its own.
///
/// The SDK's thread is no thread of a runtime, and has nothing else to do: it may wait.
struct Client(Runtime);

impl Client {
    fn new() -> std::io::Result<Self> {
        tokio::runtime::Builder::new_current_thread().enable_all().build().map(Self)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        self.0.block_on(async { tokio::time::timeout(PATIENCE, send(request)).await })?
    }
}

async fn send(request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let uri = request.uri().clone();
    let (Some("http"), Some(host)) = (uri.scheme_str(), uri.host()) else {
        return Err(format!(
            "expected an http URL, found {uri}: a collector near the gate takes TLS from there"
        )
        .into());
    };
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), uri.port_u16().unwrap_or(80))).await?;
    let (mut parts, body) = request.into_parts();
    if let Some(authority) = uri.authority() {
        parts.headers.insert(http::header::HOST, authority.as_str().parse()?);
    }
    parts.uri = uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let answer = sender.send_request(Request::from_parts(parts, Full::new(body))).await?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, LARGEST_ANSWER).collect().await?.to_bytes();
        Ok::<_, HttpError>(Response::from_parts(parts, body))
    };
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = connection => {
            ended?;
            exchange.await
        }
    }
}
