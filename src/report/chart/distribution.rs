//! Every sample of a metric as a dot, and the share of samples up to each value as a line (ECDF).

use super::axis::{self, Axis};
use super::palette::series;
use super::scene::{Anchor, Band, Ink, Point, Scene, Shape, Tip};
use super::{Frame, NAME, SMALL, Shown, column, letters};
use crate::metric::Unit;

/// A chart of samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// Task id.
    pub workload: String,
    /// Metric name.
    pub metric: String,
    /// Unit of the values.
    pub unit: Unit,
    /// One strip a configuration.
    pub rows: Vec<Row>,
}

/// One configuration's samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Configuration id.
    pub backend: String,
    /// Median, with its interval.
    pub median: Shown,
    /// Samples by size: all, or evenly spaced ranks of them with both ends.
    pub samples: Vec<f64>,
    /// How many there are.
    pub n: u64,
}

/// Height of a strip.
const STRIP: f64 = 46.0;
const APART: f64 = 78.0;

impl Distribution {
    fn ends(&self) -> (f64, f64) {
        let first = self.rows.iter().filter_map(|row| row.samples.first());
        let last = self.rows.iter().filter_map(|row| row.samples.last());
        (
            first.copied().fold(f64::MAX, f64::min),
            last.copied().fold(f64::MIN, f64::max),
        )
    }

    /// Largest over smallest sample.
    #[must_use]
    pub fn spread(&self) -> f64 {
        let (least, most) = self.ends();
        if least > 0.0 { most / least } else { 1.0 }
    }

    pub(super) fn scene(&self, frame: Frame) -> Scene {
        let narrow = frame.is_narrow();
        let names = self.rows.iter().map(|row| row.backend.as_str());
        let left = if narrow { 8.0 } else { column(names) };
        let right = frame.width - 30.0;
        let (least, most) = self.ends();
        let axis = if frame.log && least > 0.0 {
            Axis::new(least, most, true, (left, right))
        } else {
            Axis::close(least, most, (left, right))
        };
        let axis = axis.of(self.unit);
        let (head, tail) = if narrow { (22.0, 10.0) } else { (8.0, 12.0) };
        let band = head + STRIP + tail;
        let bottom = 4.0 + band * self.rows.len() as f64;
        let bands = self.rows.iter().enumerate().map(|(index, row)| {
            let y = 4.0 + band * index as f64 + head;
            Band {
                backend: row.backend.clone(),
                workload: self.workload.clone(),
                height: band,
                shapes: row.shapes(&axis, y, frame),
            }
        });
        let mut foot = axis.labels(bottom + 12.0, (APART, SMALL), axis::quantity(self.unit));
        let scale = if frame.log { ", logarithmic" } else { "" };
        let words = format!("{} of {}{scale}", self.metric, self.workload);
        let at = ((left + right) / 2.0, bottom + 30.0);
        foot.push(Shape::text(at, words, SMALL, Anchor::Middle, Ink::Muted));
        Scene {
            width: frame.width,
            height: bottom + 42.0,
            ground: axis.grid(4.0, bottom, APART),
            bands: bands.collect(),
            foot,
        }
    }
}

impl Row {
    fn shapes(&self, axis: &Axis, y: f64, frame: Frame) -> Vec<Shape> {
        let ink = series(&self.backend);
        let samples = thinned(&self.samples, frame.dots);
        let mut shapes = self.names(axis, y, frame);
        let foot = y + STRIP;
        shapes.push(Shape::line(
            (axis.left, foot),
            (axis.right, foot),
            Ink::Grid,
            1.0,
        ));
        shapes.push(Shape::Dots {
            points: dots(&samples, axis, y),
            radius: if samples.len() > 300 { 1.6 } else { 2.1 },
            ink,
            opacity: 0.42,
            values: samples.clone(),
        });
        shapes.push(Shape::Path {
            points: steps(&samples, axis, y),
            ink,
            width: 1.6,
            opacity: 0.95,
            tip: None,
        });
        let x = axis.at(self.median.value);
        let tip = Some(Tip {
            text: format!("{}: median {}", self.backend, self.median.text),
            values: self.median.values(),
        });
        if let Some([low, high]) = self.median.ci95 {
            shapes.push(Shape::Rect {
                x: axis.at(low),
                y,
                w: (axis.at(high) - axis.at(low)).max(1.0),
                h: STRIP,
                ink,
                opacity: 0.18,
                tip: tip.clone(),
            });
        }
        shapes.push(Shape::Path {
            points: vec![(x, y - 2.0), (x, foot + 2.0)],
            ink: Ink::Text,
            width: 1.6,
            opacity: 1.0,
            tip,
        });
        shapes
    }

    fn names(&self, axis: &Axis, y: f64, frame: Frame) -> Vec<Shape> {
        let count = format!("n {}", self.n);
        let median = |at, anchor| {
            Shape::text(at, &self.median.text, SMALL, anchor, Ink::Muted).of(&[self.median.value])
        };
        if frame.is_narrow() {
            let name = letters::fitted(&self.backend, NAME, frame.width * 0.6);
            let right = axis.right - letters::width(&count, SMALL, false) - 8.0;
            let above = y - 10.0;
            return vec![
                Shape::text((axis.left, above), name, NAME, Anchor::Start, Ink::Text).heavy(),
                median((right, above), Anchor::End),
                Shape::text((axis.right, above), count, SMALL, Anchor::End, Ink::Muted)
                    .of(&[self.n as f64]),
            ];
        }
        let name = letters::fitted(&self.backend, NAME, axis.left - 12.0);
        let right = axis.left - 10.0;
        vec![
            Shape::text((right, y + 10.0), name, NAME, Anchor::End, Ink::Text).heavy(),
            median((right, y + 26.0), Anchor::End),
            Shape::text((right, y + 40.0), count, SMALL, Anchor::End, Ink::Muted)
                .of(&[self.n as f64]),
        ]
    }
}

/// Evenly spaced ranks of sorted values, both ends among them, where there are more than `bound`.
#[must_use]
pub fn thinned(values: &[f64], bound: usize) -> Vec<f64> {
    if values.len() <= bound || bound < 2 {
        return values.to_vec();
    }
    let last = values.len() - 1;
    (0..bound)
        .map(|step| values[step * last / (bound - 1)])
        .collect()
}

/// Each sample at its value; the height only keeps neighbours apart, by a low-discrepancy
/// sequence, so that the same samples always give the same picture.
fn dots(samples: &[f64], axis: &Axis, y: f64) -> Vec<Point> {
    let golden = 0.618_033_988_75_f64;
    let place = |(rank, value): (usize, &f64)| {
        let height = (rank as f64 * golden).fract();
        (axis.at(*value), y + 3.0 + height * (STRIP - 6.0))
    };
    samples.iter().enumerate().map(place).collect()
}

/// The share of samples up to each value, from the strip's foot to its head.
fn steps(samples: &[f64], axis: &Axis, y: f64) -> Vec<Point> {
    let last = samples.len().saturating_sub(1).max(1) as f64;
    let foot = y + STRIP;
    let mut points: Vec<Point> = Vec::new();
    let mut put = |point: Point| {
        let near = |&(x, y): &Point| (x - point.0).abs() < 0.7 && (y - point.1).abs() < 0.7;
        if !points.last().is_some_and(near) {
            points.push(point);
        }
    };
    for (rank, value) in samples.iter().enumerate() {
        put((axis.at(*value), foot - STRIP * rank as f64 / last));
    }
    if let Some(most) = samples.last() {
        points.push((axis.at(*most), y));
        points.push((axis.right, y));
    }
    points
}
