//! TLS clients: any version, any ALPN, any client certificate (version 1 too), with or without a session to resume.

use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
    SupportedProtocolVersion,
};

use super::http1::{Connection, prepare};
use super::pki::Identity;

/// One client: connections made by the same one share its session store.
#[derive(Clone)]
pub struct TlsClient {
    config: ClientConfig,
    /// `None`: no SNI.
    sni: bool,
}

impl Default for TlsClient {
    fn default() -> Self {
        TlsClient::new(aws_lc_rs::default_provider(), rustls::ALL_VERSIONS)
    }
}

impl TlsClient {
    pub fn new(provider: CryptoProvider, versions: &[&'static SupportedProtocolVersion]) -> Self {
        let provider = Arc::new(provider);
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .expect("versions with suites")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unverified(provider)))
            .with_no_client_auth();
        TlsClient { config, sni: true }
    }

    pub fn only(version: &'static SupportedProtocolVersion) -> Self {
        TlsClient::new(aws_lc_rs::default_provider(), &[version])
    }

    /// What it shows when asked for a certificate.
    pub fn identity(mut self, identity: &Identity) -> Self {
        let chain: Vec<CertificateDer<'static>> = identity.chain_der();
        let key = PrivateKeyDer::from_pem_file(&identity.key).expect("a key");
        let key = aws_lc_rs::sign::any_supported_type(&key).expect("a key of a known kind");
        self.config.client_auth_cert_resolver = Arc::new(Show(Arc::new(CertifiedKey::new(chain, key))));
        self.fresh()
    }

    pub fn alpn(mut self, protocols: &[&str]) -> Self {
        self.config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    pub fn without_sni(mut self) -> Self {
        self.sni = false;
        self.config.enable_sni = false;
        self
    }

    /// The same client with no session to resume.
    pub fn fresh(mut self) -> Self {
        self.config.resumption = Resumption::in_memory_sessions(32);
        self
    }

    /// A finished handshake with `name` as SNI, or why there is none.
    pub fn try_handshake(
        &self,
        address: SocketAddr,
        name: &str,
    ) -> Result<StreamOwned<ClientConnection, TcpStream>, String> {
        self.try_handshake_over(TcpStream::connect(address).map_err(|error| error.to_string())?, name)
    }

    /// The same over a socket that the test made to its taste.
    pub fn try_handshake_over(
        &self,
        mut tcp: TcpStream,
        name: &str,
    ) -> Result<StreamOwned<ClientConnection, TcpStream>, String> {
        let name = ServerName::try_from(name.to_string()).map_err(|error| error.to_string())?;
        prepare(&tcp);
        let mut tls =
            ClientConnection::new(Arc::new(self.config.clone()), name).map_err(|error| error.to_string())?;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp).map_err(|error| error.to_string())?;
        }
        Ok(StreamOwned::new(tls, tcp))
    }

    pub fn handshake(&self, address: SocketAddr, name: &str) -> StreamOwned<ClientConnection, TcpStream> {
        self.try_handshake(address, name)
            .unwrap_or_else(|error| panic!("handshake with {name} at {address}: {error}"))
    }

    /// An HTTP/1.1 connection with `name` as SNI and `Host`.
    pub fn connect(&self, address: SocketAddr, name: &str) -> Connection {
        Connection::over_tls(self.handshake(address, name), name)
    }
}

/// Believes any chain, as the Guix client does, but checks that the other side holds the key of its first certificate.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Shows its certificate to whoever asks. rustls's own resolver refuses version 1 certificates.
#[derive(Debug)]
struct Show(Arc<CertifiedKey>);

impl ResolvesClientCert for Show {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Sets of server certificates that were seen, for tests that replace them.
#[derive(Default, Clone)]
pub struct Seen(Arc<Mutex<Vec<Vec<Vec<u8>>>>>);

impl Seen {
    pub fn note(&self, connection: &ClientConnection) {
        let chain = connection.peer_certificates().expect("a server certificate");
        let chain: Vec<Vec<u8>> = chain.iter().map(|cert| cert.to_vec()).collect();
        let mut seen = self.0.lock().expect("no panic while locked");
        if !seen.contains(&chain) {
            seen.push(chain);
        }
    }

    pub fn chains(&self) -> Vec<Vec<Vec<u8>>> {
        self.0.lock().expect("no panic while locked").clone()
    }
}
