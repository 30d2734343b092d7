//! Which certificate answers which name.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::files::Pair;

/// The certificates in force: one per site, and the first site's for everybody else.
#[derive(Debug)]
pub struct Certificates {
    by_name: HashMap<String, Pair>,
    default: Pair,
}

impl Certificates {
    /// `sites` are names and certificate of each site, in the configuration's order.
    ///
    /// None without a site.
    pub fn new(sites: Vec<(Vec<String>, Pair)>) -> Option<Self> {
        let default = sites.first()?.1.clone();
        let by_name = sites
            .into_iter()
            .flat_map(|(names, pair)| names.into_iter().map(move |name| (name, pair.clone())))
            .collect();
        Some(Self { by_name, default })
    }

    fn for_name(&self, name: Option<&str>) -> Pair {
        // rustls hands the name over in lower case and without a trailing dot (RFC 6066 section 3).
        name.and_then(|name| self.by_name.get(name)).unwrap_or(&self.default).clone()
    }
}

/// Where handshakes find the certificates in force. What replaces them replaces all of them at once; a
/// handshake that has begun keeps what it has.
#[derive(Debug)]
pub struct CertificateStore {
    current: ArcSwap<Certificates>,
}

impl CertificateStore {
    /// A store that serves `certificates` until told otherwise.
    pub fn new(certificates: Certificates) -> Self {
        Self { current: ArcSwap::from_pointee(certificates) }
    }

    /// From the next handshake on, `certificates` are served.
    pub fn replace(&self, certificates: Certificates) {
        self.current.store(Arc::new(certificates));
    }
}

impl ResolvesServerCert for CertificateStore {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load().for_name(hello.server_name()))
    }
}
