//! What a chart is made of: shapes with a meaning, in units of its own, before any drawer.

/// A finished chart: shapes in a space of `width` × `height` units, origin top left.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// Units from left to right.
    pub width: f64,
    /// Units from top to bottom.
    pub height: f64,
    /// Axes and legends, below the bands.
    pub ground: Vec<Shape>,
    /// Rows that belong to one configuration each, from top to bottom.
    pub bands: Vec<Band>,
    /// What follows the last band: an axis' text. Moves up where bands are hidden.
    pub foot: Vec<Shape>,
}

/// Part of a chart that says something about one configuration and can be taken out.
#[derive(Clone, Debug, PartialEq)]
pub struct Band {
    /// Configuration id; empty where the band is about all.
    pub backend: String,
    /// Task id; empty where the band is about none.
    pub workload: String,
    /// Units that become free when it is taken out; 0 where it overlays others.
    pub height: f64,
    /// Its shapes.
    pub shapes: Vec<Shape>,
}

/// A colour by its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Names and values.
    Text,
    /// What explains.
    Muted,
    /// Lines that guide the eye.
    Grid,
    /// The paper itself: gaps between segments.
    Paper,
    /// A configuration, by its place in the palette.
    Series(u8),
    /// A kind of work, by its place in the palette.
    Kind(u8),
}

/// A point.
pub type Point = (f64, f64);

/// Where text stands beside its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// It begins there.
    Start,
    /// It is centred there.
    Middle,
    /// It ends there.
    End,
}

/// What a reader gets for pointing at a shape: words, and the stored numbers that they render.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tip {
    /// The words.
    pub text: String,
    /// The numbers, unrounded.
    pub values: Vec<f64>,
}

/// One shape.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// A filled rectangle.
    Rect {
        /// Left.
        x: f64,
        /// Top.
        y: f64,
        /// Width.
        w: f64,
        /// Height.
        h: f64,
        /// Colour.
        ink: Ink,
        /// 0 to 1.
        opacity: f64,
        /// What it says.
        tip: Option<Tip>,
    },
    /// Lines from point to point.
    Path {
        /// The points.
        points: Vec<Point>,
        /// Colour.
        ink: Ink,
        /// Width of the line.
        width: f64,
        /// 0 to 1.
        opacity: f64,
        /// What it says.
        tip: Option<Tip>,
    },
    /// Many small discs; `tips` of the same length, or empty.
    Dots {
        /// Their centres.
        points: Vec<Point>,
        /// Their radius.
        radius: f64,
        /// Colour.
        ink: Ink,
        /// 0 to 1.
        opacity: f64,
        /// The stored value of each.
        values: Vec<f64>,
    },
    /// A disc or diamond that marks an estimate.
    Mark {
        /// Centre.
        at: Point,
        /// Half its size.
        radius: f64,
        /// Disc (0), diamond (1), square (2), triangle (3).
        form: u8,
        /// Colour.
        ink: Ink,
        /// What it says.
        tip: Option<Tip>,
    },
    /// A line of text, vertically centred at its point.
    Text {
        /// Where.
        at: Point,
        /// The words.
        text: String,
        /// Height of the letters' body.
        size: f64,
        /// Which part of it is at the point.
        anchor: Anchor,
        /// Colour.
        ink: Ink,
        /// Whether it is heavy.
        bold: bool,
        /// The stored numbers that it renders.
        values: Vec<f64>,
    },
}

impl Shape {
    /// A vertical or horizontal guide.
    #[must_use]
    pub fn line(from: Point, to: Point, ink: Ink, width: f64) -> Self {
        Self::Path {
            points: vec![from, to],
            ink,
            width,
            opacity: 1.0,
            tip: None,
        }
    }

    /// Plain words.
    #[must_use]
    pub fn text(at: Point, text: impl Into<String>, size: f64, anchor: Anchor, ink: Ink) -> Self {
        Self::Text {
            at,
            text: text.into(),
            size,
            anchor,
            ink,
            bold: false,
            values: Vec::new(),
        }
    }

    /// The same words, heavy.
    #[must_use]
    pub fn heavy(mut self) -> Self {
        if let Self::Text { bold, .. } = &mut self {
            *bold = true;
        }
        self
    }

    /// The same words, with the stored numbers that they render.
    #[must_use]
    pub fn of(mut self, stored: &[f64]) -> Self {
        if let Self::Text { values, .. } = &mut self {
            *values = stored.to_vec();
        }
        self
    }
}

impl Scene {
    /// Every shape, from the lowest layer to the highest.
    pub fn shapes(&self) -> impl Iterator<Item = &Shape> {
        let bands = self.bands.iter().flat_map(|band| &band.shapes);
        self.ground.iter().chain(bands).chain(&self.foot)
    }
}
