//! Names of what a harness adds to the host's network.
//!
//! An interface's name has at most 15 bytes (IFNAMSIZ). The bridge's holds its owner whole: `isob`,
//! then 11 digits of five bits, 22 bits of process id and 32 of its pid namespace's inode. The
//! containers' ends in the bridge are `isob0`, `isob1`, …: the kernel chooses a number that is free.

use crate::backend::container::owner::Owner;

/// First part of every name.
const PREFIX: &str = "isob";
/// Lower case only, and nothing that looks like another digit.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Digits behind the prefix.
const LENGTH: usize = 11;
/// Largest process id the kernel gives is below 2^22 (PID_MAX_LIMIT).
const PID_BITS: u32 = 22;

/// What the kernel replaces by a free name.
pub const PORT_PATTERN: &str = "isob%d";

/// The name of the owner's bridge; `None` for ids beyond what the kernel gives.
#[must_use]
pub fn bridge(owner: Owner) -> Option<String> {
    let namespace = u32::try_from(owner.namespace).ok()?;
    if owner.pid >> PID_BITS != 0 {
        return None;
    }
    let packed = u64::from(owner.pid) << 32 | u64::from(namespace);
    let digits = (0..LENGTH).map(|place| {
        let digit = packed >> (5 * (LENGTH - 1 - place)) & 31;
        char::from(DIGITS[usize::try_from(digit).unwrap_or(0)])
    });
    Some(PREFIX.chars().chain(digits).collect())
}

/// The owner of a bridge with this name, if an isobench gave it.
#[must_use]
pub fn owner(name: &str) -> Option<Owner> {
    let digits = name
        .strip_prefix(PREFIX)
        .filter(|rest| rest.len() == LENGTH)?;
    let packed = digits.bytes().try_fold(0u64, |packed, byte| {
        let digit = DIGITS.iter().position(|&d| d == byte)?;
        Some(packed << 5 | u64::try_from(digit).ok()?)
    })?;
    let pid = packed >> 32;
    (pid >> PID_BITS == 0).then_some(Owner {
        pid: u32::try_from(pid).ok()?,
        namespace: packed & u64::from(u32::MAX),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_name_fits_and_says_whose_it_is(pid in 0u32..1 << PID_BITS, namespace: u32) {
            let whose = Owner { pid, namespace: namespace.into() };
            let name = bridge(whose).unwrap();
            prop_assert_eq!(name.len(), 15);
            prop_assert_eq!(owner(&name), Some(whose));
        }
    }

    #[test]
    fn other_names_are_nobodys() {
        for foreign in [
            "br0",
            "docker0",
            "isob0",
            "isob",
            "isob0000000000",
            "isob000000000000",
            "isob0000000000o",
            "isobzzzzzzzzzzz",
        ] {
            assert_eq!(owner(foreign), None, "{foreign}");
        }
        let beyond = Owner {
            pid: 1 << PID_BITS,
            namespace: 1,
        };
        assert_eq!(bridge(beyond), None);
    }
}
