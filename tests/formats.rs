//! Every format is read back by the rules that its reader publishes.

#![allow(clippy::unwrap_used, clippy::panic)] // a test states its expectations

mod support;
mod synthetic;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value;
use support::{isobench, status, stderr, stdout};
use synthetic::Recipe;

struct Case {
    dir: tempfile::TempDir,
}

impl Case {
    /// A HEAD whose container starts later, does its work faster, and lacks the memory metrics.
    fn new() -> Self {
        let case = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        Recipe::default().write(&case.path("base"));
        let head = Recipe {
            id: "head",
            seed: 2,
            clone3: 1.4,
            work: 0.8,
            rounds: 0,
            ..Recipe::default()
        };
        head.write(&case.path("head"));
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn compare(&self, format: &str) -> String {
        let mut command = isobench();
        command
            .arg("compare")
            .args([self.path("base"), self.path("head")]);
        let output = command
            .args(["--gate", "--format", format])
            .output()
            .unwrap();
        assert_eq!(status(&output), 1, "{format}: {}", stderr(&output));
        stdout(&output)
    }

    fn report(&self, format: &str) -> String {
        let mut command = isobench();
        command.arg("report").arg(self.path("base"));
        let output = command.args(["--format", format]).output().unwrap();
        assert_eq!(status(&output), 0, "{format}: {}", stderr(&output));
        stdout(&output)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.compare("json")).unwrap()
    }
}

/// RFC 4180: CRLF, quotes doubled inside quotes, as many fields in each record.
fn csv(text: &str) -> Vec<Vec<String>> {
    assert!(text.ends_with("\r\n"));
    let mut records = vec![vec![String::new()]];
    let mut chars = text.chars().peekable();
    let mut inside = false;
    while let Some(c) = chars.next() {
        let record = records.last_mut().unwrap();
        let field = record.last_mut().unwrap();
        match c {
            '"' if inside && chars.peek() == Some(&'"') => {
                field.push('"');
                chars.next();
            }
            '"' => {
                assert!(inside || field.is_empty(), "a quote inside a plain field");
                inside = !inside;
            }
            ',' if !inside => record.push(String::new()),
            '\r' if !inside => {
                assert_eq!(chars.next(), Some('\n'));
                records.push(vec![String::new()]);
            }
            '\n' if !inside => panic!("a bare line feed"),
            c => field.push(c),
        }
    }
    assert!(!inside);
    records.pop();
    let width = records[0].len();
    assert!(records.iter().all(|r| r.len() == width), "{records:?}");
    records
}

#[test]
fn csv_has_a_record_for_every_metric() {
    let case = Case::new();
    let records = csv(&case.compare("csv"));
    let json = case.json();
    let metrics = json["metrics"].as_array().unwrap().len();
    let missing = json["missing"].as_array().unwrap().len();
    assert_eq!(records.len(), 1 + metrics + missing);
    let column = |name: &str| records[0].iter().position(|c| c == name).unwrap();
    let worst = &records[1];
    assert_eq!(worst[column("verdict")], "worse");
    assert_eq!(worst[column("part")], "clone3");
    assert!(worst[column("ratio")].parse::<f64>().unwrap() > 1.1);
    assert_eq!(csv(&case.report("csv")).len(), 1 + 18);
}

#[test]
fn markdown_is_one_table_below_a_mebibyte() {
    let case = Case::new();
    let text = case.compare("markdown");
    assert!(text.len() < 1 << 20);
    let rows: Vec<&str> = text.lines().filter(|l| l.starts_with('|')).collect();
    let cells = |row: &str| row.replace("\\|", "").matches('|').count();
    assert!(rows.iter().all(|row| cells(row) == 8), "{text}");
    assert_eq!(
        rows.len(),
        2 + case.json()["metrics"].as_array().unwrap().len()
    );
}

/// The grammar of `junit-10.xsd` (Jenkins' xUnit plug-in) as far as it goes for these elements.
#[test]
fn junit_has_a_test_case_for_every_metric() {
    let case = Case::new();
    let report = quick_junit::Report::deserialize_from_str(&case.compare("junit")).unwrap();
    let json = case.json();
    let count = |word: &str| {
        let metrics = json["metrics"].as_array().unwrap().iter();
        metrics.filter(|m| m["verdict"] == word).count()
    };
    let missing = json["missing"].as_array().unwrap().len();
    assert_eq!(report.failures, count("worse"));
    assert_eq!(report.errors, count("inconclusive") + missing);
    assert_eq!(
        report.tests,
        json["metrics"].as_array().unwrap().len() + missing
    );
    assert!(report.failures >= 1 && report.errors >= 1);
    let suite = &report.test_suites[0];
    assert_eq!(suite.name.as_str(), "container");
    let startup = suite
        .test_cases
        .iter()
        .find(|c| c.name.as_str() == "noop startup")
        .unwrap();
    let quick_junit::TestCaseStatus::NonSuccess { kind, message, .. } = &startup.status else {
        panic!("{startup:?}");
    };
    assert_eq!(*kind, quick_junit::NonSuccessKind::Failure);
    assert!(
        message.as_ref().unwrap().as_str().contains("clone3"),
        "{message:?}"
    );
}

/// What `junit-10.xsd` allows: no element has an attribute that it does not know.
#[test]
fn junit_has_no_attribute_beyond_its_schema() {
    let known = [
        ("testsuites", "name time tests failures errors"),
        (
            "testsuite",
            "name tests failures errors time skipped timestamp hostname id package",
        ),
        ("properties", ""),
        ("property", "name value"),
        ("testcase", "name time classname group"),
        ("failure", "type message"),
        ("error", "type message"),
        ("system-out", ""),
    ];
    let text = Case::new().compare("junit");
    let mut seen = BTreeSet::new();
    for tag in text
        .split('<')
        .skip(1)
        .filter(|tag| !tag.starts_with(['/', '?']))
    {
        let tag = tag.split('>').next().unwrap().trim_end_matches('/');
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        let (_, allowed) = known.iter().find(|(known, _)| *known == name).unwrap();
        for attribute in attributes
            .split('"')
            .step_by(2)
            .filter(|part| !part.trim().is_empty())
        {
            let attribute = attribute.trim().trim_end_matches('=');
            assert!(
                allowed.split(' ').any(|a| a == attribute),
                "{name} {attribute}"
            );
        }
        seen.insert(name.to_owned());
    }
    for name in ["testsuites", "property", "failure", "error", "system-out"] {
        assert!(seen.contains(name), "{name}: {seen:?}");
    }
}

/// `::command key=value,key=value::message`, at most ten.
#[test]
fn annotations_are_commands_of_the_runner() {
    let case = Case::new();
    let text = case.compare("github");
    let lines: Vec<&str> = text.lines().collect();
    assert!((2..=10).contains(&lines.len()), "{text}");
    for line in &lines {
        let (command, message) = line.strip_prefix("::").unwrap().split_once("::").unwrap();
        let (level, properties) = command.split_once(' ').unwrap();
        assert!(["error", "warning", "notice"].contains(&level), "{line}");
        let title = properties.strip_prefix("title=").unwrap();
        assert!(!title.contains([':', ',']), "{line}");
        for escaped in [title, message] {
            for (at, _) in escaped.match_indices('%') {
                let code = &escaped[at..at + 3];
                assert!(
                    ["%25", "%0D", "%0A", "%3A", "%2C"].contains(&code),
                    "{line}"
                );
            }
        }
    }
    assert!(
        lines[0].starts_with("::error title=container noop"),
        "{text}"
    );
    assert!(lines[0].contains("clone3"), "{text}");
    assert!(lines.last().unwrap().starts_with("::notice"));
}

/// The README of github-action-benchmark: an array; `name`, `unit`, `value` required, all but
/// `value` strings.
#[test]
fn benchmark_actions_get_entries_of_one_direction() {
    let case = Case::new();
    let names = |text: &str| -> BTreeSet<String> {
        let entries: Vec<BTreeMap<String, Value>> = serde_json::from_str(text).unwrap();
        let names: BTreeSet<String> = entries
            .iter()
            .map(|entry| {
                for (key, value) in entry {
                    assert_eq!(value.is_number(), key == "value", "{key}");
                    let known = ["name", "unit", "value", "range", "extra"];
                    assert!(known.contains(&key.as_str()), "{key}");
                }
                assert!(entry.contains_key("unit") && entry.contains_key("value"));
                entry["name"].as_str().unwrap().to_owned()
            })
            .collect();
        assert_eq!(names.len(), entries.len(), "names are unique");
        names
    };
    let smaller = names(&case.compare("customSmallerIsBetter"));
    let bigger = names(&case.compare("customBiggerIsBetter"));
    assert!(smaller.contains("container noop startup"));
    assert_eq!(
        bigger,
        ["container sha256@1MiB bandwidth".to_owned()].into()
    );
    let smaller = names(&case.report("customSmallerIsBetter"));
    let bigger = names(&case.report("customBiggerIsBetter"));
    assert_eq!((smaller.len(), bigger.len()), (16, 2));
}

/// Bencher's JSON schema: an object of objects of metrics, `value` required, bounds optional.
#[test]
fn bencher_gets_benchmarks_of_measures() {
    let case = Case::new();
    for (text, measure) in [
        (case.compare("bencher"), "startup-change"),
        (case.report("bencher"), "startup"),
    ] {
        let all: BTreeMap<String, BTreeMap<String, BTreeMap<String, f64>>> =
            serde_json::from_str(&text).unwrap();
        let metric = &all["container noop"][measure];
        assert!(
            metric["lower_value"] <= metric["value"] && metric["value"] <= metric["upper_value"]
        );
        for metric in all.values().flat_map(BTreeMap::values) {
            let keys: BTreeSet<&str> = metric.keys().map(String::as_str).collect();
            assert!(keys.contains("value"));
            assert!(keys.is_subset(&["value", "lower_value", "upper_value"].into()));
        }
    }
}

/// A family: its type, its unit, its samples as (name, labels, value).
#[derive(Default)]
struct Family {
    kind: String,
    unit: String,
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

/// OpenMetrics 1.0, by its ABNF: descriptors before samples, one block a family, `# EOF` last.
fn openmetrics(text: &str) -> BTreeMap<String, Family> {
    let body = text.strip_suffix("# EOF\n").unwrap();
    let metric_name = |name: &str| {
        let first = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
        name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit())
    };
    let label_name = |name: &str| metric_name(name) && !name.contains(':');
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in body.lines() {
        assert!(!line.is_empty() && line == line.trim(), "{line:?}");
        if let Some(descriptor) = line.strip_prefix("# ") {
            let mut words = descriptor.splitn(3, ' ');
            let (keyword, name, rest) =
                (words.next().unwrap(), words.next().unwrap(), words.next());
            assert!(metric_name(name), "{line}");
            if name != current {
                assert!(
                    !families.contains_key(name),
                    "a family in two blocks: {line}"
                );
                current = name.to_owned();
            }
            let family = families.entry(name.to_owned()).or_default();
            assert!(
                family.samples.is_empty(),
                "a descriptor after samples: {line}"
            );
            match keyword {
                "TYPE" => family.kind = rest.unwrap().to_owned(),
                "UNIT" => family.unit = rest.unwrap_or_default().to_owned(),
                "HELP" => assert!(!rest.unwrap().contains(['"', '\n'])),
                other => panic!("{other}"),
            }
            continue;
        }
        let (name, rest) = line.split_once('{').unwrap();
        let (labels, value) = rest.rsplit_once("} ").unwrap();
        let mut found = BTreeMap::new();
        let mut rest = labels;
        while !rest.is_empty() {
            let (key, quoted) = rest.split_once("=\"").unwrap();
            assert!(label_name(key), "{line}");
            let mut end = None;
            let mut escaped = false;
            for (at, c) in quoted.char_indices() {
                match c {
                    _ if escaped => {
                        assert!(['\\', '"', 'n'].contains(&c), "{line}");
                        escaped = false;
                    }
                    '\\' => escaped = true,
                    '"' => {
                        end = Some(at);
                        break;
                    }
                    _ => {}
                }
            }
            let end = end.unwrap();
            let value = quoted[..end].to_owned();
            assert!(
                found.insert(key.to_owned(), value).is_none(),
                "a label twice: {line}"
            );
            rest = &quoted[end + 1..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        let value: f64 = value.parse().unwrap();
        let family = families.get_mut(&current).unwrap();
        let suffix = match family.kind.as_str() {
            "gauge" | "stateset" => "",
            "info" => "_info",
            other => panic!("{other}"),
        };
        assert_eq!(name, format!("{current}{suffix}"), "{line}");
        let twice = family.samples.iter().any(|(_, labels, _)| *labels == found);
        assert!(!twice, "a sample twice: {line}");
        family.samples.push((name.to_owned(), found, value));
    }
    for (name, family) in &families {
        assert!(!family.samples.is_empty(), "{name}");
        if !family.unit.is_empty() {
            assert!(name.ends_with(&format!("_{}", family.unit)), "{name}");
        }
        match family.kind.as_str() {
            "info" => assert!(family.samples.iter().all(|(.., v)| *v == 1.0)),
            "stateset" => {
                for (_, labels, value) in &family.samples {
                    assert!(labels.contains_key(name), "the state's own label");
                    assert!(*value == 0.0 || *value == 1.0);
                }
            }
            _ => {}
        }
    }
    families
}

#[test]
fn openmetrics_keeps_to_its_grammar() {
    let case = Case::new();
    let run = openmetrics(&case.report("openmetrics"));
    let startup = &run["isobench_startup_seconds"];
    let median = startup
        .samples
        .iter()
        .find(|(_, labels, _)| labels["stat"] == "median" && labels["backend"] == "container");
    let (_, labels, value) = median.unwrap();
    assert_eq!(labels["workload"], "noop");
    assert!((0.0013..0.0015).contains(value), "{value}");
    assert_eq!(run["isobench_run"].samples[0].1["id"], "base");
    assert!(run.contains_key("isobench_bandwidth_bytes_per_second"));
    let comparison = openmetrics(&case.compare("openmetrics"));
    let verdicts = &comparison["isobench_verdict"].samples;
    let worse = verdicts.iter().filter(|(_, labels, value)| {
        labels["isobench_verdict"] == "worse" && labels["metric"] == "startup" && *value == 1.0
    });
    assert_eq!(worse.count(), 1);
    assert!(comparison["isobench_change_ratio"].samples.len() >= 15);
}
