//! Charts: what a chart says (its data), and the pure geometry that turns it into a [`scene::Scene`].
//! Drawers (`report::draw`) put scenes on paper. Nothing here reads a file or knows a drawer.

pub mod axis;
pub mod bars;
pub mod distribution;
pub mod forest;
pub mod letters;
pub mod palette;
pub mod scene;
pub mod slope;
pub mod timeline;
pub mod trend;
pub mod waterfall;

use scene::Scene;

/// The paper that a chart is laid out on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frame {
    /// Units from left to right.
    pub width: f64,
    /// Whether quantities are laid out on a logarithmic axis.
    pub log: bool,
    /// Dots of one series, at most: a page has less room than a picture.
    pub dots: usize,
}

impl Frame {
    /// For a page or a slide.
    pub const WIDE: f64 = 960.0;
    /// For a telephone.
    pub const NARROW: f64 = 360.0;

    /// Whether names stand above their rows instead of beside them.
    #[must_use]
    pub fn is_narrow(self) -> bool {
        self.width < 600.0
    }
}

/// A value as it is stored and as it is shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shown {
    /// The stored number.
    pub value: f64,
    /// Its text, by the one formatter.
    pub text: String,
    /// Its interval, if it has one.
    pub ci95: Option<[f64; 2]>,
}

impl Shown {
    /// The stored numbers, value first.
    #[must_use]
    pub fn values(&self) -> Vec<f64> {
        let mut all = vec![self.value];
        all.extend(self.ci95.into_iter().flatten());
        all
    }
}

/// A chart's data.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Starts, phase by phase.
    Timeline(timeline::Timeline),
    /// Every sample of a metric.
    Distribution(distribution::Distribution),
    /// Ratios to the reference.
    Forest(forest::Forest),
    /// Memory against the number of instances.
    Slope(slope::Slopes),
    /// Memory by account.
    Bars(bars::Bars),
    /// A ladder.
    Waterfall(waterfall::Waterfall),
    /// A metric through the runs of a history.
    Trend(trend::Trend),
}

/// A chart: what it is called, how it reads aloud, and its data.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// Name of its files and its place on the page.
    pub name: String,
    /// One line above it.
    pub title: String,
    /// How to read it, below it.
    pub caption: String,
    /// What it shows, for those who do not see it.
    pub alt: String,
    /// What is drawn.
    pub data: Data,
}

impl Chart {
    /// Whether there is a linear and a logarithmic version.
    #[must_use]
    pub const fn has_scales(&self) -> bool {
        matches!(self.data, Data::Timeline(_) | Data::Distribution(_))
    }

    /// Whether the logarithmic version shows more: where values lie more than a factor of 12 apart.
    #[must_use]
    pub fn prefers_log(&self) -> bool {
        match &self.data {
            Data::Timeline(timeline) => timeline.spread() > 12.0,
            Data::Distribution(distribution) => distribution.spread() > 12.0,
            _ => false,
        }
    }

    /// Lays it out.
    #[must_use]
    pub fn scene(&self, frame: Frame) -> Scene {
        match &self.data {
            Data::Timeline(data) => data.scene(frame),
            Data::Distribution(data) => data.scene(frame),
            Data::Forest(data) => data.scene(frame),
            Data::Slope(data) => data.scene(frame),
            Data::Bars(data) => data.scene(frame),
            Data::Waterfall(data) => data.scene(frame),
            Data::Trend(data) => data.scene(frame),
        }
    }
}

/// Sizes of text.
pub(super) const NAME: f64 = 13.0;
/// Of ticks and explanations.
pub(super) const SMALL: f64 = 11.5;

/// Widest column of names.
const WIDEST: f64 = 260.0;

/// Width of a column of names.
pub(super) fn column<'a>(names: impl Iterator<Item = &'a str>) -> f64 {
    let widths = names.map(|name| letters::width(name, NAME, true) * letters::WIDER);
    widths.fold(60.0, f64::max).min(WIDEST) + 14.0
}

#[cfg(test)]
mod tests;
