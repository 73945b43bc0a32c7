//! Runs that no harness measured: made from a seed, with the effects a test wants in them.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests state expectations, too
#![allow(dead_code)] // each test binary uses its own part

use std::fs;
use std::path::Path;

use isobench::host::accounts::Accounts;
use isobench::host::fingerprint::{ClockFacts, Host};
use isobench::host::noise::Noise;
use isobench::metric::{Bytes, Nanos};
use isobench::store::document::{BackendResult, Payload, Run, SCHEMA, Status, Tool};
use isobench::store::folder::to_pretty_json;
use isobench::store::record::{Measured, MemoryRecord, PhaseRecord, Record, TrialRecord};

/// What to make.
#[derive(Clone)]
pub struct Recipe {
    pub id: &'static str,
    pub seed: u64,
    pub blocks: u64,
    pub rounds: u32,
    /// Factor on the container's time to start.
    pub startup: f64,
    /// Factor on `clone3` alone, of the container: six tenths of its start.
    pub clone3: f64,
    /// Factor on the container's time for the same work.
    pub work: f64,
    /// Factor on the container's memory.
    pub memory: f64,
    /// Spread of times around their typical values, as a factor on the usual 1 to 2 %.
    pub noise: f64,
    /// What the run says against itself.
    pub inconclusive: Option<&'static str>,
    /// Factor on everything: a slower host.
    pub host: f64,
    pub payload: char,
    pub backends: &'static [&'static str],
    pub kernel: &'static str,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            id: "base",
            seed: 1,
            blocks: 240,
            rounds: 12,
            startup: 1.0,
            clone3: 1.0,
            work: 1.0,
            memory: 1.0,
            noise: 1.0,
            inconclusive: None,
            host: 1.0,
            payload: 'a',
            backends: &["process", "container"],
            kernel: "6.1",
        }
    }
}

/// Uniform in −1..1 (SplitMix64).
fn noise(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

fn ns(value: f64) -> Nanos {
    Nanos(value as i64)
}

impl Recipe {
    pub fn records(&self) -> Vec<Record> {
        let mut state = self.seed;
        let (mut records, mut trial) = (Vec::new(), 0);
        for block in 0..self.blocks {
            // Two tasks in turn; the first block of each warms up.
            let workload = ["noop", "sha256@1MiB"][block as usize % 2];
            for backend in self.backends {
                let contained = *backend == "container";
                let (start, work) = if contained {
                    (
                        1.4e6 * self.startup * (0.4 + 0.6 * self.clone3),
                        1e7 * self.work,
                    )
                } else {
                    (1e5, 1e7)
                };
                let start = start * self.host * (1.0 + 0.02 * self.noise * noise(&mut state));
                let work = work * self.host * (1.0 + 0.01 * self.noise * noise(&mut state));
                let clone3 = if contained {
                    start * 0.6 * self.clone3 / (0.4 + 0.6 * self.clone3)
                } else {
                    start * 0.5
                };
                let end = start + work + 3e4;
                let rest = 5e4 * self.host * (1.0 + 0.02 * self.noise * noise(&mut state));
                records.push(Record::Trial(Box::new(TrialRecord {
                    trial,
                    block,
                    backend: (*backend).to_owned(),
                    workload: workload.to_owned(),
                    warmup: block < 2,
                    tainted: Vec::new(),
                    measured: Some(Measured {
                        t1: ns(start),
                        t2: ns(start + 2e4),
                        t3: ns(start + work),
                        t4: ns(end),
                        t5: ns(end + rest),
                        reply: None,
                        timed: ns(work),
                        units: 1 << 20,
                        digest: "0123456789abcdef".to_owned(),
                        isa: "avx2".to_owned(),
                        clock: "same".to_owned(),
                        clock_bound: Nanos(160),
                        exits: None,
                        exit_counts: Vec::new(),
                        phases: vec![PhaseRecord {
                            name: "clone3".to_owned(),
                            at: ns(0.0),
                            ns: ns(clone3),
                        }],
                        unaccounted: ns(start - clone3),
                        teardown: Vec::new(),
                        told: None,
                    }),
                    failure: None,
                })));
                trial += 1;
            }
        }
        for round in 0..self.rounds {
            for backend in self.backends {
                for instances in [8_u32, 16, 24, 32, 40] {
                    let factor = if *backend == "container" {
                        self.memory
                    } else {
                        // A few KiB: a page more or less is a lot.
                        0.2 * (1.0 + 0.2 * noise(&mut state))
                    };
                    let each = 3e5 * factor * (1.0 + 0.004 * noise(&mut state));
                    let bytes = |v: f64| Bytes((v * f64::from(instances)) as i64);
                    records.push(Record::Memory(Box::new(MemoryRecord {
                        backend: (*backend).to_owned(),
                        round,
                        instances,
                        accounts: Some(Accounts {
                            free: Bytes((1 << 32) - bytes(each).0),
                            anon: bytes(each / 2.0),
                            slab: bytes(each / 2.0),
                            ..Accounts::default()
                        }),
                        charged: None,
                        charged_named: None,
                        pss: vec![Bytes(each as i64)],
                        private: vec![Bytes(each as i64)],
                        cgroup_usage: Vec::new(),
                        cgroup_kernel: Vec::new(),
                        guest_given: None,
                        limited_by: None,
                        failure: None,
                    })));
                }
            }
        }
        records
    }

    /// A document as it is before the first trial.
    pub fn document(&self) -> Run {
        let text = |s: &str| s.to_owned();
        Run {
            schema: text(SCHEMA),
            id: text(self.id),
            started: text("2026-01-02T03:04:05Z"),
            complete: false,
            ended_early: Some(text("running")),
            inconclusive: self.inconclusive.map(text),
            target: Some(0.05),
            seed: self.seed,
            profile: text("quick"),
            tool: Tool {
                version: text("0.1.0"),
                commit: text("test"),
            },
            payload: Payload {
                sha256: self.payload.to_string().repeat(64),
                bytes: 20_904,
            },
            host: Host {
                cpu: text("a CPU"),
                cpus: 2,
                memory: 1 << 33,
                kernel: text(self.kernel),
                virtual_machine: false,
                cgroup: text("v2"),
                kvm: text("absent"),
                user: text("root"),
                clock: ClockFacts {
                    hz: 2.6e9,
                    hz_error: 1e-6,
                    drift: None,
                    skew_ns: 160.0,
                    read_ns: 17.0,
                    read_p99_ns: 20.0,
                    source: text("tsc"),
                },
                noise: Noise::detect(),
            },
            project: None,
            injected: Vec::new(),
            backends: self
                .backends
                .iter()
                .map(|id| BackendResult {
                    id: text(id),
                    status: Status::Unmeasured,
                    reason: Some(text("the run ended before its first trial that counts")),
                    remedy: None,
                    limitations: Vec::new(),
                    engine: None,
                    daemons: Vec::new(),
                    guest_kernel: None,
                    trials: 0,
                    failures: 0,
                    tainted: 0,
                })
                .collect(),
            metrics: Vec::new(),
            ratios: Vec::new(),
            memory: Vec::new(),
            boundary: Vec::new(),
            isolation: Vec::new(),
            ladder: None,
        }
    }

    /// Writes it as a killed run.
    pub fn write_killed(&self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        let mut lines = String::new();
        for record in self.records() {
            lines.push_str(&serde_json::to_string(&record).unwrap());
            lines.push('\n');
        }
        fs::write(folder.join("trials.jsonl"), lines).unwrap();
        fs::write(folder.join("run.json"), to_pretty_json(&self.document())).unwrap();
    }

    /// Writes it as a complete run.
    pub fn write(&self, folder: &Path) {
        self.write_killed(folder);
        let mut run = isobench::measure::stored::load(folder).unwrap().run;
        (run.complete, run.ended_early) = (true, None);
        fs::write(folder.join("run.json"), to_pretty_json(&run)).unwrap();
    }
}
