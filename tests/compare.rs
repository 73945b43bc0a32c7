//! `isobench compare` on runs whose truth is known.

#![allow(clippy::unwrap_used, clippy::panic)] // a test states its expectations

mod support;
mod synthetic;

use std::path::PathBuf;
use std::process::Output;

use support::{isobench, status, stderr, stdout};
use synthetic::Recipe;

struct Case {
    dir: tempfile::TempDir,
}

impl Case {
    fn new(base: &Recipe, head: &Recipe) -> Self {
        let case = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        base.write(&case.path("base"));
        head.write(&case.path("head"));
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn compare(&self, flags: &[&str]) -> Output {
        let mut command = isobench();
        command
            .arg("compare")
            .args([self.path("base"), self.path("head")]);
        command.args(flags).output().unwrap()
    }
}

fn head() -> Recipe {
    Recipe {
        id: "head",
        seed: 2,
        ..Recipe::default()
    }
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_str(&stdout(output)).unwrap()
}

/// Verdicts other than "same", as `backend workload metric verdict`.
fn told(output: &Output) -> Vec<String> {
    json(output)["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|m| m["verdict"] != "same")
        .map(|m| {
            ["backend", "workload", "metric", "verdict"]
                .map(|k| m[k].as_str().unwrap())
                .join(" ")
        })
        .collect()
}

#[test]
fn nothing_changed_is_the_same() {
    let case = Case::new(&Recipe::default(), &head());
    let output = case.compare(&["--gate", "--format", "json"]);
    assert_eq!(
        status(&output),
        0,
        "{}\n{}",
        stdout(&output),
        stderr(&output)
    );
    assert_eq!(told(&output), Vec::<String>::new());
    assert_eq!(json(&output)["verdict"], "same");
    assert_eq!(json(&output)["schema"], "isobench.compare/1");
    let text = case.compare(&[]);
    assert!(stdout(&text).ends_with("HEAD is the same as BASE in all 9 comparisons.\n"));
    assert!(stdout(&text).lines().all(|l| l.chars().count() <= 80));
}

#[test]
fn a_slower_host_is_no_regression() {
    let slower = Recipe {
        host: 1.3,
        ..head()
    };
    let output = Case::new(&Recipe::default(), &slower).compare(&["--gate"]);
    assert_eq!(status(&output), 0, "{}", stdout(&output));
}

/// A ratio does not cancel all of a machine's state: what is no larger than the reference's own change
/// proves nothing, what is larger does.
#[test]
fn a_change_that_the_reference_outdoes_is_inconclusive() {
    for (host, startup, expected) in [(1.2, 1.15, 5), (1.2, 1.4, 1), (1.0, 1.15, 1)] {
        let other = Recipe {
            host,
            startup,
            ..head()
        };
        let output = Case::new(&Recipe::default(), &other).compare(&["--gate", "--format", "json"]);
        assert_eq!(status(&output), expected, "{}", stdout(&output));
        let json = json(&output);
        let metrics = json["metrics"].as_array().unwrap();
        let startup = metrics.iter().find(|m| m["metric"] == "startup").unwrap();
        let outdone = startup["doubt"]["short"] == "other state";
        assert_eq!(outdone, expected == 5, "{startup}");
    }
}

#[test]
fn ten_percent_of_work_is_found_and_named() {
    let slower = Recipe {
        work: 1.1,
        ..head()
    };
    let case = Case::new(&Recipe::default(), &slower);
    let output = case.compare(&["--gate", "--format", "json"]);
    assert_eq!(status(&output), 1, "{}", stdout(&output));
    assert_eq!(told(&output)[0], "container sha256@1MiB bandwidth worse");
    assert_eq!(status(&case.compare(&[])), 0, "without --gate");
    let human = stdout(&case.compare(&[]));
    assert!(human.contains("HEAD is worse than BASE: container sha256@1MiB bandwidth (−"));
    let mut lines = human.lines().skip_while(|l| !l.starts_with("worse (1)"));
    assert!(
        lines.nth(1).unwrap().contains("sha256@1MiB bandwidth"),
        "{human}"
    );
    let markdown = stdout(&case.compare(&["--format", "markdown"]));
    assert!(markdown.contains("| worse | container | sha256@1MiB | bandwidth |"));
    // The same change, judged the other way round, is an improvement; above 15 % it would not be.
    let wider = case.compare(&["--gate", "--threshold", "15%"]);
    assert_eq!(status(&wider), 0, "{}", stdout(&wider));
}

#[test]
fn the_phase_that_explains_a_regression_is_named() {
    let slower = Recipe {
        clone3: 1.4,
        ..head()
    };
    let case = Case::new(&Recipe::default(), &slower);
    let output = case.compare(&["--gate", "--format", "json"]);
    assert_eq!(status(&output), 1, "{}", stdout(&output));
    let json = json(&output);
    let metrics = json["metrics"].as_array().unwrap();
    let of = |name| metrics.iter().find(|m| m["metric"] == name).unwrap();
    let startup = of("startup");
    assert_eq!(startup["verdict"], "worse");
    let part = &startup["parts"][0];
    assert_eq!(part["name"], "clone3");
    // 0.6 × 0.4 of 1.4 ms; all of the change.
    let difference = part["difference"].as_f64().unwrap();
    assert!((300e3..370e3).contains(&difference), "{part}");
    let share = part["share"].as_f64().unwrap();
    assert!((0.9..1.1).contains(&share), "{part}");
    assert_eq!(of("ready")["parts"][0]["name"], "clone3");
    assert!(of("bandwidth")["parts"].as_array().unwrap().is_empty());
    let human = stdout(&case.compare(&[]));
    assert!(human.contains("from clone3 +3"), "{human}");
    assert!(human.contains(", in clone3)"), "{human}");
    assert!(human.lines().all(|l| l.chars().count() <= 80), "{human}");
    let markdown = stdout(&case.compare(&["--format", "markdown"]));
    assert!(markdown.contains("from clone3 +3"), "{markdown}");
}

#[test]
fn a_faster_start_is_better_and_passes() {
    let faster = Recipe {
        startup: 0.7,
        ..head()
    };
    let output = Case::new(&Recipe::default(), &faster).compare(&["--gate", "--format", "json"]);
    assert_eq!(status(&output), 0, "{}", stdout(&output));
    assert!(told(&output).contains(&"container noop startup better".to_owned()));
    assert_eq!(json(&output)["verdict"], "better");
}

#[test]
fn memory_is_compared_as_it_is_whatever_the_process_takes() {
    let larger = Recipe {
        memory: 1.08,
        ..head()
    };
    let output = Case::new(&Recipe::default(), &larger).compare(&["--gate", "--format", "json"]);
    assert_eq!(status(&output), 1, "{}", stdout(&output));
    let expected =
        ["marginal", "pss", "private", "kernel"].map(|m| format!("container idle {m} worse"));
    let mut told = told(&output);
    told.sort();
    let mut expected = expected.to_vec();
    expected.sort();
    assert_eq!(told, expected);
    // Half of an instance lies in anonymous memory, half in slabs.
    let json = json(&output);
    let mut metrics = json["metrics"].as_array().unwrap().iter();
    let marginal = metrics.find(|m| m["metric"] == "marginal").unwrap();
    let parts = marginal["parts"].as_array().unwrap();
    let mut names: Vec<&str> = parts.iter().map(|p| p["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["anon", "slab"]);
}

/// What would decide stands beside what is not decided, and is about right.
#[test]
fn noise_is_inconclusive_and_the_amount_that_would_decide_is_said() {
    let noisy = |id, seed, blocks| Recipe {
        id,
        seed,
        blocks,
        noise: 15.0,
        ..Recipe::default()
    };
    let case = Case::new(&noisy("base", 1, 240), &noisy("head", 2, 240));
    let output = case.compare(&["--gate"]);
    assert_eq!(status(&output), 5, "{}", stdout(&output));
    let text = stdout(&output);
    assert!(
        text.contains("blocks\n") && text.contains("--profile full"),
        "{text}"
    );
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
    let needed = json(&case.compare(&["--format", "json"]))["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|m| m["needed"].as_u64())
        .max()
        .unwrap();
    assert!((200..20_000).contains(&needed), "{needed}");
    // Two tasks take turns: as many blocks of each as were asked for.
    let enough = 2 * needed + 2;
    let case = Case::new(&noisy("base", 1, enough), &noisy("head", 2, enough));
    let output = case.compare(&["--gate"]);
    assert_eq!(status(&output), 0, "{}", stdout(&output));
}

/// Two runs do not meet quite the same machine, so an estimate beyond the threshold is not enough.
#[test]
fn a_change_counts_when_its_whole_interval_is_beyond_the_threshold() {
    let noisy = |id, seed, work| Recipe {
        id,
        seed,
        work,
        noise: 3.0,
        ..Recipe::default()
    };
    let mut seen = std::collections::BTreeSet::new();
    for work in [1.05, 1.06, 1.07, 1.08, 1.1, 1.15] {
        let case = Case::new(&noisy("base", 1, 1.0), &noisy("head", 2, work));
        let output = case.compare(&["--gate", "--format", "json"]);
        let json = json(&output);
        let metrics = json["metrics"].as_array().unwrap();
        let bandwidth = metrics.iter().find(|m| m["metric"] == "bandwidth").unwrap();
        let ratio = bandwidth["ratio"].as_f64().unwrap();
        let high = bandwidth["ci95"][1].as_f64().unwrap();
        if ratio < 1.0 / 1.05 {
            let beyond = high < 1.0 / 1.05;
            let verdict = bandwidth["verdict"].as_str().unwrap();
            assert_eq!(verdict == "worse", beyond, "{bandwidth}");
            assert_eq!(status(&output), if beyond { 1 } else { 5 }, "{bandwidth}");
            seen.insert(verdict.to_owned());
            if !beyond {
                assert_eq!(bandwidth["doubt"]["short"], "near the limit", "{bandwidth}");
                let blocks = bandwidth["blocks"][0].as_u64().unwrap();
                assert!(
                    bandwidth["needed"].as_u64().unwrap() > blocks,
                    "{bandwidth}"
                );
            }
        }
    }
    assert_eq!(Vec::from_iter(seen), ["inconclusive", "worse"]);
}

#[test]
fn a_run_that_speaks_against_itself_decides_nothing() {
    let drifted = Recipe {
        inconclusive: Some("the clock drifted"),
        work: 1.5,
        ..head()
    };
    let output = Case::new(&Recipe::default(), &drifted).compare(&["--gate"]);
    assert_eq!(status(&output), 5, "{}", stdout(&output));
    assert!(stdout(&output).contains("HEAD says of itself: the clock drifted"));
}

/// A reader that closed its end does not turn a regression into a pass.
#[test]
fn the_gate_gates_whoever_reads_it() {
    let slower = Recipe {
        work: 1.1,
        ..head()
    };
    let case = Case::new(&Recipe::default(), &slower);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = isobench();
    command.args(["compare", "--gate"]);
    command.args([case.path("base"), case.path("head")]);
    let output = command.stdout(writer).output().unwrap();
    assert_eq!(status(&output), 1, "{}", stderr(&output));
}

#[test]
fn too_little_is_inconclusive() {
    let few = Recipe {
        blocks: 8,
        rounds: 2,
        ..head()
    };
    let output = Case::new(&Recipe::default(), &few).compare(&["--gate"]);
    assert_eq!(status(&output), 5, "{}", stdout(&output));
    assert!(stdout(&output).contains("too few"));
}

#[test]
fn a_busy_machine_is_inconclusive() {
    let busy = Recipe {
        host: 2.0,
        ..head()
    };
    let output = Case::new(&Recipe::default(), &busy).compare(&["--gate"]);
    assert_eq!(status(&output), 5, "{}", stdout(&output));
    assert!(stdout(&output).contains("startup of process itself"));
}

#[test]
fn what_only_one_run_has_is_listed() {
    let alone = Recipe {
        backends: &["process"],
        ..head()
    };
    let output = Case::new(&Recipe::default(), &alone).compare(&["--gate"]);
    assert_eq!(status(&output), 5);
    assert!(stdout(&output).contains("missing in HEAD: everything of container"));
    let no_memory = Recipe {
        rounds: 0,
        ..head()
    };
    let output = Case::new(&Recipe::default(), &no_memory).compare(&["--gate"]);
    assert_eq!(status(&output), 5);
    assert!(stdout(&output).contains("missing in HEAD: container idle marginal"));
}

#[test]
fn another_host_is_inconclusive_with_the_reason() {
    let other = Recipe {
        kernel: "6.2",
        work: 1.5,
        ..head()
    };
    let output = Case::new(&Recipe::default(), &other).compare(&["--gate"]);
    assert_eq!(status(&output), 5);
    assert!(stdout(&output).contains("host.kernel is 6.1 in BASE and 6.2 in HEAD"));
}

#[test]
fn what_cannot_be_compared_names_the_field() {
    let bytes = Recipe {
        payload: 'b',
        ..head()
    };
    let no_reference = Recipe {
        backends: &["container"],
        ..head()
    };
    for (head, field) in [
        (bytes, "payload.sha256"),
        (no_reference, "process"),
        (Recipe::default(), "same run"),
    ] {
        let output = Case::new(&Recipe::default(), &head).compare(&[]);
        assert_eq!(status(&output), 2, "{}", stdout(&output));
        assert!(stderr(&output).contains(field), "{}", stderr(&output));
        assert!(stdout(&output).is_empty());
    }
    let case = Case::new(&Recipe::default(), &head());
    std::fs::remove_file(case.path("head").join("trials.jsonl")).unwrap();
    let output = case.compare(&[]);
    assert_eq!(status(&output), 2);
    assert!(
        stderr(&output).contains("trials.jsonl"),
        "{}",
        stderr(&output)
    );
    for threshold in ["0", "-1", "NaN", "1e9"] {
        let output = case.compare(&["--threshold", threshold]);
        assert_eq!(status(&output), 2);
        assert!(stderr(&output).contains("--threshold"));
    }
}

#[test]
fn a_project_says_what_counts() {
    let slower = Recipe {
        work: 1.1,
        ..head()
    };
    let case = Case::new(&Recipe::default(), &slower);
    let with = |text: &str| {
        let path = case.path("gate.toml");
        std::fs::write(&path, text).unwrap();
        case.compare(&["--gate", "--config", path.to_str().unwrap()])
    };
    assert_eq!(status(&with("[gate.thresholds]\nbandwidth = 15\n")), 0);
    assert_eq!(
        status(&with(
            "[gate.thresholds]\n\"container/sha256@1MiB/bandwidth\" = 6\n"
        )),
        1
    );
    assert_eq!(status(&with("[gate]\nthreshold = 50\n")), 0);
    let output = with("[gate]\nthresh = 50\n");
    assert_eq!(status(&output), 2);
    assert!(stderr(&output).contains("thresh"), "{}", stderr(&output));
    // The file in the folder is found by itself.
    std::fs::write(case.path("isobench.toml"), "[gate]\nthreshold = 50\n").unwrap();
    let mut command = isobench();
    let command = command.current_dir(case.dir.path());
    let output = command
        .args(["compare", "base", "head", "--gate"])
        .output()
        .unwrap();
    assert_eq!(status(&output), 0, "{}", stdout(&output));
}
