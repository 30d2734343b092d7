//! What a client may have of a connection, and what happens beyond. An ordinary client on the same worker is served
//! meanwhile.

use super::floods::while_others_are_served;
use super::*;
use crate::support::Latch;

#[test]
fn rfc_9113_section_5_1_2_a_hundred_requests_at_a_time_and_more_are_refused() {
    let latch = Latch::default();
    let held = latch.clone();
    let recorder = Recorder::start(move |request, tcp| {
        if request.target() != "/ordinary" {
            held.wait();
        }
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        Then::Keep
    });
    let gate = recorded(&recorder, one_worker);
    while_others_are_served(&gate, || {
        let mut h2 = connect(&gate);
        h2.settle();
        let all: Vec<u8> = (0..150).flat_map(|at| head(2 * at + 1, END_STREAM, &get("/held"))).collect();
        h2.write(&all).expect("send");
        let mut refused = 0;
        while refused < 50 {
            let reset = h2.await_frame(|frame| frame.kind == RST_STREAM).expect("a refusal");
            assert_eq!(reset.code(), Some(REFUSED_STREAM));
            assert!(reset.stream > 200, "{reset:?}");
            refused += 1;
        }
        latch.open();
        for _ in 0..100 {
            let answer = h2.await_frame(|frame| frame.kind == HEADERS).expect("an answer");
            assert_eq!(answer.status(), Some(200));
        }
    });
    // Who goes on and on is not refused for ever.
    let tcp = std::net::TcpStream::connect(gate.https_addr()).expect("connect");
    // With a window that is closed, none of them ends.
    let mut h2 = H2::with_settings(&TlsClient::default(), tcp, HOST, &[(4, 0)]);
    h2.settle();
    for at in 0..1000 {
        if h2.write(&head(2 * at + 1, END_STREAM, &get("/ordinary"))).is_err() {
            break;
        }
    }
    let end = loop {
        match h2.read_frame() {
            Ok(frame) if frame.kind == GOAWAY => break frame.code(),
            Ok(_) => {}
            Err(_) => break None,
        }
    };
    assert!(matches!(end, Some(ENHANCE_YOUR_CALM) | None), "{end:?}");
    // The end is on its way before it is counted.
    eventually_true("it is counted", || super::refused(&gate, "flood") == 1.0);
}

#[test]
fn rfc_9113_section_6_5_2_a_head_beyond_our_limit_is_a_431() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, one_worker);
    // 64 KiB as they are counted, in fields that fit into frames.
    let value = "v".repeat(8 * 1024);
    let names: Vec<String> = (0..8).map(|at| format!("x-{at}")).collect();
    let large: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), value.as_str())).collect();
    let send = |h2: &mut H2, id: u32| {
        let block = block(&[&get("/x")[..], &large].concat());
        let pieces: Vec<&[u8]> = block.chunks(16_384).collect();
        let mut bytes = frame(HEADERS, END_STREAM, id, pieces[0]);
        for (at, piece) in pieces.iter().enumerate().skip(1) {
            let flags = if at + 1 == pieces.len() { END_HEADERS } else { 0 };
            bytes.extend(frame(CONTINUATION, flags, id, piece));
        }
        h2.write(&bytes).expect("send");
        h2.await_frame(|frame| frame.stream == id).expect("an answer").status()
    };
    while_others_are_served(&gate, || {
        // Whether the client has acknowledged our settings or not.
        for settled in [false, true] {
            let mut h2 = connect(&gate);
            if settled {
                h2.settle();
            }
            assert_eq!(send(&mut h2, 1), Some(431));
            // Its connection goes on.
            h2.write(&head(3, END_STREAM, &get("/ordinary"))).expect("send");
            let answer = h2.await_frame(|frame| frame.stream == 3 && frame.kind == HEADERS);
            assert_eq!(answer.expect("an answer").status(), Some(200));
        }
    });
    assert!(recorder.requests().iter().all(|request| request.target() == "/ordinary"));
}

#[test]
fn a_head_or_a_preface_that_trickles_in_is_not_waited_for() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| {
        one_worker(config).set("limits.header_timeout", "\"1s\"").set("timeouts.idle", "\"600s\"")
    });
    while_others_are_served(&gate, || {
        let block = block(&get("/x"));
        let whole = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block);
        for part in [frame(HEADERS, END_STREAM, 1, &block), whole[..whole.len() - 1].to_vec()] {
            let mut h2 = connect(&gate);
            h2.settle();
            h2.write(&part).expect("send");
            let end = h2.await_frame(|frame| frame.kind == GOAWAY).expect("a goodbye");
            assert_eq!(end.code(), Some(ENHANCE_YOUR_CALM));
        }
        let mut silent = TlsClient::default().alpn(&["h2"]).handshake(gate.https_addr(), HOST);
        // Our settings, and then the end.
        let mut rest = Vec::new();
        let _ = std::io::Read::read_to_end(&mut silent, &mut rest);
    });
    assert_eq!(refused(&gate, "slow-head"), 3.0);
}

#[test]
fn rfc_9113_section_10_5_streams_pinned_by_a_closed_window_are_reset() {
    let recorder = Recorder::start(|request, tcp| {
        let body = if request.target() == "/ordinary" { 2 } else { 1 << 20 };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {body}\r\nConnection: close\r\n\r\n");
        let _ = tcp.write_all(&[head.as_bytes(), &vec![b'n'; body]].concat());
        Then::Close
    });
    let gate = recorded(&recorder, |config| {
        one_worker(config)
            .set("timeouts.send", "\"1s\"")
            .set("timeouts.nar", "\"1s\"")
            .set("timeouts.idle", "\"600s\"")
    });
    while_others_are_served(&gate, || {
        let tcp = std::net::TcpStream::connect(gate.https_addr()).expect("connect");
        let mut h2 = H2::with_settings(&TlsClient::default(), tcp, HOST, &[(1, 0), (4, 0)]);
        h2.settle();
        let all: Vec<u8> = (0..100).flat_map(|at| head(2 * at + 1, END_STREAM, &get("/nar/a"))).collect();
        h2.write(&all).expect("send");
        for _ in 0..100 {
            let end = h2.await_frame(|frame| frame.kind == RST_STREAM).expect("a reset");
            assert_eq!(end.code(), Some(CANCEL));
        }
        assert_eq!(refused(&gate, "stalled"), 100.0);
        // It may go on with an open one.
        h2.write(&frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])).expect("send");
        h2.write(&head(201, END_STREAM, &get("/ordinary"))).expect("send");
        assert!(h2.await_frame(|frame| frame.stream == 201 && frame.ends()).is_ok());
    });
}

#[test]
fn a_large_answer_that_nobody_reads_takes_no_more_memory_than_a_small_one() {
    const MIB: usize = 24;
    let recorder = Recorder::start(|_, tcp| {
        let _ = tcp.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", MIB << 20).as_bytes());
        let part = vec![b'n'; 1 << 20];
        for _ in 0..MIB {
            if tcp.write_all(&part).is_err() {
                break;
            }
        }
        Then::Close
    });
    let gate = recorded(&recorder, |config| config.set("timeouts.nar", "\"10m\""));
    let mut h2 = connect(&gate);
    h2.settle();
    let before = gate.rss_kib();
    // The window is a GiB: what stops the gate is the socket.
    h2.write(&head(1, END_STREAM, &get("/nar/a"))).expect("send");
    crate::support::at_rest("nothing moves", || gate.cpu_ticks());
    let grown = gate.rss_kib().saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB");
    // And it is all there for who does read.
    let mut received = 0;
    loop {
        let part = h2.await_frame(|frame| frame.kind == DATA).expect("a part");
        received += part.payload.len();
        if part.ends() {
            break;
        }
    }
    assert_eq!(received, MIB << 20);
}

#[test]
fn rfc_9113_section_6_5_2_what_a_client_may_is_announced() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config);
    let mut h2 = connect(&gate);
    let settings =
        h2.await_frame(|frame| frame.kind == SETTINGS && frame.flags & ACK == 0).expect("settings");
    let value = |name: u8| {
        let mut all = settings.payload.chunks(6).filter(|setting| setting[..2] == [0, name]);
        all.next().map(|setting| u32::from_be_bytes(setting[2..].try_into().expect("four bytes")))
    };
    // MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE. The connection's window is what
    // everybody's is, unless it is made larger (section 6.9.2).
    assert_eq!([3, 4, 5, 6].map(value), [Some(100), Some(64 * 1024), None, Some(64 * 1024)]);
    assert_eq!(h2.request("POST", HOST, b"/x", &[], &[b'x'; 60_000]).status(), Some(200));
    assert_eq!(recorder.requests()[0].body.len(), 60_000);
}

/// Two for each that may be open: whoever leaves a page takes all of it back.
#[test]
fn rfc_9113_section_5_1_2_requests_taken_back_before_they_are_looked_at_do_not_pile_up() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, one_worker);
    // GET, https, an authority, / (RFC 7541 appendices A and B): hundreds fit into a record of TLS, which is read in one go.
    let block = [&[0x82, 0x87, 0x84, 0x01, HOST.len() as u8][..], HOST.as_bytes()].concat();
    let taken_back = |count: u32| -> Vec<u8> {
        let ids = (0..count).map(|at| 2 * at + 1);
        ids.flat_map(|id| {
            let reset = frame(RST_STREAM, 0, id, &CANCEL.to_be_bytes());
            [frame(HEADERS, END_HEADERS | END_STREAM, id, &block), reset].concat()
        })
        .collect()
    };
    for (count, is_borne) in [(190, true), (300, false)] {
        let mut h2 = connect(&gate);
        h2.settle();
        let bytes = taken_back(count);
        assert!(bytes.len() < 16 * 1024);
        h2.write(&[&bytes[..], &frame(PING, 0, 0, &[7; 8])].concat()).expect("send");
        let answer = h2.await_frame(|frame| frame.kind == GOAWAY || frame.kind == PING).expect("an answer");
        assert_eq!(answer.code(), (!is_borne).then_some(ENHANCE_YOUR_CALM), "{count}");
    }
    eventually_true("it is counted", || super::refused(&gate, "flood") == 1.0);
}
