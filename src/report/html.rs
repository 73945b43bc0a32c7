//! The report as one HTML page: no network, no dependency, readable without JavaScript, in light, dark
//! and print.

use askama::Template;

use super::chart::Data;
use super::draw::inline;
use super::figure::Figure;
use super::model::View;
use super::noise::Level;
use super::page::{Choice, Picture, SCRIPT, choices, colour, dots, picture, style};
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
        script: SCRIPT,
        backends: choices(&ids),
        workloads: choices(&tasks),
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
    pub(super) fn stored(&self) -> String {
        inline::stored(&self.values)
    }
}
