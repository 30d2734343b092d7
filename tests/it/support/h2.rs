//! An HTTP/2 client that sends any bytes in any pseudo-header: just frames, and of HPACK just literals. It tells the
//! server to keep no dynamic table, so that `:status`, which comes first, can be read without one. It sends frames
//! that no client should, too.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use rustls::{ClientConnection, StreamOwned};

use super::tls::TlsClient;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY_FRAME: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
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

/// A frame as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The code of a RST_STREAM or a GOAWAY.
    pub fn code(&self) -> Option<u32> {
        let at = match self.kind {
            RST_STREAM => 0,
            GOAWAY => 4,
            _ => return None,
        };
        Some(u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes")))
    }

    /// The `:status` of a HEADERS.
    pub fn status(&self) -> Option<u16> {
        (self.kind == HEADERS).then(|| status_of(&self.payload).expect("a status"))
    }

    pub fn ends(&self) -> bool {
        matches!(self.kind, HEADERS | DATA) && self.flags & END_STREAM != 0
    }
}

/// One connection, one request at a time; or any frames.
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
        // HEADER_TABLE_SIZE 0, ENABLE_PUSH 0, INITIAL_WINDOW_SIZE 1 GiB.
        let mut h2 = H2::with_settings(client, tcp, name, &[(1, 0), (2, 0), (4, 0x4000_0000)]);
        h2.write(&frame(WINDOW_UPDATE, 0, 0, &[0x3f, 0, 0, 0])).expect("send a window update");
        h2
    }

    /// With these settings, and nothing more said.
    pub fn with_settings(client: &TlsClient, tcp: TcpStream, name: &str, settings: &[(u16, u32)]) -> H2 {
        let stream = client
            .clone()
            .alpn(&["h2"])
            .try_handshake_over(tcp, name)
            .unwrap_or_else(|error| panic!("handshake with {name}: {error}"));
        assert_eq!(stream.conn.alpn_protocol(), Some(&b"h2"[..]), "the server speaks no HTTP/2");
        let mut h2 = H2 { stream, next: 1, gone: false };
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        hello.extend(frame(SETTINGS, 0, 0, &payload));
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
        let fields = [(":method", method), (":scheme", "https"), (":authority", authority), (":path", path)];
        self.write(&head(id, flags, &fields)).expect("send a request");
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
            let Frame { kind, flags, stream, payload } = self.read_frame()?;
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

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// The next frame, whatever it is. Nothing is said to it.
    pub fn read_frame(&mut self) -> io::Result<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload)?;
        Ok(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// The next frame for which `is_wanted`; SETTINGS and PINGs before it are acknowledged.
    pub fn await_frame(&mut self, is_wanted: impl Fn(&Frame) -> bool) -> io::Result<Frame> {
        loop {
            let next = self.read_frame()?;
            if next.flags & ACK == 0 && matches!(next.kind, SETTINGS | PING) {
                let payload = if next.kind == PING { &next.payload[..] } else { &[] };
                self.write(&frame(next.kind, ACK, 0, payload))?;
            }
            if is_wanted(&next) {
                return Ok(next);
            }
        }
    }

    /// Waits for the server's settings, and acknowledges them.
    pub fn settle(&mut self) {
        self.await_frame(|frame| frame.kind == SETTINGS && frame.flags & ACK == 0).expect("its settings");
    }
}

/// A HEADERS frame with a whole head of literals.
pub fn head(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, stream, &block(fields))
}

/// Fields as HPACK has them.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        string(&mut block, name.as_bytes());
        string(&mut block, value.as_bytes());
    }
    block
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
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
