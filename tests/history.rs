//! The history: what goes in comes out, what is no history is left alone.

#![allow(clippy::unwrap_used, clippy::panic)] // a test states its expectations

mod support;
mod synthetic;

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rusqlite::Connection;
use support::folder::read_run;
use support::{SHORT, isobench, run_into, skipped, status, stderr, stdout};
use synthetic::Recipe;

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn db(&self) -> PathBuf {
        self.path("history.db")
    }

    fn history(&self, args: &[&str]) -> Output {
        let mut command = isobench();
        command.current_dir(self.dir.path());
        command.arg("history").args(args).arg("--db").arg(self.db());
        command.output().unwrap()
    }

    fn json(&self, args: &[&str]) -> serde_json::Value {
        let output = self.history(args);
        assert_eq!(status(&output), 0, "{}", stderr(&output));
        serde_json::from_str(&stdout(&output)).unwrap()
    }

    /// Takes in a history of 24 synthetic runs: from the 12th on the container starts later.
    fn filled() -> Self {
        let place = Self::new();
        let recipe = Recipe {
            id: "first",
            blocks: 40,
            ..Recipe::default()
        };
        recipe.write(&place.path("first"));
        let output = place.history(&["import", "first"]);
        assert_eq!(status(&output), 0, "{}", stderr(&output));
        let mut document = place.json(&["export"]);
        let first = document["runs"][0].clone();
        let runs = document["runs"].as_array_mut().unwrap();
        for n in 1..24_u32 {
            let mut run = first.clone();
            run["id"] = format!("run-{n}").into();
            run["started"] = format!("2026-02-{n:02}T00:00:00Z").into();
            run["project"] = serde_json::json!({
                "commit": format!("{n:040x}"), "modified": false,
                "branch": if n % 2 == 0 { "main" } else { "topic" },
            });
            for estimate in run["estimates"].as_array_mut().unwrap() {
                let step = if n >= 12 && estimate["metric"] == "startup" {
                    1.2
                } else {
                    1.0
                };
                let wobble = 1.0 + 0.002 * f64::from(n * 7 % 5);
                if let Some(ratio) = estimate["ratio"].as_f64() {
                    estimate["ratio"] = (ratio * step * wobble).into();
                }
            }
            runs.push(run);
        }
        fs::write(place.path("all.json"), document.to_string()).unwrap();
        let output = place.history(&["import", "all.json"]);
        assert_eq!(
            stdout(&output),
            "23 runs taken in, 1 known already\n",
            "{}",
            stderr(&output)
        );
        place
    }
}

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
fn what_is_exported_can_be_taken_in_again() {
    let place = Place::filled();
    let exported = place.json(&["export"]);
    let other = Place::new();
    fs::write(other.path("all.json"), exported.to_string()).unwrap();
    assert_eq!(status(&other.history(&["import", "all.json"])), 0);
    assert_eq!(other.json(&["export"]), exported);
    let again = other.history(&["import", "all.json"]);
    assert_eq!(stdout(&again), "0 runs taken in, 24 known already\n");
    // One bad run takes in none.
    let third = Place::new();
    for (at, value, said) in [
        (
            "/runs/3/started",
            serde_json::json!("noon"),
            "runs[3].started",
        ),
        (
            "/runs/3/id",
            exported["runs"][2]["id"].clone(),
            "occurs twice",
        ),
        (
            "/runs/3/estimates/0/median",
            serde_json::json!(1e300),
            "estimates[0].median",
        ),
        (
            "/runs/3/estimates/0/unit",
            serde_json::json!("parsec"),
            "unit",
        ),
        (
            "/runs/3/project",
            serde_json::json!({"commit": "x"}),
            "project",
        ),
        ("/schema", serde_json::json!("isobench.history/2"), "newer"),
    ] {
        let mut bad = exported.clone();
        *bad.pointer_mut(at).unwrap() = value;
        fs::write(third.path("bad.json"), bad.to_string()).unwrap();
        let output = third.history(&["import", "bad.json"]);
        assert_eq!(status(&output), 2, "{at}");
        assert!(stderr(&output).contains(said), "{at}: {}", stderr(&output));
        assert!(!third.db().exists());
    }
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

#[test]
fn results_of_criterion_are_taken_in_once() {
    let place = Place::new();
    let new = place.path("criterion/startup/container/new");
    fs::create_dir_all(&new).unwrap();
    let write = |name: &str, text: &str| fs::write(new.join(name), text).unwrap();
    let ci = |low: f64, high: f64| {
        format!("{{\"confidence_level\":0.95,\"lower_bound\":{low},\"upper_bound\":{high}}}")
    };
    let median = format!(
        "{{\"mean\":{{}},\"median\":{{\"confidence_interval\":{},\"point_estimate\":1234.5,\
         \"standard_error\":7.0}}}}",
        ci(1200.0, 1300.0)
    );
    write(
        "benchmark.json",
        "{\"group_id\":\"startup\",\"full_id\":\"startup/container\"}",
    );
    write("estimates.json", &median);
    write("sample.json", "{\"iters\":[1,2],\"times\":[1200,2500]}");
    let import = || {
        let mut command = isobench();
        command
            .arg("import")
            .arg("--criterion")
            .arg(place.path("criterion"));
        command.arg("--db").arg(place.db()).output().unwrap()
    };
    let output = import();
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    assert!(
        stdout(&output).ends_with(": 1 benchmarks\n"),
        "{}",
        stdout(&output)
    );
    assert!(stdout(&import()).ends_with("(known already)\n"));
    let all = place.json(&["export"]);
    let estimate = &all["runs"][0]["estimates"][0];
    assert_eq!(estimate["backend"], "startup/container");
    assert_eq!(estimate["median"], 1234.5);
    assert_eq!(estimate["n"], 2);
    assert_eq!(estimate["ci95"][1], 1300.0);
    for (name, bad) in [
        ("estimates.json", "{}"),
        ("estimates.json", "{\"median\": 7}"),
        ("sample.json", ""),
        ("benchmark.json", "{\"full_id\":\"a\\nb\"}"),
    ] {
        let good = fs::read_to_string(new.join(name)).unwrap();
        write(name, bad);
        let output = import();
        assert_eq!(status(&output), 2, "{name} {bad}");
        assert!(stderr(&output).contains(name), "{}", stderr(&output));
        write(name, &good);
    }
    fs::remove_dir_all(place.path("criterion/startup")).unwrap();
    assert_eq!(status(&import()), 2);
}

/// Everything that looks at a history refuses, and the file is what it was.
fn refused_untouched(place: &Place, expected: i32, said: &str) {
    let before = fs::read(place.db()).unwrap();
    for args in [&[][..], &["export"], &["prune", "--keep", "1"]] {
        let output = place.history(args);
        assert_eq!(status(&output), expected, "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
        assert!(stdout(&output).is_empty());
    }
    assert!(fs::read(place.db()).unwrap() == before, "{said}");
}

#[test]
fn what_is_no_history_is_refused_and_left_alone() {
    let place = Place::new();
    let database = |sql: &str| {
        let _ = fs::remove_file(place.db());
        Connection::open(place.db())
            .unwrap()
            .execute_batch(sql)
            .unwrap();
    };
    database("CREATE TABLE bookmarks (url TEXT);");
    refused_untouched(&place, 2, "no history of isobench");
    database("PRAGMA application_id = 77;");
    refused_untouched(&place, 2, "no history of isobench");
    fs::write(
        place.db(),
        "a text that is no database, yet longer than a header. ".repeat(40),
    )
    .unwrap();
    refused_untouched(&place, 2, "no history of isobench");
    database("PRAGMA application_id = 1769172834; PRAGMA user_version = 99; CREATE TABLE t (x);");
    refused_untouched(&place, 2, "newer");
    fs::remove_file(place.db()).unwrap();
    fs::create_dir(place.db()).unwrap();
    assert_eq!(status(&place.history(&[])), 2);
    fs::remove_dir(place.db()).unwrap();
    fs::write(place.path("real.db"), "").unwrap();
    std::os::unix::fs::symlink(place.path("real.db"), place.db()).unwrap();
    let output = place.history(&[]);
    assert_eq!(status(&output), 2);
    assert!(
        stderr(&output).contains("not a regular file"),
        "{}",
        stderr(&output)
    );
    assert!(fs::read(place.path("real.db")).unwrap().is_empty());
}

#[test]
fn damage_is_said() {
    let place = Place::filled();
    let whole = fs::read(place.db()).unwrap();
    let page = 4096;
    assert!(whole.len() > 4 * page);
    for at in (1..whole.len() / page).step_by(2) {
        fs::write(place.db(), &whole).unwrap();
        let mut file = fs::OpenOptions::new().write(true).open(place.db()).unwrap();
        file.seek(SeekFrom::Start((at * page) as u64)).unwrap();
        let noise: Vec<u8> = (0..page).map(|i| (i * 31 + at * 7) as u8 | 0x80).collect();
        file.write_all(&noise).unwrap();
        drop(file);
        let output = place.history(&["export"]);
        assert_eq!(status(&output), 2, "page {at}: {}", stderr(&output));
        assert!(
            stderr(&output).contains("is damaged"),
            "{}",
            stderr(&output)
        );
    }
    // A single flipped byte need not be noticed, but is never a crash.
    for at in (0..whole.len()).step_by(whole.len() / 60) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x55;
        fs::write(place.db(), flipped).unwrap();
        let code = status(&place.history(&[]));
        assert!([0, 2, 4].contains(&code), "byte {at}: {code}");
    }
    fs::write(place.db(), &whole[..whole.len() / 2 / page * page]).unwrap();
    assert_eq!(status(&place.history(&[])), 2);
}

#[test]
fn a_locked_history_is_waited_for_and_then_an_error() {
    let place = Place::filled();
    let holder = Connection::open(place.db()).unwrap();
    holder
        .execute_batch("BEGIN IMMEDIATE; DELETE FROM estimate;")
        .unwrap();
    // Readers are not in the way of writers, nor the other way round.
    assert_eq!(
        place.json(&["export"])["runs"].as_array().unwrap().len(),
        24
    );
    let output = place.history(&["prune", "--keep", "1"]);
    assert_eq!(status(&output), 4, "{}", stderr(&output));
    assert!(
        stderr(&output).contains("in use by another"),
        "{}",
        stderr(&output)
    );
    holder.execute_batch("ROLLBACK").unwrap();
    assert_eq!(status(&place.history(&["prune", "--keep", "1"])), 0);
}

#[test]
fn a_history_that_cannot_be_written_to_is_an_error() {
    const NAME: &str = "a_history_that_cannot_be_written_to_is_an_error";
    if nix::unistd::geteuid().is_root() {
        return skipped(NAME, "root may write everywhere");
    }
    let place = Place::filled();
    fs::set_permissions(place.db(), fs::Permissions::from_mode(0o400)).unwrap();
    let output = place.history(&["prune", "--keep", "1"]);
    assert_eq!(status(&output), 4, "{}", stderr(&output));
    assert!(stderr(&output).contains("--db"), "{}", stderr(&output));
}

/// A database as the first schema had it, in this repository since.
#[test]
fn fixtures_of_every_schema_are_brought_up_to_date() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/history");
    let Ok(folder) = fs::read_dir(&fixtures) else {
        return skipped(
            "fixtures_of_every_schema_are_brought_up_to_date",
            "the checkout cannot be read by this user",
        );
    };
    let mut seen = 0;
    for fixture in folder {
        let place = Place::new();
        fs::copy(fixture.unwrap().path(), place.db()).unwrap();
        fs::set_permissions(place.db(), fs::Permissions::from_mode(0o600)).unwrap();
        let all = place.json(&["export"]);
        let runs = all["runs"].as_array().unwrap();
        assert_eq!(runs.len(), 3);
        assert_eq!(runs[0]["project"]["branch"], "main");
        assert_eq!(runs[0]["estimates"].as_array().unwrap().len(), 14);
        assert_eq!(status(&place.history(&["prune", "--keep", "1"])), 0);
        seen += 1;
    }
    assert!(seen >= 1);
}

/// Kills runs at random moments; what they acknowledged is there. `ISOBENCH_KILLS=1000` for the
/// whole of it.
#[test]
fn kill_at_any_moment_leaves_nothing_corrupt() {
    let kills: u32 = std::env::var("ISOBENCH_KILLS").map_or(12, |n| n.parse().unwrap());
    let place = Place::new();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let (mut ended, mut unborn, mut trials) = (0, 0, 0);
    for kill in 0..kills {
        let out = place.path("run");
        let mut command: Command = run_into(
            &[
                "--backends",
                "process",
                "--workloads",
                "noop",
                "--blocks",
                "20",
            ],
            &out,
        );
        command.arg("--db").arg(place.db());
        let mut child = support::start(&mut command);
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let chance = state >> 33;
        // Half of them whenever, half once trials are being written.
        let pause = if kill % 2 == 0 {
            chance % 600_000
        } else {
            while !out.join("run.json").exists() && child.try_wait().unwrap().is_none() {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            chance % 500_000
        };
        std::thread::sleep(std::time::Duration::from_micros(pause));
        let _ = child.kill();
        let output = child.wait_with_output().unwrap();
        let lines = fs::read_to_string(out.join("trials.jsonl")).unwrap_or_default();
        let written = lines
            .lines()
            .filter(|l| l.contains("\"record\":\"trial\""))
            .count();
        let whole = lines.matches("\"warmup\":false").count();
        // What was not written to its end is at most one line, and was not acknowledged.
        let whole = whole - usize::from(!lines.is_empty() && !lines.ends_with('\n') && whole > 0);
        if out.join("run.json").exists() {
            // Every whole line was acknowledged: all of them are in the report, and nothing is refused.
            let mut report = isobench();
            let report = report.arg("report").arg(&out).args(["--format", "json"]);
            let report = report.output().unwrap();
            assert_eq!(status(&report), 0, "kill {kill}: {}", stderr(&report));
            let json: serde_json::Value = serde_json::from_str(&stdout(&report)).unwrap();
            let counted = json["backends"][0]["trials"].as_u64().unwrap();
            assert_eq!(counted, whole as u64, "kill {kill}");
            trials += counted;
            if status(&output) == 0 {
                let mut known = place.history(&["--limit", "1000000", "--format", "json"]);
                assert_eq!(status(&known), 0);
                known.stdout.retain(|b| *b != b'\n');
                assert!(
                    stdout(&known).contains(json["id"].as_str().unwrap()),
                    "kill {kill}"
                );
                ended += 1;
            }
        } else {
            assert_eq!(written, 0, "kill {kill}");
            unborn += 1;
        }
        let opened = place.history(&["--limit", "1"]);
        assert_eq!(status(&opened), 0, "kill {kill}: {}", stderr(&opened));
        let _ = fs::remove_dir_all(out);
    }
    eprintln!(
        "{kills} kills: {unborn} before the run began, {ended} after its end, {trials} trials"
    );
}
