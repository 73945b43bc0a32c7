//! Scenes as PNG and as SVG files, through plotters.
//!
//! A picture is made in memory and handed over whole, so that no drawing error can leave a blank or
//! half a file behind.

use plotters::prelude::{
    BitMapBackend, Color, DrawingBackend, RGBAColor, RGBColor, SVGBackend, ShapeStyle,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, IntoFont, TextStyle};

use super::font;
use super::inline::escape;
use crate::report::chart::palette::PAPER;
use crate::report::chart::scene::{Anchor, Ink, Point, Scene, Shape};

/// Pixels a unit: a chart of 960 units fills a slide of 1920 pixels, and prints at 300 dots an inch
/// over a column of 16 cm.
const PIXELS: u32 = 2;
/// Drawn so much larger and averaged, because plotters places shapes on whole pixels.
const FINER: u32 = 2;

/// A picture could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// The font.
    #[error(transparent)]
    Font(#[from] font::Unreadable),
    /// A shape.
    #[error("cannot draw a shape: {0}")]
    Shape(String),
    /// The PNG encoder.
    #[error("cannot encode the picture")]
    Encoding(#[from] png::EncodingError),
    /// More pixels than a picture may have.
    #[error("a chart of {0} × {1} units is too large for a picture")]
    TooLarge(f64, f64),
}

/// Largest side of a chart in units; 30 configurations with 20 workloads are about 13,000.
const LARGEST: f64 = 15_000.0;

fn size(scene: &Scene, scale: u32) -> Result<(u32, u32), PictureError> {
    let (w, h) = (scene.width, scene.height);
    if !(w > 0.0 && h > 0.0 && w <= LARGEST && h <= LARGEST) {
        return Err(PictureError::TooLarge(w, h));
    }
    Ok((w.ceil() as u32 * scale, h.ceil() as u32 * scale))
}

/// A scene as the bytes of a PNG file, with `title` in its head.
///
/// # Errors
/// See [`PictureError`].
pub fn png(scene: &Scene, title: &str) -> Result<Vec<u8>, PictureError> {
    font::register()?;
    // Very tall charts are drawn coarser rather than with gigabytes.
    let finer = if scene.height > 4_000.0 { 1 } else { FINER };
    let scale = PIXELS * finer;
    let head = HEAD as u32 * scale;
    let (width, height) = size(scene, scale)?;
    let height = height + head;
    let (r, g, b) = PAPER.light;
    let mut pixels: Vec<u8> = [r, g, b].repeat(width as usize * height as usize);
    {
        let mut paper = BitMapBackend::with_buffer(&mut pixels, (width, height));
        draw(&mut paper, scene, title, (scale, 1.172))?;
        paper.present().map_err(shape_error)?;
    }
    let (width, height) = (width / finer, height / finer);
    let pixels = if finer > 1 {
        averaged(&pixels, width as usize, height as usize)
    } else {
        pixels
    };
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    encoder.write_header()?.write_image_data(&pixels)?;
    Ok(bytes)
}

/// A scene as the text of an SVG file, with `title` in its head and `alt` for those who do not see it.
///
/// # Errors
/// See [`PictureError`].
pub fn svg(scene: &Scene, title: &str, alt: &str) -> Result<String, PictureError> {
    font::register()?;
    // plotters writes whole numbers: tenths of a unit are fine enough.
    const TENTHS: u32 = 10;
    let (width, height) = size(scene, TENTHS)?;
    let height = height + HEAD as u32 * TENTHS;
    let mut text = String::new();
    {
        let mut paper = SVGBackend::with_string(&mut text, (width, height));
        let background = style(Ink::Paper, 1.0, 0);
        paper
            .draw_rect((0, 0), (width as i32, height as i32), &background, true)
            .map_err(shape_error)?;
        draw(&mut paper, scene, title, (TENTHS, 1.24))?;
        paper.present().map_err(shape_error)?;
    }
    let sized = format!("<svg width=\"{width}\" height=\"{height}\"");
    let shown = format!(
        "<svg role=\"img\" width=\"{}\" height=\"{}\"",
        width / TENTHS,
        height / TENTHS
    );
    let text = text.replacen(&sized, &shown, 1);
    let open = text.find(">\n").map_or(0, |at| at + 2);
    let (begin, rest) = text.split_at(open);
    Ok(format!(
        "{begin}<title>{}</title>\n<desc>{}</desc>\n{rest}",
        escape(title),
        escape(alt)
    ))
}

/// Units above the chart for its title.
const HEAD: f64 = 44.0;

fn shape_error<E: std::fmt::Display>(error: E) -> PictureError {
    PictureError::Shape(error.to_string())
}

fn style(ink: Ink, opacity: f64, width: u32) -> ShapeStyle {
    let (r, g, b) = ink.pair().light;
    let color: RGBAColor = RGBColor(r, g, b).mix(opacity);
    ShapeStyle {
        color,
        filled: true,
        stroke_width: width,
    }
}

/// Draws everything; `scale` pixels a unit, and how plotters' size of a font relates to its body.
fn draw<B: DrawingBackend>(
    paper: &mut B,
    scene: &Scene,
    title: &str,
    (scale, body): (u32, f64),
) -> Result<(), PictureError> {
    let scale = f64::from(scale);
    let at = |(x, y): Point| {
        (
            (x * scale).round() as i32,
            ((y + HEAD) * scale).round() as i32,
        )
    };
    let title = Shape::text((4.0, 20.0 - HEAD), title, 18.0, Anchor::Start, Ink::Text).heavy();
    for shape in std::iter::once(&title).chain(scene.shapes()) {
        one(paper, shape, &at, (scale, body))?;
    }
    Ok(())
}

fn one<B: DrawingBackend>(
    paper: &mut B,
    shape: &Shape,
    at: &impl Fn(Point) -> (i32, i32),
    (scale, body): (f64, f64),
) -> Result<(), PictureError> {
    let drawn = match shape {
        Shape::Rect {
            x,
            y,
            w,
            h,
            ink,
            opacity,
            ..
        } => {
            let (from, to) = (at((*x, *y)), at((x + w, y + h)));
            // A rectangle of plotters' includes its last row and column of pixels.
            let to = ((to.0 - 1).max(from.0), (to.1 - 1).max(from.1));
            paper.draw_rect(from, to, &style(*ink, *opacity, 0), true)
        }
        Shape::Path {
            points,
            ink,
            width,
            opacity,
            ..
        } => {
            let width = ((width * scale).round() as u32).max(1);
            let points = points.iter().map(|point| at(*point));
            paper.draw_path(points, &style(*ink, *opacity, width))
        }
        Shape::Dots {
            points,
            radius,
            ink,
            opacity,
            ..
        } => {
            let style = style(*ink, *opacity, 0);
            let radius = ((radius * scale).round() as u32).max(1);
            points
                .iter()
                .try_for_each(|point| paper.draw_circle(at(*point), radius, &style, true))
        }
        Shape::Mark {
            at: place,
            radius,
            form,
            ink,
            ..
        } => {
            let style = style(*ink, 1.0, 0);
            match form_corners(*form, *place, *radius) {
                Some(corners) => paper.fill_polygon(corners.into_iter().map(at), &style),
                None => {
                    let radius = ((radius * scale).round() as u32).max(1);
                    paper.draw_circle(at(*place), radius, &style, true)
                }
            }
        }
        Shape::Text {
            at: place,
            text,
            size,
            anchor,
            ink,
            bold,
            ..
        } => {
            let weight = if *bold {
                FontStyle::Bold
            } else {
                FontStyle::Normal
            };
            let (r, g, b) = ink.pair().light;
            let h = match anchor {
                Anchor::Start => HPos::Left,
                Anchor::Middle => HPos::Center,
                Anchor::End => HPos::Right,
            };
            let color = RGBColor(r, g, b);
            let font = (font::NAME, size * scale * body, weight).into_font();
            let style = TextStyle::from(font)
                .color(&color)
                .pos(Pos::new(h, VPos::Center));
            // plotters centres the box of a line, in which letters stand high.
            let (x, y) = at(*place);
            let lower = if body < 1.2 { 0.13 } else { 0.0 };
            paper.draw_text(text, &style, (x, y + (size * scale * lower).round() as i32))
        }
    };
    drawn.map_err(shape_error)
}

/// Corners of a mark; a disc has none.
pub(super) fn form_corners(form: u8, (x, y): Point, r: f64) -> Option<Vec<Point>> {
    match form {
        1 => Some(vec![
            (x, y - r * 1.3),
            (x + r * 1.3, y),
            (x, y + r * 1.3),
            (x - r * 1.3, y),
        ]),
        2 => Some(vec![
            (x - r, y - r),
            (x + r, y - r),
            (x + r, y + r),
            (x - r, y + r),
        ]),
        3 => Some(vec![
            (x, y - r * 1.2),
            (x + r * 1.2, y + r),
            (x - r * 1.2, y + r),
        ]),
        _ => None,
    }
}

/// Nothing but white paper, which most of a chart is: not worth a mean.
const BLANK: [u8; 96] = [0xff; 96];

/// Each pixel the mean of four.
fn averaged(fine: &[u8], width: usize, height: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(width * height * 3);
    let stride = width * 2 * 3;
    for y in 0..height {
        let upper = &fine[2 * y * stride..][..stride];
        let lower = &fine[(2 * y + 1) * stride..][..stride];
        for (a, b) in upper.chunks(BLANK.len()).zip(lower.chunks(BLANK.len())) {
            if a == BLANK && b == BLANK {
                out.extend_from_slice(&BLANK[..BLANK.len() / 2]);
                continue;
            }
            for (a, b) in a.chunks_exact(6).zip(b.chunks_exact(6)) {
                for channel in 0..3 {
                    let sum = u16::from(a[channel])
                        + u16::from(a[channel + 3])
                        + u16::from(b[channel])
                        + u16::from(b[channel + 3]);
                    out.push(((sum + 2) / 4) as u8);
                }
            }
        }
    }
    out
}
