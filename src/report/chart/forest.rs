//! Ratios to the reference with their intervals, all on one axis: a forest plot.

use super::axis::Axis;
use super::palette::series;
use super::scene::{Anchor, Band, Ink, Scene, Shape, Tip};
use super::{Frame, NAME, SMALL, Shown, column, letters};
use crate::report::format;

/// A chart of ratios.
#[derive(Clone, Debug, PartialEq)]
pub struct Forest {
    /// What the ratios refer to.
    pub reference: String,
    /// What the axis means on the right of 1, e.g. `slower`.
    pub worse: &'static str,
    /// And on its left.
    pub better: &'static str,
    /// A heading and its rows for each task and metric.
    pub groups: Vec<Group>,
}

/// Ratios of one metric of one task.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Task id.
    pub workload: String,
    /// What is compared.
    pub heading: String,
    /// Whether the stored ratio is of a rate, so that below 1 is worse: it is placed upside down.
    pub is_rate: bool,
    /// One a configuration.
    pub rows: Vec<Row>,
}

/// One ratio.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Configuration id.
    pub backend: String,
    /// What else tells it apart, where several runs are side by side: 0 for the first.
    pub form: u8,
    /// The ratio, with its interval.
    pub ratio: Shown,
}

const LINE: f64 = 21.0;
const HEAD: f64 = 26.0;
const APART: f64 = 64.0;

impl Forest {
    fn axis(&self, ends: (f64, f64)) -> Axis {
        let (mut least, mut most) = (0.8_f64, 1.25_f64);
        for group in &self.groups {
            for row in &group.rows {
                let mut reach = |value: f64| {
                    let place = group.place(value);
                    if place.is_finite() && place > 0.0 {
                        (least, most) = (least.min(place), most.max(place));
                    }
                };
                reach(row.ratio.value);
                row.ratio.ci95.into_iter().flatten().for_each(&mut reach);
            }
        }
        Axis::new(least, most, true, ends)
    }

    pub(super) fn scene(&self, frame: Frame) -> Scene {
        let narrow = frame.is_narrow();
        let names = self
            .groups
            .iter()
            .flat_map(|g| g.rows.iter().map(|row| row.backend.as_str()));
        let left = if narrow { 118.0 } else { column(names) };
        let right = frame.width - if narrow { 10.0 } else { 170.0 };
        let axis = self.axis((left, right));
        let mut y = 22.0;
        let mut bands = Vec::new();
        for group in &self.groups {
            bands.push(Band {
                backend: String::new(),
                workload: group.workload.clone(),
                height: HEAD,
                shapes: vec![
                    Shape::text(
                        (4.0, y + HEAD / 2.0 + 2.0),
                        letters::fitted(&group.heading, SMALL, frame.width - 8.0),
                        SMALL,
                        Anchor::Start,
                        Ink::Muted,
                    )
                    .heavy(),
                ],
            });
            y += HEAD;
            for row in &group.rows {
                bands.push(Band {
                    backend: row.backend.clone(),
                    workload: group.workload.clone(),
                    height: LINE,
                    shapes: row.shapes(group, &axis, y, frame),
                });
                y += LINE;
            }
        }
        let one = axis.at(1.0);
        let mut ground = axis.grid(22.0, y + 4.0, APART);
        ground.push(Shape::line((one, 18.0), (one, y + 4.0), Ink::Muted, 1.4));
        let words = |x, text: &str, anchor| Shape::text((x, 9.0), text, SMALL, anchor, Ink::Muted);
        let (less, more) = (format!("‹ {}", self.better), format!("{} ›", self.worse));
        ground.push(words(axis.left, &less, Anchor::Start));
        ground.push(words(axis.right, &more, Anchor::End));
        let mut foot = axis.labels(y + 14.0, (APART, SMALL), |value| {
            format!("{} ×", format::trimmed(value))
        });
        let text = format!("{} = 1, logarithmic", self.reference);
        let at = ((left + right) / 2.0, y + 31.0);
        foot.push(Shape::text(at, text, SMALL, Anchor::Middle, Ink::Muted));
        Scene {
            width: frame.width,
            height: y + 42.0,
            ground,
            bands,
            foot,
        }
    }
}

impl Group {
    /// Where a stored ratio lies: always so that worse is on the right.
    fn place(&self, ratio: f64) -> f64 {
        if self.is_rate { 1.0 / ratio } else { ratio }
    }
}

impl Row {
    fn shapes(&self, group: &Group, axis: &Axis, y: f64, frame: Frame) -> Vec<Shape> {
        let middle = y + LINE / 2.0;
        let ink = series(&self.backend);
        let tip = Some(Tip {
            text: format!("{}, {}: {}", self.backend, group.heading, self.ratio.text),
            values: self.ratio.values(),
        });
        let size = if frame.is_narrow() { SMALL } else { NAME };
        let name = letters::fitted(&self.backend, size, axis.left - 14.0);
        let at = (axis.left - 10.0, middle);
        let mut shapes = vec![Shape::text(at, name, size, Anchor::End, Ink::Text)];
        if let Some(ends) = self.ratio.ci95 {
            let [a, b] = ends.map(|end| axis.at(group.place(end)));
            shapes.push(Shape::Path {
                points: vec![(a, middle), (b, middle)],
                ink,
                width: 2.4,
                opacity: 1.0,
                tip: tip.clone(),
            });
            for x in [a, b] {
                shapes.push(Shape::line((x, middle - 4.0), (x, middle + 4.0), ink, 1.6));
            }
        }
        shapes.push(Shape::Mark {
            at: (axis.at(group.place(self.ratio.value)), middle),
            radius: 4.4,
            form: self.form,
            ink,
            tip,
        });
        if !frame.is_narrow() {
            let at = (frame.width - 4.0, middle);
            let text = Shape::text(at, &self.ratio.text, SMALL, Anchor::End, Ink::Text);
            shapes.push(text.of(&self.ratio.values()));
        }
        shapes
    }
}
