//! The workloads: the embedded payload, the tasks it is given, and their known answers.

pub mod payload;

pub use isobench_abi::workload::Workload;

/// A workload with its size and repetitions: the payload's command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Task {
    /// What to do.
    pub workload: Workload,
    /// SIZE: bytes, matrix side or instructions.
    pub size: u64,
    /// REPS.
    pub reps: u64,
}

impl Task {
    /// `argv` of the payload, `argv[0]` included.
    #[must_use]
    pub fn argv(&self) -> [String; 4] {
        [
            "/payload".to_owned(),
            self.workload.name().to_owned(),
            self.size.to_string(),
            self.reps.to_string(),
        ]
    }
}
