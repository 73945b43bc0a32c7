//! Reading `trials.jsonl`, line by line.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;

use super::check_trial::{self, LONGEST_NAME};
use super::read::{foreign, open, too_large};
use super::read_error::{ReadError, Refusal};
use super::record::{BoundaryRecord, BurstRecord, MemoryRecord, ProbeRecord, Record, TrialRecord};

/// Largest `trials.jsonl` that is held whole: two hundred thousand trials of the largest kind.
pub const MOST_BYTES: u64 = 512 << 20;
/// Largest one that is read line by line: more than a million trials of the largest kind.
pub const MOST_STREAMED_BYTES: u64 = 4 << 30;
/// Longest line. A trial takes about 1,500 bytes, a memory step with a thousand instances 40,000.
pub const MOST_LINE_BYTES: u64 = 1 << 20;

/// What `trials.jsonl` holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trials {
    /// Every whole line.
    pub records: Vec<Record>,
    /// The number of the last line, from 1, if it was cut off and left out.
    pub cut_off: Option<u64>,
}

/// Reads and checks a `trials.jsonl`.
///
/// # Errors
/// See [`ReadError`]; with the number of the first line that is wrong.
pub fn read_trials(path: &Path) -> Result<Trials, ReadError> {
    let mut records = Vec::new();
    let cut_off = each(path, MOST_BYTES, &mut |record| {
        records.push(record);
        Ok(())
    })?;
    Ok(Trials { records, cut_off })
}

/// Reads and checks a `trials.jsonl` of at most `most` bytes, record by record, each handed to `take`,
/// whose refusal ends the reading. Returns the number of the last line if it was cut off.
///
/// # Errors
/// See [`ReadError`]; with the number of the first line that is wrong.
pub fn each(
    path: &Path,
    most: u64,
    take: &mut dyn FnMut(Record) -> Result<(), ReadError>,
) -> Result<Option<u64>, ReadError> {
    let mut lines = BufReader::with_capacity(1 << 18, open(path, most)?);
    let mut seen = Seen::default();
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let mut bounded = (&mut lines).take(MOST_LINE_BYTES + 1);
        let read =
            bounded
                .read_until(b'\n', &mut bytes)
                .map_err(|cause| ReadError::Unreadable {
                    path: path.to_owned(),
                    cause,
                })?;
        if read == 0 {
            break;
        }
        if bytes.len() as u64 > MOST_LINE_BYTES {
            return Err(too_large(path, Some(line), MOST_LINE_BYTES));
        }
        let encoding = |problem| ReadError::Encoding {
            path: path.to_owned(),
            line: Some(line),
            problem,
        };
        if let Some(problem) = foreign(&bytes) {
            return Err(encoding(problem));
        }
        let whole = bytes.last() == Some(&b'\n');
        let text = match std::str::from_utf8(&bytes) {
            Ok(text) => text,
            Err(error) if !whole && error.error_len().is_none() => {
                return Ok(Some(line));
            }
            Err(_) => return Err(encoding("bytes that are no text")),
        };
        let refuse = |refusal| ReadError::Field {
            path: path.to_owned(),
            line: Some(line),
            refusal,
        };
        match record(text) {
            Ok(record) => {
                check_trial::check(&record)
                    .and_then(|()| seen.add(&record))
                    .map_err(refuse)?;
                take(record)?;
            }
            // Only the last line can lack its end, and the start of an object is never an object.
            Err(error) if !whole && error.classify() == Category::Eof => {
                return Ok(Some(line));
            }
            Err(error) => return Err(refuse(refusal(text, &error))),
        }
    }
    Ok(None)
}

/// How this program begins the line of a trial.
const TRIAL: &str = "{\"record\":\"trial\",";

/// Parses a line. Finding a tag that may stand anywhere costs more than all the rest, so that a trial,
/// of which there may be a million, is looked for first as this program writes it.
fn record(text: &str) -> serde_json::Result<Record> {
    if let Some(rest) = text.strip_prefix(TRIAL)
        && let Ok(trial) = serde_json::from_str(&["{", rest].concat())
    {
        return Ok(Record::Trial(trial));
    }
    serde_json::from_str(text)
}

/// Names the field that does not fit. The record's kind is told by a tag, and finding it loses the
/// path; so the line is taken apart once more, now that it is known to be wrong.
fn refusal(line: &str, error: &serde_json::Error) -> Refusal {
    named(line).unwrap_or_else(|| Refusal::new("", error.to_string()))
}

fn named(line: &str) -> Option<Refusal> {
    let Value::Object(mut map) = serde_json::from_str(line).ok()? else {
        return None;
    };
    let Some(kind) = map.remove("record") else {
        let problem = "missing; expected trial, memory, burst, probe or boundary";
        return Some(Refusal::new("record", problem));
    };
    match kind.as_str() {
        Some("trial") => path_of::<TrialRecord>(Value::Object(map)),
        Some("memory") => path_of::<MemoryRecord>(Value::Object(map)),
        Some("burst") => path_of::<BurstRecord>(Value::Object(map)),
        Some("probe") => path_of::<ProbeRecord>(Value::Object(map)),
        Some("boundary") => path_of::<BoundaryRecord>(Value::Object(map)),
        _ => {
            let kind: String = kind.to_string().chars().take(LONGEST_NAME).collect();
            let problem = format!(
                "{kind} is none of \"trial\", \"memory\", \"burst\", \"probe\", \"boundary\""
            );
            Some(Refusal::new("record", problem))
        }
    }
}

fn path_of<T: DeserializeOwned>(value: Value) -> Option<Refusal> {
    let error = serde_path_to_error::deserialize::<_, T>(value).err()?;
    let path = error.path().to_string();
    let field = if path == "." { String::new() } else { path };
    Some(Refusal::new(field, error.inner().to_string()))
}

/// What lines must agree on with each other.
#[derive(Default)]
struct Seen {
    /// The number that the next trial has.
    next: u64,
    /// Per block: its task, and which configurations had their trial.
    blocks: BTreeMap<u64, (String, Vec<String>)>,
    /// Configurations that have been asked.
    probed: BTreeSet<String>,
    /// Configuration and task of every count.
    counted: BTreeSet<(String, String)>,
    /// Per configuration and round: the last number of instances.
    rounds: BTreeMap<(String, u32), u32>,
    /// Configuration and round of every burst.
    bursts: BTreeSet<(String, u32)>,
}

impl Seen {
    fn add(&mut self, record: &Record) -> Result<(), Refusal> {
        match record {
            Record::Trial(trial) => self.trial(trial),
            Record::Memory(memory) => self.memory(memory),
            Record::Burst(burst) => self.burst(burst),
            Record::Probe(probe) => self.probe(probe),
            Record::Boundary(count) => self.boundary(count),
        }
    }

    fn burst(&mut self, b: &BurstRecord) -> Result<(), Refusal> {
        if self.bursts.insert((b.backend.clone(), b.round)) {
            return Ok(());
        }
        let problem = format!("{} has had its burst of round {}", b.backend, b.round);
        Err(Refusal::new("round", problem))
    }

    fn trial(&mut self, t: &TrialRecord) -> Result<(), Refusal> {
        if t.trial < self.next {
            let problem = format!("{} occurs twice or out of order", t.trial);
            return Err(Refusal::new("trial", problem));
        }
        if t.trial > self.next {
            let problem = format!("{} follows {}: lines are missing", t.trial, self.next);
            return Err(Refusal::new("trial", problem));
        }
        self.next += 1;
        let (task, backends) = self
            .blocks
            .entry(t.block)
            .or_insert_with(|| (t.workload.clone(), Vec::new()));
        if *task != t.workload {
            let problem = format!("{} in a block of {task}", t.workload);
            return Err(Refusal::new("workload", problem));
        }
        if backends.contains(&t.backend) {
            let problem = format!("{} has had its trial of block {}", t.backend, t.block);
            return Err(Refusal::new("backend", problem));
        }
        backends.push(t.backend.clone());
        Ok(())
    }

    fn probe(&mut self, p: &ProbeRecord) -> Result<(), Refusal> {
        if self.probed.insert(p.backend.clone()) {
            return Ok(());
        }
        Err(Refusal::new(
            "backend",
            format!("{} has been asked before", p.backend),
        ))
    }

    fn boundary(&mut self, b: &BoundaryRecord) -> Result<(), Refusal> {
        if self.counted.insert((b.backend.clone(), b.workload.clone())) {
            return Ok(());
        }
        let problem = format!("{} of {} has been counted before", b.workload, b.backend);
        Err(Refusal::new("workload", problem))
    }

    fn memory(&mut self, m: &MemoryRecord) -> Result<(), Refusal> {
        let last = self
            .rounds
            .insert((m.backend.clone(), m.round), m.instances);
        match last {
            Some(last) if last >= m.instances => Err(Refusal::new(
                "instances",
                format!("{} after {last} in round {}", m.instances, m.round),
            )),
            _ => Ok(()),
        }
    }
}
