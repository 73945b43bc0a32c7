//! Reports: that they say what is stored, in every form, and lose nothing.
#![allow(clippy::unwrap_used, clippy::panic)] // a test states its expectations

mod support;
mod synthetic;

#[path = "report/page.rs"]
mod page;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use isobench::host::noise::Noise;
use isobench::measure::samples::Samples;
use isobench::measure::stored::load;
use isobench::report::{html, markdown, model, terminal};
use isobench::store::document::Run;
use support::folder::{read_records, read_run};
use support::{isobench, run_into, status, stderr, stdout, usable};
use synthetic::Recipe;

fn small() -> Recipe {
    Recipe {
        blocks: 40,
        rounds: 6,
        ..Recipe::default()
    }
}

/// A run of what works here, small, with its report.
fn real_run(out: &Path) -> Run {
    let backends: Vec<&str> = ["process", "container", "microvm"]
        .into_iter()
        .filter(|id| usable(id))
        .collect();
    let backends = backends.join(",");
    let flags = [
        ["--profile", "smoke"],
        ["--blocks", "8"],
        ["--max-time", "3m"],
        ["--backends", &backends],
        ["--workloads", "noop,sha256,fault,crossing,probe,idle"],
    ];
    let output = run_into(flags.as_flattened(), out).output().unwrap();
    let said = stderr(&output);
    assert_eq!(support::settled(&output), 0, "{said}");
    for file in [
        "run.json",
        "trials.jsonl",
        "summary.md",
        "report.html",
        "charts",
    ] {
        assert!(said.contains(file), "{file} is not named: {said}");
        assert!(out.join(file).exists(), "{file}");
    }
    read_run(out)
}

/// Every number that the page attaches to a text is in `run.json` or follows from one line of
/// `trials.jsonl`, and every number in that text is a rendering of one of them.
#[test]
fn every_number_on_the_page_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let run = real_run(&out);
    let text = fs::read_to_string(out.join("report.html")).unwrap();
    let page = page::Page::read(&text);
    let mut stored = page::numbers_of(&serde_json::to_value(&run).unwrap());
    stored.extend(page::numbers_of_trials(&read_records(&out)));
    assert!(page.figures.len() > 200, "{} figures", page.figures.len());
    let mut texts = 0;
    for figure in &page.figures {
        for value in &figure.values {
            let known = stored.contains(&value.to_bits());
            assert!(known, "{value} of {:?} is not stored", figure.text);
        }
        let names = page::names_of(&run);
        let unexplained = page::unexplained(&figure.text, &figure.values, &names);
        assert!(
            unexplained.is_empty(),
            "{unexplained:?} in {:?} do not render {:?}",
            figure.text,
            figure.values
        );
        texts += usize::from(!figure.text.is_empty());
    }
    assert!(texts > 150, "{texts} texts");
    // Cells that show a quantity have its number.
    assert_eq!(page.bare_quantities, Vec::<String>::new());
}

/// The check above can fail.
#[test]
fn a_number_that_renders_nothing_stored_is_found() {
    let names = BTreeSet::new();
    assert!(
        page::unexplained(
            "1.23 ms [1.20, 1.30]",
            &[1_234_567.0, 1_201_000.0, 1.3e6],
            &names
        )
        .is_empty()
    );
    assert_eq!(
        page::unexplained("1.25 ms", &[1_234_567.0], &names),
        ["1.25"]
    );
    assert!(page::unexplained("2.00 × slower", &[0.5], &names).is_empty());
}

#[test]
fn pictures_are_whole_and_not_blank() {
    let dir = tempfile::tempdir().unwrap();
    small().write(dir.path());
    let output = isobench()
        .arg("report")
        .arg(dir.path())
        .arg("--png")
        .output()
        .unwrap();
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let mut seen = 0;
    for entry in fs::read_dir(dir.path().join("charts")).unwrap() {
        let path = entry.unwrap().path();
        match path.extension().unwrap().to_str().unwrap() {
            "png" => {
                let file = std::io::BufReader::new(fs::File::open(&path).unwrap());
                let mut reader = png::Decoder::new(file).read_info().unwrap();
                let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
                let frame = reader.next_frame(&mut pixels).unwrap();
                assert_eq!(frame.width, 1920, "{path:?}");
                let inked = pixels
                    .chunks_exact(3)
                    .filter(|p| **p != [255, 255, 255])
                    .count();
                assert!(inked * 500 > pixels.len() / 3, "{path:?}: {inked} pixels");
            }
            "svg" => {
                let text = fs::read_to_string(&path).unwrap();
                let is_whole = text.starts_with("<svg ") && text.trim_end().ends_with("</svg>");
                assert!(is_whole && text.contains("<title>"), "{path:?}");
                assert!(text.matches("<text").count() > 3, "{path:?}");
            }
            other => panic!("{other} in charts"),
        }
        seen += 1;
    }
    // Timelines, distributions, memory, throughput, each twice.
    assert!(seen >= 16, "{seen} pictures");
}

/// Where a report cannot be written the run is kept, and the exit status says so.
#[test]
fn a_report_that_cannot_be_written_loses_no_run() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("charts"), "in the way").unwrap();
    let output = run_into(&support::SHORT, &out).output().unwrap();
    // A single trial leaves nothing to draw but its start, and nothing at all where it was disturbed.
    let said = stderr(&output);
    if status(&output) == 5 {
        let test = "a_report_that_cannot_be_written_loses_no_run";
        return support::skipped(test, "the trial was disturbed, and there is no chart");
    }
    assert_eq!(status(&output), 4, "{said}");
    assert!(
        said.contains("charts") && said.contains("report.html"),
        "{said}"
    );
    assert!(read_run(&out).complete);
    assert!(stdout(&output).contains("isobench"), "{}", stdout(&output));
    let again = isobench()
        .arg("report")
        .arg(&out)
        .arg("--html")
        .output()
        .unwrap();
    assert_eq!(status(&again), 0, "{}", stderr(&again));
}

#[test]
fn runs_are_laid_side_by_side() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b, out) = (
        dir.path().join("a"),
        dir.path().join("b"),
        dir.path().join("out"),
    );
    small().write(&a);
    let other = Recipe {
        id: "other",
        startup: 2.0,
        kernel: "6.12",
        ..small()
    };
    other.write(&b);
    let report = |flags: &[&str]| {
        isobench()
            .arg("report")
            .args([&a, &b])
            .args(flags)
            .output()
            .unwrap()
    };
    let output = report(&[]);
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let text = stdout(&output);
    for needed in [
        "container [A]",
        "container [B]",
        "The runs differ in kernel: A 6.1; B 6.12.",
    ] {
        assert!(text.contains(needed), "{needed} is not in {text}");
    }
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    // Files need a place.
    assert_eq!(status(&report(&["--html"])), 2);
    let output = report(&[
        "--html",
        "--png",
        "--markdown",
        "--out",
        out.to_str().unwrap(),
    ]);
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let html = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(html.contains("data-b=\"process [A]\"") && html.contains("data-b=\"process [B]\""));
    assert!(out.join("summary.md").exists() && out.join("charts/throughput.png").exists());
}

/// Twenty-five configurations: the page stays below 2 MiB, the summary below 64 KiB.
#[test]
fn a_run_of_many_backends_stays_small() {
    const MANY: [&str; 25] = [
        "process",
        "container",
        "microvm",
        "microvm:jailed",
        "microvm:snapshot",
        "microvm:pool",
        "linux-vm",
        "container:none",
        "container:only=pid",
        "container:only=net",
        "container:only=ipc",
        "container:only=mnt",
        "container:only=uts",
        "container:only=rootfs",
        "container:only=cgroup",
        "container:only=user",
        "container:without=pid",
        "container:without=net",
        "container:without=ipc",
        "container:without=uts",
        "container:without=rootfs",
        "container:without=cgroup",
        "container:without=seccomp",
        "container:with=time",
        "container:with=cpu",
    ];
    let dir = tempfile::tempdir().unwrap();
    let recipe = Recipe {
        blocks: 400,
        rounds: 4,
        backends: &MANY,
        ..Recipe::default()
    };
    recipe.write(dir.path());
    let stored = load(dir.path()).unwrap();
    let samples = Samples::of(stored.records.as_deref().unwrap());
    let view = model::view(&stored.run, Some(&samples));
    let page = html::render(&view).unwrap();
    assert!(page.len() < 2 << 20, "{} bytes", page.len());
    let summary = markdown::render(&view);
    assert!(summary.len() < 64 << 10, "{} bytes", summary.len());
    // What is marked up in a page is what this program marks up.
    assert!(
        !page.contains("http://") && !page.contains("https://"),
        "a page fetches nothing"
    );
}

/// Names and reasons come from outside.
#[test]
fn nothing_of_a_run_acts_as_markup() {
    let dir = tempfile::tempdir().unwrap();
    small().write(dir.path());
    let mut run = read_run(dir.path());
    let hostile = "</style></script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>";
    run.host.cpu = hostile.to_owned();
    run.host.kernel = hostile.to_owned();
    run.inconclusive = Some(hostile.to_owned());
    run.backends[1].limitations.push(hostile.to_owned());
    let page = html::render(&model::view(&run, None)).unwrap();
    assert_eq!(page.matches("<script>").count(), 1);
    assert!(!page.contains("<img"), "an element came through");
}

/// The same run gives the same text, character by character. To accept a change: ISOBENCH_BLESS=1.
#[test]
fn terminal_and_markdown_are_as_agreed() {
    let dir = tempfile::tempdir().unwrap();
    small().write(dir.path());
    let mut stored = load(dir.path()).unwrap();
    stored.run.host.noise = quiet();
    let samples = Samples::of(stored.records.as_deref().unwrap());
    let view = model::view(&stored.run, Some(&samples));
    let golden = [
        (
            "terminal.txt",
            terminal::render(&view),
            include_str!("report/terminal.txt"),
        ),
        (
            "summary.md",
            markdown::render(&view),
            include_str!("report/summary.md"),
        ),
    ];
    for (name, found, agreed) in golden {
        if std::env::var_os("ISOBENCH_BLESS").is_some() {
            let path = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("tests/report")
                .join(name);
            fs::write(path, &found).unwrap();
            continue;
        }
        let differs = found.lines().zip(agreed.lines()).find(|(a, b)| a != b);
        assert!(found == agreed, "{name}: {differs:?}\n{found}");
    }
}

/// A host of which nothing is known but that it was quiet.
fn quiet() -> Noise {
    let text = |s: &str| s.to_owned();
    Noise {
        governor: text("performance"),
        turbo: text("off"),
        transparent_hugepage: text("madvise"),
        aslr: text("2"),
        mitigations: Some(Vec::new()),
        kvm_parameters: Vec::new(),
        changed: Vec::new(),
        load_before: Some(0.1),
        load_after: Some(0.9),
        steal_percent: Some(0.0),
        context_switches_per_second: Some(1234.0),
        cpu_pressure_percent: Some(1.5),
        memory_pressure_percent: Some(0.0),
        io_pressure_percent: Some(0.0),
        throttle_events: Some(0),
        quota_percent: None,
    }
}
