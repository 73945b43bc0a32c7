//! What crosses each payload's boundary, as text in its place.

use super::model::Boundary;
use crate::store::document::{Crossed, CrossingCount, Run};

/// KVM's counters that are told in words: its name for each, and ours. The others are in `run.json`.
const TOLD: [(&str, &str); 6] = [
    ("exits", "exits in all"),
    ("pf_taken", "page faults"),
    ("irq_injections", "interrupts injected"),
    ("irq_exits", "host interrupts"),
    ("signal_exits", "signals"),
    ("insn_emulation", "instructions emulated"),
];

/// What stands below the table.
const LEGEND: &str = "Counted in one launch of its own for each, outside the timed trials. Calls: system \
                      calls of the payload, under ptrace(2), after its exec. Exits: of the vCPU to the \
                      VMM; in brackets all that KVM counts.";

/// A row per task, a column per configuration.
pub(super) fn table(run: &Run) -> Boundary {
    let (mut columns, mut tasks) = (Vec::new(), Vec::new());
    for counted in &run.boundary {
        if !columns.contains(&counted.backend) {
            columns.push(counted.backend.clone());
        }
        if !tasks.contains(&counted.workload) {
            tasks.push(counted.workload.clone());
        }
    }
    let of = |task: &str, id: &str| {
        let mut all = run.boundary.iter();
        all.find(|b| b.workload == task && b.backend == id)
            .and_then(|b| b.crossed.as_ref())
    };
    let cells = |task: &String| {
        let cell = |id: &String| of(task, id).map_or_else(|| "–".to_owned(), short);
        (task.clone(), columns.iter().map(cell).collect())
    };
    let rows = tasks.iter().map(cells).collect();
    let detail = |b: &crate::store::document::BoundaryResult| {
        let crossed = b.crossed.as_ref()?;
        Some([b.workload.clone(), b.backend.clone(), words(crossed)])
    };
    Boundary {
        rows,
        columns,
        details: run.boundary.iter().filter_map(detail).collect(),
        legend: LEGEND,
    }
}

/// Why something was not counted; once for each configuration and reason.
pub(super) fn notes(run: &Run) -> Vec<String> {
    let mut notes = Vec::new();
    for counted in &run.boundary {
        if let Some(reason) = &counted.reason {
            let note = format!("{}: crossings were not counted: {reason}.", counted.backend);
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
    }
    notes
}

/// `3 calls`, `3 exits (57)`.
fn short(crossed: &Crossed) -> String {
    let kvm = crossed.kvm.iter().find(|counter| counter.name == "exits");
    match (crossed.by.as_str(), kvm) {
        ("VM exits", Some(kvm)) => format!("{} exits ({})", crossed.total, kvm.value),
        ("VM exits", None) => format!("{} exits", crossed.total),
        _ => format!("{} calls", crossed.total),
    }
}

/// Every count in words: `start: write 1; work: write 1; end: exit_group 1`, and KVM's own.
#[must_use]
pub fn words(crossed: &Crossed) -> String {
    let mut stages: Vec<(&str, Vec<String>)> = Vec::new();
    for CrossingCount { stage, what, count } in &crossed.counts {
        let text = format!("{what} {count}");
        match stages.last_mut().filter(|(last, _)| last == stage) {
            Some((_, counts)) => counts.push(text),
            None => stages.push((stage, vec![text])),
        }
    }
    let stages = stages.iter();
    let mut parts: Vec<String> = stages
        .map(|(stage, counts)| format!("{stage}: {}", counts.join(", ")))
        .collect();
    let told: Vec<String> = TOLD
        .iter()
        .filter_map(|(name, words)| {
            let counter = crossed.kvm.iter().find(|counter| counter.name == *name)?;
            Some(format!("{words} {}", counter.value))
        })
        .collect();
    if !told.is_empty() {
        parts.push(format!("in KVM: {}", told.join(", ")));
    }
    format!("{} {}: {}", crossed.total, crossed.by, parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::document::KvmCounter;

    #[test]
    fn counts_are_told_by_part_and_kvm_beside_them() {
        let count = |stage: &str, what: &str, count| CrossingCount {
            stage: stage.to_owned(),
            what: what.to_owned(),
            count,
        };
        let counter = |name: &str, value| KvmCounter {
            name: name.to_owned(),
            value,
        };
        let crossed = Crossed {
            by: "VM exits".to_owned(),
            total: 3,
            counts: vec![
                count("start", "out 0x05b0 message", 1),
                count("work", "out 0x05b0 message", 1),
                count("work", "signal", 1),
            ],
            kvm: vec![counter("exits", 57), counter("fpu_reload", 4)],
        };
        assert_eq!(short(&crossed), "3 exits (57)");
        assert_eq!(
            words(&crossed),
            "3 VM exits: start: out 0x05b0 message 1; work: out 0x05b0 message 1, signal 1; in KVM: \
             exits in all 57"
        );
    }
}
