//! What a form carries to show that it is one of ours.

use std::io;

use aws_lc_rs::hmac::{self, HMAC_SHA256, Key};
use aws_lc_rs::rand::SystemRandom;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Makes tokens for one process, and knows them again. One is good for one act of one administrator; what it was made
/// from is not in it, so that it can be neither made nor changed elsewhere.
pub(super) struct Tokens(Key);

impl Tokens {
    pub(super) fn new() -> io::Result<Self> {
        let key = Key::generate(HMAC_SHA256, &SystemRandom::new());
        key.map(Self).map_err(|_| io::Error::other("the system has no random numbers"))
    }

    /// For the administrator with the serial number `by` to revoke the certificate with `serial`.
    pub(super) fn make(&self, by: &str, serial: &str) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, &act(by, serial)))
    }

    /// Whether `token` is the one for that. Takes the same time wherever it differs.
    pub(super) fn is_good(&self, token: &str, by: &str, serial: &str) -> bool {
        let expected = self.make(by, serial);
        aws_lc_rs::constant_time::verify_slices_are_equal(token.as_bytes(), expected.as_bytes()).is_ok()
    }
}

/// Serial numbers are hexadecimal: no other two make the same bytes.
fn act(by: &str, serial: &str) -> Vec<u8> {
    format!("revoke {serial} by {by}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_one_act_of_one_administrator_in_one_process() {
        let tokens = Tokens::new().unwrap();
        let token = tokens.make("0A", "0B");
        assert!(tokens.is_good(&token, "0A", "0B"));
        assert!(!tokens.is_good(&token, "0A", "0C") && !tokens.is_good(&token, "0B", "0A"));
        assert!(!tokens.is_good(&token[1..], "0A", "0B") && !tokens.is_good("", "0A", "0B"));
        assert!(!Tokens::new().unwrap().is_good(&token, "0A", "0B"));
    }
}
