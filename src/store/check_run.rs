//! What a `run.json` must be beyond its types.

use std::collections::BTreeSet;

use super::check_trial::{check_crossed, check_fact, check_name, check_task};
use super::document::{
    BackendResult, LadderResult, MemoryBalance, MetricResult, Outliers, RatioResult, Run,
};
use super::read_error::Refusal;
use crate::host::project::is_commit;
use crate::metric::{CATALOGUE, Unit};
use crate::workload::Profile;

type Checked = Result<(), Refusal>;

/// Checks a document by itself.
pub(super) fn check(run: &Run) -> Checked {
    check_name("id", &run.id)?;
    if run.started.parse::<jiff::Timestamp>().is_err() {
        return refuse("started", format!("{:?} is not a time", run.started));
    }
    if run.complete == run.ended_early.is_some() {
        let problem = "a run is either complete or says why it ended early";
        return refuse("ended_early", problem);
    }
    if run.profile.parse::<Profile>().is_err() {
        return refuse("profile", format!("{:?} is not a profile", run.profile));
    }
    let sha256 = &run.payload.sha256;
    if sha256.len() != 64 || !sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
        return refuse("payload.sha256", "not 64 hexadecimal digits");
    }
    for (field, value) in [
        ("host.clock.hz", run.host.clock.hz),
        ("host.clock.hz_error", run.host.clock.hz_error),
        ("host.clock.skew_ns", run.host.clock.skew_ns),
        ("host.clock.read_ns", run.host.clock.read_ns),
    ] {
        if value < 0.0 {
            return refuse(field, format!("{value} is negative"));
        }
    }
    let noise = &run.host.noise;
    for (field, value) in [
        ("load_before", noise.load_before),
        ("load_after", noise.load_after),
        ("steal_percent", noise.steal_percent),
        (
            "context_switches_per_second",
            noise.context_switches_per_second,
        ),
        ("cpu_pressure_percent", noise.cpu_pressure_percent),
        ("memory_pressure_percent", noise.memory_pressure_percent),
        ("io_pressure_percent", noise.io_pressure_percent),
        ("quota_percent", noise.quota_percent),
    ] {
        if let Some(value) = value.filter(|value| *value < 0.0) {
            let problem = format!("{value} is negative");
            return refuse(format!("host.noise.{field}"), problem);
        }
    }
    if let Some(project) = &run.project {
        if !is_commit(&project.commit) {
            return refuse("project.commit", "not 7 to 64 hexadecimal digits");
        }
        if let Some(branch) = &project.branch {
            check_name("project.branch", branch)?;
        }
    }
    for (index, what) in run.injected.iter().enumerate() {
        check_name(&format!("injected[{index}]"), what)?;
    }
    let mut ids = BTreeSet::new();
    for (index, backend) in run.backends.iter().enumerate() {
        check_backend(&format!("backends[{index}]"), backend, &mut ids)?;
    }
    let mut metrics = BTreeSet::new();
    for (index, metric) in run.metrics.iter().enumerate() {
        let field = format!("metrics[{index}]");
        known_backend(&field, "backend", &metric.backend, &ids)?;
        check_metric(&field, metric)?;
        if !metrics.insert((&metric.backend, &metric.workload, &metric.metric)) {
            return refuse(field, "the same backend, workload and metric occur twice");
        }
    }
    let mut ratios = BTreeSet::new();
    for (index, ratio) in run.ratios.iter().enumerate() {
        let field = format!("ratios[{index}]");
        known_backend(&field, "backend", &ratio.backend, &ids)?;
        known_backend(&field, "reference", &ratio.reference, &ids)?;
        check_ratio(&field, ratio)?;
        let key = (
            &ratio.backend,
            &ratio.reference,
            &ratio.workload,
            &ratio.metric,
        );
        if !ratios.insert(key) {
            return refuse(field, "the same ratio occurs twice");
        }
    }
    let mut facts = BTreeSet::new();
    for (index, fact) in run.isolation.iter().enumerate() {
        let field = format!("isolation[{index}]");
        known_backend(&field, "backend", &fact.backend, &ids)?;
        check_fact(&field, fact)?;
        if !facts.insert((&fact.backend, &fact.fact)) {
            return refuse(field, "the same backend and fact occur twice");
        }
    }
    let mut counted = BTreeSet::new();
    for (index, boundary) in run.boundary.iter().enumerate() {
        let field = format!("boundary[{index}]");
        known_backend(&field, "backend", &boundary.backend, &ids)?;
        check_task(&format!("{field}.workload"), &boundary.workload)?;
        match (&boundary.crossed, &boundary.reason) {
            (Some(crossed), None) => check_crossed(&format!("{field}.crossed"), crossed)?,
            (None, Some(_)) => {}
            _ => return refuse(format!("{field}.crossed"), "either counts or a reason"),
        }
        if !counted.insert((&boundary.backend, &boundary.workload)) {
            return refuse(field, "the same backend and workload occur twice");
        }
    }
    let mut sheets = BTreeSet::new();
    for (index, sheet) in run.memory.iter().enumerate() {
        let field = format!("memory[{index}]");
        known_backend(&field, "backend", &sheet.backend, &ids)?;
        check_sheet(&field, sheet)?;
        if !sheets.insert(&sheet.backend) {
            return refuse(field, "the same backend occurs twice");
        }
    }
    run.ladder.as_ref().map_or(Ok(()), check_ladder)
}

/// Names that stand in tables and pictures; numbers are whatever they are.
fn check_ladder(ladder: &LadderResult) -> Checked {
    for (field, name) in [
        ("name", &ladder.name),
        ("base", &ladder.base),
        ("top", &ladder.top),
    ] {
        check_name(&format!("ladder.{field}"), name)?;
    }
    for (index, rung) in ladder.rungs.iter().enumerate() {
        let field = |name: &str| format!("ladder.rungs[{index}].{name}");
        check_name(&field("mechanism"), &rung.mechanism)?;
        check_name(&field("metric"), &rung.metric)?;
        if let Some(over) = &rung.over {
            check_name(&field("over"), over)?;
        }
    }
    for (index, total) in ladder.totals.iter().enumerate() {
        check_name(&format!("ladder.totals[{index}].metric"), &total.metric)?;
    }
    for (index, debt) in ladder.debts.iter().enumerate() {
        check_name(&format!("ladder.debts[{index}].backend"), &debt.backend)?;
        check_name(&format!("ladder.debts[{index}].source"), &debt.source)?;
    }
    Ok(())
}

fn refuse(field: impl Into<String>, problem: impl Into<String>) -> Checked {
    Err(Refusal::new(field, problem))
}

fn check_backend<'a>(
    field: &str,
    backend: &'a BackendResult,
    ids: &mut BTreeSet<&'a str>,
) -> Checked {
    check_name(&format!("{field}.id"), &backend.id)?;
    if !ids.insert(&backend.id) {
        return refuse(
            format!("{field}.id"),
            format!("{} occurs twice", backend.id),
        );
    }
    if backend.failures > backend.trials {
        let problem = format!("{} of {} trials", backend.failures, backend.trials);
        return refuse(format!("{field}.failures"), problem);
    }
    Ok(())
}

fn known_backend(field: &str, name: &str, id: &str, ids: &BTreeSet<&str>) -> Checked {
    if ids.contains(id) {
        return Ok(());
    }
    refuse(
        format!("{field}.{name}"),
        format!("{id:?} is not among `backends`"),
    )
}

fn check_metric(field: &str, m: &MetricResult) -> Checked {
    check_task(&format!("{field}.workload"), &m.workload)?;
    let Some(metric) = CATALOGUE.iter().find(|known| known.name == m.metric) else {
        return refuse(
            format!("{field}.metric"),
            format!("there is no metric {:?}", m.metric),
        );
    };
    if m.unit != metric.unit {
        return refuse(
            format!("{field}.unit"),
            format!(
                "{} is measured in {}, not {}",
                m.metric, metric.unit, m.unit
            ),
        );
    }
    if m.better != metric.better {
        let problem = format!("not the direction of {}", m.metric);
        return refuse(format!("{field}.better"), problem);
    }
    if m.n == 0 {
        return refuse(format!("{field}.n"), "0: an estimate needs a sample");
    }
    let Outliers { mild, severe } = m.outliers;
    if mild.saturating_add(severe) > m.n {
        let problem = format!("{mild} and {severe} of {} samples", m.n);
        return refuse(format!("{field}.outliers"), problem);
    }
    // A measured difference of memory may be negative, a time or a rate not.
    if m.unit != Unit::Bytes && m.min < 0.0 {
        return refuse(format!("{field}.min"), format!("{} is negative", m.min));
    }
    if m.min > m.median {
        return refuse(
            format!("{field}.min"),
            format!("{} is above the median {}", m.min, m.median),
        );
    }
    if m.p99.is_some_and(|p99| p99 < m.median) {
        return refuse(format!("{field}.p99"), "below the median");
    }
    check_ends(&format!("{field}.ci95"), m.median, m.ci95)?;
    for (index, phase) in m.phases.iter().enumerate() {
        let field = format!("{field}.phases[{index}]");
        check_name(&format!("{field}.name"), &phase.name)?;
        // What is left over may be negative where named phases overlap.
        if phase.median < 0.0 && phase.name != "unaccounted" {
            return refuse(
                format!("{field}.median"),
                format!("{} is negative", phase.median),
            );
        }
    }
    Ok(())
}

fn check_ratio(field: &str, r: &RatioResult) -> Checked {
    check_task(&format!("{field}.workload"), &r.workload)?;
    if CATALOGUE.iter().all(|known| known.name != r.metric) {
        return refuse(
            format!("{field}.metric"),
            format!("there is no metric {:?}", r.metric),
        );
    }
    if r.ratio <= 0.0 {
        return refuse(
            format!("{field}.ratio"),
            format!("{} is not positive", r.ratio),
        );
    }
    if r.pairs == 0 {
        return refuse(format!("{field}.pairs"), "0: a ratio needs a pair");
    }
    check_ends(&format!("{field}.ci95"), r.ratio, r.ci95)
}

fn check_sheet(field: &str, sheet: &MemoryBalance) -> Checked {
    if sheet.rounds == 0 {
        return refuse(format!("{field}.rounds"), "0: a sheet needs a round");
    }
    if sheet.counts.len() < 5 || !sheet.counts.is_sorted_by(|a, b| a < b) {
        let problem = "not five or more increasing numbers of instances";
        return refuse(format!("{field}.counts"), problem);
    }
    let own = [
        ("total", Some(sheet.total)),
        ("residual", Some(sheet.residual)),
        ("charged", sheet.charged),
    ];
    for (name, line) in own
        .into_iter()
        .filter_map(|(name, line)| Some((name, line?)))
    {
        check_ends(&format!("{field}.{name}.ci95"), line.bytes, line.ci95)?;
    }
    let mut accounts = BTreeSet::new();
    for (index, part) in sheet.parts.iter().enumerate() {
        let field = format!("{field}.parts[{index}]");
        check_name(&format!("{field}.account"), &part.account)?;
        if !accounts.insert(&part.account) {
            let problem = format!("{} occurs twice", part.account);
            return refuse(format!("{field}.account"), problem);
        }
        check_ends(
            &format!("{field}.growth.ci95"),
            part.growth.bytes,
            part.growth.ci95,
        )?;
    }
    // Sizes, not differences.
    for (name, bytes) in [
        ("pss", sheet.pss),
        ("private", sheet.private),
        ("cgroup_usage", sheet.cgroup_usage),
        ("cgroup_kernel", sheet.cgroup_kernel),
        ("guest_given", sheet.guest_given),
    ] {
        if bytes.is_some_and(|bytes| bytes < 0.0) {
            return refuse(format!("{field}.{name}"), "negative");
        }
    }
    Ok(())
}

fn check_ends(field: &str, middle: f64, ci95: Option<[f64; 2]>) -> Checked {
    match ci95 {
        Some([low, high]) if !(low <= middle && middle <= high) => refuse(
            field,
            format!("[{low}, {high}] does not hold the estimate {middle}"),
        ),
        _ => Ok(()),
    }
}
