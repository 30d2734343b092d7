//! What TLS a server speaks, and whether its certificate convinces anybody.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls::{SupportedProtocolVersion, version};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::Doctor;
use super::door::Door;
use super::old_tls::{self, Old};
use super::stream::in_words;
use crate::acme::{Time, time_in_words};

/// Renewals come a good deal earlier; certificates that live shorter have a quarter of their life.
const LATE: Duration = Duration::from_secs(14 * 86_400);

/// Settings for TLS with `versions` and `protocols`, which take any certificate: what it is worth is judged apart.
pub(super) fn config(
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&[u8]],
) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .map_err(|error| format!("TLS: {error}"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Unjudged(provider)))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

/// All that are to be had.
pub(super) const ANY_VERSION: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];

impl Doctor<'_> {
    /// Looks at everything about TLS at `door`. False where there is none to speak of.
    pub(super) fn look_at_tls(&mut self, door: &Door) -> bool {
        let stream = match door.connect_with(&door.tls) {
            Ok(stream) => stream,
            Err(error) => {
                self.failure(
                    "handshake",
                    format!("no TLS connection to {}: {}", door.address, in_words(&error)),
                    "See that TLS is spoken on this port, and what the server's log says",
                );
                return false;
            }
        };
        let chain =
            stream.session().and_then(|session| session.peer_certificates()).unwrap_or_default().to_vec();
        // Not every server has room for two.
        drop(stream);
        self.look_at_chain(&chain);
        self.look_at_names(&chain, door);
        self.look_at_versions(door);
        self.look_at_http2(door);
        true
    }

    fn look_at_chain(&mut self, chain: &[CertificateDer<'static>]) {
        let Some((leaf, above)) = chain.split_first() else {
            return self.failure("certificate", "the server shows none", "Give it one");
        };
        let verdict = match &self.roots {
            Ok(roots) => judge(leaf, above, roots),
            Err(why) => {
                let found = format!("it was not judged: {why}");
                return self.warning("certificate", found, "Or give --ca-file");
            }
        };
        let dates = X509Certificate::from_der(leaf).ok().map(|(_, certificate)| {
            let validity = certificate.validity();
            let time = |time: x509_parser::time::ASN1Time| Time::from_unix(time.timestamp());
            (time(validity.not_before), time(validity.not_after))
        });
        let issuer = X509Certificate::from_der(leaf)
            .map(|(_, certificate)| certificate.issuer().to_string())
            .unwrap_or_default();
        let now = Time::now();
        match verdict {
            Ok(()) => {
                let Some((from, to)) = dates else {
                    return self.failure(
                        "certificate",
                        "its dates cannot be read",
                        "Give the server another",
                    );
                };
                let (left, life) = (to.since(now), to.since(from));
                let found = format!("valid until {to}, {} left, issued by {issuer}", time_in_words(left));
                if left < LATE.min(life / 4) {
                    let advice = "It should have been renewed by now: see `farmgate cert list`, or the log of your ACME client";
                    self.warning("certificate", found, advice);
                } else {
                    self.ok("certificate", found);
                }
            }
            Err(error) => {
                let (found, advice) = what_is_wrong(&error, dates, &issuer, chain);
                self.failure("certificate", found, advice);
            }
        }
    }

    fn look_at_names(&mut self, chain: &[CertificateDer<'static>], door: &Door) {
        let Some(leaf) = chain.first() else { return };
        let fits = ParsedCertificate::try_from(leaf).and_then(|leaf| verify_server_name(&leaf, &door.name));
        let names = names(leaf);
        let listed = if names.is_empty() { "no name at all".to_owned() } else { names.join(", ") };
        if fits.is_ok() {
            self.ok("names", format!("the certificate is for {listed}"));
        } else {
            let host = self.target.host.clone();
            self.failure(
                "names",
                format!("the certificate is for {listed}, not for {host}"),
                "Order one for this name: it has to be among the `names` of a [[site]]",
            );
        }
    }

    fn look_at_versions(&mut self, door: &Door) {
        let speaks = |version| config(&[version], &[]).is_ok_and(|config| door.connect_with(&config).is_ok());
        let (tls_1_2, tls_1_3) = (speaks(&version::TLS12), speaks(&version::TLS13));
        let old: Vec<&str> = [Old::Tls10, Old::Tls11]
            .into_iter()
            .filter(|version| old_tls::accepts(door, *version))
            .map(Old::name)
            .collect();
        let spoken = match (tls_1_2, tls_1_3) {
            (true, true) => "TLS 1.2 and 1.3 are spoken",
            (true, false) => "TLS 1.2 is spoken, 1.3 is not",
            (false, true) => "TLS 1.3 is spoken, 1.2 is not",
            (false, false) => {
                let found = "one connection was made, and no other one after it";
                return self.failure("tls-versions", found, "See what the server's log says");
            }
        };
        if !old.is_empty() {
            let advice = "Switch them off (RFC 8996); in nginx: ssl_protocols TLSv1.2 TLSv1.3";
            self.warning("tls-versions", format!("{spoken}; still accepted: {}", old.join(" and ")), advice);
        } else if !tls_1_3 {
            self.warning("tls-versions", spoken, "Switch TLS 1.3 on: it is faster, and hides more");
        } else if !tls_1_2 {
            self.warning("tls-versions", spoken, "Switch TLS 1.2 on: older Guix daemons have no other");
        } else {
            self.ok("tls-versions", format!("{spoken}, 1.0 and 1.1 are refused"));
        }
    }

    /// Whether it is agreed on, and whether the server then speaks it: its first frame is SETTINGS (RFC 9113 section 3.4).
    fn look_at_http2(&mut self, door: &Door) {
        use std::io::{Read, Write};
        const SETTINGS: u8 = 4;
        let stream = config(&ANY_VERSION, &[b"h2", b"http/1.1"])
            .and_then(|config| door.connect_with(&config).map_err(|error| in_words(&error)));
        let mut stream = match stream {
            Ok(stream) => stream,
            Err(why) => {
                return self.failure(
                    "http2",
                    format!("no connection when HTTP/2 is offered: {why}"),
                    "See what the server's log says",
                );
            }
        };
        if stream.session().and_then(|session| session.alpn_protocol()) != Some(b"h2") {
            return self.warning(
                "http2",
                "HTTP/2 is not offered",
                "Guix does without, browsers are slower; in nginx: http2 on",
            );
        }
        let mut frame = [0; 9];
        let said = stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .and_then(|()| stream.flush())
            .and_then(|()| stream.read_exact(&mut frame));
        match said {
            Ok(()) if frame[3] == SETTINGS => {
                self.ok("http2", "HTTP/2 is offered, and HTTP/1.1 to those without")
            }
            Ok(()) => self.failure(
                "http2",
                "HTTP/2 is agreed on, and something else is spoken",
                "Look at what ends TLS",
            ),
            Err(error) => {
                let found = format!("HTTP/2 is agreed on and not spoken: {}", in_words(&error));
                self.failure("http2", found, "Look at what ends TLS");
            }
        }
    }
}

fn what_is_wrong(
    error: &Error,
    dates: Option<(Time, Time)>,
    issuer: &str,
    chain: &[CertificateDer<'static>],
) -> (String, &'static str) {
    use CertificateError::{BadSignature, Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    use CertificateError::{UnknownIssuer, UnsupportedSignatureAlgorithmForPublicKeyContext};
    // The others are what an issuer of the same name with another key comes to.
    let unknown_issuer = matches!(
        error,
        Error::InvalidCertificate(
            UnknownIssuer | BadSignature | UnsupportedSignatureAlgorithmForPublicKeyContext { .. }
        )
    );
    let now = Time::now();
    match (error, dates) {
        (Error::InvalidCertificate(Expired | ExpiredContext { .. }), Some((_, to))) if to <= now => (
            format!("it has expired {} ago, at {to}", time_in_words(now.since(to))),
            "Renew it: `farmgate cert renew`, or your ACME client; and see that this machine's clock is right",
        ),
        (Error::InvalidCertificate(NotValidYet | NotValidYetContext { .. }), Some((from, _))) => {
            (format!("it is valid from {from} on only"), "See that this machine's clock is right")
        }
        _ if is_self_signed(chain) => (
            "it is signed by itself, and so trusted by nobody".into(),
            "A gate shows such a one until the one it orders has come: `farmgate cert list` says how far that is",
        ),
        _ if unknown_issuer && chain.len() == 1 => (
            format!("its issuer is not known here, and the server shows none above it: {issuer}"),
            "Have the server show the whole chain (fullchain.pem); for a private CA give --ca-file",
        ),
        _ if unknown_issuer => (
            format!("its issuer is not known here: {issuer}"),
            "For a private CA give --ca-file; else order one from a CA that browsers know",
        ),
        _ => (format!("it is not valid: {error}"), "Order another"),
    }
}

fn judge(
    leaf: &CertificateDer<'_>,
    above: &[CertificateDer<'_>],
    roots: &RootCertStore,
) -> Result<(), Error> {
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
    let leaf = ParsedCertificate::try_from(leaf)?;
    verify_server_cert_signed_by_trust_anchor(&leaf, roots, above, UnixTime::now(), algorithms.all)
}

fn is_self_signed(chain: &[CertificateDer<'_>]) -> bool {
    chain.first().is_some_and(|leaf| {
        X509Certificate::from_der(leaf)
            .is_ok_and(|(_, certificate)| certificate.subject() == certificate.issuer())
    })
}

/// Names and addresses that a certificate is for.
fn names(leaf: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return Vec::new() };
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let names = extension.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| std::net::IpAddr::from(bytes).to_string()),
            16 => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| std::net::IpAddr::from(bytes).to_string()),
            _ => None,
        },
        _ => None,
    });
    names.take(20).collect()
}

/// Takes any certificate whose key the other side holds.
#[derive(Debug)]
struct Unjudged(Arc<CryptoProvider>);

impl ServerCertVerifier for Unjudged {
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
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
