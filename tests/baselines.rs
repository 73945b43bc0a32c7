//! Baselines: names and files that runs are compared with.

#![allow(clippy::unwrap_used, clippy::panic)] // a test states its expectations

mod support;
mod synthetic;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::{SHORT, isobench, status, stderr, stdout};
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

    fn run(&self, recipe: &Recipe) -> PathBuf {
        let path = self.path(recipe.id);
        recipe.write(&path);
        path
    }

    fn isobench(&self) -> Command {
        let mut command = isobench();
        command
            .env("XDG_DATA_HOME", self.path("data"))
            .current_dir(self.dir.path());
        command
    }

    fn keep(&self, run: &Path, name: &str) -> Output {
        let mut command = self.isobench();
        command.arg("baseline").arg(run).arg(name).output().unwrap()
    }

    fn gate(&self, base: &str, head: &str, flags: &[&str]) -> Output {
        let mut command = self.isobench();
        let command = command.args(["compare", base, head, "--gate"]);
        command.args(flags).output().unwrap()
    }
}

fn head() -> Recipe {
    Recipe {
        id: "head",
        seed: 2,
        clone3: 1.4,
        ..Recipe::default()
    }
}

#[test]
fn a_baseline_says_what_its_run_says() {
    let place = Place::new();
    let base = place.run(&Recipe::default());
    place.run(&head());
    let output = place.keep(&base, "main");
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let file = place.path("data/isobench/baselines/main.json");
    assert_eq!(stdout(&output).trim(), file.to_str().unwrap());
    assert_eq!(status(&place.keep(&base, "ci/base.json")), 0);
    let json = |base: &str| {
        let output = place.gate(base, "head", &["--format", "json"]);
        assert_eq!(status(&output), 1, "{base}: {}", stderr(&output));
        serde_json::from_str::<serde_json::Value>(&stdout(&output)).unwrap()
    };
    let from_run = json("base");
    let from_name = json("main");
    let verdicts = |json: &serde_json::Value| {
        let mut json = json.clone();
        for metric in json["metrics"].as_array_mut().unwrap() {
            // Shares of phases are kept to six digits.
            metric.as_object_mut().unwrap().remove("parts");
        }
        json
    };
    assert_eq!(verdicts(&from_run), verdicts(&from_name));
    assert_eq!(from_name["metrics"][0]["parts"][0]["name"], "clone3");
    assert_eq!(json("ci/base.json"), from_name);
    // A baseline can be judged, too: nothing is worse the other way round.
    assert_eq!(status(&place.gate("head", "main", &[])), 0);
    // One line a quantity, and small enough for a repository.
    let text = fs::read_to_string(file).unwrap();
    assert!(
        text.lines().count() > 9 && text.len() < 64 << 10,
        "{}",
        text.len()
    );
}

#[test]
fn a_run_is_kept_when_it_ends_well() {
    let place = Place::new();
    let run = |out: &str, flags: &[&str]| {
        let mut command = place.isobench();
        command.arg("run").args(["--out", out]).args(flags);
        command.output().unwrap()
    };
    let output = run("one", &[&SHORT[..], &["--save-baseline", "one"]].concat());
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    assert!(
        stderr(&output).contains("the baseline"),
        "{}",
        stderr(&output)
    );
    assert!(place.path("data/isobench/baselines/one.json").exists());
    assert_eq!(status(&run("two", &SHORT)), 0);
    // A process alone has nothing that is relative to it.
    let output = place.gate("one", "two", &[]);
    assert_eq!(status(&output), 2, "{}", stderr(&output));
    assert!(stderr(&output).contains("./one"));
    fs::remove_dir_all(place.path("one")).unwrap();
    let output = place.gate("one", "two", &[]);
    assert_eq!(status(&output), 5, "{}", stdout(&output));
    assert!(
        stdout(&output).contains("nothing in common"),
        "{}",
        stdout(&output)
    );
    let flags = ["--backends", "container", "--save-baseline", "x"];
    let output = run("three", &flags);
    assert_eq!(status(&output), 2);
    assert!(
        stderr(&output).contains("ratios to process"),
        "{}",
        stderr(&output)
    );
    assert!(!place.path("three").exists());
}

#[test]
fn what_is_not_there_is_an_error_and_lenient_passes_only_that() {
    let place = Place::new();
    place.run(&head());
    for absent in ["nothing", "no/such.json", "../x"] {
        let output = place.gate(absent, "head", &[]);
        assert_eq!(status(&output), 2, "{}", stderr(&output));
        assert!(stderr(&output).contains("BASE: there is no"));
        let lenient = place.gate(absent, "head", &["--baseline-lenient"]);
        assert_eq!(status(&lenient), 0);
        assert!(stderr(&lenient).contains("--baseline-lenient: passed"));
    }
    // HEAD is what was just measured: without it there is nothing to pass.
    let output = place.gate("head", "nothing", &["--baseline-lenient"]);
    assert_eq!(status(&output), 2);
    for broken in ["", "{}", "x", "{\"schema\": \"isobench.baseline/1\"}"] {
        fs::write(place.path("b.json"), broken).unwrap();
        let output = place.gate("b.json", "head", &["--baseline-lenient"]);
        assert_eq!(status(&output), 2, "{broken}");
    }
}

#[test]
fn the_same_run_other_bytes_and_other_hosts_are_told_apart() {
    let place = Place::new();
    let same = Recipe::default();
    let keep = |recipe: &Recipe| {
        let run = place.run(recipe);
        assert_eq!(status(&place.keep(&run, recipe.id)), 0);
        fs::remove_dir_all(run).unwrap();
    };
    keep(&same);
    keep(&Recipe {
        id: "bytes",
        payload: 'b',
        ..Recipe::default()
    });
    keep(&Recipe {
        id: "host",
        kernel: "6.2",
        ..Recipe::default()
    });
    keep(&Recipe {
        id: "few",
        blocks: 8,
        rounds: 2,
        ..Recipe::default()
    });
    keep(&Recipe {
        id: "one-sided",
        rounds: 0,
        ..Recipe::default()
    });
    keep(&Recipe {
        id: "flat",
        noise: 0.0,
        seed: 3,
        ..Recipe::default()
    });
    place.run(&Recipe {
        clone3: 1.0,
        ..head()
    });
    for (base, expected, said) in [
        ("base", 0, "the same as BASE"),
        ("bytes", 2, "payload.sha256"),
        ("host", 5, "host.kernel"),
        ("few", 5, "too few"),
        ("one-sided", 5, "missing in BASE: container idle"),
        ("flat", 0, "the same as BASE"),
    ] {
        let output = place.gate(base, "head", &[]);
        let text = stdout(&output) + &stderr(&output);
        assert_eq!(status(&output), expected, "{base}: {text}");
        assert!(text.contains(said), "{base}: {text}");
    }
    place.run(&same);
    assert_eq!(status(&place.keep(&place.path("base"), "again")), 0);
    let output = place.gate("again", "data/isobench/baselines/base.json", &[]);
    assert_eq!(status(&output), 2);
    assert!(stderr(&output).contains("same run"), "{}", stderr(&output));
    // Neither of two values of no variance is taken for noise.
    let flat = |id, seed, startup| Recipe {
        id,
        seed,
        startup,
        noise: 0.0,
        ..Recipe::default()
    };
    place.run(&flat("flat-one", 5, 1.0));
    place.run(&flat("flat-two", 6, 1.2));
    assert_eq!(status(&place.gate("flat-one", "flat-two", &[])), 1);
}

#[test]
fn a_name_that_is_also_a_path_is_ambiguous() {
    let place = Place::new();
    let base = place.run(&Recipe::default());
    place.run(&head());
    assert_eq!(status(&place.keep(&base, "base")), 0);
    let output = place.gate("base", "head", &[]);
    assert_eq!(status(&output), 2);
    assert!(stderr(&output).contains("./base"), "{}", stderr(&output));
    assert_eq!(status(&place.gate("./base", "head", &[])), 1);
}

#[test]
fn only_a_baseline_is_ever_replaced() {
    let place = Place::new();
    let base = place.run(&Recipe::default());
    assert_eq!(status(&place.keep(&base, "b.json")), 0);
    assert_eq!(status(&place.keep(&base, "b.json")), 0, "replaced");
    let mine = place.path("mine.json");
    fs::write(&mine, "{\"schema\": \"mine\"}").unwrap();
    std::os::unix::fs::symlink(place.path("b.json"), place.path("link.json")).unwrap();
    fs::create_dir(place.path("folder.json")).unwrap();
    for taken in ["mine.json", "link.json", "folder.json", "base/run.json"] {
        let output = place.keep(&base, taken);
        assert_eq!(status(&output), 2, "{taken}");
        assert!(
            stderr(&output).contains("is no baseline"),
            "{}",
            stderr(&output)
        );
    }
    assert_eq!(fs::read_to_string(mine).unwrap(), "{\"schema\": \"mine\"}");
    for bad in ["", "..", "a b", ".x"] {
        assert_eq!(status(&place.keep(&base, bad)), 2, "{bad}");
    }
    // Before anything is measured.
    let mut run = place.isobench();
    let run = run.arg("run").args(SHORT).args(["--out", "out"]);
    let output = run
        .args(["--save-baseline", "./mine.json"])
        .output()
        .unwrap();
    assert_eq!(status(&output), 2);
    assert!(!place.path("out").exists());
}

#[test]
fn a_baseline_is_read_strictly() {
    let place = Place::new();
    let base = place.run(&Recipe::default());
    place.run(&head());
    assert_eq!(status(&place.keep(&base, "b.json")), 0);
    let text = fs::read_to_string(place.path("b.json")).unwrap();
    let good: serde_json::Value = serde_json::from_str(&text).unwrap();
    let refused = |text: &str, said: &str| {
        fs::write(place.path("bad.json"), text).unwrap();
        let output = place.gate("bad.json", "head", &[]);
        assert_eq!(status(&output), 2, "{said}: {}", stdout(&output));
        assert!(
            stderr(&output).contains(said),
            "{said}: {}",
            stderr(&output)
        );
    };
    let change = |at: &str, value: serde_json::Value, said: &str| {
        let mut bad = good.clone();
        *bad.pointer_mut(at).unwrap() = value;
        refused(&bad.to_string(), said);
    };
    change("/schema", "isobench.baseline/2".into(), "newer");
    change(
        "/quantities/0/backend",
        "docker".into(),
        "quantities[0].backend",
    );
    change(
        "/quantities/0/workload",
        "../noop".into(),
        "quantities[0].workload",
    );
    change(
        "/quantities/0/metric",
        "speed".into(),
        "quantities[0].metric",
    );
    change(
        "/quantities/0/failed",
        10_000.into(),
        "quantities[0].failed",
    );
    change("/quantities/0/blocks", 3.into(), "quantities[0].batches");
    change("/quantities/0/blocks", (-3).into(), "quantities[0].blocks");
    change(
        "/quantities/0/batches/0",
        1e6.into(),
        "quantities[0].batches",
    );
    change("/quantities/0/batches", vec![0.1; 13].into(), "13 batches");
    change(
        "/quantities/0/batches/0",
        "NaN".into(),
        "quantities[0].batches[0]",
    );
    change(
        "/quantities/0/parts/1/name",
        "clone3".into(),
        "clone3 occurs twice",
    );
    change(
        "/quantities/1",
        good["quantities"][0].clone(),
        "occur twice",
    );
    change("/run/payload/sha256", "x".into(), "run.payload.sha256");
    change("/run/backends/0/trials", (-1).into(), "trials");
    refused(&text.replacen("\"blocks\"", "\"bl0cks\"", 1), "bl0cks");
    refused(
        &text.replacen("\"reference\":", "\"reference\":1e999,\"x\":", 1),
        "number out of range",
    );
    refused(&text[..text.len() / 2], "EOF");
    refused(&format!("\u{feff}{text}"), "byte-order mark");
    let deep = "[".repeat(1_000_000);
    refused(
        &format!("{{\"schema\":\"isobench.baseline/1\",\"x\":{deep}"),
        "EOF while parsing a list",
    );
}
