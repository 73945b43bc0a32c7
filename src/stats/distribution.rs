//! The few distributions the intervals and tests stand on: normal, beta, Student's t, binomial.
//!
//! Written here because the usual crates stop the continued fraction of the incomplete beta
//! function after a fixed number of terms, which is too few for samples of 10⁵ and more.

use std::f64::consts::PI;

/// Distribution function of the standard normal.
///
/// `Φ(x) = ½ + φ(x)·(x + x³/3 + x⁵/(3·5) + …)` near the centre, and Laplace's continued fraction
/// `1 − Φ(x) = φ(x)/(x + 1/(x + 2/(x + …)))` in the tails. Source: Abramowitz & Stegun (1964)
/// 26.2.11 and 26.2.14.
pub(super) fn normal_cdf(x: f64) -> f64 {
    let density = (-x * x / 2.0).exp() / (2.0 * PI).sqrt();
    if x.abs() < 3.0 {
        let (mut term, mut sum, mut odd) = (x, x, 1.0);
        while term.abs() > sum.abs() * 1e-17 {
            odd += 2.0;
            term *= x * x / odd;
            sum += term;
        }
        0.5 + density * sum
    } else {
        // At 3 and beyond, 100 levels are far more than double precision needs.
        let denominator = (1..=100)
            .rev()
            .fold(x.abs(), |below, k| x.abs() + f64::from(k) / below);
        let tail = if density == 0.0 {
            0.0
        } else {
            density / denominator
        };
        if x < 0.0 { tail } else { 1.0 - tail }
    }
}

/// Quantile of the standard normal; `±∞` at 0 and 1.
///
/// Bisection on [`normal_cdf`] in the lower half, where small probabilities keep their precision;
/// the upper half by symmetry.
pub(super) fn normal_quantile(p: f64) -> f64 {
    if p > 0.5 {
        return -normal_quantile(1.0 - p);
    }
    if p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    bisect(-40.0, 0.0, |x| normal_cdf(x) >= p)
}

/// Quantile of Student's t with `df` degrees of freedom, for `0 < p < 1`.
///
/// For `t ≤ 0`, `P(T ≤ t) = ½·I_{df/(df+t²)}(df/2, ½)` (Abramowitz & Stegun 26.7.1), solved for
/// `u = df/(df+t²)` or, near the centre, for `1 − u`, so that neither end loses digits.
pub(super) fn t_quantile(p: f64, df: f64) -> f64 {
    if p > 0.5 {
        return -t_quantile(1.0 - p, df);
    }
    // t = −√(df·v/(1−v)) with v = 1 − u: P(T ≤ t) = ½·(1 − I_v(½, df/2)).
    let v = bisect(0.0, 1.0, |v| 0.5 * beta_tails(0.5, df / 2.0, v).1 <= p);
    if v < 0.5 {
        return -(df * v / (1.0 - v)).sqrt();
    }
    let u = bisect(0.0, 1.0, |u| 0.5 * beta_tails(df / 2.0, 0.5, u).0 >= p);
    -(df * (1.0 - u) / u).sqrt()
}

/// `P(B ≤ k)` for `B` binomial with `n` draws of probability `p`.
///
/// `P(B ≤ k) = I_{1−p}(n − k, k + 1)` (Abramowitz & Stegun 26.5.24).
pub(super) fn binomial_cdf(k: usize, n: usize, p: f64) -> f64 {
    if k >= n {
        return 1.0;
    }
    beta_tails((k + 1) as f64, (n - k) as f64, p).1
}

/// `(I_x(a, b), 1 − I_x(a, b))`: the regularised incomplete beta function and its complement.
///
/// The continued fraction 26.5.8 of Abramowitz & Stegun by Lentz's method (Press et al.,
/// *Numerical Recipes*, 3rd ed. 2007, §6.4), run until it converges (its length grows with
/// `√max(a, b)`). The factor in front is Loader's saddle-point form, which keeps its relative
/// precision where differences of log-gammas lose it.
pub(super) fn beta_tails(a: f64, b: f64, x: f64) -> (f64, f64) {
    if x <= 0.0 {
        return (0.0, 1.0);
    }
    if x >= 1.0 {
        return (1.0, 0.0);
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        let upper = beta_fraction(b, a, 1.0 - x, x);
        (1.0 - upper, upper)
    } else {
        let lower = beta_fraction(a, b, x, 1.0 - x);
        (lower, 1.0 - lower)
    }
}

/// `I_x(a, b)` for `x` below about the mean `a/(a+b)`, where the fraction converges fast.
fn beta_fraction(a: f64, b: f64, x: f64, y: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away_from_zero = |v: f64| if v.abs() < TINY { TINY } else { v };
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut h = d;
    for step in 1..1_000_000_u32 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away_from_zero(1.0 + even * d);
        c = away_from_zero(1.0 + even / c);
        h *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away_from_zero(1.0 + odd * d);
        c = away_from_zero(1.0 + odd / c);
        h *= d * c;
        if (d * c - 1.0).abs() <= f64::EPSILON {
            break;
        }
    }
    // x^a·y^b / (a·B(a, b)) = binomial density(a; a + b, x) · b/(a + b)
    (binomial_density(a, b, x, y) * b / (a + b) * h).clamp(0.0, 1.0)
}

/// `Γ(a+b+1)/(Γ(a+1)Γ(b+1))·x^a·y^b` with `y = 1 − x`, for real `a`, `b` > 0.
///
/// Source: Loader (2000), *Fast and Accurate Computation of Binomial Probabilities*.
fn binomial_density(a: f64, b: f64, x: f64, y: f64) -> f64 {
    let n = a + b;
    let log = stirling_error(n)
        - stirling_error(a)
        - stirling_error(b)
        - deviance(a, n * x)
        - deviance(b, n * y);
    log.exp() * (n / (2.0 * PI * a * b)).sqrt()
}

/// `ln Γ(x+1) − (x+½)·ln x + x − ½·ln 2π`: what Stirling's formula leaves.
///
/// The asymptotic series from 16 on; below, `δ(x) = δ(x+1) + (x+½)·ln(1 + 1/x) − 1`.
fn stirling_error(x: f64) -> f64 {
    let (mut x, mut carried) = (x, 0.0);
    while x < 16.0 {
        carried += (x + 0.5) * (1.0 / x).ln_1p() - 1.0;
        x += 1.0;
    }
    let q = 1.0 / (x * x);
    let series = (1.0 / 1680.0 - q / 1188.0).mul_add(-q, 1.0 / 1260.0);
    carried + (series.mul_add(-q, 1.0 / 360.0).mul_add(-q, 1.0 / 12.0)) / x
}

/// `x·ln(x/m) + m − x`, by a series where the terms would cancel (Loader 2000).
fn deviance(x: f64, m: f64) -> f64 {
    if (x - m).abs() >= 0.1 * (x + m) {
        return x * (x / m).ln() + m - x;
    }
    let v = (x - m) / (x + m);
    let mut sum = (x - m) * v;
    let mut power = 2.0 * x * v;
    let mut odd = 1.0;
    loop {
        power *= v * v;
        odd += 2.0;
        let next = sum + power / odd;
        if next == sum {
            return sum;
        }
        sum = next;
    }
}

/// The point in `[low, high]` where `above`, false first and true later, changes; to the last bit.
pub(super) fn bisect(mut low: f64, mut high: f64, above: impl Fn(f64) -> bool) -> f64 {
    // Ends when no number lies between the two; the bound only guards against a NaN.
    for _ in 0..2_000 {
        let middle = low.midpoint(high);
        if middle <= low || middle >= high {
            break;
        }
        if above(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::reference;
    use super::*;

    #[test]
    fn agrees_with_scipy() {
        for case in reference::cases("normal_cdf") {
            case.agrees("p", normal_cdf(case.number("x")));
        }
        for case in reference::cases("normal_quantile") {
            case.agrees("x", normal_quantile(case.number("p")));
        }
        for case in reference::cases("t_quantile") {
            case.agrees("t", t_quantile(case.number("p"), case.number("df")));
        }
        for case in reference::cases("binomial_cdf") {
            case.agrees(
                "cdf",
                binomial_cdf(case.count("k"), case.count("n"), case.number("p")),
            );
        }
    }

    proptest! {
        #[test]
        fn normal_is_monotone_and_symmetric(x in -8.0..8.0_f64, step in 0.0..1.0_f64) {
            prop_assert!(normal_cdf(x) <= normal_cdf(x + step) + 1e-15);
            prop_assert!((normal_cdf(x) + normal_cdf(-x) - 1.0).abs() < 1e-14);
        }

        #[test]
        fn quantiles_invert(p in 1e-12..0.999_f64) {
            prop_assert!((normal_cdf(normal_quantile(p)) / p - 1.0).abs() < 1e-12);
        }

        #[test]
        fn binomial_sums_to_its_next_step(n in 1..2_000_usize, k in 0..2_000_usize, p in 0.001..0.999_f64) {
            let k = k % n;
            prop_assert!(binomial_cdf(k, n, p) <= binomial_cdf(k + 1, n, p) + 1e-14);
        }
    }
}
