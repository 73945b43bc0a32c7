//! How long large stores take. Times depend on the machine, so none is asserted: they are printed.
//!
//! `cargo test --release --test scale -- --ignored --nocapture`

#![allow(clippy::unwrap_used, clippy::panic)] // a test states its expectations

mod support;
mod synthetic;

use std::time::Instant;

use support::{isobench, status, stderr, stdout};
use synthetic::Recipe;

#[test]
#[ignore = "takes minutes without optimisation"]
fn comparing_a_hundred_thousand_trials_with_as_many() {
    let dir = tempfile::tempdir().unwrap();
    for (id, seed) in [("base", 1), ("head", 2)] {
        let recipe = Recipe {
            id,
            seed,
            blocks: 50_000,
            ..Recipe::default()
        };
        recipe.write(&dir.path().join(id));
    }
    let begun = Instant::now();
    let mut compare = isobench();
    compare
        .arg("compare")
        .args([dir.path().join("base"), dir.path().join("head")]);
    let output = compare.arg("--gate").output().unwrap();
    let took = begun.elapsed();
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    eprintln!("compare, 100,000 against 100,000 trials: {took:.2?}");
}

#[test]
#[ignore = "takes minutes without optimisation"]
fn listing_ten_thousand_runs() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = Recipe {
        blocks: 40,
        ..Recipe::default()
    };
    recipe.write(&dir.path().join("run"));
    let db = dir.path().join("history.db");
    let history = |args: &[&str]| {
        let mut command = isobench();
        command.current_dir(dir.path()).arg("history").args(args);
        let begun = Instant::now();
        let output = command.arg("--db").arg(&db).output().unwrap();
        assert_eq!(status(&output), 0, "{}", stderr(&output));
        (stdout(&output), begun.elapsed())
    };
    history(&["import", "run"]);
    let (text, _) = history(&["export"]);
    let mut document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut run = document["runs"][0].clone();
    // As many estimates as a quick run of six configurations has.
    let some = run["estimates"].as_array().unwrap().clone();
    let many = (0..150).map(|n| {
        let mut estimate = some[n % some.len()].clone();
        estimate["backend"] = format!("backend-{}", n / some.len()).into();
        estimate
    });
    run["estimates"] = many.collect::<Vec<_>>().into();
    let runs = (1..10_000).map(|n| {
        let mut run = run.clone();
        run["id"] = format!("run-{n}").into();
        run["started"] = format!(
            "2026-01-{:02}T{:02}:{:02}:00Z",
            1 + n / 1440,
            n / 60 % 24,
            n % 60
        )
        .into();
        run
    });
    document["runs"] = runs.collect::<Vec<_>>().into();
    std::fs::write(dir.path().join("all.json"), document.to_string()).unwrap();
    let (_, took) = history(&["import", "all.json"]);
    eprintln!("history, 10,000 runs taken in: {took:.2?}");
    for args in [
        &["--limit", "60"][..],
        &["--limit", "10000"],
        &[
            "--limit",
            "10000",
            "--metric",
            "startup",
            "--backend",
            "backend-1",
        ],
    ] {
        let (text, took) = history(args);
        assert!(text.lines().count() > 60);
        eprintln!("history {}: {took:.2?}", args.join(" "));
    }
}
