//! Which door a request's target leads to: the route table of the contract, pure, in one place.
//!
//! Behind us Guile reads the target again, by its own rules. The gate holds only if no spelling exists that we read as
//! public and Guile reads as `/admin`. So a target is not *normalised and then matched*; it is matched in every reading
//! that a backend could plausibly have, and the strictest door wins.
//!
//! What Guile does (`web/http.scm` and `web/uri.scm`; each point tried on 3.0.8):
//!
//! - A target that begins with `/` is a path up to the first `?` or `#`. `//admin` is an error in 3.0.8; on a real farm
//!   it ran the admin action.
//! - Anything else goes through a regular expression for URIs. `http://x//admin`, `http:///admin`, `http:/admin`,
//!   `http:admin` and `foo:admin` all have the segments `("admin")`. `*` has no path: an exception.
//! - White space before the target is skipped, and the byte 0xA0 is white space in Latin-1: `GET \xA0/admin` is
//!   `/admin`.
//! - `split-and-decode-uri-path` splits on `/`, decodes every segment once, drops the empty ones. `admin%2Fx` is one
//!   segment. `+` stays `+` (in Guile 2.0 it became a space; a prefix can hold neither, so it is all one to us).
//! - Dot segments are not resolved, `;` separates nothing, letter case counts, `%00` is a character like any other.
//! - A malformed escape (`%zz`, `%6`) stays as it is. Raw bytes above 0x7F, and decoded ones that are not UTF-8, are
//!   exceptions.

use std::borrow::Cow;

mod path;
mod prefix;
#[cfg(test)]
mod properties;
mod target;
#[cfg(test)]
mod tests;

use path::{decode, resolve, split};
pub use prefix::{AdminPrefix, BadAdminPrefix};
pub use target::{BadTarget, Target};

/// Which door `target`, the request-target exactly as it was sent, leads to.
///
/// The usual target (a narinfo, a nar, a page) takes one pass over its bytes and allocates nothing.
pub fn decide(target: &[u8], admin: &AdminPrefix) -> Result<Decision, BadTarget> {
    let target = Target::parse(target)?;
    Ok(Decision {
        door: if target.plain { plain_door(target.path, admin) } else { strictest_door(target.path, admin) },
        absolute_form: target.authority.is_some(),
    })
}

/// What the route table says about one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Who answers.
    pub door: Door,
    /// The target names the host itself (`http://host/path`), and that outranks the Host header (RFC 9112, 3.2.2).
    /// [`Target::parse`] has the authority.
    pub absolute_form: bool,
}

/// A row of the route table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    /// The admin prefix and below: Cuirass, behind the certificate gate.
    Admin,
    /// Exactly `/.well-known/acme-challenge/TOKEN`, TOKEN being base64url, in every reading.
    AcmeChallenge,
    /// `/.well-known` and the rest of what is below it.
    WellKnown,
    /// `/robots.txt`.
    Robots,
    /// `guix publish`, never cached.
    Substitute(Substitute),
    /// Below `/log`: cached.
    Log,
    /// Below `/static`: cached.
    Static,
    /// Below `/download`: cached.
    Download,
    /// Everything else. Grants nothing: not cached, and no exception from the plain-HTTP policy.
    Other,
}

impl Door {
    /// The door of a target that one reading leads here and another one to `other`.
    ///
    /// From strict to lax: the gate; what we answer ourselves, so that no backend gets to read the target its own way;
    /// publish, which can only read; Cuirass, which can be written to. What [`Door::AcmeChallenge`] and the cached
    /// doors grant, they grant only when all readings agree.
    fn stricter(self, other: Door) -> Door {
        if self == other {
            return self;
        }
        let (this, other) = (self.disputed(), other.disputed());
        if other.laxity() < this.laxity() { other } else { this }
    }

    fn disputed(self) -> Door {
        match self {
            Door::AcmeChallenge => Door::WellKnown,
            Door::Log | Door::Static | Door::Download => Door::Other,
            Door::Admin | Door::WellKnown | Door::Robots | Door::Substitute(_) | Door::Other => self,
        }
    }

    fn laxity(self) -> u8 {
        match self {
            Door::Admin => 0,
            Door::WellKnown | Door::AcmeChallenge => 1,
            Door::Robots => 2,
            Door::Substitute(_) => 3,
            Door::Other => 4,
            Door::Log | Door::Static | Door::Download => 5,
        }
    }
}

/// What is asked of `guix publish`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Substitute {
    /// `/nix-cache-info`.
    CacheInfo,
    /// `/….narinfo`.
    Narinfo,
    /// Below `/nar`: large, and may end only with the connection.
    Nar,
    /// Below `/file`: as large.
    File,
    /// `/signing-key.pub`.
    SigningKey,
}

/// Which of the two that are behind the admin gate a target of [`Door::Admin`] leads to; `page` is the prefix of the
/// gate's own page, and itself below the admin prefix.
///
/// Nothing that any reading finds below `page` is passed on, so that no spelling of an address of ours ever reaches
/// Cuirass, and none of what is typed into our forms. What is answered goes by one reading: decoded once, empty
/// segments dropped, dot segments resolved.
pub fn admin_door(target: &[u8], page: &AdminPrefix) -> Result<AdminDoor, BadTarget> {
    let target = Target::parse(target)?;
    if !page.may_hold(target.path) {
        return Ok(AdminDoor::Ci);
    }
    Ok(AdminDoor::Page(page.rest(resolve(split(target.path).map(decode)))))
}

/// Who answers below the admin prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminDoor {
    /// Cuirass.
    Ci,
    /// The gate itself: the segments below its page. None when that is not where the decoded path leads, but only some
    /// other reading of it: there is nothing then.
    Page(Option<Vec<String>>),
}

/// The decoded segments below `/.well-known`, dot segments resolved, for [`Door::AcmeChallenge`] and
/// [`Door::WellKnown`]. For the former they are always `["acme-challenge", TOKEN]`.
///
/// Each of them is safe as one component of a file name: not empty, no dot segment, no slash, no NUL.
pub fn well_known_segments(target: &[u8]) -> Result<Vec<Cow<'_, [u8]>>, BadTarget> {
    let target = Target::parse(target)?;
    let mut segments = resolve(split(target.path).map(decode));
    if segments.first().is_none_or(|first| **first != *b".well-known") {
        return Err(BadTarget::FileName);
    }
    segments.remove(0);
    if segments.iter().any(|s| s.iter().any(|b| matches!(b, b'/' | 0))) {
        return Err(BadTarget::FileName);
    }
    Ok(segments)
}

/// The segments of a target's path as Guile reads them: decoded once, empty ones dropped.
///
/// For what goes by the page that the CI would make, and grants nothing. Doors go by [`decide`].
pub fn segments(target: &[u8]) -> Result<Vec<Cow<'_, [u8]>>, BadTarget> {
    Ok(split(Target::parse(target)?.path).map(decode).collect())
}

/// The door of a path with a single reading.
fn plain_door(path: &[u8], admin: &AdminPrefix) -> Door {
    if admin.starts(split(path)) { Door::Admin } else { public_door(split(path)) }
}

/// The strictest door among the readings of a path.
fn strictest_door(path: &[u8], admin: &AdminPrefix) -> Door {
    if admin.may_hold(path) {
        return Door::Admin;
    }
    let decoded = decode(path);
    // Guile's comes first: where two are equally strict, it is what the backend will do.
    let as_guile = split(path).map(decode);
    let as_sent = split(path).map(Cow::Borrowed);
    let decoded_then_split = split(&decoded).map(Cow::Borrowed);
    doors(as_guile)
        .into_iter()
        .chain(doors(as_sent))
        .chain(doors(decoded_then_split))
        .reduce(Door::stricter)
        .unwrap_or(Door::Other) // not reached: there are six
}

/// Where a sequence of segments leads, with dot segments left alone and with dot segments resolved.
fn doors<'a>(segments: impl Iterator<Item = Cow<'a, [u8]>> + Clone) -> [Door; 2] {
    let untouched: Vec<_> = segments.clone().collect();
    let resolved = resolve(segments);
    [untouched, resolved].map(|segments| public_door(segments.iter().map(|s| &**s)))
}

/// The rows of the table below the first, for one reading.
fn public_door<'a>(mut segments: impl Iterator<Item = &'a [u8]>) -> Door {
    let Some(first) = segments.next() else { return Door::Other };
    let second = segments.next();
    match (first, second) {
        (b".well-known", Some(b"acme-challenge")) => match (segments.next(), segments.next()) {
            (Some(token), None) if token.iter().all(|&b| is_base64url(b)) => Door::AcmeChallenge,
            _ => Door::WellKnown,
        },
        (b".well-known", _) => Door::WellKnown,
        (b"robots.txt", None) => Door::Robots,
        (b"nix-cache-info", None) => Door::Substitute(Substitute::CacheInfo),
        (b"signing-key.pub", None) => Door::Substitute(Substitute::SigningKey),
        (name, None) if name.ends_with(b".narinfo") => Door::Substitute(Substitute::Narinfo),
        (b"nar", Some(_)) => Door::Substitute(Substitute::Nar),
        (b"file", Some(_)) => Door::Substitute(Substitute::File),
        (b"log", Some(_)) => Door::Log,
        (b"static", Some(_)) => Door::Static,
        (b"download", Some(_)) => Door::Download,
        _ => Door::Other,
    }
}

const fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}
