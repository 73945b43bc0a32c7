//! How long stores of the largest size take: two runs of 100,000 trials compared, a history of 10,000 runs
//! listed, trends with changes in them and as a page. Wall time, and processor time of the command, which a
//! busy machine does not change.
//!
//! `cargo bench --bench scale`. Wanted: a comparison under 2 s, a list under 1 s.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // a benchmark states its expectations

#[path = "../tests/support/mod.rs"]
mod support;
#[path = "../tests/synthetic/mod.rs"]
mod synthetic;

use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Instant;

use isobench::metric::Nanos;
use isobench::store::record::{PhaseRecord, Record};
use support::{isobench, status, stderr, stdout};
use synthetic::Recipe;

/// Phases of a start and of a teardown; a container's start has about thirty.
const PHASES: [usize; 2] = [12, 4];
/// Estimates of a run: as many as a quick run of six configurations has.
const ESTIMATES: usize = 150;
/// Runs of the history.
const RUNS: usize = 10_000;

fn main() {
    let dir = tempfile::tempdir().unwrap();
    comparing(dir.path());
    listing(dir.path());
}

/// Runs it, prints what it took, and returns what it printed.
fn timed(what: &str, command: &mut Command) -> String {
    let (before, begun) = (children(), Instant::now());
    let output: Output = command.output().unwrap();
    let (wall, after) = (begun.elapsed().as_secs_f64(), children());
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    println!(
        "{what:<56} {wall:>6.2} s, {:>5.2} s of processor",
        after - before
    );
    stdout(&output)
}

/// Processor time of all children that have ended, in seconds: their user and system ticks of 10 ms
/// (proc_pid_stat(5)).
fn children() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    let ticks: Vec<f64> = fields
        .skip(13)
        .take(2)
        .map(|t| t.parse().unwrap())
        .collect();
    ticks.iter().sum::<f64>() / 100.0
}

fn comparing(dir: &Path) {
    for (id, seed) in [("base", 1), ("head", 2)] {
        let recipe = Recipe {
            id,
            seed,
            blocks: 50_000,
            ..Recipe::default()
        };
        let folder = dir.join(id);
        recipe.write(&folder);
        let file = fs::File::create(folder.join("trials.jsonl")).unwrap();
        let mut lines = BufWriter::new(file);
        for mut record in recipe.records() {
            split(&mut record);
            serde_json::to_writer(&mut lines, &record).unwrap();
            lines.write_all(b"\n").unwrap();
        }
        lines.flush().unwrap();
    }
    let [base, head] = ["base", "head"].map(|id| dir.join(id));
    let mut compare = isobench();
    compare.arg("compare").args([base, head]).arg("--gate");
    timed("compare, 100,000 against 100,000 trials", &mut compare);
}

/// Gives a trial as many phases as a real one has.
fn split(record: &mut Record) {
    let Record::Trial(trial) = record else {
        return;
    };
    let measured = trial.measured.as_mut().unwrap();
    let parts = |count: usize, from: i64, whole: i64, name: &str| -> Vec<PhaseRecord> {
        let each = whole / count as i64;
        let part = |n: usize| PhaseRecord {
            name: format!("{name}_{n}"),
            at: Nanos(from + n as i64 * each),
            ns: Nanos(each),
        };
        (0..count).map(part).collect()
    };
    let [start, end] = PHASES;
    measured.phases = parts(start, 0, measured.t1.0, "phase");
    measured.unaccounted = Nanos(measured.t1.0 % start as i64);
    let teardown = measured.t5.0 - measured.t4.0;
    measured.teardown = parts(end, measured.t4.0, teardown, "end");
}

fn listing(dir: &Path) {
    let recipe = Recipe {
        blocks: 40,
        ..Recipe::default()
    };
    recipe.write(&dir.join("run"));
    let history = |args: &[&str]| {
        let mut command = isobench();
        command.current_dir(dir).arg("history").args(args);
        command.args(["--db", "history.db"]);
        command
    };
    timed("history, 1 run taken in", &mut history(&["import", "run"]));
    let text = stdout(&history(&["export"]).output().unwrap());
    let mut document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let run = document["runs"][0].clone();
    let some = run["estimates"].as_array().unwrap();
    let mut state = 7_u64;
    let mut noise = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
    };
    let runs = (1..RUNS).map(|n| {
        let mut run = run.clone();
        run["id"] = format!("run-{n}").into();
        let (day, hour, minute) = (1 + n / 1440, n / 60 % 24, n % 60);
        run["started"] = format!("2026-01-{day:02}T{hour:02}:{minute:02}:00Z").into();
        let estimates = (0..ESTIMATES).map(|e| {
            let mut estimate = some[e % some.len()].clone();
            let backend = estimate["backend"].as_str().unwrap();
            estimate["backend"] = format!("{backend}-{}", e / some.len()).into();
            // Every third metric has changed a hundred runs ago.
            let step = if e % 3 == 0 && n + 100 > RUNS {
                1.1
            } else {
                1.0
            };
            let factor = step * (1.0 + 0.02 * noise());
            for value in ["median", "ratio"] {
                if let Some(known) = estimate[value].as_f64() {
                    estimate[value] = (known * factor).into();
                }
            }
            estimate
        });
        run["estimates"] = estimates.collect::<Vec<_>>().into();
        run
    });
    document["runs"] = runs.collect::<Vec<_>>().into();
    fs::write(dir.join("all.json"), document.to_string()).unwrap();
    timed(
        "history, 10,000 runs taken in",
        &mut history(&["import", "all.json"]),
    );
    let one = ["--metric", "startup", "--backend", "container-1"];
    for args in [
        &["--limit", "60"][..],
        &["--limit", "10000"],
        &[&["--limit", "10000"][..], &one].concat(),
        &["--limit", "10000", "--html", "trends.html"],
    ] {
        timed(&format!("history {}", args.join(" ")), &mut history(args));
    }
    let page = fs::metadata(dir.join("trends.html")).unwrap().len();
    println!("trends.html: {} KiB", page >> 10);
}
