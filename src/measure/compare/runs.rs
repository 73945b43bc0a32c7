//! What two runs are of, apart from their numbers: whether they can be compared at all, and what speaks against it.

use crate::measure::comparison::{CompareError, Difference, Doubt, Missing, Side};
use crate::measure::series::Quantity;
use crate::store::document::{MetricResult, Run};

pub(super) fn injected(base: &Run, head: &Run) -> Vec<String> {
    let of = |name: &str, run: &Run| -> Vec<String> {
        let all = run.injected.iter();
        all.map(|what| format!("{name}: {what}")).collect()
    };
    [of("BASE", base), of("HEAD", head)].concat()
}

/// Doubt about everything where the hosts differ.
pub(super) fn other_host(host: &[Difference]) -> Option<Doubt> {
    let fields: Vec<&str> = host.iter().map(|d| d.field).collect();
    (!host.is_empty()).then(|| Doubt {
        short: "other host",
        words: format!("the hosts differ ({})", fields.join(", ")),
    })
}

/// Doubt about everything where a run says of itself that nothing is to be concluded from it.
pub(super) fn disturbed(base: &Run, head: &Run) -> Option<Doubt> {
    let mut runs = [("BASE", base), ("HEAD", head)].into_iter();
    let (name, why) = runs.find_map(|(name, run)| Some((name, run.inconclusive.as_ref()?)))?;
    Some(Doubt {
        short: "disturbed",
        words: format!("{name} says of itself: {why}"),
    })
}

pub(super) fn side(run: &Run) -> Side {
    Side {
        id: run.id.clone(),
        started: run.started.clone(),
        profile: run.profile.clone(),
        tool: format!("isobench {} ({})", run.tool.version, run.tool.commit),
        ended_early: run.ended_early.clone(),
    }
}

/// Other bytes, another schema or another unit make numbers that have nothing in common.
pub(super) fn must_agree(base: &Run, head: &Run) -> Result<(), CompareError> {
    let equal = |field: String, base: String, head: String| {
        if base == head {
            return Ok(());
        }
        Err(CompareError::Differs { field, base, head })
    };
    let of = |run: &Run| (run.schema.clone(), run.payload.sha256.clone());
    let ((base_schema, base_payload), (head_schema, head_payload)) = (of(base), of(head));
    equal("schema".to_owned(), base_schema, head_schema)?;
    equal("payload.sha256".to_owned(), base_payload, head_payload)?;
    let same = |a: &MetricResult, b: &MetricResult| {
        (&a.backend, &a.workload, &a.metric) == (&b.backend, &b.workload, &b.metric)
    };
    for (index, a) in base.metrics.iter().enumerate() {
        if let Some(b) = head.metrics.iter().find(|b| same(a, b)) {
            let field = |name| format!("metrics[{index}].{name}");
            equal(field("unit"), a.unit.to_string(), b.unit.to_string())?;
            equal(
                field("better"),
                format!("{:?}", a.better),
                format!("{:?}", b.better),
            )?;
        }
    }
    Ok(())
}

pub(super) fn host_differences(base: &Run, head: &Run) -> Vec<Difference> {
    let fields = [
        ("host.kvm", &base.host.kvm, &head.host.kvm),
        ("host.cpu", &base.host.cpu, &head.host.cpu),
        ("host.kernel", &base.host.kernel, &head.host.kernel),
    ];
    fields
        .into_iter()
        .filter(|(_, base, head)| base != head)
        .map(|(field, base, head)| Difference {
            field,
            base: base.clone(),
            head: head.clone(),
        })
        .collect()
}

pub(super) fn ended_early(base: &Run, head: &Run) -> String {
    let told = [("BASE", base), ("HEAD", head)].map(|(name, run)| {
        let why = run.ended_early.as_ref()?;
        Some(format!("; {name} ended early ({why})"))
    });
    told.into_iter().flatten().collect()
}

pub(super) fn missing(base: &[Quantity], head: &[Quantity]) -> Vec<Missing> {
    let mut all = only_in(base, head, "head");
    all.extend(only_in(head, base, "base"));
    all
}

/// What `here` has and `there` has not; a configuration that is missing as a whole once.
fn only_in(here: &[Quantity], there: &[Quantity], missing_in: &'static str) -> Vec<Missing> {
    let mut found: Vec<Missing> = Vec::new();
    for Quantity { key, .. } in here {
        if there.iter().any(|other| other.key == *key) {
            continue;
        }
        let known = there.iter().any(|other| other.key.backend == key.backend);
        let entry = Missing {
            backend: key.backend.clone(),
            workload: known.then(|| key.workload.clone()),
            metric: known.then_some(key.metric),
            missing_in,
        };
        if !found.contains(&entry) {
            found.push(entry);
        }
    }
    found
}
