//! Blanking the end of an address, as anonip does, before anything is written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How many bits to blank, counted from the right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anonymiser {
    ipv4_bits: u8,
    ipv6_bits: u8,
}

impl Anonymiser {
    /// `ipv4_bits` of 32 and `ipv6_bits` of 128 are blanked; 0 keeps an address as it is.
    pub fn new(ipv4_bits: u8, ipv6_bits: u8) -> Self {
        Self { ipv4_bits: ipv4_bits.min(32), ipv6_bits: ipv6_bits.min(128) }
    }

    /// The address that may be written. An IPv4-mapped IPv6 address counts as the IPv4 address it holds.
    pub fn mask(&self, address: IpAddr) -> IpAddr {
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                let keep = u32::MAX.checked_shl(self.ipv4_bits.into()).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from(u32::from(v4) & keep))
            }
            IpAddr::V6(v6) => {
                let keep = u128::MAX.checked_shl(self.ipv6_bits.into()).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from(u128::from(v6) & keep))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(v4: u8, v6: u8, address: &str) -> String {
        Anonymiser::new(v4, v6).mask(address.parse().unwrap()).to_string()
    }

    #[test]
    fn the_default_masks_blank_what_anonip_blanks() {
        assert_eq!(masked(12, 84, "203.0.113.77"), "203.0.112.0");
        assert_eq!(masked(12, 84, "2001:db8:85a3:1234::"), "2001:db8:85a0::");
    }

    #[test]
    fn an_address_in_ipv6_clothes_is_the_ipv4_address_it_holds() {
        assert_eq!(masked(12, 84, "::ffff:203.0.113.77"), "203.0.112.0");
    }

    #[test]
    fn masks_reach_from_nothing_to_everything() {
        assert_eq!(masked(0, 0, "203.0.113.77"), "203.0.113.77");
        assert_eq!(masked(32, 128, "203.0.113.77"), "0.0.0.0");
        assert_eq!(masked(32, 128, "2001:db8::1"), "::");
    }
}
