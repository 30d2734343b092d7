//! A backend in the test's own process that keeps the exact bytes it got, and answers as the test says.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use super::Latch;
use super::http1::find;

/// What comes after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    Keep,
    Close,
}

/// One request, read as a naive server does: head up to the empty line, body by its Content-Length.
#[derive(Debug, Clone)]
pub struct Request {
    pub connection: usize,
    pub head: String,
    pub body: Vec<u8>,
}

impl Request {
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    pub fn target(&self) -> &str {
        self.line().split(' ').nth(1).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).first().copied()
    }

    pub fn headers(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }
}

#[derive(Default)]
struct Shared {
    raw: Mutex<Vec<Vec<u8>>>,
    requests: Mutex<Vec<Request>>,
    open: AtomicUsize,
    most_open: AtomicUsize,
    pipelined: AtomicUsize,
}

/// A recording backend. Its threads end with the process.
pub struct Recorder {
    pub addr: SocketAddr,
    shared: Arc<Shared>,
}

impl Recorder {
    pub fn start(answer: impl Fn(&Request, &mut TcpStream) -> Then + Send + Sync + 'static) -> Recorder {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        Recorder::on(listener, answer)
    }

    pub fn on(
        listener: TcpListener,
        answer: impl Fn(&Request, &mut TcpStream) -> Then + Send + Sync + 'static,
    ) -> Recorder {
        let addr = listener.local_addr().expect("a bound socket");
        let shared = Arc::new(Shared::default());
        let (state, answer) = (shared.clone(), Arc::new(answer));
        thread::spawn(move || {
            for tcp in listener.incoming().map_while(Result::ok) {
                let (state, answer) = (state.clone(), answer.clone());
                let connection = {
                    let mut raw = state.raw.lock().expect("no panic while locked");
                    raw.push(Vec::new());
                    raw.len() - 1
                };
                thread::spawn(move || {
                    let open = state.open.fetch_add(1, Ordering::SeqCst) + 1;
                    state.most_open.fetch_max(open, Ordering::SeqCst);
                    converse(tcp, connection, &state, &*answer);
                    state.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Recorder { addr, shared }
    }

    /// Answers everything with "ok" and keeps the connection.
    pub fn ok() -> Recorder {
        Recorder::start(|_, tcp| {
            let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            Then::Keep
        })
    }

    /// Answers "abcd", the second half of it when the latch opens.
    pub fn in_two_halves(latch: &Latch) -> Recorder {
        let latch = latch.clone();
        Recorder::start(move |_, tcp| {
            let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
            latch.wait();
            let _ = tcp.write_all(b"cd");
            Then::Close
        })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// What came, byte for byte, one entry for each connection.
    pub fn raw(&self) -> Vec<Vec<u8>> {
        self.shared.raw.lock().expect("no panic while locked").clone()
    }

    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().expect("no panic while locked").clone()
    }

    pub fn connections(&self) -> usize {
        self.raw().len()
    }

    pub fn most_open(&self) -> usize {
        self.shared.most_open.load(Ordering::SeqCst)
    }

    /// How many requests came before the one in front of them was answered.
    pub fn pipelined(&self) -> usize {
        self.shared.pipelined.load(Ordering::SeqCst)
    }
}

fn converse(
    mut tcp: TcpStream,
    connection: usize,
    shared: &Shared,
    answer: &(dyn Fn(&Request, &mut TcpStream) -> Then + Send + Sync),
) {
    let _ = tcp.set_nodelay(true);
    let mut pending = Vec::new();
    loop {
        while let Some(request) = take_request(&mut pending, connection) {
            shared.requests.lock().expect("no panic while locked").push(request.clone());
            if !pending.is_empty() {
                shared.pipelined.fetch_add(1, Ordering::SeqCst);
            }
            if answer(&request, &mut tcp) == Then::Close {
                return;
            }
        }
        let mut buffer = [0; 65536];
        match tcp.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => {
                pending.extend_from_slice(&buffer[..count]);
                let mut raw = shared.raw.lock().expect("no panic while locked");
                // Enough to look at; a large upload is not kept.
                if raw[connection].len() < 8 << 20 {
                    raw[connection].extend_from_slice(&buffer[..count]);
                }
            }
        }
    }
}

fn take_request(pending: &mut Vec<u8>, connection: usize) -> Option<Request> {
    let end = find(pending, b"\r\n\r\n")? + 4;
    let head = pending[..end].iter().map(|&byte| char::from(byte)).collect();
    let request = Request { connection, head, body: Vec::new() };
    let length = request.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    if pending.len() < end + length {
        return None;
    }
    let rest = pending.split_off(end + length);
    let body = pending.split_off(end);
    *pending = rest;
    Some(Request { body, ..request })
}
