//! What a run will do, decided before anything is touched.

use std::time::Duration;

use super::ladder::Ladder;
use super::ladder::burst::Bursts;
use crate::backend::Configuration;
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
    /// Numbers of instances at which memory is read, increasing.
    pub counts: Vec<u32>,
    /// How often.
    pub rounds: u32,
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
pub fn density(profile: Profile) -> Density {
    // Six rounds are the fewest that give a median a 95 % interval. The first count is not zero: the
    // kernel keeps slabs and pages of the round before, and the first instances live in those.
    let (counts, rounds) = match profile {
        Profile::Smoke => ((2..=8).map(|n| n * 8).collect(), 6),
        Profile::Quick => ((2..=8).map(|n| n * 16).collect(), 10),
        Profile::Full => ((4..=12).map(|n| n * 16).collect(), 30),
    };
    Density { counts, rounds }
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
