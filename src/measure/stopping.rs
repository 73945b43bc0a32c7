//! When is a task measured well enough? When the interval of every ratio to the reference is
//! narrow: a rule on the width of intervals, not on whether they exclude 1, so that looking at the
//! data as it comes does not favour a difference (fixed-width sequential intervals: Chow & Robbins
//! 1965, *On the Asymptotic Theory of Fixed-Width Sequential Confidence Intervals*).

use crate::metric::Metric;
use crate::stats::{Sample, paired, quantile};
use crate::store::record::Measured;

use super::summary::{LEVEL, Value, metrics_of};
use crate::workload::Task;

/// Blocks before the first look: the interval of fewer is too coarse to be judged by its width.
const FIRST_LOOK: usize = 12;

/// The values of one task so far.
pub struct Progress {
    target: f64,
    metrics: Vec<(Metric, Value)>,
    /// `rows[block][configuration][metric]`; a trial that failed or was disturbed leaves `None`.
    rows: Vec<Vec<Option<Vec<f64>>>>,
    next_look: usize,
    done: bool,
}

impl Progress {
    /// Nothing yet. `target` is the largest relative half-width of an interval that is narrow.
    #[must_use]
    pub fn new(task: &Task, target: f64) -> Self {
        let metrics = metrics_of(task);
        Self {
            target,
            metrics,
            rows: Vec::new(),
            next_look: FIRST_LOOK,
            done: false,
        }
    }

    /// Takes in one block: a measurement per configuration, in the configurations' order.
    pub fn block(&mut self, block: &[Option<Measured>]) {
        let values = |measured: &Measured| -> Option<Vec<f64>> {
            self.metrics
                .iter()
                .map(|(_, value)| value(measured))
                .collect()
        };
        self.rows
            .push(block.iter().map(|m| m.as_ref().and_then(values)).collect());
        if !self.done && self.rows.len() >= self.next_look {
            self.done = self.is_narrow();
            // A look costs as much as the data is long: not after every block.
            self.next_look = self.rows.len() + self.rows.len().div_ceil(5);
        }
    }

    /// Whether every interval is narrow.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.done
    }

    fn is_narrow(&self) -> bool {
        let configurations = self.rows.first().map_or(0, Vec::len);
        (0..self.metrics.len()).all(|metric| {
            if configurations == 1 {
                return self.median_is_narrow(metric);
            }
            (1..configurations).all(|other| {
                let pairs: Vec<(f64, f64)> = self
                    .rows
                    .iter()
                    .filter_map(|row| {
                        Some((row[0].as_ref()?[metric], row[other].as_ref()?[metric]))
                    })
                    .collect();
                paired::ratio(&pairs, LEVEL)
                    .is_ok_and(|ratio| ratio.relative_half_width() <= self.target)
            })
        })
    }

    /// Without anything to be compared with, the median itself must be known.
    fn median_is_narrow(&self, metric: usize) -> bool {
        let values: Vec<f64> = self
            .rows
            .iter()
            .filter_map(|row| Some(row[0].as_ref()?[metric]))
            .collect();
        let Ok(sample) = Sample::new(values) else {
            return false;
        };
        quantile::median_ci(&sample, LEVEL)
            .is_some_and(|ci| ci.half_width() <= self.target * quantile::median(&sample).abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Nanos;
    use crate::workload::{Profile, Workload};

    fn measured(ns: i64) -> Option<Measured> {
        Some(Measured {
            t1: Nanos(ns),
            t2: Nanos(ns * 2),
            t3: Nanos(ns * 2),
            t4: Nanos(ns * 3),
            t5: Nanos(ns * 4),
            timed: Nanos(1),
            units: 1,
            digest: String::new(),
            isa: String::new(),
            clock: String::new(),
            clock_bound: Nanos(0),
            exits: None,
            phases: Vec::new(),
            unaccounted: Nanos(0),
            teardown: Vec::new(),
        })
    }

    fn progress() -> Progress {
        Progress::new(&Profile::Smoke.task(Workload::Noop, 0), 0.05)
    }

    #[test]
    fn equal_blocks_are_done_at_the_first_look() {
        let mut progress = progress();
        for block in 0..FIRST_LOOK {
            assert!(!progress.is_done(), "{block}");
            progress.block(&[measured(1000), measured(3000)]);
        }
        assert!(progress.is_done());
    }

    #[test]
    fn wild_blocks_go_on() {
        let mut progress = progress();
        for block in 0..50 {
            progress.block(&[measured(1000), measured(1000 + 100 * (block % 20))]);
        }
        assert!(!progress.is_done());
    }

    #[test]
    fn failures_are_no_data() {
        let mut progress = progress();
        for _ in 0..50 {
            progress.block(&[measured(1000), None]);
        }
        assert!(!progress.is_done());
    }

    #[test]
    fn one_configuration_alone_needs_a_narrow_median() {
        let mut progress = progress();
        for _ in 0..FIRST_LOOK {
            progress.block(&[measured(1000)]);
        }
        assert!(progress.is_done());
    }
}
