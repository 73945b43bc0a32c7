//! How many more blocks does a task want? As many as make the interval of every ratio to the
//! reference narrow: a rule on the width of intervals, not on whether they exclude 1, so that looking
//! at the data as it comes does not favour a difference (fixed-width sequential intervals: Stein
//! 1945, *A Two-Sample Test for a Linear Hypothesis Whose Power Is Independent of the Variance*; Chow
//! & Robbins 1965, *On the Asymptotic Theory of Fixed-Width Sequential Confidence Intervals*).

use crate::stats::batch::batch_medians;
use crate::stats::hodges_lehmann::hodges_lehmann;
use crate::stats::{Sample, paired, quantile};
use crate::store::record::Measured;

use super::summary::{LEVEL, Value, metrics_of};
use crate::metric::Metric;
use crate::workload::Task;

/// Blocks before the first look: the interval of fewer is too coarse to be judged by its width.
const FIRST_LOOK: u32 = 12;
/// Least growth from look to look: the estimate of what is wanted is itself uncertain.
const LEAST_GROWTH: f64 = 1.2;

/// The values of one task so far.
pub struct Progress {
    /// Each metric with the largest relative half-width that is narrow.
    metrics: Vec<(Metric, Value, f64)>,
    most: u32,
    /// Whether every block is wanted, whatever the intervals.
    all: bool,
    /// `rows[block][configuration][metric]`; a trial that failed or was disturbed leaves `None`.
    rows: Vec<Vec<Option<Vec<f64>>>>,
}

impl Progress {
    /// Nothing yet. At most `most` blocks are wanted; all of them where there is no goal, otherwise
    /// until every interval's relative half-width is at most the goal of its metric.
    pub fn new(task: &Task, most: u32, goal: Option<&dyn Fn(&Metric) -> f64>) -> Self {
        let metrics = metrics_of(task).into_iter();
        Self {
            metrics: metrics
                .map(|(metric, value)| (metric, value, goal.map_or(0.0, |goal| goal(&metric))))
                .collect(),
            most,
            all: goal.is_none(),
            rows: Vec::new(),
        }
    }

    /// Takes in one block: a measurement per configuration, in the configurations' order.
    pub fn block(&mut self, block: &[Option<Measured>]) {
        let values = |measured: &Measured| -> Option<Vec<f64>> {
            self.metrics
                .iter()
                .map(|(_, value, _)| value(measured))
                .collect()
        };
        self.rows
            .push(block.iter().map(|m| m.as_ref().and_then(values)).collect());
    }

    /// How many more blocks are wanted.
    #[must_use]
    pub fn wanted(&self) -> u32 {
        let done = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        let total = if self.all {
            self.most
        } else if done < FIRST_LOOK {
            FIRST_LOOK
        } else {
            let growth = self.growth();
            if growth <= 1.0 {
                return 0;
            }
            // Saturates.
            (f64::from(done) * growth.max(LEAST_GROWTH)).ceil() as u32
        };
        total.min(self.most).saturating_sub(done)
    }

    /// By which factor the data must grow: an interval shrinks with its square root.
    fn growth(&self) -> f64 {
        let configurations = self.rows.first().map_or(0, Vec::len);
        let mut growth: f64 = 0.0;
        for (metric, &(_, _, goal)) in self.metrics.iter().enumerate() {
            if configurations == 1 {
                growth = growth.max(self.of_median(metric, goal));
            }
            for other in 1..configurations {
                growth = growth.max(self.of_ratio(metric, other, goal));
            }
        }
        growth
    }

    fn of_ratio(&self, metric: usize, other: usize, goal: f64) -> f64 {
        let pairs: Vec<(f64, f64)> = self
            .rows
            .iter()
            .filter_map(|row| Some((row[0].as_ref()?[metric], row[other].as_ref()?[metric])))
            .collect();
        // More of what never gives a number gives none either.
        if pairs.is_empty() {
            return 0.0;
        }
        let Ok(ratio) = paired::ratio(&pairs, LEVEL) else {
            return 2.0;
        };
        let width = ratio.relative_half_width().ln_1p().max(by_batches(&pairs));
        (width / goal.ln_1p()).powi(2)
    }

    /// Without anything to be compared with, the median itself must be known.
    fn of_median(&self, metric: usize, goal: f64) -> f64 {
        let values = self
            .rows
            .iter()
            .filter_map(|row| Some(row[0].as_ref()?[metric]));
        let Ok(sample) = Sample::new(values.collect::<Vec<f64>>()) else {
            return 0.0;
        };
        let median = quantile::median(&sample).abs();
        quantile::median_ci(&sample, LEVEL)
            .map_or(2.0, |ci| (ci.half_width() / (median * goal)).powi(2))
    }
}

/// Half-width of the interval that batches of blocks give, as a comparison of runs sees them. Blocks
/// taken one by one seem to know more than they do where a disturbance lasts for several; nothing is
/// added where there are too few of them for batches.
fn by_batches(pairs: &[(f64, f64)]) -> f64 {
    let interval = paired::log_ratios(pairs)
        .and_then(|logs| batch_medians(logs.values()))
        .and_then(|batches| hodges_lehmann(&batches, LEVEL));
    interval.map_or(0.0, |(_, interval)| interval.half_width())
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
            reply: None,
            timed: Nanos(1),
            units: 1,
            digest: String::new(),
            isa: String::new(),
            clock: String::new(),
            clock_bound: Nanos(0),
            exits: None,
            exit_counts: Vec::new(),
            phases: Vec::new(),
            unaccounted: Nanos(0),
            teardown: Vec::new(),
            told: None,
        })
    }

    const GOAL: &dyn Fn(&Metric) -> f64 = &|_| 0.05;

    fn progress(goal: Option<&dyn Fn(&Metric) -> f64>) -> Progress {
        Progress::new(&Profile::Smoke.task(Workload::Noop, 0), 400, goal)
    }

    fn fed(goal: Option<&dyn Fn(&Metric) -> f64>, rows: &[Vec<Option<Measured>>]) -> Progress {
        let mut progress = progress(goal);
        rows.iter().for_each(|row| progress.block(row));
        progress
    }

    #[test]
    fn equal_blocks_are_enough_at_the_first_look() {
        let row = vec![measured(1000), measured(3000)];
        for done in 0..12 {
            assert_eq!(
                fed(Some(GOAL), &vec![row.clone(); done]).wanted(),
                12 - done as u32
            );
        }
        assert_eq!(fed(Some(GOAL), &vec![row; 12]).wanted(), 0);
    }

    #[test]
    fn wild_blocks_want_more_by_the_square_of_their_width() {
        let wild = |n: i64| -> Vec<_> {
            let row = |i| vec![measured(1000), measured(1000 + 25 * (i * 7 % 20))];
            (0..n).map(row).collect()
        };
        // The middle of 40 evenly spread values is known to about ± 8 %.
        let some = fed(Some(GOAL), &wild(40)).wanted();
        assert!((30..160).contains(&some), "{some}");
        // As wide, twice the data: the same in all, within what the estimate is good for.
        let more = fed(Some(GOAL), &wild(80)).wanted();
        assert!(more < some, "{more} {some}");
        let tight: &dyn Fn(&Metric) -> f64 = &|_| 1e-6;
        assert_eq!(
            fed(Some(tight), &wild(40)).wanted(),
            360,
            "never above the most"
        );
    }

    #[test]
    fn blocks_that_are_like_their_neighbours_count_for_less() {
        // The same values, mixed well or in twelve runs of alike ones.
        let row = |i: i64| vec![measured(1000), measured(1000 + 5 * (i % 12))];
        let mixed: Vec<_> = (0..120).map(row).collect();
        let alike: Vec<_> = (0..120).map(|i| row(i / 10)).collect();
        let [mixed, alike] = [mixed, alike].map(|rows| {
            let progress = fed(Some(&|_| 0.0078), &rows);
            progress.wanted()
        });
        assert_eq!(mixed, 0);
        assert!(alike > 100, "{alike}");
    }

    #[test]
    fn without_a_goal_every_block_is_wanted() {
        let row = vec![measured(1000), measured(3000)];
        assert_eq!(fed(None, &vec![row; 30]).wanted(), 370);
    }

    #[test]
    fn what_fails_always_wants_nothing_and_what_fails_mostly_goes_on() {
        let failed = vec![measured(1000), None];
        assert_eq!(fed(Some(GOAL), &vec![failed.clone(); 12]).wanted(), 0);
        let mut rows = vec![failed; 12];
        rows.push(vec![measured(1000), measured(3000)]);
        assert_eq!(fed(Some(GOAL), &rows).wanted(), 13);
    }

    #[test]
    fn one_configuration_alone_needs_a_narrow_median() {
        assert_eq!(fed(Some(GOAL), &vec![vec![measured(1000)]; 12]).wanted(), 0);
        let rows: Vec<_> = (0..12).map(|i| vec![measured(1000 + 200 * i)]).collect();
        assert!(fed(Some(GOAL), &rows).wanted() > 12);
    }
}
