//! The history: runs are recorded, found, listed, followed and forgotten.

#![allow(clippy::unwrap_used, clippy::panic)] // a test states its expectations

#[path = "history/place.rs"]
mod place;
mod support;
mod synthetic;

use std::fs;
use std::path::Path;

use place::Place;
use support::folder::read_run;
use support::{SHORT, isobench, run_into, status, stderr, stdout};

#[test]
fn a_run_is_recorded_with_its_commit_and_found_by_its_id() {
    let place = Place::new();
    let mut command = run_into(&SHORT, &place.path("run"));
    let command = command.arg("--db").arg(place.db());
    let sha = "0123456789abcdef0123456789abcdef01234567";
    let command = command
        .env("GITHUB_SHA", sha)
        .env("GITHUB_REF_NAME", "trunk");
    let output = command.env_remove("GITHUB_HEAD_REF").output().unwrap();
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let run = read_run(&place.path("run"));
    let project = run.project.unwrap();
    assert_eq!(
        (project.commit.as_str(), project.branch.as_deref()),
        (sha, Some("trunk"))
    );
    let all = place.json(&["export"]);
    let entry = &all["runs"][0];
    assert_eq!(entry["id"], run.id.as_str());
    assert_eq!(entry["project"]["branch"], "trunk");
    assert_eq!(entry["payload"], run.payload.sha256.as_str());
    assert_eq!(
        entry["estimates"].as_array().unwrap().len(),
        run.metrics.len()
    );
    let text = stdout(&place.history(&[]));
    assert!(text.contains(&run.id) && text.contains("0123456"), "{text}");
    // Its id stands for its folder wherever the history is known.
    let mut keep = isobench();
    keep.current_dir(place.dir.path())
        .env("ISOBENCH_HISTORY", place.db());
    let output = keep
        .args(["baseline", &run.id, "./b.json"])
        .output()
        .unwrap();
    assert_eq!(status(&output), 0, "{}", stderr(&output));
}

#[test]
fn recording_can_be_switched_off_and_costs_no_run_where_it_fails() {
    let place = Place::new();
    let run = |out: &str, flags: &[&str], history: Option<&Path>| {
        let mut command = run_into(&SHORT, &place.path(out));
        command
            .args(flags)
            .env("XDG_STATE_HOME", place.path("state"));
        match history {
            Some(path) => command.env("ISOBENCH_HISTORY", path),
            None => command.env_remove("ISOBENCH_HISTORY"),
        };
        command.output().unwrap()
    };
    assert_eq!(status(&run("one", &["--no-history"], None)), 0);
    assert_eq!(status(&run("two", &[], Some(Path::new("off")))), 0);
    assert!(!place.path("state").exists());
    assert_eq!(status(&run("three", &[], None)), 0);
    assert!(place.path("state/isobench/history.db").exists());
    fs::write(
        place.path("mine"),
        "this is not a database, and longer than a header is",
    )
    .unwrap();
    let output = run("four", &[], Some(&place.path("mine")));
    assert_eq!(status(&output), 0);
    assert!(
        stderr(&output).contains("this run is not in the history"),
        "{}",
        stderr(&output)
    );
    assert!(place.path("four/run.json").exists());
    let both = run("five", &["--no-history", "--db", "x"], None);
    assert_eq!(status(&both), 2);
    // What was put in is no measurement.
    let mut command = run_into(&SHORT, &place.path("six"));
    command
        .arg("--db")
        .arg(place.db())
        .env("ISOBENCH_INJECT", "process/startup=1us");
    assert_eq!(status(&command.output().unwrap()), 0);
    assert!(!place.db().exists());
    let mut command = isobench();
    command.args(["history", "import"]).arg(place.path("six"));
    let output = command.arg("--db").arg(place.db()).output().unwrap();
    assert_eq!(status(&output), 2);
}

#[test]
fn trends_mark_the_change_and_name_its_commit() {
    let place = Place::filled();
    let json = place.json(&[
        "--format",
        "json",
        "--metric",
        "startup",
        "--backend",
        "container",
    ]);
    assert_eq!(json["schema"], "isobench.trends/1");
    let trends = json["trends"].as_array().unwrap();
    assert_eq!(trends.len(), 1, "{json:#}");
    let changes = trends[0]["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!(changes[0]["run"], "run-12");
    assert_eq!(changes[0]["commit"], format!("{:040x}", 12));
    assert_eq!(changes[0]["worse"], true);
    let text = stdout(&place.history(&[]));
    assert!(text.contains("worse +20"), "{text}");
    assert!(text.contains("│"), "{text}");
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
}

#[test]
fn filters_choose_runs() {
    let place = Place::filled();
    let ids = |args: &[&str]| -> Vec<String> {
        let json = place.json(&[args, &["--format", "json"]].concat());
        let runs = json["runs"].as_array().unwrap().iter();
        runs.map(|r| r["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&["--limit", "2"]), ["run-23", "run-22"]);
    assert_eq!(ids(&["--branch", "main", "--limit", "1"]), ["run-22"]);
    assert_eq!(ids(&["--since", "2026-02-22"]), ["run-23", "run-22"]);
    assert_eq!(ids(&["--backend", "docker"]), Vec::<String>::new());
    assert_eq!(ids(&["--workload", "noop"]).len(), 24);
    let csv = stdout(&place.history(&["--format", "csv", "--metric", "ready", "--limit", "3"]));
    // Two configurations in each of three runs, and a header.
    assert_eq!(csv.lines().count(), 7, "{csv}");
    assert!(
        csv.lines().skip(1).all(|l| l.contains(",ready,ns,")),
        "{csv}"
    );
    for (flag, bad) in [
        ("--limit", "0"),
        ("--limit", "-1"),
        ("--limit", "NaN"),
        ("--since", "tomorrow"),
    ] {
        let output = place.history(&[flag, bad]);
        assert_eq!(status(&output), 2, "{flag} {bad}");
        assert!(stderr(&output).contains(flag));
    }
    // Nothing a filter holds is SQL.
    let quote = "x' OR 1=1; DROP TABLE run; --";
    assert_eq!(ids(&["--branch", quote]), Vec::<String>::new());
    assert_eq!(ids(&[]).len(), 24);
}

#[test]
fn pruning_forgets_the_oldest() {
    let place = Place::filled();
    let output = place.history(&["prune", "--before", "2026-02-03"]);
    assert_eq!(stdout(&output), "3 runs forgotten\n", "{}", stderr(&output));
    let output = place.history(&["prune", "--keep", "2"]);
    assert_eq!(stdout(&output), "19 runs forgotten\n");
    let left = place.json(&["export"]);
    assert_eq!(left["runs"].as_array().unwrap().len(), 2);
    assert_eq!(left["runs"][0]["id"], "run-23");
    assert!(!left["runs"][1]["estimates"].as_array().unwrap().is_empty());
    for bad in [
        &["prune"][..],
        &["prune", "--keep", "0"],
        &["prune", "--before", "x"],
    ] {
        assert_eq!(status(&place.history(bad)), 2, "{bad:?}");
    }
}
