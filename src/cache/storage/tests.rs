//! Files that are whole, and files that are not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::cache::fixture::headers;
use crate::cache::freshness::Terms;
use crate::cache::key::Key;
use crate::cache::meta::Meta;
use crate::cache::vary::Selecting;

fn meta() -> Meta {
    Meta {
        key: Key::new("s", "h", b"/static/a"),
        selecting: Selecting::default(),
        status: 200,
        headers: headers(&[("x", "1")]),
        arrived: UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        terms: Terms::default(),
    }
}

fn body(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 251) as u8).collect()
}

fn store(files: &Files, content: &[u8]) -> Name {
    let name = Name::new(meta().key.digest());
    let mut writer = Writer::create(files, name, Some(content.len() as u64)).unwrap();
    for part in content.chunks(50_000) {
        writer.append(part).unwrap();
    }
    writer.commit(&meta()).unwrap();
    name
}

fn body_of(stored: &Stored) -> std::io::Result<bytes::Bytes> {
    stored.beginning(bytes::BytesMut::zeroed(stored.length as usize))
}

fn folder() -> (tempfile::TempDir, Files) {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::new(folder.path().join("space"), Arc::new(NoFaults));
    (folder, files)
}

#[test]
fn what_is_stored_is_read_whatever_its_length() {
    let (_folder, files) = folder();
    for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK] {
        let content = body(length);
        let stored = Stored::open(&files, store(&files, &content), length as u64).unwrap();
        assert_eq!((stored.length, &*stored.meta), (length as u64, &meta()));
        assert_eq!(body_of(&stored).unwrap(), content, "{length}");
        for number in 0..stored.length.div_ceil(BLOCK as u64) {
            if let Ok(block) = stored.block_in_memory(number, stored.room(number)) {
                assert_eq!(block.unwrap(), stored.block(number, stored.room(number)).unwrap());
            }
        }
    }
}

#[test]
fn a_file_that_was_truncated_anywhere_is_noticed() {
    let (_folder, files) = folder();
    let content = body(BLOCK + 100);
    let name = store(&files, &content);
    let whole = std::fs::read(files.path(&name)).unwrap();
    for end in (0..whole.len()).step_by(997).chain(whole.len() - 80..whole.len()) {
        std::fs::write(files.path(&name), &whole[..end]).unwrap();
        assert!(Stored::open(&files, name, content.len() as u64).is_err(), "cut at {end}");
    }
}

#[test]
fn a_bit_that_was_flipped_anywhere_is_noticed() {
    let (_folder, files) = folder();
    let content = body(3000);
    let name = store(&files, &content);
    let whole = std::fs::read(files.path(&name)).unwrap();
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        std::fs::write(files.path(&name), &flipped).unwrap();
        let read = Stored::open(&files, name, 3000).and_then(|stored| body_of(&stored));
        assert!(read.is_err(), "flipped at {at} of {}", whole.len());
    }
}

/// Reads it as it is on disk now, or as the system lets one that waits for nothing.
fn in_memory(files: &Files, name: Name, length: usize) -> Option<(Meta, bytes::Bytes)> {
    let file_length = std::fs::metadata(files.path(&name)).unwrap().len();
    read_in_memory(files, &name, &meta().key, length as u64, file_length)
}

#[test]
fn a_small_file_that_is_in_memory_is_read_without_waiting() {
    let (_folder, files) = folder();
    for length in [0, 1, 3000, BLOCK] {
        let content = body(length);
        let name = store(&files, &content);
        let stored = Stored::open(&files, name, length as u64).unwrap();
        // Where the file system cannot say what is in memory, it is read as any other.
        if length == 0 || stored.block_in_memory(0, stored.room(0)).is_ok() {
            let read = in_memory(&files, name, length).expect("nothing to wait for");
            assert_eq!(read, (meta(), content.into()), "{length}");
        }
    }
    let name = store(&files, &body(BLOCK + 1));
    assert!(in_memory(&files, name, BLOCK + 1).is_none(), "not a small one");
}

#[test]
fn what_is_read_without_waiting_is_what_was_asked_for_and_whole() {
    let (_folder, files) = folder();
    let name = store(&files, &body(400));
    let whole = std::fs::read(files.path(&name)).unwrap();
    let other = Key::new("s", "h", b"/static/b");
    let file_length = whole.len() as u64;
    assert!(read_in_memory(&files, &name, &other, 400, file_length).is_none(), "another key");
    assert!(in_memory(&files, name, 399).is_none(), "another length");
    for wrong in [0, 1, file_length - 1, file_length + 1] {
        assert!(read_in_memory(&files, &name, &meta().key, 400, wrong).is_none(), "{wrong} bytes");
    }
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        std::fs::write(files.path(&name), &flipped).unwrap();
        assert!(in_memory(&files, name, 400).is_none(), "flipped at {at} of {}", whole.len());
        std::fs::write(files.path(&name), &whole[..at]).unwrap();
        assert!(in_memory(&files, name, 400).is_none(), "cut at {at}");
    }
    std::fs::remove_file(files.path(&name)).unwrap();
    assert!(read_in_memory(&files, &name, &meta().key, 400, file_length).is_none(), "removed");
}

#[test]
fn blocks_of_zeroes_as_a_power_failure_leaves_them_are_noticed() {
    let (_folder, files) = folder();
    let name = store(&files, &body(3 * BLOCK));
    let mut torn = std::fs::read(files.path(&name)).unwrap();
    torn[BLOCK + 4096..BLOCK + 8192].fill(0);
    std::fs::write(files.path(&name), &torn).unwrap();
    let stored = Stored::open(&files, name, 3 * BLOCK as u64).unwrap();
    let good: Vec<_> = (0..3).map(|number| stored.block(number, stored.room(number)).is_ok()).collect();
    assert_eq!(good, [true, false, true]);
    assert!(body_of(&stored).is_err());
    std::fs::write(files.path(&name), vec![0; torn.len()]).unwrap();
    assert!(Stored::open(&files, name, 3 * BLOCK as u64).is_err());
}

#[test]
fn a_file_of_another_length_than_the_index_has_is_no_good() {
    let (_folder, files) = folder();
    let name = store(&files, &body(1000));
    assert!(Stored::open(&files, name, 999).is_err() && Stored::open(&files, name, 1000).is_ok());
}

#[test]
fn meta_can_be_replaced_by_a_longer_and_a_shorter_one() {
    let (_folder, files) = folder();
    let content = body(1000);
    let name = store(&files, &content);
    for value in ["a much longer value than there was before", ""] {
        let mut new = meta();
        new.headers = headers(&[("x", value)]);
        Stored::open(&files, name, 1000).unwrap().replace_meta(&files, &new).unwrap();
        let stored = Stored::open(&files, name, 1000).unwrap();
        assert_eq!((&*stored.meta, body_of(&stored).unwrap()), (&new, content.clone().into()));
    }
}

#[test]
fn a_file_that_is_not_finished_leaves_nothing_behind() {
    let (folder, files) = folder();
    let mut writer = Writer::create(&files, Name::new(meta().key.digest()), None).unwrap();
    writer.append(b"half").unwrap();
    drop(writer);
    let mut found = 0;
    files
        .scan(|_| {
            found += 1;
            true
        })
        .unwrap();
    let making = folder.path().join("space").join(format!("making-{}", std::process::id()));
    assert_eq!((found, std::fs::read_dir(making).unwrap().count()), (0, 0));
}

#[test]
fn a_scan_finds_what_is_good_and_removes_what_is_not() {
    let (_folder, files) = folder();
    let (good, bad) = (store(&files, b"good"), store(&files, b"bad"));
    std::fs::write(files.path(&bad), b"").unwrap();
    let mut found = Vec::new();
    files
        .scan(|file| {
            found.push((file.name, file.length));
            true
        })
        .unwrap();
    assert_eq!(found, [(good, 4)]);
    assert!(!files.path(&bad).exists());
}

#[test]
fn a_full_disk_is_an_error_and_leaves_nothing_behind() {
    struct Full(AtomicBool);
    impl Faults for Full {
        fn check(&self, op: Op) -> std::io::Result<()> {
            match op {
                Op::Write if self.0.load(Ordering::Relaxed) => Err(std::io::ErrorKind::StorageFull.into()),
                _ => Ok(()),
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let full = Arc::new(Full(AtomicBool::new(true)));
    let files = Files::new(folder.path().into(), full.clone());
    let name = Name::new(meta().key.digest());
    assert!(Writer::create(&files, name, Some(10)).is_err());
    let mut writer = Writer::create(&files, name, None).unwrap();
    assert!(writer.append(b"x").is_err());
    drop(writer);
    full.0.store(false, Ordering::Relaxed);
    assert!(Stored::open(&files, store(&files, b"now"), 3).is_ok());
}

#[test]
fn a_folder_that_vanished_is_made_again() {
    let (_folder, files) = folder();
    store(&files, b"one");
    std::fs::remove_dir_all(files.root()).unwrap();
    assert!(Stored::open(&files, store(&files, b"two"), 3).is_ok());
}
