//! Memory of one more idle instance, account by account: one stacked bar a configuration.

use super::axis::{self, Axis};
use super::scene::{Anchor, Band, Ink, Scene, Shape, Tip};
use super::{Frame, NAME, SMALL, Shown, column, letters};
use crate::metric::Unit;

/// A chart of balance sheets.
#[derive(Clone, Debug, PartialEq)]
pub struct Bars {
    /// Names of the accounts, each with its colour.
    pub accounts: Vec<(String, Ink)>,
    /// One bar a configuration.
    pub rows: Vec<Row>,
}

/// One configuration's sheet.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Configuration id.
    pub backend: String,
    /// The whole.
    pub total: Shown,
    /// Account (its place in [`Bars::accounts`]) and growth.
    pub parts: Vec<(usize, Shown)>,
}

const BAR: f64 = 20.0;
const APART: f64 = 74.0;

impl Bars {
    pub(super) fn scene(&self, frame: Frame) -> Scene {
        let narrow = frame.is_narrow();
        let names = self.rows.iter().map(|row| row.backend.as_str());
        let left = if narrow { 8.0 } else { column(names) };
        let right = frame.width - if narrow { 12.0 } else { 92.0 };
        let reach = |row: &Row| {
            let (less, more) = row.ends();
            (less, more.max(row.total.value))
        };
        let (least, most) = self
            .rows
            .iter()
            .map(reach)
            .fold((0.0_f64, 1.0_f64), |a, b| (a.0.min(b.0), a.1.max(b.1)));
        let axis = Axis::new(least, most, false, (left, right)).of(Unit::Bytes);
        let (mut ground, top) = self.legend(frame.width);
        let (band, head) = if narrow { (48.0, 20.0) } else { (32.0, 6.0) };
        let bottom = top + band * self.rows.len() as f64;
        ground.extend(axis.grid(top, bottom, APART));
        let bands = self.rows.iter().enumerate().map(|(index, row)| Band {
            backend: row.backend.clone(),
            workload: "idle".to_owned(),
            height: band,
            shapes: self.bar(row, &axis, top + band * index as f64 + head, frame),
        });
        let bands = bands.collect();
        let mut foot = axis.labels(bottom + 12.0, (APART, SMALL), axis::quantity(Unit::Bytes));
        let words = if narrow {
            "memory of one more idle instance, by account"
        } else {
            "memory of one more idle instance, by account; the line marks the whole"
        };
        let at = ((left + right) / 2.0, bottom + 30.0);
        foot.push(Shape::text(at, words, SMALL, Anchor::Middle, Ink::Muted));
        Scene {
            width: frame.width,
            height: bottom + 42.0,
            ground,
            bands,
            foot,
        }
    }

    fn bar(&self, row: &Row, axis: &Axis, y: f64, frame: Frame) -> Vec<Shape> {
        let middle = y + BAR / 2.0;
        let total = |at, anchor| {
            let text = Shape::text(at, &row.total.text, NAME, anchor, Ink::Text);
            text.heavy().of(&[row.total.value])
        };
        let mut shapes = Vec::new();
        if frame.is_narrow() {
            let name = letters::fitted(&row.backend, NAME, frame.width * 0.66);
            let above = y - 10.0;
            shapes.push(
                Shape::text((axis.left, above), name, NAME, Anchor::Start, Ink::Text).heavy(),
            );
            shapes.push(total((axis.right, above), Anchor::End));
        } else {
            let name = letters::fitted(&row.backend, NAME, axis.left - 12.0);
            let at = (axis.left - 10.0, middle);
            shapes.push(Shape::text(at, name, NAME, Anchor::End, Ink::Text).heavy());
        }
        // What shrinks is on the left of 0, what grows on its right.
        let (mut less, mut more) = (0.0, 0.0);
        for (account, growth) in &row.parts {
            let Some((name, ink)) = self.accounts.get(*account) else {
                continue;
            };
            let (from, to) = if growth.value < 0.0 {
                less += growth.value;
                (less, less - growth.value)
            } else {
                more += growth.value;
                (more - growth.value, more)
            };
            let (from, to) = (axis.at(from), axis.at(to));
            shapes.push(Shape::Rect {
                x: from,
                y,
                w: if to - from > 3.0 {
                    to - from - 1.0
                } else {
                    to - from
                },
                h: BAR,
                ink: *ink,
                opacity: 1.0,
                tip: Some(Tip {
                    text: format!("{}: {name} {}", row.backend, growth.text),
                    values: vec![growth.value],
                }),
            });
        }
        let x = axis.at(row.total.value);
        shapes.push(Shape::line(
            (x, y - 3.0),
            (x, y + BAR + 3.0),
            Ink::Text,
            2.0,
        ));
        if !frame.is_narrow() {
            let x = axis.at(more.max(row.total.value)) + 8.0;
            shapes.push(total((x, middle), Anchor::Start));
        }
        shapes
    }

    fn legend(&self, width: f64) -> (Vec<Shape>, f64) {
        let (mut shapes, mut x, mut y) = (Vec::new(), 4.0, 12.0);
        for (name, ink) in &self.accounts {
            let room = 18.0 + letters::width(name, SMALL, false) * letters::WIDER + 14.0;
            if x + room > width {
                (x, y) = (4.0, y + 20.0);
            }
            shapes.push(Shape::Rect {
                x,
                y: y - 6.0,
                w: 12.0,
                h: 12.0,
                ink: *ink,
                opacity: 1.0,
                tip: None,
            });
            let at = (x + 18.0, y);
            shapes.push(Shape::text(at, name, SMALL, Anchor::Start, Ink::Muted));
            x += room;
        }
        (shapes, y + 20.0)
    }
}

impl Row {
    /// Sums of what shrinks and of what grows.
    fn ends(&self) -> (f64, f64) {
        let sum = |keep: fn(f64) -> bool| {
            let values = self.parts.iter().map(|(_, growth)| growth.value);
            values.filter(|value| keep(*value)).sum::<f64>()
        };
        (sum(|v| v < 0.0), sum(|v| v > 0.0))
    }
}
