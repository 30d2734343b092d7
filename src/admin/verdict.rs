//! What the gate says about a client: who it is, or what it lacks.

use std::fmt;

/// Longest value that [`Administrator::header_safe_common_name`] gives. X.520 allows 64 characters in a name.
const HEADER_VALUE_MAX: usize = 128;

/// Somebody whose certificate was valid at the moment of judging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Administrator {
    /// The last common name in the subject, as the CA signed it; empty if there is none. Any character can be
    /// in it: see [`Self::header_safe_common_name`].
    pub common_name: String,
    /// The serial number, in upper-case hexadecimal without separators, as `openssl x509 -serial` prints it.
    pub serial: String,
}

impl Administrator {
    /// The common name for a header or a line of a log: all but visible ASCII percent-encoded, `%` too, so
    /// that it can be decoded; cut before the first character that would make it longer than 128.
    pub fn header_safe_common_name(&self) -> String {
        let mut safe = String::new();
        for character in self.common_name.chars() {
            let mut piece = String::new();
            for &byte in character.encode_utf8(&mut [0; 4]).as_bytes() {
                if byte.is_ascii_graphic() && byte != b'%' {
                    piece.push(char::from(byte));
                } else {
                    piece.push_str(&format!("%{byte:02X}"));
                }
            }
            if safe.len() + piece.len() > HEADER_VALUE_MAX {
                break;
            }
            safe.push_str(&piece);
        }
        safe
    }
}

/// Why a client is no administrator. That a certificate is expired, revoked or made for something else is
/// said only once a trusted CA is known to have signed it: any other is from an unknown issuer, whatever it
/// says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The client showed no certificate. Usually: a browser without one, or whose user pressed "cancel".
    NoCertificate,
    /// The gate has nothing to judge by. See [`super::Gate::closed_because`].
    Closed,
    /// No chain of signatures that this gate accepts leads from the certificate to the client CA.
    UnknownIssuer,
    /// A certificate of the chain is not valid yet. Usually: a clock is wrong.
    NotYetValid,
    /// A certificate of the chain, perhaps the CA's own, is no longer valid.
    Expired,
    /// A certificate of the chain is on a revocation list.
    Revoked,
    /// From the right CA, but made for something else: a server, or a CA itself.
    NotForClients,
    /// It cannot be read, or carries a critical extension that this gate does not know.
    Malformed,
}

impl Refusal {
    /// Every refusal there is: for metrics that want all their labels from the start.
    pub const ALL: [Self; 8] = [
        Self::NoCertificate,
        Self::Closed,
        Self::UnknownIssuer,
        Self::NotYetValid,
        Self::Expired,
        Self::Revoked,
        Self::NotForClients,
        Self::Malformed,
    ];

    /// One word, for logs and metrics.
    pub fn token(self) -> &'static str {
        match self {
            Self::NoCertificate => "no-certificate",
            Self::Closed => "closed",
            Self::UnknownIssuer => "unknown-issuer",
            Self::NotYetValid => "not-yet-valid",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::NotForClients => "not-for-clients",
            Self::Malformed => "malformed",
        }
    }

    /// A sentence or two for the person in front of the browser.
    pub fn what_is_missing(self) -> &'static str {
        match self {
            Self::NoCertificate => {
                "These pages need a client certificate, and your browser sent none. \
                 Install the one you were given, restart the browser, and choose it when asked."
            }
            Self::Closed => {
                "These pages are closed: the gate has no usable client CA, revocation list or register to judge \
                 certificates by. \
                 The operator of this server finds the reason with \"farmgate check\"."
            }
            Self::UnknownIssuer => {
                "Your certificate does not lead to a CA that this gate trusts for administrators. \
                 Ask the operator for one, or choose another certificate."
            }
            Self::NotYetValid => {
                "Your certificate, or one it depends on, is not valid yet. \
                 If it was made just now, wait a minute; else a clock is wrong, there or here."
            }
            Self::Expired => {
                "Your certificate, or one it depends on, has expired. Ask the operator for a new one."
            }
            Self::Revoked => {
                "Your certificate, or one it depends on, has been revoked. Ask the operator for a new one."
            }
            Self::NotForClients => {
                "Your certificate was made for something other than to identify a person: a server \
                 or a CA, for example. \
                 Ask the operator for a client certificate."
            }
            Self::Malformed => {
                "Your certificate cannot be read, or demands something that this gate does not know. \
                 Ask the operator for a new one."
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoCertificate => "no client certificate",
            Self::Closed => "the gate is closed",
            Self::UnknownIssuer => "client certificate from an unknown issuer",
            Self::NotYetValid => "client certificate or its issuer not valid yet",
            Self::Expired => "client certificate or its issuer expired",
            Self::Revoked => "client certificate or its issuer revoked",
            Self::NotForClients => "certificate not made for clients",
            Self::Malformed => "client certificate malformed",
        })
    }
}

impl std::error::Error for Refusal {}
