//! Reading a file that may be anything.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rustix::io::{ReadWriteFlags, preadv2};

use super::files::{Faults, Files, Name, NoFaults, Op};
use super::format::{BLOCK, Footer, checksum, decode_blocks};
use super::write::replace_meta;
use crate::cache::meta::Meta;

/// A file that was opened, and whose checksums so far are right.
#[derive(Clone)]
pub struct Stored {
    /// Which one.
    pub name: Name,
    /// What it says of itself.
    pub meta: Arc<Meta>,
    /// The bytes of its body.
    pub length: u64,
    file: Arc<File>,
    blocks: Arc<[u32]>,
    faults: Arc<dyn Faults>,
}

impl Stored {
    /// Opens `name`, whose body has `length` bytes, and verifies all but the body. An error of kind `InvalidData`
    /// means that the file is no good.
    pub fn open(files: &Files, name: Name, length: u64) -> io::Result<Self> {
        files.faults.check(Op::Open)?;
        let file = File::open(files.path(&name))?;
        let (footer, meta) = read_end(&file)?;
        if meta.key.digest() != name.digest {
            return Err(no_good("another key"));
        }
        if footer.body != length {
            return Err(no_good("another length"));
        }
        files.faults.check(Op::Read)?;
        Self::with_end(file, name, &footer, meta, files.faults.clone())
    }

    /// The file whose end was read.
    fn with_end(
        file: File,
        name: Name,
        footer: &Footer,
        meta: Meta,
        faults: Arc<dyn Faults>,
    ) -> io::Result<Self> {
        let mut blocks = vec![0; usize::try_from(footer.blocks_length()).map_err(|_| no_good("blocks"))?];
        file.read_exact_at(&mut blocks, footer.blocks_at())?;
        if checksum(&blocks) != footer.blocks_checksum {
            return Err(no_good("block checksums"));
        }
        let blocks = decode_blocks(&blocks).into();
        Ok(Self { name, meta: Arc::new(meta), length: footer.body, file: Arc::new(file), blocks, faults })
    }

    /// Room for the block with that number.
    ///
    /// It is asked for where it will be let go of, on a worker's thread, and never on one of the threads that read:
    /// the allocator keeps for each thread what that one allocated and others freed, and there are many of them.
    pub fn room(&self, number: u64) -> BytesMut {
        BytesMut::zeroed(self.length_of(number))
    }

    /// The block with that number, verified, in its [`Self::room`].
    pub fn block(&self, number: u64, mut room: BytesMut) -> io::Result<Bytes> {
        self.faults.check(Op::Read)?;
        self.file.read_exact_at(&mut room, number * BLOCK as u64)?;
        self.verify(number, &room)?;
        Ok(room.freeze())
    }

    /// The same, if its pages are in memory: then nothing is waited for. Otherwise, or when the file system does
    /// not know how to say so, the room is given back.
    pub fn block_in_memory(&self, number: u64, mut room: BytesMut) -> Result<io::Result<Bytes>, BytesMut> {
        if let Err(error) = self.faults.check(Op::Read) {
            return Ok(Err(error));
        }
        let mut slices = [IoSliceMut::new(&mut room)];
        match preadv2(&self.file, &mut slices, number * BLOCK as u64, ReadWriteFlags::NOWAIT) {
            Ok(count) if count == room.len() => Ok(self.verify(number, &room).map(|()| room.freeze())),
            _ => Err(room),
        }
    }

    /// The beginning of the body, or all of it, verified: as many blocks as there is room for.
    pub fn beginning(&self, mut room: BytesMut) -> io::Result<Bytes> {
        if room.is_empty() {
            return Ok(Bytes::new());
        }
        self.faults.check(Op::Read)?;
        self.file.read_exact_at(&mut room, 0)?;
        for (number, block) in (0..).zip(room.chunks(BLOCK)) {
            self.verify(number, block)?;
        }
        Ok(room.freeze())
    }

    /// Puts `meta` in place of what the file says of itself. Gives the file's length.
    pub fn replace_meta(&self, files: &Files, meta: &Meta) -> io::Result<u64> {
        replace_meta(files, &self.name, meta, &self.blocks, self.length)
    }

    fn length_of(&self, number: u64) -> usize {
        // At most a block.
        (self.length - number * BLOCK as u64).min(BLOCK as u64) as usize
    }

    fn verify(&self, number: u64, block: &[u8]) -> io::Result<()> {
        let expected = usize::try_from(number).ok().and_then(|at| self.blocks.get(at));
        if expected == Some(&checksum(block)) { Ok(()) } else { Err(no_good("body")) }
    }
}

/// Reads a file of the cache from end to end, as serving it would: what it says of itself, as it stands in the file, and
/// the bytes of its body.
///
/// # Errors
///
/// Where it cannot be read; of kind `InvalidData` or `UnexpectedEof` where it is no good.
pub fn examine(file: File) -> io::Result<(Vec<u8>, u64)> {
    let (footer, meta) = read_end(&file)?;
    let name = Name::new(meta.key.digest());
    let stored = Stored::with_end(file, name, &footer, meta, Arc::new(NoFaults))?;
    for number in 0..stored.length.div_ceil(BLOCK as u64) {
        stored.block(number, stored.room(number))?;
    }
    Ok((stored.meta.encode(), stored.length))
}

/// The footer and meta of a file.
pub(super) fn read_end(file: &File) -> io::Result<(Footer, Meta)> {
    let length = file.metadata()?.len();
    let at = length.checked_sub(Footer::LENGTH as u64).ok_or_else(|| no_good("too short"))?;
    let mut end = [0; Footer::LENGTH];
    file.read_exact_at(&mut end, at)?;
    let footer = Footer::decode(&end, length).ok_or_else(|| no_good("footer"))?;
    let mut meta = vec![0; footer.meta as usize];
    file.read_exact_at(&mut meta, footer.meta_at())?;
    if checksum(&meta) != footer.meta_checksum {
        return Err(no_good("meta checksum"));
    }
    Ok((footer, Meta::decode(&meta.into()).ok_or_else(|| no_good("meta"))?))
}

fn no_good(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not as it was written: {what}"))
}
