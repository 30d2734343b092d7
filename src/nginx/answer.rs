//! What nginx would answer to a request.
//!
//! Its phases in their order: the rewrites of the server, the choice of a location, the rewrites of the location, who may, and
//! who answers. What a request carries besides host, path and certificate is nothing: it is one that anybody could send.

use std::path::PathBuf;

use regex::Regex;

use super::condition::{Outcome, holds};
use super::include::Tree;
use super::location;
use super::servers::Server;
use super::syntax::Directive;

/// Internal redirects, by `try_files`, before somebody has answered.
const MOST_REDIRECTS: usize = 5;

/// A GET.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'r> {
    pub(super) host: &'r str,
    pub(super) path: &'r str,
    pub(super) tls: bool,
    /// Whether it comes with a client certificate that nginx finds good.
    pub(super) certified: bool,
}

/// What somebody gets.
#[derive(Debug)]
pub(super) enum Answer<'t> {
    /// What another server says, over plain HTTP: `http://HOST:PORT`.
    Backend(String),
    /// A status and, for a redirect, where to; a text otherwise.
    Status(u16, Option<&'t str>),
    /// Files of the folder that, as `webroot`, would serve the same ones; none if there is no such folder.
    Files(Option<PathBuf>),
    /// It cannot be said from here.
    Unclear(String),
}

/// The answer, and how it came about.
#[derive(Debug)]
pub(super) struct Answered<'t> {
    pub(super) answer: Answer<'t>,
    /// The directive that made it.
    pub(super) by: &'t Directive,
    /// The locations it went through, outermost first.
    pub(super) locations: Vec<&'t Directive>,
    /// What nginx has set where it was answered.
    pub(super) scope: Scope<'t>,
    /// The rule by which not everybody gets it.
    pub(super) guard: Option<&'t Directive>,
    /// An `if` that asked for something that only some requests carry.
    pub(super) depends: Option<&'t Directive>,
}

impl Answered<'_> {
    /// Whether nobody gets anything.
    pub(super) fn is_refused(&self) -> bool {
        matches!(self.answer, Answer::Status(400.., _))
    }

    /// The backend, if one answers.
    pub(super) fn backend(&self) -> Option<&str> {
        match &self.answer {
            Answer::Backend(backend) => Some(backend),
            _ => None,
        }
    }

    /// Whether it is a redirect to https.
    pub(super) fn is_to_https(&self) -> bool {
        matches!(&self.answer, Answer::Status(300..=399, Some(to)) if to.starts_with("https://"))
    }
}

/// The blocks around a place, outermost first. What the innermost one sets counts.
#[derive(Clone, Debug)]
pub(super) struct Scope<'t>(pub(super) Vec<&'t [Directive]>);

impl<'t> Scope<'t> {
    /// The directive `name` that counts here.
    pub(super) fn find(&self, name: &str) -> Option<&'t Directive> {
        self.all(&[name]).first().copied()
    }

    /// Those of the innermost block that has any of `names`.
    pub(super) fn all(&self, names: &[&str]) -> Vec<&'t Directive> {
        let of = |block: &&'t [Directive]| -> Vec<&'t Directive> {
            block.iter().filter(|one| names.contains(&one.name.as_str())).collect()
        };
        self.0.iter().rev().map(of).find(|found| !found.is_empty()).unwrap_or_default()
    }
}

/// What `server` answers to `request`.
pub(super) fn answer<'t>(tree: &'t Tree, server: &Server<'t>, request: &Request<'_>) -> Answered<'t> {
    let mut scope = server.scope();
    let mut depends = None;
    let mut locations = Vec::new();
    if let Some(step) = rewrites(server.at.inside(), request, &mut depends) {
        match step {
            Step::Over(answer, by) => {
                return Answered { answer, by, locations, scope, guard: None, depends };
            }
            Step::Into(_) => {} // a server's `if` holds rewrites only
        }
    }
    let mut path = request.path.to_owned();
    let mut inside = None;
    for _ in 0..MOST_REDIRECTS {
        let request = Request { path: &path, ..*request };
        let chosen = match inside.take() {
            Some(one) => vec![one],
            None => match location::choose(server.at.inside(), &path) {
                Ok(chain) => chain,
                Err(unreadable) => {
                    let answer = Answer::Unclear(unreadable.why);
                    return Answered { answer, by: unreadable.at, locations, scope, guard: None, depends };
                }
            },
        };
        scope = server.scope();
        scope.0.extend(chosen.iter().map(|location| location.inside()));
        locations.extend(chosen.iter().copied());
        let innermost = chosen.last().copied().unwrap_or(server.at);
        let mut block = innermost.inside();
        if !chosen.is_empty() {
            match rewrites(block, &request, &mut depends) {
                Some(Step::Over(answer, by)) => {
                    return Answered { answer, by, locations, scope, guard: None, depends };
                }
                Some(Step::Into(inner)) => {
                    scope.0.push(inner);
                    // Its own handler, if it has one; the location's otherwise.
                    if inner.iter().any(|one| handler(one).is_some()) {
                        block = inner;
                    }
                }
                None => {}
            }
        }
        let guard = guard(&scope, block, request.tls);
        let done = |answer, by| Answered {
            answer,
            by,
            locations: locations.clone(),
            scope: scope.clone(),
            guard,
            depends,
        };
        if let Some(files) = block.iter().find(|one| one.name == "try_files") {
            match files.args.last().map(String::as_str) {
                Some(name) if name.starts_with('@') => match location::named(server.at.inside(), name) {
                    Some(location) => {
                        inside = Some(location);
                        continue;
                    }
                    None => return done(Answer::Unclear(format!("there is no location {name}")), files),
                },
                Some(other) if other.starts_with('/') => {
                    let other = other.split('?').next().unwrap_or_default();
                    if other.contains('$') {
                        return done(Answer::Unclear(format!("it goes on to {other}")), files);
                    }
                    path = other.to_owned();
                    continue;
                }
                _ => {}
            }
        }
        return match block.iter().find_map(|one| handler(one).map(|what| (one, what))) {
            Some((pass, Handler::Proxy)) => {
                let location = chosen.last().map(|location| location.args.as_slice());
                done(proxy(tree, pass, location), pass)
            }
            Some((pass, Handler::Other)) => done(Answer::Unclear(format!("{} answers", pass.name)), pass),
            None => {
                let by = scope.find("alias").or_else(|| scope.find("root")).unwrap_or(innermost);
                done(Answer::Files(webroot(by, chosen.last().copied())), by)
            }
        };
    }
    let answer = Answer::Unclear("nginx would go round in a circle".into());
    Answered { answer, by: server.at, locations, scope, guard: None, depends }
}

enum Step<'t> {
    /// This is the answer.
    Over(Answer<'t>, &'t Directive),
    /// What stands in this `if` counts as well.
    Into(&'t [Directive]),
}

fn rewrites<'t>(
    block: &'t [Directive],
    request: &Request<'_>,
    depends: &mut Option<&'t Directive>,
) -> Option<Step<'t>> {
    let mut into = None;
    for one in block {
        match one.name.as_str() {
            "return" => return Some(Step::Over(returned(one), one)),
            "break" => break,
            "rewrite" => {
                let (pattern, target) = (one.arg(), one.args.get(1).map_or("", String::as_str));
                let flag = one.args.get(2).map_or("", String::as_str);
                let answer = match Regex::new(pattern) {
                    Ok(regex) if !regex.is_match(request.path) => continue,
                    Ok(_) if flag == "permanent" => Answer::Status(301, Some(target)),
                    Ok(_) if flag == "redirect" || target.starts_with("http") => {
                        Answer::Status(302, Some(target))
                    }
                    Ok(_) => Answer::Unclear("it rewrites the path".into()),
                    Err(_) => Answer::Unclear(format!("{pattern} cannot be read here")),
                };
                return Some(Step::Over(answer, one));
            }
            "if" => {
                let is_true = match holds(&one.args, request) {
                    Outcome::Known(is_true) => is_true,
                    Outcome::Plain(is_true) => {
                        depends.get_or_insert(one);
                        is_true
                    }
                    Outcome::Unclear(_) if one.inside().iter().all(|inner| inner.name == "set") => false,
                    Outcome::Unclear(why) => return Some(Step::Over(Answer::Unclear(why), one)),
                };
                if is_true {
                    match rewrites(one.inside(), request, depends) {
                        Some(Step::Over(answer, by)) => return Some(Step::Over(answer, by)),
                        _ => into = Some(one.inside()),
                    }
                }
            }
            _ => {}
        }
    }
    into.map(Step::Into)
}

fn returned(one: &Directive) -> Answer<'_> {
    let second = one.args.get(1).map(String::as_str);
    match one.arg().parse::<u16>() {
        Ok(status) => Answer::Status(status, second),
        // An address alone.
        Err(_) => Answer::Status(302, Some(one.arg())),
    }
}

enum Handler {
    Proxy,
    Other,
}

fn handler(one: &Directive) -> Option<Handler> {
    match one.name.as_str() {
        "proxy_pass" => Some(Handler::Proxy),
        "stub_status" | "empty_gif" | "flv" | "mp4" | "perl" | "random_index" => Some(Handler::Other),
        name if name.ends_with("_pass") || name.contains("_by_lua") => Some(Handler::Other),
        _ => None,
    }
}

/// `location` has the arguments of the location that it stands in.
fn proxy<'t>(tree: &Tree, pass: &Directive, location: Option<&[String]>) -> Answer<'t> {
    let target = pass.arg();
    let unclear = |why: &str| Answer::Unclear(format!("proxy_pass {target} {why}"));
    if target.contains('$') {
        return unclear("goes where a variable says");
    }
    let Some(rest) = target.strip_prefix("http://") else {
        return unclear("is not plain HTTP, which is all that a backend is spoken to in");
    };
    if rest.starts_with("unix:") {
        return unclear("is a Unix socket, and a backend has a host and a port");
    }
    let (name, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    // With a path the location's own one is replaced by it. That changes nothing where both are the same.
    let is_same =
        path.is_empty() || location.is_some_and(|args| args.last().is_some_and(|last| last == path));
    if !is_same {
        return unclear("changes the path, and here paths go on as the client sent them");
    }
    match upstream(tree, name).map(upstream_server) {
        Some(Some(server)) if server.arg().starts_with("unix:") => {
            unclear("is a Unix socket, and a backend has a host and a port")
        }
        Some(Some(server)) => Answer::Backend(format!("http://{}", server.arg())),
        Some(None) => unclear("is an upstream without a server"),
        None => Answer::Backend(format!("http://{name}")),
    }
}

/// The block `upstream name`.
pub(super) fn upstream<'t>(tree: &'t Tree, name: &str) -> Option<&'t Directive> {
    tree.http().iter().find(|one| one.name == "upstream" && one.arg() == name)
}

/// The server of an upstream that is asked first.
pub(super) fn upstream_server(upstream: &Directive) -> Option<&Directive> {
    upstream.inside().iter().find(|one| {
        one.name == "server"
            && !one.args.iter().skip(1).any(|word| matches!(word.as_str(), "backup" | "down"))
    })
}

/// The rule that keeps some clients out, if there is one.
fn guard<'t>(scope: &Scope<'t>, own: &'t [Directive], tls: bool) -> Option<&'t Directive> {
    let addresses = scope.all(&["allow", "deny"]);
    let open = addresses.first().is_some_and(|first| first.name == "allow" && first.arg() == "all");
    let denied = addresses.into_iter().find(|one| one.name == "deny").filter(|_| !open);
    let asked = ["auth_basic", "auth_request", "auth_jwt", "auth_delay"]
        .iter()
        .find_map(|name| scope.find(name).filter(|one| one.arg() != "off"));
    let certificate = scope.find("ssl_verify_client").filter(|one| tls && one.arg() == "on");
    let within = own.iter().find(|one| {
        one.name == "internal"
            || one.name == "limit_except" && one.inside().iter().any(|inner| inner.name != "allow")
    });
    certificate.or(denied).or(asked).or(within)
}

/// The folder that has the same files below `.well-known`.
fn webroot(by: &Directive, location: Option<&Directive>) -> Option<PathBuf> {
    let folder = by.arg();
    if !folder.starts_with('/') || folder.contains('$') {
        return None;
    }
    if by.name == "root" {
        return Some(PathBuf::from(folder));
    }
    // `location P` with `alias A` serves A + the rest behind P, and webroot + P + the rest.
    let prefix = location?.args.last()?.trim_matches('/');
    let inner = folder.trim_end_matches('/').strip_suffix(prefix)?;
    (inner.ends_with('/') && !prefix.is_empty()).then(|| PathBuf::from(inner.trim_end_matches('/')))
}
