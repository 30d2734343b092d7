//! One value each: from what is written to a type that cannot be wrong.
//!
//! Every function takes the TOML value, so that it can also say something sensible about a number where a
//! string belongs. None knows where in the file the value stands.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;
use zeroize::Zeroizing;

use super::diagnostics::Complaint;
use super::settings::{Backend, Host, LogTarget};
use super::unknown::closest;
use super::{units, wire};

/// The text of a string, for those that read on.
pub(super) fn string<'v>(value: &'v DeValue<'_>, expected: &str) -> Result<&'v str, Complaint> {
    value
        .as_str()
        .ok_or_else(|| Complaint::new(format!("expected {expected}, found {}", wire::describe(value))))
}

/// A duration; zero is one.
pub(super) fn duration(value: &DeValue<'_>) -> Result<Duration, Complaint> {
    match value {
        // The number alone gets the hint that the number in quotes would get.
        DeValue::Integer(number) => units::duration(&number.to_string()),
        other => units::duration(string(other, "a duration such as \"10s\"")?),
    }
}

/// A duration for which zero would mean that nothing ever works.
pub(super) fn positive_duration(value: &DeValue<'_>) -> Result<Duration, Complaint> {
    match duration(value)? {
        Duration::ZERO => Err(Complaint::new("this must not be zero").hint("the shortest is \"1ms\"")),
        duration => Ok(duration),
    }
}

/// A size in bytes; zero is one.
pub(super) fn size(value: &DeValue<'_>) -> Result<u64, Complaint> {
    match value {
        DeValue::Integer(number) => units::size(&number.to_string()),
        other => units::size(string(other, "a size such as \"200MiB\"")?),
    }
}

/// A size for which zero would make no sense.
pub(super) fn positive_size(value: &DeValue<'_>) -> Result<u64, Complaint> {
    match size(value)? {
        0 => Err(Complaint::new("this must not be zero").hint("write a size such as \"100MiB\"")),
        size => Ok(size),
    }
}

/// Bytes per second, as a size. Less than a TLS record in a second is no rate that anything arrives at.
pub(super) fn rate(value: &DeValue<'_>) -> Result<u64, Complaint> {
    const LEAST: u64 = 16 << 10;
    if let Some(bare) = value.as_str().and_then(|text| text.strip_suffix("/s")) {
        let complaint = Complaint::new(format!("expected a size, found \"{bare}/s\""));
        return Err(complaint.hint(format!("it is for each second: write \"{bare}\"")));
    }
    match size(value)? {
        rate if rate < LEAST => {
            Err(Complaint::new("this is less than \"16KiB\" in a second").hint("leave it out for no limit"))
        }
        rate => Ok(rate),
    }
}

/// A whole number of the range, in whatever integer type holds that range.
pub(super) fn number<T: TryFrom<u64> + Copy + Into<u64>>(
    range: RangeInclusive<T>,
) -> impl Fn(&DeValue<'_>) -> Result<T, Complaint> {
    move |value| {
        let (low, high): (u64, u64) = ((*range.start()).into(), (*range.end()).into());
        let expected = format!("a whole number from {low} to {high}");
        let complaint = || Complaint::new(format!("expected {expected}, found {}", wire::describe(value)));
        match value {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix())
                .ok()
                .filter(|number| (low..=high).contains(number))
                .and_then(|number| T::try_from(number).ok())
                .ok_or_else(complaint),
            DeValue::String(text) if text.parse::<u64>().is_ok() => {
                Err(complaint().hint(format!("write it without quotes: {text}")))
            }
            _ => Err(complaint()),
        }
    }
}

/// `true` or `false`.
pub(super) fn boolean(value: &DeValue<'_>) -> Result<bool, Complaint> {
    let complaint = || Complaint::new(format!("expected true or false, found {}", wire::describe(value)));
    match value {
        DeValue::Boolean(truth) => Ok(*truth),
        DeValue::String(text) if matches!(text.as_ref(), "true" | "false") => {
            Err(complaint().hint(format!("write it without quotes: {text}")))
        }
        _ => Err(complaint()),
    }
}

/// The name of a user or a group. Numbers are not taken: who has no name has no groups either, and most often it is
/// a slip.
pub(super) fn account_name(value: &DeValue<'_>) -> Result<String, Complaint> {
    let expected = "the name of an account such as \"farmgate\"";
    let text = string(value, expected)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-.$".contains(&b);
    let named = !text.is_empty() && text.bytes().all(plain) && !text.bytes().all(|b| b.is_ascii_digit());
    if !named || text.starts_with('-') {
        return Err(Complaint::new(format!("expected {expected}, found \"{text}\"")));
    }
    if text == "root" {
        let complaint = Complaint::new("root is what it is to become less than");
        return Err(
            complaint.hint("name an account of its own, made with: adduser --system --group farmgate")
        );
    }
    Ok(text.to_owned())
}

/// One of a few words.
pub(super) fn one_of<T: Clone>(words: &[(&str, T)]) -> impl Fn(&DeValue<'_>) -> Result<T, Complaint> {
    move |value| {
        let quoted: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let expected = quoted.join(" or ");
        let text = string(value, &expected)?;
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, meaning)) => Ok(meaning.clone()),
            None => Err(Complaint::new(format!("expected {expected}, found \"{text}\""))
                .maybe_hint(did_you_mean(text, words))),
        }
    }
}

/// The suggestion for a word that is none of `words`.
fn did_you_mean<T>(text: &str, words: &[(&str, T)]) -> Option<String> {
    closest(text, words.iter().map(|(word, _)| *word)).map(|(near, _)| format!("did you mean \"{near}\"?"))
}

/// A file or folder; relative to `folder`, the one that the configuration file is in.
pub(super) fn path(folder: &Path) -> impl Fn(&DeValue<'_>) -> Result<PathBuf, Complaint> {
    move |value| {
        let text = string(value, "the name of a file")?;
        if text.is_empty() || text.contains('\0') {
            return Err(Complaint::new(format!("expected the name of a file, found \"{text}\"")));
        }
        if text == "~" || text.starts_with("~/") {
            return Err(Complaint::new("`~` is known to shells only").hint("write the folder in full"));
        }
        Ok(folder.join(text))
    }
}

/// "-", "off", or a file.
pub(super) fn log_target(folder: &Path) -> impl Fn(&DeValue<'_>) -> Result<LogTarget, Complaint> {
    move |value| match string(value, "a file name, \"-\" or \"off\"")? {
        "-" => Ok(LogTarget::Stdout),
        "off" => Ok(LogTarget::Off),
        _ => path(folder)(value).map(LogTarget::File),
    }
}

/// An address and a port to listen on. Port 0 lets the system choose, which tests want.
pub(super) fn listen_address(value: &DeValue<'_>) -> Result<SocketAddr, Complaint> {
    let expected = "an address and a port such as \"0.0.0.0:80\" or \"[::]:80\"";
    let text = string(value, expected)?;
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let hint = if text.parse::<Ipv6Addr>().is_ok() {
        format!("an IPv6 address stands in brackets, with a port behind: \"[{text}]:80\"")
    } else if text.parse::<IpAddr>().is_ok() {
        format!("add the port: \"{text}:80\"")
    } else {
        match text.rsplit_once(':').unwrap_or(("", text)) {
            ("" | "*", port) if port.parse::<u16>().is_ok() => {
                format!("for every address write both \"0.0.0.0:{port}\" and \"[::]:{port}\"")
            }
            ("localhost", port) => format!("names are not looked up here: \"127.0.0.1:{port}\""),
            _ => "names are not looked up here, and the port is a number up to 65535".to_owned(),
        }
    };
    Err(Complaint::new(format!("expected {expected}, found \"{text}\"")).hint(hint))
}

/// "off", or an address to listen on.
pub(super) fn optional_listen_address(value: &DeValue<'_>) -> Result<Option<SocketAddr>, Complaint> {
    match value.as_str() {
        Some("off") => Ok(None),
        _ => listen_address(value).map(Some),
    }
}

/// `http://HOST[:PORT]` and nothing else.
pub(super) fn backend(value: &DeValue<'_>) -> Result<Backend, Complaint> {
    let expected = "an address such as \"http://localhost:3000\"";
    let text = string(value, expected)?;
    let complaint = || Complaint::new(format!("expected {expected}, found \"{text}\""));

    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(match authority(text, 80) {
            Some(_) => complaint().hint(format!("write \"http://{text}\"")),
            None => complaint(),
        });
    };
    if scheme.eq_ignore_ascii_case("https") {
        return Err(Complaint::new("a backend is reached over plain http")
            .hint(format!("backends run on this machine, and TLS ends here: write \"http://{rest}\"")));
    }
    if !scheme.eq_ignore_ascii_case("http") {
        return Err(complaint().hint("the only scheme here is http"));
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (place, path) = rest.split_at(end);
    if !path.is_empty() {
        return Err(Complaint::new("a backend has a host and a port, but no path")
            .hint(format!("paths go on as the client sent them: write \"http://{place}\"")));
    }
    if let Some((_, place)) = place.rsplit_once('@') {
        return Err(Complaint::new("a backend has a host and a port, but no user")
            .hint(format!("write \"http://{place}\"")));
    }
    match authority(place, 80) {
        Some((host, port)) => Ok(Backend { host, port }),
        None if place.parse::<Ipv6Addr>().is_ok() => {
            Err(complaint().hint(format!("an IPv6 address stands in brackets: \"http://[{place}]\"")))
        }
        None => Err(complaint()),
    }
}

/// `HOST[:PORT]`, with IPv6 addresses in brackets.
fn authority(text: &str, default_port: u16) -> Option<(Host, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            (Host::Address(IpAddr::V6(address.parse().ok()?)), port)
        }
        None => {
            let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            let host = match name.parse() {
                Ok(address) => Host::Address(IpAddr::V4(address)),
                Err(_) => Host::Name(backend_name(name)?),
            };
            (host, port)
        }
    };
    let port = match port.strip_prefix(':') {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok()?,
        Some(_) => return None,
        None if port.is_empty() => default_port,
        None => return None,
    };
    (port != 0).then_some((host, port))
}

/// A name that a resolver may know: underscores too, which container networks are fond of.
fn backend_name(name: &str) -> Option<String> {
    let good = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let named = name.len() <= 253 && name.split('.').all(good) && !ends_in_number(name);
    named.then(|| name.to_ascii_lowercase())
}

/// A name that a site is asked for by.
pub(super) fn site_name(value: &DeValue<'_>) -> Result<String, Complaint> {
    let expected = "a host name such as \"ci.example.org\"";
    let text = string(value, expected)?;
    let complaint = || Complaint::new(format!("expected {expected}, found \"{text}\""));

    let bare = text.trim_start_matches('[').split(']').next().unwrap_or(text);
    if bare.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok() {
        return Err(complaint().hint("an IP address needs no name: it counts as the first site"));
    }
    if text.contains('*') {
        return Err(complaint().hint("there are no wildcards: list every name that clients use"));
    }
    if text == "_" || text == "default" {
        return Err(complaint().hint("the first site already answers for hosts that no site names"));
    }
    if let Some((_, rest)) = text.split_once("://") {
        let end = rest.find(['/', ':']).unwrap_or(rest.len());
        return Err(complaint().hint(format!("the name alone: \"{}\"", &rest[..end])));
    }
    if let Some((name, _)) = text.split_once(':') {
        return Err(complaint().hint(format!("ports belong in [listen]; here the name alone: \"{name}\"")));
    }
    if !text.is_ascii() {
        return Err(complaint().hint("write it as DNS has it, in its xn-- form"));
    }
    host_name(text).ok_or_else(complaint)
}

/// A host name in its normal form: letters, digits and hyphens between dots, in lower case, no dot at the
/// end.
fn host_name(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let good = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let named = name.len() <= 253 && name.split('.').all(good) && !ends_in_number(name);
    named.then(|| name.to_ascii_lowercase())
}

/// Whether clients would take the name for an IPv4 address, good or bad ("10.0.0.256", "127.1").
fn ends_in_number(name: &str) -> bool {
    name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
}

/// The path that is gated.
///
/// Only characters that percent-encoding leaves alone are let in, so that the prefix has a single decoded
/// form.
pub(super) fn prefix(value: &DeValue<'_>) -> Result<String, Complaint> {
    let expected = "a path such as \"/admin\"";
    let text = string(value, expected)?;
    let complaint = || Complaint::new(format!("expected {expected}, found \"{text}\""));

    let Some(inner) = text.strip_prefix('/') else {
        return Err(complaint().hint("it begins with \"/\""));
    };
    if inner.is_empty() {
        return Err(complaint().hint("\"/\" would close the whole farm to everybody without a certificate"));
    }
    if inner.ends_with('/') {
        return Err(complaint().hint(format!("no \"/\" at its end: \"{}\"", text.trim_end_matches('/'))));
    }
    if inner.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(complaint().hint("no empty segments, no \".\" and no \"..\""));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~".contains(&b);
    if !inner.bytes().all(plain) {
        return Err(
            complaint().hint("letters, digits, and \"-._~\" only; every spelling of it is gated by itself")
        );
    }
    Ok(text.to_owned())
}

/// The directory that certificates are ordered from unless the file says otherwise.
pub(super) const LETSENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// ACME servers that go by a name.
const ACME_SERVERS: &[(&str, &str)] = &[
    ("letsencrypt", LETSENCRYPT),
    ("letsencrypt-staging", "https://acme-staging-v02.api.letsencrypt.org/directory"),
];

/// The name of an ACME server, or the URL of its directory.
pub(super) fn acme_directory(value: &DeValue<'_>) -> Result<String, Complaint> {
    let expected = "\"letsencrypt\", \"letsencrypt-staging\" or a URL";
    let text = string(value, expected)?;
    let complaint = || Complaint::new(format!("expected {expected}, found \"{text}\""));

    if let Some((_, url)) = ACME_SERVERS.iter().find(|(name, _)| *name == text) {
        return Ok((*url).to_owned());
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(complaint().maybe_hint(did_you_mean(text, ACME_SERVERS)));
    };
    if scheme.eq_ignore_ascii_case("http") {
        return Err(
            complaint().hint(format!("ACME is spoken over https only (RFC 8555, 6.1): \"https://{rest}\""))
        );
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let plain = rest.bytes().all(|b| b.is_ascii_graphic() && !b"\"#<>\\^`{|}".contains(&b));
    if !scheme.eq_ignore_ascii_case("https") || !plain || authority(&rest[..end], 443).is_none() {
        return Err(complaint().hint("a URL looks like \"https://acme.example.org/directory\""));
    }
    Ok(text.to_owned())
}

/// A mail address.
pub(super) fn mail_address(value: &DeValue<'_>) -> Result<String, Complaint> {
    let expected = "a mail address such as \"admin@example.org\"";
    let text = string(value, expected)?;
    let complaint = || Complaint::new(format!("expected {expected}, found \"{text}\""));

    if let Some(address) = text.strip_prefix("mailto:") {
        return Err(complaint().hint(format!("write the address alone: \"{address}\"")));
    }
    // What ACME servers take is narrower than what mail allows: one address, no header fields.
    let plain = |local: &str| {
        !local.is_empty() && local.bytes().all(|b| b.is_ascii_graphic() && !b"@,;?%\"<>()".contains(&b))
    };
    match text.split_once('@') {
        Some((local, domain)) if plain(local) && host_name(domain).is_some() => Ok(text.to_owned()),
        _ => Err(complaint()),
    }
}

/// A word that a CA knows: the name of a profile or of an account.
pub(super) fn word(value: &DeValue<'_>) -> Result<String, Complaint> {
    let text = string(value, "a word")?;
    let good = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    good.then(|| text.to_owned()).ok_or_else(|| Complaint::new(format!("expected a word, found \"{text}\"")))
}

/// A key in base64url, as CAs give them out; the padding may be there. What it is is not repeated.
pub(super) fn base64url(value: &DeValue<'_>) -> Result<Zeroizing<String>, Complaint> {
    let text = string(value, "a key in base64url")?;
    let bare = text.trim_end_matches('=');
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if bare.is_empty() || !bare.bytes().all(good) {
        return Err(Complaint::new("expected a key in base64url: letters, digits, \"-\" and \"_\""));
    }
    Ok(Zeroizing::new(bare.to_owned()))
}
