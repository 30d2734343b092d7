//! What a file looks like.
//!
//! ```text
//! body             as it came
//! block checksums  4 bytes for each block of the body, the last of which may be short
//! meta             see `Meta::encode`
//! footer           32 bytes
//! ```
//!
//! The body comes first, so that it begins where pages do, and can be written before its length is known. Meta
//! can be replaced, when the origin says that the response is still good, without touching the body.

/// Bytes under one checksum: what is read and verified at a time.
pub const BLOCK: usize = 128 * 1024;

/// "fgcache" and the version of the format. Files of another version are thrown away.
const MAGIC: [u8; 8] = *b"fgcache\x01";

/// The end of a file, from which the rest is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    pub body: u64,
    pub meta: u32,
    pub meta_checksum: u32,
    pub blocks_checksum: u32,
}

impl Footer {
    pub const LENGTH: usize = 32;

    pub fn encode(&self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.body.to_be_bytes());
        bytes[16..20].copy_from_slice(&self.meta.to_be_bytes());
        bytes[20..24].copy_from_slice(&self.meta_checksum.to_be_bytes());
        bytes[24..28].copy_from_slice(&self.blocks_checksum.to_be_bytes());
        let own = checksum(&bytes[..28]);
        bytes[28..].copy_from_slice(&own.to_be_bytes());
        bytes
    }

    /// None when it is not one, or not that of a file of `file_length` bytes.
    pub fn decode(bytes: &[u8; Self::LENGTH], file_length: u64) -> Option<Self> {
        let four = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if bytes[..8] != MAGIC || four(28) != checksum(&bytes[..28]) {
            return None;
        }
        let body = u64::from(four(8)) << 32 | u64::from(four(12));
        let footer = Self { body, meta: four(16), meta_checksum: four(20), blocks_checksum: four(24) };
        (footer.file_length()? == file_length).then_some(footer)
    }

    /// Where the block checksums begin.
    pub fn blocks_at(&self) -> u64 {
        self.body
    }

    /// The bytes of all block checksums.
    pub fn blocks_length(&self) -> u64 {
        self.body.div_ceil(BLOCK as u64) * 4
    }

    /// Where meta begins.
    pub fn meta_at(&self) -> u64 {
        self.body + self.blocks_length()
    }

    fn file_length(&self) -> Option<u64> {
        let blocks = self.body.div_ceil(BLOCK as u64).checked_mul(4)?;
        self.body.checked_add(blocks)?.checked_add(u64::from(self.meta))?.checked_add(Self::LENGTH as u64)
    }
}

/// CRC-32: finds every flipped bit and every burst up to 32 bits, and misses one in four billion others.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// Block checksums as they stand in a file.
pub(super) fn encode_blocks(blocks: &[u32]) -> Vec<u8> {
    blocks.iter().flat_map(|block| block.to_be_bytes()).collect()
}

/// The reverse.
pub(super) fn decode_blocks(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks::<4>().0.iter().map(|four| u32::from_be_bytes(*four)).collect()
}
