//! Who may see the admin pages. There is one rule that both know: whoever has a certificate of this CA. Anything else is
//! refused, because a guess could let somebody in.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::answer::Answered;
use super::farm::{Farm, Group, Key};
use super::include::Tree;
use super::notes::Notes;
use super::servers::Server;
use super::syntax::Directive;
use super::values::text_in_toml;
use super::{Options, Reason};

/// The admin pages as Cuirass has them, and one that changes something.
const PATHS: [&str; 6] = [
    "/admin",
    "/admin/",
    "/admin/specifications",
    "/admin/specification/edit/guix",
    "/admin/build/1/restart",
    "/admin/evaluation/1/cancel",
];

/// What nginx does with the admin pages of a site.
enum Rule<'t> {
    /// Lets in who has a certificate, by this directive.
    Certificate(&'t Directive),
    /// Lets everybody in.
    Open,
    /// Lets nobody in.
    Closed,
}

/// Reads the rule of each site, and sets `client_ca` and `crl` where they all say the same.
pub(super) fn admin<'t>(
    tree: &'t Tree,
    groups: &[Group<'_, 't>],
    options: Options,
    farm: &mut Farm,
    seen: &mut BTreeSet<usize>,
    reasons: &mut Vec<Reason>,
    notes: &mut Notes,
) {
    let mut taken: Option<(String, Vec<Key>)> = None;
    let mut closed = Vec::new();
    for group in groups {
        for path in PATHS {
            for (tls, certified) in [(true, false), (true, true), (false, false)] {
                let answered = group.ask(tree, path, tls, certified);
                seen.extend(
                    answered.iter().flat_map(|answered| &answered.locations).map(|location| location.id),
                );
            }
        }
        if options.admin_closed {
            locations(group)
                .for_each(|location| notes.left(location, "the admin pages are left closed, as asked for"));
            notes.different(format!("{}: /admin is closed: --admin-closed", group.name()));
            continue;
        }
        match rule(tree, group) {
            Err(reason) => reasons.push(reason),
            Ok(Rule::Open) if group.ci.is_none() => {}
            Ok(Rule::Open) => notes.different(format!(
                "{}: everybody can use /admin in nginx; here nobody can without a certificate, and `farmgate admin init` makes \
                 the CA for them",
                group.name()
            )),
            Ok(Rule::Closed) => closed.push(group.name()),
            Ok(Rule::Certificate(by)) => match (certificates(tree, group, by, notes), &taken) {
                (Err(reason), _) => reasons.push(reason),
                (Ok((authority, _)), Some((other, _))) if authority != *other => {
                    let message = "the sites' admins have certificates of different CAs, and here all sites have one: \
                                   put the CAs' certificates into one file if all may do everything";
                    reasons.push(Reason::new(Some(&by.place), message));
                }
                (Ok(_), Some(_)) => {}
                (Ok(found), None) => taken = Some(found),
            },
        }
    }
    if let (Some(_), Some(name)) = (&taken, closed.first()) {
        let message = format!(
            "nginx lets nobody into /admin of {name}, and admins into that of another site; here one rule is for all sites"
        );
        reasons.push(Reason::new(None, message));
    } else if let Some(name) = closed.first() {
        notes.different(format!(
            "{name}: /admin is closed, as it is in nginx, until there is a CA: `farmgate admin init`"
        ));
    }
    for key in taken.into_iter().flat_map(|(_, keys)| keys) {
        farm.set("admin", key);
    }
}

fn rule<'t>(tree: &'t Tree, group: &Group<'_, 't>) -> Result<Rule<'t>, Reason> {
    let unsure = |by: &Directive, what: &str| {
        Reason::new(
            Some(&by.place),
            format!(
                "who may see /admin of {} is not for guessing: {what}. What can be carried over is \
                 \"if ($ssl_client_verify != SUCCESS) {{ return 403; }}\" with ssl_verify_client optional. With --admin-closed \
                 the admin pages are left closed",
                group.name()
            ),
        )
    };
    let scope = group.tls.map(Server::scope);
    let asks =
        scope.as_ref().and_then(|scope| scope.find("ssl_verify_client")).filter(|one| one.arg() != "off");
    if let Some(by) = asks.filter(|by| by.arg() == "on") {
        return Err(unsure(by, "nginx wants a certificate for every page, and here all others are public"));
    }
    if let Some(by) = asks.filter(|by| by.arg() != "optional") {
        return Err(unsure(
            by,
            &format!("ssl_verify_client {} takes certificates that nobody has checked", by.arg()),
        ));
    }
    let mut rules = Vec::new();
    for path in PATHS {
        let without = group.ask(tree, path, true, false);
        let with = group.ask(tree, path, true, true);
        let (Some(without), Some(with)) = (without, with) else {
            // Without TLS there are no certificates, and here no admin pages either.
            let Some(plain) = group.ask(tree, path, false, false) else { continue };
            rules.push(if plain.is_refused() { Rule::Closed } else { Rule::Open });
            continue;
        };
        for answered in [&without, &with] {
            if let Some(guard) = answered.guard {
                return Err(unsure(guard, &format!("{guard} decides about {path}")));
            }
            if let Some(depends) = answered.depends {
                return Err(unsure(
                    depends,
                    &format!("\"{depends}\" decides about {path} by what a client says"),
                ));
            }
        }
        if with
            .backend()
            .is_some_and(|backend| Some(backend) != group.ci.as_deref().or(group.publish.as_deref()))
        {
            return Err(unsure(with.by, &format!("{path} goes to another backend than the pages")));
        }
        rules.push(of(path, &without, &with, &unsure)?);
    }
    let mut rules = rules.into_iter();
    let Some(first) = rules.next() else { return Ok(Rule::Closed) };
    for other in rules {
        if std::mem::discriminant(&first) != std::mem::discriminant(&other) {
            let by = match (&first, &other) {
                (Rule::Certificate(by), _) | (_, Rule::Certificate(by)) => *by,
                _ => group.servers[0].at, // a group has a server at least
            };
            return Err(unsure(by, "nginx treats some pages below /admin differently from others"));
        }
    }
    match (&first, asks) {
        (Rule::Open, Some(by)) => {
            Err(unsure(by, "nginx asks for certificates, and lets everybody into /admin all the same"))
        }
        (Rule::Closed, Some(by)) => {
            Err(unsure(by, "nginx asks for certificates, and lets nobody into /admin"))
        }
        _ => Ok(first),
    }
}

fn of<'t>(
    path: &str,
    without: &Answered<'t>,
    with: &Answered<'t>,
    unsure: &dyn Fn(&Directive, &str) -> Reason,
) -> Result<Rule<'t>, Reason> {
    match (without.backend(), with.backend()) {
        (None, Some(_)) if without.is_refused() => Ok(Rule::Certificate(without.by)),
        (Some(one), Some(other)) if one == other => Ok(Rule::Open),
        (None, None) if without.is_refused() && with.is_refused() => Ok(Rule::Closed),
        // No file of that name: the same as closed.
        (None, None) if is_files(without) && is_files(with) => Ok(Rule::Closed),
        _ => Err(unsure(
            without.by,
            &format!("nginx does something else with {path} than to let certificates in"),
        )),
    }
}

fn is_files(answered: &Answered<'_>) -> bool {
    matches!(answered.answer, super::answer::Answer::Files(_))
}

/// The CA of the site, and the keys that say so.
fn certificates(
    tree: &Tree,
    group: &Group<'_, '_>,
    by: &Directive,
    notes: &mut Notes,
) -> Result<(String, Vec<Key>), Reason> {
    let scope = group.tls.map(Server::scope);
    let find = |name: &str| scope.as_ref().and_then(|scope| scope.find(name));
    let (Some(asks), Some(authority)) = (find("ssl_verify_client"), find("ssl_client_certificate")) else {
        let message = "this wants a certificate for /admin, but ssl_verify_client and ssl_client_certificate do not say of \
                       whom: nobody could get in, and here nobody will be let in before that is settled";
        return Err(Reason::new(Some(&by.place), message));
    };
    let full = |name: &str| text_in_toml(&tree.folder.join(name).to_string_lossy());
    let mut keys = vec![Key::new("client_ca", full(authority.arg()), authority)];
    if let Some(list) = find("ssl_crl") {
        notes.carried(list);
        keys.push(Key::new("crl", format!("[{}]", full(list.arg())), list));
    }
    for one in [asks, authority, by] {
        notes.carried(one);
    }
    // The `return` stands in an `if`, and both are the gate now.
    for location in locations(group) {
        for condition in location.inside().iter().filter(|one| one.name == "if") {
            if condition.inside().iter().any(|one| one.id == by.id) {
                notes.carried(condition);
            }
        }
        location.inside().iter().filter(|one| one.name == "proxy_pass").for_each(|pass| notes.carried(pass));
    }
    // What differs between the two ways of reading the list belongs to the comparison: it decides who gets in.
    let key = format!("{:?}", (PathBuf::from(authority.arg()), find("ssl_crl").map(Directive::arg)));
    Ok((key, keys))
}

/// Locations that are for the admin pages by their words.
fn locations<'s>(group: &'s Group<'_, '_>) -> impl Iterator<Item = &'s Directive> {
    let of = |server: &&'s Server<'_>| server.at.inside().iter();
    group
        .servers
        .iter()
        .flat_map(of)
        .filter(|one| one.name == "location" && one.args.iter().any(|arg| arg.contains("admin")))
}
