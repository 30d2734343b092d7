//! The HTTP/1.1 that the demo's backends speak: GET, whole answers with a length, connections kept
//! alive.
//!
//! It reads paths as Guile's web server does, split and decoded with empty segments dropped, so
//! that the gate in front has the same doors to watch as on a real farm. It listens on loopback and
//! has no timeouts or limits but the one on the request head: nobody but the gate is meant to call.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// More than the gate ever sends; without a bound, a stray client could fill the memory.
const MAX_HEAD: usize = 32 * 1024;

/// What a backend is asked.
pub struct Request {
    /// The path, split and percent-decoded, without its empty segments.
    pub segments: Vec<String>,
    headers: Vec<(String, String)>,
}

impl Request {
    /// The first header of this name, which is given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known == name)?;
        Some(value)
    }
}

/// What a backend answers.
pub struct Response {
    status: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

impl Response {
    /// `200 OK`.
    pub fn ok(content_type: &str, body: impl Into<Bytes>) -> Self {
        Self::new("200 OK", content_type, body)
    }

    /// `404 Not Found`, with a line of text.
    pub fn not_found() -> Self {
        Self::new("404 Not Found", "text/plain;charset=utf-8", "Resource not found.\n")
    }

    /// Any status, as it stands in the status line.
    pub fn new(status: &'static str, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self { status, headers: vec![("Content-Type", content_type.into())], body: body.into() }
    }

    /// The same with one more header.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The same with leave to keep it for so many seconds.
    pub fn max_age(self, seconds: u32) -> Self {
        self.with("Cache-Control", format!("max-age={seconds}"))
    }

    async fn write(&self, stream: &mut TcpStream, close: bool) -> io::Result<()> {
        let mut head = format!("HTTP/1.1 {}\r\nContent-Length: {}\r\n", self.status, self.body.len());
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if close {
            head += "Connection: close\r\n";
        }
        head += "\r\n";
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&self.body).await
    }
}

/// Answers requests on `listener` for as long as the runtime lives.
pub async fn serve<F>(listener: TcpListener, answer: F)
where
    F: Fn(&Request) -> Response + Send + Sync + 'static,
{
    let answer = Arc::new(answer);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let answer = Arc::clone(&answer);
                tokio::spawn(async move {
                    // Whatever went wrong, it was the client's connection, and it is gone.
                    let _ = converse(stream, &*answer).await;
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: they come back when connections end.
                tracing::warn!(%error, "a demo backend cannot accept connections");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(mut stream: TcpStream, answer: &(impl Fn(&Request) -> Response + Sync)) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut received = Vec::new();
    loop {
        let Some(head) = read_head(&mut stream, &mut received).await? else {
            return Ok(());
        };
        let (response, close) = match parse(&head) {
            Ok((request, close)) => (answer(&request), close),
            Err(status) => (Response::new(status, "text/plain;charset=utf-8", format!("{status}\n")), true),
        };
        response.write(&mut stream, close).await?;
        if close {
            return stream.shutdown().await;
        }
    }
}

/// The next request head, without its empty line; none when the client is done. Later bytes stay in
/// `received`.
async fn read_head(stream: &mut TcpStream, received: &mut Vec<u8>) -> io::Result<Option<String>> {
    loop {
        if let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = received.split_off(end + 4);
            let head = String::from_utf8_lossy(&received[..end]).into_owned();
            *received = rest;
            return Ok(Some(head));
        }
        if received.len() > MAX_HEAD {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the request head is too long"));
        }
        if stream.read_buf(received).await? == 0 {
            return Ok(None);
        }
    }
}

/// The request in `head`, and whether the connection ends after it; else the status that says what
/// is wrong.
fn parse(head: &str) -> Result<(Request, bool), &'static str> {
    let mut lines = head.split("\r\n");
    let start: Vec<_> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, target, version] = start[..] else {
        return Err("400 Bad Request");
    };
    if method != "GET" {
        return Err("405 Method Not Allowed");
    }

    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let segments = segments(target).ok_or("400 Bad Request")?;
    let request = Request { segments, headers };

    // A body is not read, so what follows one could not be told from it.
    let body = request.header("transfer-encoding").is_some()
        || request.header("content-length").is_some_and(|length| length != "0");
    let asked = request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Ok((request, body || asked || version != "HTTP/1.1"))
}

fn segments(target: &str) -> Option<Vec<String>> {
    let path = target.split(['?', '#']).next()?;
    path.split('/').filter(|segment| !segment.is_empty()).map(decode).collect()
}

fn decode(segment: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = segment.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split_then_decoded_and_empty_segments_dropped() {
        assert_eq!(segments("//%61dmin//build%2F1/?x=/y").unwrap(), ["admin", "build/1"]);
        assert_eq!(segments("/").unwrap(), [""; 0]);
        assert_eq!(segments("/%6"), None);
        assert_eq!(segments("/%zz"), None);
        assert_eq!(segments("/%ff"), None);
    }

    #[test]
    fn only_well_formed_gets_are_answered() {
        let status = |head| parse(head).map(|(_, close)| close).err();

        assert_eq!(status("GET / HTTP/1.1"), None);
        assert_eq!(status("POST / HTTP/1.1"), Some("405 Method Not Allowed"));
        assert_eq!(status("GET /"), Some("400 Bad Request"));
        assert_eq!(status(""), Some("400 Bad Request"));
    }

    #[test]
    fn connections_are_kept_unless_someone_wants_them_closed_or_a_body_follows() {
        let close = |head| parse(head).map(|(_, close)| close).ok();

        assert_eq!(close("GET / HTTP/1.1\r\nHost: x"), Some(false));
        assert_eq!(close("GET / HTTP/1.1\r\nConnection: Close"), Some(true));
        assert_eq!(close("GET / HTTP/1.1\r\nContent-Length: 3"), Some(true));
        assert_eq!(close("GET / HTTP/1.0"), Some(true));
    }

    #[tokio::test]
    async fn requests_on_one_connection_are_answered_in_order() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, |request| Response::ok("text/plain", request.segments.join(" "))));

        let mut stream = TcpStream::connect(address).await.unwrap();
        let requests = "GET /one HTTP/1.1\r\n\r\nGET /two HTTP/1.1\r\nConnection: close\r\n\r\n";
        stream.write_all(requests.as_bytes()).await.unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).await.unwrap();

        let expected = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Type: text/plain\r\n";
        assert_eq!(answers, format!("{expected}\r\none{expected}Connection: close\r\n\r\ntwo"));
    }
}
