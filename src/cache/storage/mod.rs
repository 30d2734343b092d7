//! Stored responses as files: one for each, written under a name of its own and moved into place when whole.
//!
//! **Nothing is synced to disk.** What a crash or a power failure may leave behind is a file that is empty,
//! short, or has blocks of something else in it. Every part of a file is under a checksum, and a reader looks
//! before it believes: such a file is thrown away and its content fetched again. Losing a cached file costs a
//! request to the backend, and syncing every one would cost more than that.
//!
//! Everything here blocks, but for [`Stored::block_in_memory`] and [`read_in_memory`].

mod files;
mod format;
mod read;
mod scan;
mod whole;
mod write;

pub use files::{Faults, Files, Name, NoFaults, Op};
pub use format::BLOCK;
pub use read::{Stored, examine};
pub use whole::read_in_memory;
pub use write::Writer;

#[cfg(test)]
mod tests;
