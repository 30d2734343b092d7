//! Reading a small file that is in the page cache: on the thread that asks, as there is nothing to wait for.

use std::io::IoSliceMut;

use bytes::{Bytes, BytesMut};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::{ReadWriteFlags, preadv2};

use super::files::{Files, Name, Op};
use super::format::{BLOCK, Footer, checksum};
use crate::cache::key::Key;
use crate::cache::meta::Meta;

/// The response for `key` in the file `name`, which is said to have `file_length` bytes, `length` of them body; all of
/// it verified.
///
/// Three system calls: open, read and close. To hand it to a thread that may wait costs a waking up of that one and of
/// this one, which is several times as much.
///
/// None: it is no small file, or not all that is needed is in memory, or it is no good, or the system (before Linux 5.12)
/// has no way to say so. [`Stored::open`](super::Stored::open) finds out which.
pub fn read_in_memory(
    files: &Files,
    name: &Name,
    key: &Key,
    length: u64,
    file_length: u64,
) -> Option<(Meta, Bytes)> {
    if length > BLOCK as u64 {
        return None;
    }
    files.faults.check(Op::Open).ok()?;
    // CACHED: to look a name up on disk would be a wait.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = openat2(CWD, files.path(name), flags, Mode::empty(), ResolveFlags::CACHED).ok()?;
    files.faults.check(Op::Read).ok()?;
    let mut room = BytesMut::zeroed(usize::try_from(file_length).ok()?);
    let read = preadv2(&file, &mut [IoSliceMut::new(&mut room)], 0, ReadWriteFlags::NOWAIT).ok()?;
    if read != room.len() {
        return None;
    }
    let (meta, body) = verified(&room.freeze())?;
    // The key is more than the digest in the name.
    (meta.key == *key && body.len() as u64 == length).then_some((meta, body))
}

/// What is in a file of at most one block of body, if it is good.
fn verified(file: &Bytes) -> Option<(Meta, Bytes)> {
    let footer = Footer::decode(file.last_chunk()?, file.len() as u64)?;
    // All of it lies within: the footer's parts add up to the file's length.
    let body = file.slice(..usize::try_from(footer.body).ok()?);
    let meta_at = usize::try_from(footer.meta_at()).ok()?;
    let blocks = &file[body.len()..meta_at];
    let is_block_good = body.is_empty() || blocks == checksum(&body).to_be_bytes();
    let meta = file.slice(meta_at..file.len() - Footer::LENGTH);
    let is_good = is_block_good
        && checksum(blocks) == footer.blocks_checksum
        && checksum(&meta) == footer.meta_checksum;
    is_good.then(|| Meta::decode(&meta)).flatten().map(|meta| (meta, body))
}
