//! Who listens where, and under which names.

use std::net::SocketAddr;

use super::answer::Scope;
use super::include::Tree;
use super::notes::Notes;
use super::syntax::Directive;
use super::{Reason, Refusal};

/// A `server` block.
#[derive(Debug)]
pub(super) struct Server<'t> {
    pub(super) at: &'t Directive,
    http: &'t [Directive],
    /// Names that a site can have, in lower case.
    pub(super) names: Vec<String>,
    pub(super) listens: Vec<Listen>,
}

/// A `listen` of a server.
#[derive(Debug)]
pub(super) struct Listen {
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) tls: bool,
    pub(super) is_default: bool,
}

impl<'t> Server<'t> {
    /// What is set in the server, and around it.
    pub(super) fn scope(&self) -> Scope<'t> {
        Scope(vec![self.http, self.at.inside()])
    }

    /// Whether it listens with TLS, or without.
    pub(super) fn listens_with(&self, tls: bool) -> bool {
        self.listens.iter().any(|listen| listen.tls == tls)
    }

    /// Whether it answers over TLS for names that no server has: because its `listen` says so.
    pub(super) fn is_default_for_tls(&self) -> bool {
        self.listens.iter().any(|listen| listen.tls && listen.is_default)
    }
}

/// All servers, in the file's order.
pub(super) fn servers<'t>(tree: &'t Tree, notes: &mut Notes) -> Result<Vec<Server<'t>>, Refusal> {
    if let Some(second) = tree.directives.iter().filter(|one| one.name == "http").nth(1) {
        return Err(Reason::new(Some(&second.place), "nginx takes one http block only").into());
    }
    let http = tree.http();
    let mut servers = Vec::new();
    for at in http.iter().filter(|one| one.name == "server") {
        servers.push(Server { at, http, names: names(at, notes), listens: listens(at, notes) });
    }
    if servers.is_empty() {
        return Err(Reason::new(None, "there is no server in it: is this nginx's main file?").into());
    }
    Ok(servers)
}

fn names(server: &Directive, notes: &mut Notes) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for at in server.inside().iter().filter(|one| one.name == "server_name") {
        let mut left = Vec::new();
        for name in &at.args {
            let lower = name.trim_end_matches('.').to_ascii_lowercase();
            match lower.strip_prefix('.') {
                // ".example.org" is the name itself, and all below it.
                Some(bare) if is_name(bare) => {
                    names.push(bare.to_owned());
                    left.push(format!("*.{bare}"));
                }
                _ if is_name(&lower) => names.push(lower),
                _ if lower == "_" || lower.is_empty() => {}
                _ => left.push(name.clone()),
            }
        }
        if left.is_empty() {
            notes.carried(at);
        } else {
            let why =
                format!("a site has names, each of them written out: {} is left behind", left.join(" "));
            notes.left(at, why);
        }
    }
    let mut known = std::collections::BTreeSet::new();
    names.retain(|name| known.insert(name.clone()));
    names
}

/// Letters, digits and hyphens between dots, and no IP address. The configuration's own reader is stricter still.
fn is_name(name: &str) -> bool {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.');
    let number = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    plain && !number && !name.is_empty()
}

fn listens<'t>(server: &'t Directive, notes: &mut Notes) -> Vec<Listen> {
    let of = |name: &str| -> Vec<&'t Directive> {
        server.inside().iter().filter(|one| one.name == name).collect()
    };
    let all_tls = of("ssl").iter().any(|one| one.arg() == "on");
    of("ssl").into_iter().for_each(|one| notes.carried(one));
    let mut listens = Vec::new();
    for at in of("listen") {
        let flag = |names: &[&str]| at.args.iter().skip(1).any(|word| names.contains(&word.as_str()));
        match addresses(at.arg(), flag(&["ipv6only=off"])) {
            Ok(addresses) if !flag(&["quic", "proxy_protocol"]) => {
                notes.carried(at);
                let is_default = flag(&["default_server", "default"]);
                listens.push(Listen { addresses, tls: all_tls || flag(&["ssl"]), is_default });
            }
            Ok(_) => notes.left(at, "there is no HTTP/3, and no PROXY protocol"),
            Err(why) => notes.left(at, why),
        }
    }
    if of("listen").is_empty() {
        let addresses = vec![([0, 0, 0, 0], 80).into()];
        listens.push(Listen { addresses, tls: all_tls, is_default: false });
    }
    listens
}

fn addresses(text: &str, both: bool) -> Result<Vec<SocketAddr>, String> {
    if text.starts_with("unix:") {
        return Err("clients connect over TCP: a Unix socket is left behind".into());
    }
    let with_port = match text.parse::<u16>() {
        Ok(port) => format!("0.0.0.0:{port}"),
        Err(_) => {
            let colon = if text.starts_with('[') { text.ends_with(']') } else { !text.contains(':') };
            let text = text.replacen("*:", "0.0.0.0:", 1).replacen("localhost", "127.0.0.1", 1);
            if colon { format!("{text}:80") } else { text }
        }
    };
    match with_port.parse::<SocketAddr>() {
        Ok(address) if both && address.is_ipv6() && address.ip().is_unspecified() => {
            Ok(vec![([0, 0, 0, 0], address.port()).into(), address])
        }
        Ok(address) => Ok(vec![address]),
        Err(_) => Err("an address and a port are listened on; names are not looked up".into()),
    }
}
