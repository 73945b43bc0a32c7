//! Stored runs as they come from outside: damaged, foreign, hostile, or cut off by a kill.

#![allow(clippy::unwrap_used, clippy::panic)] // a test states its expectations

mod support;
mod synthetic;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use isobench::measure::stored::load;
use support::{isobench, status, stderr, stdout};
use synthetic::Recipe;

fn small() -> Recipe {
    Recipe {
        blocks: 24,
        rounds: 6,
        ..Recipe::default()
    }
}

/// The first text replaced once; it must be there.
fn swap(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} is not in the fixture");
    text.replacen(from, to, 1)
}

/// Refused with exit 2 by a message that holds `needle`, quickly, the folder untouched.
fn refused(folder: &Path, needle: &str, what: &str) {
    let begun = Instant::now();
    let output = isobench().arg("report").arg(folder).output().unwrap();
    assert_eq!(status(&output), 2, "{what}: {}", stdout(&output));
    let text = stderr(&output);
    assert!(text.contains(needle), "{what}: {needle:?} is not in {text}");
    assert!(
        !text.contains("panicked") && stdout(&output).is_empty(),
        "{what}"
    );
    assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
}

#[test]
fn run_json_is_refused_by_field() {
    let dir = tempfile::tempdir().unwrap();
    small().write(dir.path());
    let path = dir.path().join("run.json");
    let good = fs::read_to_string(&path).unwrap();
    assert_eq!(
        status(&isobench().arg("report").arg(&path).output().unwrap()),
        0
    );
    let deep = format!(
        "{{\"schema\": \"isobench.run/1\", \"id\": {}",
        "[".repeat(1_000_000)
    );
    let first_n = good
        .lines()
        .find(|l| l.contains("\"n\":"))
        .unwrap()
        .to_owned();
    let first_median = good
        .lines()
        .find(|l| l.contains("\"median\":"))
        .unwrap()
        .to_owned();
    let first_min = good
        .lines()
        .find(|l| l.contains("\"min\":"))
        .unwrap()
        .to_owned();
    let first_pss = good
        .lines()
        .find(|l| l.contains("\"pss\":"))
        .unwrap()
        .to_owned();
    let cases: Vec<(String, &str)> = vec![
        (String::new(), "EOF"),
        (good[..good.len() / 2].to_owned(), "EOF"),
        (format!("{good}x"), "trailing"),
        (format!("\u{feff}{good}"), "byte-order mark"),
        (
            swap(&good, "isobench.run/1", "isobench.run/2"),
            "newer than this program, which reads \"isobench.run/1\"",
        ),
        (swap(&good, "isobench.run/1", "isobench.run/x"), "schema"),
        (
            swap(&good, "\"schema\": \"isobench.run/1\",", ""),
            "schema: missing",
        ),
        (swap(&good, "\"schema\"", "\"shcema\""), "schema: missing"),
        (swap(&good, "\"seed\"", "\"extra\": 1, \"seed\""), "extra"),
        (
            swap(&good, "\"seed\": 1", "\"seed\": 1, \"seed\": 1"),
            "duplicate field `seed`",
        ),
        (swap(&good, "\"seed\": 1", "\"seed\": -1"), "seed"),
        (swap(&good, "\"seed\": 1", "\"seed\": \"1\""), "seed"),
        (swap(&good, "\"hz\": 2600000000.0", "\"hz\": NaN"), "host"),
        (swap(&good, "\"hz\": 2600000000.0", "\"hz\": 1e999"), "host"),
        (
            swap(&good, "\"hz\": 2600000000.0", "\"hz\": Infinity"),
            "host",
        ),
        (
            swap(&good, "\"steal_percent\": null", "\"steal_percent\": -1.0"),
            "host.noise.steal_percent",
        ),
        (swap(&good, "2026-01-02T03:04:05Z", "yesterday"), "started"),
        (
            swap(&good, "\"complete\": true", "\"complete\": false"),
            "ended_early",
        ),
        (
            swap(&good, "\"unit\": \"ns\"", "\"unit\": \"B\""),
            "metrics[0].unit",
        ),
        (
            swap(&good, "\"unit\": \"ns\"", "\"unit\": \"s\""),
            "metrics[0].unit",
        ),
        (
            swap(&good, "\"better\": \"lower\"", "\"better\": \"higher\""),
            "metrics[0].better",
        ),
        (
            swap(&good, "\"metric\": \"startup\"", "\"metric\": \"speed\""),
            "metrics[0].metric",
        ),
        (
            swap(&good, "\"workload\": \"noop\"", "\"workload\": \"noup\""),
            "metrics[0].workload",
        ),
        (
            swap(&good, "\"backend\": \"process\"", "\"backend\": \"else\""),
            "metrics[0].backend",
        ),
        (swap(&good, &first_n, "\"n\": 0,"), "metrics[0].n"),
        (
            swap(&good, "\"severe\": ", "\"severe\": 99999"),
            "metrics[0].outliers",
        ),
        (
            swap(&good, &first_median, "\"median\": 1e12,"),
            "metrics[0]",
        ),
        (swap(&good, &first_min, "\"min\": -5.0,"), "metrics[0].min"),
        (
            swap(&good, "\"id\": \"container\"", "\"id\": \"process\""),
            "backends[1].id",
        ),
        (
            swap(&good, "\"id\": \"base\"", "\"id\": \"\\u001b[2J\""),
            "id",
        ),
        (
            swap(&good, "\"trials\": ", "\"trials\": 1"),
            "backends[0].trials",
        ),
        (
            swap(&good, "\"rounds\": 6,", "\"rounds\": 0,"),
            "memory[0].rounds",
        ),
        (
            swap(&good, "\"account\": \"shmem\"", "\"account\": \"anon\""),
            "memory[0].parts[1].account",
        ),
        (swap(&good, &first_pss, "\"pss\": -1.0,"), "memory[0].pss"),
        (deep, "id"),
    ];
    for (text, needle) in cases {
        fs::write(&path, &text).unwrap();
        refused(
            dir.path(),
            needle,
            &text.chars().take(60).collect::<String>(),
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for mark in [&[][..], &[0xff, 0xfe]] {
        fs::write(&path, [mark, &utf16].concat()).unwrap();
        refused(dir.path(), "UTF-16", "UTF-16");
    }
    fs::write(&path, b"{\"schema\": \"\xff\"}").unwrap();
    refused(dir.path(), "UTF-8", "Latin-1");
    // Sparse: refused by its length, not by reading it.
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    refused(dir.path(), "bytes", "a terabyte");
    fs::remove_file(&path).unwrap();
    refused(dir.path(), "run.json", "absent");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    refused(dir.path(), "not a regular file", "a FIFO");
    refused(Path::new("/dev/zero"), "not a regular file", "a device");
}

#[test]
fn trials_are_refused_by_line_and_field() {
    let dir = tempfile::tempdir().unwrap();
    small().write_killed(dir.path());
    let path = dir.path().join("trials.jsonl");
    let good = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = good.lines().collect();
    let third = lines[2];
    let t1 = third
        .split("\"t1\":")
        .nth(1)
        .unwrap()
        .split(',')
        .next()
        .unwrap();
    let t5 = third
        .split("\"t5\":")
        .nth(1)
        .unwrap()
        .split(',')
        .next()
        .unwrap();
    let memory = lines.iter().position(|l| l.contains("\"memory\"")).unwrap();
    let of_third: Vec<(String, &str)> = vec![
        (String::new(), "EOF"),
        (third[..third.len() - 9].to_owned(), "control character"),
        (
            swap(third, "\"trial\":2", "\"trial\":1"),
            "trial: 1 occurs twice",
        ),
        (
            swap(third, "\"trial\":2", "\"trial\":9"),
            "trial: 9 follows 2",
        ),
        (swap(third, "\"trial\":2", "\"trial\":-2"), "trial"),
        (swap(third, "\"block\":1", "\"block\":0"), "workload"),
        (
            swap(third, "\"record\":\"trial\"", "\"record\":\"tail\""),
            "record",
        ),
        (swap(third, "\"record\":\"trial\",", ""), "record"),
        (swap(third, "\"warmup\"", "\"other\":0,\"warmup\""), "other"),
        (swap(third, "\"warmup\":true", "\"warmup\":1"), "warmup"),
        (swap(third, "\"timed\"", "\"extra\":0,\"timed\""), "extra"),
        (
            swap(third, "\"isa\":", "\"isa\":\"avx2\",\"isa\":"),
            "duplicate field `isa`",
        ),
        (
            swap(third, &format!("\"t1\":{t1}"), "\"t1\":-5000"),
            "measured.t1",
        ),
        (
            swap(third, &format!("\"t1\":{t1}"), "\"t1\":1e999"),
            "out of range",
        ),
        (swap(third, &format!("\"t1\":{t1}"), "\"t1\":NaN"), "line 3"),
        (
            swap(third, &format!("\"t1\":{t1}"), "\"t1\":\"7\""),
            "measured.t1",
        ),
        (
            swap(third, &format!("\"t1\":{t1}"), "\"t1\":7.5"),
            "measured.t1",
        ),
        (
            swap(third, &format!("\"t1\":{t1}"), &format!("\"t1\":{t5}")),
            "measured.t2",
        ),
        (
            swap(third, &format!("\"t5\":{t5}"), &format!("\"t5\":{t1}")),
            "measured.t5",
        ),
        (
            swap(third, &format!("\"t5\":{t5}"), "\"t5\":9223372036854775807"),
            "measured.t5",
        ),
        (
            swap(third, "\"clock_bound\":160", "\"clock_bound\":-1"),
            "measured.clock_bound",
        ),
        (
            swap(third, "\"clock\":\"same\"", "\"clock\":\"sundial\""),
            "measured.clock",
        ),
        (swap(third, "0123456789abcdef", "0123"), "measured.digest"),
        (swap(third, "sha256@1MiB", "sha256@1024KiB"), "workload"),
        (
            swap(
                third,
                "\"backend\":\"process\"",
                "\"backend\":\"elsewhere\"",
            ),
            "elsewhere",
        ),
        (
            format!("{{\"record\":{}", "[".repeat(500_000)),
            "expected variant",
        ),
        ("x".repeat(2 << 20), "more than 1048576 bytes"),
    ];
    let with = |index: usize, line: &str| {
        let mut lines = lines.clone();
        lines[index] = line;
        lines.join("\n") + "\n"
    };
    for (line, needle) in of_third {
        fs::write(&path, with(2, &line)).unwrap();
        let what: String = line.chars().take(80).collect();
        refused(dir.path(), needle, &what);
        if needle != "elsewhere" {
            refused(dir.path(), "(line 3)", &what);
        }
    }
    for (line, needle) in [
        (swap(lines[memory], "\"anon\":", "\"anon\":-"), "anon"),
        (swap(lines[memory], "\"accounts\"", "\"counts\""), "counts"),
        (
            swap(
                lines[memory],
                "\"pss\"",
                "\"failure\":{\"kind\":\"timeout\",\"message\":\"too slow\"},\"pss\"",
            ),
            "accounts",
        ),
        (
            swap(lines[memory], "\"instances\":8", "\"instances\":0"),
            "pss",
        ),
        (lines[memory + 1].to_owned(), "instances"),
    ] {
        fs::write(&path, with(memory, &line)).unwrap();
        refused(dir.path(), needle, &line);
    }
    fs::write(&path, format!("\u{feff}{good}")).unwrap();
    refused(dir.path(), "byte-order mark", "BOM");
    // A whole line that is not a record is not "cut off", and neither is a bad one without its end.
    fs::write(&path, format!("{good}{{}}\n")).unwrap();
    refused(dir.path(), "record", "an empty object");
    fs::write(
        &path,
        format!(
            "{good}{}",
            swap(third, "\"trial\":2", "\"trial\":2,\"x\":1")
        ),
    )
    .unwrap();
    refused(dir.path(), "x", "a bad last line");
}

/// Wherever the last line is cut, everything before it counts.
#[test]
fn only_the_last_line_may_be_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    small().write_killed(dir.path());
    let path = dir.path().join("trials.jsonl");
    let good = fs::read_to_string(&path).unwrap();
    let whole = load(dir.path()).unwrap();
    assert_eq!(whole.cut_off, None);
    let all = whole.records.unwrap().len();
    let last = good.trim_end().rfind('\n').unwrap() + 1;
    for cut in [last + 1, last + 30, good.len() - 2] {
        fs::write(&path, &good[..cut]).unwrap();
        let stored = load(dir.path()).unwrap();
        assert_eq!(stored.records.unwrap().len(), all - 1);
        assert_eq!(stored.cut_off, Some(all as u64));
    }
    // Only the line's end is missing: the record is whole.
    fs::write(&path, good.trim_end()).unwrap();
    assert_eq!(load(dir.path()).unwrap().records.unwrap().len(), all);
    fs::write(&path, &good[..good.len() - 2]).unwrap();
    let output = isobench().arg("report").arg(dir.path()).output().unwrap();
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let text = stdout(&output).replace("\n  ", " ");
    assert!(
        text.contains("was killed") && text.contains("cut off"),
        "{text}"
    );
}

#[test]
fn a_report_is_what_the_run_said() {
    let dir = tempfile::tempdir().unwrap();
    small().write(dir.path());
    let report = |format: &str| {
        let mut command = isobench();
        command
            .arg("report")
            .arg(dir.path())
            .args(["--format", format]);
        stdout(&command.output().unwrap())
    };
    assert_eq!(
        report("json"),
        fs::read_to_string(dir.path().join("run.json")).unwrap()
    );
    assert!(report("human").contains("noop · startup"));
    assert!(report("markdown").contains("| container |"));
    assert!(report("csv").contains("container,noop,startup,ns,lower,"));
}

/// The harness was killed, and what its own backends were is written nowhere.
#[test]
fn a_killed_run_of_a_backend_of_ones_own_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = Recipe {
        backends: &["process", "my-own"],
        ..small()
    };
    recipe.write(dir.path());
    let sealed = load(dir.path()).unwrap().run;
    let path = dir.path().join("run.json");
    let mut running = sealed.clone();
    running.complete = false;
    running.ended_early = Some("running".to_owned());
    (running.metrics, running.ratios) = (Vec::new(), Vec::new());
    fs::write(&path, isobench::store::folder::to_pretty_json(&running)).unwrap();
    let read = load(dir.path()).unwrap().run;
    let known = |run: &isobench::store::document::Run| {
        let of = run.metrics.iter().filter(|m| m.backend == "my-own");
        of.map(|m| (m.workload.clone(), m.metric.clone(), m.median.to_bits()))
            .collect::<Vec<_>>()
    };
    assert!(!known(&read).is_empty());
    if !sealed.metrics.is_empty() {
        assert_eq!(known(&read), known(&sealed));
    }
    // A name that is none of anybody's is still refused by its options.
    running.backends[1].id = "container:ns=none-such".to_owned();
    fs::write(&path, isobench::store::folder::to_pretty_json(&running)).unwrap();
    refused(dir.path(), "backends", "options that there are not");
}

/// Names of a ladder stand in tables and pictures.
#[test]
fn names_that_move_a_cursor_are_refused_in_a_ladder_too() {
    use isobench::store::document::{LadderResult, RungResult};
    let dir = tempfile::tempdir().unwrap();
    small().write(dir.path());
    let path = dir.path().join("run.json");
    let good = load(dir.path()).unwrap().run;
    let with = |mechanism: &str| {
        let mut run = good.clone();
        run.ladder = Some(LadderResult {
            name: "docker".to_owned(),
            base: "process".to_owned(),
            top: "docker".to_owned(),
            rungs: vec![RungResult {
                mechanism: mechanism.to_owned(),
                metric: "startup".to_owned(),
                over: Some("process".to_owned()),
                added: None,
                alone: None,
                left_out: None,
                interaction: None,
            }],
            totals: Vec::new(),
            debts: Vec::new(),
        });
        fs::write(&path, isobench::store::folder::to_pretty_json(&run)).unwrap();
    };
    with("runc");
    load(dir.path()).unwrap();
    with("runc\n```\n# not a rung");
    refused(dir.path(), "ladder.rungs[0].mechanism", "a line end");
}

/// RFC 4180: what ends a field is quoted, whoever chose the name.
#[test]
fn a_backends_name_is_one_field_of_csv() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = Recipe {
        backends: &["process", "a,\"b"],
        ..small()
    };
    recipe.write(dir.path());
    let output = isobench()
        .args(["report", "--format", "csv"])
        .arg(dir.path())
        .output()
        .unwrap();
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("\r\n\"a,\"\"b\",noop,startup,"), "{text}");
}
