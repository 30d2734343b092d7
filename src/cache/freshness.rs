//! What may be stored, and for how long it is fresh: RFC 9111 as a shared cache reads it. Nothing here reads a
//! clock or a disk.

use std::time::{Duration, SystemTime};

use http::header::{self, HeaderMap, HeaderName};

use super::control::{Directives, delta_seconds};

/// What the operator wants where the answer itself says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How long a 200 is fresh; zero: never guess.
    pub fallback: Duration,
    /// The same for other statuses. None: nothing but a 200 is kept.
    pub fallback_other: Option<Duration>,
}

/// A 504 says that the program behind is busy: those who ask again at once should not make it worse. Kept in
/// place of [`Rules::fallback_other`], as the farms' nginx has it.
const GATEWAY_TIMEOUT: Duration = Duration::from_secs(30);

/// On what terms a response is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Its age on arrival (RFC 9111 section 4.2.3).
    pub initial_age: Duration,
    /// The age at which it ceases to be fresh (RFC 9111 section 4.2.1).
    pub lifetime: Duration,
    /// How long after that it may be used while a new one is fetched (RFC 5861 section 3).
    pub while_revalidate: Duration,
    /// How long after that it may be used when no new one can be had (RFC 5861 section 4).
    pub if_error: Duration,
    /// Not to be used without asking the origin first (RFC 9111 section 5.2.2.4).
    pub always_validate: bool,
    /// Not to be used stale, whoever would accept it (RFC 9111 section 4.2.4).
    pub never_stale: bool,
    /// Will not change while fresh (RFC 8246).
    pub immutable: bool,
}

/// Why a response is not kept. The text is what `Cache-Status` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal(pub &'static str);

/// Fields of a response when it was asked for and arrived.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The request's fields, as the client sent them.
    pub request: &'a HeaderMap,
    /// The response's status.
    pub status: u16,
    /// The response's fields.
    pub response: &'a HeaderMap,
    /// When the request was sent.
    pub asked: SystemTime,
    /// When the response came.
    pub arrived: SystemTime,
}

/// Whether a response to GET may be stored by a shared cache (RFC 9111 section 3), and on what terms.
pub fn judge(arrival: &Arrival<'_>, rules: &Rules) -> Result<Terms, Refusal> {
    let Arrival { request, status, response, .. } = *arrival;
    let (says, targeted) = Directives::of_response(response);
    if status < 200 || matches!(status, 206 | 304) {
        return Err(Refusal("partial"));
    }
    if status != 200 && rules.fallback_other.is_none() {
        return Err(Refusal("status"));
    }
    if says.has("must-understand") {
        // Who understands the status does as it requires, and disregards `no-store` (section 5.2.2.3).
        if !is_understood(status) {
            return Err(Refusal("must-understand"));
        }
    } else if says.has("no-store") {
        return Err(Refusal("no-store"));
    }
    if Directives::of_request(request).has("no-store") {
        return Err(Refusal("request-no-store"));
    }
    if says.has_bare("private") {
        return Err(Refusal("private"));
    }
    // Whatever the directives say: what logs one client in is nobody else's.
    if response.contains_key(header::SET_COOKIE) {
        return Err(Refusal("set-cookie"));
    }
    // What one client may see others may only when the origin says so (section 3.5).
    let for_all = says.has("public") || says.has("s-maxage") || says.has("must-revalidate");
    if request.contains_key(header::AUTHORIZATION) && !for_all {
        return Err(Refusal("authorization"));
    }
    let always_validate = says.has_bare("no-cache");
    let lifetime = match explicit_lifetime(&says, targeted, arrival) {
        Some(lifetime) => lifetime,
        None if always_validate => Duration::ZERO,
        None => guessed_lifetime(status, rules, says.has("public")).ok_or(Refusal("no-freshness"))?,
    };
    let never_stale = always_validate
        || says.has("must-revalidate")
        || says.has("proxy-revalidate")
        // It incorporates the meaning of `proxy-revalidate` (section 5.2.2.10).
        || says.has("s-maxage");
    let after = |name| if never_stale { Duration::ZERO } else { says.seconds(name).unwrap_or_default() };
    let terms = Terms {
        initial_age: initial_age(arrival),
        lifetime,
        while_revalidate: after("stale-while-revalidate"),
        if_error: after("stale-if-error"),
        always_validate,
        never_stale,
        immutable: says.has("immutable"),
    };
    let can_be_validated =
        response.contains_key(header::ETAG) || response.contains_key(header::LAST_MODIFIED);
    let fresh_for = terms.lifetime.saturating_sub(terms.initial_age);
    let useless = (fresh_for.is_zero() || always_validate)
        && !can_be_validated
        && terms.while_revalidate.is_zero()
        && terms.if_error.is_zero();
    if useless { Err(Refusal("stale-on-arrival")) } else { Ok(terms) }
}

/// What the response says of its own lifetime (section 4.2.1), in this order.
fn explicit_lifetime(says: &Directives, targeted: bool, arrival: &Arrival<'_>) -> Option<Duration> {
    says.seconds("s-maxage").or_else(|| says.seconds("max-age")).or_else(|| {
        let mut lines = arrival.response.get_all(header::EXPIRES).iter().filter(|_| !targeted);
        let first = lines.next()?;
        // An invalid date, "0" above all, is one in the past (section 5.3); so are two that disagree.
        let expires = date(first).filter(|_| lines.all(|other| other == first));
        let since = date_of(arrival);
        Some(expires.map_or(Duration::ZERO, |at| at.duration_since(since).unwrap_or_default()))
    })
}

/// The operator's guess, where a guess is allowed (section 4.2.2). None: the response may not be kept.
fn guessed_lifetime(status: u16, rules: &Rules, public: bool) -> Option<Duration> {
    let guess = match status {
        200 => rules.fallback,
        504 if !rules.fallback_other?.is_zero() => GATEWAY_TIMEOUT,
        _ if is_heuristically_cacheable(status) || public => rules.fallback_other?,
        _ => return None,
    };
    (!guess.is_zero()).then_some(guess)
}

/// RFC 9110 section 15.1, without 206.
fn is_heuristically_cacheable(status: u16) -> bool {
    matches!(status, 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// Statuses whose meaning for a cache is known here (section 3).
fn is_understood(status: u16) -> bool {
    is_heuristically_cacheable(status)
        || matches!(status, 302 | 303 | 307 | 400 | 403 | 500 | 502 | 503 | 504)
}

/// `corrected_initial_age` (section 4.2.3).
fn initial_age(arrival: &Arrival<'_>) -> Duration {
    let apparent = arrival.arrived.duration_since(date_of(arrival)).unwrap_or_default();
    let delay = arrival.arrived.duration_since(arrival.asked).unwrap_or_default();
    apparent.max(age_value(arrival.response) + delay)
}

/// The age that whoever gets a response with these fields at `now` takes it to have, in whole seconds.
pub fn age_shown(response: &HeaderMap, now: SystemTime) -> Duration {
    let made = response.get(header::DATE).and_then(date);
    let apparent = made.and_then(|made| now.duration_since(made).ok()).unwrap_or_default();
    age_value(response).max(Duration::from_secs(apparent.as_secs()))
}

/// What `Age` says: of a list, the first member (section 5.1).
fn age_value(response: &HeaderMap) -> Duration {
    let value = response.get(header::AGE).and_then(|age| age.to_str().ok()?.split(',').next());
    value.and_then(|age| delta_seconds(age.trim())).map_or(Duration::ZERO, Duration::from_secs)
}

/// When the response was made: what it says, or when it came (RFC 9110 section 6.6.1).
fn date_of(arrival: &Arrival<'_>) -> SystemTime {
    arrival.response.get(header::DATE).and_then(date).unwrap_or(arrival.arrived)
}

/// An HTTP date (RFC 9110 section 5.6.7).
pub fn date(value: &http::HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?.trim()).ok()
}

/// The fields of a response that are stored (section 3.1): not those of one hop, and not those that its
/// `private` and `no-cache` keep from this cache. With a `Date`, when the origin has no clock.
pub fn storable_fields(response: &HeaderMap, arrived: SystemTime) -> HeaderMap {
    let (says, _) = Directives::of_response(response);
    let mut kept = fields_for_client(response, arrived);
    for name in says.fields("private").into_iter().chain(says.fields("no-cache")) {
        kept.remove(name);
    }
    kept
}

/// The fields of a response that is sent on and not stored: all but those of one hop.
pub fn fields_for_client(response: &HeaderMap, arrived: SystemTime) -> HeaderMap {
    let left_out = nominated(response);
    let mut kept = HeaderMap::with_capacity(response.len() + 1);
    for (name, value) in response {
        if !is_of_one_hop(name) && !left_out.iter().any(|other| other == name.as_str()) {
            kept.append(name.clone(), value.clone());
        }
    }
    add_date(&mut kept, arrived);
    kept
}

/// RFC 9110 section 6.6.1.
fn add_date(headers: &mut HeaderMap, arrived: SystemTime) {
    if headers.get(header::DATE).and_then(date).is_none()
        && let Ok(now) = httpdate::fmt_http_date(arrived).try_into()
    {
        headers.insert(header::DATE, now);
    }
}

/// The stored fields as a 304 changes them (sections 3.2 and 4.3.4).
pub fn updated_fields(stored: &HeaderMap, response: &HeaderMap, arrived: SystemTime) -> HeaderMap {
    let new = storable_fields(response, arrived);
    let mut fields = stored.clone();
    let describes_the_body = |name: &HeaderName| {
        matches!(
            *name,
            header::CONTENT_LENGTH | header::CONTENT_ENCODING | header::CONTENT_TYPE | header::CONTENT_RANGE
        )
    };
    // The old age is that of the old response.
    fields.remove(header::AGE);
    for name in new.keys().filter(|name| !describes_the_body(name)) {
        fields.remove(name);
        for value in new.get_all(name) {
            fields.append(name.clone(), value.clone());
        }
    }
    fields
}

/// What `Connection` says is of one hop.
fn nominated(response: &HeaderMap) -> Vec<String> {
    let lines = response.get_all(header::CONNECTION).iter();
    lines
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b','))
        .map(|name| String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase())
        // It does not make less of the body to say so.
        .filter(|name| {
            !matches!(name.as_str(), "close" | "content-length" | "content-encoding" | "content-type")
        })
        .collect()
}

fn is_of_one_hop(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::CONNECTION
            | header::TE
            | header::TRAILER
            | header::TRANSFER_ENCODING
            | header::UPGRADE
            | header::PROXY_AUTHENTICATE
            | header::PROXY_AUTHORIZATION
    ) || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "proxy-authentication-info")
}

#[cfg(test)]
mod tests;
