//! What a run will do, decided before anything is touched.

use std::time::Duration;

use super::change::POWER;
use super::comparison::threshold;
use super::ladder::Ladder;
use super::ladder::burst::Bursts;
use super::summary::LEVEL;
use crate::backend::container::mechanism::Mechanism;
use crate::backend::{Configuration, MicroVmKind};
use crate::metric::Bytes;
use crate::metric::Metric;
use crate::stats::enough::half_width_of_one;
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
    /// Whether what crosses the boundary of each task's payload is counted, in launches of its own.
    pub boundary: bool,
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
    /// Relative half-width at which the table calls a ratio's interval narrow; `None` runs every
    /// block. When a task ends is [`Plan::goal`]'s affair.
    pub target: Option<f64>,
    /// Blocks of each task that only warm up.
    pub warmups: u32,
    /// Each trial is ended by force after this time.
    pub deadline: Duration,
}

impl Plan {
    /// Relative half-width at which a metric of a task needs no more blocks.
    ///
    /// The target of the table, or, where that is less, what a comparison of two such runs asks of
    /// each so that no change is called the same with probability 0.9: 1.9 % for a threshold of 5 %,
    /// 3.7 % for one of 10 %. Smoke runs are not made to be compared.
    #[must_use]
    pub fn goal(&self, target: f64, task: &Task, metric: &Metric) -> f64 {
        match self.profile {
            Profile::Smoke => target,
            Profile::Quick | Profile::Full => {
                let threshold = threshold(task, metric);
                // A threshold of the table above is positive, which is all that could be refused.
                let needed = half_width_of_one(threshold, LEVEL, POWER);
                needed.map_or(target, |needed| needed.min(target))
            }
        }
    }
}

/// How idle instances are counted out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Density {
    /// Of which configurations; `None`: all.
    pub configurations: Option<Vec<Configuration>>,
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
    /// Whether instances of this one are counted out.
    #[must_use]
    pub fn counts_out(&self, configuration: &Configuration) -> bool {
        let only = self.configurations.as_ref();
        only.is_none_or(|only| only.contains(configuration))
    }

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
        Configuration::Container(options) if options.mechanisms().has(Mechanism::Net) => 256 << 10,
        Configuration::Container(_) => 96 << 10,
        // And a process with the VMM's own pages.
        Configuration::MicroVm(MicroVmKind::Jailed) => 1 << 20,
        Configuration::MicroVm(_) => 256 << 10,
        Configuration::LinuxVm(_) => 64 << 20,
        Configuration::Engine(kind) => return kind.typical_memory(),
    })
}

/// Most blocks of a task in a profile; fewer where its intervals are narrow before ([`Plan::goal`])
/// or the budget is spent.
#[must_use]
pub fn rounds(profile: Profile, task: &Task) -> u32 {
    let startup = task.workload == crate::workload::Workload::Noop;
    // Preparing this much memory takes a virtual machine longer than the work itself.
    let large = task.heap_bytes() > 32 << 20;
    match (profile, startup, large) {
        (Profile::Smoke, true, _) => 200,
        (Profile::Smoke, false, _) => 20,
        (Profile::Quick, true, _) => 3000,
        (Profile::Quick, false, false) => 600,
        (Profile::Quick, false, true) => 240,
        (Profile::Full, true, _) => 10_000,
        (Profile::Full, false, false) => 1000,
        (Profile::Full, false, true) => 400,
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

/// What engines need beside that: each of their trials takes longer than all of the project's own in a
/// block, and every task is to have some blocks of them.
#[must_use]
pub fn engines_time<'a>(
    profile: Profile,
    configurations: impl Iterator<Item = &'a Configuration>,
) -> Duration {
    let (tasks, blocks) = match profile {
        Profile::Smoke => (profile.tasks().len(), 6),
        Profile::Quick => (profile.tasks().len(), 12),
        Profile::Full => (profile.tasks().len(), 40),
    };
    let trials = u32::try_from(tasks * blocks).unwrap_or(u32::MAX);
    let engines = configurations.filter_map(|one| match one {
        Configuration::Engine(kind) => Some(kind.typical_time()),
        _ => None,
    });
    engines.sum::<Duration>() * trials
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
        configurations: None,
        growth: Bytes(mebibytes << 20),
        rounds,
        budget: Duration::from_secs(seconds),
    }
}

/// Memory of a ladder run: the containers on the way up. Each rung is a difference of two slopes of
/// the same round; a page more or less is all that most of them are.
#[must_use]
pub fn ladder_density(profile: Profile, ladder: &Ladder) -> Density {
    let (mebibytes, rounds, seconds) = match profile {
        Profile::Smoke => (4, 6, 10),
        Profile::Quick => (16, 6, 40),
        Profile::Full => (16, 30, 240),
    };
    Density {
        configurations: Some(ladder.way_up()),
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
        Profile::Quick => Duration::from_secs(110),
        Profile::Full => Duration::from_secs(20 * 60),
    }
}

/// Most blocks of a ladder run.
#[must_use]
pub const fn ladder_rounds(profile: Profile) -> u32 {
    match profile {
        Profile::Smoke => 100,
        Profile::Quick => 600,
        Profile::Full => 10_000,
    }
}

/// Bursts of a ladder run.
#[must_use]
pub fn bursts(profile: Profile, ladder: &Ladder) -> Bursts {
    let (instances, rounds) = match profile {
        Profile::Smoke => (10, 6),
        Profile::Quick => (50, 10),
        Profile::Full => (100, 30),
    };
    Bursts {
        configurations: ladder.bursts(),
        instances,
        rounds,
        // Twice what the network namespaces of a burst were seen to need here.
        pause: Duration::from_millis(100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{BANDWIDTH, STARTUP};
    use crate::workload::Workload;

    fn goal(profile: Profile, workload: Workload, metric: &Metric) -> f64 {
        let plan = Plan {
            configurations: Vec::new(),
            tasks: Vec::new(),
            density: None,
            isolation: false,
            boundary: false,
            ladder: None,
            bursts: None,
            seed: 1,
            profile,
            max_time: max_time(profile),
            target: Some(target(profile)),
            warmups: 1,
            deadline: Duration::from_secs(1),
        };
        plan.goal(target(profile), &profile.tasks_of(workload)[0], metric)
    }

    #[test]
    fn a_run_is_as_precise_as_its_table_or_its_comparison_asks() {
        let percent = |g: f64| (g * 1000.0).round() / 10.0;
        let of = |profile| {
            [(Workload::Noop, &STARTUP), (Workload::Sha256, &BANDWIDTH)]
                .map(|(workload, metric)| percent(goal(profile, workload, metric)))
        };
        assert_eq!(of(Profile::Smoke), [10.0, 10.0]);
        assert_eq!(of(Profile::Quick), [3.7, 1.9]);
        assert_eq!(of(Profile::Full), [2.0, 1.9]);
    }

    #[test]
    fn engines_get_time_of_their_own() {
        let of = |names: &[&str]| {
            let all: Vec<Configuration> = names.iter().map(|n| n.parse().unwrap()).collect();
            engines_time(Profile::Smoke, all.iter())
        };
        assert_eq!(of(&["process", "container"]), Duration::ZERO);
        assert!(of(&["process", "podman"]) > of(&["process", "bwrap"]));
        assert_eq!(of(&["crun", "runc"]), of(&["crun"]) + of(&["runc"]));
    }

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
