//! A confidence interval.

/// A two-sided confidence interval, both ends included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Probability that such an interval covers the quantity. Exact for the methods built on
    /// order statistics (where it is at least the level asked for, because only certain levels can
    /// be attained); the nominal level elsewhere, which each method says.
    pub coverage: f64,
}

impl Interval {
    /// Whether `value` lies in the interval.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }

    /// Half of the width, in the unit of the ends.
    #[must_use]
    pub fn half_width(&self) -> f64 {
        self.high / 2.0 - self.low / 2.0
    }

    /// Whether the two intervals share a point.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.low <= other.high && other.low <= self.high
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_belong_to_it() {
        let i = Interval {
            low: 1.0,
            high: 3.0,
            coverage: 0.95,
        };
        assert!(i.contains(1.0) && i.contains(3.0) && !i.contains(3.1) && !i.contains(f64::NAN));
        assert_eq!(i.half_width(), 1.0);
        assert!(i.overlaps(&Interval {
            low: 3.0,
            high: 4.0,
            coverage: 0.95
        }));
        assert!(!i.overlaps(&Interval {
            low: 3.5,
            high: 4.0,
            coverage: 0.95
        }));
    }
}
