//! Starts as stacked phases, one bar a configuration, all on one time axis.

use super::axis::{self, Axis};
use super::palette::{KINDS, kind};
use super::scene::{Anchor, Band, Ink, Scene, Shape, Tip};
use super::{Frame, NAME, SMALL, Shown, column, letters};
use crate::metric::Unit;

/// A chart of starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeline {
    /// What the axis means.
    pub axis: String,
    /// One bar a configuration.
    pub rows: Vec<Row>,
}

/// One configuration's start.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Configuration id.
    pub backend: String,
    /// Median of the whole, with its interval.
    pub total: Shown,
    /// In the order they happen.
    pub segments: Vec<Segment>,
    /// What takes longest, in words.
    pub why: Words,
}

/// Words with the stored numbers in them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Words {
    /// The words.
    pub text: String,
    /// The numbers.
    pub values: Vec<f64>,
}

/// A phase.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// Its name.
    pub name: String,
    /// Where it begins if every phase takes its median, ns.
    pub from: f64,
    /// Its median.
    pub length: Shown,
}

/// Height of a bar.
const BAR: f64 = 20.0;
/// Room on the right for a total.
const TOTAL: f64 = 84.0;
/// Distance of ticks.
const APART: f64 = 74.0;

impl Timeline {
    /// Longest over shortest start.
    #[must_use]
    pub fn spread(&self) -> f64 {
        let totals = self.rows.iter().map(|row| row.total.value);
        let (least, most) = totals.fold((f64::MAX, 0.0_f64), |(l, m), v| (l.min(v), m.max(v)));
        most / least.max(1.0)
    }

    fn axis(&self, log: bool, ends: (f64, f64)) -> Axis {
        let ends_of = |row: &Row| {
            let high = row.total.ci95.map_or(row.total.value, |[_, high]| high);
            row.reach().max(high)
        };
        let most = self.rows.iter().map(ends_of).fold(0.0, f64::max);
        // A logarithmic axis has no 0: it begins where the first phases of the quickest start end.
        let totals = self.rows.iter().map(|row| row.total.value);
        let least = totals.fold(f64::MAX, f64::min) / 20.0;
        Axis::new(if log { least } else { 0.0 }, most, log, ends).of(Unit::Nanoseconds)
    }

    pub(super) fn scene(&self, frame: Frame) -> Scene {
        let narrow = frame.is_narrow();
        let names = self.rows.iter().map(|row| row.backend.as_str());
        let left = if narrow { 4.0 } else { column(names) };
        let right = frame.width - if narrow { 8.0 } else { TOTAL };
        let axis = self.axis(frame.log, (left, right));
        let (mut ground, top) = self.legend(frame.width);
        let (band, head) = if narrow { (64.0, 20.0) } else { (48.0, 6.0) };
        let bottom = top + band * self.rows.len() as f64;
        ground.extend(axis.grid(top, bottom, APART));
        let bands = self.rows.iter().enumerate().map(|(index, row)| {
            let y = top + band * index as f64 + head;
            Band {
                backend: row.backend.clone(),
                workload: String::new(),
                height: band,
                shapes: row.shapes(&axis, y, frame),
            }
        });
        let mut foot = axis.labels(
            bottom + 12.0,
            (APART, SMALL),
            axis::quantity(Unit::Nanoseconds),
        );
        let scale = if frame.log { ", logarithmic" } else { "" };
        let words = format!("{}{scale}", self.axis);
        let words = letters::fitted(&words, SMALL, frame.width - 8.0);
        let at = ((left + right) / 2.0, bottom + 30.0);
        foot.push(Shape::text(at, words, SMALL, Anchor::Middle, Ink::Muted));
        Scene {
            width: frame.width,
            height: bottom + 42.0,
            ground,
            bands: bands.collect(),
            foot,
        }
    }

    /// The kinds that occur, and where the bars may begin.
    fn legend(&self, width: f64) -> (Vec<Shape>, f64) {
        let used = |index: u8| {
            let mut segments = self.rows.iter().flat_map(|row| &row.segments);
            segments.any(|s| kind(&s.name) == index)
        };
        let (mut shapes, mut x, mut y) = (Vec::new(), 4.0, 12.0);
        for (index, (name, _)) in KINDS.iter().enumerate() {
            let index = index as u8;
            if !used(index) {
                continue;
            }
            let room = 18.0 + letters::width(name, SMALL, false) * letters::WIDER + 14.0;
            if x + room > width {
                (x, y) = (4.0, y + 20.0);
            }
            shapes.push(Shape::Rect {
                x,
                y: y - 6.0,
                w: 12.0,
                h: 12.0,
                ink: Ink::Kind(index),
                opacity: 1.0,
                tip: None,
            });
            let at = (x + 18.0, y);
            shapes.push(Shape::text(at, *name, SMALL, Anchor::Start, Ink::Muted));
            x += room;
        }
        (shapes, y + 20.0)
    }
}

impl Row {
    /// Where the last of its segments ends.
    fn reach(&self) -> f64 {
        let ends = self.segments.iter().map(|s| s.from + s.length.value);
        ends.fold(0.0, f64::max)
    }

    fn shapes(&self, axis: &Axis, y: f64, frame: Frame) -> Vec<Shape> {
        let middle = y + BAR / 2.0;
        let total = |at, anchor| {
            Shape::text(at, &self.total.text, NAME, anchor, Ink::Text)
                .heavy()
                .of(&[self.total.value])
        };
        let mut shapes = Vec::new();
        if frame.is_narrow() {
            let name = letters::fitted(&self.backend, NAME, frame.width * 0.66);
            let at = (axis.left, y - 9.0);
            shapes.push(Shape::text(at, name, NAME, Anchor::Start, Ink::Text).heavy());
            shapes.push(total((axis.right, y - 9.0), Anchor::End));
        } else {
            let name = letters::fitted(&self.backend, NAME, axis.left - 12.0);
            let at = (axis.left - 10.0, middle);
            shapes.push(Shape::text(at, name, NAME, Anchor::End, Ink::Text).heavy());
        }
        for segment in &self.segments {
            segment.draw(&mut shapes, axis, y);
        }
        let x = axis.at(self.total.value);
        let mark = Shape::line((x, y - 2.0), (x, y + BAR + 2.0), Ink::Text, 1.6);
        shapes.push(mark);
        if !frame.is_narrow() {
            let end = self.reach();
            let x = axis.at(end.max(self.total.value)) + 8.0;
            shapes.push(total((x, middle), Anchor::Start));
        }
        let why = letters::fitted(&self.why.text, SMALL, frame.width - axis.left - 4.0);
        let at = (axis.left, y + BAR + 11.0);
        let why = Shape::text(at, why, SMALL, Anchor::Start, Ink::Muted);
        shapes.push(why.of(&self.why.values));
        shapes
    }
}

impl Segment {
    fn draw(&self, shapes: &mut Vec<Shape>, axis: &Axis, y: f64) {
        let (from, to) = (axis.at(self.from), axis.at(self.from + self.length.value));
        let w = to - from;
        if w <= 0.0 {
            return;
        }
        shapes.push(Shape::Rect {
            x: from,
            y,
            // A hairline of paper between phases, where there is room for it.
            w: if w > 3.0 { w - 1.0 } else { w },
            h: BAR,
            ink: Ink::Kind(kind(&self.name)),
            opacity: 1.0,
            tip: Some(Tip {
                text: format!("{} {}", self.name, self.length.text),
                values: vec![self.length.value],
            }),
        });
        if letters::width(&self.name, 11.0, false) + 8.0 < w {
            let at = (from + w / 2.0, y + BAR / 2.0);
            shapes.push(Shape::text(
                at,
                &self.name,
                11.0,
                Anchor::Middle,
                Ink::Paper,
            ));
        }
    }
}
