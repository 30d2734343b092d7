//! Short answers, read where they lie.
//!
//! A narinfo, or the word that there is none, comes in one piece: a head of a few lines and a body of a kilobyte. It can
//! be written on to a client without a table of fields in between, if it is of the plain kind and says nothing about its
//! connection that the next hop should not hear.

use std::mem::MaybeUninit;

use super::incoming::{Framing, MOST_FIELDS};

/// Room for the fields of a head.
pub type Fields<'b> = [MaybeUninit<httparse::Header<'b>>; MOST_FIELDS];

/// Such room, with nothing in it.
pub const fn no_fields<'b>() -> Fields<'b> {
    [const { MaybeUninit::uninit() }; MOST_FIELDS]
}

/// A whole answer.
#[derive(Debug)]
pub struct Short<'f, 'b> {
    /// The final status.
    pub status: u16,
    /// Its reason, as the backend has it.
    pub reason: &'b str,
    /// The fields that are for the client, with those to be left out: see [`fields`](Self::fields).
    all: &'f [httparse::Header<'b>],
    /// The body.
    pub body: &'b [u8],
    /// The backend wants to go on.
    pub is_reusable: bool,
}

/// What the bytes that have come so far are.
#[derive(Debug)]
pub enum Answer<'f, 'b> {
    /// An answer, and nothing behind it.
    Whole(Short<'f, 'b>),
    /// The beginning of one.
    Partial,
    /// Anything else.
    Other,
}

impl<'f, 'b> Answer<'f, 'b> {
    /// Takes `bytes` apart; `room` is for that, and need not be set to anything.
    pub fn of(bytes: &'b [u8], room: &'f mut Fields<'b>) -> Self {
        let mut response = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let size = match config.parse_response_with_uninit_headers(&mut response, bytes, room) {
            Ok(httparse::Status::Complete(size)) => size,
            Ok(httparse::Status::Partial) => return Self::Partial,
            Err(_) => return Self::Other,
        };
        let (reason, all) = (response.reason.unwrap_or_default(), &*response.headers);
        let Some(Framing { status, length, is_reusable }) = Framing::of(&response) else {
            return Self::Other;
        };
        if all.iter().any(concerns_a_hop) {
            return Self::Other;
        }
        let body = &bytes[size..];
        match (body.len() as u64).cmp(&length) {
            std::cmp::Ordering::Less => Self::Partial,
            std::cmp::Ordering::Equal => Self::Whole(Short { status, reason, all, body, is_reusable }),
            // The answer to nothing.
            std::cmp::Ordering::Greater => Self::Other,
        }
    }
}

impl<'b> Short<'_, 'b> {
    /// The fields that go on to a client. `Connection` and `Date` are the gate's own to say.
    pub fn fields(&self) -> impl Iterator<Item = (&'b str, &'b [u8])> {
        self.all
            .iter()
            .map(|field| (field.name, field.value))
            .filter(|(name, _)| !(is(name, "connection") || is(name, "date")))
    }
}

/// Whether a field is one hop's business, or names one that is.
fn concerns_a_hop(field: &httparse::Header<'_>) -> bool {
    let value = field.value;
    match is(field.name, "connection") {
        true => !(value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close")),
        false => ends_here(field.name),
    }
}

/// Whether the field `name`, in any case, of an answer is one hop's business (RFC 9110 section 7.6.1). `Connection` and
/// what frames the body are judged by themselves.
pub fn ends_here(name: &str) -> bool {
    match name.len() {
        7 => is(name, "trailer") || is(name, "upgrade"),
        10 => is(name, "keep-alive"),
        16 => is(name, "proxy-connection"),
        18 => is(name, "proxy-authenticate"),
        _ => false,
    }
}

fn is(name: &str, other: &str) -> bool {
    name.eq_ignore_ascii_case(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUND: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nabc";

    #[test]
    fn an_answer_is_whole_when_all_of_it_is_here_and_not_before() {
        for end in 0..FOUND.len() {
            assert!(
                matches!(Answer::of(&FOUND.as_bytes()[..end], &mut no_fields()), Answer::Partial),
                "{end}"
            );
        }
        let mut fields = no_fields();
        let Answer::Whole(short) = Answer::of(FOUND.as_bytes(), &mut fields) else { panic!() };
        assert_eq!(
            (short.status, short.reason, short.body, short.is_reusable),
            (200, "OK", &b"abc"[..], true)
        );
        let more = format!("{FOUND}d");
        assert!(matches!(Answer::of(more.as_bytes(), &mut no_fields()), Answer::Other));
    }

    #[test]
    fn what_the_gate_says_itself_is_left_out() {
        let answer = FOUND.replace("\r\n\r\n", "\r\nDate: then\r\nConnection: close\r\nX-Baking: 1\r\n\r\n");
        let mut fields = no_fields();
        let Answer::Whole(short) = Answer::of(answer.as_bytes(), &mut fields) else { panic!() };
        let names: Vec<_> = short.fields().map(|(name, _)| name).collect();
        assert_eq!((names, short.is_reusable), (vec!["Content-Type", "Content-Length", "X-Baking"], false));
    }

    #[test]
    fn what_is_not_plainly_framed_or_concerns_one_hop_is_another_matter() {
        for field in [
            "Transfer-Encoding: chunked",
            "Content-Length: 3",
            "Connection: X-Baking",
            "Connection: close, X-Baking",
            "Keep-Alive: timeout=5",
            "Upgrade: h2c",
            "Trailer: X",
            "Proxy-Connection: close",
            "Proxy-Authenticate: Basic",
        ] {
            let answer = FOUND.replace("\r\n\r\n", &format!("\r\n{field}\r\n\r\n"));
            assert!(matches!(Answer::of(answer.as_bytes(), &mut no_fields()), Answer::Other), "{field}");
        }
        for (from, to) in [
            ("HTTP/1.1 200", "HTTP/1.0 200"),
            ("200 OK", "100 Continue"),
            ("200 OK", "304 Not Modified"),
            ("200 OK", "204 No Content"),
            ("Content-Length: 3", "Content-Length: +3"),
            ("Content-Length: 3", "X: y"),
        ] {
            let answer = FOUND.replace(from, to);
            assert!(matches!(Answer::of(answer.as_bytes(), &mut no_fields()), Answer::Other), "{to}");
        }
    }
}
