//! Numbers and files: certificates, timeouts, limits, the cache, the logs.

use super::answer::Answered;
use super::farm::{DOWNLOAD, Farm, Group, Key, LOG, NAR, NARINFO, STATIC};
use super::include::Tree;
use super::notes::Notes;
use super::servers::Server;
use super::syntax::Directive;
use super::values::{duration_in_toml, size, size_in_toml, text_in_toml, time};
use super::{Reason, Refusal};

/// What nginx waits between two reads or writes when nothing else is said (ngx_http_proxy_module).
const NGINX_TIMEOUT: u64 = 60_000;

/// The certificate of a site.
pub(super) fn certificate(
    tree: &Tree,
    group: &Group<'_, '_>,
    keys: &mut Vec<Key>,
    notes: &mut Notes,
) -> Result<(), Refusal> {
    let Some(server) = group.tls else {
        let from = "nginx has no TLS for this name; \"acme\" orders a certificate".to_owned();
        keys.push(Key { name: "certificate", value: "\"self-signed\"".into(), from });
        return Ok(());
    };
    let (chains, private) =
        (server.scope().all(&["ssl_certificate"]), server.scope().all(&["ssl_certificate_key"]));
    let (Some(chain), Some(key)) = (chains.first(), private.first()) else {
        let message =
            format!("{} listens with TLS, and has no ssl_certificate and ssl_certificate_key", group.name());
        return Err(Reason::new(Some(&server.at.place), message).into());
    };
    for one in [chain, key] {
        // nginx takes the text itself, an engine's name and variables as well.
        if one.arg().contains(['$', ':']) || one.arg().is_empty() {
            let message = format!("{one}: a certificate and its key are two PEM files here");
            return Err(Reason::new(Some(&one.place), message).into());
        }
        notes.carried(one);
    }
    for other in chains.iter().chain(&private).filter(|one| one.id != chain.id && one.id != key.id) {
        notes.left(other, "a site has one certificate: the first one is taken");
    }
    let file = |one: &Directive| text_in_toml(&tree.folder.join(one.arg()).to_string_lossy());
    keys.push(Key::new("certificate", format!("{{ chain = {}, key = {} }}", file(chain), file(key)), chain));
    Ok(())
}

/// All that is set once for all sites. Where nginx has several values, one that closes nothing too early is taken.
pub(super) fn settings(tree: &Tree, groups: &[Group<'_, '_>], farm: &mut Farm, notes: &mut Notes) {
    timeouts(tree, groups, farm, notes);
    limits(groups, farm, notes);
    cache(tree, groups, farm, notes);
    access_log(groups, farm, notes);
}

fn timeouts(tree: &Tree, groups: &[Group<'_, '_>], farm: &mut Farm, notes: &mut Notes) {
    let backends = |paths: &[&str]| -> Vec<Answered<'_>> {
        let asked =
            groups.iter().flat_map(|group| paths.iter().filter_map(|path| group.ask_first(tree, path)));
        asked.filter(|answered| answered.backend().is_some()).collect()
    };
    let nars = backends(&[NAR]);
    let others = backends(&[NARINFO, "/", "/jobset/guix", STATIC, DOWNLOAD, LOG, "/nix-cache-info"]);
    // The default that differs from nginx's, and would close too early, is written out.
    for (name, directive, answers, is_shorter_here) in [
        ("connect", "proxy_connect_timeout", &others, false),
        ("read", "proxy_read_timeout", &others, true),
        ("send", "proxy_send_timeout", &others, true),
        ("nar", "proxy_read_timeout", &nars, true),
        ("nar", "proxy_send_timeout", &nars, true),
    ] {
        let given: Vec<(&Directive, u64)> = answers
            .iter()
            .filter_map(|answered| answered.scope.find(directive))
            .filter_map(|one| time(one.arg()).filter(|time| *time > 0).map(|time| (one, time)))
            .collect();
        let has_default = given.len() < answers.len();
        match given.iter().max_by_key(|(_, time)| *time) {
            Some((one, time)) if !has_default || *time >= NGINX_TIMEOUT => {
                notes.carried(one);
                farm.set("timeouts", Key::new(name, duration_in_toml(*time), one));
            }
            longest if has_default && (is_shorter_here || longest.is_some()) => {
                let from = format!("nginx's default for {directive}");
                farm.set("timeouts", Key { name, value: duration_in_toml(NGINX_TIMEOUT), from });
            }
            _ => {}
        }
    }
    for server in servers(groups) {
        for (directive, table, name) in
            [("keepalive_timeout", "timeouts", "idle"), ("client_header_timeout", "limits", "header_timeout")]
        {
            let Some(one) = server.scope().find(directive) else { continue };
            match time(one.arg()).filter(|time| *time > 0) {
                Some(time) => {
                    notes.carried(one);
                    farm.set(table, Key::new(name, duration_in_toml(time), one));
                }
                None => notes.left(one, "connections are always kept for the next request"),
            }
        }
    }
}

fn limits(groups: &[Group<'_, '_>], farm: &mut Farm, notes: &mut Notes) {
    let given = servers(groups).filter_map(|server| server.scope().find("client_max_body_size"));
    let largest =
        given.filter_map(|one| size(one.arg()).map(|size| (one, size))).max_by_key(|(_, size)| *size);
    match largest {
        Some((one, 0)) => notes.left(one, "bodies always have a limit: limits.body, by default 1 MiB"),
        Some((one, bytes)) => {
            notes.carried(one);
            farm.set("limits", Key::new("body", size_in_toml(bytes), one));
        }
        None => {}
    }
}

fn cache(tree: &Tree, groups: &[Group<'_, '_>], farm: &mut Farm, notes: &mut Notes) {
    for (path, table, space) in [
        (STATIC, "cache.static", "cache.static"),
        (DOWNLOAD, "cache.download", "cache.static"),
        (LOG, "cache.logs", "cache.logs"),
    ] {
        for group in groups {
            let Some(answered) = group.ask_first(tree, path).filter(|answered| answered.backend().is_some())
            else {
                continue;
            };
            if path == DOWNLOAD {
                expires(group, &answered, farm, notes);
            }
            let Some(zone) = answered.scope.find("proxy_cache").filter(|one| one.arg() != "off") else {
                if group.ci.is_some() {
                    let shown = path.split('/').nth(1).unwrap_or_default();
                    notes.different(format!(
                        "{}: nginx keeps nothing of /{shown}/; here it is kept as far as its headers allow, see [cache]",
                        group.name()
                    ));
                }
                continue;
            };
            notes.carried(zone);
            valid(&answered, table, farm, notes);
            space_of(tree, zone.arg(), space, farm, notes);
        }
    }
}

fn expires(group: &Group<'_, '_>, answered: &Answered<'_>, farm: &mut Farm, notes: &mut Notes) {
    let Some(one) = answered.scope.find("expires").filter(|one| one.arg() != "off") else {
        notes.different(format!(
            "{}: clients are told to keep /download/ as long as cache.download.expires says; nginx leaves that to the backend",
            group.name()
        ));
        return;
    };
    match one.arg() {
        "max" => {
            notes.carried(one);
            farm.set("cache.download", Key::new("expires", "\"3650d\"", one));
        }
        text => match time(text.trim_start_matches('+')).filter(|_| one.args.len() == 1) {
            Some(time) => {
                notes.carried(one);
                farm.set("cache.download", Key::new("expires", duration_in_toml(time), one));
            }
            None => notes.left(one, "cache.download.expires is a duration from now on"),
        },
    }
}

/// `proxy_cache_valid 200 2d`, `proxy_cache_valid any 10m`, `proxy_cache_valid 10m`.
fn valid(answered: &Answered<'_>, table: &'static str, farm: &mut Farm, notes: &mut Notes) {
    for one in answered.scope.all(&["proxy_cache_valid"]) {
        let Some((last, statuses)) = one.args.split_last() else { continue };
        let Some(time) = time(last) else { continue };
        let is_good = statuses.is_empty() || statuses.iter().any(|status| status == "200");
        let is_any = statuses.iter().any(|status| status == "any");
        if is_good {
            notes.carried(one);
            farm.set(table, Key::new("fallback_ttl", duration_in_toml(time), one));
        }
        if is_any && table != "cache.logs" {
            notes.carried(one);
            farm.set(table, Key::new("fallback_ttl_other", duration_in_toml(time), one));
        } else if is_any {
            notes.left(one, "only a log that is there is kept: one that is not may come");
        } else if !is_good {
            notes.left(one, "there are two durations: for 200, and for everything else");
        }
    }
}

fn space_of(tree: &Tree, zone: &str, table: &'static str, farm: &mut Farm, notes: &mut Notes) {
    let named = |one: &&Directive| {
        one.args.iter().any(|arg| {
            arg.strip_prefix("keys_zone=")
                .and_then(|rest| rest.split(':').next())
                .is_some_and(|name| name == zone)
        })
    };
    let Some(path) = tree.http().iter().filter(|one| one.name == "proxy_cache_path").find(named) else {
        return;
    };
    let value = |name: &str| path.args.iter().find_map(|arg| arg.strip_prefix(name));
    if let Some(bytes) = value("max_size=").and_then(size).filter(|bytes| *bytes > 0) {
        farm.set(table, Key::new("max_size", size_in_toml(bytes), path));
    }
    if let Some(time) = value("inactive=").and_then(time).filter(|time| *time > 0) {
        farm.set(table, Key::new("inactive", duration_in_toml(time), path));
    }
    notes.left(
        path,
        "max_size and inactive are taken; the cache has a form and a folder of its own: paths.cache",
    );
}

/// Files are not: nginx's belong to nginx, and to the logrotate that goes with it.
fn access_log(groups: &[Group<'_, '_>], farm: &mut Farm, notes: &mut Notes) {
    for (tls, name) in [(false, "http"), (true, "https")] {
        for server in groups.iter().filter_map(|group| if tls { group.tls } else { group.plain }) {
            let Some(one) = server.scope().find("access_log") else { continue };
            let target = match one.arg() {
                "off" | "/dev/null" => "\"off\"",
                "/dev/stdout" => "\"-\"",
                _ => continue,
            };
            notes.carried(one);
            farm.set("access_log", Key::new(name, target, one));
        }
    }
}

fn servers<'g, 's, 't>(groups: &'g [Group<'s, 't>]) -> impl Iterator<Item = &'s Server<'t>> + 'g {
    groups.iter().flat_map(|group| group.servers.iter().copied())
}
