//! A ladder: each rung's own cost, hanging where the rungs before it end.

use super::axis::{self, Axis};
use super::scene::{Anchor, Band, Ink, Scene, Shape, Tip};
use super::{Frame, NAME, SMALL, Shown, column, letters};
use crate::metric::Unit;

/// A rung.
#[derive(Clone, Debug, PartialEq)]
pub struct Rung {
    /// Its name.
    pub name: String,
    /// Name of the rung, or of the lowest step, that it stands on; `None`: the one before it.
    pub over: Option<String>,
    /// What it adds to that; `None` where it was not measured.
    pub added: Option<Shown>,
}

impl Rung {
    fn height(&self) -> f64 {
        self.added.as_ref().map_or(0.0, |added| added.value)
    }
}

/// A chart of a ladder in one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Waterfall {
    /// Unit of the differences.
    pub unit: Unit,
    /// Name and value of the lowest step, if it has a value of its own.
    pub base: (String, Option<Shown>),
    /// Each rung, behind those that it stands on.
    pub rungs: Vec<Rung>,
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
    /// Where each rung begins.
    fn starts(&self) -> Vec<f64> {
        let base = self.base.1.as_ref().map_or(0.0, |base| base.value);
        let mut ends = vec![(self.base.0.as_str(), base)];
        let mut starts = Vec::new();
        for rung in &self.rungs {
            let over = rung.over.as_deref();
            let known = over.and_then(|over| ends.iter().find(|(name, _)| *name == over));
            let start = known.or(ends.last()).map_or(base, |(_, end)| *end);
            starts.push(start);
            ends.push((&rung.name, start + rung.height()));
        }
        starts
    }

    pub(super) fn scene(&self, frame: Frame) -> Scene {
        let narrow = frame.is_narrow();
        let names = self.rungs.iter().map(|rung| rung.name.as_str());
        let names = names.chain([self.base.0.as_str(), self.top.0.as_str()]);
        let left = column(names).min(if narrow { 118.0 } else { 264.0 });
        let right = frame.width - if narrow { 12.0 } else { 190.0 };
        let start = self.base.1.as_ref().map_or(0.0, |base| base.value);
        // By what the bars reach: one interval as wide as the whole would hide all others. Where an
        // interval leaves the chart it is cut; its ends stand beside it.
        let starts = self.starts();
        let (mut least, mut most) = (0.0_f64, start);
        for (rung, start) in self.rungs.iter().zip(&starts) {
            let end = start + rung.height();
            (least, most) = (least.min(end), most.max(end));
        }
        if let Some(top) = &self.top.1 {
            (least, most) = (least.min(start + top.value), most.max(start + top.value));
        }
        let (bars, mut low, mut high) = (most - least, least, most);
        for (rung, start) in self.rungs.iter().zip(&starts) {
            if let Some([from, to]) = rung.added.as_ref().and_then(|added| added.ci95) {
                low = low.min((start + from).max(least - bars * BEYOND));
                high = high.max((start + to).min(most + bars * BEYOND));
            }
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
        for (index, (one, below)) in self.rungs.iter().zip(&starts).enumerate() {
            y += LINE;
            let next = starts.get(index + 1);
            // The whole stands on the last one only where each stands on the one before it.
            let goes_on = next.map_or(one.over.is_none(), |next| *next == below + one.height());
            put(rung(one, (*below, goes_on), (&axis, y, frame)));
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

fn rung(rung: &Rung, (below, goes_on): (f64, bool), place: Place<'_>) -> Vec<Shape> {
    let (axis, y, _) = place;
    let name = &rung.name;
    let Some(added) = &rung.added else {
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
    if goes_on {
        shapes.push(Shape::line(
            (b, y + LINE - 5.0),
            (b, y + LINE + 5.0),
            Ink::Muted,
            1.0,
        ));
    }
    shapes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rung_beside_the_way_up_begins_where_the_one_that_it_stands_on_ends() {
        let value = |value| {
            Some(Shown {
                value,
                text: String::new(),
                ci95: None,
            })
        };
        let rung = |name: &str, over: Option<&str>, added| Rung {
            name: name.to_owned(),
            over: over.map(str::to_owned),
            added,
        };
        let mut chart = Waterfall {
            unit: Unit::Nanoseconds,
            base: ("process".to_owned(), value(1.0)),
            rungs: vec![
                rung("runc", Some("process"), value(10.0)),
                rung("docker", Some("runc"), value(100.0)),
                rung("podman", Some("runc"), value(5.0)),
                rung("lost", Some("docker"), None),
            ],
            top: ("docker".to_owned(), value(110.0)),
            axis: String::new(),
        };
        assert_eq!(chart.starts(), [1.0, 11.0, 11.0, 111.0]);
        chart.rungs.iter_mut().for_each(|rung| rung.over = None);
        assert_eq!(chart.starts(), [1.0, 11.0, 111.0, 116.0]);
    }
}
