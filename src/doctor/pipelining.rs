//! What a daemon does first: a thousand lookups in one write, before it reads a byte (`http-multiple-get` in
//! guix/http-client.scm). A server that closes with requests unread sends a reset, and the answers are gone.

use std::io;
use std::time::Instant;

use super::Doctor;
use super::door::Door;
use super::stream::in_words;
use super::target::Scheme;
use crate::nix_base32;

/// As many as Guix sends.
const LOOKUPS: usize = 1000;
/// Every so often one that is there: so it shows whether answers come in order.
const PRESENT_EACH: usize = 97;
/// The largest narinfo: those of items with many references have some tens of kilobytes.
const LONGEST: usize = 256 * 1024;
/// Guix would go on; a server that needs more has been understood by then.
const MOST_CONNECTIONS: usize = 50;
/// How many times longer than one answer all of them may take.
const TO_END: u32 = 6;

impl Doctor<'_> {
    /// `there` is the hash of an item that the server has.
    pub(super) fn look_at_pipelining(&mut self, door: &Door, there: Option<&str>) {
        let check = match door.scheme {
            Scheme::Http => "pipelining-http",
            Scheme::Https => "pipelining-https",
        };
        let begun = Instant::now();
        let lookups = match self.lookups(there) {
            Ok(lookups) => lookups,
            Err(why) => return self.warning(check, why, "Try again"),
        };
        let mut seen = Seen::default();
        while seen.answered < LOOKUPS && seen.connections < MOST_CONNECTIONS {
            let before = seen.answered;
            seen.connections += 1;
            if let Err(error) = batch(door, &lookups, &mut seen) {
                let advice = "A daemon finds nothing here then: the server has to answer pipelined requests, and to \
                              close, if it must, with `Connection: close` and without a reset; in nginx: \
                              keepalive_requests 10000";
                let found = format!(
                    "{} of {LOOKUPS} lookups in one write were answered: {}",
                    seen.answered,
                    in_words(&error)
                );
                return self.failure(check, found, advice);
            }
            if seen.answered == before {
                break;
            }
        }
        self.judge_answers(check, door.scheme, &seen, begun);
    }

    fn judge_answers(&mut self, check: &str, scheme: Scheme, seen: &Seen, begun: Instant) {
        if seen.answered < LOOKUPS {
            let advice = "Look at how many requests the server answers on one connection; in nginx: keepalive_requests";
            let found = format!(
                "{} of {LOOKUPS} lookups were answered, on {} connections",
                seen.answered, seen.connections
            );
            return self.failure(check, found, advice);
        }
        if let Some(wrong) = &seen.wrong {
            let (found, advice) = wrong.in_words(seen.how_wrong);
            // Some mean it: `plain_http = "redirect"`.
            let is_beside = scheme != self.target.scheme && matches!(wrong, Wrong::Redirect(_));
            return match is_beside {
                true => self.warning(check, found, advice),
                false => self.failure(check, found, advice),
            };
        }
        let took = begun.elapsed().as_secs_f32();
        let found = format!("{LOOKUPS} lookups in one write, all answered in order, in {took:.1} s");
        if seen.connections > 1 {
            let advice = "Each connection costs a daemon time: let it have more requests; in nginx: keepalive_requests 10000";
            self.warning(check, format!("{found}, but on {} connections", seen.connections), advice);
        } else {
            self.ok(check, found);
        }
    }

    fn lookups(&self, there: Option<&str>) -> Result<Vec<Lookup>, String> {
        let one = |at: usize| match there {
            Some(hash) if at % PRESENT_EACH == PRESENT_EACH / 2 || at + 1 == LOOKUPS => {
                Ok((hash.to_owned(), true))
            }
            _ => absent().map(|hash| (hash, false)),
        };
        let lookups = (0..LOOKUPS).map(|at| {
            let (hash, there) = one(at)?;
            Ok(Lookup { target: format!("{}/{hash}.narinfo", self.target.base), hash, there })
        });
        lookups.collect()
    }
}

struct Lookup {
    target: String,
    hash: String,
    there: bool,
}

#[derive(Default)]
struct Seen {
    connections: usize,
    answered: usize,
    /// What was wrong first, and how often anything was.
    wrong: Option<Wrong>,
    how_wrong: usize,
}

enum Wrong {
    Redirect(u16),
    Status(u16),
    /// Which answer.
    Mixed(usize),
}

impl Wrong {
    /// What was found `times` times, or once at least, and what to do.
    fn in_words(&self, times: usize) -> (String, &'static str) {
        match self {
            Self::Redirect(status) => (
                format!("{times} of {LOOKUPS} lookups are answered {status}, a redirect"),
                "Guix does not follow them for narinfos, and takes the items for absent: serve substitutes here too",
            ),
            Self::Status(status) => (
                format!("{times} of {LOOKUPS} lookups in one write are answered {status}"),
                "Guix takes the items for absent, for minutes: see that nothing limits lookups, and that guix publish \
                 keeps up",
            ),
            Self::Mixed(at) => (
                format!("the answer to request {} is that to another", at + 1),
                "Answers have to come in the order of the requests: look at what is in between",
            ),
        }
    }
}

/// Writes all lookups that are left, then reads until they are answered or the server says that it closes.
fn batch(door: &Door, lookups: &[Lookup], seen: &mut Seen) -> io::Result<()> {
    let mut connection = door.connect()?;
    connection.allow(door.patience, door.patience * TO_END);
    let request = |lookup: &Lookup| {
        format!("GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: GNU Guile\r\n\r\n", lookup.target, door.authority)
    };
    let requests: String = lookups[seen.answered..].iter().map(request).collect();
    let sent = connection.send(requests.as_bytes());
    let first = seen.answered;
    while let Some(lookup) = lookups.get(seen.answered) {
        let answer = match connection.answer(false, LONGEST) {
            Ok(answer) => answer,
            // A close between two answers; Guix opens another connection.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && seen.answered > first => {
                return Ok(());
            }
            Err(error) => return Err(sent.err().unwrap_or(error)),
        };
        let wrong = match answer.head.status {
            200 if lookup.there && answer.text().contains(&lookup.hash) => None,
            404 if !lookup.there => None,
            200 | 404 => Some(Wrong::Mixed(seen.answered)),
            status if answer.head.is_redirect() => Some(Wrong::Redirect(status)),
            status => Some(Wrong::Status(status)),
        };
        seen.how_wrong += usize::from(wrong.is_some());
        seen.wrong = seen.wrong.take().or(wrong);
        seen.answered += 1;
        if answer.head.closes() {
            return Ok(());
        }
    }
    Ok(())
}

/// The hash of an item that nobody has.
fn absent() -> Result<String, String> {
    let mut bytes = [0; 20];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| "the system gives no random numbers".to_owned())?;
    Ok(nix_base32::encode(&bytes))
}
