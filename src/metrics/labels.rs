//! The values that labels can have: all of them, known when the program is built.

use crate::admin::Refusal;
use crate::cache::Outcome;
use crate::route::{Door, Substitute};

/// Enumerations whose variants are indices of arrays, and words in what is scraped.
macro_rules! labels {
    ($($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $token:literal,)* })*) => {$(
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// All of them, in the order of their indices.
            pub const ALL: [Self; [$($token),*].len()] = [$(Self::$variant),*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Its place in an array of `COUNT`.
            pub const fn index(self) -> usize {
                self as usize
            }

            /// The label's value.
            pub const fn token(self) -> &'static str {
                match self { $(Self::$variant => $token,)* }
            }
        }
    )*};
}

labels! {
    /// What was asked for, by the row of the route table.
    Route {
        /// The admin pages.
        Admin = "admin",
        /// Below `/.well-known`.
        WellKnown = "well-known",
        /// `/robots.txt`.
        Robots = "robots",
        /// `/nix-cache-info`.
        CacheInfo = "nix-cache-info",
        /// `/….narinfo`.
        Narinfo = "narinfo",
        /// Below `/nar`.
        Nar = "nar",
        /// Below `/file`.
        File = "file",
        /// `/signing-key.pub`.
        SigningKey = "signing-key",
        /// Below `/log`.
        Log = "log",
        /// Below `/static`.
        Static = "static",
        /// Below `/download`.
        Download = "download",
        /// Everything else: the CI's pages.
        Page = "page",
        /// What was no request, or had no target that leads anywhere.
        Malformed = "malformed",
    }

    /// How a request was answered.
    Status {
        /// 200 to 299.
        Success = "2xx",
        /// 300 to 399.
        Redirection = "3xx",
        /// 400 to 499, without 499.
        ClientError = "4xx",
        /// 500 to 599.
        ServerError = "5xx",
        /// Not at all: the client left before there was an answer. The access log has it as 499.
        ClientGone = "499",
    }

    /// What a request came over. HTTP/2 is spoken within TLS only.
    Protocol {
        /// HTTP/1.0 or older, in the clear.
        Http10 = "http/1.0",
        /// HTTP/1.1, in the clear.
        Http11 = "http/1.1",
        /// HTTP/1.0 or older, within TLS.
        TlsHttp10 = "tls http/1.0",
        /// HTTP/1.1, within TLS.
        TlsHttp11 = "tls http/1.1",
        /// HTTP/2.
        TlsHttp2 = "tls h2",
    }

    /// How a nar was compressed.
    Compression {
        /// gzip.
        Gzip = "gzip",
        /// lzip.
        Lzip = "lzip",
        /// Zstandard.
        Zstd = "zstd",
        /// Not at all.
        None = "none",
    }

    /// What the cache did with a request.
    CacheOutcome {
        /// Answered from what was stored, fresh.
        Hit = "hit",
        /// Answered from what was stored, past its time: while it is asked for anew, or as the backend failed.
        Stale = "stale",
        /// Answered from what was stored after the backend said that it is still good.
        Revalidated = "revalidated",
        /// Answered with what the backend sent.
        Miss = "miss",
    }

    /// A part of the cache.
    Space {
        /// `/static` and `/download`.
        Static = "static",
        /// Finished build logs.
        Logs = "logs",
    }

    /// One of a site's two backends.
    Role {
        /// `guix publish`.
        Publish = "publish",
        /// Cuirass.
        Ci = "ci",
    }

    /// A version of TLS.
    TlsVersion {
        /// TLS 1.2.
        Tls12 = "1.2",
        /// TLS 1.3.
        Tls13 = "1.3",
    }

    /// Why there was no TLS connection in the end.
    HandshakeFailure {
        /// It took longer than `limits.header_timeout`.
        Timeout = "timeout",
        /// The client left.
        Closed = "closed",
        /// The two could not agree, or what came was no TLS.
        Protocol = "protocol",
    }

    /// What was refused on HTTP/2 connections, besides requests that got an answer.
    Http2Refusal {
        /// A request that was malformed. It was answered.
        Malformed = "malformed",
        /// A request that was taken back before anybody came to look at it.
        Reset = "reset",
        /// An answer whose client took nothing of it for too long.
        Stalled = "stalled",
        /// A connection with too many frames, resets, streams or malformed requests.
        Flood = "flood",
        /// A connection on which a preface or a head did not come in time.
        SlowHead = "slow-head",
        /// A connection that broke the protocol.
        Protocol = "protocol",
    }

    /// Why a request got none of what it asked for, by the limits.
    Refused {
        /// More than `limits.requests` allows.
        Rate = "rate",
        /// From a program that `limits.refused_agents` names.
        Agent = "agent",
        /// There was no room for its body in time, by `limits.bodies`.
        Bodies = "bodies",
    }

    /// What something had to wait for, by the limits.
    Share {
        /// The rate of its connection, `limits.nar_rate`.
        NarRate = "nar_rate",
        /// Its turn, by `limits.total_rate`.
        TotalRate = "total_rate",
        /// Room for a body, by `limits.bodies`.
        Bodies = "bodies",
    }

    /// What was said about somebody who wanted to see an admin page.
    Verdict {
        /// Let in.
        Admitted = "admitted",
        /// Showed no certificate.
        NoCertificate = "no-certificate",
        /// There is nothing to judge by.
        Closed = "closed",
        /// From another CA.
        UnknownIssuer = "unknown-issuer",
        /// Not valid yet.
        NotYetValid = "not-yet-valid",
        /// No longer valid.
        Expired = "expired",
        /// Revoked.
        Revoked = "revoked",
        /// Made for something else.
        NotForClients = "not-for-clients",
        /// Cannot be read.
        Malformed = "malformed",
        /// Another site had the browser ask.
        CrossSite = "cross-site",
        /// Came without TLS.
        PlainHttp = "plain-http",
    }
}

impl From<Door> for Route {
    fn from(door: Door) -> Self {
        match door {
            Door::Admin => Self::Admin,
            Door::AcmeChallenge | Door::WellKnown => Self::WellKnown,
            Door::Robots => Self::Robots,
            Door::Substitute(Substitute::CacheInfo) => Self::CacheInfo,
            Door::Substitute(Substitute::Narinfo) => Self::Narinfo,
            Door::Substitute(Substitute::Nar) => Self::Nar,
            Door::Substitute(Substitute::File) => Self::File,
            Door::Substitute(Substitute::SigningKey) => Self::SigningKey,
            Door::Log => Self::Log,
            Door::Static => Self::Static,
            Door::Download => Self::Download,
            Door::Other => Self::Page,
        }
    }
}

impl From<u16> for Status {
    /// Of a status code as the access log has it.
    fn from(code: u16) -> Self {
        match code {
            499 => Self::ClientGone,
            ..300 => Self::Success,
            300..400 => Self::Redirection,
            400..500 => Self::ClientError,
            500.. => Self::ServerError,
        }
    }
}

impl From<Outcome> for CacheOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Hit => Self::Hit,
            Outcome::Stale => Self::Stale,
            Outcome::Validated => Self::Revalidated,
            Outcome::Missed => Self::Miss,
        }
    }
}

impl From<Refusal> for Verdict {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoCertificate => Self::NoCertificate,
            Refusal::Closed => Self::Closed,
            Refusal::UnknownIssuer => Self::UnknownIssuer,
            Refusal::NotYetValid => Self::NotYetValid,
            Refusal::Expired => Self::Expired,
            Refusal::Revoked => Self::Revoked,
            Refusal::NotForClients => Self::NotForClients,
            Refusal::Malformed => Self::Malformed,
        }
    }
}

impl Compression {
    /// How the nar is compressed that `path` names: `guix publish` says it in the segment behind `/nar`.
    pub fn of_path(path: &[u8]) -> Self {
        let mut segments = path.split(|&byte| byte == b'/').filter(|segment| !segment.is_empty()).skip(1);
        match (segments.next(), segments.next()) {
            (Some(b"gzip"), Some(_)) => Self::Gzip,
            (Some(b"lzip"), Some(_)) => Self::Lzip,
            (Some(b"zstd"), Some(_)) => Self::Zstd,
            _ => Self::None,
        }
    }
}

impl Protocol {
    /// Of a request of that version.
    pub fn of(version: http::Version, tls: bool) -> Self {
        match (version, tls) {
            (http::Version::HTTP_2, _) => Self::TlsHttp2,
            (http::Version::HTTP_11, false) => Self::Http11,
            (http::Version::HTTP_11, true) => Self::TlsHttp11,
            (_, false) => Self::Http10,
            (_, true) => Self::TlsHttp10,
        }
    }

    /// "1.0", "1.1" or "2".
    pub(super) fn version(self) -> &'static str {
        match self {
            Self::Http10 | Self::TlsHttp10 => "1.0",
            Self::Http11 | Self::TlsHttp11 => "1.1",
            Self::TlsHttp2 => "2",
        }
    }

    /// "http" or "https".
    pub(super) fn scheme(self) -> &'static str {
        match self {
            Self::Http10 | Self::Http11 => "http",
            Self::TlsHttp10 | Self::TlsHttp11 | Self::TlsHttp2 => "https",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_is_at_its_own_index_and_has_its_own_word() {
        fn check<T: Copy>(all: &[T], index: impl Fn(T) -> usize, token: impl Fn(T) -> &'static str) {
            let tokens: std::collections::BTreeSet<_> = all.iter().map(|&one| token(one)).collect();
            assert_eq!(tokens.len(), all.len());
            all.iter().enumerate().for_each(|(at, &one)| assert_eq!(index(one), at));
        }
        check(&Route::ALL, Route::index, Route::token);
        check(&Status::ALL, Status::index, Status::token);
        check(&Protocol::ALL, Protocol::index, Protocol::token);
        check(&Verdict::ALL, Verdict::index, Verdict::token);
    }

    #[test]
    fn a_refusal_is_called_the_same_here_and_there() {
        for refusal in Refusal::ALL {
            assert_eq!(Verdict::from(refusal).token(), refusal.token());
        }
    }

    #[test]
    fn the_compression_is_the_segment_behind_nar() {
        assert_eq!(Compression::of_path(b"/nar/gzip/abc-hello"), Compression::Gzip);
        assert_eq!(Compression::of_path(b"//nar//lzip/abc-hello"), Compression::Lzip);
        assert_eq!(Compression::of_path(b"/nar/zstd/abc-hello"), Compression::Zstd);
        assert_eq!(Compression::of_path(b"/nar/abc-hello"), Compression::None);
        // A store item of that name.
        assert_eq!(Compression::of_path(b"/nar/gzip"), Compression::None);
    }
}
