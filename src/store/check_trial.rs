//! What a record must be beyond its types.

use super::check_told::check_told;
use super::document::{Crossed, CrossingCount, IsolationFact};
use super::read_error::Refusal;
use super::record::{
    BoundaryRecord, BurstRecord, Measured, MemoryRecord, PhaseRecord, ProbeRecord, Record,
    TrialRecord,
};
use crate::exits::{Boundary, Stage};
use crate::metric::Nanos;
use crate::workload::{Profile, Task, Workload, facts};

/// Longest id or name, in bytes.
pub(super) const LONGEST_NAME: usize = 200;
/// Longest time, ns: a week, the longest a run may take.
pub(super) const LONGEST_TIME: i64 = 7 * 24 * 3600 * 1_000_000_000;
/// Longest value of a fact, in bytes: a text of the payload with every byte escaped.
const LONGEST_VALUE: usize = 2 << 10;
/// Longest evidence, in bytes: every system call with its answer, or two values.
const LONGEST_EVIDENCE: usize = 32 << 10;
/// Largest amount of memory, bytes: 2⁵⁶, beyond any address space, far from overflow.
const MOST_MEMORY: i64 = 1 << 56;

/// Checks one record by itself.
pub(super) fn check(record: &Record) -> Result<(), Refusal> {
    match record {
        Record::Trial(trial) => check_trial(trial),
        Record::Memory(memory) => check_memory(memory),
        Record::Burst(burst) => check_burst(burst),
        Record::Probe(probe) => check_probe(probe),
        Record::Boundary(boundary) => check_boundary(boundary),
    }
}

/// A name that can stand in a table: not empty, not long, nothing that moves a cursor.
pub(super) fn check_name(field: &str, name: &str) -> Result<(), Refusal> {
    check_named(|| field.to_owned(), name)
}

/// The same; the field's own name is only made where it is needed. A run has millions of phases.
fn check_named(field: impl FnOnce() -> String, name: &str) -> Result<(), Refusal> {
    if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
        let problem = format!("not a name of 1 to {LONGEST_NAME} printable characters");
        return Err(Refusal::new(field(), problem));
    }
    Ok(())
}

/// A task as this program writes it: reading it and writing it again gives the same text.
pub(super) fn check_task(field: &str, name: &str) -> Result<Task, Refusal> {
    check_name(field, name)?;
    let unknown = || Refusal::new(field, format!("{name:?} is not a task"));
    let tasks = Task::select(name, Profile::default()).map_err(|_| unknown())?;
    match tasks[..] {
        [task] if task.to_string() == name => Ok(task),
        _ => Err(unknown()),
    }
}

fn check_trial(t: &TrialRecord) -> Result<(), Refusal> {
    check_name("backend", &t.backend)?;
    let task = check_task("workload", &t.workload)?;
    if task.workload == Workload::Idle {
        return Err(Refusal::new("workload", "idle is held, not timed"));
    }
    match (&t.measured, &t.failure) {
        (Some(measured), None) => check_measured(measured),
        (None, Some(_)) => Ok(()),
        (Some(_), Some(_)) => Err(Refusal::new("failure", "present beside `measured`")),
        (None, None) => Err(Refusal::new("measured", "missing, and so is `failure`")),
    }
}

fn check_measured(m: &Measured) -> Result<(), Refusal> {
    let at = |name: &str| format!("measured.{name}");
    let within = |name: &str, value: Nanos, least: i64| {
        if (least..=LONGEST_TIME).contains(&value.0) {
            return Ok(());
        }
        let problem = format!("{} ns is not from {least} to {LONGEST_TIME}", value.0);
        Err(Refusal::new(at(name), problem))
    };
    within("clock_bound", m.clock_bound, 0)?;
    // A reading of the guest's counter may be off by the bound, and each is rounded by itself.
    let slack = m.clock_bound.0 + 1;
    for (name, value) in [("t2", m.t2), ("t4", m.t4), ("t5", m.t5), ("timed", m.timed)] {
        within(name, value, 0)?;
    }
    if let Some(reply) = m.reply {
        within("reply", reply, 0)?;
        if reply.0 < m.t2.0 - 1 || m.t4.0 < reply.0 - 1 {
            let problem = format!("{} ns is not between t2 and t4", reply.0);
            return Err(Refusal::new(at("reply"), problem));
        }
    }
    for (name, value) in [("t1", m.t1), ("t3", m.t3), ("unaccounted", m.unaccounted)] {
        within(name, value, -slack)?;
    }
    for (first, a, second, b) in [
        ("t1", m.t1, "t2", m.t2),
        ("t1", m.t1, "t3", m.t3),
        ("t3", m.t3, "t4", m.t4),
        ("t2", m.t2, "t4", m.t4),
        ("t4", m.t4, "t5", m.t5),
    ] {
        if a.0 - b.0 > slack {
            let problem = format!("{} ns is before {first} at {} ns", b.0, a.0);
            return Err(Refusal::new(at(second), problem));
        }
    }
    for (list, phases) in [("phases", &m.phases), ("teardown", &m.teardown)] {
        for (index, phase) in phases.iter().enumerate() {
            check_phase(&|| at(&format!("{list}[{index}]")), phase, slack)?;
        }
    }
    if let Some(told) = &m.told {
        check_told(&at("told"), told, m)?;
    }
    let one_of = |name: &str, value: &str, known: &[&str]| {
        if known.contains(&value) {
            return Ok(());
        }
        let problem = format!("{value:?} is none of {}", known.join(", "));
        Err(Refusal::new(at(name), problem))
    };
    let exits = m.exits.unwrap_or(0);
    check_counts(&|| at("exit_counts"), &m.exit_counts, exits)?;
    one_of("isa", &m.isa, &["sse2", "avx2"])?;
    one_of("clock", &m.clock, &["same", "read-back", "bracketed"])?;
    if m.digest.len() == 16 && m.digest.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(())
    } else {
        Err(Refusal::new(at("digest"), "not 16 hexadecimal digits"))
    }
}

fn check_phase(field: &dyn Fn() -> String, phase: &PhaseRecord, slack: i64) -> Result<(), Refusal> {
    check_named(|| format!("{}.name", field()), &phase.name)?;
    for (name, value) in [("at", phase.at), ("ns", phase.ns)] {
        if !(-slack..=LONGEST_TIME).contains(&value.0) {
            let problem = format!("{} ns is not a length of time", value.0);
            return Err(Refusal::new(format!("{}.{name}", field()), problem));
        }
    }
    Ok(())
}

fn check_boundary(b: &BoundaryRecord) -> Result<(), Refusal> {
    check_name("backend", &b.backend)?;
    check_task("workload", &b.workload)?;
    match (&b.crossed, &b.failure) {
        (Some(crossed), None) => check_crossed("crossed", crossed),
        (None, Some(_)) => Ok(()),
        _ => Err(Refusal::new("crossed", "either counts or a failure")),
    }
}

/// Counts that add up, by names that can stand in a table.
pub(super) fn check_crossed(field: &str, crossed: &Crossed) -> Result<(), Refusal> {
    let known = [Boundary::SystemCalls, Boundary::VmExits].map(Boundary::name);
    if !known.contains(&crossed.by.as_str()) {
        let problem = format!("{:?} is none of {}", crossed.by, known.join(", "));
        return Err(Refusal::new(format!("{field}.by"), problem));
    }
    if crossed.counts.is_empty() {
        let problem = "a payload cannot end without crossing";
        return Err(Refusal::new(format!("{field}.counts"), problem));
    }
    let counts = || format!("{field}.counts");
    check_counts(&counts, &crossed.counts, crossed.total)?;
    for (index, counter) in crossed.kvm.iter().enumerate() {
        check_name(&format!("{field}.kvm[{index}].name"), &counter.name)?;
    }
    Ok(())
}

/// Either none (a run of an older isobench), or all of `total`.
fn check_counts(
    field: &dyn Fn() -> String,
    counts: &[CrossingCount],
    total: u64,
) -> Result<(), Refusal> {
    let mut sum = 0u64;
    for (index, count) in counts.iter().enumerate() {
        let at = |name: &str| format!("{}[{index}].{name}", field());
        check_named(|| at("what"), &count.what)?;
        let stages = [Stage::Start, Stage::Work, Stage::End].map(Stage::name);
        if !stages.contains(&count.stage.as_str()) {
            let problem = format!("{:?} is none of {}", count.stage, stages.join(", "));
            return Err(Refusal::new(at("stage"), problem));
        }
        sum = sum.saturating_add(count.count);
    }
    if counts.is_empty() || sum == total {
        return Ok(());
    }
    Err(Refusal::new(
        field(),
        format!("{sum} in all, and not {total}"),
    ))
}

fn check_probe(p: &ProbeRecord) -> Result<(), Refusal> {
    check_name("backend", &p.backend)?;
    if p.failure.is_some() != p.facts.is_empty() {
        let problem = "a configuration has facts, or says why not";
        return Err(Refusal::new("facts", problem));
    }
    for (index, fact) in p.facts.iter().enumerate() {
        let field = format!("facts[{index}]");
        check_fact(&field, fact)?;
        if fact.backend != p.backend {
            let problem = format!("{:?} in the record of {:?}", fact.backend, p.backend);
            return Err(Refusal::new(format!("{field}.backend"), problem));
        }
    }
    Ok(())
}

/// A fact that this program knows, in text that can stand in a report.
pub(super) fn check_fact(field: &str, fact: &IsolationFact) -> Result<(), Refusal> {
    check_name(&format!("{field}.backend"), &fact.backend)?;
    if facts::named(&fact.fact).is_none() {
        let problem = format!("there is no fact {:?}", fact.fact);
        return Err(Refusal::new(format!("{field}.fact"), problem));
    }
    for (name, text, longest) in [
        ("value", &fact.value, LONGEST_VALUE),
        ("evidence", &fact.evidence, LONGEST_EVIDENCE),
    ] {
        if text.is_empty() || text.len() > longest || text.chars().any(char::is_control) {
            let problem = format!("not 1 to {longest} bytes of printable text");
            return Err(Refusal::new(format!("{field}.{name}"), problem));
        }
    }
    Ok(())
}

fn check_memory(m: &MemoryRecord) -> Result<(), Refusal> {
    check_name("backend", &m.backend)?;
    let lists = [&m.pss, &m.private, &m.cgroup_usage, &m.cgroup_kernel];
    let names = ["pss", "private", "cgroup_usage", "cgroup_kernel"];
    if m.accounts.is_some() == m.failure.is_some() {
        let problem = "a step has either its accounts or a failure";
        return Err(Refusal::new("accounts", problem));
    }
    let accounts = m.accounts.iter().flat_map(|accounts| {
        let left = [
            ("free", accounts.free),
            ("stock", accounts.stock),
            ("file", accounts.file),
        ];
        let left = left.map(|(name, bytes)| (name, Some(bytes)));
        accounts.uses().into_iter().chain(left)
    });
    let own = [
        ("charged", m.charged),
        ("charged_named", m.charged_named),
        ("guest_given", m.guest_given),
    ];
    let single = accounts.chain(own);
    let single = single.filter_map(|(name, bytes)| Some((name, bytes?)));
    let all = single.chain(
        names
            .into_iter()
            .zip(lists)
            .flat_map(|(name, list)| list.iter().map(move |bytes| (name, *bytes))),
    );
    for (name, bytes) in all {
        if !(0..=MOST_MEMORY).contains(&bytes.0) {
            let problem = format!("{} bytes is not from 0 to {MOST_MEMORY}", bytes.0);
            return Err(Refusal::new(name, problem));
        }
    }
    for (name, list) in names.into_iter().zip(lists) {
        if list.len() > m.instances as usize {
            let problem = format!("{} values for {} instances", list.len(), m.instances);
            return Err(Refusal::new(name, problem));
        }
    }
    Ok(())
}

fn check_burst(b: &BurstRecord) -> Result<(), Refusal> {
    check_name("backend", &b.backend)?;
    check_name("source", &b.source)?;
    for (name, value) in [("wall", b.wall), ("own", b.own), ("host", b.host)] {
        if !(0..=LONGEST_TIME).contains(&value.0) {
            let problem = format!("{} ns is not from 0 to {LONGEST_TIME}", value.0);
            return Err(Refusal::new(name, problem));
        }
    }
    if b.instances == 0 {
        return Err(Refusal::new("instances", "a burst has at least one launch"));
    }
    Ok(())
}
