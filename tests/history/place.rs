//! A folder with a history of its own.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests state expectations, too
#![allow(dead_code)] // each test binary uses its own part

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use crate::support::{isobench, status, stderr, stdout};
use crate::synthetic::Recipe;

pub struct Place {
    pub dir: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn db(&self) -> PathBuf {
        self.path("history.db")
    }

    pub fn history(&self, args: &[&str]) -> Output {
        let mut command = isobench();
        command.current_dir(self.dir.path());
        command.arg("history").args(args).arg("--db").arg(self.db());
        command.output().unwrap()
    }

    pub fn json(&self, args: &[&str]) -> serde_json::Value {
        let output = self.history(args);
        assert_eq!(status(&output), 0, "{}", stderr(&output));
        serde_json::from_str(&stdout(&output)).unwrap()
    }

    /// Takes in a history of 24 synthetic runs: from the 12th on the container starts later.
    pub fn filled() -> Self {
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
