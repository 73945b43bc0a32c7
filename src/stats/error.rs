//! What can be wrong with what a statistic was asked to do.

/// Why a statistic could not be computed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StatsError {
    /// There is nothing to describe.
    #[error("the sample is empty")]
    Empty,
    /// A value is NaN, infinite, or so large that differences of it would overflow.
    #[error("value {index} is {value}: not a finite number of magnitude at most 1e300")]
    NotFinite {
        /// Position of the value, counted from 0.
        index: usize,
        /// The value.
        value: f64,
    },
    /// A ratio needs positive values on both sides.
    #[error("pair {index} is ({a}, {b}): a ratio needs two positive finite values")]
    NotPositive {
        /// Position of the pair, counted from 0.
        index: usize,
        /// The reference's value.
        a: f64,
        /// The candidate's value.
        b: f64,
    },
    /// A parameter lies outside its range.
    #[error("{name} is {value}, but must lie in {range}")]
    Parameter {
        /// The parameter's name.
        name: &'static str,
        /// What was given.
        value: f64,
        /// What is accepted.
        range: &'static str,
    },
    /// Not enough values for the method at this level.
    #[error("{have} values are too few: at least {need} are needed")]
    TooFew {
        /// How many there are.
        have: usize,
        /// How many would do.
        need: usize,
    },
    /// More values than the method can handle in reasonable memory.
    #[error("{have} values are too many: at most {most} are handled")]
    TooMany {
        /// How many there are.
        have: usize,
        /// How many can be handled.
        most: usize,
    },
    /// A line needs at least two different x.
    #[error("all x are equal: no slope can be computed")]
    NoSpread,
    /// The result does not fit into a floating-point number.
    #[error("the result is too large for a floating-point number")]
    Overflow,
}

/// Refuses a probability or level that is not strictly between 0 and 1.
pub(super) fn check_open_unit(name: &'static str, value: f64) -> Result<(), StatsError> {
    if value > 0.0 && value < 1.0 {
        Ok(())
    } else {
        Err(StatsError::Parameter {
            name,
            value,
            range: "(0, 1)",
        })
    }
}
