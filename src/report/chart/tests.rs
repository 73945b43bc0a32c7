//! Charts of ordinary and of extreme values: everything lies on the paper.

use super::bars::Bars;
use super::distribution::{Distribution, thinned};
use super::forest::Forest;
use super::scene::{Anchor, Ink, Scene, Shape};
use super::slope::Slopes;
use super::timeline::{Segment, Timeline, Words};
use super::waterfall::{Rung, Waterfall};
use super::*;
use crate::metric::Unit;

fn shown(value: f64) -> Shown {
    Shown {
        value,
        text: crate::report::format::quantity(value, Unit::Nanoseconds),
        ci95: Some([value * 0.9, value * 1.1]).map(|[a, b]: [f64; 2]| [a.min(b), a.max(b)]),
    }
}

const NAMES: [&str; 4] = [
    "process",
    "container:without=net+ipc+uts+cgroup+time and more that nobody would write",
    "microvm",
    "ein eigenes Backend",
];

/// A chart of each kind made of four values.
fn charts(values: [f64; 4]) -> Vec<Data> {
    let each = || NAMES.iter().map(|name| (*name).to_owned()).zip(values);
    let timeline = each().map(|(backend, value)| timeline::Row {
        backend,
        total: shown(value),
        segments: (0..3)
            .map(|n| Segment {
                name: format!("phase_{n}"),
                from: f64::from(n) * value / 3.0,
                length: shown(value / 3.0),
            })
            .collect(),
        why: Words {
            text: "a long explanation · ".repeat(20),
            values: vec![value],
        },
    });
    let distribution = each().map(|(backend, value)| distribution::Row {
        backend,
        median: shown(value),
        samples: vec![value * 0.5, value, value, value * 3.0],
        n: 4,
    });
    let mut samples: Vec<distribution::Row> = distribution.collect();
    samples
        .iter_mut()
        .for_each(|row| row.samples.sort_by(f64::total_cmp));
    let group = forest::Group {
        workload: "sha256@1MiB".to_owned(),
        heading: "sha256@1MiB · bandwidth (a rate: more is better)".to_owned(),
        is_rate: true,
        rows: each()
            .map(|(backend, value)| forest::Row {
                backend,
                form: 1,
                ratio: shown(value.abs()),
            })
            .collect(),
    };
    let slopes = each().map(|(backend, value)| slope::Row {
        backend,
        each: shown(value),
        points: vec![(8.0, 0.0), (40.0, value * 32.0)],
        counts: [8.0, 40.0],
    });
    let bars = each().map(|(backend, value)| bars::Row {
        backend,
        total: shown(value),
        parts: vec![(0, shown(value)), (1, shown(-value / 2.0))],
    });
    vec![
        Data::Timeline(Timeline {
            axis: "time".to_owned(),
            rows: timeline.collect(),
        }),
        Data::Distribution(Distribution {
            workload: "noop".to_owned(),
            metric: "startup".to_owned(),
            unit: Unit::Nanoseconds,
            rows: samples,
        }),
        Data::Forest(Forest {
            reference: "process".to_owned(),
            worse: "slower",
            better: "faster",
            groups: vec![group],
        }),
        Data::Slope(Slopes {
            rows: slopes.collect(),
        }),
        Data::Bars(Bars {
            accounts: vec![
                ("user, private".to_owned(), Ink::Kind(1)),
                ("slab".to_owned(), Ink::Kind(3)),
            ],
            rows: bars.collect(),
        }),
        Data::Waterfall(Waterfall {
            unit: Unit::Nanoseconds,
            base: ("container:none".to_owned(), Some(shown(values[0]))),
            rungs: each()
                .map(|(name, value)| Rung {
                    name,
                    over: None,
                    added: Some(shown(value)),
                })
                .collect(),
            top: ("container".to_owned(), None),
            axis: "startup".to_owned(),
        }),
    ]
}

fn scenes(data: Data) -> Vec<Scene> {
    let chart = Chart {
        name: "chart".to_owned(),
        title: String::new(),
        caption: String::new(),
        alt: String::new(),
        data,
    };
    [
        (Frame::WIDE, false),
        (Frame::WIDE, true),
        (Frame::NARROW, false),
        (Frame::NARROW, true),
    ]
    .map(|(width, log)| {
        chart.scene(Frame {
            width,
            log,
            dots: 100,
        })
    })
    .to_vec()
}

/// Left and right end, and the height at which it lies.
fn extent(shape: &Shape) -> Vec<(f64, f64)> {
    match shape {
        Shape::Rect { x, y, w, h, .. } => vec![(*x, *y), (x + w, y + h)],
        Shape::Path { points, .. } | Shape::Dots { points, .. } => points.clone(),
        Shape::Mark { at, .. } => vec![*at],
        Shape::Text {
            at,
            text,
            size,
            anchor,
            bold,
            ..
        } => {
            let wide = letters::width(text, *size, *bold);
            let left = match anchor {
                Anchor::Start => at.0,
                Anchor::Middle => at.0 - wide / 2.0,
                Anchor::End => at.0 - wide,
            };
            vec![(left, at.1), (left + wide, at.1)]
        }
    }
}

/// A tick's text may stand half beyond the end of its axis.
const TICK: f64 = 30.0;

#[test]
fn everything_lies_on_the_paper() {
    for (ordinary, values) in [
        (true, [1e5, 1.4e6, 4.3e5, 2e6]),
        (false, [0.0, 0.0, 0.0, 0.0]),
        (false, [1.0, 1e15, 1e-3, 7.0]),
        (false, [-5e4, 3e5, -1e3, 1e4]),
    ] {
        for scene in charts(values).into_iter().flat_map(scenes) {
            for shape in scene.shapes() {
                // The words of values that nothing measures may need more room.
                let more = match shape {
                    Shape::Text { .. } if ordinary => TICK,
                    Shape::Text { .. } => f64::MAX,
                    _ => 3.0,
                };
                for (x, y) in extent(shape) {
                    let is_on = x.is_finite() && x >= -more && x <= scene.width + more;
                    let is_on = is_on && y >= -1.0 && y <= scene.height + 1.0;
                    assert!(is_on, "{values:?}: {shape:?} of {}", scene.width);
                }
            }
        }
    }
}

#[test]
fn a_scene_says_what_it_was_given() {
    for data in charts([1e5, 1.4e6, 4.3e5, 2e6]) {
        for scene in scenes(data) {
            let told = |shape: &Shape| match shape {
                Shape::Text { values, .. } => values.clone(),
                Shape::Rect { tip, .. } | Shape::Path { tip, .. } | Shape::Mark { tip, .. } => {
                    tip.as_ref().map_or_else(Vec::new, |tip| tip.values.clone())
                }
                Shape::Dots { values, .. } => values.clone(),
            };
            let all: Vec<f64> = scene.shapes().flat_map(told).collect();
            assert!(all.contains(&1.4e6), "{all:?}");
        }
    }
}

#[test]
fn thinning_keeps_both_ends_and_the_order() {
    let values: Vec<f64> = (0..1000).map(f64::from).collect();
    assert_eq!(thinned(&values, 2000), values);
    let few = thinned(&values, 50);
    assert_eq!((few.len(), few[0], few[49]), (50, 0.0, 999.0));
    assert!(few.is_sorted());
}
