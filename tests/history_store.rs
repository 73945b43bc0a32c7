//! The history's database: what is no history is left alone, damage is said, older schemas are brought up
//! to date, and nobody's end at any moment harms it.

#![allow(clippy::unwrap_used, clippy::panic)] // a test states its expectations

#[path = "history/place.rs"]
mod place;
mod support;
mod synthetic;

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use place::Place;
use rusqlite::Connection;
use support::{isobench, run_into, skipped, status, stderr, stdout};

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
