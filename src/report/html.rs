//! The report as one HTML page: no network, no dependency, readable without JavaScript, in light, dark
//! and print.

use std::fmt::Write;

use askama::Template;

use super::chart::palette::{GRID, KINDS, MUTED, PAPER, Pair, Rgb, SERIES, TEXT, series};
use super::chart::scene::Ink;
use super::chart::{Chart, Data, Frame};
use super::draw::inline;
use super::figure::Figure;
use super::model::View;
use super::noise::Level;
use crate::metric::{CATALOGUE, Metric};

/// The page.
#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    view: &'a View,
    style: String,
    script: &'static str,
    backends: Vec<Choice<'a>>,
    workloads: Vec<Choice<'a>>,
    timelines: Vec<Picture<'a>>,
    distributions: Vec<Picture<'a>>,
    memory: Vec<Picture<'a>>,
    throughput: Vec<Picture<'a>>,
    ladder: Vec<Picture<'a>>,
    metrics: &'static [Metric],
    noise_class: &'static str,
}

/// Something that can be shown or not.
struct Choice<'a> {
    /// Number of its control.
    index: usize,
    name: &'a str,
    /// Class of its colour.
    colour: String,
}

/// A chart in every layout, with its place among its kind.
struct Picture<'a> {
    index: usize,
    chart: &'a Chart,
    drawings: String,
    /// Whether `as fits` shows it logarithmically.
    fits: &'static str,
    /// What its control says.
    label: String,
}

/// Lays the page out.
///
/// # Errors
/// The template's.
pub fn render(view: &View) -> Result<String, askama::Error> {
    let pictures = |wanted: fn(&Data) -> bool| -> Vec<Picture<'_>> {
        let charts = view.charts.iter().filter(|chart| wanted(&chart.data));
        let dots = dots(&view.charts);
        charts
            .enumerate()
            .map(|chart| picture(chart, dots))
            .collect()
    };
    // A ladder has some forty configurations that nobody filters by.
    let ladder = view.ladder.is_some();
    let ids: Vec<&str> = if ladder {
        Vec::new()
    } else {
        view.glances.iter().map(|g| g.backend.as_str()).collect()
    };
    let mut tasks: Vec<&str> = Vec::new();
    for group in view.groups.iter().filter(|_| !ladder) {
        if !tasks.contains(&group.workload.as_str()) {
            tasks.push(&group.workload);
        }
    }
    let style = style(&ids, &tasks, &view.charts);
    let page = Page {
        view,
        style,
        script: include_str!("../../templates/script.js"),
        backends: choices(ids),
        workloads: choices(tasks),
        timelines: pictures(|data| matches!(data, Data::Timeline(_))),
        distributions: pictures(|data| matches!(data, Data::Distribution(_))),
        memory: pictures(|data| matches!(data, Data::Slope(_) | Data::Bars(_))),
        throughput: pictures(|data| matches!(data, Data::Forest(_))),
        ladder: pictures(|data| matches!(data, Data::Waterfall(_))),
        metrics: &CATALOGUE,
        noise_class: match view.noise.level {
            Level::Quiet => "good",
            Level::Noisy => "fair",
            Level::Inconclusive => "poor",
        },
    };
    page.render()
}

fn choices(names: Vec<&str>) -> Vec<Choice<'_>> {
    let of = |(index, name)| Choice {
        index,
        name,
        colour: colour(name),
    };
    names.into_iter().enumerate().map(of).collect()
}

fn colour(id: &str) -> String {
    match series(id) {
        Ink::Series(place) => format!("s{place}"),
        _ => "t".to_owned(),
    }
}

/// Dots on all drawings of a page together, about, so that it stays below 2 MiB.
const DOTS: usize = 11_000;
/// Dots of one series, at least and at most.
const FEWEST: usize = 20;
const MOST: usize = 600;

/// How many dots each series has room for.
fn dots(charts: &[Chart]) -> usize {
    let series = charts.iter().map(|chart| match &chart.data {
        Data::Distribution(distribution) => distribution.rows.len(),
        _ => 0,
    });
    (DOTS / series.sum::<usize>().max(1)).clamp(FEWEST, MOST)
}

fn picture((index, chart): (usize, &Chart), dots: usize) -> Picture<'_> {
    let mut drawings = String::new();
    for (width, size) in [(Frame::WIDE, "wide"), (Frame::NARROW, "narrow")] {
        let scales: &[(bool, &str)] = if chart.has_scales() {
            &[(false, "lin"), (true, "log")]
        } else {
            &[(false, "one")]
        };
        for (log, scale) in scales {
            let narrow = size == "narrow";
            let scene = chart.scene(Frame {
                width,
                log: *log,
                dots: if narrow { dots / 2 } else { dots },
            });
            let class = format!("{size} {scale}");
            // The stored values of dots are there once; the other drawing has the same dots.
            let with_values = !narrow && *scale != "log";
            drawings.push_str(&inline::svg(&scene, &class, &chart.alt, with_values));
        }
    }
    let label = match &chart.data {
        Data::Distribution(d) => format!("{} {}", d.workload, d.metric),
        _ => chart.title.clone(),
    };
    Picture {
        index,
        chart,
        drawings,
        fits: if chart.prefers_log() {
            "fits-log"
        } else {
            "fits-lin"
        },
        label,
    }
}

/// The stylesheet: colours from the palette, what each control hides, and the rest.
fn style(backends: &[&str], workloads: &[&str], charts: &[Chart]) -> String {
    let mut out = String::new();
    let colours = |pick: fn(Pair) -> Rgb| {
        let mut all = String::new();
        let names = [("t", TEXT), ("m", MUTED), ("g", GRID), ("p", PAPER)];
        let named = names.map(|(name, pair)| (name.to_owned(), pair));
        let series = SERIES
            .iter()
            .enumerate()
            .map(|(n, pair)| (format!("s{n}"), *pair));
        let kinds = KINDS
            .iter()
            .enumerate()
            .map(|(n, (_, pair))| (format!("k{n}"), *pair));
        for (name, pair) in named.into_iter().chain(series).chain(kinds) {
            let (r, g, b) = pick(pair);
            // Writing to a String cannot fail.
            let _ = write!(all, "--{name}:#{r:02x}{g:02x}{b:02x};");
        }
        all
    };
    let light = colours(|pair| pair.light);
    let dark = colours(|pair| pair.dark);
    let _ = write!(
        out,
        ":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"
    );
    let names = ["t", "m", "g", "p"].map(str::to_owned).into_iter();
    let names = names.chain((0..SERIES.len()).map(|n| format!("s{n}")));
    for name in names.chain((0..KINDS.len()).map(|n| format!("k{n}"))) {
        let _ = write!(
            out,
            ".f.{name}{{fill:var(--{name})}}.l.{name}{{stroke:var(--{name})}}.dot.{name}{{background:\
             var(--{name})}}"
        );
    }
    for (control, attribute, choices) in [("b", "data-b", backends), ("w", "data-w", workloads)] {
        for (index, name) in choices.iter().enumerate() {
            let _ = write!(
                out,
                "body:has(#{control}{index}:not(:checked)) [{attribute}=\"{}\"]{{display:none}}",
                css(name)
            );
        }
    }
    let distributions = charts
        .iter()
        .filter(|c| matches!(c.data, Data::Distribution(_)));
    for index in 0..distributions.count() {
        let _ = write!(
            out,
            "body:has(#m{index}:checked) #d{index}{{display:block}}"
        );
    }
    out.push_str(include_str!("../../templates/style.css"));
    out
}

/// Text inside a string of a stylesheet: everything but letters, digits and a few signs by its number.
fn css(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':' | '=' | '+' | '@' | '.') {
            out.push(c);
        } else {
            let _ = write!(out, "\\{:x} ", u32::from(c));
        }
    }
    out
}

impl Page<'_> {
    /// Class of a configuration's colour.
    fn colours(&self, id: &str) -> String {
        colour(id)
    }

    /// Class of a verdict: its word, without a mark.
    fn verdict<'a>(&self, cell: &'a str) -> &'a str {
        let word = cell.split(' ').next().unwrap_or_default();
        const WORDS: [&str; 6] = ["shared", "own", "limited", "hidden", "denied", "absent"];
        if WORDS.contains(&word) { word } else { "count" }
    }
}

impl Figure {
    /// The stored numbers as an attribute of an element.
    fn stored(&self) -> String {
        inline::stored(&self.values)
    }
}
