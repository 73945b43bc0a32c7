//! Which values stand apart. They are flagged for the reader, never dropped: on a busy machine the
//! tail is part of the answer.

use super::quantile::interpolate;
use super::sample::Sample;

/// How far a value stands apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Within the inner fences.
    None,
    /// Beyond an inner fence ("outside" in Tukey's words).
    Mild,
    /// Beyond an outer fence ("far out").
    Severe,
}

/// Tukey's fences.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fences {
    /// `Q1 − 1.5·IQR` and `Q3 + 1.5·IQR`.
    pub inner: (f64, f64),
    /// `Q1 − 3·IQR` and `Q3 + 3·IQR`.
    pub outer: (f64, f64),
}

impl Fences {
    /// The fences of a sample, with type 7 quartiles and `IQR = Q3 − Q1`.
    ///
    /// Source: Tukey (1977), *Exploratory Data Analysis*, §2D (with quartiles for his hinges,
    /// which differ by less than one order statistic).
    #[must_use]
    pub fn of(sample: &Sample) -> Self {
        let (q1, q3) = (interpolate(sample, 0.25), interpolate(sample, 0.75));
        let iqr = q3 - q1;
        let at = |steps: f64| (q1 - steps * iqr, q3 + steps * iqr);
        Self {
            inner: at(1.5),
            outer: at(3.0),
        }
    }

    /// On which side of the fences a value lies; on a fence counts as within.
    #[must_use]
    pub fn classify(&self, value: f64) -> Severity {
        let within = |(low, high): (f64, f64)| low <= value && value <= high;
        if within(self.inner) {
            Severity::None
        } else if within(self.outer) {
            Severity::Mild
        } else {
            Severity::Severe
        }
    }
}

/// The severity of each value, in the order measured; see [`Fences::of`].
#[must_use]
pub fn flags(sample: &Sample) -> Vec<Severity> {
    let fences = Fences::of(sample);
    sample
        .values()
        .iter()
        .map(|v| fences.classify(*v))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::reference;
    use super::*;

    #[test]
    fn agrees_with_numpy() {
        for case in reference::cases("outlier") {
            let flags = flags(&Sample::new(case.numbers("values")).unwrap());
            let count = |s| flags.iter().filter(|f| **f == s).count();
            assert_eq!(count(Severity::Mild), case.count("mild"));
            assert_eq!(count(Severity::Severe), case.count("severe"));
        }
    }

    #[test]
    fn fences_belong_to_the_inside() {
        let values = [0.0, 1.0, 2.0, 3.0, 4.0];
        let fences = Fences::of(&Sample::new(values).unwrap());
        assert_eq!((fences.inner, fences.outer), ((-2.0, 6.0), (-5.0, 9.0)));
        let severity = [6.0, 6.1, 9.0, -5.1].map(|v| fences.classify(v));
        assert_eq!(
            severity,
            [
                Severity::None,
                Severity::Mild,
                Severity::Mild,
                Severity::Severe
            ]
        );
    }

    proptest! {
        #[test]
        fn one_flag_a_value_and_none_for_the_middle(values in prop::collection::vec(-1e300..1e300_f64, 1..40), same in -1e9..1e9_f64) {
            let s = Sample::new(values.clone()).unwrap();
            let flags = flags(&s);
            prop_assert_eq!(flags.len(), values.len());
            prop_assert!(flags.iter().filter(|f| **f == Severity::None).count() * 2 >= values.len());
            let constant = Sample::new(vec![same; values.len()]).unwrap();
            prop_assert!(super::flags(&constant).iter().all(|f| *f == Severity::None));
        }
    }
}
