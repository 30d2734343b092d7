//! A file in the making.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use crc32fast::Hasher;

use super::files::{Files, Name, Op};
use super::format::{BLOCK, Footer, checksum, encode_blocks};
use crate::cache::meta::Meta;

/// A file in the making; gone when dropped before it is in place.
pub struct Writer {
    files: Files,
    name: Name,
    file: Arc<File>,
    path: Option<PathBuf>,
    length: u64,
    blocks: Vec<u32>,
    block: Hasher,
}

impl Writer {
    /// Begins a file. With `expected` bytes reserved, a full disk says so now.
    pub fn create(files: &Files, name: Name, expected: Option<u64>) -> io::Result<Self> {
        let (file, path) = files.create(&name)?;
        let writer = Self {
            files: files.clone(),
            name,
            file: Arc::new(file),
            path: Some(path),
            length: 0,
            blocks: Vec::new(),
            block: Hasher::new(),
        };
        if let Some(expected) = expected.filter(|expected| *expected > 0) {
            writer.reserve(expected)?;
        }
        Ok(writer)
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        self.files.faults.check(Op::Write)?;
        use rustix::fs::{FallocateFlags, fallocate};
        match fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, bytes) {
            // Not every file system can; then it turns out later.
            Err(rustix::io::Errno::NOSPC) => Err(rustix::io::Errno::NOSPC.into()),
            _ => Ok(()),
        }
    }

    /// What is written can be read at once through this.
    pub fn file(&self) -> Arc<File> {
        self.file.clone()
    }

    /// Writes the next bytes of the body.
    pub fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.files.faults.check(Op::Write)?;
        self.file.write_all_at(bytes, self.length)?;
        while !bytes.is_empty() {
            let room = BLOCK - (self.length % BLOCK as u64) as usize;
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.block.update(now);
            self.length += now.len() as u64;
            if self.length.is_multiple_of(BLOCK as u64) {
                self.end_block();
            }
            bytes = later;
        }
        Ok(())
    }

    /// Ends the file and moves it into place. Gives its length.
    pub fn commit(mut self, meta: &Meta) -> io::Result<u64> {
        if !self.length.is_multiple_of(BLOCK as u64) {
            self.end_block();
        }
        self.files.faults.check(Op::Write)?;
        let blocks = encode_blocks(&self.blocks);
        let tail = [&blocks[..], &encode_tail(meta, self.length, &blocks)?].concat();
        self.file.write_all_at(&tail, self.length)?;
        // What was reserved beyond is given back.
        let file_length = self.length + tail.len() as u64;
        self.file.set_len(file_length)?;
        if let Some(path) = &self.path {
            self.files.put_in_place(path, &self.name)?;
        }
        self.path = None;
        Ok(file_length)
    }

    fn end_block(&mut self) {
        self.blocks.push(std::mem::take(&mut self.block).finalize());
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}

/// Meta and footer.
fn encode_tail(meta: &Meta, body: u64, blocks: &[u8]) -> io::Result<Vec<u8>> {
    let mut tail = meta.encode();
    let length = u32::try_from(tail.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let footer =
        Footer { body, meta: length, meta_checksum: checksum(&tail), blocks_checksum: checksum(blocks) };
    tail.extend_from_slice(&footer.encode());
    Ok(tail)
}

/// Replaces the meta of a file in place. One that is cut off on the way ends as a file that is no good, and is
/// thrown away. Gives the file's length.
pub(super) fn replace_meta(
    files: &Files,
    name: &Name,
    meta: &Meta,
    blocks: &[u32],
    body: u64,
) -> io::Result<u64> {
    files.faults.check(Op::Write)?;
    let file = File::options().write(true).open(files.path(name))?;
    let blocks = encode_blocks(blocks);
    let tail = encode_tail(meta, body, &blocks)?;
    let at = body + blocks.len() as u64;
    let mut cursor = &file;
    io::Seek::seek(&mut cursor, io::SeekFrom::Start(at))?;
    cursor.write_all(&tail)?;
    let file_length = at + tail.len() as u64;
    file.set_len(file_length)?;
    Ok(file_length)
}
