//! The best split of a segment, asked hundreds of times for one change point: what depends on lengths
//! alone is computed once, and rows are laid out so that the sums of four, and the statistics of all
//! splits of one stretch, are computed side by side. Each value is the result of the same operations in
//! the same order as in the definition's loops, so that nothing depends on the layout.

/// Values whose rows of distances are summed side by side: as many additions as a processor has in
/// flight.
const LANES: usize = 4;

/// Number of values, as one.
fn real(n: usize) -> f64 {
    n as f64
}

/// What of `Q` depends on the lengths of the two stretches alone, for every end `κ` and split `τ`.
pub(super) struct Weights {
    /// Fewest values of a stretch.
    least: usize,
    /// `2/(mn)`; those of an end lie together, by split.
    between: Vec<f64>,
    /// `mn/(m + n)`, likewise.
    scale: Vec<f64>,
    /// `(n choose 2)` by `n`.
    pairs: Vec<f64>,
}

impl Weights {
    /// Those of segments of at most `n` values.
    pub(super) fn new(n: usize, least: usize) -> Self {
        let mut weights = Self {
            least,
            between: Vec::with_capacity(first_of(n + 1)),
            scale: Vec::with_capacity(first_of(n + 1)),
            pairs: (0..=n)
                .map(|n| real(n) * real(n.saturating_sub(1)) / 2.0)
                .collect(),
        };
        for end in 0..=n {
            for split in 0..end {
                let (a, b) = (real(split), real(end - split));
                weights.between.push(2.0 / (a * b));
                weights.scale.push(a * b / (a + b));
            }
        }
        weights
    }
}

/// Where the weights of an end begin.
const fn first_of(end: usize) -> usize {
    end * end.saturating_sub(1) / 2
}

/// What the search for a split writes to, kept from one to the next.
#[derive(Default)]
pub(super) struct Scratch {
    /// For [`LANES`] values `k` in turn: the sum of `|xᵢ − xₖ|` for `t ≤ i < k`, by `t`.
    rows: [Vec<f64>; LANES],
    /// `W(τ, κ)` by `τ`, for the end at hand.
    right: Vec<f64>,
    /// `W(0, κ)` by `κ`.
    whole: Vec<f64>,
    /// The same over the number of pairs.
    left: Vec<f64>,
    /// The largest `Q` so far by `τ`.
    largest: Vec<f64>,
}

impl Scratch {
    fn clear(&mut self, n: usize) {
        for (list, value) in [
            (&mut self.right, 0.0),
            (&mut self.whole, 0.0),
            (&mut self.left, 0.0),
            (&mut self.largest, f64::NEG_INFINITY),
        ] {
            list.clear();
            list.resize(n + 1, value);
        }
        for row in &mut self.rows {
            row.resize(n, 0.0);
        }
    }

    /// The best split of one segment: `max Q` over `τ` and `κ`, and its `τ`; of equals the first.
    ///
    /// With `W(a, b)` the sum of distances among the values of `a..b`, the sum between `0..τ` and
    /// `τ..κ` is `W(0, κ) − W(0, τ) − W(τ, κ)`; `W(τ, ·)` grows by one row at a time. Time is
    /// quadratic.
    pub(super) fn best(&mut self, x: &[f64], weights: &Weights) -> Option<(f64, usize)> {
        let (n, least) = (x.len(), weights.least);
        if n < 2 * least {
            return None;
        }
        self.clear(n);
        for first in (0..n).step_by(LANES) {
            let lanes = LANES.min(n - first);
            self.sum_rows(x, first, lanes);
            for k in first..first + lanes {
                self.end_at(k, n, weights);
            }
        }
        let splits = least..=n - least;
        let mut best: Option<(f64, usize)> = None;
        for (split, largest) in splits.clone().zip(&self.largest[splits]) {
            if best.is_none_or(|(known, _)| *largest > known) {
                best = Some((*largest, split));
            }
        }
        best
    }

    /// The rows of `lanes` values from `first` on.
    fn sum_rows(&mut self, x: &[f64], first: usize, lanes: usize) {
        let mut sums = [0.0; LANES];
        let of_lanes = self.rows.iter_mut().zip(&mut sums).take(lanes);
        for ((row, sum), k) in of_lanes.zip(first..) {
            row[k] = 0.0;
            for i in (first..k).rev() {
                *sum += (x[i] - x[k]).abs();
                row[i] = *sum;
            }
        }
        // Lanes without a value of their own repeat the last one's.
        let own: [f64; LANES] = std::array::from_fn(|lane| x[first + lane.min(lanes - 1)]);
        let [a, b, c, d] = &mut self.rows;
        let below = a[..first].iter_mut().zip(&mut b[..first]);
        let below = below.zip(c[..first].iter_mut().zip(&mut d[..first]));
        for (((a, b), (c, d)), value) in below.zip(&x[..first]).rev() {
            for (sum, own) in sums.iter_mut().zip(&own) {
                *sum += (value - own).abs();
            }
            [*a, *b, *c, *d] = sums;
        }
    }

    /// Takes the value `k` in: `Q` of every split of what ends behind it.
    fn end_at(&mut self, k: usize, n: usize, weights: &Weights) {
        let (least, end) = (weights.least, k + 1);
        let row = &self.rows[k % LANES];
        self.whole[end] = self.whole[k] + row[0];
        self.left[end] = self.whole[end] / weights.pairs[end];
        let last = n - least;
        let met = least..(k.min(last) + 1).max(least);
        for (sum, more) in self.right[met.clone()].iter_mut().zip(&row[met]) {
            *sum += more;
        }
        if end < 2 * least {
            return;
        }
        let splits = least..(end - least).min(last) + 1;
        let of_end = first_of(end) + splits.start..first_of(end) + splits.end;
        // What is right of a split gets shorter as splits go on.
        let behind = end + 1 - splits.end..=end - splits.start;
        let all = self.whole[end];
        let lengths = weights.between[of_end.clone()]
            .iter()
            .zip(&weights.scale[of_end])
            .zip(weights.pairs[behind].iter().rev());
        let sums = self.whole[splits.clone()]
            .iter()
            .zip(&self.left[splits.clone()])
            .zip(&self.right[splits.clone()]);
        let known = &mut self.largest[splits];
        for ((known, ((whole, left), right)), ((between, scale), pairs)) in
            known.iter_mut().zip(sums).zip(lengths)
        {
            let energy = between * (all - whole - right) - left - right / pairs;
            let statistic = scale * energy;
            *known = if statistic > *known {
                statistic
            } else {
                *known
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(x: &[f64], least: usize) -> Option<(f64, usize)> {
        Scratch::default().best(x, &Weights::new(x.len(), least))
    }

    /// The same sums in plain loops.
    fn plainly(x: &[f64], least: usize) -> Option<(f64, usize)> {
        let n = x.len();
        let row = |k: usize| {
            let mut row = vec![0.0; k + 1];
            for i in (0..k).rev() {
                row[i] = row[i + 1] + (x[i] - x[k]).abs();
            }
            row
        };
        let rows: Vec<Vec<f64>> = (0..n).map(row).collect();
        let mut whole = vec![0.0; n + 1];
        for k in 0..n {
            whole[k + 1] = whole[k] + rows[k][0];
        }
        let pairs = |n: usize| real(n) * real(n - 1) / 2.0;
        let mut best: Option<(f64, usize)> = None;
        for t in least..=n.checked_sub(least)? {
            let mut right = 0.0;
            for (k, row) in rows.iter().enumerate().skip(t) {
                right += row[t];
                let m = k + 1 - t;
                if m < least {
                    continue;
                }
                let between = whole[k + 1] - whole[t] - right;
                let (a, b) = (real(t), real(m));
                let energy = 2.0 / (a * b) * between - whole[t] / pairs(t) - right / pairs(m);
                let statistic = a * b / (a + b) * energy;
                if best.is_none_or(|(largest, _)| statistic > largest) {
                    best = Some((statistic, t));
                }
            }
        }
        best
    }

    /// The definition, word by word: every split, every pair.
    fn by_definition(x: &[f64], least: usize) -> (f64, usize) {
        let within = |s: &[f64]| {
            let mut sum = 0.0;
            for i in 0..s.len() {
                for k in i + 1..s.len() {
                    sum += (s[i] - s[k]).abs();
                }
            }
            sum / (s.len() * (s.len() - 1) / 2) as f64
        };
        let mut best = (f64::NEG_INFINITY, 0);
        for t in least..=x.len() - least {
            for k in t + least..=x.len() {
                let (a, b) = (&x[..t], &x[t..k]);
                let between: f64 = a
                    .iter()
                    .flat_map(|p| b.iter().map(move |q| (p - q).abs()))
                    .sum();
                let (m, n) = (real(a.len()), real(b.len()));
                let q = m * n / (m + n) * (2.0 / (m * n) * between - within(a) - within(b));
                if q > best.0 {
                    best = (q, t);
                }
            }
        }
        best
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_best_split_is_that_of_the_definition(
            x in prop::collection::vec(-1e3..1e3_f64, 6..24),
            least in 2..4_usize,
        ) {
            let (statistic, index) = split(&x, least).unwrap();
            let (expected, at) = by_definition(&x, least);
            prop_assert!((statistic - expected).abs() <= 1e-9 * expected.abs().max(1.0));
            // Two splits may be equally good.
            prop_assert!(index == at || (by_definition(&x[..], least).0 - statistic).abs() < 1e-6);
        }

        #[test]
        fn the_layout_changes_no_bit(
            x in prop::collection::vec(prop_oneof![-1e3..1e3_f64, (-3..3_i32).prop_map(f64::from)], 0..70),
            least in 2..6_usize,
            room in 0..20_usize,
        ) {
            // As it is used: weights for longer segments, and room that another one has left.
            let weights = Weights::new(x.len() + room, least);
            let mut scratch = Scratch::default();
            scratch.best(&vec![7.5; x.len() + room], &weights);
            let found = scratch.best(&x, &weights);
            let plain = if x.len() < 2 * least { None } else { plainly(&x, least) };
            prop_assert_eq!(found.map(|(q, t)| (q.to_bits(), t)), plain.map(|(q, t)| (q.to_bits(), t)));
        }
    }
}
