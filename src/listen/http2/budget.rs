//! How many frames a client may send that ask for nothing.
//!
//! Pings, settings, priorities, window updates and resets cost us work, and a client next to nothing. The h2 crate
//! answers as many as there come, and while it does, the other clients of the worker wait. Here each takes from a
//! budget, to which requests, the bytes of answers and time add. It is far above what browsers, curl or h2load come
//! near.

use std::time::Instant;

use super::LARGEST_HEAD;

/// Length of a frame's header (RFC 9113 section 4.1).
const HEADER: usize = 9;
/// Length of the preface, which comes before the first frame (RFC 9113 section 3.4).
const PREFACE: u32 = 24;

/// What there is to begin with, and at the most.
const MOST: i64 = 2000;
/// What is added each second.
const PER_SECOND: i64 = 50;
/// Bytes sent to the client for which one is added. A client that keeps its windows small has us send many small
/// frames, and sends two updates for each.
const BYTES_SENT: i64 = 64;
/// What a request adds.
const REQUEST: i64 = 2;

/// The most bytes of an encoded head. The h2 crate measures a head as it is decoded, and answers 431 to one that is
/// larger than `LARGEST_HEAD`. Before it can, it must have all of it.
const LARGEST_BLOCK: u32 = 2 * LARGEST_HEAD;
/// What a CONTINUATION counts as at the least: a head in many of them is an attack.
const SMALLEST_CONTINUATION: u32 = 4096;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// A connection's budget.
#[derive(Debug)]
pub(super) struct Budget {
    left: i64,
    /// When time last added to it.
    refilled: Instant,
    /// Bytes sent since then.
    sent: i64,
    /// The header of the frame that is coming, and how much of it is here.
    header: [u8; HEADER],
    have: usize,
    /// Bytes of the frame that are still to come.
    skip: u32,
    /// Bytes of the head of which further frames are to come.
    block: Option<u32>,
    /// How many heads have begun, and whether the frame that is coming belongs to one.
    heads: u64,
    in_head: bool,
}

/// More than the budget had.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Spent;

impl Budget {
    pub(super) fn new() -> Self {
        Self {
            left: MOST,
            refilled: Instant::now(),
            sent: 0,
            header: [0; HEADER],
            have: 0,
            skip: PREFACE,
            block: None,
            heads: 0,
            in_head: false,
        }
    }

    /// The number of the request head that has begun and is not complete.
    pub(super) fn open_head(&self) -> Option<u64> {
        (self.block.is_some() || self.in_head && self.skip > 0).then_some(self.heads)
    }

    /// Notes that `count` bytes were sent to the client.
    pub(super) fn sent(&mut self, count: usize) {
        self.sent = self.sent.saturating_add_unsigned(count as u64);
    }

    /// Takes what the frames in `bytes` cost, which are what comes next from the client.
    pub(super) fn received(&mut self, mut bytes: &[u8]) -> Result<(), Spent> {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let here = bytes.len().min(self.skip as usize);
                bytes = &bytes[here..];
                // No more than `skip`, which is 32 bits.
                self.skip -= here as u32;
                continue;
            }
            let here = bytes.len().min(HEADER - self.have);
            self.header[self.have..self.have + here].copy_from_slice(&bytes[..here]);
            bytes = &bytes[here..];
            self.have += here;
            if self.have == HEADER {
                self.have = 0;
                self.frame()?;
            }
        }
        Ok(())
    }

    fn frame(&mut self) -> Result<(), Spent> {
        let [high, middle, low, kind, flags, ..] = self.header;
        let length = u32::from_be_bytes([0, high, middle, low]);
        self.skip = length;
        self.in_head = matches!(kind, HEADERS | CONTINUATION);
        let cost = match kind {
            // Large ones carry something. A body may also end with an empty one.
            DATA if length == 0 && flags & END_STREAM == 0 => 4,
            DATA => 1 - i64::from(length) / BYTES_SENT,
            HEADERS => {
                self.heads += 1;
                self.block = (flags & END_HEADERS == 0).then_some(length);
                -REQUEST
            }
            CONTINUATION => {
                self.continuation(length, flags & END_HEADERS != 0)?;
                1
            }
            // More than a request adds: who takes back all that was asked for comes to an end.
            RST_STREAM => 2 * REQUEST,
            SETTINGS if flags & ACK == 0 => 4,
            PING => 2,
            _ => 1,
        };
        self.left = (self.left - cost).min(MOST);
        if self.left < 0 { self.refill() } else { Ok(()) }
    }

    fn continuation(&mut self, length: u32, is_last: bool) -> Result<(), Spent> {
        // One that continues nothing is for the h2 crate to refuse.
        let Some(block) = self.block else { return Ok(()) };
        let block = block.saturating_add(length.max(SMALLEST_CONTINUATION));
        if block > LARGEST_BLOCK {
            return Err(Spent);
        }
        self.block = (!is_last).then_some(block);
        Ok(())
    }

    /// Adds what is due. Put off until it is needed, so that nobody else pays for looking at the clock.
    fn refill(&mut self) -> Result<(), Spent> {
        let seconds = self.refilled.elapsed().as_secs_f64();
        // A number of seconds that a connection lives, so it fits.
        let due = (seconds * PER_SECOND as f64) as i64 + self.sent / BYTES_SENT;
        if due > 0 {
            (self.refilled, self.sent) = (Instant::now(), 0);
            self.left = self.left.saturating_add(due).min(MOST);
        }
        if self.left < 0 { Err(Spent) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let [_, high, middle, low] = u32::try_from(length).unwrap().to_be_bytes();
        let mut bytes = vec![high, middle, low, kind, flags, 0, 0, 0, 1];
        bytes.resize(HEADER + length, 0xff);
        bytes
    }

    fn after_preface() -> Budget {
        let mut budget = Budget::new();
        assert_eq!(budget.received(&[b'P'; PREFACE as usize]), Ok(()));
        budget
    }

    /// How many of these frames a budget takes, up to `most`.
    fn taken(budget: &mut Budget, frame: &[u8], most: usize) -> usize {
        (0..most).take_while(|_| budget.received(frame).is_ok()).count()
    }

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let bytes: Vec<u8> = [
            vec![b'P'; PREFACE as usize],
            frame(SETTINGS, 0, 18),
            frame(HEADERS, END_HEADERS, 40),
            frame(DATA, END_STREAM, 300),
            frame(SETTINGS, ACK, 0),
            frame(PING, 0, 8),
        ]
        .concat();
        let mut whole = Budget::new();
        whole.received(&bytes).unwrap();
        for size in [1, 2, 7, 9, 10, 33] {
            let mut cut = Budget::new();
            for part in bytes.chunks(size) {
                cut.received(part).unwrap();
            }
            assert_eq!(cut.open_head(), None);
            assert_eq!(cut.left, whole.left, "in parts of {size}");
        }
    }

    proptest! {
        #[test]
        fn bytes_of_any_kind_come_to_the_same_however_they_are_cut(
            bytes in proptest::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..5000),
            size in 1..100usize,
        ) {
            let (mut whole, mut cut) = (after_preface(), after_preface());
            let at_once = whole.received(&bytes);
            let in_parts = bytes.chunks(size).try_for_each(|part| cut.received(part));
            prop_assert_eq!(at_once, in_parts);
            prop_assert_eq!((whole.left, whole.open_head()), (cut.left, cut.open_head()));
        }
    }

    #[test]
    fn frames_that_ask_for_nothing_come_to_an_end() {
        for (kind, flags, length) in [
            (SETTINGS, 0, 0),
            (SETTINGS, ACK, 0),
            (PING, 0, 8),
            (RST_STREAM, 0, 4),
            (DATA, 0, 0),
            (2, 0, 5),
            (8, 0, 4),
            (0xfe, 0, 1),
        ] {
            let taken = taken(&mut after_preface(), &frame(kind, flags, length), 10_000);
            assert!((100..4000).contains(&taken), "{taken} of kind {kind}");
        }
    }

    #[test]
    fn taking_everything_back_comes_to_an_end_and_taking_back_a_page_does_not() {
        let both = [frame(HEADERS, END_HEADERS | END_STREAM, 30), frame(RST_STREAM, 0, 4)].concat();
        let mut budget = after_preface();
        assert!((500..5000).contains(&taken(&mut budget, &both, 10_000)));
        let mut budget = after_preface();
        for _ in 0..1000 {
            for _ in 0..3 {
                budget.received(&frame(HEADERS, END_HEADERS | END_STREAM, 30)).unwrap();
            }
            budget.received(&frame(RST_STREAM, 0, 4)).unwrap();
        }
    }

    #[test]
    fn who_takes_what_we_send_may_say_so() {
        let mut budget = after_preface();
        // A body in frames of 100 bytes, and two updates for each.
        for _ in 0..100_000 {
            budget.sent(109);
            budget.sent(20);
            budget.received(&frame(8, 0, 4)).unwrap();
            budget.received(&frame(8, 0, 4)).unwrap();
        }
        // One byte at a time.
        let mut budget = after_preface();
        let bytes = (0..100_000).take_while(|_| {
            budget.sent(10);
            budget.received(&frame(8, 0, 4)).is_ok()
        });
        assert!(bytes.count() < 4000);
    }

    #[test]
    fn a_head_without_end_comes_to_an_end() {
        let mut budget = after_preface();
        budget.received(&frame(HEADERS, 0, 16_384)).unwrap();
        assert_eq!(budget.open_head(), Some(1));
        assert!(taken(&mut budget, &frame(CONTINUATION, 0, 0), 1000) < 40);
        let mut budget = after_preface();
        budget.received(&frame(HEADERS, 0, 16_384)).unwrap();
        assert_eq!(taken(&mut budget, &frame(CONTINUATION, 0, 16_384), 1000), 7);
        // One frame that is not all here is half a head too.
        let mut budget = after_preface();
        let whole = frame(HEADERS, END_HEADERS, 40);
        budget.received(&whole[..20]).unwrap();
        assert_eq!(budget.open_head(), Some(1));
        budget.received(&whole[20..]).unwrap();
        assert_eq!(budget.open_head(), None);
        // And one that has one is as good as any.
        let mut budget = after_preface();
        budget.received(&frame(HEADERS, 0, 16_384)).unwrap();
        budget.received(&frame(CONTINUATION, END_HEADERS, 16_384)).unwrap();
        assert_eq!(budget.open_head(), None);
    }
}
