//! Tasks as text: `chase@64MiB` in results, `chase` or `chase@1MiB` in `--workloads`.

use std::fmt;
use std::str::FromStr;

use super::catalogue::{Size, entry};
use super::{Profile, Task, TaskError, Workload};

/// A text that names no task.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseTaskError {
    /// No workload has this name.
    #[error(
        "no workload is called `{name}`{}; there are {}",
        .nearest.map(|w| format!(" (did you mean `{}`?)", w.name())).unwrap_or_default(),
        Workload::ALL.map(Workload::name).join(", ")
    )]
    Unknown {
        /// What was given.
        name: String,
        /// The workload it may have meant.
        nearest: Option<Workload>,
    },
    /// What follows the `@` is not a size.
    #[error(
        "`{text}` is not a size for `{}`: {} {}", .workload.name(),
        "a whole number of", entry(*.workload).size.unit()
    )]
    Size {
        /// Whose size.
        workload: Workload,
        /// What was given.
        text: String,
    },
    /// A task that the payload would refuse.
    #[error(transparent)]
    Refused(#[from] TaskError),
}

impl fmt::Display for Task {
    /// The id in results: the workload, and its size where it has one. Repetitions are not part of
    /// it, since every metric is per unit of work.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.workload.name();
        // `idle` may have a size; without one it goes by its name alone.
        if self.size == 0 {
            return f.pad(name);
        }
        let units: &[(&str, u64)] = match entry(self.workload).size {
            Size::None => return f.pad(name),
            Size::Bytes => &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)],
            Size::Instructions => &[("M", 1_000_000), ("k", 1_000)],
            // All of it, from the first question on.
            Size::Question if self.size == 0 => return f.pad(name),
            Size::Side | Size::Question => &[],
        };
        let (suffix, unit) = units
            .iter()
            .copied()
            .find(|&(_, unit)| self.size >= unit && self.size.is_multiple_of(unit))
            .unwrap_or(("", 1));
        f.pad(&format!("{name}@{}{suffix}", self.size / unit))
    }
}

impl Task {
    /// The tasks that one entry of `--workloads` means: `chase` is all of the profile's, and
    /// `chase@1MiB` is that size with the profile's amount of work.
    ///
    /// # Errors
    /// An unknown name, a text that is no size, or a size the payload would refuse.
    pub fn select(text: &str, profile: Profile) -> Result<Vec<Self>, ParseTaskError> {
        let (name, size) = match text.split_once('@') {
            Some((name, size)) => (name.trim(), Some(size.trim())),
            None => (text.trim(), None),
        };
        let workload =
            Workload::from_name(name.as_bytes()).ok_or_else(|| ParseTaskError::Unknown {
                name: name.to_owned(),
                nearest: nearest(name),
            })?;
        let Some(size) = size else {
            return Ok(profile.tasks_of(workload));
        };
        let size = parse_size(size, entry(workload).size).ok_or_else(|| ParseTaskError::Size {
            workload,
            text: size.to_owned(),
        })?;
        let task = profile.task(workload, size);
        task.check()?;
        Ok(vec![task])
    }

    /// The tasks that a list `--workloads chase,sha256@1MiB` means, in its order, each once.
    ///
    /// # Errors
    /// As [`Self::select`]; also for an empty entry.
    pub fn select_list(list: &str, profile: Profile) -> Result<Vec<Self>, ParseTaskError> {
        let mut tasks = Vec::new();
        for text in list.split(',') {
            for task in Self::select(text, profile)? {
                if !tasks.contains(&task) {
                    tasks.push(task);
                }
            }
        }
        Ok(tasks)
    }
}

impl FromStr for Task {
    type Err = ParseTaskError;

    /// One task, with the repetitions of the default profile; without a size, its smallest there.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let tasks = Self::select(text, Profile::default())?;
        tasks
            .first()
            .copied()
            .ok_or_else(|| ParseTaskError::Unknown {
                name: text.to_owned(),
                nearest: None,
            })
    }
}

/// A whole number with an optional suffix: binary (`KiB`, `K`, …) for bytes, decimal (`k`, `M`) for
/// instructions, none for the side of a matrix.
fn parse_size(text: &str, kind: Size) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, suffix) = text.split_at(digits);
    let unit = match (kind, suffix.to_ascii_lowercase().as_str()) {
        (_, "") | (Size::Bytes, "b") => 1,
        (Size::Bytes, "k" | "kib") => 1 << 10,
        (Size::Bytes, "m" | "mib") => 1 << 20,
        (Size::Bytes, "g" | "gib") => 1 << 30,
        (Size::Instructions, "k") => 1_000,
        (Size::Instructions, "m") => 1_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// The workload whose name needs the fewest edits, if these are few enough to be a slip.
fn nearest(name: &str) -> Option<Workload> {
    Workload::ALL
        .into_iter()
        .map(|workload| (edits(name, workload.name()), workload))
        .filter(|&(edits, workload)| edits <= workload.name().len() / 2)
        .min_by_key(|&(edits, _)| edits)
        .map(|(_, workload)| workload)
}

/// Insertions, deletions and replacements between two names (Levenshtein 1965), by rows.
fn edits(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, b) in to.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn task(workload: Workload, size: u64) -> Task {
        Task {
            workload,
            size,
            reps: 1,
        }
    }

    #[test]
    fn ids_are_short_and_exact() {
        let id = |workload, size| task(workload, size).to_string();
        assert_eq!(id(Workload::Noop, 0), "noop");
        assert_eq!(id(Workload::Idle, 0), "idle");
        assert_eq!(id(Workload::Idle, 64 << 20), "idle@64MiB");
        assert_eq!(id(Workload::Chase, 64 << 20), "chase@64MiB");
        assert_eq!(id(Workload::Sha256, 1000), "sha256@1000");
        assert_eq!(id(Workload::Matmul, 1000), "matmul@1000");
        assert_eq!(id(Workload::Branch, 100_000), "branch@100k");
        assert_eq!(id(Workload::Triad, 1 << 30), "triad@1GiB");
    }

    #[test]
    fn a_name_selects_the_profile_and_a_size_itself() {
        assert_eq!(
            Task::select("chase", Profile::Smoke),
            Ok(Profile::Smoke.tasks_of(Workload::Chase))
        );
        let list = Task::select_list("chase@1MiB, noop,chase@1024K", Profile::Quick).unwrap();
        let ids: Vec<String> = list.iter().map(ToString::to_string).collect();
        assert_eq!(ids, ["chase@1MiB", "noop"]);
        assert_eq!("idle".parse::<Task>(), Ok(task(Workload::Idle, 0)));
    }

    #[test]
    fn errors_help() {
        let message = |text| Task::select(text, Profile::Quick).unwrap_err().to_string();
        assert_eq!(
            message("chsae"),
            "no workload is called `chsae` (did you mean `chase`?); there are noop, sha256, \
             matmul, branch, triad, chase, fault, crossing, clock, idle, warm, probe"
        );
        assert!(message("zebra-crossing-light").starts_with("no workload is called"));
        assert!(message("").contains("there are noop"));
        assert_eq!(
            message("matmul@1MiB"),
            "`1MiB` is not a size for `matmul`: a whole number of rows and columns"
        );
        assert!(message("chase@99999999999999999999").contains("not a size"));
        assert!(message("chase@-1").contains("not a size"));
        assert!(message("chase@").contains("not a size"));
        assert!(message("noop@5").contains("takes no size"));
        assert!(message("chase@2GiB").contains("128 to 1073741824"));
    }

    proptest! {
        #[test]
        fn an_id_is_read_back(workload in prop::sample::select(&Workload::ALL), steps: u64) {
            let limits = workload.limits();
            let span = (limits.max_size - limits.min_size) / limits.size_step + 1;
            let size = limits.min_size + steps % span * limits.size_step;
            let parsed: Task = task(workload, size).to_string().parse().unwrap();
            prop_assert_eq!((parsed.workload, parsed.size), (workload, size));
            prop_assert_eq!(parsed.check(), Ok(()));
        }

        #[test]
        fn no_text_panics(text in ".{0,20}") {
            let _ = Task::select_list(&text, Profile::Quick);
        }

        #[test]
        fn edits_are_a_distance(a in "[a-d]{0,6}", b in "[a-d]{0,6}") {
            prop_assert_eq!(edits(&a, &b), edits(&b, &a));
            prop_assert_eq!(edits(&a, &b) == 0, a == b);
        }
    }
}
