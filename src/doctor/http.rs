//! HTTP/1.1 as the Guix client speaks it, with requests that are written byte for byte and answers that are taken apart
//! strictly: what goes wrong, and where, is what is looked for here. A client library would not send most of these
//! requests, and would hide what happens to a thousand of them in one write.

use std::io::{self, Read, Write};
use std::time::Duration;

use super::stream::{Early, Stream};

/// Of a head.
const LONGEST_HEAD: usize = 64 * 1024;
/// Lines of a head.
const MOST_HEADERS: usize = 128;
/// Of an answer that is kept in memory.
pub(super) const LONGEST_BODY: usize = 1024 * 1024;
/// Interim answers before the real one.
const MOST_INTERIM: usize = 8;
/// What is read at once.
const CHUNK: usize = 64 * 1024;

/// Status and headers of an answer.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) status: u16,
    http_1_0: bool,
    headers: Vec<(String, String)>,
}

impl Head {
    /// The value of the first header with that name. Bytes that are not UTF-8 are replaced.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.values(name).next()
    }

    fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        let name = name.to_owned();
        let same = self.headers.iter().filter(move |(one, _)| one.eq_ignore_ascii_case(&name));
        same.map(|(_, value)| value.as_str())
    }

    /// Whether the other side closes after this answer, by what it says.
    pub(super) fn closes(&self) -> bool {
        let said = |word: &str| {
            let mut words = self.values("connection").flat_map(|value| value.split(','));
            words.any(|one| one.trim().eq_ignore_ascii_case(word))
        };
        said("close") || (self.http_1_0 && !said("keep-alive"))
    }

    pub(super) fn is_redirect(&self) -> bool {
        matches!(self.status, 301 | 302 | 303 | 307 | 308)
    }

    /// RFC 9112 section 6.3. What is ambiguous is an error: two readers would not agree on where the next answer begins.
    fn framing(&self, to_head: bool) -> io::Result<Framing> {
        if to_head || self.status == 204 || self.status == 304 {
            return Ok(Framing::Length(0));
        }
        let lengths: Vec<&str> = self.values("content-length").collect();
        let codings: Vec<&str> = self.values("transfer-encoding").collect();
        match (&lengths[..], &codings[..]) {
            ([], []) => Ok(Framing::UntilClose),
            ([length], []) => match length.parse() {
                Ok(length) if length_is_digits(lengths[0]) => Ok(Framing::Length(length)),
                _ => Err(malformed(format!("Content-Length: {length:?}"))),
            },
            ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunk(0)),
            ([], [coding, ..]) => Err(malformed(format!("Transfer-Encoding: {coding:?}"))),
            _ => Err(malformed("several lengths in one head".into())),
        }
    }
}

/// `u64`'s own parser takes a plus sign.
fn length_is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) head: Head,
    pub(super) body: Vec<u8>,
    /// There was no length: clients that pipeline have to open a connection for each of these.
    pub(super) without_length: bool,
}

impl Answer {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection on which requests are written and answers read.
pub(super) struct Connection {
    stream: Stream,
    /// Read from the stream, and not yet part of an answer, from `at` on.
    buffer: Vec<u8>,
    at: usize,
}

impl Connection {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, buffer: Vec::new(), at: 0 }
    }

    pub(super) fn allow(&mut self, silence: Duration, whole: Duration) {
        self.stream.allow(silence, whole);
    }

    /// Writes it all.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// The next answer, which may have `longest` bytes.
    pub(super) fn answer(&mut self, to_head: bool, longest: usize) -> io::Result<Answer> {
        let head = self.head()?;
        let mut body = self.body(&head, to_head)?;
        let without_length = !matches!(body.framing, Framing::Length(_));
        let mut bytes = Vec::new();
        body.by_ref().take(longest as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > longest {
            return Err(malformed(format!("a body of more than {longest} bytes")));
        }
        Ok(Answer { head, body: bytes, without_length })
    }

    /// The head of the next answer; what is in between (1xx) is skipped.
    pub(super) fn head(&mut self) -> io::Result<Head> {
        for _ in 0..MOST_INTERIM {
            let head = self.one_head()?;
            if head.status >= 200 {
                return Ok(head);
            }
        }
        Err(malformed("1xx answers without an end".into()))
    }

    fn one_head(&mut self) -> io::Result<Head> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
            let mut response = httparse::Response::new(&mut headers);
            let pending = &self.buffer[self.at..];
            match response.parse(pending) {
                Ok(httparse::Status::Complete(length)) => {
                    let head = Head {
                        status: response.code.unwrap_or_default(),
                        http_1_0: response.version == Some(0),
                        headers: response.headers.iter().map(owned).collect(),
                    };
                    self.at += length;
                    return Ok(head);
                }
                Ok(httparse::Status::Partial) if pending.len() > LONGEST_HEAD => {
                    return Err(malformed(format!("a head of more than {LONGEST_HEAD} bytes")));
                }
                Ok(httparse::Status::Partial) => {
                    let begun = !pending.is_empty();
                    if self.fill()? == 0 {
                        let place = if begun { "in the middle of a head" } else { "without an answer" };
                        return Err(closed(place));
                    }
                }
                Err(error) => return Err(malformed(error.to_string())),
            }
        }
    }

    /// The body that follows `head`.
    pub(super) fn body(&mut self, head: &Head, to_head: bool) -> io::Result<Body<'_>> {
        let framing = head.framing(to_head)?;
        Ok(Body { connection: self, framing, first: true })
    }

    /// Reads some more. 0 at the end.
    fn fill(&mut self) -> io::Result<usize> {
        if self.at == self.buffer.len() {
            self.buffer.clear();
        } else {
            self.buffer.drain(..self.at);
        }
        self.at = 0;
        let before = self.buffer.len();
        self.buffer.resize(before + CHUNK, 0);
        let read = loop {
            match self.stream.read(&mut self.buffer[before..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // TLS without a close_notify: whether anything is missing is seen by the length.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break Ok(0),
                read => break read,
            }
        };
        self.buffer.truncate(before + read.as_ref().map_or(0, |read| *read));
        read
    }

    /// Some of what there is, at most as much as has room.
    fn some(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if self.at == self.buffer.len() && self.fill()? == 0 {
            return Ok(0);
        }
        let count = room.len().min(self.buffer.len() - self.at);
        room[..count].copy_from_slice(&self.buffer[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }

    /// A line of a chunked body, without its end.
    fn line(&mut self) -> io::Result<String> {
        loop {
            let pending = &self.buffer[self.at..];
            if let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line = String::from_utf8_lossy(&pending[..end]).trim_end_matches('\r').to_owned();
                self.at += end + 1;
                return Ok(line);
            }
            if pending.len() > LONGEST_HEAD {
                return Err(malformed("a line of a chunk without an end".into()));
            }
            if self.fill()? == 0 {
                return Err(closed("in the middle of a body"));
            }
        }
    }
}

fn owned(header: &httparse::Header<'_>) -> (String, String) {
    (header.name.to_owned(), String::from_utf8_lossy(header.value).trim().to_owned())
}

/// How much of a body is still to come.
#[derive(Clone, Copy, Debug)]
enum Framing {
    Length(u64),
    /// So much of this chunk; with 0 a new one begins.
    Chunk(u64),
    UntilClose,
}

/// The body of an answer, to be read to its end.
pub(super) struct Body<'a> {
    connection: &'a mut Connection,
    framing: Framing,
    /// No chunk has been read yet.
    first: bool,
}

impl Body<'_> {
    /// What the head says it will be.
    pub(super) fn length(&self) -> Option<u64> {
        match self.framing {
            Framing::Length(length) => Some(length),
            _ => None,
        }
    }

    /// Goes to the next chunk. False after the last.
    fn next_chunk(&mut self) -> io::Result<bool> {
        if !std::mem::take(&mut self.first) && !self.connection.line()?.is_empty() {
            return Err(malformed("no line end behind a chunk".into()));
        }
        let line = self.connection.line()?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let size =
            u64::from_str_radix(digits, 16).map_err(|_| malformed(format!("a chunk of size {line:?}")))?;
        self.framing = Framing::Chunk(size);
        if size > 0 {
            return Ok(true);
        }
        // Trailers, up to an empty line.
        for _ in 0..MOST_HEADERS {
            if self.connection.line()?.is_empty() {
                self.framing = Framing::Length(0);
                return Ok(false);
            }
        }
        Err(malformed("trailers without an end".into()))
    }
}

impl Read for Body<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if room.is_empty() {
            return Ok(0);
        }
        if matches!(self.framing, Framing::Chunk(0)) && !self.next_chunk()? {
            return Ok(0);
        }
        let left = match &mut self.framing {
            Framing::UntilClose => return self.connection.some(room),
            Framing::Length(0) => return Ok(0),
            Framing::Length(left) | Framing::Chunk(left) => left,
        };
        let most = usize::try_from(*left).unwrap_or(usize::MAX).min(room.len());
        match self.connection.some(&mut room[..most])? {
            0 => Err(closed(&format!("with {left} bytes still to come"))),
            count => {
                *left -= count as u64;
                Ok(count)
            }
        }
    }
}

fn closed(place: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, Early(place.to_owned()))
}

fn malformed(what: String) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("this is no HTTP/1.1 that a client can rely on: {what}"),
    )
}
