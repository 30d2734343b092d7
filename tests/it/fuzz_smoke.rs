//! The targets of `fuzz/` for a few seconds, without a fuzzer: over their corpora, and over some thousand inputs made of
//! them. The same ones each time, so that a failure here is a failure everywhere.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

#[path = "../../fuzz/targets.rs"]
mod targets;

use targets::Target;

/// Runs `make`'s target over the corpus `name` and `count` inputs made of it.
fn smoke(name: &str, count: u32, make: fn(&Path) -> Target) {
    let folder = tempfile::tempdir().expect("a folder");
    let corpus = corpus(name);
    let mut target = make(folder.path());
    let mut try_one = |input: &[u8]| {
        let outcome = catch_unwind(AssertUnwindSafe(|| target(input)));
        assert!(outcome.is_ok(), "{name} with {} bytes: b\"{}\"", input.len(), input.escape_ascii());
    };
    corpus.iter().for_each(|input| try_one(input));
    try_one(b"");
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..count {
        try_one(&mutated(&corpus, &mut random));
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    // What a fuzzer found and left there has a name of forty digits, and would change what is tried here.
    files.retain(|file| file.extension().is_some());
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files.iter().map(|file| fs::read(file).expect("a file of the corpus")).collect()
}

/// One of the corpus, changed in one to four places.
fn mutated(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    /// What tends to be somewhere's limit, or to have a meaning.
    const TELLING: &[u8] = b"\x00\x01\x02\x05\x06\x30\x7f\x80\x81\x82\x84\xff%/.\\\"\n\r ?#:;[]{}=-";
    let mut bytes = random.of(corpus).clone();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(16)).min(bytes.len());
        match random.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = *random.of(TELLING),
            2 => bytes.insert(at, *random.of(TELLING)),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let again = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, again));
            }
            5 => {
                let other = random.of(corpus);
                let from = random.below(other.len() + 1);
                let to = (from + random.below(64)).min(other.len());
                drop(bytes.splice(at..end, other[from..to].iter().copied()));
            }
            // Rarely: what is cut off in the middle is refused early.
            6 if random.below(4) == 0 => bytes.truncate(at),
            _ => {}
        }
    }
    bytes
}

/// Xorshift: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // Not quite even, which is no matter here.
        (self.0 % limit.max(1) as u64) as usize
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

#[test]
fn no_request_for_a_certificate_is_anything_but_signed_or_refused() {
    smoke("csr", 1500, targets::csr);
}

#[test]
fn no_certificate_opens_the_gate_but_those_that_its_ca_made() {
    smoke("judge", 1500, targets::judge);
}

#[test]
fn no_revocation_list_opens_the_gate_to_what_the_real_one_revokes() {
    smoke("crl", 1500, targets::crl);
}

#[test]
fn no_register_is_read_by_the_gate_in_one_way_and_by_the_list_in_another() {
    smoke("register", 1500, targets::register);
}

#[test]
fn no_target_is_public_here_and_admin_to_guile() {
    smoke("route", 40_000, targets::route);
}

#[test]
fn no_configuration_ends_in_anything_but_settings_or_complaints() {
    smoke("config", 4000, targets::config);
}

#[test]
fn any_nginx_configuration_is_imported_or_refused() {
    smoke("import_nginx", 400, targets::import_nginx);
}

#[test]
fn no_line_on_the_control_socket_does_more_than_a_request() {
    smoke("control", 10_000, targets::control);
}

#[test]
fn no_line_is_masked_in_one_way_whole_and_in_another_in_pieces() {
    smoke("anonip", 10_000, targets::anonip);
}

#[test]
fn no_request_breaks_a_line_of_the_access_log() {
    smoke("access_log", 10_000, targets::access_log);
}

#[test]
fn no_chain_and_no_key_goes_with_what_it_does_not_belong_to() {
    smoke("pair", 3000, targets::pair);
}

#[test]
fn no_file_of_the_cache_is_taken_for_more_than_was_written() {
    smoke("cache_file", 10_000, targets::cache_file);
}

#[test]
fn no_history_is_read_in_one_way_and_written_in_another() {
    smoke("history", 1000, targets::history);
}

#[test]
fn no_answer_of_a_backend_ends_elsewhere_for_us_than_for_the_engine() {
    smoke("answer", 4000, targets::answer);
}

#[test]
fn no_request_is_plain_that_is_another_to_the_engine() {
    smoke("plain", 20000, targets::plain);
}

#[test]
fn no_answer_to_the_doctor_is_more_than_it_may_be() {
    smoke("doctor_answer", 4000, targets::doctor_answer);
}

#[test]
fn no_narinfo_is_signed_by_the_farm_but_the_one_that_it_signed() {
    smoke("narinfo", 1500, targets::narinfo);
}

#[test]
fn no_nar_unpacks_to_more_than_was_promised() {
    smoke("nar", 4000, targets::nar);
}
