//! What a run will do, decided before anything is touched.

use std::time::Duration;

use super::ladder::Ladder;
use super::ladder::burst::Bursts;
use crate::backend::Configuration;
use crate::backend::container::mechanism::Mechanism;
use crate::metric::Bytes;
use crate::workload::Task;
use crate::workload::profile::Profile;

/// A validated plan. Making one does no I/O.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Configurations, reference first where it takes part.
    pub configurations: Vec<Configuration>,
    /// Tasks and the largest number of blocks of each.
    pub tasks: Vec<(Task, u32)>,
    /// Whether each configuration is asked what it lets its payload see (`probe`).
    pub isolation: bool,
    /// Memory of idle instances, if `idle` is asked for.
    pub density: Option<Density>,
    /// The ladder that the configurations stand for, if one is asked for.
    pub ladder: Option<Ladder>,
    /// Bursts of launches, for a ladder.
    pub bursts: Option<Bursts>,
    /// Seed of the schedule.
    pub seed: u64,
    /// Profile the sizes came from.
    pub profile: Profile,
    /// The whole run ends after this time, with what it has.
    pub max_time: Duration,
    /// A task ends when the relative half-width of each of its intervals is at most this; `None`
    /// runs every block.
    pub target: Option<f64>,
    /// Blocks of each task that only warm up.
    pub warmups: u32,
    /// Each trial is ended by force after this time.
    pub deadline: Duration,
}

/// How idle instances are counted out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Density {
    /// How far the host's used memory is to grow in a round: above the noise.
    pub growth: Bytes,
    /// How often; fewer where the budget is spent before.
    pub rounds: u32,
    /// Time for all rounds of all configurations.
    pub budget: Duration,
}

/// Steps between the first count of instances and the last: seven counts, where five give a slope
/// an interval.
const STEPS: u32 = 6;
/// The first count, in steps. Not zero: the kernel keeps slabs and pages of the round before, and
/// the first instances live in those.
const FIRST: u32 = 2;

impl Density {
    /// Numbers of instances at which memory is read, increasing, for a configuration of which at
    /// most `most` may run at once.
    #[must_use]
    pub fn counts(&self, configuration: &Configuration, most: u32) -> Vec<u32> {
        let each = typical(configuration).0;
        let wanted = u32::try_from(self.growth.0 / each).unwrap_or(u32::MAX);
        let step = wanted.div_ceil(STEPS).min(most / (FIRST + STEPS)).max(1);
        (FIRST..=FIRST + STEPS).map(|n| n * step).collect()
    }
}

/// Memory of one more idle instance, to within a factor of two; only counts are made of it, never a
/// result. Half of it for a micro-VM: its vCPU alone has a slab to itself, and the kernel keeps some
/// of those from one round to the next, so that it takes more of them to see growth.
fn typical(configuration: &Configuration) -> Bytes {
    Bytes(match configuration {
        Configuration::Process => 64 << 10,
        Configuration::Container(options) if options.mechanisms.has(Mechanism::Net) => 256 << 10,
        Configuration::Container(_) => 96 << 10,
        Configuration::MicroVm => 256 << 10,
    })
}

/// Most blocks of a task in a profile; fewer where its intervals are narrow before
/// ([`target`]) or the budget is spent.
#[must_use]
pub fn rounds(profile: Profile, task: &Task) -> u32 {
    let startup = task.workload == crate::workload::Workload::Noop;
    // Preparing this much memory takes a virtual machine longer than the work itself.
    let large = task.heap_bytes() > 32 << 20;
    match (profile, startup, large) {
        (Profile::Smoke, true, _) => 200,
        (Profile::Smoke, false, _) => 20,
        (Profile::Quick, true, _) => 1000,
        (Profile::Quick, false, false) => 60,
        (Profile::Quick, false, true) => 24,
        (Profile::Full, true, _) => 10_000,
        (Profile::Full, false, false) => 1000,
        (Profile::Full, false, true) => 200,
    }
}

/// Relative half-width of an interval that counts as narrow.
#[must_use]
pub const fn target(profile: Profile) -> f64 {
    match profile {
        Profile::Smoke => 0.10,
        Profile::Quick => 0.05,
        Profile::Full => 0.02,
    }
}

/// Default budget of a profile.
#[must_use]
pub const fn max_time(profile: Profile) -> Duration {
    match profile {
        Profile::Smoke => Duration::from_secs(17),
        Profile::Quick => Duration::from_secs(55),
        Profile::Full => Duration::from_secs(20 * 60),
    }
}

/// Default density measurement of a profile.
#[must_use]
pub const fn density(profile: Profile) -> Density {
    // Six rounds are the fewest that give a median a 95 % interval.
    let (mebibytes, rounds, seconds) = match profile {
        Profile::Smoke => (10, 6, 5),
        Profile::Quick => (20, 10, 12),
        Profile::Full => (64, 30, 180),
    };
    Density {
        growth: Bytes(mebibytes << 20),
        rounds,
        budget: Duration::from_secs(seconds),
    }
}

/// Budget of a ladder run: some forty configurations in every block.
#[must_use]
pub const fn ladder_time(profile: Profile) -> Duration {
    match profile {
        Profile::Smoke => Duration::from_secs(30),
        Profile::Quick => Duration::from_secs(100),
        Profile::Full => Duration::from_secs(20 * 60),
    }
}

/// Most blocks of a ladder run.
#[must_use]
pub const fn ladder_rounds(profile: Profile) -> u32 {
    match profile {
        Profile::Smoke => 100,
        Profile::Quick => 1000,
        Profile::Full => 10_000,
    }
}

/// Bursts of a ladder run.
#[must_use]
pub fn bursts(profile: Profile, ladder: &Ladder) -> Bursts {
    let (instances, rounds) = match profile {
        Profile::Smoke => (10, 6),
        Profile::Quick => (50, 12),
        Profile::Full => (100, 30),
    };
    Bursts {
        configurations: ladder.bursts(),
        instances,
        rounds,
        // Four times what the network namespaces of a burst were seen to need here.
        pause: Duration::from_millis(200),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_grow_by_equal_steps_within_what_may_run() {
        for profile in Profile::ALL {
            for configuration in &Configuration::defaults() {
                let density = density(profile);
                for most in [u32::MAX, 1000, 56, 8] {
                    let counts = density.counts(configuration, most);
                    assert_eq!(counts.len(), 7);
                    let step = counts[1] - counts[0];
                    assert_eq!(counts[0], FIRST * step);
                    assert!(counts.windows(2).all(|pair| pair[1] - pair[0] == step));
                    assert!(*counts.last().unwrap() <= most);
                }
                let counts = density.counts(configuration, u32::MAX);
                let grown = i64::from(counts[6] - counts[0]) * typical(configuration).0;
                assert!(grown >= density.growth.0);
            }
        }
    }
}
