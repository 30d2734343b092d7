//! Bodies on their way to a client.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use pingora::ErrorType;

use super::miss::Follower;
use super::origin::{Arriving, Failure};
use super::space::Space;
use super::storage::{BLOCK, Stored};

/// Where a body comes from.
pub enum Body {
    /// There is none.
    Empty,
    /// From memory, in one piece.
    Memory(Bytes),
    /// From disk.
    Stored(Box<Reading>),
    /// From a fetch that is under way.
    Filling(Follower),
    /// From the origin, for this client alone.
    Direct(Box<dyn Arriving>),
}

impl Body {
    /// Whether parts of it can be had in any order.
    pub fn can_seek(&self) -> bool {
        !matches!(self, Self::Direct(_))
    }

    /// Gives `range` only from now on. In a body that cannot seek, ranges have to ascend.
    pub fn seek(&mut self, range: Range<u64>) {
        match self {
            Self::Empty | Self::Direct(_) => {}
            Self::Memory(bytes) => {
                let end = (range.end as usize).min(bytes.len());
                *bytes = bytes.slice((range.start as usize).min(end)..end);
            }
            Self::Stored(reading) => (reading.position, reading.end) = (range.start, range.end),
            Self::Filling(follower) => follower.seek(range),
        }
    }

    /// Whether it is known that there is no more of it.
    pub fn is_at_end(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Memory(bytes) => bytes.is_empty(),
            Self::Stored(reading) => reading.position >= reading.end,
            Self::Filling(_) | Self::Direct(_) => false,
        }
    }

    /// The next bytes; none at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        match self {
            Self::Empty => Ok(None),
            Self::Memory(bytes) => Ok(Some(std::mem::take(bytes)).filter(|bytes| !bytes.is_empty())),
            Self::Stored(reading) => reading.next().await,
            Self::Filling(follower) => follower.next().await,
            Self::Direct(arriving) => arriving.next().await,
        }
    }
}

/// A stored body that is read block by block, each verified before any of it is sent.
pub struct Reading {
    stored: Stored,
    space: Arc<Space>,
    position: u64,
    end: u64,
    /// The first block was read when it was found out whether the file is good.
    first: Option<Bytes>,
}

impl Reading {
    pub(super) fn new(stored: Stored, space: Arc<Space>, first: Option<Bytes>) -> Self {
        Self { end: stored.length, stored, space, position: 0, first }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        if self.position >= self.end {
            return Ok(None);
        }
        let number = self.position / BLOCK as u64;
        let block = match self.first.take() {
            Some(first) if number == 0 => first,
            _ => self.block(number).await?,
        };
        let begin = number * BLOCK as u64;
        // Both lie within the block.
        let from = (self.position - begin) as usize;
        let to = (self.end - begin).min(block.len() as u64) as usize;
        self.position = begin + to as u64;
        Ok(Some(block.slice(from..to)))
    }

    async fn block(&self, number: u64) -> Result<Bytes, Failure> {
        let block = match self.stored.block_in_memory(number, self.stored.room(number)) {
            Ok(block) => block,
            Err(room) => {
                let stored = self.stored.clone();
                match tokio::task::spawn_blocking(move || stored.block(number, room)).await {
                    Ok(block) => block,
                    Err(_) => return Err(Failure::new(ErrorType::InternalError, "the program is stopping")),
                }
            }
        };
        block.map_err(|error| {
            // Some of it was sent. The client sees that it is not whole, and the next one gets a new copy.
            self.space.discard(&self.stored.meta.key, &self.stored.name);
            if error.kind() != std::io::ErrorKind::InvalidData {
                self.space.health.failed("read", &error);
            }
            Failure::new(ErrorType::FileReadError, format!("a stored response cannot be read: {error}"))
        })
    }
}
