//! What may be in front of a gate: takes requests for it, and hands them on when the test says so.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::support::Latch;

#[derive(Clone, Default)]
pub struct Front {
    opened: Latch,
    waiting: Arc<AtomicUsize>,
}

impl Front {
    /// Listens, for as long as the tests run, in front of a gate on `port`. The port of its own.
    pub fn listen(&self, port: u16) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let own = listener.local_addr().expect("a bound socket").port();
        let front = self.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let front = front.clone();
                // A client that has lost patience is no failure here.
                thread::spawn(move || drop(front.hand_on(client, port)));
            }
        });
        own
    }

    /// How many requests came that are kept waiting, or were.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub fn open(&self) {
        self.opened.open();
    }

    fn hand_on(&self, mut client: TcpStream, port: u16) -> io::Result<()> {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte)?;
            request.push(byte[0]);
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if !self.opened.wait() {
            return Ok(());
        }
        let mut gate = TcpStream::connect(("127.0.0.1", port))?;
        gate.write_all(&request)?;
        io::copy(&mut gate, &mut client)?;
        Ok(())
    }
}
