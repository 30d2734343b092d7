//! Which `location` a path is for, by nginx's rules: the exact one; else the longest prefix, unless a regular expression
//! matches, the first of which wins.

use regex::{Regex, RegexBuilder};

use super::syntax::Directive;

/// The locations from the outermost to the one that counts; empty if none does.
pub(super) type Chain<'t> = Vec<&'t Directive>;

/// A location that cannot be judged, and why.
pub(super) struct Unreadable<'t> {
    pub(super) at: &'t Directive,
    pub(super) why: String,
}

enum Kind<'t> {
    Exact(&'t str),
    /// And whether it keeps regular expressions from being tried.
    Prefix(&'t str, bool),
    Expression(&'t Regex),
    Named,
}

/// Finds the location for `path` among `directives`, which are those of a server or of a location.
pub(super) fn choose<'t>(directives: &'t [Directive], path: &str) -> Result<Chain<'t>, Unreadable<'t>> {
    find(directives, path).map(|found| found.chain)
}

/// Finds the location `@name`.
pub(super) fn named<'t>(directives: &'t [Directive], name: &str) -> Option<&'t Directive> {
    directives.iter().find(|one| one.name == "location" && one.args.len() == 1 && one.arg() == name)
}

struct Found<'t> {
    chain: Chain<'t>,
    /// Whether the search is over: nothing further out can win against this.
    is_final: bool,
}

fn find<'t>(directives: &'t [Directive], path: &str) -> Result<Found<'t>, Unreadable<'t>> {
    let mut longest: Option<(&Directive, usize, bool)> = None;
    let mut expressions = Vec::new();
    for location in directives.iter().filter(|one| one.name == "location") {
        match kind(location)? {
            Kind::Exact(exact) if exact == path => {
                return Ok(Found { chain: vec![location], is_final: true });
            }
            Kind::Prefix(prefix, alone)
                if path.starts_with(prefix) && longest.is_none_or(|(_, length, _)| prefix.len() > length) =>
            {
                longest = Some((location, prefix.len(), alone));
            }
            Kind::Expression(regex) => expressions.push((location, regex)),
            Kind::Exact(_) | Kind::Prefix(..) | Kind::Named => {}
        }
    }
    let mut chain = Vec::new();
    let mut alone = false;
    if let Some((location, _, is_alone)) = longest {
        alone = is_alone;
        let below = find(location.inside(), path)?;
        chain.push(location);
        chain.extend(below.chain);
        if below.is_final {
            return Ok(Found { chain, is_final: true });
        }
    }
    if !alone && let Some((location, _)) = expressions.iter().find(|(_, regex)| regex.is_match(path)) {
        chain = vec![*location];
        chain.extend(find(location.inside(), path)?.chain);
        return Ok(Found { chain, is_final: true });
    }
    Ok(Found { chain, is_final: false })
}

fn kind(location: &Directive) -> Result<Kind<'_>, Unreadable<'_>> {
    let args: Vec<&str> = location.args.iter().map(String::as_str).collect();
    // Many requests are followed, and to make one is most of the work.
    let expression = |text: &str, caseless: bool| {
        let made = || RegexBuilder::new(text).case_insensitive(caseless).build().ok();
        location.regex.get_or_init(made).as_ref().map(Kind::Expression).ok_or_else(|| Unreadable {
            at: location,
            why: format!("the regular expression {text} cannot be read here"),
        })
    };
    match args.as_slice() {
        ["=", path] => Ok(Kind::Exact(path)),
        ["^~", path] => Ok(Kind::Prefix(path, true)),
        ["~", text] => expression(text, false),
        ["~*", text] => expression(text, true),
        // nginx takes the sign and the path without a blank between them, too.
        [one] if one.starts_with('@') => Ok(Kind::Named),
        [one] => match one.strip_prefix("^~").map(|path| (path, true)) {
            Some((path, alone)) => Ok(Kind::Prefix(path, alone)),
            None => match (one.strip_prefix('='), one.strip_prefix("~*"), one.strip_prefix('~')) {
                (Some(path), _, _) => Ok(Kind::Exact(path)),
                (_, Some(text), _) => expression(text, true),
                (_, _, Some(text)) => expression(text, false),
                _ => Ok(Kind::Prefix(one, false)),
            },
        },
        _ => Err(Unreadable { at: location, why: "this is no location".into() }),
    }
}
