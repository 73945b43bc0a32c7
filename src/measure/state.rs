//! What two runs' references tell of the machine they were taken on: was it in the same state?
//!
//! A ratio to the reference cancels what slows both alike. A busy machine does not: each kind of
//! isolation suffers in its own way. So a reference that moved itself puts a bound on what can be said.

use super::comparison::{Compared, Doubt, REFERENCE, Rule, Word};
use super::series::Quantity;
use crate::metric::STARTUP;

/// The start of the bare process in both runs, where both have one.
#[derive(Clone, Copy)]
pub(super) struct State<'a>(Option<(&'a Quantity, &'a Quantity)>);

impl<'a> State<'a> {
    pub(super) fn of(both: &[(&'a Quantity, &'a Quantity)]) -> Self {
        let start = |(b, h): &&(&Quantity, &Quantity)| {
            b.key.metric == STARTUP.name && factor(b, h).is_some()
        };
        // Each configuration has it of those blocks that it has itself.
        let most = |(b, h): &&(&Quantity, &Quantity)| b.blocks.min(h.blocks);
        Self(both.iter().filter(start).max_by_key(most).copied())
    }

    /// Doubt about everything, where that start moved by more than the rule allows.
    pub(super) fn doubt(self, rule: &Rule) -> Option<Doubt> {
        let (base, head) = self.0?;
        moved(base, head, rule)
    }

    /// Doubt about a change that is no larger than what the metric's reference, or that start, moved by.
    pub(super) fn outdone(
        self,
        compared: &Compared,
        base: &Quantity,
        head: &Quantity,
    ) -> Option<Doubt> {
        let decided = matches!(compared.verdict, Word::Better | Word::Worse);
        if !decided || !compared.relative {
            return None;
        }
        let start = self.0.and_then(|(b, h)| factor(b, h)).map_or(0.0, f64::ln);
        let moved = factor(base, head)?.ln().abs().max(start.abs());
        (compared.ratio?.ln().abs() <= moved).then(|| Doubt {
            short: "other state",
            words: format!(
                "{REFERENCE} itself moved by {:.1} % between the runs, no less than this",
                moved.exp_m1() * 100.0
            ),
        })
    }
}

/// Doubt about a metric whose reference moved by more than the rule allows.
pub(super) fn moved(base: &Quantity, head: &Quantity, rule: &Rule) -> Option<Doubt> {
    let factor = factor(base, head)?;
    let (metric, factor) = (base.key.metric, factor.max(factor.recip()));
    (factor > rule.most_moved).then(|| Doubt {
        short: "other state",
        words: format!(
            "{metric} of {REFERENCE} itself ({}) differs by a factor of {factor:.1}: one of the \
             runs was disturbed throughout",
            base.key.workload
        ),
    })
}

/// HEAD's reference over BASE's. Not a number where a value is 0; then there is no ratio either.
fn factor(base: &Quantity, head: &Quantity) -> Option<f64> {
    Some(head.reference? / base.reference?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::series::Key;

    fn start(backend: &str, blocks: usize, reference: Option<f64>) -> Quantity {
        Quantity {
            key: Key {
                backend: backend.to_owned(),
                workload: "noop".to_owned(),
                metric: STARTUP.name,
            },
            metric: STARTUP,
            threshold: 0.1,
            relative: true,
            blocks,
            trials: blocks,
            failed: 0,
            reference,
            batches: None,
            parts: Vec::new(),
        }
    }

    /// A configuration that failed, or was there for a block or two, has no say about the machine.
    #[test]
    fn the_state_is_read_where_most_blocks_have_it() {
        let base = [200, 200, 200].map(|blocks| start("a", blocks, Some(1.0)));
        let rule = Rule::default();
        for (factor, doubted) in [(1.0, false), (1.6, true)] {
            let head = [
                start("a", 0, None),
                start("b", 1, Some(2.6 - factor)),
                start("c", 200, Some(factor)),
            ];
            let both: Vec<_> = base.iter().zip(&head).collect();
            assert_eq!(State::of(&both).doubt(&rule).is_some(), doubted, "{factor}");
        }
        assert!(State::of(&[]).doubt(&rule).is_none());
    }
}
