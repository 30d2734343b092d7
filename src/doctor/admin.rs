//! Whether the admin pages are closed to somebody without a certificate, however their path is written.
//!
//! Cuirass changes state on GET, so nothing is asked for that could be one of its actions. Below `/admin` is asked for a
//! name that it does not have: an answer that only Cuirass can give then shows that the door is open.

use std::io::ErrorKind;

use super::door::Door;
use super::http::{Answer, LONGEST_BODY};
use super::stream::in_words;
use super::target::Scheme;
use super::{Doctor, status_in_words};

/// Below `/admin`; no action has that name.
const NOBODY: &str = "farmgate-doctor";

/// One way to ask.
struct Attempt {
    method: &'static str,
    target: String,
    /// Guile's web server takes it for the admin pages. Others are what something in between may make of it.
    guile: bool,
}

/// What an answer says about the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgement {
    /// Refused: somebody looked at who asks.
    Closed,
    /// There is no such thing.
    Absent,
    /// Let in.
    Open,
}

impl Doctor<'_> {
    pub(super) fn look_at_admin(&mut self, door: &Door) {
        let check = match door.scheme {
            Scheme::Http => "admin-http",
            Scheme::Https => "admin-https",
        };
        // A server that answers 200 to anything says nothing by it.
        let anything = door.get(&format!("/{NOBODY}-{NOBODY}")).is_ok_and(|answer| answer.head.status == 200);
        let attempts = attempts(&door.authority);
        let mut open = Vec::new();
        let (mut refused, mut unclear, mut unanswered) = (false, false, None);
        for attempt in &attempts {
            let answer = match ask(door, attempt) {
                Ok(answer) => answer,
                // Closing the connection is a refusal without words.
                Err(error)
                    if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) =>
                {
                    refused = true;
                    continue;
                }
                Err(error) => {
                    unanswered = Some(in_words(&error));
                    continue;
                }
            };
            let status = answer.head.status;
            let seen =
                format!("{} {} is answered {}", attempt.method, attempt.target, status_in_words(status));
            match judge(attempt.method, status) {
                Judgement::Closed => refused |= attempt.method == "GET",
                Judgement::Absent if self.has_ci && attempt.guile => open.push(format!("{seen}, by Cuirass")),
                Judgement::Absent => {}
                Judgement::Open if anything => unclear = true,
                Judgement::Open => open.push(seen),
            }
        }
        let all = attempts.len();
        if let Some(first) = open.first() {
            let more = if open.len() > 1 {
                format!(", and {} more ways to ask", open.len() - 1)
            } else {
                String::new()
            };
            let advice = "Whoever knows this can delete jobsets and restart builds: close it now. In nginx match the \
                          decoded path, and ask for a client certificate";
            self.failure(check, format!("open to everybody: {first}{more}"), advice);
        } else if unclear {
            let advice = "Look yourself whether the pages behind /admin are closed";
            self.warning(check, "the server answers 200 to everything, so nothing can be told", advice);
        } else if let Some(why) = unanswered {
            self.warning(
                check,
                format!("closed, but some were not answered: {why}"),
                "See what the server's log says",
            );
        } else if !refused {
            self.ok(check, "there are no admin pages");
        } else {
            self.ok(check, format!("closed, in all of {all} ways to ask"));
        }
    }
}

fn ask(door: &Door, attempt: &Attempt) -> std::io::Result<Answer> {
    let mut connection = door.connect()?;
    connection.send(door.request(attempt.method, &attempt.target).as_bytes())?;
    connection.answer(attempt.method == "HEAD", LONGEST_BODY)
}

/// A redirect leads to a login, to https, or to another spelling, which is asked for by itself.
fn judge(method: &str, status: u16) -> Judgement {
    match status {
        404 | 410 => Judgement::Absent,
        // Many servers answer OPTIONS themselves.
        200 | 204 if method == "OPTIONS" => Judgement::Closed,
        // The backend was asked, or would have been.
        200..=299 | 500..=599 => Judgement::Open,
        _ => Judgement::Closed,
    }
}

fn attempts(authority: &str) -> Vec<Attempt> {
    let get = |guile: bool, target: String| Attempt { method: "GET", target, guile };
    let other = |method: &'static str| Attempt { method, target: format!("/admin/{NOBODY}"), guile: false };
    vec![
        get(true, "/admin".into()),
        get(true, "/admin/".into()),
        get(true, format!("/admin/{NOBODY}")),
        get(true, format!("/admin/{NOBODY}?x=1")),
        get(true, format!("/%61dmin/{NOBODY}")),
        get(true, format!("/%61%64%6D%69%6e/{NOBODY}")),
        get(true, format!("/admin//{NOBODY}/")),
        get(false, format!("//admin/{NOBODY}")),
        get(false, format!("///%61dmin//{NOBODY}")),
        get(false, format!("/./admin/{NOBODY}")),
        get(false, format!("/static/../admin/{NOBODY}")),
        get(false, format!("/static/%2e%2e/admin/{NOBODY}")),
        get(true, format!("http://{authority}/admin/{NOBODY}")),
        get(true, format!("http://{authority}//%61dmin/{NOBODY}")),
        other("HEAD"),
        other("POST"),
        other("PUT"),
        other("DELETE"),
        other("OPTIONS"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_let_in_is_told_from_what_was_refused() {
        for (method, status, judgement) in [
            ("GET", 403, Judgement::Closed),
            ("GET", 401, Judgement::Closed),
            ("GET", 400, Judgement::Closed),
            ("GET", 308, Judgement::Closed),
            ("POST", 405, Judgement::Closed),
            ("OPTIONS", 204, Judgement::Closed),
            ("GET", 404, Judgement::Absent),
            ("GET", 200, Judgement::Open),
            ("HEAD", 204, Judgement::Open),
            ("GET", 500, Judgement::Open),
        ] {
            assert_eq!(judge(method, status), judgement, "{method} {status}");
        }
    }

    #[test]
    fn nothing_that_is_asked_is_an_action_of_cuirass() {
        for attempt in attempts("farm.example") {
            let word = attempt.target.contains("build") || attempt.target.contains("specification");
            assert!(!word && !attempt.target.contains("evaluation"), "{}", attempt.target);
        }
        assert!(attempts("x").len() >= 12);
    }
}
