//! An HTTP/2 client that sends any bytes in any pseudo-header: just frames, and of HPACK just literals. It tells the
//! server to keep no dynamic table, so that `:status`, which comes first, can be read without one.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use rustls::{ClientConnection, StreamOwned};

use super::tls::TlsClient;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Answer {
        status: u16,
        body: Vec<u8>,
    },
    /// RST_STREAM, GOAWAY or a close, and its code.
    Refused(String),
}

impl Outcome {
    pub fn status(&self) -> Option<u16> {
        match self {
            Outcome::Answer { status, .. } => Some(*status),
            Outcome::Refused(_) => None,
        }
    }
}

/// One connection, one request at a time.
pub struct H2 {
    stream: StreamOwned<ClientConnection, TcpStream>,
    next: u32,
    gone: bool,
}

impl H2 {
    pub fn connect(client: &TlsClient, address: SocketAddr, name: &str) -> H2 {
        let tcp = TcpStream::connect(address).unwrap_or_else(|error| panic!("connect {address}: {error}"));
        H2::over(client, tcp, name)
    }

    /// Over a socket that the test made to its taste.
    pub fn over(client: &TlsClient, tcp: TcpStream, name: &str) -> H2 {
        let stream = client
            .clone()
            .alpn(&["h2"])
            .try_handshake_over(tcp, name)
            .unwrap_or_else(|error| panic!("handshake with {name}: {error}"));
        assert_eq!(stream.conn.alpn_protocol(), Some(&b"h2"[..]), "the server speaks no HTTP/2");
        let mut h2 = H2 { stream, next: 1, gone: false };
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        // HEADER_TABLE_SIZE 0, ENABLE_PUSH 0, INITIAL_WINDOW_SIZE 1 GiB.
        hello.extend(frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 4, 0x40, 0, 0, 0]));
        hello.extend(frame(WINDOW_UPDATE, 0, 0, &[0x3f, 0, 0, 0]));
        h2.stream.write_all(&hello).and_then(|()| h2.stream.flush()).expect("send the preface");
        h2
    }

    /// False once the server said goodbye: connect anew.
    pub fn is_open(&self) -> bool {
        !self.gone
    }

    /// A request with the usual four pseudo-headers.
    pub fn request(
        &mut self,
        method: &str,
        authority: &str,
        path: &[u8],
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Outcome {
        let mut all: Vec<(&[u8], &[u8])> = vec![
            (b":method", method.as_bytes()),
            (b":scheme", b"https"),
            (b":authority", authority.as_bytes()),
            (b":path", path),
        ];
        all.extend(headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
        self.raw_request(&all, body)
    }

    /// Asks for something, and reads nothing of the answer.
    pub fn ask(&mut self, authority: &str, path: &str) {
        self.begin(authority, "GET", path, END_STREAM);
    }

    /// The head of a request whose body is to come.
    pub fn begin_post(&mut self, authority: &str, path: &str) {
        self.begin(authority, "POST", path, 0);
    }

    fn begin(&mut self, authority: &str, method: &str, path: &str, flags: u8) {
        let id = self.next;
        self.next += 2;
        let mut block = Vec::new();
        let headers = [(":method", method), (":scheme", "https"), (":authority", authority), (":path", path)];
        for (name, value) in headers {
            block.push(0);
            string(&mut block, name.as_bytes());
            string(&mut block, value.as_bytes());
        }
        self.write(&frame(HEADERS, END_HEADERS | flags, id, &block)).expect("send a request");
    }

    /// A piece of the body of the request begun last, which is not the last one.
    pub fn send_part(&mut self, part: &[u8]) -> io::Result<()> {
        self.write(&frame(DATA, 0, self.next - 2, part))
    }

    /// What became of the request begun last. `Err` when nothing came of it in time, or the connection broke.
    pub fn answer(&mut self) -> io::Result<Outcome> {
        self.outcome(self.next - 2)
    }

    /// Exactly these headers, in this order.
    pub fn raw_request(&mut self, headers: &[(&[u8], &[u8])], body: &[u8]) -> Outcome {
        let id = self.next;
        self.next += 2;
        let mut block = Vec::new();
        for (name, value) in headers {
            block.push(0);
            string(&mut block, name);
            string(&mut block, value);
        }
        let mut flags = END_HEADERS;
        if body.is_empty() {
            flags |= END_STREAM;
        }
        let mut bytes = frame(HEADERS, flags, id, &block);
        let mut rest = body;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(16384));
            bytes.extend(frame(DATA, if later.is_empty() { END_STREAM } else { 0 }, id, now));
            rest = later;
        }
        let sent = self.stream.write_all(&bytes).and_then(|()| self.stream.flush());
        match (self.outcome(id), sent) {
            (Ok(outcome), _) => outcome,
            (Err(error), _) => {
                self.gone = true;
                Outcome::Refused(format!("closed: {error}"))
            }
        }
    }

    fn outcome(&mut self, id: u32) -> io::Result<Outcome> {
        let (mut status, mut body) = (0, Vec::new());
        loop {
            let (kind, flags, stream, payload) = self.read_frame()?;
            match kind {
                SETTINGS if flags & ACK == 0 => self.write(&frame(SETTINGS, ACK, 0, &[]))?,
                PING if flags & ACK == 0 => self.write(&frame(PING, ACK, 0, &payload))?,
                GOAWAY => {
                    self.gone = true;
                    let last = u32::from_be_bytes(payload[..4].try_into().expect("four bytes"));
                    if last < id || payload[4..8] != [0; 4] {
                        return Ok(Outcome::Refused(format!("GOAWAY {:?}", &payload[4..8])));
                    }
                }
                RST_STREAM if stream == id => {
                    // With NO_ERROR after a whole answer: "do not send the rest of your body".
                    if payload == [0; 4] && status != 0 {
                        return Ok(Outcome::Answer { status, body });
                    }
                    return Ok(Outcome::Refused(format!("RST_STREAM {payload:?}")));
                }
                HEADERS | CONTINUATION if stream == id => {
                    if status < 200 && kind == HEADERS {
                        status = status_of(&payload[if flags & PRIORITY != 0 { 5 } else { 0 }..])?;
                    }
                    if kind == HEADERS && flags & END_STREAM != 0 {
                        return Ok(Outcome::Answer { status, body });
                    }
                }
                DATA if stream == id => {
                    let pad = if flags & PADDED != 0 { usize::from(payload[0]) + 1 } else { 0 };
                    let from = usize::from(flags & PADDED != 0);
                    body.extend_from_slice(&payload[from..payload.len() + from - pad]);
                    if flags & END_STREAM != 0 {
                        return Ok(Outcome::Answer { status, body });
                    }
                }
                _ => {}
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    fn read_frame(&mut self) -> io::Result<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let id = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload)?;
        Ok((head[3], head[4], id, payload))
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small frame").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// An HPACK string without Huffman.
fn string(block: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        short @ 0..127 => block.push(short as u8),
        mut long => {
            block.push(127);
            long -= 127;
            while long >= 128 {
                block.push((long % 128) as u8 | 128);
                long /= 128;
            }
            block.push(long as u8);
        }
    }
    block.extend(text);
}

/// The `:status` at the start of a header block.
fn status_of(block: &[u8]) -> io::Result<u16> {
    let bad = || io::Error::other(format!("no :status in {block:?}"));
    let block = &block[block.iter().take_while(|&&byte| byte & 0xe0 == 0x20).count()..];
    match *block.first().ok_or_else(bad)? {
        indexed @ 0x88..=0x8e => Ok([200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)]),
        0x48 | 0x08 | 0x18 => {
            let length = usize::from(*block.get(1).ok_or_else(bad)?);
            let text = block.get(2..2 + (length & 0x7f)).ok_or_else(bad)?;
            let digits =
                if length & 0x80 != 0 { huffman_digits(text).ok_or_else(bad)? } else { text.to_vec() };
            String::from_utf8_lossy(&digits).parse().map_err(|_| bad())
        }
        _ => Err(bad()),
    }
}

/// HPACK's code for digits: 0 to 2 in five bits, 3 to 9 in six.
fn huffman_digits(bytes: &[u8]) -> Option<Vec<u8>> {
    let bits: Vec<u32> =
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| u32::from(byte >> at & 1))).collect();
    let value = |bits: &[u32]| bits.iter().fold(0, |sum, bit| sum * 2 + bit);
    let (mut at, mut digits) = (0, Vec::new());
    while bits.len() - at >= 5 {
        let five = value(&bits[at..at + 5]);
        if five < 3 {
            digits.push(b'0' + five as u8);
            at += 5;
        } else if let Some(six) =
            bits.get(at..at + 6).map(value).filter(|six| (0b011001..=0b011111).contains(six))
        {
            digits.push(b'3' + (six - 0b011001) as u8);
            at += 6;
        } else {
            break;
        }
    }
    (digits.len() == 3).then_some(digits)
}
