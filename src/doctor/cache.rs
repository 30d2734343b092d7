//! What the cache says of itself, and of one item: `nix-cache-info`, a narinfo, its signature.

use std::time::SystemTime;

use super::door::Door;
use super::http::{Answer, Head};
use super::narinfo::{self, Narinfo};
use super::signature::{self, Invalid, Key};
use super::stream::in_words;
use super::{Doctor, status_in_words};
use crate::acme::time_in_words;

/// What daemons look in, unless they were built for another.
const STORE: &str = "/gnu/store";
/// Outputs of the latest builds that are tried: some may not be baked yet.
const MOST_TRIED: usize = 20;
/// A list of as many builds; Cuirass answers 500 without a number.
const LATEST_BUILDS: &str = "/api/latestbuilds?nr=20";
/// A difference of clocks, in seconds: what is worth a look, and what makes certificates and caches go wrong.
const CLOCK_ODD: i64 = 60;
const CLOCK_WRONG: i64 = 600;

impl Doctor<'_> {
    /// Whether Cuirass answers at this server; it knows what has been built, too.
    pub(super) fn look_for_ci(&mut self, door: &Door) {
        let builds = latest_builds(door);
        self.has_ci = builds.is_some();
        self.built = builds.unwrap_or_default();
    }

    /// The folder of the store, where this is a cache of substitutes.
    pub(super) fn look_at_cache_info(&mut self, door: &Door) -> Option<String> {
        let before = SystemTime::now();
        let answer = match door.get(&format!("{}/nix-cache-info", self.target.base)) {
            Ok(answer) => answer,
            Err(error) => {
                self.failure(
                    "cache-info",
                    format!("no answer: {}", in_words(&error)),
                    "See what the server's log says",
                );
                return None;
            }
        };
        self.look_at_clock(&answer.head, before);
        let status = answer.head.status;
        if status != 200 {
            let advice = match status {
                404 => "This is no cache of substitutes; or its URL has a path, which belongs to it",
                502..=504 => {
                    "guix publish does not answer: see that it runs, and where the server looks for it"
                }
                _ if answer.head.is_redirect() => {
                    "Guix does not follow redirects here: give it the URL itself"
                }
                _ => "See what the server's log says",
            };
            self.failure(
                "cache-info",
                format!("/nix-cache-info is answered {}", status_in_words(status)),
                advice,
            );
            return None;
        }
        let text = answer.text();
        let value = |name: &str| {
            let mut fields = text.lines().filter_map(narinfo::field);
            fields.find(|(field, _)| *field == name).map(|(_, value)| value.trim())
        };
        let Some(store) = value("StoreDir").filter(|store| store.starts_with('/')) else {
            let advice =
                "Something else answers here than guix publish: see where the server sends this path";
            self.failure("cache-info", "/nix-cache-info names no StoreDir", advice);
            return None;
        };
        if store == STORE {
            self.ok("cache-info", format!("a cache for {store}"));
        } else {
            let advice = "A daemon takes substitutes only from caches for the store it has";
            self.warning("cache-info", format!("a cache for {store}, not for {STORE}"), advice);
        }
        Some(store.to_owned())
    }

    /// Guile's server says nothing of the time; most that stand before it do.
    fn look_at_clock(&mut self, head: &Head, before: SystemTime) {
        let date = head.header("date").and_then(|date| httpdate::parse_http_date(date).ok());
        let Some(date) = date else { return };
        // Between the two the answer was made; the header has whole seconds.
        let seconds = |time: SystemTime| {
            let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        };
        let (date, before, after) = (seconds(date), seconds(before), seconds(SystemTime::now()));
        let off = if date > after { date - after } else { (date - before).min(0) };
        let which = if off > 0 { "ahead of" } else { "behind" };
        let found = |off: i64| {
            let time = time_in_words(std::time::Duration::from_secs(off.unsigned_abs()));
            format!("the server's clock is {time} {which} the one here")
        };
        let advice = "Have both machines ask a time server: certificates, caches and logs go by the clock";
        match off.abs() {
            0..=CLOCK_ODD => self.ok("clock", "the server's and the one here agree"),
            ..=CLOCK_WRONG => self.warning("clock", found(off), advice),
            _ => self.failure("clock", found(off), advice),
        }
    }

    /// Follows one item: narinfo, signature, nars. Its hash, where there is one.
    pub(super) fn look_at_substitute(&mut self, door: &Door, store: &str) -> Option<String> {
        let (hash, answer) = self.find_narinfo(door)?;
        let text = match String::from_utf8(answer.body.clone()) {
            Ok(text) => text,
            Err(_) => {
                self.failure(
                    "narinfo",
                    format!("{hash}.narinfo is not UTF-8"),
                    "See what is behind this path",
                );
                return None;
            }
        };
        let narinfo = match Narinfo::parse(&text, store) {
            Ok(narinfo) if narinfo.hash_part() == Some(hash.as_str()) => narinfo,
            Ok(narinfo) => {
                let found = format!("{hash}.narinfo is that of another item, {}", narinfo.store_path);
                self.failure("narinfo", found, "Something mixes answers up: look at caches in between");
                return None;
            }
            Err(why) => {
                let advice = "No client can be relied on to read it: look at what is between guix publish and this door";
                self.failure("narinfo", format!("{hash}.narinfo: {why}"), advice);
                return None;
            }
        };
        let forms: Vec<_> = narinfo.forms.iter().map(|form| form.compression).collect();
        let found = format!("{}, as {}", narinfo.store_path, forms.join(", "));
        if answer.without_length {
            let advice = "Without Content-Length Guix opens a connection for each narinfo: switch compression and \
                          chunking of them off";
            self.warning("narinfo", format!("{found}, but of unknown length"), advice);
        } else {
            self.ok("narinfo", found);
        }
        self.look_at_signature(door, &narinfo);
        if self.settings.download {
            self.look_at_nars(door, &narinfo);
        }
        Some(hash)
    }

    fn find_narinfo(&mut self, door: &Door) -> Option<(String, Answer)> {
        let get = |doctor: &Self, hash: &str| door.get(&format!("{}/{hash}.narinfo", doctor.target.base));
        if let Some(hash) = self.item.clone() {
            let (found, advice) = match get(self, &hash) {
                Ok(answer) if answer.head.status == 200 => return Some((hash, answer)),
                Ok(answer) if answer.head.status == 404 && answer.head.header("x-baking").is_some() => {
                    ("the item is there, and its nar is being made".into(), "Try again in a minute")
                }
                Ok(answer) if answer.head.status == 404 => (
                    "the server does not have it".into(),
                    "See that it is in the farm's store: guix build has it made",
                ),
                Ok(answer) => (
                    format!("it is answered {}", status_in_words(answer.head.status)),
                    "See what the server's log says, and that guix publish runs",
                ),
                Err(error) => (format!("no answer: {}", in_words(&error)), "See what the server's log says"),
            };
            self.failure("narinfo", format!("{hash}: {found}"), advice);
            return None;
        }
        for hash in self.built.clone() {
            match get(self, &hash) {
                Ok(answer) if answer.head.status == 200 => return Some((hash, answer)),
                Ok(_) => {}
                Err(error) => {
                    let found = format!("{hash}.narinfo: no answer: {}", in_words(&error));
                    self.failure("narinfo", found, "See what the server's log says");
                    return None;
                }
            }
        }
        let found = match (self.has_ci, self.built.len()) {
            (false, _) => {
                "no narinfo was looked at: only Cuirass could say what there is, and it does not answer here"
                    .into()
            }
            (true, 0) => "no narinfo was looked at: Cuirass has built nothing lately".into(),
            (true, tried) => {
                format!("none of the {tried} outputs that Cuirass built last is there as a substitute")
            }
        };
        self.warning(
            "narinfo",
            found,
            "Name an item: --item \"$(guix build hello)\", or any path below /gnu/store",
        );
        None
    }

    fn look_at_signature(&mut self, door: &Door, narinfo: &Narinfo<'_>) {
        let (key, whose) = match self.key.clone() {
            Some(key) => (Some(key), "the key that was given".to_owned()),
            None => match self.published_key(door) {
                Ok(key) => (Some(key), "the key at /signing-key.pub".into()),
                Err(why) => (None, why),
            },
        };
        let (found, advice) = match signature::verify(narinfo, key.as_ref()) {
            Ok(signer) if key.is_some() => return self.ok("signature", format!("by {whose}, {signer}")),
            Ok(signer) => {
                let advice =
                    "Whose key that is cannot be told: give it with --key, or have /signing-key.pub served";
                return self.warning("signature", format!("it holds, by the key {signer}; {whose}"), advice);
            }
            Err(Invalid::Unsigned) => (
                "the narinfo is not signed".to_owned(),
                "No daemon takes it: see that guix publish has /etc/guix/signing-key.sec",
            ),
            Err(Invalid::Malformed(why)) => (
                format!("it cannot be checked: {why}"),
                "Look at what is between guix publish and this door; other kinds of keys are not known here",
            ),
            Err(Invalid::NotCovered(field)) => (
                format!("{field} is not among what is signed"),
                "No daemon takes it: see what made this narinfo",
            ),
            Err(Invalid::OtherKey(signer)) => (
                format!(
                    "it is by another key, {signer}, than {whose}{}",
                    key.map_or(String::new(), |key| format!(", {key}"))
                ),
                "guix publish signs with another key than its users have: see /etc/guix/signing-key.pub, and caches in between",
            ),
            Err(Invalid::OtherText) => (
                "it was made for another text: something in the narinfo was changed after it was signed"
                    .into(),
                "Look at what is between guix publish and this door",
            ),
            Err(Invalid::Forged) => (
                "it is wrong: the key did not make it".into(),
                "No daemon takes it: see what made this narinfo",
            ),
        };
        self.failure("signature", found, advice);
    }

    fn published_key(&self, door: &Door) -> Result<Key, String> {
        let answer = door
            .get(&format!("{}/signing-key.pub", self.target.base))
            .map_err(|error| format!("/signing-key.pub: {}", in_words(&error)))?;
        match answer.head.status {
            200 => Key::parse(&answer.body).map_err(|why| format!("/signing-key.pub: {why}")),
            status => Err(format!("/signing-key.pub is answered {}", status_in_words(status))),
        }
    }
}

/// Hashes of what was built last, by Cuirass; `None` where it is not there.
fn latest_builds(door: &Door) -> Option<Vec<String>> {
    let answer = door.get(LATEST_BUILDS).ok().filter(|answer| answer.head.status == 200)?;
    let builds: Vec<serde_json::Value> = serde_json::from_slice(&answer.body).ok()?;
    let mut hashes = Vec::new();
    for build in &builds {
        outputs(build.get("buildoutputs").unwrap_or(&serde_json::Value::Null), &mut hashes);
    }
    hashes.truncate(MOST_TRIED);
    Some(hashes)
}

/// All store items in `json`, however deep: `{"out": {"path": "/gnu/store/…"}}`. serde_json limits the depth.
fn outputs(json: &serde_json::Value, hashes: &mut Vec<String>) {
    match json {
        serde_json::Value::String(path) if path.starts_with('/') => {
            hashes.extend(narinfo::hash_part(path).map(str::to_owned));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| outputs(item, hashes)),
        serde_json::Value::Object(items) => items.values().for_each(|item| outputs(item, hashes)),
        _ => {}
    }
}
