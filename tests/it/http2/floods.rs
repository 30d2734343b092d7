//! Frames that ask for nothing, in any number: RFC 9113 section 10.5. An ordinary client on the same worker is served
//! meanwhile.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;

/// Frames sent at the most. A gate that lets all of them through has no limit.
const MANY: usize = 20_000;

/// Runs `attack` while a client asks over both versions of HTTP, and must get every answer.
pub fn while_others_are_served(gate: &Gate, attack: impl FnOnce()) {
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            let (mut http1, mut http2) = (gate.https(), connect(gate));
            let mut answers = 0;
            while !over.load(Ordering::Acquire) || answers == 0 {
                assert_eq!(http1.get("/ordinary").status, 200);
                let outcome = http2.request("GET", HOST, b"/ordinary", &[], b"");
                assert_eq!(outcome.status(), Some(200), "{outcome:?}");
                answers += 1;
            }
        });
        let over = Over(&over);
        attack();
        drop(over);
        client.join().expect("all its requests were answered");
    });
}

/// The code of the GOAWAY that ends the connection; none where it was closed before it could be read.
fn goodbye(h2: &mut H2) -> Option<u32> {
    loop {
        match h2.read_frame() {
            Ok(frame) if frame.kind == GOAWAY => return frame.code(),
            Ok(_) => {}
            Err(error) => {
                assert!(
                    !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
                    "still open"
                );
                return None;
            }
        }
    }
}

/// Sends `frame` over and over; the connection must end, be told why, and be counted once.
fn flood(gate: &Gate, opening: &[u8], frame: &[u8]) {
    let before = refused(gate, "flood");
    let mut h2 = connect(gate);
    h2.settle();
    h2.write(opening).expect("send");
    let part = frame.repeat(100);
    for _ in 0..MANY / 100 {
        if h2.write(&part).is_err() {
            break;
        }
    }
    let code = goodbye(&mut h2);
    assert!(matches!(code, Some(ENHANCE_YOUR_CALM) | None), "{code:?}");
    eventually_true("it is counted", || refused(gate, "flood") == before + 1.0);
}

#[test]
fn rfc_9113_section_10_5_frames_that_ask_for_nothing_end_the_connection() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, one_worker);
    let body = head(1, 0, &post("/x"));
    while_others_are_served(&gate, || {
        for (name, opening, frame) in [
            ("empty SETTINGS", &[][..], frame(SETTINGS, 0, 0, &[])),
            ("SETTINGS with windows", &[], frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])),
            ("PING", &[], frame(PING, 0, 0, &[0; 8])),
            ("PING that answers none", &[], frame(PING, ACK, 0, &[0; 8])),
            ("PRIORITY", &[], frame(PRIORITY_FRAME, 0, 1, &[0, 0, 0, 0, 1])),
            ("WINDOW_UPDATE", &[], frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
            ("an unknown kind", &[], frame(0xfe, 0, 0, &[])),
            ("empty DATA", &body, frame(DATA, 0, 1, &[])),
        ] {
            println!("{name}");
            flood(&gate, opening, &frame);
        }
    });
    assert_eq!(gate.status()["connections"], 0);
}

#[test]
fn rfc_9113_section_10_5_requests_that_are_all_taken_back_end_the_connection() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, one_worker);
    while_others_are_served(&gate, || {
        // All in one go, which the gate reads in one go: these reach nobody.
        let mut h2 = connect(&gate);
        h2.settle();
        let pair = |id: u32| {
            [head(id, END_STREAM, &get("/taken-back")), frame(RST_STREAM, 0, id, &[0, 0, 0, 8])].concat()
        };
        let all: Vec<u8> = (0..MANY as u32).flat_map(|at| pair(2 * at + 1)).collect();
        let _ = h2.write(&all);
        let code = goodbye(&mut h2);
        assert!(matches!(code, Some(ENHANCE_YOUR_CALM) | None), "{code:?}");
        // One by one, each when the gate has had time to begin with it.
        let mut h2 = connect(&gate);
        h2.settle();
        let sent = (0..MANY as u32)
            .take_while(|at| {
                let id = 2 * at + 1;
                let reset = frame(RST_STREAM, 0, id, &[0, 0, 0, 8]);
                h2.write(&head(id, END_STREAM, &get("/slow"))).and_then(|()| h2.write(&reset)).is_ok()
            })
            .count();
        let code = goodbye(&mut h2);
        assert!(matches!(code, Some(ENHANCE_YOUR_CALM) | None), "{code:?} after {sent}");
    });
    assert_eq!(refused(&gate, "flood"), 2.0);
    let asked = recorder.requests().iter().filter(|request| request.target() != "/ordinary").count();
    assert!(asked < 4000, "{asked} of {MANY} went on to the backend");
}

#[test]
fn rfc_9113_section_10_5_1_a_head_without_end_ends_the_connection() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, one_worker);
    while_others_are_served(&gate, || {
        // Large, small and empty pieces.
        for (settled, size) in [(true, 16_384), (true, 0), (false, 16_384), (false, 1), (false, 0)] {
            let before = refused(&gate, "flood") + refused(&gate, "protocol");
            let mut h2 = connect(&gate);
            if settled {
                h2.settle();
            }
            let field = block(&[("x-field", &"v".repeat(16_384 - 12))]);
            let piece = frame(CONTINUATION, 0, 1, &field[..size.min(field.len())]);
            h2.write(&frame(HEADERS, END_STREAM, 1, &block(&get("/x")))).expect("send");
            let sent = (0..1000).take_while(|_| h2.write(&piece).is_ok()).count();
            let code = goodbye(&mut h2);
            assert!(code.is_none_or(|code| code != NO_ERROR), "{settled} {size}: {code:?} after {sent}");
            eventually_true("it is counted", || {
                refused(&gate, "flood") + refused(&gate, "protocol") == before + 1.0
            });
        }
    });
    assert!(recorder.requests().iter().all(|request| request.target() == "/ordinary"));
}
