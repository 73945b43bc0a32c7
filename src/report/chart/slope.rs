//! Memory against the number of idle instances: a line a configuration, its slope what one more costs.

use super::axis::{self, Axis};
use super::palette::series;
use super::scene::{Anchor, Band, Ink, Point, Scene, Shape, Tip};
use super::{Frame, NAME, SMALL, Shown, letters};
use crate::metric::Unit;
use crate::report::format;

/// A chart of slopes.
#[derive(Clone, Debug, PartialEq)]
pub struct Slopes {
    /// One line a configuration.
    pub rows: Vec<Row>,
}

/// One configuration's memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Configuration id.
    pub backend: String,
    /// What one more instance takes.
    pub each: Shown,
    /// Numbers of instances, and bytes gone since the round's first, every round.
    pub points: Vec<Point>,
    /// The smallest and the largest number of instances.
    pub counts: [f64; 2],
}

const HEIGHT: f64 = 300.0;

impl Slopes {
    pub(super) fn scene(&self, frame: Frame) -> Scene {
        let narrow = frame.is_narrow();
        let left = 70.0;
        let label = if narrow { 0.0 } else { 270.0 };
        let right = frame.width - label - 12.0;
        let top = if narrow {
            10.0 + 18.0 * self.rows.len() as f64
        } else {
            14.0
        };
        let bottom = top + HEIGHT;
        let points = || self.rows.iter().flat_map(|row| &row.points);
        let last = self
            .rows
            .iter()
            .map(|row| row.counts[1])
            .fold(1.0, f64::max);
        let first = self
            .rows
            .iter()
            .map(|row| row.counts[0])
            .fold(last, f64::min);
        let most = self.rows.iter().map(Row::reach);
        let most = points()
            .map(|(_, bytes)| *bytes)
            .chain(most)
            .fold(1.0, f64::max);
        let least = points().map(|(_, bytes)| *bytes).fold(0.0, f64::min);
        let across = Axis::close(first, last, (left, right));
        // An axis runs from left to right; this one is stood up.
        let up = Axis::new(least, most, false, (0.0, HEIGHT)).of(Unit::Bytes);
        let at = |bytes: f64| bottom - up.at(bytes);
        let mut ground = Vec::new();
        for tick in up.ticks(46.0) {
            let y = at(tick);
            ground.push(Shape::line((left, y), (right, y), Ink::Grid, 1.0));
            let name = axis::quantity(Unit::Bytes)(tick);
            let place = (left - 8.0, y);
            ground.push(Shape::text(place, name, SMALL, Anchor::End, Ink::Muted));
        }
        let mut foot = across.labels(bottom + 14.0, (60.0, SMALL), format::trimmed);
        let words = if narrow {
            "idle instances at once"
        } else {
            "idle instances at once; memory gone since the first count of each round"
        };
        let middle = ((left + right) / 2.0, bottom + 32.0);
        foot.push(Shape::text(
            middle,
            words,
            SMALL,
            Anchor::Middle,
            Ink::Muted,
        ));
        let ends = self.spread_labels(&at, top, bottom);
        let bands = self
            .rows
            .iter()
            .zip(ends)
            .enumerate()
            .map(|(index, (row, y))| {
                let mut shapes = row.shapes(&across, &at);
                let name = if narrow {
                    (8.0, 10.0 + 18.0 * index as f64)
                } else {
                    (right + 26.0, y)
                };
                shapes.push(Shape::Mark {
                    at: (name.0, name.1),
                    radius: 4.0,
                    form: 0,
                    ink: series(&row.backend),
                    tip: None,
                });
                let room = if narrow { 170.0 } else { 130.0 };
                let id = letters::fitted(&row.backend, NAME, room);
                let after = name.0 + 10.0 + letters::width(&id, NAME, true) * letters::WIDER + 8.0;
                let start = (name.0 + 10.0, name.1);
                shapes.push(Shape::text(start, id, NAME, Anchor::Start, Ink::Text).heavy());
                let each = format!("{} each", row.each.text);
                let each = Shape::text((after, name.1), each, SMALL, Anchor::Start, Ink::Muted);
                shapes.push(each.of(&[row.each.value]));
                Band {
                    backend: row.backend.clone(),
                    workload: "idle".to_owned(),
                    height: 0.0,
                    shapes,
                }
            });
        Scene {
            width: frame.width,
            height: bottom + 44.0,
            ground,
            bands: bands.collect(),
            foot,
        }
    }

    /// Where each line's name stands: at its end, but apart from the others.
    fn spread_labels(&self, at: &impl Fn(f64) -> f64, top: f64, bottom: f64) -> Vec<f64> {
        const APART: f64 = 18.0;
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        let wanted: Vec<f64> = self.rows.iter().map(|row| at(row.reach())).collect();
        order.sort_by(|a, b| wanted[*b].total_cmp(&wanted[*a]));
        let mut places = vec![0.0; wanted.len()];
        let (mut free, lowest) = (bottom + APART, bottom);
        for index in order {
            let y = wanted[index]
                .min(free - APART)
                .min(lowest)
                .max(top.min(lowest));
            places[index] = y;
            free = y;
        }
        places
    }
}

impl Row {
    /// Height of the line's end above its begin.
    fn reach(&self) -> f64 {
        self.each.value * (self.counts[1] - self.counts[0])
    }

    fn shapes(&self, across: &Axis, at: &impl Fn(f64) -> f64) -> Vec<Shape> {
        let ink = series(&self.backend);
        let place = |&(count, bytes): &Point| (across.at(count), at(bytes));
        let ends = [(self.counts[0], 0.0), (self.counts[1], self.reach())];
        vec![
            Shape::Dots {
                points: self.points.iter().map(place).collect(),
                radius: 2.6,
                ink,
                opacity: 0.4,
                values: Vec::new(),
            },
            Shape::Path {
                points: ends.iter().map(place).collect(),
                ink,
                width: 2.2,
                opacity: 1.0,
                tip: Some(Tip {
                    text: format!("{}: {} for each more", self.backend, self.each.text),
                    values: self.each.values(),
                }),
            },
        ]
    }
}
