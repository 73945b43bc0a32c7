//! From values to places: linear and logarithmic axes with round ticks.

use super::scene::{Anchor, Ink, Point, Shape};
use crate::metric::Unit;
use crate::report::format;

/// An axis from left to right.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    low: f64,
    high: f64,
    log: bool,
    /// What its values are, so that ticks are round in their prefix; a plain number if nothing.
    unit: Option<Unit>,
    /// Place of `low`.
    pub left: f64,
    /// Place of `high`.
    pub right: f64,
}

impl Axis {
    /// From 0, or for a logarithmic axis from `least`, up to a little above `most`.
    #[must_use]
    pub fn new(least: f64, most: f64, log: bool, (left, right): (f64, f64)) -> Self {
        let most = if most > 0.0 { most } else { 1.0 };
        let (low, high) = if log {
            let least = if least > 0.0 {
                least.min(most)
            } else {
                most / 1e3
            };
            (least / 1.15, (most * 1.15).max(least * 2.0))
        } else {
            (least.min(0.0) * 1.04, most * 1.04)
        };
        Self {
            low,
            high,
            log,
            unit: None,
            left,
            right,
        }
    }

    /// The same axis for values of a unit.
    #[must_use]
    pub fn of(mut self, unit: Unit) -> Self {
        self.unit = Some(unit);
        self
    }

    /// Linear, close around the values instead of from 0.
    #[must_use]
    pub fn close(least: f64, most: f64, ends: (f64, f64)) -> Self {
        let room = ((most - least) * 0.04).max(most.abs() * 1e-6).max(1e-9);
        Self {
            low: least - room,
            high: most + room,
            log: false,
            unit: None,
            left: ends.0,
            right: ends.1,
        }
    }

    /// Place of a value; what lies outside is at the end.
    #[must_use]
    pub fn at(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.left + share.clamp(0.0, 1.0) * (self.right - self.left)
    }

    /// Round values inside, some `apart` units from each other at least.
    #[must_use]
    pub fn ticks(&self, apart: f64) -> Vec<f64> {
        let room = ((self.right - self.left) / apart).max(1.0);
        if self.log {
            return self.decades(apart);
        }
        // Round in the prefix that the ticks are written with: 512 KiB, not 488.28.
        let reach = self.high.abs().max(self.low.abs());
        let prefix = self.unit.map_or(1.0, |unit| format::prefix(reach, unit));
        let rough = (self.high - self.low) / room / prefix;
        let step = if rough < 1.0 && self.unit.is_some_and(format::is_binary) {
            // A quarter of a MiB is 256 KiB, a fifth 204.8.
            2_f64.powf(rough.log2().ceil())
        } else {
            let size = 10_f64.powf(rough.log10().floor());
            let fits = [1.0, 2.0, 2.5, 5.0].map(|step| step * size);
            let step = fits.into_iter().find(|step| *step >= rough);
            step.unwrap_or(10.0 * size)
        };
        let step = step * prefix;
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        (first..=last.min(first + 50))
            .map(|n| n as f64 * step)
            .collect()
    }

    fn decades(&self, apart: f64) -> Vec<f64> {
        if self.unit.is_some_and(format::is_binary) {
            return self.doublings(apart);
        }
        let first = self.low.log10().floor() as i32;
        let last = self.high.log10().ceil() as i32;
        let of = |steps: &[f64]| -> Vec<f64> {
            let all = (first..=last).flat_map(|e| steps.iter().map(move |s| s * 10_f64.powi(e)));
            all.filter(|v| *v >= self.low && *v <= self.high).collect()
        };
        let choices: [&[f64]; 4] = [
            &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0],
            &[1.0, 2.0, 5.0],
            &[1.0, 3.0],
            &[1.0],
        ];
        let spread = |ticks: &Vec<f64>| {
            ticks
                .windows(2)
                .all(|pair| self.at(pair[1]) - self.at(pair[0]) >= apart)
        };
        choices
            .map(of)
            .into_iter()
            .find(|ticks| spread(ticks))
            .unwrap_or_else(|| {
                let decades = of(&[1.0]);
                let step = decades.len().div_ceil(6).max(1);
                decades.into_iter().step_by(step).collect()
            })
    }

    /// Powers of two, as far apart as they must be.
    fn doublings(&self, apart: f64) -> Vec<f64> {
        let (first, last) = (
            self.low.log2().ceil() as i32,
            self.high.log2().floor() as i32,
        );
        let doubling = self.at(self.low * 2.0) - self.left;
        let step = (apart / doubling.max(1e-6)).ceil().clamp(1.0, 100.0) as i32;
        let all = (first..=last).filter(|power| power.rem_euclid(step) == 0);
        all.map(|power| 2_f64.powi(power)).collect()
    }

    /// Guides from `top` to `bottom`.
    pub fn grid(&self, top: f64, bottom: f64, apart: f64) -> Vec<Shape> {
        let guide = |value: f64| {
            let x = self.at(value);
            Shape::line((x, top), (x, bottom), Ink::Grid, 1.0)
        };
        self.ticks(apart).into_iter().map(guide).collect()
    }

    /// The ticks' values below `y`.
    pub fn labels(
        &self,
        y: f64,
        (apart, size): (f64, f64),
        name: impl Fn(f64) -> String,
    ) -> Vec<Shape> {
        let label = |value: f64| {
            let at: Point = (self.at(value), y);
            Shape::text(at, name(value), size, Anchor::Middle, Ink::Muted)
        };
        self.ticks(apart).into_iter().map(label).collect()
    }
}

/// A tick of a quantity, without needless zeros.
pub fn quantity(unit: Unit) -> impl Fn(f64) -> String {
    move |value| format::tick(value, unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_placed_and_ticks_are_round() {
        let axis = Axis::new(0.0, 1000.0, false, (100.0, 1140.0));
        assert!((axis.at(500.0) - 600.0).abs() < 1e-9);
        assert_eq!(axis.ticks(180.0), [0.0, 200.0, 400.0, 600.0, 800.0, 1000.0]);
        // So are bytes, in what they are written in.
        let memory = Axis::new(0.0, 1.7 * 1048576.0, false, (0.0, 1000.0)).of(Unit::Bytes);
        let quarters = (0..8).map(|n| f64::from(n) * 262_144.0);
        assert!(memory.ticks(120.0).into_iter().eq(quarters));
        let log = Axis::new(1e3, 1e6, true, (0.0, 600.0));
        assert_eq!(log.ticks(150.0), [1e3, 1e4, 1e5, 1e6]);
        assert!((log.at(31_622.8) - 300.0).abs() < 0.1);
        // Never outside, whatever comes.
        for value in [0.0, -5.0, f64::MAX] {
            assert!((0.0..=600.0).contains(&log.at(value)));
        }
        for (least, most) in [(0.0, 0.0), (5.0, 5.0), (1e-9, 1e12)] {
            for log in [true, false] {
                let axis = Axis::new(least, most, log, (0.0, 300.0));
                assert!(axis.ticks(60.0).len() <= 51 && axis.at(most).is_finite());
            }
        }
    }
}
