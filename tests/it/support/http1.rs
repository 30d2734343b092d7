//! An HTTP/1.1 client that shows exactly what was said: requests are raw bytes, responses are parsed strictly, and how a
//! connection ended is part of the answer.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use rustls::{ClientConnection, StreamOwned};
use socket2::{Domain, Socket, Type};

use super::{SOON, patience};

/// One response, as it was sent.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub version: String,
    /// In the order and spelling in which they came.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub framing: Framing,
}

/// What told us where the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    None,
    Length,
    Chunked,
    UntilClose,
}

/// Why there was no response.
#[derive(Debug)]
pub enum Broken {
    /// The other side closed before the first byte.
    Closed,
    /// The other side closed in the middle.
    Truncated(String),
    /// The other side sent a RST.
    Reset,
    /// Nothing came for too long.
    Silent(String),
    /// Not HTTP as it should be.
    Malformed(String),
}

impl fmt::Display for Broken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self:?}")
    }
}

impl Response {
    /// The first header of that name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the other side will close after this.
    pub fn closes(&self) -> bool {
        self.framing == Framing::UntilClose
            || self.header("connection").is_some_and(|value| value.to_ascii_lowercase().contains("close"))
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// A connection on which requests are written and responses read, in any order the test likes.
pub struct Connection {
    stream: Stream,
    /// Read, but not yet part of a response.
    pending: Vec<u8>,
    /// Put into the `Host` header by the helpers below.
    pub host: String,
}

impl Connection {
    pub fn plain(address: SocketAddr, host: &str) -> Connection {
        let tcp = TcpStream::connect(address).unwrap_or_else(|error| panic!("connect {address}: {error}"));
        Connection::over_tcp(tcp, host)
    }

    pub fn over_tcp(tcp: TcpStream, host: &str) -> Connection {
        prepare(&tcp);
        Connection { stream: Stream::Plain(tcp), pending: Vec::new(), host: host.into() }
    }

    pub fn over_tls(stream: StreamOwned<ClientConnection, TcpStream>, host: &str) -> Connection {
        Connection { stream: Stream::Tls(Box::new(stream)), pending: Vec::new(), host: host.into() }
    }

    /// The TLS side of it. Panics on a plain connection.
    pub fn tls(&self) -> &ClientConnection {
        match &self.stream {
            Stream::Tls(stream) => &stream.conn,
            Stream::Plain(_) => panic!("a plain connection has no TLS"),
        }
    }

    fn tcp(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(stream) => &stream.sock,
        }
    }

    /// Waits no longer than this for anything to read from now on.
    pub fn wait_at_most(&self, limit: Duration) {
        self.tcp().set_read_timeout(Some(limit)).expect("a read timeout");
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.tcp().local_addr().expect("a bound socket")
    }

    /// Writes everything in one go.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(tcp) => tcp.write_all(bytes),
            Stream::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes.as_ref()).expect("send");
    }

    /// Says that nothing more will be written (half-close).
    pub fn finish_writing(&mut self) {
        if let Stream::Tls(stream) = &mut self.stream {
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
        let _ = self.tcp().shutdown(Shutdown::Write);
    }

    /// One request with `Host`, the given headers, and a body with its length if there is one; then its response.
    pub fn request(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        self.try_request(method, target.as_bytes(), headers, body)
            .unwrap_or_else(|broken| panic!("{method} {target}: {broken}"))
    }

    pub fn try_request(
        &mut self,
        method: &str,
        target: &[u8],
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Response, Broken> {
        let mut bytes =
            [method.as_bytes(), b" ", target, b" HTTP/1.1\r\nHost: ", self.host.as_bytes(), b"\r\n"].concat();
        for (name, value) in headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        if !body.is_empty() || method == "POST" {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body);
        // A refusal may come, and the connection go, while we still write: what was answered is what counts.
        let written = self.try_send(&bytes);
        match self.try_response(method == "HEAD") {
            Err(Broken::Closed) if written.is_err() => Err(Broken::Reset),
            outcome => outcome,
        }
    }

    pub fn get(&mut self, target: &str) -> Response {
        self.request("GET", target, &[], b"")
    }

    pub fn get_with(&mut self, target: &str, headers: &[(&str, &str)]) -> Response {
        self.request("GET", target, headers, b"")
    }

    /// The next response; 1xx ones are skipped.
    pub fn response(&mut self) -> Response {
        self.try_response(false).unwrap_or_else(|broken| panic!("no response: {broken}"))
    }

    pub fn try_response(&mut self, to_head: bool) -> Result<Response, Broken> {
        loop {
            let response = self.one_response(to_head)?;
            if response.status == 101 || response.status >= 200 {
                return Ok(response);
            }
        }
    }

    fn one_response(&mut self, to_head: bool) -> Result<Response, Broken> {
        let head = loop {
            if let Some(end) = find(&self.pending, b"\r\n\r\n") {
                let rest = self.pending.split_off(end + 4);
                break std::mem::replace(&mut self.pending, rest);
            }
            if self.fill()? == 0 {
                return Err(match self.pending.is_empty() {
                    true => Broken::Closed,
                    false => Broken::Truncated(format!("in the head: {}", self.pending.escape_ascii())),
                });
            }
        };
        let (version, status, headers) = parse_head(&head)?;
        let mut response = Response { status, version, headers, body: Vec::new(), framing: Framing::None };
        response.framing = framing_of(&response, to_head)?;
        response.body = match response.framing {
            Framing::None => Vec::new(),
            Framing::Length => {
                let length =
                    response.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
                self.exactly(length)?
            }
            Framing::Chunked => self.chunks()?,
            Framing::UntilClose => {
                while self.fill()? > 0 {}
                std::mem::take(&mut self.pending)
            }
        };
        Ok(response)
    }

    fn exactly(&mut self, length: usize) -> Result<Vec<u8>, Broken> {
        while self.pending.len() < length {
            if self.fill()? == 0 {
                return Err(Broken::Truncated(format!(
                    "{} of {length} bytes of the body",
                    self.pending.len()
                )));
            }
        }
        let rest = self.pending.split_off(length);
        Ok(std::mem::replace(&mut self.pending, rest))
    }

    fn line(&mut self) -> Result<String, Broken> {
        loop {
            if let Some(end) = find(&self.pending, b"\r\n") {
                let line = self.exactly(end + 2)?;
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if self.fill()? == 0 {
                return Err(Broken::Truncated("in a chunk".into()));
            }
        }
    }

    fn chunks(&mut self) -> Result<Vec<u8>, Broken> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(&line, 16)
                .map_err(|_| Broken::Malformed(format!("a chunk size of {line:?}")))?;
            if size == 0 {
                let end = self.line()?;
                return match end.is_empty() {
                    true => Ok(body),
                    false => Err(Broken::Malformed(format!("a trailer: {end:?}"))),
                };
            }
            body.extend(self.exactly(size)?);
            if self.exactly(2)? != b"\r\n" {
                return Err(Broken::Malformed("no line end after a chunk".into()));
            }
        }
    }

    /// Reads some more. 0 at the end.
    fn fill(&mut self) -> Result<usize, Broken> {
        let mut buffer = [0; 65536];
        let read = match &mut self.stream {
            Stream::Plain(tcp) => tcp.read(&mut buffer),
            Stream::Tls(stream) => stream.read(&mut buffer),
        };
        match read {
            Ok(count) => {
                self.pending.extend_from_slice(&buffer[..count]);
                Ok(count)
            }
            Err(error) => Err(match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                    Broken::Silent(format!("after {} bytes", self.pending.len()))
                }
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Broken::Reset,
                // Closed without close_notify.
                ErrorKind::UnexpectedEof => Broken::Truncated("TLS, without close_notify".into()),
                _ => Broken::Malformed(error.to_string()),
            }),
        }
    }

    /// What of a length-framed body has come at least `count` bytes in; for looking at a stream half way.
    pub fn peek_bytes(&mut self, count: usize) -> Result<&[u8], Broken> {
        while self.pending.len() < count {
            if self.fill()? == 0 {
                return Err(Broken::Closed);
            }
        }
        Ok(&self.pending)
    }

    /// Reads the next `count` bytes as a slow line brings them: a little, and after a `pause` the next. They are kept for
    /// the responses that they are part of.
    pub fn read_slowly(&mut self, count: usize, pause: Duration) -> Result<(), Broken> {
        let end = self.pending.len() + count;
        while self.pending.len() < end {
            if self.fill()? == 0 {
                return Err(Broken::Truncated(format!("after {} bytes", self.pending.len())));
            }
            thread::sleep(pause);
        }
        Ok(())
    }

    /// Reads on and throws away until the other side is done. How many bytes came.
    pub fn drain(&mut self) -> Result<u64, Broken> {
        let mut total = std::mem::take(&mut self.pending).len() as u64;
        loop {
            match self.fill()? {
                0 => return Ok(total),
                count => total += count as u64,
            }
            self.pending.clear();
        }
    }

    /// Waits for the close. `Err` if it was not a clean one, or bytes came instead.
    pub fn closed(&mut self) -> Result<(), Broken> {
        match self.fill()? {
            0 if self.pending.is_empty() => Ok(()),
            _ => Err(Broken::Malformed(format!("bytes instead of a close: {}", self.pending.escape_ascii()))),
        }
    }
}

/// A socket that takes a few kilobytes until they are read, as that of a client on a slow line.
pub fn narrow(address: SocketAddr) -> TcpStream {
    socket(address, |socket| socket.set_recv_buffer_size(4096))
}

/// The same with small segments: then the gate's end of it is narrow as well, and both hold some 100 KB.
pub fn slow_line(address: SocketAddr) -> TcpStream {
    socket(address, |socket| {
        socket.set_tcp_mss(536)?;
        socket.set_recv_buffer_size(4096)
    })
}

/// A socket of this address on the loopback, all of 127.0.0.0/8 being there.
pub fn from_address(from: [u8; 4], address: SocketAddr) -> TcpStream {
    socket(address, |socket| socket.bind(&SocketAddr::from((from, 0)).into()))
}

fn socket(address: SocketAddr, prepare: impl FnOnce(&Socket) -> io::Result<()>) -> TcpStream {
    let connect = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        prepare(&socket)?;
        socket.connect(&address.into())?;
        Ok::<_, io::Error>(socket.into())
    };
    connect().unwrap_or_else(|error| panic!("connect {address}: {error}"))
}

/// Deadlines, and no Nagle: a test means the write it makes.
pub fn prepare(tcp: &TcpStream) {
    let limit = Some(patience(SOON));
    tcp.set_read_timeout(limit).expect("a read timeout");
    tcp.set_write_timeout(limit).expect("a write timeout");
    tcp.set_nodelay(true).expect("no delay");
}

pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

type Head = (String, u16, Vec<(String, String)>);

fn parse_head(head: &[u8]) -> Result<Head, Broken> {
    let malformed = |what: &str| Broken::Malformed(format!("{what} in {}", head.escape_ascii()));
    let text = String::from_utf8(head.to_vec()).map_err(|_| malformed("no UTF-8"))?;
    let mut lines = text.strip_suffix("\r\n\r\n").unwrap_or(&text).split("\r\n");
    let line = lines.next().unwrap_or_default();
    let mut parts = line.splitn(3, ' ');
    let version = parts.next().unwrap_or_default().to_string();
    let code = parts.next().unwrap_or_default();
    if !matches!(version.as_str(), "HTTP/1.1" | "HTTP/1.0") || code.len() != 3 || parts.next().is_none() {
        return Err(malformed("a bad status line"));
    }
    let status = code.parse().map_err(|_| malformed("a bad status"))?;
    let mut headers = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(|| malformed("a line without a colon"))?;
        if name.is_empty() || name.contains(char::is_whitespace) || line.contains(['\r', '\n', '\0']) {
            return Err(malformed("a bad header line"));
        }
        headers.push((name.to_string(), value.trim_matches([' ', '\t']).to_string()));
    }
    Ok((version, status, headers))
}

fn framing_of(response: &Response, to_head: bool) -> Result<Framing, Broken> {
    let all = |name: &str| response.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).count();
    if all("content-length") + all("transfer-encoding") > 1 {
        return Err(Broken::Malformed(format!("two framings: {:?}", response.headers)));
    }
    if to_head || response.status < 200 || response.status == 204 || response.status == 304 {
        return Ok(Framing::None);
    }
    if let Some(coding) = response.header("transfer-encoding") {
        return match coding == "chunked" {
            true => Ok(Framing::Chunked),
            false => Err(Broken::Malformed(format!("Transfer-Encoding: {coding}"))),
        };
    }
    match response.header("content-length") {
        None => Ok(Framing::UntilClose),
        Some(length) if length.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Framing::Length),
        Some(length) => Err(Broken::Malformed(format!("Content-Length: {length}"))),
    }
}
