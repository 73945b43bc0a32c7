//! A ladder: each rung's own cost, hanging where the rungs before it end.

use super::axis::{self, Axis};
use super::scene::{Anchor, Band, Ink, Scene, Shape, Tip};
use super::{Frame, NAME, SMALL, Shown, column, letters};
use crate::metric::Unit;

/// A chart of a ladder in one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Waterfall {
    /// Unit of the differences.
    pub unit: Unit,
    /// Name and value of the lowest step, if it has a value of its own.
    pub base: (String, Option<Shown>),
    /// Name and added cost of each rung; `None` where it was not measured.
    pub rungs: Vec<(String, Option<Shown>)>,
    /// Name of the highest step, and how much it is above the lowest.
    pub top: (String, Option<Shown>),
    /// What an axis means.
    pub axis: String,
}

const LINE: f64 = 26.0;
const BAR: f64 = 16.0;
const APART: f64 = 74.0;
/// How far an axis goes beyond the bars for their intervals, of what the bars reach.
const BEYOND: f64 = 0.4;
/// Places of the colours: what is added, what is saved, and what cannot be told from nothing.
const MORE: Ink = Ink::Series(2);
const LESS: Ink = Ink::Series(3);
const OPEN: Ink = Ink::Series(0);

impl Waterfall {
    pub(super) fn scene(&self, frame: Frame) -> Scene {
        let narrow = frame.is_narrow();
        let names = self.rungs.iter().map(|(name, _)| name.as_str());
        let names = names.chain([self.base.0.as_str(), self.top.0.as_str()]);
        let left = column(names).min(if narrow { 118.0 } else { 264.0 });
        let right = frame.width - if narrow { 12.0 } else { 190.0 };
        let start = self.base.1.as_ref().map_or(0.0, |base| base.value);
        // By what the bars reach: one interval as wide as the whole would hide all others. Where an
        // interval leaves the chart it is cut; its ends stand beside it.
        let mut sum = start;
        let (mut least, mut most) = (0.0_f64, start);
        for added in self.rungs.iter().filter_map(|(_, added)| added.as_ref()) {
            sum += added.value;
            (least, most) = (least.min(sum), most.max(sum));
        }
        if let Some(top) = &self.top.1 {
            (least, most) = (least.min(start + top.value), most.max(start + top.value));
        }
        let (bars, mut low, mut high) = (most - least, least, most);
        let mut sum = start;
        for added in self.rungs.iter().filter_map(|(_, added)| added.as_ref()) {
            if let Some([from, to]) = added.ci95 {
                low = low.min((sum + from).max(least - bars * BEYOND));
                high = high.max((sum + to).min(most + bars * BEYOND));
            }
            sum += added.value;
        }
        let (least, most) = (low, high);
        let axis = Axis::new(least, most, false, (left, right)).of(self.unit);
        let count = self.rungs.len() + 2;
        let bottom = 6.0 + LINE * count as f64;
        let mut bands = Vec::new();
        let mut y = 6.0;
        let mut put = |shapes: Vec<Shape>| {
            bands.push(Band {
                backend: String::new(),
                workload: String::new(),
                height: LINE,
                shapes,
            });
        };
        put(whole(
            &self.base.0,
            0.0,
            self.base.1.as_ref(),
            (&axis, y, frame),
        ));
        let mut sum = start;
        for (name, added) in &self.rungs {
            y += LINE;
            put(rung(name, sum, added.as_ref(), (&axis, y, frame)));
            sum += added.as_ref().map_or(0.0, |added| added.value);
        }
        y += LINE;
        put(whole(
            &self.top.0,
            start,
            self.top.1.as_ref(),
            (&axis, y, frame),
        ));
        let mut foot = axis.labels(bottom + 12.0, (APART, SMALL), axis::quantity(self.unit));
        let at = ((left + right) / 2.0, bottom + 30.0);
        foot.push(Shape::text(
            at,
            &self.axis,
            SMALL,
            Anchor::Middle,
            Ink::Muted,
        ));
        Scene {
            width: frame.width,
            height: bottom + 42.0,
            ground: axis.grid(6.0, bottom, APART),
            bands,
            foot,
        }
    }
}

type Place<'a> = (&'a Axis, f64, Frame);

fn labels(
    name: &str,
    value: Option<&Shown>,
    sign: &str,
    (axis, y, frame): Place<'_>,
) -> Vec<Shape> {
    let middle = y + LINE / 2.0;
    let size = if frame.is_narrow() { SMALL } else { NAME };
    let cut = letters::fitted(name, size, axis.left - 12.0);
    let at = (axis.left - 10.0, middle);
    let mut shapes = vec![Shape::text(at, cut, size, Anchor::End, Ink::Text)];
    if !frame.is_narrow() {
        let (text, values) = value.map_or_else(
            || ("not measured".to_owned(), Vec::new()),
            |value| (format!("{sign}{}", value.text), value.values()),
        );
        let at = (frame.width - 4.0, middle);
        shapes.push(Shape::text(at, text, SMALL, Anchor::End, Ink::Text).of(&values));
    }
    shapes
}

/// The lowest and the highest step, from nothing.
fn whole(name: &str, below: f64, value: Option<&Shown>, place: Place<'_>) -> Vec<Shape> {
    let (axis, y, _) = place;
    let sign = if below > 0.0 { "together +" } else { "" };
    let mut shapes = labels(name, value, sign, place);
    if let Some(value) = value {
        let (from, to) = (axis.at(0.0), axis.at(below + value.value));
        shapes.push(Shape::Rect {
            x: from,
            y: y + (LINE - BAR) / 2.0,
            w: (to - from).max(1.0),
            h: BAR,
            ink: OPEN,
            opacity: 1.0,
            tip: Some(Tip {
                text: format!("{name}: {}", value.text),
                values: value.values(),
            }),
        });
    }
    shapes
}

fn rung(name: &str, below: f64, added: Option<&Shown>, place: Place<'_>) -> Vec<Shape> {
    let (axis, y, _) = place;
    let Some(added) = added else {
        return labels(name, None, "", place);
    };
    let sign = if added.value < 0.0 { "" } else { "+" };
    let mut shapes = labels(name, Some(added), sign, place);
    let (a, b) = (axis.at(below), axis.at(below + added.value));
    let ink = match added.ci95 {
        Some([low, high]) if low <= 0.0 && high >= 0.0 => OPEN,
        _ if added.value < 0.0 => LESS,
        _ => MORE,
    };
    let tip = Some(Tip {
        text: format!("{name}: {sign}{}", added.text),
        values: added.values(),
    });
    shapes.push(Shape::Rect {
        x: a.min(b),
        y: y + (LINE - BAR) / 2.0,
        w: (b - a).abs().max(1.5),
        h: BAR,
        ink,
        opacity: 0.85,
        tip: tip.clone(),
    });
    if let Some(ends) = added.ci95 {
        let [low, high] = ends.map(|end| axis.at(below + end));
        let middle = y + LINE / 2.0;
        shapes.push(Shape::Path {
            points: vec![(low, middle), (high, middle)],
            ink: Ink::Text,
            width: 1.4,
            opacity: 0.9,
            tip,
        });
    }
    // Where the next one begins.
    shapes.push(Shape::line(
        (b, y + LINE - 5.0),
        (b, y + LINE + 5.0),
        Ink::Muted,
        1.0,
    ));
    shapes
}
