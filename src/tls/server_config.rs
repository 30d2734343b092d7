//! The one `ServerConfig` of the process.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::server::ServerConfig;

use super::client_auth::ProveKeyOnly;
use super::resolver::CertificateStore;

/// TLS 1.2 and 1.3 with forward secrecy and AEAD only (RFC 9325 section 4.2), AES first: both ends of a
/// farm's traffic are machines with AES in hardware.
fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        ..aws_lc_rs::default_provider()
    }
}

/// Makes the process's TLS configuration. Certificates come from `store` at each handshake, so they can
/// change under it; session tickets are sealed with keys that rotate and that only this process knows, so
/// that any number of clients can resume without a table on our side (RFC 8446 section 4.6.1, RFC 5077).
pub fn server_config(store: Arc<CertificateStore>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(provider());
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(ProveKeyOnly::new(&provider)))
        .with_cert_resolver(store);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    // Two tickets are the default, for browsers that open connections in parallel. A guix-daemon opens one
    // at a time, and a second ticket costs each of its handshakes an encryption and 200 bytes.
    config.send_tls13_tickets = 1;
    config.ignore_client_order = true;
    // A whole gathered write goes out as full records.
    config.max_fragment_size = None;
    Ok(Arc::new(config))
}
