//! Base 32 as Nix and Guix write hashes: digits without e, o, t and u; the last five bits come first.

const DIGITS: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";

/// `bytes` in that form. Each value has one.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let length = (bytes.len() * 8).div_ceil(5);
    (0..length)
        .rev()
        .map(|position| {
            let bit = position * 5;
            let low = u16::from(bytes[bit / 8]);
            let high = u16::from(bytes.get(bit / 8 + 1).copied().unwrap_or(0));
            char::from(DIGITS[usize::from((low | high << 8) >> (bit % 8) & 31)])
        })
        .collect()
}

/// Whether each character is a digit of it.
pub(crate) fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| DIGITS.contains(&byte))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::{SHA256, digest};

    use super::*;

    /// Of SHA-256 of nothing, as `nix-hash --type sha256 --to-base32` and Guix's tests have it.
    #[test]
    fn nix_base32_writes_what_nix_writes() {
        let empty = encode(digest(&SHA256, b"").as_ref());

        assert_eq!(empty, "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73");
        assert!(is_digits(&empty) && !is_digits("e") && !is_digits("A"));
    }
}
