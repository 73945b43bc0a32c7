//! The workloads: the embedded payload, the tasks it is given, and their known answers.

pub mod answers;
pub mod catalogue;
pub mod facts;
pub mod payload;
pub mod profile;
mod text;

pub use answers::{Answer, known_answer};
pub use isobench_abi::workload::Workload;
pub use profile::Profile;
pub use text::ParseTaskError;

/// A workload with its size and repetitions: the payload's command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Task {
    /// What to do.
    pub workload: Workload,
    /// SIZE: bytes, matrix side or instructions; 0 where the workload has no size.
    pub size: u64,
    /// REPS.
    pub reps: u64,
}

/// A task that the payload would refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// The workload has no size.
    #[error("`{}` takes no size, but {size} was given", .workload.name())]
    SizeNotTaken {
        /// Of the task.
        workload: Workload,
        /// Of the task.
        size: u64,
    },
    /// SIZE is outside its range, or between two steps.
    #[error(
        "the size of `{}` is {min} to {max} in steps of {step} ({unit}), not {size}",
        .workload.name(), unit = catalogue::entry(*.workload).size.unit()
    )]
    Size {
        /// Of the task.
        workload: Workload,
        /// Of the task.
        size: u64,
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
        /// It must be a multiple of this.
        step: u64,
    },
    /// REPS is outside its range.
    #[error("the repetitions of `{}` are 1 to {max}, not {reps}", .workload.name())]
    Reps {
        /// Of the task.
        workload: Workload,
        /// Of the task.
        reps: u64,
        /// Largest.
        max: u64,
    },
}

impl Task {
    /// `argv` of the payload, `argv[0]` included.
    #[must_use]
    pub fn argv(&self) -> [String; 4] {
        [
            isobench_abi::PROGRAM_NAME.to_owned(),
            self.workload.name().to_owned(),
            self.size.to_string(),
            self.reps.to_string(),
        ]
    }

    /// Checks what the payload itself checks, so that it is never started in vain.
    ///
    /// # Errors
    /// The first argument, in the payload's order, that is outside its range.
    pub const fn check(&self) -> Result<(), TaskError> {
        let Self {
            workload,
            size,
            reps,
        } = *self;
        let limits = workload.limits();
        if !limits.allow_size(size) {
            return Err(if limits.max_size == 0 {
                TaskError::SizeNotTaken { workload, size }
            } else {
                TaskError::Size {
                    workload,
                    size,
                    min: limits.min_size,
                    max: limits.max_size,
                    step: limits.size_step,
                }
            });
        }
        if !limits.allow_reps(reps) {
            return Err(TaskError::Reps {
                workload,
                reps,
                max: limits.max_reps,
            });
        }
        Ok(())
    }

    /// Fresh memory the payload asks for, in bytes, a whole number of pages: what a VM must give
    /// it beyond its own segments and stack.
    #[must_use]
    pub const fn heap_bytes(&self) -> u64 {
        self.workload.heap_bytes(self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(workload: Workload, size: u64, reps: u64) -> Task {
        Task {
            workload,
            size,
            reps,
        }
    }

    #[test]
    fn limits_are_inclusive_and_name_the_field() {
        for workload in Workload::ALL {
            let limits = workload.limits();
            for size in [limits.min_size, limits.max_size] {
                assert_eq!(task(workload, size, 1).check(), Ok(()));
                assert_eq!(task(workload, size, limits.max_reps).check(), Ok(()));
                for reps in [0, limits.max_reps + 1] {
                    let error = task(workload, size, reps).check().unwrap_err();
                    assert!(error.to_string().contains("repetitions"), "{error}");
                }
            }
            let size = limits.max_size + limits.size_step;
            let error = task(workload, size, 1).check().unwrap_err();
            assert!(error.to_string().contains("size"), "{error}");
            if limits.size_step > 1 {
                assert!(task(workload, limits.min_size + 1, 1).check().is_err());
            }
        }
    }

    #[test]
    fn an_error_says_what_is_allowed() {
        assert_eq!(
            task(Workload::Chase, 100, 1)
                .check()
                .unwrap_err()
                .to_string(),
            "the size of `chase` is 128 to 1073741824 in steps of 64 (bytes), not 100"
        );
        assert_eq!(
            task(Workload::Clock, 5, 1).check().unwrap_err().to_string(),
            "`clock` takes no size, but 5 was given"
        );
    }

    #[test]
    fn a_command_line_has_four_words() {
        assert_eq!(
            task(Workload::Chase, 128, 7).argv(),
            ["/payload", "chase", "128", "7"]
        );
    }
}
