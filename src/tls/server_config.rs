//! The one `ServerConfig` of the process.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::server::ServerConfig;

use super::client_auth::ProveKeyOnly;
use super::resolver::CertificateStore;

/// What a full record of ours carries, in bytes; writes that are cut into whole ones cost least.
///
/// A TLS record may carry 16,384 bytes (RFC 8446 section 5.1). rustls copies what it is given into the record
/// before it encrypts it, and from exactly that size on glibc copies with one instruction (`rep movsb`) that takes
/// three times as long as a loop where source and destination are aligned as differently as here: with a header
/// of 5 bytes in front. A few bytes less took a 256 MiB nar from 640 to 230 microseconds of user time a MiB.
pub const RECORD: usize = 16_128;
/// What stands before it: type, version, length. rustls counts it in.
const RECORD_HEADER: usize = 5;

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
    config.max_fragment_size = Some(RECORD + RECORD_HEADER);
    Ok(Arc::new(config))
}
