//! Whether the name leads anywhere, and whether anybody is there.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustls::pki_types::ServerName;

use super::Doctor;
use super::door::Door;
use super::stream::{Timed, in_words};
use super::target::Scheme;
use super::tls;

/// More addresses than any farm has.
const MOST_ADDRESSES: usize = 16;

impl Doctor<'_> {
    /// The addresses of the server; none where there are none.
    pub(super) fn look_at_name(&mut self) -> Vec<IpAddr> {
        if let Some(address) = self.settings.address {
            self.ok("name", format!("{}: {address}, as was given", self.target.host));
            return vec![address];
        }
        match addresses(&self.target.host, self.settings.patience) {
            Ok(addresses) => {
                let listed = list(&addresses);
                self.ok("name", format!("{} is {listed}", self.target.host));
                addresses
            }
            Err(why) => {
                let found = format!("{}: {why}", self.target.host);
                self.failure("name", found, "Give it A and AAAA records, and wait until they are known");
                Vec::new()
            }
        }
    }

    /// Connects to every address, and goes on with the first that answers.
    pub(super) fn look_at_port(&mut self, scheme: Scheme, addresses: &[IpAddr]) -> Option<Door> {
        let port = self.target.port(scheme)?;
        let check = format!("port-{port}");
        let (mut reached, mut failed, mut no_way) = (Vec::new(), Vec::new(), true);
        for address in addresses {
            match Timed::connect(SocketAddr::new(*address, port), self.settings.patience) {
                Ok(_) => reached.push(*address),
                Err(error) => {
                    no_way &= is_ours(&error);
                    failed.push(format!("{address}: {}", in_words(&error)));
                }
            }
        }
        let failed = failed.join("; ");
        let wanted = scheme == self.target.scheme || self.settings.own;
        match (&reached[..], failed.as_str(), wanted) {
            ([], _, true) => {
                let advice = "See that the server runs and listens there, and that no firewall is in between";
                self.failure(&check, failed, advice);
            }
            ([], _, false) => {
                let advice = match scheme {
                    Scheme::Http => {
                        "Clients that use http:// are not served, and no CA can look for challenges there"
                    }
                    Scheme::Https => "Clients that use https:// are not served",
                };
                self.warning(&check, failed, advice);
            }
            (reached, "", _) => self.ok(&check, format!("{} {}", list(reached), answers(reached))),
            (reached, failed, _) => {
                let found = format!("{} {}, but {failed}", list(reached), answers(reached));
                if no_way {
                    self.warning(
                        &check,
                        found,
                        "From here that address cannot be judged: try it from another network",
                    );
                } else {
                    self.failure(
                        &check,
                        found,
                        "Clients try the addresses in turn: listen on all, or take the record away",
                    );
                }
            }
        }
        let address = SocketAddr::new(*reached.first()?, port);
        self.door(scheme, address)
    }

    fn door(&mut self, scheme: Scheme, address: SocketAddr) -> Option<Door> {
        match door(scheme, address, &self.target.host, self.target.authority(scheme), self.settings.patience)
        {
            Ok(door) => Some(door),
            Err(why) => {
                self.failure("name", why, "Give a URL with a name that DNS can hold");
                None
            }
        }
    }
}

/// A door to `host` at `address`.
pub(super) fn door(
    scheme: Scheme,
    address: SocketAddr,
    host: &str,
    authority: String,
    patience: Duration,
) -> Result<Door, String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("{host:?} is no name of a host"))?;
    // No ALPN, as the Guix client.
    let tls = tls::config(&tls::ANY_VERSION, &[])?;
    Ok(Door { scheme, address, authority, name, tls, patience })
}

/// All addresses of `host`, each once. The resolver is given up after `patience`.
pub(super) fn addresses(host: &str, patience: Duration) -> Result<Vec<IpAddr>, String> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let (sender, receiver) = mpsc::channel();
    let name = host.to_owned();
    // It ends with the process at the latest; nobody waits for it longer than is said.
    thread::spawn(move || sender.send((name.as_str(), 0).to_socket_addrs().map(Iterator::collect::<Vec<_>>)));
    let found = match receiver.recv_timeout(patience * 2) {
        Ok(found) => found.map_err(|error| format!("the name does not resolve: {error}"))?,
        Err(_) => return Err("the name does not resolve: no answer".into()),
    };
    let mut addresses = Vec::new();
    for address in found.iter().map(SocketAddr::ip) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses.truncate(MOST_ADDRESSES);
    if addresses.is_empty() { Err("the name has no address".into()) } else { Ok(addresses) }
}

/// Whether it is this machine that has no way there, such as one without IPv6.
fn is_ours(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, NetworkUnreachable};
    matches!(error.kind(), AddrNotAvailable | NetworkUnreachable)
}

fn list(addresses: &[IpAddr]) -> String {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

fn answers(addresses: &[IpAddr]) -> &'static str {
    if addresses.len() == 1 { "answers" } else { "answer" }
}
