//! What a VM can say of its exits between its payload's end and its own.

use crate::exits::{Crossings, Noted};
use crate::trial::{Observation, PhaseLog};
use crate::vmm::machine::Machine;

/// The first exits, and KVM's own counters.
#[derive(Debug, Default)]
pub(super) struct Notes {
    noted: Vec<Noted>,
    kvm: Vec<(String, u64)>,
}

impl Notes {
    /// Takes them. A KVM without statistics (before Linux 5.14) leaves the counters empty.
    pub(super) fn of(machine: &mut Machine, log: &mut PhaseLog) -> Self {
        Self {
            noted: machine.take_noted(),
            kvm: log.time("read_statistics", || counters(machine)),
        }
    }

    /// Without what KVM had counted of this VM before: its counters only grow, over all lives.
    pub(super) fn since(mut self, before: &[(String, u64)]) -> Self {
        for (name, value) in &mut self.kvm {
            let earlier = before.iter().find(|(other, _)| other == name);
            *value = value.saturating_sub(earlier.map_or(0, |(_, earlier)| *earlier));
        }
        self.kvm.retain(|(_, value)| *value != 0);
        self
    }

    /// With the launch that they belong to.
    pub(super) fn beside(self, seen: Observation) -> Crossings {
        Crossings::of_vm(seen, self.noted, self.kvm)
    }
}

/// KVM's own counters of this VM, none where it keeps none.
pub(super) fn counters(machine: &Machine) -> Vec<(String, u64)> {
    machine.statistics().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_counted_without_the_lives_before() {
        let counters = |all: &[(&str, u64)]| -> Vec<(String, u64)> {
            let owned = all.iter().map(|(name, value)| ((*name).to_owned(), *value));
            owned.collect()
        };
        let notes = Notes {
            noted: Vec::new(),
            kvm: counters(&[("exits", 2010), ("pf_taken", 7), ("signal_exits", 1)]),
        };
        let since = notes.since(&counters(&[("exits", 1005), ("pf_taken", 7)]));
        assert_eq!(since.kvm, counters(&[("exits", 1005), ("signal_exits", 1)]));
    }
}
