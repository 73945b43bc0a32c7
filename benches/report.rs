//! How long a report takes, and how much memory: a normal run, and one of a million trials, read from disk
//! and rendered whole (HTML, Markdown, every chart as PNG and SVG).
//!
//! `cargo bench --bench report [-- TRIALS]`. A process of its own for each size, so that the largest resident
//! set is that size's. Wanted: a normal run in under 1 s; 1,000,000 trials in under 10 s and 1 GiB.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // a benchmark states its expectations

#[path = "../tests/synthetic/mod.rs"]
mod synthetic;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use isobench::measure::samples::Samples;
use isobench::measure::stored::load_samples;
use isobench::metric::Nanos;
use isobench::report::files::{self, Wanted};
use isobench::report::model;
use isobench::store::document::Run;
use isobench::store::folder::to_pretty_json;
use isobench::store::record::{PhaseRecord, Record};
use synthetic::Recipe;

/// Trials of a quick run of three backends, about, and of the largest that has a promise.
const SIZES: [u64; 2] = [3_000, 1_000_000];
const BACKENDS: &[&str] = &["process", "container", "microvm", "microvm:pool"];
/// Phases of a start; a container's has about thirty.
const PHASES: usize = 12;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    if let [mode, folder] = &arguments[..]
        && mode == "render"
    {
        return render(Path::new(folder));
    }
    let sizes = arguments
        .first()
        .map_or_else(|| SIZES.to_vec(), |n| vec![n.parse().unwrap()]);
    for trials in sizes {
        let dir = tempfile::tempdir().unwrap();
        let bytes = make(dir.path(), trials);
        println!("{trials} trials, trials.jsonl of {} MiB", bytes >> 20);
        let this = std::env::current_exe().unwrap();
        let status = Command::new(this)
            .arg("render")
            .arg(dir.path())
            .status()
            .unwrap();
        assert!(status.success());
    }
}

/// Makes a run of that many trials: a small one's estimates, and its trials again and again.
fn make(folder: &Path, trials: u64) -> u64 {
    let recipe = Recipe {
        blocks: 100,
        rounds: 6,
        backends: BACKENDS,
        ..Recipe::default()
    };
    recipe.write(folder);
    let path = folder.join("trials.jsonl");
    let mut run: Run =
        serde_json::from_str(&fs::read_to_string(folder.join("run.json")).unwrap()).unwrap();
    let records = recipe.records();
    let blocks = trials / BACKENDS.len() as u64;
    let mut out = BufWriter::new(File::create(&path).unwrap());
    let mut write = |record: &Record| {
        serde_json::to_writer(&mut out, record).unwrap();
        out.write_all(b"\n").unwrap();
    };
    let per_round = recipe.blocks * BACKENDS.len() as u64;
    for number in 0..blocks * BACKENDS.len() as u64 {
        let Record::Trial(trial) = &records[(number % per_round) as usize] else {
            unreachable!("trials come first");
        };
        let mut trial = trial.clone();
        trial.trial = number;
        trial.block = number / BACKENDS.len() as u64;
        trial.warmup = false;
        let measured = trial.measured.as_mut().unwrap();
        let length = measured.t1.0 / PHASES as i64;
        measured.phases = (0..PHASES as i64)
            .map(|n| PhaseRecord {
                name: format!("phase_{n}"),
                at: Nanos(n * length),
                ns: Nanos(length),
            })
            .collect();
        measured.unaccounted = Nanos(measured.t1.0 - length * PHASES as i64);
        write(&Record::Trial(trial));
    }
    let mut memory = vec![0; BACKENDS.len()];
    for record in &records {
        if let Record::Memory(step) = record {
            memory[BACKENDS.iter().position(|id| *id == step.backend).unwrap()] += 1;
            write(record);
        }
    }
    out.flush().unwrap();
    for (backend, steps) in run.backends.iter_mut().zip(memory) {
        backend.trials = blocks + steps;
    }
    fs::write(folder.join("run.json"), to_pretty_json(&run)).unwrap();
    fs::metadata(&path).unwrap().len()
}

/// Reads and renders, each step timed.
fn render(folder: &Path) {
    let begin = Instant::now();
    let (stored, samples): (_, Option<Samples>) = load_samples(folder).unwrap();
    let read = begin.elapsed();
    let view = model::view(&stored.run, samples.as_ref());
    let seen = begin.elapsed();
    for (name, wanted) in [
        (
            "HTML",
            Wanted {
                html: true,
                ..Wanted::default()
            },
        ),
        (
            "Markdown",
            Wanted {
                markdown: true,
                ..Wanted::default()
            },
        ),
        (
            "pictures",
            Wanted {
                pictures: true,
                ..Wanted::default()
            },
        ),
    ] {
        let begin = Instant::now();
        files::write(folder, &view, wanted, &mut Vec::new()).unwrap();
        println!("  {name:<9} {:>7.3} s", begin.elapsed().as_secs_f64());
    }
    println!("  reading   {:>7.3} s", read.as_secs_f64());
    println!("  view      {:>7.3} s", (seen - read).as_secs_f64());
    let page = fs::metadata(folder.join("report.html")).unwrap().len();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    println!(
        "  in all    {:>7.3} s, {} MiB resident at most, {} charts, report.html {} KiB",
        begin.elapsed().as_secs_f64(),
        peak >> 10,
        view.charts.len(),
        page >> 10
    );
}
