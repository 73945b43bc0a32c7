//! The colours, in one place. Okabe and Ito's palette (<https://jfly.uni-koeln.de/color/>), which
//! people with any common kind of colour blindness can tell apart, darkened where it would be too
//! faint on paper and lightened where it would be too dark on black. Nothing is told by colour alone:
//! every row and segment has its name.

use super::scene::Ink;

/// Red, green, blue.
pub type Rgb = (u8, u8, u8);

/// One colour on white and on black paper.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    /// On white.
    pub light: Rgb,
    /// On black.
    pub dark: Rgb,
}

const fn pair(light: Rgb, dark: Rgb) -> Pair {
    Pair { light, dark }
}

/// Colours of configurations.
pub const SERIES: [Pair; 8] = [
    pair((0x55, 0x5b, 0x66), (0xa7, 0xae, 0xba)), // grey
    pair((0x00, 0x72, 0xb2), (0x5c, 0xb4, 0xec)), // blue
    pair((0xd5, 0x5e, 0x00), (0xf2, 0x8e, 0x3c)), // vermilion
    pair((0x00, 0x7f, 0x60), (0x35, 0xc2, 0x9a)), // bluish green
    pair((0xb0, 0x55, 0x8f), (0xe0, 0x92, 0xc2)), // reddish purple
    pair((0xb8, 0x86, 0x00), (0xf0, 0xc0, 0x40)), // orange, dark
    pair((0x2f, 0x8f, 0xc4), (0x8f, 0xd0, 0xf7)), // sky blue
    pair((0x7a, 0x6a, 0x00), (0xe8, 0xdc, 0x5a)), // yellow, dark
];

/// Kinds of work, as they stack up in a start; see [`kind`].
pub const KINDS: [(&str, Pair); 8] = [
    ("process", pair((0x4b, 0x55, 0x63), (0x9a, 0xa3, 0xb2))),
    ("namespaces", pair((0x00, 0x72, 0xb2), (0x3f, 0x9f, 0xdc))),
    ("file systems", pair((0x56, 0xb4, 0xe9), (0x8a, 0xcf, 0xf5))),
    ("cgroup", pair((0x00, 0x8f, 0x6c), (0x2b, 0xb8, 0x91))),
    ("confinement", pair((0xc0, 0x6a, 0x9e), (0xdc, 0x8f, 0xbf))),
    (
        "virtual machine",
        pair((0xd5, 0x5e, 0x00), (0xee, 0x84, 0x30)),
    ),
    (
        "guest and its exec",
        pair((0xe6, 0x9f, 0x00), (0xf3, 0xba, 0x3c)),
    ),
    ("other", pair((0xb4, 0xba, 0xc4), (0x6b, 0x73, 0x80))),
];

/// What is neither configuration nor kind.
pub const TEXT: Pair = pair((0x1b, 0x1f, 0x26), (0xe8, 0xea, 0xee));
/// Explaining text.
pub const MUTED: Pair = pair((0x59, 0x60, 0x6c), (0xa2, 0xa9, 0xb5));
/// Guides.
pub const GRID: Pair = pair((0xdd, 0xe0, 0xe6), (0x34, 0x39, 0x43));
/// The paper.
pub const PAPER: Pair = pair((0xff, 0xff, 0xff), (0x16, 0x19, 0x1f));

impl Ink {
    /// Its colours.
    #[must_use]
    pub fn pair(self) -> Pair {
        match self {
            Self::Text => TEXT,
            Self::Muted => MUTED,
            Self::Grid => GRID,
            Self::Paper => PAPER,
            Self::Series(n) => SERIES[usize::from(n) % SERIES.len()],
            Self::Kind(n) => KINDS[usize::from(n) % KINDS.len()].1,
        }
    }
}

/// Configurations that always have the same colour, so that two reports can be laid side by side.
const KNOWN: [(&str, u8); 19] = [
    ("process", 0),
    ("container", 1),
    ("microvm", 2),
    ("microvm:jailed", 4),
    ("microvm:snapshot", 5),
    ("microvm:pool", 7),
    ("linux-vm", 3),
    ("runc", 6),
    ("crun", 3),
    ("youki", 4),
    ("containerd", 1),
    ("cri", 5),
    ("dockerd", 6),
    ("docker", 1),
    ("podman", 4),
    ("bwrap", 7),
    ("nspawn", 3),
    ("qemu", 2),
    ("firecracker", 5),
];

/// A configuration's colour: its own, or that of its backend, or one made of its name.
#[must_use]
pub fn series(id: &str) -> Ink {
    let known = |name: &str| KNOWN.iter().find(|(known, _)| *known == name);
    // Where several runs are side by side, the letter of a run is no part of the name.
    let id = id.split(" [").next().unwrap_or(id);
    let family = id.split(':').next().unwrap_or(id);
    let place = known(id).or_else(|| known(family)).map(|(_, place)| *place);
    Ink::Series(place.unwrap_or_else(|| {
        let sum = id.bytes().fold(7_u8, |sum, b| sum.wrapping_mul(31) ^ b);
        1 + sum % (SERIES.len() as u8 - 1)
    }))
}

/// The kind of work that a phase is, by its name.
#[must_use]
pub fn kind(phase: &str) -> u8 {
    const WORDS: [(u8, &[&str]); 7] = [
        (7, &["unaccounted", "smaller ones", "watchdog"]),
        (
            6,
            &["run", "boot", "enter_kernel", "execve", "exec", "reply"],
        ),
        (
            5,
            &[
                "kvm", "vm", "vcpu", "memory", "cpuid", "xcr", "regs", "fpu", "xsave", "tsc",
                "reset", "irqchip", "pit", "load",
            ],
        ),
        (3, &["cgroup"]),
        (
            2,
            &[
                "mount",
                "root",
                "move_",
                "fs",
                "tmpfs",
                "overlay",
                "mkdir",
                "open_tree",
                "chdir",
                "dev",
                "proc",
                "symlink",
                "bind",
            ],
        ),
        (
            4,
            &[
                "seccomp",
                "cap",
                "prctl",
                "no_new_privs",
                "setuid",
                "setgid",
                "setgroups",
                "rlimit",
                "keyring",
                "dumpable",
                "uid",
                "gid",
                "securebits",
            ],
        ),
        (
            1,
            &[
                "clone",
                "unshare",
                "setns",
                "net",
                "veth",
                "loopback",
                "hostname",
                "uts",
                "ipc",
                "namespace",
                "lo",
            ],
        ),
    ];
    let name = phase.to_lowercase();
    let has = |words: &&[&str]| words.iter().any(|word| name.contains(word));
    WORDS
        .iter()
        .find(|(_, words)| has(words))
        .map_or(0, |(kind, _)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance and contrast ratio (WCAG 2.2, 1.4.3).
    fn contrast(a: Rgb, b: Rgb) -> f64 {
        let channel = |v: u8| {
            let v = f64::from(v) / 255.0;
            if v <= 0.04045 {
                v / 12.92
            } else {
                ((v + 0.055) / 1.055).powf(2.4)
            }
        };
        let luminance =
            |(r, g, b): Rgb| 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn text_and_marks_stand_out_from_either_paper() {
        let papers = [(PAPER.light, true), (PAPER.dark, false)];
        for (paper, light) in papers {
            let of = |pair: Pair| if light { pair.light } else { pair.dark };
            for pair in [TEXT, MUTED] {
                assert!(contrast(of(pair), paper) >= 4.5, "{pair:?}");
            }
            for pair in SERIES {
                assert!(contrast(of(pair), paper) >= 3.0, "{pair:?}");
            }
        }
    }

    #[test]
    fn a_configuration_has_one_colour_and_its_options_do_not_change_it() {
        assert_eq!(series("container"), series("container:without=net"));
        assert_ne!(series("microvm"), series("microvm:pool"));
        assert_eq!(series("somebody's own"), series("somebody's own"));
    }
}
