//! What a CA answers, made into what instant-acme can take. It trusts CAs in a few places where one should not.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, DATE, HeaderMap, LOCATION, RETRY_AFTER};
use http::response::Parts;
use http::{HeaderValue, Method, StatusCode, Uri};
use instant_acme::{Error, Problem, Subproblem};
use serde_json::{Map, Value, json};

use super::failure::clean;
use super::schedule::{LONGEST_RETRY_AFTER, WINDOW_RETRY};

/// What answers say beside what they are about.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard {
    /// How long the last answer asked us to wait.
    pub retry_after: Option<Duration>,
    /// The CA's clock when it last answered.
    pub date: Option<SystemTime>,
    /// The status of the last answer.
    pub status: u16,
}

/// Takes out of the headers what we go by, and leaves in them only what instant-acme can take: it adds whatever
/// number of seconds it finds to the time, and that panics beyond what a time can hold.
pub(super) fn read_headers(headers: &mut HeaderMap, status: StatusCode, method: &Method) -> Heard {
    let text = |value: &HeaderValue| value.to_str().ok().map(|text| text.trim().to_owned());
    let date = headers.get(DATE).and_then(text).and_then(|text| httpdate::parse_http_date(&text).ok());
    let retry_after = headers.get(RETRY_AFTER).and_then(text).and_then(|text| match text.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(LONGEST_RETRY_AFTER)
        }
        // A date is the CA's: compared with ours it would be as wrong as our clock is (RFC 9110 section 10.2.3).
        Err(_) => {
            let at = httpdate::parse_http_date(&text).ok()?;
            at.duration_since(date.unwrap_or_else(SystemTime::now)).ok()
        }
    });
    let retry_after = retry_after.map(|wait| wait.min(LONGEST_RETRY_AFTER));
    // Renewal information has to come with one (RFC 9773 section 4.3); if not, we know what to do.
    let told = retry_after.or((method == Method::GET && status.is_success()).then_some(WINDOW_RETRY));
    match told {
        Some(wait) => headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs())),
        None => headers.remove(RETRY_AFTER),
    };
    Heard { retry_after, date, status: status.as_u16() }
}

/// The body that instant-acme is to see in the answer to a `method`; or why there is no use in showing it one, in words
/// that help more than its own.
pub(super) fn read_body(method: &Method, parts: &mut Parts, body: Bytes) -> Result<Bytes, Error> {
    let status = parts.status;
    if status.is_redirection() {
        let to = parts.headers.get(LOCATION).and_then(|to| to.to_str().ok()).map(clean).unwrap_or_default();
        let why = format!("it redirects ({status}) to {to}; write the URL that is meant");
        return Err(Error::Other(why.into()));
    }
    if !status.is_success() {
        let problem = problem(status, &parts.headers, &body);
        // Of what is fetched without an account, instant-acme takes no status into account.
        return match *method {
            Method::POST => Ok(problem.to_string().into()),
            _ => Err(Error::Api(serde_json::from_value::<Problem>(problem)?)),
        };
    }
    match *method {
        Method::GET => check_directory(&body)?,
        // RFC 8555 section 7.2 has 200 for HEAD and 204 for GET; some have it the other way round.
        Method::HEAD => parts.status = StatusCode::OK,
        _ => {}
    }
    Ok(body)
}

/// The terms of service that a directory names (RFC 8555 section 7.1.1).
pub(super) fn terms_of_service(body: &[u8]) -> Option<String> {
    let directory = serde_json::from_slice::<Value>(body).ok()?;
    directory["meta"]["termsOfService"].as_str().map(clean)
}

/// A problem document (RFC 8555 section 6.7) of what may be one. Its status is that of the answer, which the document
/// may leave out, and what is of another type than it should be is left out.
fn problem(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Value {
    let mut said: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    let of_kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("nothing");
    let detail = match said.remove("detail") {
        Some(Value::String(detail)) => detail,
        _ => format!("it answered {status} with {}, and no reason", clean(of_kind)),
    };
    let subproblems = said
        .remove("subproblems")
        .filter(|parts| serde_json::from_value::<Vec<Subproblem>>(parts.clone()).is_ok())
        .unwrap_or_else(|| json!([]));
    let kind = said.remove("type").filter(Value::is_string);
    json!({ "type": kind, "detail": detail, "status": status.as_u16(), "subproblems": subproblems })
}

fn check_directory(body: &[u8]) -> Result<(), Error> {
    let refused = |why: &'static str| Error::Other(why.into());
    let directory: Value = serde_json::from_slice(body)
        .map_err(|_| refused("expected JSON, as an ACME directory is (RFC 8555 section 7.1.1)"))?;
    match directory.get("newNonce") {
        // instant-acme takes it for granted that this one is a URL.
        Some(url) if url.as_str().is_none_or(|url| url.parse::<Uri>().is_err()) => {
            Err(refused("the directory's newNonce is no URL"))
        }
        _ => Ok(()),
    }
}
