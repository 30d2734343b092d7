//! An answer on its way from a backend.
//!
//! Nearly all answers of `guix publish` are of one plain kind: a final status and a length. The engine's client session
//! reads them too, but sets up a table of fields twice over, and several boxes, for what is passed on and
//! forgotten: a fifth of all that a lookup cost. So the plain kind is read here, and whatever is not plainly plain
//! (chunks, no length, HTTP/1.0, an informational status, anything odd) goes to the engine, byte for byte as it came.
//! Nothing is decided about the framing of such an answer here, but that it is not ours.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderName, HeaderValue, StatusCode};
use pingora::http::ResponseHeader;
use pingora::protocols::http::v1::client::HttpSession as Upstream;
use pingora::{Error, ErrorType, Result};
use tokio::io::AsyncReadExt;

use super::stream::BackendStream;

/// What is read at once for a head; a narinfo comes with it.
const FIRST_READ: usize = 4 * 1024;
/// A head that is not whole by then is the engine's to read on, or to refuse.
const LARGEST_HEAD: usize = 32 * 1024;
/// Fields in a head of ours.
pub(super) const MOST_FIELDS: usize = 32;
/// What is read at once of a body.
const READ: usize = 64 * 1024;

/// A connection to a backend that answers.
pub enum Incoming {
    /// Of the plain kind.
    Plain(Box<Plain>),
    /// Any other.
    Engine(Box<Upstream>),
}

/// An answer of known length.
pub struct Plain {
    stream: Box<BackendStream>,
    head: Option<ResponseHeader>,
    /// Bytes of the body that are here.
    buffer: BytesMut,
    /// What is in `buffer` was not given to anybody yet.
    is_fresh: bool,
    /// Bytes of the body that are still to come.
    left: u64,
    is_reusable: bool,
}

impl Incoming {
    /// Reads the head of the answer to a request that was written out.
    pub async fn read(mut stream: Box<BackendStream>) -> Result<Self> {
        let mut buffer = BytesMut::with_capacity(FIRST_READ);
        loop {
            let read = stream.read_buf(&mut buffer).await;
            if read.map_err(|error| Error::because(ErrorType::ReadError, "the head of an answer", error))?
                == 0
            {
                return Error::e_explain(ErrorType::ConnectionClosed, "before the end of an answer's head");
            }
            match Head::parse(&buffer) {
                Head::Partial if buffer.len() < LARGEST_HEAD => buffer.reserve(FIRST_READ),
                Head::Plain { fields, size, length, is_reusable } => {
                    buffer.advance(size);
                    return Ok(Self::Plain(Box::new(Plain::new(
                        stream,
                        fields,
                        buffer,
                        length,
                        is_reusable,
                    ))));
                }
                Head::Partial | Head::Other => {
                    stream.unread(buffer.freeze());
                    let mut session = Box::new(Upstream::new(stream));
                    read_final(&mut session).await?;
                    return Ok(Self::Engine(session));
                }
            }
        }
    }

    /// The same for a request that the engine wrote.
    pub async fn of(mut session: Box<Upstream>) -> Result<Self> {
        read_final(&mut session).await?;
        Ok(Self::Engine(session))
    }

    /// The head; none when it was taken already.
    pub fn take_head(&mut self) -> Option<ResponseHeader> {
        match self {
            Self::Plain(plain) => plain.head.take(),
            Self::Engine(session) => session.resp_header().cloned(),
        }
    }

    /// The head; none when it was taken already.
    pub fn head(&self) -> Option<&ResponseHeader> {
        match self {
            Self::Plain(plain) => plain.head.as_ref(),
            Self::Engine(session) => session.resp_header(),
        }
    }

    /// The next part of the body, to be kept; none at its end.
    pub async fn owned_part(&mut self) -> Result<Option<Bytes>> {
        match self {
            Self::Plain(plain) => {
                let is_any = plain.part().await?.is_some();
                Ok(is_any.then(|| plain.buffer.split().freeze()))
            }
            Self::Engine(session) => session.read_body_bytes().await,
        }
    }

    /// The next part of the body; none at its end.
    pub async fn part(&mut self) -> Result<Option<&[u8]>> {
        match self {
            Self::Plain(plain) => plain.part().await,
            Self::Engine(session) => session.read_body_ref().await,
        }
    }

    /// The connection, if the answer was read to its end and the backend wants to go on.
    pub async fn into_reusable(self) -> Option<Box<BackendStream>> {
        match self {
            Self::Plain(plain) => (plain.left == 0 && plain.is_reusable).then_some(plain.stream),
            Self::Engine(mut session) => {
                if !session.is_body_done() {
                    return None;
                }
                session.respect_keepalive();
                // Every session here was made of one of these.
                session.reuse().await?.into_any().downcast().ok()
            }
        }
    }
}

/// Reads up to the head of the final answer: 100 and its kin are one hop's business (RFC 9110 section 15.2).
pub async fn read_final(session: &mut Upstream) -> Result<()> {
    loop {
        session.read_response().await?;
        match session.get_status() {
            // Nobody asked for another protocol, and in what would follow there is no telling heads from bodies.
            Some(StatusCode::SWITCHING_PROTOCOLS) => {
                return Error::e_explain(
                    ErrorType::InvalidHTTPHeader,
                    "a switch of protocols that nobody asked for",
                );
            }
            Some(status) if status.is_informational() => {}
            _ => return Ok(()),
        }
    }
}

impl Plain {
    fn new(
        stream: Box<BackendStream>,
        head: ResponseHeader,
        mut buffer: BytesMut,
        length: u64,
        is_reusable: bool,
    ) -> Self {
        let here = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
        // More than was announced is the answer to nothing, and spoils the connection for others.
        let is_reusable = is_reusable && here <= length;
        buffer.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        let left = length.saturating_sub(here);
        Self { stream, head: Some(head), is_fresh: !buffer.is_empty(), buffer, left, is_reusable }
    }

    async fn part(&mut self) -> Result<Option<&[u8]>> {
        if !std::mem::take(&mut self.is_fresh) {
            self.buffer.clear();
            if self.left == 0 {
                return Ok(None);
            }
            self.buffer.reserve(usize::try_from(self.left).unwrap_or(READ).min(READ));
            let mut rest = (&mut self.stream).take(self.left);
            let read = rest.read_buf(&mut self.buffer).await;
            let read =
                read.map_err(|error| Error::because(ErrorType::ReadError, "the body of an answer", error))?;
            if read == 0 {
                return Error::e_explain(ErrorType::ConnectionClosed, "before the end of an answer's body");
            }
            self.left -= read as u64;
        }
        Ok(Some(&self.buffer))
    }
}

/// What the bytes that have come so far are the beginning of.
#[expect(
    clippy::large_enum_variant,
    reason = "taken apart where it is made, and a box would be an allocation for each lookup"
)]
enum Head {
    /// A head that is not here to its end.
    Partial,
    /// A head of the plain kind, of this many bytes.
    Plain { fields: ResponseHeader, size: usize, length: u64, is_reusable: bool },
    /// Anything else.
    Other,
}

impl Head {
    fn parse(bytes: &[u8]) -> Self {
        let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        match response.parse(bytes) {
            Ok(httparse::Status::Partial) => Self::Partial,
            Ok(httparse::Status::Complete(size)) => Self::plain(&response, size).unwrap_or(Self::Other),
            Err(_) => Self::Other,
        }
    }

    fn plain(response: &httparse::Response<'_, '_>, size: usize) -> Option<Self> {
        let Framing { status, length, is_reusable } = Framing::of(response)?;
        let mut fields = ResponseHeader::build_no_case(status, Some(response.headers.len() + 2)).ok()?;
        fields.set_reason_phrase(response.reason).ok()?;
        for field in &*response.headers {
            let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
            fields.append_header(name, HeaderValue::from_bytes(field.value).ok()?).ok()?;
        }
        Some(Self::Plain { fields, size, length, is_reusable })
    }
}

/// What the head of a plain answer says of what follows it.
pub(super) struct Framing {
    /// The final status, of those that have a body.
    pub status: u16,
    /// Bytes of the body.
    pub length: u64,
    /// The backend wants to go on.
    pub is_reusable: bool,
}

impl Framing {
    /// Of an answer of the plain kind; none of any other.
    pub fn of(response: &httparse::Response<'_, '_>) -> Option<Self> {
        let status = response.code.filter(|code| (200..600).contains(code) && !matches!(code, 204 | 304))?;
        if response.version != Some(1) {
            return None;
        }
        let (mut length, mut is_reusable) = (None, true);
        for field in &*response.headers {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            match field.name.len() {
                // One, of digits alone (RFC 9110 section 8.6); who has it otherwise may mean anything.
                14 if is("content-length") && length.is_none() => length = Some(digits(field.value)?),
                14 if is("content-length") => return None,
                17 if is("transfer-encoding") => return None,
                10 if is("connection") => is_reusable &= field.value.eq_ignore_ascii_case(b"keep-alive"),
                _ => {}
            }
        }
        Some(Self { status, length: length?, is_reusable })
    }
}

fn digits(value: &[u8]) -> Option<u64> {
    let is_number = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| is_number)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// What comes of an answer that is sent in these pieces and then ended: status, body, whether the engine read it,
    /// and whether the connection is good for another request.
    async fn answered(pieces: Vec<Vec<u8>>) -> Result<(u16, Vec<u8>, bool, bool)> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut backend = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        backend.set_nodelay(true).unwrap();
        let (tcp, _) = listener.accept().await.unwrap();
        let sending = tokio::spawn(async move {
            for piece in pieces {
                backend.write_all(&piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            backend.shutdown().await.unwrap();
            backend
        });
        let mut incoming = Incoming::read(Box::new(BackendStream::new(tcp))).await?;
        let is_engines = matches!(incoming, Incoming::Engine(_));
        let status = incoming.take_head().unwrap().status.as_u16();
        let mut body = Vec::new();
        while let Some(part) = incoming.part().await? {
            body.extend_from_slice(part);
        }
        let is_reusable = incoming.into_reusable().await.is_some();
        sending.await.unwrap();
        Ok((status, body, is_engines, is_reusable))
    }

    async fn whole(answer: &str) -> Result<(u16, Vec<u8>, bool, bool)> {
        answered(vec![answer.into()]).await
    }

    fn body(text: &str) -> Vec<u8> {
        text.into()
    }

    #[tokio::test]
    async fn an_answer_with_a_length_is_read_to_that_length_however_it_comes() {
        let answer = b"HTTP/1.1 404 Not Found\r\nX-Baking: 1\r\nContent-Length: 3\r\n\r\nabc".to_vec();
        let expected = (404, body("abc"), false, true);
        assert_eq!(answered(vec![answer.clone()]).await.unwrap(), expected);
        let bytes = answer.iter().map(|&byte| vec![byte]).collect();
        assert_eq!(answered(bytes).await.unwrap(), expected);
        for at in 1..answer.len() {
            let (head, rest) = answer.split_at(at);
            assert_eq!(answered(vec![head.into(), rest.into()]).await.unwrap(), expected, "cut at {at}");
        }
    }

    #[tokio::test]
    async fn what_is_not_plainly_framed_is_read_by_the_engine_from_its_first_byte() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "abc"),
            ("HTTP/1.1 200 OK\r\n\r\nto the end", "to the end"),
            ("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc"),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "abc"),
        ] {
            let (status, body, is_engines, _) = whole(answer).await.unwrap();
            assert_eq!((status, body.as_slice(), is_engines), (200, expected.as_bytes(), true), "{answer}");
        }
        let without_body = whole("HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n").await.unwrap();
        assert_eq!((without_body.0, without_body.1, without_body.2), (304, body(""), true));
    }

    #[tokio::test]
    async fn lengths_that_contradict_each_other_or_are_no_numbers_are_an_error() {
        for length in ["3\r\nContent-Length: 4", "-3", "+3", "0x3", "3, 4", "9999999999999999999999"] {
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nabc");
            assert!(whole(&answer).await.is_err(), "{length}");
        }
    }

    #[tokio::test]
    async fn a_switch_of_protocols_that_nobody_asked_for_is_an_error() {
        let switch = "HTTP/1.1 101 Switching\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        assert!(whole(switch).await.is_err());
    }

    #[tokio::test]
    async fn half_an_answer_is_an_error_and_more_than_one_spoils_the_connection() {
        assert!(whole("HTTP/1.1 200 OK\r\nContent-Le").await.is_err());
        assert!(whole("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc").await.is_err());
        let more = whole("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc").await.unwrap();
        assert_eq!(more, (200, body("ab"), false, false));
        let closing =
            whole("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na").await.unwrap();
        assert_eq!(closing, (200, body("a"), false, false));
    }

    #[tokio::test]
    async fn a_body_longer_than_any_buffer_arrives_whole() {
        let long: Vec<u8> = (0..500_000_u32).map(|at| (at / 7) as u8).collect();
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", long.len()).into_bytes();
        answer.extend_from_slice(&long);
        let pieces = answer.chunks(70_001).map(<[u8]>::to_vec).collect();
        assert_eq!(answered(pieces).await.unwrap(), (200, long, false, true));
    }
}
