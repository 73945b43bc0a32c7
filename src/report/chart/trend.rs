//! A metric through the runs of a history: a row a configuration, each with an axis of its own, all
//! above the same runs. Changes are lines across with what they are in words.

use super::axis::Axis;
use super::palette::series;
use super::scene::{Anchor, Band, Ink, Point, Scene, Shape, Tip};
use super::{Frame, NAME, SMALL, Shown, column, letters};

/// A chart of trends.
#[derive(Clone, Debug, PartialEq)]
pub struct Trend {
    /// Task id.
    pub workload: String,
    /// When each run was, the oldest first.
    pub runs: Vec<String>,
    /// One row a configuration.
    pub rows: Vec<Row>,
}

/// One configuration's way through the runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Configuration id.
    pub backend: String,
    /// Number of the run, and its value.
    pub points: Vec<(usize, f64)>,
    /// Stretches between changes.
    pub stretches: Vec<Stretch>,
    /// The smallest and the largest value, as the axis names them.
    pub ends: [Shown; 2],
    /// The newest value.
    pub last: Shown,
}

/// Runs between which nothing has changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Stretch {
    /// Numbers of its first and last run.
    pub runs: [usize; 2],
    /// Median of its values.
    pub median: Shown,
    /// The change that it begins with.
    pub change: Option<Change>,
}

/// A change.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// In few words: `worse +20.1 %`.
    pub short: String,
    /// In a sentence.
    pub tip: Tip,
}

/// Height of a row's values.
const HEIGHT: f64 = 56.0;
/// Room above them, for what changes are.
const HEAD: f64 = 22.0;
/// Room below them.
const TAIL: f64 = 14.0;
/// Smallest height of a row as a share of its values: below that, noise would look like mountains.
const LEAST_SPREAD: f64 = 0.1;

impl Trend {
    pub(super) fn scene(&self, frame: Frame) -> Scene {
        let narrow = frame.is_narrow();
        let names = self.rows.iter().map(|row| row.backend.as_str());
        let ticks = self.rows.iter().flat_map(|row| &row.ends);
        let ticks = ticks.map(|end| letters::width(&end.text, SMALL, false) * letters::WIDER);
        let gutter = ticks.fold(30.0, f64::max) + 10.0;
        let name = if narrow { 0.0 } else { column(names) };
        let left = name + gutter;
        let right = frame.width - if narrow { 10.0 } else { 92.0 };
        let last = self.runs.len().saturating_sub(1) as f64;
        let across = Axis::close(0.0, last.max(1.0), (left, right));
        let title = if narrow { 20.0 } else { 0.0 };
        let band = title + HEAD + HEIGHT + TAIL;
        let bottom = band * self.rows.len() as f64;
        let bands = self.rows.iter().enumerate().map(|(index, row)| {
            let top = band * index as f64 + title;
            Band {
                backend: row.backend.clone(),
                workload: self.workload.clone(),
                height: band,
                shapes: row.shapes(&across, top, name, frame),
            }
        });
        Scene {
            width: frame.width,
            height: bottom + 26.0,
            ground: Vec::new(),
            bands: bands.collect(),
            foot: self.moments(&across, bottom + 8.0),
        }
    }

    /// When some of the runs were, as many as have room.
    fn moments(&self, across: &Axis, y: f64) -> Vec<Shape> {
        let width = |text: &String| letters::width(text, SMALL, false) * letters::WIDER;
        // The first and the last end where others have their middle: each has room for one and a half.
        let widest = self.runs.iter().map(width).fold(0.0, f64::max) * 1.5 + 12.0;
        let last = self.runs.len().saturating_sub(1);
        let room = ((across.right - across.left) / widest).floor() as usize;
        let marks = room.clamp(1, 7).min(last.max(1));
        let mut shapes = Vec::new();
        for mark in 0..=marks {
            let run = mark * last / marks;
            let Some(moment) = self.runs.get(run) else {
                continue;
            };
            let x = across.at(run as f64);
            // The first and the last stay inside.
            let anchor = match mark {
                0 => Anchor::Start,
                _ if mark == marks => Anchor::End,
                _ => Anchor::Middle,
            };
            if mark > 0 && last == 0 {
                break;
            }
            shapes.push(Shape::text((x, y), moment, SMALL, anchor, Ink::Muted));
        }
        shapes
    }
}

impl Row {
    /// Its values' axis, upright.
    fn up(&self) -> Axis {
        let values = || self.points.iter().map(|(_, value)| *value);
        let (least, most) = (
            values().fold(f64::INFINITY, f64::min),
            values().fold(f64::NEG_INFINITY, f64::max),
        );
        let middle = least.midpoint(most);
        let half = (middle.abs() * LEAST_SPREAD / 2.0).max((most - least) / 2.0);
        Axis::close(middle - half, middle + half, (0.0, HEIGHT))
    }

    fn shapes(&self, across: &Axis, top: f64, name: f64, frame: Frame) -> Vec<Shape> {
        let ink = series(&self.backend);
        let (head, foot) = (top + HEAD, top + HEAD + HEIGHT);
        let up = self.up();
        let at = |run: usize, value: f64| -> Point { (across.at(run as f64), foot - up.at(value)) };
        let (left, right) = (across.left, across.right);
        let mut shapes = vec![
            Shape::Rect {
                x: left,
                y: head,
                w: right - left,
                h: HEIGHT,
                ink: Ink::Grid,
                opacity: 0.28,
                tip: None,
            },
            Shape::line((left, foot), (right, foot), Ink::Grid, 1.0),
        ];
        let [low, high] = &self.ends;
        for end in if low.text == high.text {
            &self.ends[..1]
        } else {
            &self.ends[..]
        } {
            let place = (left - 8.0, foot - up.at(end.value));
            let text = Shape::text(place, &end.text, SMALL, Anchor::End, Ink::Muted);
            shapes.push(text.of(&[end.value]));
        }
        shapes.extend(self.name(across, top, name, frame));
        let places: Vec<Point> = self.points.iter().map(|&(run, v)| at(run, v)).collect();
        shapes.push(Shape::Path {
            points: places.clone(),
            ink,
            width: 1.0,
            opacity: 0.45,
            tip: None,
        });
        shapes.push(Shape::Dots {
            radius: if places.len() > 100 { 1.7 } else { 2.4 },
            points: places,
            ink,
            opacity: 0.8,
            values: self.points.iter().map(|(_, value)| *value).collect(),
        });
        // Half a run further, so that neighbours meet and one run alone has a line, too.
        let half = (across.at(1.0) - across.at(0.0)) / 2.0;
        let begin = |stretch: &Stretch| (across.at(stretch.runs[0] as f64) - half).max(left);
        let mut free = left;
        for (index, stretch) in self.stretches.iter().enumerate() {
            let (_, y) = at(stretch.runs[0], stretch.median.value);
            let to = (across.at(stretch.runs[1] as f64) + half).min(right);
            let from = begin(stretch);
            shapes.push(Shape::Path {
                points: vec![(from, y), (to, y)],
                ink,
                width: 2.6,
                opacity: 1.0,
                tip: Some(Tip {
                    text: format!("{}: median {}", self.backend, stretch.median.text),
                    values: vec![stretch.median.value],
                }),
            });
            if let Some(change) = &stretch.change {
                let next = self.stretches.get(index + 1).map_or(right, begin);
                free = change.shapes(&mut shapes, (from, head, foot), [free, next]);
            }
        }
        shapes
    }

    /// Its name and the newest value: left and right of a wide row, above a narrow one.
    fn name(&self, across: &Axis, top: f64, column: f64, frame: Frame) -> Vec<Shape> {
        let newest = |at, anchor| {
            let text = Shape::text(at, &self.last.text, NAME, anchor, Ink::Text).heavy();
            text.of(&[self.last.value])
        };
        if frame.is_narrow() {
            let y = top - 4.0;
            let name = letters::fitted(&self.backend, NAME, frame.width * 0.62);
            return vec![
                Shape::text((4.0, y), name, NAME, Anchor::Start, Ink::Text).heavy(),
                newest((across.right, y), Anchor::End),
            ];
        }
        let y = top + HEAD + HEIGHT / 2.0;
        let name = letters::fitted(&self.backend, NAME, column - 14.0);
        vec![
            Shape::text((4.0, y), name, NAME, Anchor::Start, Ink::Text).heavy(),
            newest((across.right + 10.0, y), Anchor::Start),
        ]
    }
}

impl Change {
    /// A line across the row, a mark, and the words where there is room beside it, between what is left
    /// of it and the next change; where room begins behind them.
    fn shapes(
        &self,
        shapes: &mut Vec<Shape>,
        (x, head, foot): (f64, f64, f64),
        [free, next]: [f64; 2],
    ) -> f64 {
        const MARK: f64 = 4.5;
        const GAP: f64 = 8.0;
        let y = head - 9.0;
        let tip = Some(self.tip.clone());
        shapes.push(Shape::Path {
            points: vec![(x, y), (x, foot)],
            ink: Ink::Text,
            width: 1.4,
            opacity: 1.0,
            tip: tip.clone(),
        });
        shapes.push(Shape::Mark {
            at: (x, y),
            radius: MARK,
            form: 1,
            ink: Ink::Text,
            tip,
        });
        let width = letters::width(&self.short, SMALL, false) * letters::WIDER;
        let (place, anchor) = if x + GAP + width + MARK <= next {
            (x + GAP, Anchor::Start)
        } else if x - GAP - width >= free {
            (x - GAP, Anchor::End)
        } else {
            return x + GAP;
        };
        let words = Shape::text((place, y), &self.short, SMALL, anchor, Ink::Text);
        shapes.push(words);
        match anchor {
            Anchor::Start => place + width + GAP,
            _ => x + GAP,
        }
    }
}
