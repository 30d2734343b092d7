//! The sites: which servers are one, and who is behind them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::answer::{Answer, Answered, Request, answer, upstream, upstream_server};
use super::include::Tree;
use super::notes::Notes;
use super::servers::Server;
use super::syntax::Directive;
use super::values::text_in_toml;
use super::{Options, Reason, Refusal, admin, settings};

/// What is written in the end.
#[derive(Debug, Default)]
pub(super) struct Farm {
    pub(super) http: Vec<SocketAddr>,
    pub(super) https: Vec<SocketAddr>,
    pub(super) sites: Vec<Vec<Key>>,
    /// Of all other tables, by table.
    pub(super) tables: BTreeMap<&'static str, Vec<Key>>,
}

impl Farm {
    /// Adds a key, unless an earlier word on it stands.
    pub(super) fn set(&mut self, table: &'static str, key: Key) {
        let keys = self.tables.entry(table).or_default();
        if !keys.iter().any(|known| known.name == key.name) {
            keys.push(key);
        }
    }
}

/// A line of the configuration.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    /// In TOML.
    pub(super) value: String,
    /// Where it comes from.
    pub(super) from: String,
}

impl Key {
    pub(super) fn new(name: &'static str, value: impl Into<String>, by: &Directive) -> Self {
        Self { name, value: value.into(), from: format!("{} in {}", by.name, by.place) }
    }
}

/// A row of the route table, and a path that it is for.
struct Row {
    shown: &'static str,
    path: &'static str,
    by: By,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Publish,
    Log,
    Ci,
}

pub(super) const NARINFO: &str = "/0mdqa9w1p6cmli6976v4wi0sw9r4p5pr.narinfo";
pub(super) const NAR: &str = "/nar/gzip/0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-hello-2.12";
pub(super) const STATIC: &str = "/static/css/cuirass.css";
pub(super) const DOWNLOAD: &str = "/download/1";
pub(super) const LOG: &str = "/log/0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-hello-2.12";

const ROWS: [Row; 12] = [
    Row { shown: "….narinfo", path: NARINFO, by: By::Publish },
    Row { shown: "/nix-cache-info", path: "/nix-cache-info", by: By::Publish },
    Row { shown: "/nar/…", path: NAR, by: By::Publish },
    Row { shown: "/file/…", path: "/file/hello.tar.gz/sha256/0mdqa9w1", by: By::Publish },
    Row { shown: "/signing-key.pub", path: "/signing-key.pub", by: By::Publish },
    Row { shown: "/log/…", path: LOG, by: By::Log },
    Row { shown: "/", path: "/", by: By::Ci },
    Row { shown: "pages", path: "/jobset/guix", by: By::Ci },
    Row { shown: "builds", path: "/build/1/details", by: By::Ci },
    Row { shown: "/api/…", path: "/api/latestbuilds", by: By::Ci },
    Row { shown: "/static/…", path: STATIC, by: By::Ci },
    Row { shown: "/download/…", path: DOWNLOAD, by: By::Ci },
];

/// What a CA asks for.
const CHALLENGE: &str = "/.well-known/acme-challenge/token";

/// The servers of one site.
pub(super) struct Group<'s, 't> {
    pub(super) servers: Vec<&'s Server<'t>>,
    pub(super) names: Vec<String>,
    /// The one that answers over TLS, and the one that answers without.
    pub(super) tls: Option<&'s Server<'t>>,
    pub(super) plain: Option<&'s Server<'t>>,
    pub(super) publish: Option<String>,
    pub(super) ci: Option<String>,
}

impl<'t> Group<'_, 't> {
    /// What the site answers to a GET of `path`; none where it does not listen.
    pub(super) fn ask(&self, tree: &'t Tree, path: &str, tls: bool, certified: bool) -> Option<Answered<'t>> {
        let server = if tls { self.tls } else { self.plain }?;
        let host = self.names.first().map_or("localhost", String::as_str);
        Some(answer(tree, server, &Request { host, path, tls, certified }))
    }

    /// The same where most clients come.
    pub(super) fn ask_first(&self, tree: &'t Tree, path: &str) -> Option<Answered<'t>> {
        self.ask(tree, path, true, false).or_else(|| self.ask(tree, path, false, false))
    }

    /// How it is called in what is told.
    pub(super) fn name(&self) -> &str {
        self.names.first().map_or("a server without a name", String::as_str)
    }
}

/// Makes a farm of the servers.
///
/// # Errors
///
/// Where there is none, and where it would open what nginx closes.
pub(super) fn farm<'t>(
    tree: &'t Tree,
    servers: &[Server<'t>],
    options: Options,
    notes: &mut Notes,
) -> Result<Farm, Refusal> {
    let mut reasons = Vec::new();
    let groups = groups(tree, servers, &mut reasons, notes);
    if groups.is_empty() && reasons.is_empty() {
        let message =
            "no server with a name passes substitutes or pages on to a backend: there is no farm in it";
        reasons.push(Reason::new(servers.first().map(|server| &server.at.place), message));
    }
    let mut farm = Farm::default();
    let mut seen = BTreeSet::new();
    for group in &groups {
        routes(tree, group, &mut seen, &mut reasons, notes);
    }
    admin::admin(tree, &groups, options, &mut farm, &mut seen, &mut reasons, notes);
    for group in &groups {
        group.servers.iter().for_each(|server| elsewhere(server.at, &seen, &mut reasons, notes));
    }
    if !reasons.is_empty() {
        return Err(Refusal { reasons });
    }
    listen(&groups, &mut farm, notes);
    for group in &groups {
        let site = site(tree, group, &farm, notes)?;
        farm.sites.push(site);
    }
    settings::settings(tree, &groups, &mut farm, notes);
    Ok(farm)
}

fn groups<'s, 't>(
    tree: &'t Tree,
    servers: &'s [Server<'t>],
    reasons: &mut Vec<Reason>,
    notes: &mut Notes,
) -> Vec<Group<'s, 't>> {
    // Servers with TLS that share a name are one site. One without belongs to each site that it has a name of: often it
    // redirects for all of them.
    let mut of_name: BTreeMap<&str, usize> = BTreeMap::new();
    let mut members: Vec<Vec<&Server<'t>>> = Vec::new();
    let (with, without): (Vec<_>, Vec<_>) = servers.iter().partition(|server| server.listens_with(true));
    for server in with.into_iter().chain(without) {
        let known: BTreeSet<usize> =
            server.names.iter().filter_map(|name| of_name.get(name.as_str()).copied()).collect();
        let first = known.first().copied().unwrap_or(members.len());
        if first == members.len() {
            members.push(vec![server]);
        } else if server.listens_with(true) {
            let mut joined = vec![server];
            for other in known.iter().skip(1) {
                joined.append(&mut members[*other]);
            }
            of_name.extend(joined.iter().flat_map(|server| &server.names).map(|name| (name.as_str(), first)));
            members[first].extend(joined);
        } else {
            known.iter().for_each(|site| members[*site].push(server));
        }
        for name in &server.names {
            of_name.entry(name).or_insert(first);
        }
    }
    let mut groups: Vec<Group<'_, '_>> = Vec::new();
    for (index, members) in members.into_iter().enumerate().filter(|(_, members)| !members.is_empty()) {
        let mut names: Vec<String> = Vec::new();
        for name in members.iter().flat_map(|server| &server.names) {
            if of_name.get(name.as_str()) == Some(&index) && !names.contains(name) {
                names.push(name.clone());
            }
        }
        groups.extend(group(tree, members, names, reasons, notes));
    }
    // One without a name can be no site. Beside others it answered for hosts that nobody names, as the first site will.
    let named = groups.iter().any(|group| !group.names.is_empty());
    groups.retain(|group| {
        let Some(server) = group.servers.first().filter(|_| group.names.is_empty()) else { return true };
        if named {
            notes.left(
                server.at,
                "it has no name to be a site by; on https the first site answers for unknown hosts, from http they are \
                 sent there",
            );
        } else {
            let message = "this server passes requests on, and has no name: give it a server_name that clients use";
            reasons.push(Reason::new(Some(&server.at.place), message));
        }
        false
    });
    // The first site answers for hosts that nobody names.
    let by_word =
        groups.iter().position(|group| group.servers.iter().any(|server| server.is_default_for_tls()));
    if let Some(first) = by_word.or_else(|| groups.iter().position(|group| group.tls.is_some())) {
        groups[..=first].rotate_right(1);
    }
    groups
}

/// Nothing where none of the servers passes anything on that a farm is asked for.
fn group<'s, 't>(
    tree: &'t Tree,
    servers: Vec<&'s Server<'t>>,
    names: Vec<String>,
    reasons: &mut Vec<Reason>,
    notes: &mut Notes,
) -> Option<Group<'s, 't>> {
    let passes_on = |server: &Server<'t>, tls: bool| {
        let host = server.names.first().map_or("localhost", String::as_str);
        ROWS.iter().any(|row| {
            let answered = answer(tree, server, &Request { host, path: row.path, tls, certified: false });
            matches!(answered.answer, Answer::Backend(_) | Answer::Unclear(_))
        })
    };
    let main = |tls: bool| {
        let mut all = servers.iter().copied().filter(|server| server.listens_with(tls));
        let first = all.clone().next();
        all.find(|server| passes_on(server, tls)).or(first)
    };
    let (tls, plain) = (main(true), main(false));
    let is_farm = [(tls, true), (plain, false)]
        .into_iter()
        .any(|(server, tls)| server.is_some_and(|server| passes_on(server, tls)));
    if !is_farm {
        for server in &servers {
            notes.left(server.at, "it passes no substitutes and no pages on: something else has to serve it");
        }
        return None;
    }
    let mut used = Vec::new();
    for server in servers {
        let is_main = [tls, plain].into_iter().flatten().any(|main| std::ptr::eq(main, server));
        if is_main {
            used.push(server);
        } else {
            notes.left(server.at, format!("its names are answered as {} is", names.join(" ")));
        }
    }
    let mut group = Group { servers: used, names, tls, plain, publish: None, ci: None };
    let backend = |path: &str, reasons: &mut Vec<Reason>| {
        let answered = group.ask_first(tree, path)?;
        if let Answer::Unclear(why) = &answered.answer {
            reasons.push(Reason::new(
                Some(&answered.by.place),
                format!("who answers {path} cannot be said: {why}"),
            ));
        }
        answered.backend().map(str::to_owned)
    };
    let publish = backend(NARINFO, reasons);
    let ci = backend("/", reasons).filter(|ci| Some(ci) != publish.as_ref());
    if publish.is_none() && ci.is_none() && reasons.is_empty() {
        let why = "neither narinfos nor the front page are passed on: this is no farm's site";
        group.servers.iter().for_each(|server| notes.left(server.at, why));
        return None;
    }
    (group.publish, group.ci) = (publish, ci);
    Some(group)
}

/// Compares the answers of nginx with those of the site, row by row.
fn routes<'t>(
    tree: &'t Tree,
    group: &Group<'_, 't>,
    seen: &mut BTreeSet<usize>,
    reasons: &mut Vec<Reason>,
    notes: &mut Notes,
) {
    for row in &ROWS {
        let ours = ours(tree, group, row.by);
        for tls in [true, false] {
            let Some(answered) = group.ask(tree, row.path, tls, false) else { continue };
            seen.extend(answered.locations.iter().map(|location| location.id));
            let opened =
                group.ask(tree, row.path, tls, true).is_some_and(|answered| answered.backend().is_some());
            let guard = answered.guard.filter(|_| answered.backend().is_some());
            // A condition that nobody can follow may be one that keeps somebody out.
            let hidden = matches!(answered.answer, Answer::Unclear(_))
                && matches!(answered.by.name.as_str(), "if" | "location");
            if let Some(by) =
                answered.depends.filter(|_| answered.is_refused()).or(hidden.then_some(answered.by))
            {
                let message = format!(
                    "whether {} is open to everybody in nginx cannot be said, because of this {}; here it would be. If that \
                     is right, take it out of a copy of the file",
                    row.shown, by.name
                );
                reasons.push(Reason::new(Some(&by.place), message));
                continue;
            }
            if guard.is_some() || answered.is_refused() && opened {
                let by = guard.unwrap_or(answered.by);
                let message = format!(
                    "{} is not open to everybody in nginx, by this {}; here it would be: all but the admin pages is \
                     public. If that is right, take it out of a copy of the file",
                    row.shown, by.name
                );
                reasons.push(Reason::new(Some(&by.place), message));
                continue;
            }
            if answered.backend().is_some() && answered.backend() == ours.as_deref() {
                notes.carried(answered.by);
                continue;
            }
            let is_first = tls || group.tls.is_none();
            if is_first && !(answered.backend().is_none() && ours.is_none()) {
                notes.different(format!(
                    "{}: {} is {} in nginx, and {} here",
                    group.name(),
                    row.shown,
                    shown(&answered),
                    ours.clone().unwrap_or_else(|| "404".into()),
                ));
            }
        }
    }
    for tls in [true, false] {
        let answered = group.ask(tree, CHALLENGE, tls, false);
        seen.extend(answered.iter().flat_map(|answered| &answered.locations).map(|location| location.id));
    }
    // Its text is built in, whatever nginx has.
    if let Some(robots) = group.ask_first(tree, "/robots.txt") {
        seen.extend(robots.locations.iter().map(|location| location.id));
        let why = "/robots.txt is built in: crawlers may index / and nothing else";
        let own = robots.locations.iter().filter(|one| one.args.iter().any(|arg| arg.contains("robots")));
        own.for_each(|location| notes.left(location, why));
    }
}

/// Who answers the row here.
fn ours(tree: &Tree, group: &Group<'_, '_>, by: By) -> Option<String> {
    let pages = group.ci.clone().or_else(|| group.publish.clone());
    match by {
        By::Publish => group.publish.clone(),
        By::Ci => pages,
        By::Log => match log_route(tree, group) {
            Some((_, backend)) => Some(backend),
            None => pages,
        },
    }
}

/// Who answers `/log/`, where nginx says so and both could.
fn log_route<'t>(tree: &'t Tree, group: &Group<'_, 't>) -> Option<(Answered<'t>, String)> {
    let answered = group.ask_first(tree, LOG)?;
    let backend = answered.backend()?.to_owned();
    (group.ci.is_some() && group.publish.as_ref() == Some(&backend)).then_some((answered, backend))
}

fn shown(answered: &Answered<'_>) -> String {
    match &answered.answer {
        Answer::Backend(backend) => format!("answered by {backend}"),
        Answer::Status(status, Some(to)) if (300..400).contains(status) => format!("a redirect to {to}"),
        Answer::Status(status, _) => format!("answered with {status}"),
        Answer::Files(_) => "looked for among files".into(),
        Answer::Unclear(why) => format!("something that cannot be said ({why}, {})", answered.by.place),
    }
}

/// Locations that no request to a farm reaches: with what they say about who may.
fn elsewhere(block: &Directive, seen: &BTreeSet<usize>, reasons: &mut Vec<Reason>, notes: &mut Notes) {
    const RULES: [&str; 7] =
        ["deny", "auth_basic", "auth_request", "auth_jwt", "satisfy", "limit_except", "internal"];
    for location in block.inside().iter().filter(|one| one.name == "location") {
        if notes.is_known(location) {
            continue;
        }
        if seen.contains(&location.id) {
            elsewhere(location, seen, reasons, notes);
            continue;
        }
        let rule = find(location, &|one| {
            RULES.contains(&one.name.as_str())
                || one.name == "if" && one.args.iter().any(|word| word.contains("$ssl_client"))
        });
        let passes = find(location, &|one| one.name.ends_with("_pass"));
        match (rule, passes) {
            (Some(rule), Some(_)) => {
                let message = format!(
                    "{location} is not open to everybody in nginx, by this {}; here it would be: all but the admin pages is \
                     public. If that is right, take the location out of a copy of the file",
                    rule.name
                );
                reasons.push(Reason::new(Some(&rule.place), message));
            }
            (Some(_), None) => {
                notes.left(location, "nginx closes it; here its path goes to whom the route table says");
            }
            (None, _) if location.arg().starts_with('@') => notes.left(location, "nothing leads there"),
            (None, _) => {
                notes.left(location, "routes are built in: its path goes to whom the route table says")
            }
        }
    }
}

fn find<'t>(block: &'t Directive, what: &dyn Fn(&Directive) -> bool) -> Option<&'t Directive> {
    block.inside().iter().find_map(|one| if what(one) { Some(one) } else { find(one, what) })
}

fn listen(groups: &[Group<'_, '_>], farm: &mut Farm, notes: &mut Notes) {
    let mut of_group: Vec<BTreeSet<SocketAddr>> = Vec::new();
    for group in groups {
        let mut own = BTreeSet::new();
        for listen in group.servers.iter().flat_map(|server| &server.listens) {
            let into = if listen.tls { &mut farm.https } else { &mut farm.http };
            for address in &listen.addresses {
                own.insert(*address);
                if !into.contains(address) {
                    into.push(*address);
                }
            }
        }
        of_group.push(own);
    }
    if of_group.windows(2).any(|pair| pair[0] != pair[1]) {
        notes.different("the sites have different addresses in nginx; here each site answers on all of them");
    }
    // The same address with and without TLS: nginx goes by what the first server says.
    farm.http.retain(|address| !farm.https.contains(address));
}

fn site(tree: &Tree, group: &Group<'_, '_>, farm: &Farm, notes: &mut Notes) -> Result<Vec<Key>, Refusal> {
    let names: Vec<String> = group.names.iter().map(|name| text_in_toml(name)).collect();
    let mut keys = Vec::new();
    let by = group
        .servers
        .iter()
        .find_map(|server| server.at.inside().iter().find(|one| one.name == "server_name"));
    if let Some(by) = by {
        keys.push(Key::new("names", format!("[{}]", names.join(", ")), by));
    }
    for (name, path, backend) in [("publish", NARINFO, &group.publish), ("ci", "/", &group.ci)] {
        if let (Some(backend), Some(answered)) = (backend, group.ask_first(tree, path)) {
            keys.push(Key::new(name, text_in_toml(backend), answered.by));
            upstream_of(tree, answered.by, notes);
        }
    }
    settings::certificate(tree, group, &mut keys, notes)?;
    plain_http(tree, group, farm, &mut keys, notes);
    if let Some((answered, _)) = log_route(tree, group) {
        keys.push(Key::new("log_route", "\"publish\"", answered.by));
    }
    webroot(tree, group, &mut keys, notes);
    Ok(keys)
}

/// Says what becomes of the upstream that `pass` names.
fn upstream_of(tree: &Tree, pass: &Directive, notes: &mut Notes) {
    let name = pass.arg().trim_start_matches("http://");
    let Some(upstream) = upstream(tree, name.split('/').next().unwrap_or_default()) else { return };
    let first = upstream_server(upstream);
    for server in upstream.inside().iter().filter(|one| one.name == "server") {
        if first.is_some_and(|first| first.id == server.id) && server.args.len() == 1 {
            notes.carried(server);
        } else if first.is_some_and(|first| first.id == server.id) {
            notes.left(server, "the address is taken; its parameters have no counterpart");
        }
    }
}

fn plain_http(tree: &Tree, group: &Group<'_, '_>, farm: &Farm, keys: &mut Vec<Key>, notes: &mut Notes) {
    let ask = |path: &str| group.ask(tree, path, false, false);
    let (Some(narinfo), Some(page)) = (ask(NARINFO), ask("/")) else {
        if !farm.http.is_empty() {
            let from = "no server without TLS has this name".to_owned();
            keys.push(Key { name: "plain_http", value: "\"redirect\"".into(), from });
            notes.different(format!(
                "{}: plain HTTP is not answered in nginx, and redirected here",
                group.name()
            ));
        }
        return;
    };
    let policy = match (narinfo.backend(), page.backend()) {
        _ if group.tls.is_none() => return,
        (Some(_), Some(_)) => return,
        (Some(_), None) if group.ci.is_none() && !page.is_to_https() => return,
        (Some(_), None) => "\"substitutes\"",
        (None, Some(_)) if group.publish.is_none() => return,
        (None, Some(_)) => {
            notes.different(format!(
                "{}: over plain HTTP nginx serves pages and no substitutes; here they are redirected as well",
                group.name()
            ));
            "\"redirect\""
        }
        (None, None) => "\"redirect\"",
    };
    let by = if page.is_to_https() { &page } else { &narinfo };
    keys.push(Key::new("plain_http", policy, by.by));
    for answered in [&narinfo, &page].into_iter().filter(|answered| answered.is_to_https()) {
        notes.carried(answered.by);
    }
    if !page.is_to_https() && !narinfo.is_to_https() {
        notes.different(format!(
            "{}: what nginx does not answer over plain HTTP is redirected here",
            group.name()
        ));
    }
}

fn webroot(tree: &Tree, group: &Group<'_, '_>, keys: &mut Vec<Key>, notes: &mut Notes) {
    for tls in [false, true] {
        let Some(answered) = group.ask(tree, CHALLENGE, tls, false) else { continue };
        let Answer::Files(folder) = &answered.answer else {
            notes.different(format!(
                "{}: /.well-known/ over {} is {} in nginx; here it comes from webroot, or is 404, on both ports",
                group.name(),
                if tls { "TLS" } else { "plain HTTP" },
                shown(&answered),
            ));
            continue;
        };
        match folder {
            Some(folder) if !keys.iter().any(|key| key.name == "webroot") => {
                notes.carried(answered.by);
                keys.push(Key::new("webroot", text_in_toml(&folder.to_string_lossy()), answered.by));
            }
            Some(_) => notes.carried(answered.by),
            None if matches!(answered.by.name.as_str(), "root" | "alias") => {
                notes.left(answered.by, "a webroot is a folder with .well-known in it, by its full name");
            }
            None => {}
        }
    }
}
