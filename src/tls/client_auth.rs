//! Client certificates in the handshake: prove the key, judge nothing.
//!
//! A verifier that fails ends the handshake, and then the public pages are gone too. So this one lets every
//! chain pass and only makes sure that the client holds the private key of the certificate it shows. Who that
//! makes it is for [`crate::admin::Gate`] to say, on each request: a resumed session brings its chain back
//! without asking a verifier.
//!
//! rustls's own helpers read the certificate with webpki, which refuses X.509 version 1: the version that
//! Cuirass's script makes. Hence the public key is taken out with x509-parser here.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved, SignatureScheme,
};
use x509_parser::asn1_rs::{Any, FromDer};
use x509_parser::parse_x509_certificate;

/// Asks for a client certificate, does without one, and takes any whose private key the client proves to
/// hold.
#[derive(Debug)]
pub struct ProveKeyOnly {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ProveKeyOnly {
    /// Verifies with the signature algorithms of `provider`.
    pub fn new(provider: &CryptoProvider) -> Self {
        Self { algorithms: provider.signature_verification_algorithms }
    }
}

impl ClientCertVerifier for ProveKeyOnly {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// No hints: the client CA can change under a running gate, and with hints a browser whose certificate is
    /// from yesterday's CA offers none at all, instead of one that the 403 page can talk about.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        subject_public_key_info(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    /// TLS 1.2: an ECDSA scheme does not say which curve, so every algorithm that goes with the scheme *and*
    /// with the type of the key is tried. At most three go with one scheme, and at most one of them with one
    /// key.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if !usable_in_tls12(dss.scheme) {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        let (_, candidates) = self
            .algorithms
            .mapping
            .iter()
            .find(|(scheme, _)| *scheme == dss.scheme)
            .ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;

        let spki = subject_public_key_info(cert)?;
        let (key_algorithm, key) = split(&spki)?;
        let proven = candidates
            .iter()
            .filter(|algorithm| algorithm.public_key_alg_id().as_ref() == key_algorithm)
            .any(|algorithm| algorithm.verify_signature(key, message, dss.signature()).is_ok());
        if !proven {
            return Err(CertificateError::BadSignature.into());
        }
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let spki = SubjectPublicKeyInfoDer::from(subject_public_key_info(cert)?);
        verify_tls13_signature_with_raw_key(message, &spki, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The DER of the public key. Everything before and after it in the certificate must parse as well: bytes
/// that are no certificate prove nothing.
fn subject_public_key_info(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, Error> {
    match parse_x509_certificate(certificate) {
        Ok(([], parsed)) => Ok(parsed.public_key().raw.to_vec()),
        _ => Err(CertificateError::BadEncoding.into()),
    }
}

/// Splits `SEQUENCE { algorithm, BIT STRING }` into what a `SignatureVerificationAlgorithm` compares with its
/// `public_key_alg_id` (the inside of the algorithm's sequence) and the raw bits of the key.
fn split(spki: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let parts = || {
        let (_, outer) = Any::from_der(spki).ok()?;
        let (rest, algorithm) = Any::from_der(outer.data).ok()?;
        let (rest, key) = Any::from_der(rest).ok()?;
        // The first octet of a BIT STRING counts the bits to leave out of the last: none, for a key.
        let [0, bits @ ..] = key.data else { return None };
        rest.is_empty().then_some((algorithm.data, bits))
    };
    parts().ok_or(CertificateError::BadEncoding.into())
}

/// The schemes that TLS 1.2 has: ML-DSA, for one, belongs to 1.3 only.
fn usable_in_tls12(scheme: SignatureScheme) -> bool {
    use SignatureScheme::*;
    matches!(
        scheme,
        RSA_PKCS1_SHA256
            | RSA_PKCS1_SHA384
            | RSA_PKCS1_SHA512
            | RSA_PSS_SHA256
            | RSA_PSS_SHA384
            | RSA_PSS_SHA512
            | ECDSA_NISTP256_SHA256
            | ECDSA_NISTP384_SHA384
            | ECDSA_NISTP521_SHA512
            | ED25519
    )
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::net::{TcpListener, TcpStream};
    use std::process::{Command, Stdio};
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use rustls::client::ResolvesClientCert;
    use rustls::crypto::aws_lc_rs::{default_provider, sign::any_supported_type};
    use rustls::sign::CertifiedKey;
    use rustls::version::{TLS12, TLS13};
    use rustls::{
        ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, ServerConfig, ServerConnection,
        SupportedProtocolVersion,
    };

    use super::*;
    use crate::admin::tests::openssl::Authority;

    const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
    const EXTENSIONS: &str = "subjectAltName=DNS:localhost";

    #[test]
    fn any_certificate_whose_key_the_client_has_is_taken_with_its_chain() {
        let ca = Authority::quick();
        let server = server(&ca);
        for kind in ["rsa:2048", "rsa:4096", "P-256", "P-384", "P-521", "ED25519"] {
            let chain = vec![ca.client("client", kind), ca.der("ca")];
            for version in VERSIONS {
                let shown = handshake(&ca, &server, version, chain.clone(), "client");
                assert_eq!(shown, Ok(Some(chain.clone())), "{kind} {version:?}");
            }
        }
    }

    #[test]
    fn a_client_without_a_certificate_is_served() {
        let ca = Authority::quick();
        let server = server(&ca);
        for version in VERSIONS {
            assert_eq!(handshake(&ca, &server, version, vec![], "ca"), Ok(None), "{version:?}");
        }
    }

    #[test]
    fn a_certificate_shown_without_its_key_ends_the_handshake() {
        let ca = Authority::quick();
        let server = server(&ca);
        for kind in ["rsa:2048", "P-256", "ED25519"] {
            let alice = vec![ca.client("alice", kind)];
            for (thief, refusal) in [(kind, Some(CertificateError::BadSignature)), ("P-384", None)] {
                ca.key("thief", thief);
                for version in VERSIONS {
                    let shown = handshake(&ca, &server, version, alice.clone(), "thief");
                    let error = shown.expect_err("a stolen certificate");
                    if let Some(refusal) = refusal.clone() {
                        assert_eq!(error, Error::InvalidCertificate(refusal), "{kind} {version:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn bytes_that_are_no_certificate_end_the_handshake() {
        let ca = Authority::quick();
        let server = server(&ca);
        let good = ca.client("alice", "P-256");
        for broken in [vec![0], vec![0x30, 0x00], good[..good.len() - 1].to_vec(), [&good[..], &[0]].concat()]
        {
            for version in VERSIONS {
                let shown = handshake(&ca, &server, version, vec![broken.clone().into()], "alice");
                assert_eq!(
                    shown,
                    Err(Error::InvalidCertificate(CertificateError::BadEncoding)),
                    "{version:?}"
                );
            }
        }
    }

    #[test]
    fn openssl_s_client_gets_through_with_a_version_1_certificate_and_every_signature_scheme() {
        let ca = Authority::like_cuirass();
        let server = server(&ca);
        for (kind, protocol, schemes) in [
            (
                "rsa:2048",
                "-tls1_2",
                &["RSA+SHA256", "RSA+SHA384", "RSA+SHA512", "RSA-PSS+SHA256", "RSA-PSS+SHA512"][..],
            ),
            ("rsa:2048", "-tls1_3", &["RSA-PSS+SHA256", "RSA-PSS+SHA384", "RSA-PSS+SHA512"]),
            ("P-256", "-tls1_2", &["ECDSA+SHA256", "ECDSA+SHA384", "ECDSA+SHA512"]),
            ("P-256", "-tls1_3", &["ECDSA+SHA256"]),
            ("P-384", "-tls1_2", &["ECDSA+SHA256", "ECDSA+SHA384"]),
            ("P-384", "-tls1_3", &["ECDSA+SHA384"]),
            ("P-521", "-tls1_2", &["ECDSA+SHA512"]),
            ("ED25519", "-tls1_2", &["ed25519"]),
            ("ED25519", "-tls1_3", &["ed25519"]),
        ] {
            let alice = ca.client("alice", kind);
            let text = ca.run(&["x509", "-in", "alice.crt", "-noout", "-text"]);
            assert!(text.contains("Version: 1 "), "the point of this test");
            for scheme in schemes {
                let (version, shown) = s_client(
                    &ca,
                    &server,
                    &[protocol, "-client_sigalgs", scheme, "-cert", "alice.crt", "-key", "alice.key"],
                )
                .unwrap_or_else(|error| panic!("{kind} {protocol} {scheme}: {error}"));
                let expected =
                    if protocol == "-tls1_2" { ProtocolVersion::TLSv1_2 } else { ProtocolVersion::TLSv1_3 };
                assert_eq!((version, shown), (expected, Some(vec![alice.clone()])), "{kind} {scheme}");
            }
        }
    }

    #[test]
    fn an_rsa_key_of_1024_bits_ends_the_handshake() {
        let ca = Authority::like_cuirass();
        let server = server(&ca);
        ca.client("alice", "rsa:1024");
        for protocol in ["-tls1_2", "-tls1_3"] {
            let options =
                [protocol, "-cipher", "DEFAULT@SECLEVEL=0", "-cert", "alice.crt", "-key", "alice.key"];
            let error = s_client(&ca, &server, &options).expect_err("a weak key");
            assert!(error.to_string().contains("BadSignature"), "{error}");
        }
    }

    /// A server that asks for client certificates as ours does.
    fn server(ca: &Authority) -> Arc<ServerConfig> {
        ca.key("localhost", "P-256");
        let certificate = ca.issue("localhost", "ca", EXTENSIONS, &[]);
        let provider = Arc::new(default_provider());
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&VERSIONS)
            .expect("versions that the provider has")
            .with_client_cert_verifier(Arc::new(ProveKeyOnly::new(&provider)))
            .with_single_cert(vec![certificate], ca.private_key("localhost"));
        Arc::new(config.expect("a certificate and its key"))
    }

    type Shown = Option<Vec<CertificateDer<'static>>>;

    /// A whole handshake in memory, with a client that shows `chain` and signs with `key`, matching or not.
    fn handshake(
        ca: &Authority,
        server: &Arc<ServerConfig>,
        version: &'static SupportedProtocolVersion,
        chain: Vec<CertificateDer<'static>>,
        key: &str,
    ) -> Result<Shown, Error> {
        let mut roots = RootCertStore::empty();
        roots.add(ca.der("ca"))?;
        let key = any_supported_type(&ca.private_key(key))?;
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[version])?
            .with_root_certificates(roots)
            .with_client_cert_resolver(Arc::new(Shows(CertifiedKey::new(chain, key))));
        let name = "localhost".try_into().expect("a name");
        let mut client = ClientConnection::new(Arc::new(config), name)?;
        let mut server = ServerConnection::new(server.clone())?;
        while client.is_handshaking() || server.is_handshaking() {
            let mut flight = Vec::new();
            client.write_tls(&mut flight).expect("memory");
            server.read_tls(&mut &flight[..]).expect("memory");
            server.process_new_packets()?;
            flight.clear();
            server.write_tls(&mut flight).expect("memory");
            client.read_tls(&mut &flight[..]).expect("memory");
            client.process_new_packets()?;
        }
        assert_eq!(server.protocol_version(), Some(version.version));
        Ok(shown(&server))
    }

    fn shown(server: &ServerConnection) -> Shown {
        server.peer_certificates().map(|chain| chain.iter().map(|one| one.clone().into_owned()).collect())
    }

    /// Shows this and no other; without a chain, nothing. Unlike rustls's own resolver it does not look
    /// whether they match.
    #[derive(Debug)]
    struct Shows(CertifiedKey);

    impl ResolvesClientCert for Shows {
        fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            self.has_certs().then(|| Arc::new(self.0.clone()))
        }

        fn has_certs(&self) -> bool {
            !self.0.cert.is_empty()
        }
    }

    /// One connection from `openssl s_client` over a real socket, and what the server learned from it.
    fn s_client(
        ca: &Authority,
        server: &Arc<ServerConfig>,
        options: &[&str],
    ) -> io::Result<(ProtocolVersion, Shown)> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let server = server.clone();
        let served = thread::spawn(move || serve(&listener.accept()?.0, server));
        let mut client = Command::new("openssl")
            .args(["s_client", "-connect", &address, "-quiet"])
            .args(options)
            .current_dir(ca.path(""))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let served = served.join().expect("the server does not panic");
        client.wait()?;
        served
    }

    fn serve(mut socket: &TcpStream, config: Arc<ServerConfig>) -> io::Result<(ProtocolVersion, Shown)> {
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut server = ServerConnection::new(config).map_err(io::Error::other)?;
        while server.is_handshaking() {
            server.complete_io(&mut socket)?;
        }
        server.writer().write_all(b"hello\n")?;
        server.send_close_notify();
        server.complete_io(&mut socket).ok();
        Ok((server.protocol_version().expect("a version after the handshake"), shown(&server)))
    }
}
