//! HTTP for talking to CAs, with an end to every wait.
//!
//! instant-acme brings the protocol and leaves HTTP to its user. A request here is a connection of its own: there are
//! a dozen of them in sixty days.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::answer::{self, Heard};
use super::clock::Time;
use super::failure::{Failure, is};
use super::settings::Timings;
use crate::config::without_url_secrets;
use crate::tls::roots;

/// A chain, an order, a directory: the largest of them has a few kilobytes.
const LARGEST: usize = 1024 * 1024;
/// RFC 8555 section 6.1 wants the client to be named.
const AGENT: &str = concat!("farmgate/", env!("CARGO_PKG_VERSION"), " (https://guix.gnu.org)");

/// A client for one CA.
#[derive(Clone)]
pub(super) struct Http {
    tls: Arc<ClientConfig>,
    timings: Timings,
    heard: Arc<Mutex<Heard>>,
    terms: Arc<Mutex<Option<String>>>,
}

impl Http {
    /// A client that trusts the roots in `ca_file`, or the system's. A file that cannot be read trusts nobody.
    pub(super) fn new(ca_file: Option<&Path>, timings: &Timings) -> Result<Self, Failure> {
        let roots = match ca_file {
            Some(path) => roots::of(path).map_err(|why| Failure::us(format!("acme.ca_file {why}")))?,
            None => roots::system().map_err(Failure::us)?,
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::us(format!("TLS: {error}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            tls: Arc::new(tls),
            timings: timings.clone(),
            heard: Arc::default(),
            terms: Arc::default(),
        })
    }

    /// What the last answer said beside.
    pub(super) fn heard(&self) -> Heard {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The terms of service that the CA's directory names.
    pub(super) fn terms_of_service(&self) -> Option<String> {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the CA answered, or that it did not, while we were `doing` something.
    pub(super) fn failed(&self, doing: &str, error: &Error) -> Failure {
        let heard = self.heard();
        let busy = heard.status == 429 || heard.status == 503 || is(error, "rateLimited");
        // RFC 8555 section 6.6: it says when to come back. One that does not is left alone for an hour.
        let wait = heard.retry_after.or_else(|| (heard.status == 429).then_some(Duration::from_secs(3600)));
        Failure::of(doing, error).retry_after(wait.filter(|_| busy))
    }

    async fn exchange(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let method = request.method().clone();
        let host = request.uri().host().unwrap_or_default().to_owned();
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Heard::default();
        let answer = timeout(self.timings.request, self.send(request))
            .await
            .unwrap_or_else(|_| Err(other(format!("no answer in {:?}", self.timings.request))))
            .map_err(|error| other(format!("{host}: {error}")))?;
        let (mut parts, body) = answer.into_parts();
        let heard = answer::read_headers(&mut parts.headers, parts.status, &method);
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = heard;
        let body = answer::read_body(&method, &mut parts, body).map_err(|error| match error {
            Error::Api(_) => error,
            why => other(format!("{host}: {why}")),
        })?;
        if let Some(terms) = answer::terms_of_service(&body).filter(|_| method == Method::GET) {
            *self.terms.lock().unwrap_or_else(PoisonError::into_inner) = Some(terms);
        }
        Ok(BytesResponse { parts, body: Box::new(body) })
    }

    async fn send(&self, request: Request<BodyWrapper<Bytes>>) -> Result<Response<Bytes>, Error> {
        let uri = request.uri().clone();
        if uri.scheme_str() != Some("https") {
            return Err(other(format!(
                "expected an https URL, it gave {} (RFC 8555 section 6.1)",
                without_url_secrets(&uri.to_string())
            )));
        }
        let host = uri.host().unwrap_or_default();
        let bare = host.trim_matches(['[', ']']).to_owned();
        let stream = connect(&bare, uri.port_u16().unwrap_or(443), self.timings.connect).await?;
        let name = ServerName::try_from(bare).map_err(other)?;
        let tls = TlsConnector::from(self.tls.clone()).connect(name, stream);
        let stream = timeout(self.timings.connect, tls)
            .await
            .map_err(|_| other("TLS: no answer"))?
            .map_err(|error| tls_failed(&error))?;
        let (mut parts, body) = request.into_parts();
        parts.headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let body = body.collect().await.map_or_else(|never| match never {}, |body| body.to_bytes());
        exchange_on(stream, &uri, Request::from_parts(parts, Full::new(body))).await
    }
}

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(self.clone().exchange(request))
    }
}

/// Fetches `path` from `host` at `address` over plain HTTP, and follows nothing.
pub(super) async fn get_plain(
    host: &str,
    address: std::net::SocketAddr,
    path: &str,
    patience: Duration,
) -> Result<(StatusCode, Bytes), Error> {
    let fetch = async {
        let stream = TcpStream::connect(address).await.map_err(other)?;
        let uri: Uri = format!("http://{host}{path}").parse()?;
        let request = Request::get(uri.clone()).header(USER_AGENT, AGENT).body(Full::new(Bytes::new()))?;
        let (parts, body) = exchange_on(stream, &uri, request).await?.into_parts();
        Ok((parts.status, body))
    };
    timeout(patience, fetch).await.unwrap_or_else(|_| Err(other("no answer")))
}

async fn exchange_on(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    uri: &Uri,
    mut request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, Error> {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    request.headers_mut().insert(HOST, HeaderValue::from_str(authority).map_err(other)?);
    *request.uri_mut() =
        uri.path_and_query().map_or_else(|| Ok(Uri::from_static("/")), |path| path.as_str().parse())?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(other)?;
    // Driven beside the request, and dropped with it when the time is up.
    let connection = async {
        let _ = connection.await;
        std::future::pending::<()>().await
    };
    let exchange = async {
        let (parts, body) = sender.send_request(request).await.map_err(other)?.into_parts();
        let body = Limited::new(body, LARGEST).collect().await.map_err(other)?.to_bytes();
        Ok(Response::from_parts(parts, body))
    };
    tokio::select! {
        answer = exchange => answer,
        () = connection => Err(other("the connection ended")),
    }
}

/// Tries the addresses of `host` in turn, each with a share of patience: a broken IPv6 must not use all of it up.
async fn connect(host: &str, port: u16, patience: Duration) -> Result<TcpStream, Error> {
    let addresses = timeout(patience, tokio::net::lookup_host((host, port)))
        .await
        .map_err(|_| other("its name could not be resolved in time"))?
        .map_err(|error| other(format!("its name could not be resolved: {error}")))?;
    let mut last = other("it has no address");
    for address in addresses.take(4) {
        match timeout(patience / 2, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = other(format!("{address}: {error}")),
            Err(_) => last = other(format!("{address}: no answer")),
        }
    }
    Err(last)
}

/// A certificate that is out of date is more often a clock that is.
fn tls_failed(error: &io::Error) -> Error {
    use rustls::CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(
            Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. },
        )) => other(format!(
            "its own certificate is not valid at {}, which is what this machine's clock says: set the clock, or have \
             the CA renew it",
            Time::now()
        )),
        _ => other(format!("TLS: {error}")),
    }
}

fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Other(error.into())
}
