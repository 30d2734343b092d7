//! Requests of the plainest kind, read where they lie.
//!
//! Nearly all that a farm is asked is `GET`, a host and a user agent, with nothing behind it. For every request the engine
//! sets up a session, a table of fields and the state of two bodies: more than half of what it costs to look a narinfo
//! up. So a plain request is taken apart in its buffer, and whatever is not plainly plain (another method or version, a
//! body, a word about the connection, anything odd) is the engine's from its first byte. Nothing is refused here.

use std::mem::MaybeUninit;

/// Fields in the head of a plain request.
const MOST_FIELDS: usize = 24;

/// A plain request: `GET`, HTTP/1.1, a target that begins with a slash, one `Host`, and no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain<'b> {
    /// The target as it was sent.
    pub target: &'b [u8],
    /// The `Host` field; not empty.
    pub host: &'b [u8],
    /// The `Referer` field.
    pub referer: Option<&'b [u8]>,
    /// The `User-Agent` field.
    pub user_agent: Option<&'b [u8]>,
    /// Bytes of its head.
    pub size: usize,
}

impl<'b> Plain<'b> {
    /// The plain request that `bytes` begin with; none where they begin with anything else, or with a part of one.
    pub fn of(bytes: &'b [u8]) -> Option<Self> {
        match Beginning::of(bytes) {
            Beginning::Plain(plain) => Some(plain),
            Beginning::Partial | Beginning::Other => None,
        }
    }
}

/// What the bytes that have come are the beginning of.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Beginning<'b> {
    /// A plain request.
    Plain(Plain<'b>),
    /// A head that is not here to its end.
    Partial,
    /// Anything else.
    Other,
}

impl<'b> Beginning<'b> {
    pub fn of(bytes: &'b [u8]) -> Self {
        let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
        let mut request = httparse::Request::new(&mut []);
        match request.parse_with_uninit_headers(bytes, &mut fields) {
            Ok(httparse::Status::Partial) => Self::Partial,
            Ok(httparse::Status::Complete(size)) => plain(&request, size).map_or(Self::Other, Self::Plain),
            Err(_) => Self::Other,
        }
    }
}

fn plain<'b>(request: &httparse::Request<'_, 'b>, size: usize) -> Option<Plain<'b>> {
    let target = request.path?.as_bytes();
    if request.method != Some("GET") || request.version != Some(1) || !target.starts_with(b"/") {
        return None;
    }
    if !target.iter().all(|&byte| IN_TARGETS[usize::from(byte)]) {
        return None;
    }
    let (mut host, mut hosts, mut referer, mut user_agent) = (None, 0, None, None);
    for field in &*request.headers {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        // By length, which is as good as a hash here.
        match field.name.len() {
            4 if is("host") => {
                host = Some(field.value);
                hosts += 1;
            }
            7 if is("referer") => _ = referer.get_or_insert(field.value),
            10 if is("user-agent") => _ = user_agent.get_or_insert(field.value),
            6 if is("expect") => return None,
            7 if is("upgrade") => return None,
            10 if is("connection") || is("keep-alive") => return None,
            14 if is("content-length") => return None,
            16 if is("proxy-connection") => return None,
            17 if is("transfer-encoding") => return None,
            _ => {}
        }
    }
    // Which one counts where there are two, nobody agrees on.
    let host = host.filter(|host: &&[u8]| hosts == 1 && !host.is_empty())?;
    Some(Plain { target, host, referer, user_agent, size })
}

/// What may be in the path or the query of a target (RFC 3986 appendix A). The engine lets more through, and not all that
/// httparse does.
const IN_TARGETS: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'-' | b'.'
                    | b'_'
                    | b'~'
                    | b'!'
                    | b'$'
                    | b'&'
                    | b'\''
                    | b'('
                    | b')'
                    | b'*'
                    | b'+'
                    | b','
                    | b';'
                    | b'='
            )
            || matches!(byte, b':' | b'@' | b'/' | b'?' | b'%');
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    const LOOKUP: &str = "GET /abc.narinfo HTTP/1.1\r\nHost: farm.example\r\nUser-Agent: GNU Guile\r\n\r\n";

    fn is_other(request: &str) -> bool {
        Beginning::of(request.as_bytes()) == Beginning::Other
    }

    #[test]
    fn a_lookup_is_plain_and_ends_where_its_head_ends() {
        let two = format!("{LOOKUP}GET /next");
        let expected = Plain {
            target: b"/abc.narinfo",
            host: b"farm.example",
            referer: None,
            user_agent: Some(b"GNU Guile"),
            size: LOOKUP.len(),
        };
        assert_eq!(Beginning::of(two.as_bytes()), Beginning::Plain(expected));
        for end in 0..LOOKUP.len() {
            assert_eq!(Beginning::of(&LOOKUP.as_bytes()[..end]), Beginning::Partial, "{end}");
        }
    }

    #[test]
    fn names_of_fields_are_read_in_any_case_and_the_first_value_counts() {
        let request =
            LOOKUP.replace("Host", "hOST").replace("\r\n\r\n", "\r\nreferer: a\r\nReferer: b\r\n\r\n");
        let Beginning::Plain(plain) = Beginning::of(request.as_bytes()) else { panic!("{request}") };
        assert_eq!((plain.host, plain.referer), (&b"farm.example"[..], Some(&b"a"[..])));
    }

    #[test]
    fn what_may_have_a_body_or_concerns_the_connection_is_the_engines() {
        for field in [
            "Content-Length: 0",
            "content-length: 5",
            "Transfer-Encoding: chunked",
            "TRANSFER-ENCODING: identity",
            "Connection: close",
            "Connection: keep-alive",
            "Keep-Alive: timeout=5",
            "Proxy-Connection: keep-alive",
            "Upgrade: h2c",
            "Expect: 100-continue",
            "Host: farm.example",
            "Host: other.example",
            "Content-Length : 5",
            " folded",
        ] {
            let request = LOOKUP.replace("\r\n\r\n", &format!("\r\n{field}\r\n\r\n"));
            assert!(is_other(&request), "{field}");
        }
    }

    #[test]
    fn other_methods_versions_and_targets_are_the_engines() {
        for (from, to) in [
            ("GET", "HEAD"),
            ("GET", "get"),
            ("GET", "POST"),
            ("HTTP/1.1", "HTTP/1.0"),
            ("HTTP/1.1", "HTTP/2.0"),
            ("/abc", "http://farm.example/abc"),
            ("/abc.narinfo", "*"),
            ("/abc.narinfo", "/<abc>.narinfo"),
            ("/abc.narinfo", "/abc.narinfo?\u{e9}"),
            ("/abc.narinfo", "/abc.narinfo#x"),
            ("Host: farm.example", "Host:"),
            ("Host: farm.example", "X: y"),
        ] {
            assert!(is_other(&LOOKUP.replacen(from, to, 1)), "{to}");
        }
        let many = LOOKUP.replace("\r\n\r\n", &format!("{}\r\n\r\n", "\r\na: b".repeat(MOST_FIELDS)));
        assert!(is_other(&many));
    }
}
