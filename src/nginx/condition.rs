//! `if (…)`: whether it is true for a request.

use regex::RegexBuilder;

use super::answer::Request;

/// What a condition came to.
pub(super) enum Outcome {
    /// By what the request itself says.
    Known(bool),
    /// For a request that carries nothing out of the ordinary: it asks for something else, such as a header.
    Plain(bool),
    /// Nobody can say from here.
    Unclear(String),
}

/// Looks at the arguments of an `if`.
pub(super) fn holds(args: &[String], request: &Request<'_>) -> Outcome {
    let text = args.join(" ");
    let Some(inner) = text.trim().strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) else {
        return Outcome::Unclear("this is no condition".into());
    };
    let mut words = inner.trim().splitn(3, ' ');
    let (left, operator) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let right = words.next().unwrap_or_default().trim();
    let Some(name) = left.strip_prefix('$') else {
        return Outcome::Unclear(format!("{left} is asked for"));
    };
    let (value, is_plain) = match known(name, request) {
        Some(value) => (value, false),
        None => match ordinary(name) {
            Some(value) => (value.to_owned(), true),
            None => return Outcome::Unclear(format!("nobody knows ${name} from here")),
        },
    };
    if right.contains('$') && !operator.ends_with(['~', '*']) {
        return Outcome::Unclear(format!("it compares with {right}"));
    }
    let matches = |caseless: bool| {
        let built = RegexBuilder::new(right).case_insensitive(caseless).build();
        built.map(|regex| regex.is_match(&value)).map_err(|_| format!("{right} cannot be read here"))
    };
    let result = match operator {
        "" => Ok(!value.is_empty() && value != "0"),
        "=" => Ok(value == right),
        "!=" => Ok(value != right),
        "~" => matches(false),
        "~*" => matches(true),
        "!~" => matches(false).map(|found| !found),
        "!~*" => matches(true).map(|found| !found),
        other => Err(format!("{other} is no comparison")),
    };
    match result {
        Ok(result) if is_plain => Outcome::Plain(result),
        Ok(result) => Outcome::Known(result),
        Err(why) => Outcome::Unclear(why),
    }
}

fn known(name: &str, request: &Request<'_>) -> Option<String> {
    Some(match name {
        "scheme" => if request.tls { "https" } else { "http" }.to_owned(),
        "https" => if request.tls { "on" } else { "" }.to_owned(),
        "ssl_client_verify" => if request.tls && request.certified { "SUCCESS" } else { "NONE" }.to_owned(),
        "host" | "http_host" | "server_name" => request.host.to_owned(),
        "uri" | "request_uri" | "document_uri" => request.path.to_owned(),
        "request_method" => "GET".to_owned(),
        "server_port" => if request.tls { "443" } else { "80" }.to_owned(),
        "is_args" | "args" | "query_string" => String::new(),
        _ => return None,
    })
}

/// What an everyday request has for a variable whose value the client chooses.
fn ordinary(name: &str) -> Option<&'static str> {
    match name {
        "http_user_agent" => Some("GNU Guile"),
        _ if ["http_", "cookie_", "arg_"].iter().any(|prefix| name.starts_with(prefix)) => Some(""),
        _ => None,
    }
}
