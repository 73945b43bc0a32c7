//! Profiles: which tasks a run has by default, and how long each works.

use std::fmt;
use std::str::FromStr;

use isobench_abi::question::FACTS;

use super::{Task, Workload};

/// How much a run does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Profile {
    /// Does it work at all: every workload, small, about 8 ms of work each at native speed.
    Smoke,
    /// The default: about 10 ms of work each, 30 ms where the memory takes longer to prepare than
    /// that.
    #[default]
    Quick,
    /// Sizes beyond the caches, about 100 ms of work each.
    Full,
}

/// No profile has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no profile is called `{0}`; there are smoke, quick and full")]
pub struct ParseProfileError(pub String);

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

impl Profile {
    /// Every profile, smallest first.
    pub const ALL: [Self; 3] = [Self::Smoke, Self::Quick, Self::Full];

    /// Spelling on the command line and in results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Smoke => "smoke",
            Self::Quick => "quick",
            Self::Full => "full",
        }
    }

    /// Sizes of a workload in this profile, smallest first; never empty.
    #[must_use]
    pub const fn sizes(self, workload: Workload) -> &'static [u64] {
        match (workload, self) {
            (
                Workload::Noop
                | Workload::Crossing
                | Workload::Clock
                | Workload::Idle
                | Workload::Probe,
                _,
            ) => &[0],
            (Workload::Sha256, Self::Smoke) => &[256 * KIB],
            (Workload::Sha256, Self::Quick | Self::Full) => &[MIB],
            (Workload::Matmul, Self::Smoke) => &[128],
            (Workload::Matmul, Self::Quick) => &[256],
            (Workload::Matmul, Self::Full) => &[512],
            (Workload::Branch, _) => &[100_000],
            (Workload::Triad, Self::Smoke) => &[4 * MIB],
            (Workload::Triad, Self::Quick) => &[16 * MIB],
            (Workload::Triad, Self::Full) => &[64 * MIB],
            (Workload::Chase, Self::Smoke) => &[16 * KIB, MIB],
            (Workload::Chase, Self::Quick) => &[16 * KIB, MIB, 64 * MIB],
            (Workload::Chase, Self::Full) => &[16 * KIB, MIB, 64 * MIB, 256 * MIB],
            // A VM under shadow paging takes about 10 µs a page.
            (Workload::Warm, Self::Smoke) => &[MIB],
            (Workload::Warm, Self::Quick | Self::Full) => &[MIB, 16 * MIB, 64 * MIB],
            (Workload::Fault, Self::Smoke) => &[MIB],
            (Workload::Fault, Self::Quick) => &[4 * MIB],
            (Workload::Fault, Self::Full) => &[64 * MIB],
        }
    }

    /// The task of this profile for a workload and a size, with the repetitions that make it work
    /// as long as the profile says. They depend on nothing else: every backend and every host
    /// does the same work.
    #[must_use]
    pub fn task(self, workload: Workload, size: u64) -> Task {
        let target_ns = match self {
            Self::Smoke => 8_000_000.0,
            // Launches differ from each other by more than a short trial from a long one: time is
            // better spent on more trials, unless each has much to prepare.
            Self::Quick if workload.heap_bytes(size) > 32 << 20 => 30_000_000.0,
            Self::Quick => 10_000_000.0,
            Self::Full => 100_000_000.0,
        };
        let reps = match (workload, self) {
            (Workload::Noop | Workload::Idle | Workload::Warm | Workload::Fault, _) => 1,
            (Workload::Probe, _) => u64::from(FACTS),
            // A crossing out of a VM may take fifty microseconds.
            (Workload::Crossing, Self::Smoke) => 1_000,
            (Workload::Crossing, Self::Quick) => 1_000,
            (Workload::Crossing, Self::Full) => 4_000,
            (Workload::Clock, Self::Smoke) => 100_000,
            (Workload::Clock, Self::Quick) => 200_000,
            (Workload::Clock, Self::Full) => 1_000_000,
            _ => one_digit(target_ns / repetition_ns(workload, size)),
        };
        Task {
            workload,
            size,
            reps: reps.clamp(1, workload.limits().max_reps),
        }
    }

    /// The tasks of a workload in this profile.
    #[must_use]
    pub fn tasks_of(self, workload: Workload) -> Vec<Task> {
        self.sizes(workload)
            .iter()
            .map(|&size| self.task(workload, size))
            .collect()
    }

    /// Every task of a run of this profile, in the catalogue's order. `idle` and `probe` are not
    /// among them: one is held, the other asked, neither is timed.
    #[must_use]
    pub fn tasks(self) -> Vec<Task> {
        Workload::ALL
            .into_iter()
            .filter(|&workload| !matches!(workload, Workload::Idle | Workload::Probe))
            .flat_map(|workload| self.tasks_of(workload))
            .collect()
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Profile {
    type Err = ParseProfileError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|profile| profile.name() == name)
            .ok_or_else(|| ParseProfileError(name.to_owned()))
    }
}

/// Nanoseconds of one repetition on a server core of 2024, to within a factor of a few. Only
/// repetitions are made of it, never a result.
fn repetition_ns(workload: Workload, size: u64) -> f64 {
    let n = size as f64;
    match workload {
        Workload::Sha256 => n * 3.0,
        Workload::Matmul => n.powi(3) * 0.05,
        Workload::Branch => n * 3.0,
        Workload::Triad => n * 0.5,
        Workload::Chase => match size {
            0..=0x8000 => 1.4,
            0x8001..=0x20_0000 => 6.0,
            0x20_0001..=0x200_0000 => 60.0,
            _ => 150.0,
        },
        // Not made of a time: see `Profile::task`.
        Workload::Noop
        | Workload::Idle
        | Workload::Warm
        | Workload::Fault
        | Workload::Crossing
        | Workload::Clock
        | Workload::Probe => 1.0,
    }
}

/// Rounded down to one significant digit, at least 1: a number that reads well in a report.
fn one_digit(value: f64) -> u64 {
    let whole = value as u64;
    let decade = 10u64.pow(whole.max(1).ilog10());
    (whole / decade * decade).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_of_every_profile_is_accepted_and_has_a_name_of_its_own() {
        for profile in Profile::ALL {
            assert_eq!(profile.name().parse(), Ok(profile));
            let tasks = profile.tasks();
            assert_eq!(tasks[0], profile.task(Workload::Noop, 0));
            let mut names: Vec<String> = tasks.iter().map(ToString::to_string).collect();
            for task in &tasks {
                assert_eq!(task.check(), Ok(()), "{task}");
            }
            names.sort();
            names.dedup();
            assert_eq!(names.len(), tasks.len());
        }
        assert!("tiny".parse::<Profile>().is_err());
    }

    #[test]
    fn a_larger_profile_does_no_less() {
        for workload in Workload::ALL {
            for pair in Profile::ALL.windows(2) {
                let work = |profile: Profile| {
                    let tasks = profile.tasks_of(workload);
                    tasks
                        .iter()
                        .map(|t| t.workload.units(t.size, t.reps))
                        .sum::<u64>()
                };
                assert!(work(pair[0]) <= work(pair[1]), "{workload:?}");
            }
        }
    }

    #[test]
    fn repetitions_read_well() {
        assert_eq!(one_digit(0.3), 1);
        assert_eq!(one_digit(9.9), 9);
        assert_eq!(one_digit(1999.0), 1000);
        assert_eq!(one_digit(5_714_285.0), 5_000_000);
    }
}
