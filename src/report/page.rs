//! What pages have in common: the stylesheet with its colours, controls that show and hide, charts in
//! every layout.

use std::fmt::Write;

use super::chart::palette::{GRID, KINDS, MUTED, PAPER, Pair, Rgb, SERIES, TEXT, series};
use super::chart::scene::Ink;
use super::chart::{Chart, Data, Frame};
use super::draw::inline;

/// Comfort for those who let a page run scripts.
pub(super) const SCRIPT: &str = include_str!("../../templates/script.js");

/// Something that can be shown or not.
pub(super) struct Choice<'a> {
    /// Number of its control.
    pub index: usize,
    pub name: &'a str,
    /// Class of its colour.
    pub colour: String,
}

pub(super) fn choices<'a>(names: &[&'a str]) -> Vec<Choice<'a>> {
    let of = |(index, name): (usize, &&'a str)| Choice {
        index,
        name,
        colour: colour(name),
    };
    names.iter().enumerate().map(of).collect()
}

/// Class of a configuration's colour.
pub(super) fn colour(id: &str) -> String {
    match series(id) {
        Ink::Series(place) => format!("s{place}"),
        _ => "t".to_owned(),
    }
}

/// A chart in every layout, with its place among its kind.
pub(super) struct Picture<'a> {
    pub index: usize,
    pub chart: &'a Chart,
    pub drawings: String,
    /// Whether `as fits` shows it logarithmically.
    pub fits: &'static str,
    /// What its control says.
    pub label: String,
}

/// Dots on all drawings of a page together, about, so that it stays below 2 MiB.
const DOTS: usize = 11_000;
/// Dots of one series, at least and at most.
const FEWEST: usize = 20;
const MOST: usize = 600;

/// How many dots each series has room for.
pub(super) fn dots(charts: &[Chart]) -> usize {
    let series = charts.iter().map(|chart| match &chart.data {
        Data::Distribution(distribution) => distribution.rows.len(),
        _ => 0,
    });
    (DOTS / series.sum::<usize>().max(1)).clamp(FEWEST, MOST)
}

pub(super) fn picture((index, chart): (usize, &Chart), dots: usize) -> Picture<'_> {
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
pub(super) fn style(backends: &[&str], workloads: &[&str], charts: &[Chart]) -> String {
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
