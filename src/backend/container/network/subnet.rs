//! Addresses of bridges and containers: parts of 198.18.0.0/15, which RFC 2544 sets aside for
//! benchmarks, so that no host of the internet is hidden by them.

use std::net::Ipv4Addr;

/// First address of the whole range.
const RANGE: u32 = u32::from_be_bytes([198, 18, 0, 0]);
/// Addresses of one part: as many as a bridge can have ports (1,024, `BR_MAX_PORTS`).
const SIZE: u32 = 1 << 10;

/// One part: the bridge has its first address, containers have the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet(u32);

impl Subnet {
    /// Bits of an address that say which part it is in.
    pub const PREFIX: u8 = 22;
    /// Number of parts.
    pub const COUNT: u32 = (1 << 17) / SIZE;
    /// How many containers find an address in one.
    pub const CONTAINERS: u32 = SIZE - 3;

    /// One of [`Self::COUNT`] parts.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(RANGE + (number % Self::COUNT) * SIZE)
    }

    /// The bridge's address.
    #[must_use]
    pub const fn bridge(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.0 + 1)
    }

    /// A container's address, from 0.
    #[must_use]
    pub const fn container(self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.0 + 2 + number % Self::CONTAINERS)
    }

    /// Whether it has addresses in common with another net.
    #[must_use]
    pub fn overlaps(self, address: Ipv4Addr, prefix: u8) -> bool {
        let bits = u32::from(prefix.min(Self::PREFIX));
        let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
        (self.0 ^ address.to_bits()) & mask == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_lie_in_the_range_and_apart() {
        let last = Subnet::new(Subnet::COUNT - 1);
        assert_eq!(Subnet::new(0).bridge(), Ipv4Addr::new(198, 18, 0, 1));
        assert_eq!(
            last.container(Subnet::CONTAINERS - 1),
            Ipv4Addr::new(198, 19, 255, 254)
        );
        assert_eq!(Subnet::new(Subnet::COUNT), Subnet::new(0));
        let (one, next) = (Subnet::new(3), Subnet::new(4));
        assert!(!one.overlaps(next.bridge(), Subnet::PREFIX));
        assert!(one.overlaps(one.container(9), 32));
    }

    #[test]
    fn larger_nets_overlap_too() {
        let one = Subnet::new(5);
        for (address, prefix, expected) in [
            ([198, 18, 0, 1], 16, true),
            ([198, 18, 0, 0], 15, true),
            ([198, 19, 0, 1], 16, false),
            ([10, 0, 0, 0], 8, false),
            ([192, 0, 0, 0], 3, true),
            ([0, 0, 0, 0], 0, true),
        ] {
            assert_eq!(
                one.overlaps(address.into(), prefix),
                expected,
                "{address:?}"
            );
        }
    }
}
