//! What a build that serves trials is asked and answers: one JSON object a line.
//!
//! ```text
//! worker ► {"protocol":2,"version":…,"commit":…,"payload":…}
//! ab     ► {"open":["process","container"]}
//! worker ► {"opened":[null,"why not"]}
//! ab     ► {"trial":{"configuration":0,"task":"noop","size":0,"reps":1,"cpu":0,"deadline_ms":30000}}
//! worker ► {"measured":{…},"tainted":[]}     or {"failure":{…}}
//! ```

use serde::{Deserialize, Serialize};

use crate::store::record::{FailureRecord, Measured};

/// Version of this protocol; builds of different ones are not compared.
pub const PROTOCOL: u32 = 2;
/// Longest line, in bytes.
pub const LONGEST: u64 = 1 << 20;

/// The first line: who serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// Version of the build.
    pub version: String,
    /// Commit it was built from, or `unknown`.
    pub commit: String,
    /// SHA-256 of its payload.
    pub payload: String,
    /// What `ISOBENCH_INJECT` puts into its trials: such a build tests a gate.
    #[serde(default)]
    pub injected: Vec<String>,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// Make these configurations ready.
    Open(Vec<String>),
    /// Run one trial.
    Trial(Order),
}

/// A trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Index among the opened ones.
    pub configuration: usize,
    /// Name of the workload.
    pub task: String,
    /// Its size.
    pub size: u64,
    /// Its repetitions.
    pub reps: u64,
    /// CPU on which it begins: the same for both builds of a block.
    pub cpu: usize,
    /// When it is ended by force.
    pub deadline_ms: u64,
}

/// The answer to [`Request::Open`]: for each configuration why it cannot run, if so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opened {
    /// In the order they were asked for.
    pub opened: Vec<Option<String>>,
}

/// The answer to [`Request::Trial`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Seen {
    /// It came to its end with the right answer.
    Measured {
        /// Its times.
        measured: Box<Measured>,
        /// What disturbed it.
        tainted: Vec<String>,
    },
    /// It did not.
    Failed {
        /// Why.
        failure: FailureRecord,
    },
}
