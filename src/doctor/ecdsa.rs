//! The signatures of Guix: ECDSA over the Edwards curve of Ed25519, as libgcrypt makes and checks it. Not EdDSA.
//!
//! The arithmetic of the curve is curve25519-dalek's. What is here is the equation (FIPS 186-5 section 6.4.2), and
//! what libgcrypt means by its parts where the standard, which knows no such curve, leaves it open: a hash longer than
//! the order is cut on the right, and the number that is compared with `r` is the x coordinate of the Edwards curve.
//! There is nothing secret, so nothing need take constant time.

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity;
use num_bigint::BigUint;

/// The order of the base point has 253 bits; SHA-256 has three more.
const SURPLUS_BITS: u32 = 3;
/// What libgcrypt may put before a point in this form.
const NATIVE: u8 = 0x40;

/// A signature: two numbers, big-endian, of any length.
#[derive(Clone, Debug)]
pub(super) struct Signature {
    pub(super) r: Vec<u8>,
    pub(super) s: Vec<u8>,
}

/// A point on the curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PublicKey(EdwardsPoint);

impl PublicKey {
    /// Reads the `q` of a key: RFC 8032 section 5.1.2, with libgcrypt's prefix or without.
    pub(super) fn read(q: &[u8]) -> Option<Self> {
        let q = match q {
            [NATIVE, rest @ ..] if rest.len() == 32 => rest,
            q => q,
        };
        CompressedEdwardsY::from_slice(q).ok()?.decompress().map(Self)
    }

    /// Whether the holder of this key signed `digest`, a SHA-256.
    pub(super) fn verifies(&self, digest: &[u8; 32], signature: &Signature) -> bool {
        let (Some(r), Some(s)) = (scalar(&signature.r), scalar(&signature.s)) else { return false };
        let hash =
            Scalar::from_bytes_mod_order(little_endian(&(BigUint::from_bytes_be(digest) >> SURPLUS_BITS)));
        // Not zero: `scalar` saw to that.
        let inverse = s.invert();
        let point =
            EdwardsPoint::vartime_double_scalar_mul_basepoint(&(r * inverse), &self.0, &(hash * inverse));
        !point.is_identity() && has_x(&point, &BigUint::from_bytes_be(&signature.r))
    }
}

/// A number from 1 up to the order of the base point.
fn scalar(big_endian: &[u8]) -> Option<Scalar> {
    let number = BigUint::from_bytes_be(big_endian);
    let number = (number.bits() <= 256).then(|| little_endian(&number))?;
    let scalar = Option::<Scalar>::from(Scalar::from_canonical_bytes(number))?;
    (scalar != Scalar::ZERO).then_some(scalar)
}

/// `number`, which has at most 256 bits.
fn little_endian(number: &BigUint) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (to, from) in bytes.iter_mut().zip(number.to_bytes_le()) {
        *to = from;
    }
    bytes
}

/// Whether the x coordinate of `point` is `r` modulo the order of the base point.
///
/// The coordinates of a point can be had as RFC 8032 writes them only: y, and whether x is odd. That leaves one x, the
/// one of that kind that fits the curve's equation. The order is about an eighth of the field's size: so few numbers
/// are `r` modulo the order.
fn has_x(point: &EdwardsPoint, r: &BigUint) -> bool {
    let Curve { p, d, order } = Curve::ed25519();
    let mut compressed = point.compress().to_bytes();
    let odd = compressed[31] >> 7 == 1;
    compressed[31] &= 0x7f;
    let y_squared = BigUint::from_bytes_le(&compressed).pow(2) % &p;
    let mut x = r.clone();
    while x < p {
        let x_squared = x.pow(2) % &p;
        // −x² + y² = 1 + d·x²·y², with the minus on the other side.
        let fits = y_squared == (&x_squared + 1_u32 + &d * &x_squared % &p * &y_squared) % &p;
        if fits && x.bit(0) == odd {
            return true;
        }
        x += &order;
    }
    false
}

/// What RFC 8032 section 5.1 calls p, d and L.
struct Curve {
    p: BigUint,
    d: BigUint,
    order: BigUint,
}

impl Curve {
    fn ed25519() -> Self {
        let one = BigUint::from(1_u32);
        let p = (&one << 255_u32) - 19_u32;
        // −121665/121666: division is a power (Fermat).
        let d = (&p - 121_665_u32) * BigUint::from(121_666_u32).modpow(&(&p - 2_u32), &p) % &p;
        let order = (&one << 252_u32) + 27_742_317_777_372_353_535_851_937_790_883_648_493_u128;
        Self { p, d, order }
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::{SHA256, digest};

    use super::*;
    use crate::doctor::sexp::Sexp;

    /// Made by libgcrypt 1.10.1 from `(genkey (ecdsa (curve Ed25519) (flags rfc6979)))`, one key and one signature of
    /// SHA-256 of the text each; checked there as well. `tests/it/doctor.rs` asks the libgcrypt that is installed.
    const MADE_BY_LIBGCRYPT: &str = include_str!("ecdsa-vectors");

    struct Vector {
        digest: [u8; 32],
        key: PublicKey,
        signature: Signature,
    }

    fn vectors() -> Vec<Vector> {
        let lines = MADE_BY_LIBGCRYPT.lines().filter(|line| !line.is_empty());
        lines
            .map(|line| {
                let sexp = Sexp::parse(line.as_bytes()).unwrap();
                let value = |name| sexp.value(name).unwrap().to_vec();
                Vector {
                    digest: digest(&SHA256, &value("text")).as_ref().try_into().unwrap(),
                    key: PublicKey::read(&value("q")).unwrap(),
                    signature: Signature { r: value("r"), s: value("s") },
                }
            })
            .collect()
    }

    #[test]
    fn what_libgcrypt_signed_is_valid() {
        let vectors = vectors();
        assert!(vectors.len() >= 20);
        for Vector { digest, key, signature } in &vectors {
            assert!(key.verifies(digest, signature), "{signature:?}");
        }
    }

    #[test]
    fn any_bit_that_differs_makes_it_invalid() {
        let Vector { digest, key, signature } = &vectors()[0];
        // All those at the cut; of the others some, for they take their time.
        for bit in (0..5).chain((5..256).step_by(13)) {
            let flip = |bytes: &[u8]| {
                let mut bytes = bytes.to_vec();
                let at = bytes.len() - 1 - bit / 8;
                bytes[at] ^= 1 << (bit % 8);
                bytes
            };
            // The last three bits are those that are cut off.
            let altered: [u8; 32] = flip(digest).try_into().unwrap();
            assert_eq!(key.verifies(&altered, signature), bit < 3, "bit {bit} of the hash");
            if bit / 8 < signature.r.len().min(signature.s.len()) {
                let r = Signature { r: flip(&signature.r), s: signature.s.clone() };
                let s = Signature { r: signature.r.clone(), s: flip(&signature.s) };
                assert!(!key.verifies(digest, &r) && !key.verifies(digest, &s), "bit {bit}");
            }
        }
    }

    #[test]
    fn another_key_and_numbers_out_of_range_are_refused() {
        let vectors = vectors();
        let Vector { digest, key, signature } = &vectors[0];
        assert!(!vectors[1].key.verifies(digest, signature));
        let order = Curve::ed25519().order;
        let plus_order = |number: &[u8]| (BigUint::from_bytes_be(number) + &order).to_bytes_be();
        for (r, s) in [
            (vec![], signature.s.clone()),
            (signature.r.clone(), vec![0; 32]),
            (vec![0; 100], vec![1]),
            (order.to_bytes_be(), signature.s.clone()),
            (signature.r.clone(), order.to_bytes_be()),
            (plus_order(&signature.r), signature.s.clone()),
            (signature.r.clone(), plus_order(&signature.s)),
            (vec![0xff; 1000], vec![0xff; 1000]),
        ] {
            assert!(!key.verifies(digest, &Signature { r, s }));
        }
        // Leading zeros change no number.
        let padded = |number: &[u8]| [&[0; 5], number].concat();
        let same = Signature { r: padded(&signature.r), s: padded(&signature.s) };
        assert!(key.verifies(digest, &same));
    }

    /// With the neutral element as key, `r` and `s` could be made up for any text if it were not looked at.
    #[test]
    fn keys_that_are_no_points_are_none_and_forgeries_with_trivial_keys_fail() {
        for q in [&[0; 31][..], &[0; 33], &[]] {
            assert!(PublicKey::read(q).is_none(), "{q:?}");
        }
        // y = 2 is on no point of the curve.
        assert!(PublicKey::read(&little_endian(&BigUint::from(2_u32))).is_none());
        let neutral = PublicKey::read(&little_endian(&BigUint::from(1_u32))).unwrap();
        for n in 1_u8..20 {
            assert!(!neutral.verifies(&[0; 32], &Signature { r: vec![n], s: vec![n] }));
        }
    }
}
