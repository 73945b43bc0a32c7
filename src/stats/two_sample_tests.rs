//! Fixed cases, edges and properties of the two-sample methods.

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::reference;
use super::*;

fn sample(values: &[f64]) -> Sample {
    Sample::new(values).unwrap()
}

#[test]
fn the_shift_agrees_with_numpy_and_scipy() {
    for case in reference::cases("two_sample_shift") {
        let (base, head) = (case.numbers("base"), case.numbers("head"));
        let (estimate, interval) =
            shift(&sample(&base), &sample(&head), case.number("level")).unwrap();
        case.agrees("estimate", estimate);
        case.agrees("low", interval.low);
        case.agrees("high", interval.high);
        case.agrees("coverage", interval.coverage);
    }
}

#[test]
fn rank_sums_agree_with_scipy() {
    for case in reference::cases("rank_sum") {
        let (base, head) = (case.numbers("base"), case.numbers("head"));
        case.agrees("p", rank_sum(&sample(&base), &sample(&head)).unwrap());
    }
}

#[test]
fn edges() {
    let few = Err(StatsError::TooFew { have: 3, need: 4 });
    assert_eq!(shift(&sample(&[1.0; 3]), &sample(&[1.0; 3]), 0.95), few);
    // 3 against 5 can be dealt in 56 ways: 2/56 is below 5 %.
    assert!(shift(&sample(&[1.0; 3]), &sample(&[1.0; 5]), 0.95).is_ok());
    assert!(shift(&sample(&[1.0; 9]), &sample(&[1.0; 9]), 1.0).is_err());
    assert_eq!(rank_sum(&sample(&[1.0]), &sample(&[2.0])), Ok(1.0));
    let equal = sample(&[7.0; 300]);
    assert_eq!(rank_sum(&equal, &equal), Ok(1.0));
    let (far, _) = shift(&sample(&[-1e300; 9]), &sample(&[1e300; 9]), 0.95).unwrap();
    assert_eq!(far, 2e300);
    assert_eq!([needed(0.05), needed(0.01), needed(0.01 / 60.0)], [4, 5, 8]);
    assert_eq!(needed(0.0), 600);
}

#[test]
fn the_normal_limit_meets_the_exact_distribution() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    for _ in 0..10 {
        let mut draw = |n: usize, by: f64| -> Vec<f64> {
            (0..n)
                .map(|_| (rng.random::<f64>() * 20.0 + by).floor())
                .collect()
        };
        let (base, head) = (sample(&draw(60, 0.0)), sample(&draw(60, 2.5)));
        let near = rank_sum(&base, &head).unwrap();
        let Ranked { doubled, sum, .. } = pooled(&base, &head);
        let exact = exact_p(&doubled, 60, sum);
        assert!((near - exact).abs() < 0.1 * exact + 1e-4, "{near} {exact}");
    }
}

#[test]
fn alarms_on_nothing_about_as_often_as_it_may() {
    for n in [12, 60] {
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        // A body, a cluster, ties: half of the values are whole.
        let mut draw = || -> Vec<f64> {
            (0..n)
                .map(|_| rng.random::<f64>() * 4.0)
                .map(|v| if v < 2.0 { v.floor() } else { v })
                .collect()
        };
        let alarms = (0..400)
            .filter(|_| rank_sum(&sample(&draw()), &sample(&draw())).unwrap() <= 0.05)
            .count();
        // 20 are expected at most.
        assert!((5..=36).contains(&alarms), "{alarms} of 400");
    }
}

#[test]
fn a_hundred_thousand_values_need_no_table() {
    let n = 100_000;
    let base = Sample::new((0..n).map(f64::from).collect::<Vec<_>>()).unwrap();
    let head = Sample::new((0..n).map(|i| f64::from(i) + 500.0).collect::<Vec<_>>()).unwrap();
    let (estimate, interval) = shift(&base, &head, 0.95).unwrap();
    assert_eq!(estimate, 500.0);
    assert!(interval.contains(500.0) && interval.half_width() < 500.0);
    assert!(rank_sum(&base, &head).unwrap() < 0.01);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn counting_finds_what_sorting_finds(
        x in prop::collection::vec(prop_oneof![-1e3..1e3_f64, (-3..3_i32).prop_map(f64::from), -1e300..1e300_f64], 1..15),
        y in prop::collection::vec(prop_oneof![-1e3..1e3_f64, (-3..3_i32).prop_map(f64::from), -1e300..1e300_f64], 1..15),
    ) {
        let (x, y) = (sample(&x), sample(&y));
        let mut all: Vec<f64> = y.sorted().iter().flat_map(|b| x.sorted().iter().map(move |a| b - a)).collect();
        all.sort_unstable_by(f64::total_cmp);
        for (i, want) in all.into_iter().enumerate() {
            prop_assert_eq!(difference(x.sorted(), y.sorted(), i as u64 + 1), want);
        }
    }

    #[test]
    fn swapping_mirrors_and_a_shift_shifts(
        x in prop::collection::vec((-30..30_i32).prop_map(|v| f64::from(v) / 4.0), 4..40),
        y in prop::collection::vec((-30..30_i32).prop_map(|v| f64::from(v) / 4.0), 4..40),
        by in (-8..8_i32).prop_map(f64::from),
    ) {
        let (a, b) = (sample(&x), sample(&y));
        let (there, i) = shift(&a, &b, 0.95).unwrap();
        let (back, j) = shift(&b, &a, 0.95).unwrap();
        prop_assert!(i.contains(there) && (there + back).abs() < 1e-12);
        prop_assert!((i.low + j.high).abs() < 1e-12 && (i.high + j.low).abs() < 1e-12);
        let moved = sample(&y.iter().map(|v| v + by).collect::<Vec<_>>());
        prop_assert_eq!(shift(&a, &moved, 0.95).unwrap().0, there + by);
        let p = rank_sum(&a, &b).unwrap();
        prop_assert!(p > 0.0 && p <= 1.0);
        prop_assert!((rank_sum(&b, &a).unwrap() - p).abs() < 1e-9);
        // Ranks do not feel the scale.
        let stretched = |v: &[f64]| sample(&v.iter().map(|v| 1000.0 * v + 7.0).collect::<Vec<_>>());
        prop_assert_eq!(rank_sum(&stretched(&x), &stretched(&y)).unwrap(), p);
    }
}
