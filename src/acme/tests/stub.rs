//! A small CA that has what Debian's Pebble has not (renewal information, profiles), and misbehaves on demand. It
//! validates nothing, and takes every signature for good.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PublicKeyData, SignatureAlgorithm};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use super::super::settings::Directory;
use super::support::{directory, server_identity};

/// What it does differently from a good CA, and what it was asked.
#[derive(Default)]
pub struct Script {
    /// Answers nothing at all.
    pub hangs: bool,
    /// Answers everything with this: status, header lines, body.
    pub answers: Option<(u16, String, String)>,
    /// Answers what is asked below this path with this: status, header lines, body.
    pub answers_at: Option<(&'static str, u16, String, String)>,
    /// Never comes to the end of what it answers.
    pub floods: Option<Flood>,
    /// Answers new orders with this problem: status, type, header lines.
    pub refuses_orders: Option<(u16, &'static str, String)>,
    /// Refuses orders that replace a certificate with this.
    pub refuses_replaces: Option<(u16, &'static str)>,
    /// Takes orders that replace a certificate without saying so.
    pub forgets_replaces: bool,
    /// Offers renewal information: start and end in seconds from now, and the header line with it.
    pub window: Option<(i64, i64, &'static str)>,
    /// Knows no account but new ones.
    pub forgets_accounts: bool,
    /// The profiles that are offered.
    pub profiles: Vec<&'static str>,
    /// Leaves orders in processing.
    pub stuck: bool,
    /// How long certificates are good for, and how long they have been already.
    pub validity: Option<(Duration, Duration)>,
    /// Leaves this name out of certificates.
    pub leaves_out: Option<String>,
    /// Its clock, in seconds from ours.
    pub clock: i64,
    /// The terms of service that its directory names.
    pub terms: Option<String>,
    /// Its certificates are not what they should be.
    pub spoils: Option<Spoil>,
    /// Fails the challenge in the answer to it.
    pub fails_challenges: bool,
    /// Makes no account that nobody can be written to about.
    pub insists_on_contact: bool,
    /// Looks in vain once, and waits to be asked to look again (RFC 8555 section 8.2).
    pub misses_first_look: bool,
    /// The status of the answers that are for a nonce alone.
    pub nonce_status: Option<u16>,
    /// In the directory, in place of the URL for nonces.
    pub new_nonce: Option<String>,
    /// Says this at the end of each order's answer.
    pub retry_after: Option<String>,

    /// The payloads of new orders that were taken.
    pub orders: Vec<Value>,
    /// The payloads of those that were not.
    pub refused: Vec<Value>,
    /// The keys that accounts were wanted for, whatever came of it.
    pub keys: Vec<Value>,
    /// How often it was asked to look.
    pub looks: usize,
    /// Accounts made.
    pub accounts: Vec<Value>,
    /// Certificates that somebody asked renewal information for.
    pub asked: Vec<String>,
    state: HashMap<usize, (&'static str, String)>,
}

/// How an answer can be without an end.
#[derive(Clone, Copy, Debug)]
pub enum Flood {
    Header,
    Fields,
    Body,
    Drip,
}

/// How a certificate can be useless.
#[derive(Clone, Copy, Debug)]
pub enum Spoil {
    NoPem,
    NoDer,
    AnotherKey,
    Nothing,
}

pub struct Stub {
    script: Arc<Mutex<Script>>,
    folder: TempDir,
    port: u16,
    _runtime: tokio::runtime::Runtime,
}

impl Stub {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let identity = server_identity();
        fs::write(folder.path().join("root.pem"), &identity.root).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(identity.chain.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let tls = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let script: Arc<Mutex<Script>> = Arc::default();
        let ca = Arc::new(Ca::new(port, script.clone()));
        runtime.spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (tls, ca) = (tls.clone(), ca.clone());
                tokio::spawn(async move {
                    if ca.script().hangs {
                        return tokio::time::sleep(Duration::from_secs(600)).await;
                    }
                    let Ok(mut stream) = tls.accept(stream).await else { return };
                    let mut request = Vec::new();
                    let (head, length) = loop {
                        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                            return;
                        }
                        if let Some(end) = request.windows(4).position(|end| end == b"\r\n\r\n") {
                            let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
                            let length = head.split("content-length: ").nth(1).map_or(0, |rest| {
                                rest.lines().next().unwrap_or_default().trim().parse().unwrap_or(0)
                            });
                            break (end + 4, length);
                        }
                    };
                    while request.len() < head + length {
                        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    let flood = ca.script().floods;
                    if let Some(flood) = flood {
                        return flow(stream, flood).await;
                    }
                    let text = String::from_utf8_lossy(&request[..head]).into_owned();
                    let mut words = text.split(' ');
                    let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
                    let answer = ca.answer(method, path, &request[head..]);
                    let _ = stream.write_all(answer.as_bytes()).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        Self { script, folder, port, _runtime: runtime }
    }

    pub fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }

    pub fn directory(&self) -> Directory {
        directory(format!("https://localhost:{}/dir", self.port), &self.root())
    }
}

struct Ca {
    base: String,
    script: Arc<Mutex<Script>>,
    issuer: Issuer<'static, KeyPair>,
    root: String,
}

impl Ca {
    fn new(port: u16, script: Arc<Mutex<Script>>) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap().pem();
        Self { base: format!("https://localhost:{port}"), script, issuer: Issuer::new(params, key), root }
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    fn answer(&self, method: &str, path: &str, body: &[u8]) -> String {
        let mut script = self.script();
        if let Some((status, headers, body)) = &script.answers {
            return response(*status, headers, body);
        }
        let jws: Value = serde_json::from_slice(body).unwrap_or_default();
        let payload = decode(&jws["payload"]);
        let protected = decode(&jws["protected"]);
        if path == "/account" {
            script.keys.push(protected["jwk"].clone());
        }
        if let Some((below, status, headers, body)) = &script.answers_at
            && path.starts_with(below)
        {
            return response(*status, headers, body);
        }
        let seconds = script.clock;
        let clock = SystemTime::now();
        let moved = Duration::from_secs(seconds.unsigned_abs());
        let clock = if seconds < 0 { clock - moved } else { clock + moved };
        let headers = format!("Date: {}\r\nReplay-Nonce: n\r\n", httpdate::fmt_http_date(clock));
        let base = &self.base;
        let problem = |status: u16, kind: &str, more: &str| {
            let body = json!({ "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": "as the test wants it",
                               "status": status });
            response(status, &format!("{headers}{more}"), &body.to_string())
        };
        let mut parts = path.trim_start_matches('/').split('/');
        let (what, id) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let number: usize = id.parse().unwrap_or(0);
        let known = protected["kid"].as_str().and_then(|kid| kid.rsplit('/').next()?.parse::<usize>().ok());
        if method == "POST"
            && what != "account"
            && script.forgets_accounts
            && known.is_none_or(|known| known < 2)
        {
            return problem(400, "accountDoesNotExist", "");
        }
        match what {
            "dir" => {
                let mut directory = json!({
                    "newNonce": script.new_nonce.clone().unwrap_or(format!("{base}/nonce")),
                    "newAccount": format!("{base}/account"), "newOrder": format!("{base}/order"),
                    "revokeCert": format!("{base}/revoke"), "keyChange": format!("{base}/key"),
                });
                if script.window.is_some() {
                    directory["renewalInfo"] = json!(format!("{base}/renewal"));
                }
                let profiles: HashMap<_, _> = script.profiles.iter().map(|name| (*name, "a kind")).collect();
                directory["meta"] = json!({ "profiles": profiles, "termsOfService": script.terms });
                response(200, &headers, &directory.to_string())
            }
            "nonce" => response(script.nonce_status.unwrap_or(200), &headers, ""),
            "account" => {
                if script.insists_on_contact && payload["contact"].as_array().is_none_or(Vec::is_empty) {
                    return problem(400, "invalidContact", "");
                }
                script.accounts.push(payload);
                let location = format!("{headers}Location: {base}/acct/{}\r\n", script.accounts.len());
                response(201, &location, r#"{"status":"valid"}"#)
            }
            "acct" => response(200, &headers, r#"{"status":"valid"}"#),
            "order" if id.is_empty() => {
                if let Some((status, kind, more)) = script.refuses_orders.clone() {
                    script.refused.push(payload);
                    return problem(status, kind, &more);
                }
                if let Some((status, kind)) =
                    script.refuses_replaces.filter(|_| !payload["replaces"].is_null())
                {
                    script.refused.push(payload);
                    return problem(status, kind, "");
                }
                script.orders.push(payload);
                let number = script.orders.len();
                script.state.insert(number, ("pending", String::new()));
                let location = format!("{headers}Location: {base}/order/{number}\r\n");
                response(201, &location, &self.order(&script, number).to_string())
            }
            "order" => {
                let more = script.retry_after.as_ref().map(|line| format!("{line}\r\n")).unwrap_or_default();
                response(200, &format!("{headers}{more}"), &self.order(&script, number).to_string())
            }
            "authz" => {
                let name = &script.orders[number - 1]["identifiers"]
                    [parts.next().unwrap().parse::<usize>().unwrap()];
                let status = match script.state[&number].0 {
                    of_order @ ("pending" | "invalid") => of_order,
                    _ => "valid",
                };
                let mut challenge = json!({ "type": "http-01", "url": format!("{base}/challenge/{number}"),
                                            "token": format!("token-{number}-{}", name["value"].as_str().unwrap().len()),
                                            "status": status });
                if status == "invalid" || status == "pending" && script.misses_first_look && script.looks > 0
                {
                    challenge["status"] = json!(if status == "invalid" { "invalid" } else { "processing" });
                    challenge["error"] = failed_look();
                }
                let body = json!({ "status": status, "identifier": name, "challenges": [challenge] });
                response(200, &headers, &body.to_string())
            }
            "challenge" => {
                script.looks += 1;
                let mut body = json!({ "type": "http-01", "url": "x", "token": "t", "status": "processing" });
                if script.fails_challenges {
                    script.state.insert(number, ("invalid", String::new()));
                    body["status"] = json!("invalid");
                    body["error"] = failed_look();
                } else if script.misses_first_look && script.looks == 1 {
                    body["error"] = failed_look();
                } else {
                    script.state.insert(number, ("ready", String::new()));
                }
                response(200, &headers, &body.to_string())
            }
            "finalize" => {
                let request = BASE64_URL_SAFE_NO_PAD.decode(payload["csr"].as_str().unwrap()).unwrap();
                let chain = match script.spoils {
                    None => self.issue(&script, &script.orders[number - 1], &request),
                    Some(Spoil::Nothing) => "\n".into(),
                    Some(Spoil::NoPem) => "<html>your certificate</html>".into(),
                    Some(Spoil::NoDer) => {
                        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".into()
                    }
                    Some(Spoil::AnotherKey) => server_identity().chain,
                };
                script.state.insert(number, ("valid", chain));
                response(200, &headers, &self.order(&script, number).to_string())
            }
            "certificate" => response(200, &headers, &script.state[&number].1),
            "renewal" => {
                script.asked.push(id.to_owned());
                let (start, end, more) = script.window.unwrap();
                let at = |seconds: i64| {
                    super::super::Time::from_unix(super::super::Time::now().unix() + seconds).to_string()
                };
                let body = json!({ "suggestedWindow": { "start": at(start), "end": at(end) } });
                response(200, &format!("{headers}{more}"), &body.to_string())
            }
            _ => problem(404, "malformed", ""),
        }
    }

    fn order(&self, script: &Script, number: usize) -> Value {
        let Some((status, chain)) = script.state.get(&number) else { return json!({}) };
        let base = &self.base;
        let order = &script.orders[number - 1];
        let names = order["identifiers"].as_array().unwrap().len();
        let status = if script.stuck && !chain.is_empty() { "processing" } else { status };
        let mut body = json!({
            "status": status, "identifiers": order["identifiers"], "finalize": format!("{base}/finalize/{number}"),
            "authorizations": (0..names).map(|at| format!("{base}/authz/{number}/{at}")).collect::<Vec<_>>(),
        });
        if status == "valid" {
            body["certificate"] = json!(format!("{base}/certificate/{number}"));
        }
        if !script.forgets_replaces && !order["replaces"].is_null() {
            body["replaces"] = order["replaces"].clone();
        }
        body
    }

    fn issue(&self, script: &Script, order: &Value, request: &[u8]) -> String {
        let (_, request) = X509CertificationRequest::from_der(request).unwrap();
        let key = &request.certification_request_info.subject_pki;
        let names = order["identifiers"].as_array().unwrap().iter();
        let names: Vec<String> = names
            .map(|name| name["value"].as_str().unwrap().to_owned())
            .filter(|name| Some(name) != script.leaves_out.as_ref())
            .collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.use_authority_key_identifier_extension = true;
        let (length, age) = script.validity.unwrap_or((Duration::from_secs(90 * 86_400), Duration::ZERO));
        params.not_before = (SystemTime::now() - age).into();
        params.not_after = (SystemTime::now() - age + length).into();
        let public = Public(key.subject_public_key.data.to_vec());
        params.signed_by(&public, &self.issuer).unwrap().pem() + &self.root
    }
}

/// A P-256 key from a request.
struct Public(Vec<u8>);

impl PublicKeyData for Public {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

/// Sends the beginning of a directory, and then more and more of it.
async fn flow(mut stream: impl AsyncWriteExt + Unpin, flood: Flood) {
    let (head, more, pause) = match flood {
        Flood::Header => ("HTTP/1.1 200 OK\r\nX-Long: ", "x".repeat(64 * 1024), Duration::ZERO),
        Flood::Fields => ("HTTP/1.1 200 OK\r\n", "X-Again: and again\r\n".repeat(1000), Duration::ZERO),
        Flood::Body => ("HTTP/1.1 200 OK\r\n\r\n{\"newNonce\":\"", "x".repeat(64 * 1024), Duration::ZERO),
        Flood::Drip => ("HTTP/1.1 200 OK\r\n\r\n{", " ".into(), Duration::from_millis(20)),
    };
    let mut sent = stream.write_all(head.as_bytes()).await;
    while sent.is_ok() {
        sent = stream.write_all(more.as_bytes()).await;
        tokio::time::sleep(pause).await;
    }
}

fn failed_look() -> Value {
    json!({ "type": "urn:ietf:params:acme:error:connection", "detail": "nobody answered" })
}

fn decode(part: &Value) -> Value {
    let bytes = part.as_str().and_then(|text| BASE64_URL_SAFE_NO_PAD.decode(text).ok());
    bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

fn response(status: u16, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} X\r\n{headers}Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
