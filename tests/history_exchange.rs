//! What goes into a history comes out again: runs, exported histories, results of criterion.

#![allow(clippy::unwrap_used, clippy::panic)] // a test states its expectations

#[path = "history/place.rs"]
mod place;
mod support;
mod synthetic;

use std::fs;

use place::Place;
use support::{isobench, status, stderr, stdout};

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
