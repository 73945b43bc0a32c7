//! User-space memory of one VM: what /proc/self/smaps says about its mappings (proc_pid_smaps(5)).
//!
//! Guest memory begins with a private view of a memory file. What the VM wrote to is private; what
//! it only reads is shared with every other VM, and PSS divides it among them. The file keeps
//! neighbouring VMs in mappings of their own, so that an address range tells them apart.

use std::fs;
use std::io;
use std::ops::Range;

use crate::backend::Footprint;
use crate::metric::Bytes;

/// Sums the accounts of every mapping that overlaps one of `ranges`.
///
/// # Errors
/// /proc/self/smaps cannot be read.
pub fn footprint_of(ranges: &[Range<u64>]) -> io::Result<Footprint> {
    Ok(sum(&fs::read_to_string("/proc/self/smaps")?, ranges))
}

fn sum(smaps: &str, ranges: &[Range<u64>]) -> Footprint {
    let mut footprint = Footprint::default();
    let mut ours = false;
    for line in smaps.lines() {
        if let Some(range) = mapping(line) {
            ours = ranges
                .iter()
                .any(|r| r.start < range.end && range.start < r.end);
        } else if ours {
            let field = |name: &str| {
                let rest = line.strip_prefix(name)?.strip_suffix("kB")?;
                Some(rest.trim().parse::<i64>().ok()? * 1024)
            };
            if let Some(bytes) = field("Pss:") {
                footprint.pss = Bytes(footprint.pss.0 + bytes);
            }
            if let Some(bytes) = field("Private_Clean:").or_else(|| field("Private_Dirty:")) {
                footprint.private = Bytes(footprint.private.0 + bytes);
            }
        }
    }
    footprint
}

/// `start-end perms …`, the first line of a mapping.
fn mapping(line: &str) -> Option<Range<u64>> {
    let (start, end) = line.split_whitespace().next()?.split_once('-')?;
    Some(u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_overlapping_mappings_count() {
        let smaps = "\
00400000-00452000 r-xp 00000000 08:02 173521 /usr/bin/dbus-daemon
Size:                328 kB
Pss:                 100 kB
Pss_Dirty:             9 kB
Private_Clean:        50 kB
Private_Dirty:        60 kB
7f0000000000-7f0000020000 rw-p 00000000 00:01 12 /memfd:isobench-guest (deleted)
Pss:                  24 kB
Private_Clean:         4 kB
Private_Dirty:        12 kB
VmFlags: rd wr mr mw me ac sd
7f0000020000-7f0000040000 rw-p 00000000 00:01 12 /memfd:isobench-guest (deleted)
Pss:                   7 kB
";
        let (ram, elsewhere) = (0x7f00_0000_0000..0x7f00_0002_0000, 0x10..0x20);
        let found = sum(smaps, &[ram, elsewhere]);
        assert_eq!(found.pss, Bytes(24 << 10));
        assert_eq!(found.private, Bytes(16 << 10));
    }
}
