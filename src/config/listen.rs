//! Who listens where.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;

use toml::Spanned;

use super::diagnostics::Complaint;
use super::settings::{Listen, Metrics};
use super::values::{listen_address, optional_listen_address};
use super::wire::{Findings, Reader, bare};

/// The tables `listen` and `metrics`, which must not claim the same address.
pub(super) fn listen_and_metrics(file: &mut Reader<'_, '_>) -> (Listen, Metrics) {
    let mut addresses = Addresses::default();
    let listen = file.table("listen", |table| listen(table, &mut addresses));
    let metrics = file.table("metrics", |table| metrics(table, &mut addresses));
    (listen, metrics)
}

fn listen(table: &mut Reader<'_, '_>, addresses: &mut Addresses) -> Listen {
    let mut read = |key, name, port| match table.list(key, listen_address) {
        Some(given) => {
            for address in &given {
                addresses.claim(table.findings, name, *address.get_ref(), Some(address.span()));
            }
            bare(given)
        }
        // Not a list, which has been reported: nothing is known of what others may use.
        None if table.has(key) => everywhere(port),
        None => {
            for address in everywhere(port) {
                addresses.claim(table.findings, name, address, None);
            }
            everywhere(port)
        }
    };
    let http = read("http", "listen.http", 80);
    let https = read("https", "listen.https", 443);
    if let (Some(_), Some(span)) = (table.empty_list("http"), table.empty_list("https")) {
        let complaint = Complaint::new("there is nothing to listen on");
        table.error(span, "https", complaint.hint("give http or https an address"));
    }
    Listen { http, https }
}

/// Every address of this machine, of both families.
fn everywhere(port: u16) -> Vec<SocketAddr> {
    vec![([0u8; 4], port).into(), ([0u8; 16], port).into()]
}

fn metrics(table: &mut Reader<'_, '_>, addresses: &mut Addresses) -> Metrics {
    let given = table.find("listen", optional_listen_address);
    let span = given.as_ref().map(Spanned::span);
    let listen = given.map_or(Some(([127, 0, 0, 1], 9145).into()), Spanned::into_inner);
    if let Some(address) = listen {
        addresses.claim(table.findings, "metrics.listen", address, span);
    }
    Metrics { listen }
}

/// The addresses so far, by the key that says so, and by its place in the file unless it is a default.
#[derive(Default)]
struct Addresses(BTreeMap<SocketAddr, (&'static str, Option<Range<usize>>)>);

impl Addresses {
    fn claim(
        &mut self,
        findings: &mut Findings<'_>,
        key: &'static str,
        address: SocketAddr,
        span: Option<Range<usize>>,
    ) {
        if address.port() == 0 {
            return; // the system chooses another one each time
        }
        let Some((other, earlier)) = self.0.get(&address) else {
            self.0.insert(address, (key, span));
            return;
        };
        // The caret goes to what is written; defaults do not clash with each other.
        let (key, span, holder) = match (span, earlier) {
            (Some(span), Some(earlier)) => {
                let line = findings.source.line(earlier.start);
                (key, span, format!("{other} in line {line}"))
            }
            (Some(span), None) => (key, span, format!("the default of {other}")),
            (None, Some(earlier)) => (*other, earlier.clone(), format!("the default of {key}")),
            (None, None) => return,
        };
        let complaint = Complaint::new(format!("{address} is listened on already, by {holder}"));
        findings.error(span, key, complaint.hint("choose another address or port for one of them"));
    }
}
