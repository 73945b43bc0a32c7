//! Scenes as SVG inside an HTML page: colours by class, so that light, dark and print have their own;
//! every shape that says something has it as a title.

use std::fmt::Write;

use super::picture::form_corners;
use crate::report::chart::scene::{Anchor, Band, Ink, Scene, Shape, Tip};

/// Text in which nothing acts as markup, in elements or attributes.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// Draws a scene; `class` says when it is shown, `with_values` whether each dot's stored value goes with it.
#[must_use]
pub fn svg(scene: &Scene, class: &str, alt: &str, with_values: bool) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_svg(&mut out, scene, (class, alt), with_values);
    out
}

fn write_svg(
    out: &mut String,
    scene: &Scene,
    (class, alt): (&str, &str),
    with_values: bool,
) -> std::fmt::Result {
    write!(
        out,
        "<svg class=\"{class}\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">",
        n(scene.width),
        n(scene.height),
        escape(alt)
    )?;
    out.push_str("<g class=\"ground\">");
    for shape in &scene.ground {
        write_shape(out, shape, with_values)?;
    }
    out.push_str("</g>");
    for band in &scene.bands {
        write_band(out, band, with_values)?;
    }
    out.push_str("<g class=\"foot\">");
    for shape in &scene.foot {
        write_shape(out, shape, with_values)?;
    }
    out.push_str("</g></svg>");
    Ok(())
}

fn write_band(out: &mut String, band: &Band, with_values: bool) -> std::fmt::Result {
    out.push_str("<g class=\"band\"");
    if !band.backend.is_empty() {
        write!(out, " data-b=\"{}\"", escape(&band.backend))?;
    }
    if !band.workload.is_empty() {
        write!(out, " data-w=\"{}\"", escape(&band.workload))?;
    }
    write!(out, " data-h=\"{}\">", n(band.height))?;
    for shape in &band.shapes {
        write_shape(out, shape, with_values)?;
    }
    out.push_str("</g>");
    Ok(())
}

/// A coordinate, to a tenth of a unit.
fn n(value: f64) -> String {
    let text = format!("{value:.1}");
    let text = text.strip_suffix(".0").unwrap_or(&text);
    if text == "-0" {
        "0".to_owned()
    } else {
        text.to_owned()
    }
}

/// Stored numbers as an attribute.
#[must_use]
pub fn stored(values: &[f64]) -> String {
    if values.is_empty() {
        return String::new();
    }
    let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
    format!(" data-v=\"{}\"", texts.join(" "))
}

fn class(ink: Ink) -> String {
    match ink {
        Ink::Text => "t".to_owned(),
        Ink::Muted => "m".to_owned(),
        Ink::Grid => "g".to_owned(),
        Ink::Paper => "p".to_owned(),
        Ink::Series(place) => format!("s{place}"),
        Ink::Kind(place) => format!("k{place}"),
    }
}

/// Ends an element, with its title if it has one.
fn close(out: &mut String, name: &str, tip: Option<&Tip>) -> std::fmt::Result {
    match tip {
        Some(tip) => write!(
            out,
            "{}><title>{}</title></{name}>",
            stored(&tip.values),
            escape(&tip.text)
        ),
        None => write!(out, "/>"),
    }
}

fn write_shape(out: &mut String, shape: &Shape, with_values: bool) -> std::fmt::Result {
    match shape {
        Shape::Rect {
            x,
            y,
            w,
            h,
            ink,
            opacity,
            tip,
        } => {
            write!(
                out,
                "<rect class=\"f {}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"",
                class(*ink),
                n(*x),
                n(*y),
                n(*w),
                n(*h)
            )?;
            faint(out, *opacity)?;
            close(out, "rect", tip.as_ref())
        }
        Shape::Path {
            points,
            ink,
            width,
            opacity,
            tip,
        } => {
            write!(out, "<path class=\"l {}\" d=\"", class(*ink))?;
            for (index, (x, y)) in points.iter().enumerate() {
                let step = if index == 0 { 'M' } else { 'L' };
                write!(out, "{step}{} {}", n(*x), n(*y))?;
            }
            write!(out, "\" stroke-width=\"{}\"", n(*width))?;
            faint(out, *opacity)?;
            close(out, "path", tip.as_ref())
        }
        Shape::Dots {
            points,
            radius,
            ink,
            opacity,
            values,
        } => {
            // Lines of no length with round ends: a disc takes a dozen bytes.
            write!(out, "<path class=\"l d {}\" d=\"", class(*ink))?;
            for (x, y) in points {
                write!(out, "M{} {}h0", n(*x), n(*y))?;
            }
            write!(out, "\" stroke-width=\"{}\"", n(radius * 2.0))?;
            faint(out, *opacity)?;
            let values = if with_values { &values[..] } else { &[] };
            write!(out, "{}/>", stored(values))
        }
        Shape::Mark {
            at: (x, y),
            radius,
            form,
            ink,
            tip,
        } => {
            let class = class(*ink);
            if let Some(corners) = form_corners(*form, (*x, *y), *radius) {
                let corners: Vec<String> = corners
                    .into_iter()
                    .map(|(x, y)| format!("{},{}", n(x), n(y)))
                    .collect();
                write!(
                    out,
                    "<polygon class=\"f {class}\" points=\"{}\"",
                    corners.join(" ")
                )?;
                close(out, "polygon", tip.as_ref())
            } else {
                write!(
                    out,
                    "<circle class=\"f {class}\" cx=\"{}\" cy=\"{}\" r=\"{}\"",
                    n(*x),
                    n(*y),
                    n(*radius)
                )?;
                close(out, "circle", tip.as_ref())
            }
        }
        Shape::Text {
            at: (x, y),
            text,
            size,
            anchor,
            ink,
            bold,
            values,
        } => {
            let anchor = match anchor {
                Anchor::Start => "",
                Anchor::Middle => " text-anchor=\"middle\"",
                Anchor::End => " text-anchor=\"end\"",
            };
            let bold = if *bold { " b" } else { "" };
            write!(
                out,
                "<text class=\"f {}{bold}\" x=\"{}\" y=\"{}\" font-size=\"{}\"{anchor}{}>{}</text>",
                class(*ink),
                n(*x),
                // The middle of the letters, which stand on the line.
                n(y + size * 0.35),
                n(*size),
                stored(values),
                escape(text)
            )
        }
    }
}

fn faint(out: &mut String, opacity: f64) -> std::fmt::Result {
    if opacity < 1.0 {
        write!(out, " opacity=\"{opacity}\"")?;
    }
    Ok(())
}
