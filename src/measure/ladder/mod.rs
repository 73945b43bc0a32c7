//! The namespace ladder: what each mechanism of a container costs, seen from three sides.
//!
//! | side | difference of | answers |
//! |---|---|---|
//! | added | the containers with and without it, on the way up from nothing in the stated order | what does it add to those before it? |
//! | alone | the container with it alone (and what it needs) and the one with only what it needs | what does it cost by itself? |
//! | left out | the container with everything and the one without it (and without what needs it) | what would be saved? |
//!
//! All containers run in the same blocks, so each is a paired difference.

pub mod burst;
pub mod estimate;
pub mod stack;

use crate::backend::Configuration;
use crate::backend::container::mechanism::{Mechanism, Mechanisms};
use crate::backend::container::options::Options;
use crate::store::document::LadderResult;
use crate::store::record::Record;

/// Which ladder a run climbs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Climb {
    /// The namespace ladder.
    Namespaces(Ladder),
    /// The stack ladder.
    Docker,
}

impl Climb {
    /// Its estimates.
    #[must_use]
    pub fn estimate(&self, records: &[Record]) -> LadderResult {
        match self {
            Self::Namespaces(ladder) => estimate::estimate(ladder, records),
            Self::Docker => stack::estimate(records),
        }
    }

    /// That of a stored run, by its name and its top.
    #[must_use]
    pub fn of_run(known: &LadderResult, configurations: &[Configuration]) -> Option<Self> {
        if known.name == stack::NAME {
            let top = stack::top();
            return (known.top == top.id() && configurations.contains(&top))
                .then_some(Self::Docker);
        }
        Ladder::of_run(&known.top, configurations).map(Self::Namespaces)
    }
}

/// One mechanism: each side is a pair of containers (with, without).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung {
    /// Which.
    pub mechanism: Mechanism,
    /// On the way up.
    pub added: (Mechanisms, Mechanisms),
    /// By itself.
    pub alone: (Mechanisms, Mechanisms),
    /// From everything.
    pub left_out: (Mechanisms, Mechanisms),
}

/// The rungs, in the ladder's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ladder {
    /// Where it stands: no mechanism.
    pub base: Mechanisms,
    /// Where it ends: every mechanism this host has.
    pub top: Mechanisms,
    /// From the first to the last.
    pub rungs: Vec<Rung>,
}

impl Ladder {
    /// The ladder of the mechanisms that can be had here. Without `privileged`, nearly everything
    /// needs a user namespace: each of the others is seen inside one.
    #[must_use]
    pub fn of(available: Mechanisms, privileged: bool) -> Self {
        let user = !privileged && available.has(Mechanism::User);
        let floor = |one: Mechanism| {
            if user && one != Mechanism::User {
                Mechanisms::of([Mechanism::User])
            } else {
                Mechanisms::NONE
            }
        };
        let mut below = Mechanisms::NONE;
        let rung = |mechanism: Mechanism| {
            let before = below;
            below = below.with(mechanism);
            let alone = floor(mechanism).with(mechanism);
            Rung {
                mechanism,
                added: (below, before),
                alone: (alone, alone.without(mechanism)),
                left_out: (available, available.without(mechanism)),
            }
        };
        Self {
            base: Mechanisms::NONE,
            top: available,
            rungs: available.iter().map(rung).collect(),
        }
    }

    /// The ladder of a stored run: the one with this top whose containers are all among the run's.
    #[must_use]
    pub fn of_run(top: &str, configurations: &[Configuration]) -> Option<Self> {
        let Ok(Configuration::Container(options)) = top.parse() else {
            return None;
        };
        [true, false]
            .map(|privileged| Self::of(options.mechanisms(), privileged))
            .into_iter()
            .find(|ladder| {
                ladder
                    .configurations()
                    .iter()
                    .all(|c| configurations.contains(c))
            })
    }

    /// Every container that some rung needs, once, as configurations; `process` first.
    #[must_use]
    pub fn configurations(&self) -> Vec<Configuration> {
        let mut all = vec![Configuration::Process, container(self.base)];
        for rung in &self.rungs {
            for (with, without) in [rung.added, rung.alone, rung.left_out] {
                for mechanisms in [with, without] {
                    let one = container(mechanisms);
                    if !all.contains(&one) {
                        all.push(one);
                    }
                }
            }
        }
        all
    }

    /// The containers on the way up, from the base to the top.
    #[must_use]
    pub fn way_up(&self) -> Vec<Configuration> {
        let rungs = self.rungs.iter().map(|rung| rung.added.0);
        [self.base]
            .into_iter()
            .chain(rungs)
            .map(container)
            .collect()
    }

    /// The containers whose bursts are looked at: nothing, each mechanism alone, everything.
    #[must_use]
    pub fn bursts(&self) -> Vec<Configuration> {
        let mut all = vec![container(self.base)];
        let alone = self.rungs.iter().map(|rung| container(rung.alone.0));
        for one in alone.chain([container(self.top)]) {
            if !all.contains(&one) {
                all.push(one);
            }
        }
        all
    }
}

/// The configuration of a container with exactly these.
#[must_use]
pub fn container(mechanisms: Mechanisms) -> Configuration {
    Configuration::Container(Options::of(mechanisms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rung_differs_by_its_mechanism_and_what_needs_it() {
        for privileged in [true, false] {
            let ladder = Ladder::of(Mechanisms::of(Mechanism::ALL), privileged);
            assert_eq!(ladder.rungs.len(), Mechanism::ALL.len());
            assert_eq!(ladder.rungs.last().unwrap().added.0, ladder.top);
            for rung in &ladder.rungs {
                let one = rung.mechanism;
                for (with, without) in [rung.added, rung.alone, rung.left_out] {
                    assert!(with.has(one) && !without.has(one), "{rung:?}");
                    assert_eq!(with.without(one), without, "{rung:?}");
                }
                if !privileged && one != Mechanism::User {
                    assert!(rung.alone.1.has(Mechanism::User));
                }
            }
        }
    }

    #[test]
    fn the_first_rung_stands_on_nothing_and_each_on_the_one_before() {
        let ladder = Ladder::of(Mechanisms::DEFAULT, true);
        let mut below = ladder.base;
        for rung in &ladder.rungs {
            assert_eq!(rung.added.1, below);
            below = rung.added.0;
        }
        let way_up = ladder.way_up();
        assert_eq!(way_up.len(), ladder.rungs.len() + 1);
        assert_eq!(way_up.last(), Some(&container(ladder.top)));
        assert_eq!(below, Mechanisms::DEFAULT);
    }

    #[test]
    fn no_configuration_stands_twice() {
        let ladder = Ladder::of(Mechanisms::of(Mechanism::ALL), true);
        for all in [ladder.configurations(), ladder.bursts()] {
            let mut sorted = all.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), all.len());
        }
        assert_eq!(
            Ladder::of_run(&container(ladder.top).id(), &ladder.configurations()),
            Some(ladder.clone())
        );
    }
}
