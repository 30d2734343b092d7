//! The figures that are kept.

use std::ops::{Index, IndexMut};

use crate::metrics::{Status, Totals};

/// Something that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Requests answered with 2xx.
    Success,
    /// Requests answered with 3xx.
    Redirection,
    /// Requests answered with 4xx, but for clients that left (499).
    ClientError,
    /// Requests answered with 5xx.
    ServerError,
    /// Requests whose client left before there was an answer.
    Aborted,
    /// Bytes of bodies sent to clients.
    Bytes,
    /// Those of them that were nars.
    NarBytes,
    /// Narinfos that were there.
    NarinfoFound,
    /// Narinfos that were not.
    NarinfoAbsent,
    /// Answers from the cache, those among them that the backend confirmed.
    CacheHits,
    /// Answers that could have come from the cache, and did not.
    CacheMisses,
    /// Answers from the cache past their date, because the backend had none.
    CacheStale,
    /// Requests that a backend failed.
    BackendErrors,
    /// TLS handshakes.
    Handshakes,
}

impl Figure {
    /// All of them, in the order in which [`Counts`] has them.
    pub const ALL: [Self; 14] = [
        Self::Success,
        Self::Redirection,
        Self::ClientError,
        Self::ServerError,
        Self::Aborted,
        Self::Bytes,
        Self::NarBytes,
        Self::NarinfoFound,
        Self::NarinfoAbsent,
        Self::CacheHits,
        Self::CacheMisses,
        Self::CacheStale,
        Self::BackendErrors,
        Self::Handshakes,
    ];

    /// Every request is one of these.
    pub const REQUESTS: [Self; 5] =
        [Self::Success, Self::Redirection, Self::ClientError, Self::ServerError, Self::Aborted];

    /// As the file has it: a later version may count other things, and still read what it knows.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
            Self::Aborted => "aborted",
            Self::Bytes => "bytes",
            Self::NarBytes => "nar-bytes",
            Self::NarinfoFound => "narinfo-found",
            Self::NarinfoAbsent => "narinfo-absent",
            Self::CacheHits => "cache-hits",
            Self::CacheMisses => "cache-misses",
            Self::CacheStale => "cache-stale",
            Self::BackendErrors => "backend-errors",
            Self::Handshakes => "handshakes",
        }
    }
}

/// A number for each figure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; Figure::ALL.len()]);

impl Counts {
    /// All requests.
    pub fn requests(&self) -> u64 {
        Figure::REQUESTS.into_iter().fold(0, |sum, figure| sum.saturating_add(self[figure]))
    }

    /// What was added since `earlier`. A figure that went back, which none should, counts as nothing.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut difference = *self;
        for figure in Figure::ALL {
            difference[figure] = self[figure].saturating_sub(earlier[figure]);
        }
        difference
    }

    /// Adds `more`.
    pub fn add(&mut self, more: &Self) {
        for figure in Figure::ALL {
            self[figure] = self[figure].saturating_add(more[figure]);
        }
    }
}

impl From<&Totals> for Counts {
    fn from(totals: &Totals) -> Self {
        let mut counts = Self::default();
        for (status, count) in Status::ALL.into_iter().zip(totals.by_status) {
            counts[match status {
                Status::Success => Figure::Success,
                Status::Redirection => Figure::Redirection,
                Status::ClientError => Figure::ClientError,
                Status::ServerError => Figure::ServerError,
                Status::ClientGone => Figure::Aborted,
            }] = count;
        }
        for (figure, count) in [
            (Figure::Bytes, totals.bytes_out),
            (Figure::NarBytes, totals.nar_bytes),
            (Figure::NarinfoFound, totals.narinfos.found),
            (Figure::NarinfoAbsent, totals.narinfos.absent),
            (Figure::CacheHits, totals.cache_hits),
            (Figure::CacheMisses, totals.cache_misses),
            (Figure::CacheStale, totals.cache_stale),
            (Figure::BackendErrors, totals.backend_errors),
            (Figure::Handshakes, totals.handshakes),
        ] {
            counts[figure] = count;
        }
        counts
    }
}

impl Index<Figure> for Counts {
    type Output = u64;

    fn index(&self, figure: Figure) -> &u64 {
        &self.0[figure as usize]
    }
}

impl IndexMut<Figure> for Counts {
    fn index_mut(&mut self, figure: Figure) -> &mut u64 {
        &mut self.0[figure as usize]
    }
}
