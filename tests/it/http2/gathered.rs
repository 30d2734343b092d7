//! What is ready together leaves together.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::*;

/// A wire to `gate` that counts the TLS records that come from there.
fn counted_wire(gate: SocketAddr) -> (TcpStream, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("connect");
    let (near, _) = listener.accept().expect("accept");
    let far = TcpStream::connect(gate).expect("connect to the gate");
    let (mut from, mut to) = (near.try_clone().expect("clone"), far.try_clone().expect("clone"));
    thread::spawn(move || std::io::copy(&mut from, &mut to));
    let records = Arc::new(AtomicUsize::new(0));
    let counter = records.clone();
    thread::spawn(move || {
        let (mut from, mut to) = (far, near);
        let mut head = [0; 5];
        while from.read_exact(&mut head).is_ok() {
            let mut record = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
            let whole = from.read_exact(&mut record).map(|()| [&head[..], &record].concat());
            counter.fetch_add(1, Ordering::SeqCst);
            if whole.and_then(|record| to.write_all(&record)).is_err() {
                return;
            }
        }
    });
    (client, records)
}

#[test]
fn hits_that_are_asked_for_together_leave_in_a_record_for_each_16_kib() {
    let backend = Recorder::start(|_, tcp| {
        let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 1024\r\n\r\n";
        let _ = tcp.write_all(format!("{head}{}", "x".repeat(1024)).as_bytes());
        Then::Keep
    });
    let gate = recorded(&backend, one_worker);
    eventually_true("it is stored", || {
        values(&head_of(&gate, "/static/a.css", &[]), "cache-status")
            .iter()
            .any(|status| status.contains("; hit"))
    });
    let (wire, records) = counted_wire(gate.https_addr());
    let mut h2 = H2::over(&TlsClient::default(), wire, HOST);
    // The first answer comes behind the settings, and what the handshake had still to say.
    let ask = |h2: &mut H2, streams: &[u32]| {
        let asked: Vec<u8> =
            streams.iter().flat_map(|&stream| head(stream, END_STREAM, &get("/static/a.css"))).collect();
        h2.write(&asked).expect("ask");
        let (mut ended, mut bytes) = (0, 0);
        while ended < streams.len() {
            let frame = h2.read_frame().expect("an answer");
            bytes += if frame.kind == DATA { frame.payload.len() } else { 0 };
            ended += usize::from(frame.ends());
        }
        assert_eq!(bytes, 1024 * streams.len());
    };
    ask(&mut h2, &[1]);
    let before = records.load(Ordering::SeqCst);
    let streams: Vec<u32> = (0..16).map(|at| 3 + 2 * at).collect();
    ask(&mut h2, &streams);
    // 16 KiB of bodies, and their heads.
    let taken = records.load(Ordering::SeqCst) - before;
    assert!(taken <= 3, "{taken} records");
}
