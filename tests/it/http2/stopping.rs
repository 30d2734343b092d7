//! The end of a connection: RFC 9113 section 6.8.

use std::thread;

use super::*;
use crate::support::Latch;

/// GOAWAY with the largest identifier: nothing new, please.
fn is_warning(frame: &Frame) -> bool {
    frame.kind == GOAWAY && frame.payload[..4] == [0x7f, 0xff, 0xff, 0xff] && frame.code() == Some(NO_ERROR)
}

/// A gate that is told to stop when half of an answer is here, which waits for the latch.
fn stopping_half_way(latch: &Latch) -> (Recorder, Gate, H2) {
    let recorder = Recorder::in_two_halves(latch);
    let gate = recorded(&recorder, |config| config);
    let mut h2 = connect(&gate);
    h2.write(&head(1, END_STREAM, &get("/nar/a"))).expect("send");
    h2.await_frame(|frame| frame.kind == DATA).expect("the first half");
    gate.signal("TERM");
    (recorder, gate, h2)
}

#[test]
fn sigterm_says_goodbye_and_finishes_what_was_asked() {
    let latch = Latch::default();
    let (_recorder, gate, mut h2) = stopping_half_way(&latch);
    // The PING that goes with it is not answered yet: for all that the gate knows, this is on its way.
    while !is_warning(&h2.read_frame().expect("a warning")) {}
    h2.write(&head(3, END_STREAM, &get("/nar/b"))).expect("send");
    let mut open = vec![1, 3];
    latch.open();
    let mut goodbye = None;
    while let Ok(next) =
        h2.await_frame(|frame| frame.ends() || frame.kind == GOAWAY || frame.kind == RST_STREAM)
    {
        assert_ne!(next.kind, RST_STREAM, "{next:?}");
        match next.kind {
            GOAWAY => goodbye = Some(next),
            _ => open.retain(|id| *id != next.stream),
        }
    }
    assert!(open.is_empty(), "not answered: {open:?}");
    let goodbye = goodbye.expect("a last word");
    assert_eq!((&goodbye.payload[..4], goodbye.code()), (&[0, 0, 0, 3][..], Some(NO_ERROR)));
    assert_eq!(gate.wait_for_exit().code(), Some(0));
}

#[test]
fn an_idle_connection_does_not_hold_up_a_gate_that_stops() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config);
    let mut h2 = connect(&gate);
    assert_eq!(h2.request("GET", HOST, b"/x", &[], b"").status(), Some(200));
    // One whose client no longer answers, not even a PING.
    let mut dead = connect(&gate);
    assert_eq!(dead.request("GET", HOST, b"/x", &[], b"").status(), Some(200));
    gate.signal("TERM");
    assert!(h2.await_frame(is_warning).is_ok());
    assert!(h2.await_frame(|frame| frame.kind == GOAWAY).is_ok());
    assert_eq!(gate.wait_for_exit().code(), Some(0));
}

#[test]
fn who_waits_in_the_backlog_when_the_gate_stops_is_answered() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config);
    let address = gate.https_addr();
    // Nothing is accepted while it stands still; the kernel takes connections for it.
    gate.signal("STOP");
    let waiting: Vec<_> =
        (0..20).map(|_| std::net::TcpStream::connect(address).expect("a place in the backlog")).collect();
    gate.signal("TERM");
    gate.signal("CONT");
    thread::scope(|scope| {
        for tcp in waiting {
            scope.spawn(move || {
                let mut h2 = H2::over(&TlsClient::default(), tcp, HOST);
                h2.write(&head(1, END_STREAM, &get("/x"))).expect("send");
                let (mut status, mut last_word) = (None, None);
                while let Ok(next) = h2.await_frame(|frame| matches!(frame.kind, HEADERS | GOAWAY)) {
                    status = status.or(next.status());
                    last_word = Some(next).filter(|frame| frame.kind == GOAWAY).or(last_word);
                }
                assert_eq!(status, Some(200));
                // And is told that this was the last one.
                let last_word = last_word.expect("a last word");
                assert_eq!((&last_word.payload[..4], last_word.code()), (&[0, 0, 0, 1][..], Some(NO_ERROR)));
            });
        }
    });
    assert_eq!(gate.wait_for_exit().code(), Some(0));
}

#[test]
fn who_connects_and_says_nothing_does_not_hold_up_a_gate_that_stops() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config.set("limits.header_timeout", "\"10m\""));
    let _silent = TlsClient::default().alpn(&["h2"]).handshake(gate.https_addr(), HOST);
    let _settled = connect(&gate);
    eventually_true("both are taken", || gate.status()["connections"] == 2);
    gate.signal("TERM");
    assert_eq!(gate.wait_for_exit().code(), Some(0));
}

#[test]
fn an_idle_connection_is_said_goodbye_to_and_a_reload_says_when() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config.set("timeouts.idle", "\"600s\""));
    gate.rewrite(&gate.config.clone().set("timeouts.idle", "\"1s\""));
    let reload = gate.command(&["reload"]);
    assert!(reload.status.success());
    assert!(!String::from_utf8_lossy(&reload.stdout).contains("next start"), "{reload:?}");
    let mut h2 = connect(&gate);
    assert_eq!(h2.request("GET", HOST, b"/x", &[], b"").status(), Some(200));
    assert!(h2.await_frame(is_warning).is_ok());
    let goodbye = h2.await_frame(|frame| frame.kind == GOAWAY).expect("a last word");
    assert_eq!((&goodbye.payload[..4], goodbye.code()), (&[0, 0, 0, 1][..], Some(NO_ERROR)));
    // A clean close follows.
    assert_eq!(h2.read_frame().unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
}

#[test]
fn a_connection_is_not_idle_while_a_backend_takes_its_time() {
    let latch = Latch::default();
    let recorder = Recorder::in_two_halves(&latch);
    let gate = recorded(&recorder, |config| config.set("timeouts.idle", "\"1s\""));
    let mut busy = connect(&gate);
    busy.write(&head(1, END_STREAM, &get("/nar/a"))).expect("send");
    busy.await_frame(|frame| frame.kind == DATA).expect("the first half");
    // Another one, which begins after it, is let go: by then this one's time would have been over too.
    let mut idle = connect(&gate);
    assert!(idle.await_frame(|frame| frame.kind == GOAWAY && !is_warning(frame)).is_ok());
    latch.open();
    assert!(busy.await_frame(|frame| frame.ends()).is_ok());
}

/// GOAWAY with the identifier of the last one that is answered.
fn is_last_word(frame: &Frame) -> bool {
    frame.kind == GOAWAY && !is_warning(frame)
}

#[test]
fn rfc_9113_section_6_8_a_request_behind_the_last_word_reaches_nobody_so_that_it_can_be_sent_elsewhere() {
    let latch = Latch::default();
    let (recorder, gate, mut h2) = stopping_half_way(&latch);
    // Who answers the PING that goes with the warning gets the last word at once, though a request is not done.
    let last_word = h2.await_frame(is_last_word).expect("a last word");
    assert_eq!((&last_word.payload[..4], last_word.code()), (&[0, 0, 0, 1][..], Some(NO_ERROR)));
    h2.write(&head(3, END_STREAM, &get("/nar/b"))).expect("send");
    h2.write(&head(5, 0, &post("/jobset/x/hook/evaluate"))).expect("send");
    h2.write(&frame(DATA, END_STREAM, 5, b"body")).expect("send");
    h2.write(&frame(PING, 0, 0, &[7; 8])).expect("send");
    h2.await_frame(|frame| frame.kind == PING && frame.flags & ACK != 0).expect("all of it was read");
    latch.open();
    let end = h2.await_frame(|frame| {
        assert!(frame.stream <= 1, "{frame:?}");
        frame.ends()
    });
    assert_eq!(end.expect("the second half").stream, 1);
    while let Ok(more) = h2.read_frame() {
        assert!(more.stream == 0, "{more:?}");
    }
    assert_eq!(gate.wait_for_exit().code(), Some(0));
    let asked: Vec<_> = recorder.requests().iter().map(|request| request.target().to_owned()).collect();
    assert_eq!(asked, ["/nar/a"]);
}

#[test]
fn who_never_says_that_it_knows_is_told_what_was_answered() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config);
    let mut h2 = connect(&gate);
    assert_eq!(h2.request("GET", HOST, b"/x", &[], b"").status(), Some(200));
    gate.signal("TERM");
    // The PING that goes with the warning is read, and not answered.
    let last_word = loop {
        let next = h2.read_frame().expect("a last word");
        if is_last_word(&next) {
            break next;
        }
    };
    assert_eq!((&last_word.payload[..4], last_word.code()), (&[0, 0, 0, 1][..], Some(NO_ERROR)));
    assert_eq!(h2.read_frame().unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    assert_eq!(gate.wait_for_exit().code(), Some(0));
}

#[test]
fn who_goes_on_and_on_after_the_warning_comes_to_an_end() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config.set("timeouts.idle", "\"1s\""));
    let mut h2 = connect(&gate);
    while !is_warning(&h2.read_frame().expect("a warning")) {}
    // All of them are good requests, and each is answered before the next one: too many of them is all that is wrong.
    let mut answered = 0;
    let end = loop {
        let id = 2 * answered + 1;
        if h2.write(&head(id, END_STREAM, &get("/robots.txt"))).is_err() || answered == 1000 {
            break None;
        }
        let next = loop {
            match h2.read_frame() {
                Ok(next) if next.ends() || next.kind == GOAWAY => break Some(next),
                Ok(_) => {}
                Err(_) => break None,
            }
        };
        match next {
            Some(next) if next.kind == GOAWAY => break next.code(),
            Some(_) => answered += 1,
            None => break None,
        }
    };
    assert!((200..=201).contains(&answered), "{answered} were answered");
    assert!(matches!(end, Some(ENHANCE_YOUR_CALM) | None), "{end:?}");
}
