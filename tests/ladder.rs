//! `isobench run --ladder namespaces`, from the command line to the stored run.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // a test states its expectations

mod support;

use std::fs;
use std::path::Path;

use isobench::backend::container::mechanism::Mechanism;
use isobench::store::document::{LadderResult, Run, Status};
use support::folder::read_run;
use support::{isobench, left_behind, skipped, status, stderr, stdout};

/// A few blocks of the ladder, or `None` where not even a bare process runs here.
fn climb(folder: &Path) -> Option<(Run, String)> {
    let child = isobench()
        .args(["run", "--ladder", "namespaces", "--profile", "smoke"])
        .args(["--blocks", "8", "--max-time", "5m", "--out"])
        .arg(folder)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let number = child.id();
    let output = child.wait_with_output().unwrap();
    if status(&output) == 3 {
        skipped("ladder", &stderr(&output));
        return None;
    }
    assert_eq!(support::settled(&output), 0, "{}", stderr(&output));
    assert!(left_behind(number).is_empty());
    Some((read_run(folder), stdout(&output)))
}

fn ladder(run: &Run) -> &LadderResult {
    run.ladder.as_ref().unwrap()
}

#[test]
fn every_mechanism_is_a_rung_or_skipped_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let Some((run, printed)) = climb(&out) else {
        return;
    };
    let ladder = ladder(&run);
    for mechanism in Mechanism::ALL {
        let name = mechanism.name();
        let rungs: Vec<_> = ladder
            .rungs
            .iter()
            .filter(|rung| rung.mechanism == name)
            .collect();
        if rungs.is_empty() {
            let alone = |id: &str| id.ends_with(&format!("={name}"));
            let skipped = run.backends.iter().find(|b| alone(&b.id)).unwrap();
            assert_eq!(skipped.status, Status::Skipped);
            assert!(skipped.reason.is_some() && skipped.remedy.is_some());
            continue;
        }
        let metrics: Vec<&str> = rungs.iter().map(|rung| rung.metric.as_str()).collect();
        assert_eq!(metrics, ["startup", "teardown", "marginal"], "{name}");
        for rung in rungs {
            let mut sides = vec![&rung.added, &rung.alone, &rung.left_out];
            if rung.metric == "marginal" {
                sides.truncate(1);
            }
            for side in sides {
                let side = side.as_ref().unwrap();
                // Rounds of memory are bounded by time; from six on there is an interval.
                assert_eq!(side.ci95.is_some(), side.pairs >= 6, "{name}: {side:?}");
                if let Some([low, high]) = side.ci95 {
                    assert!(low <= side.difference && side.difference <= high);
                }
                assert!(side.pairs <= 8);
            }
        }
        assert!(printed.contains(&format!("\n{name} ")), "{printed}");
    }
    assert_eq!(ladder.totals.len(), 3);
    assert!(!ladder.debts.is_empty());
    for line in printed.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

/// What was stored is shown again as it was; a killed run's rungs are made again from its trials.
#[test]
fn a_stored_ladder_is_shown_again_also_unsealed() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let Some((mut run, printed)) = climb(&out) else {
        return;
    };
    let show = || isobench().arg("report").arg(&out).output().unwrap();
    assert_eq!(stdout(&show()), printed);

    let whole = run.clone();
    run.complete = false;
    run.ended_early = Some("running".to_owned());
    run.metrics.clear();
    run.ratios.clear();
    let known = run.ladder.as_mut().unwrap();
    (known.rungs, known.totals, known.debts) = (Vec::new(), Vec::new(), Vec::new());
    let text = serde_json::to_string(&run).unwrap();
    fs::write(out.join("run.json"), text).unwrap();
    let again = isobench::measure::stored::load(&out).unwrap();
    assert_eq!(again.run.ladder, whole.ladder);

    run.ladder.as_mut().unwrap().top = "container:rootfs".to_owned();
    fs::write(out.join("run.json"), serde_json::to_string(&run).unwrap()).unwrap();
    let refused = show();
    assert_eq!(status(&refused), 2);
    assert!(
        stderr(&refused).contains("ladder.top"),
        "{}",
        stderr(&refused)
    );
}
