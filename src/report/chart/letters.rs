//! How wide text is, by the font that pictures are drawn with.

use ab_glyph::{Font, FontRef};

use crate::report::draw::font::{BOLD, REGULAR};

/// How much wider than that the font of a reader's browser may be, where a page's charts use it.
pub const WIDER: f64 = 1.14;

/// Width in units of a line of text whose body is `size` units high. Where the font cannot be read,
/// which its test rules out, a typical width.
#[must_use]
pub fn width(text: &str, size: f64, bold: bool) -> f64 {
    let bytes = if bold { BOLD } else { REGULAR };
    let Ok(font) = FontRef::try_from_slice(bytes) else {
        return text.chars().count() as f64 * size * 0.56;
    };
    let em = font.units_per_em().unwrap_or(2048.0);
    let advance: f32 = text
        .chars()
        .map(|c| font.h_advance_unscaled(font.glyph_id(c)))
        .sum();
    f64::from(advance / em) * size
}

/// Text that fits `room` units, its end cut and marked where it does not.
#[must_use]
pub fn fitted(text: &str, size: f64, room: f64) -> String {
    let room = room / WIDER;
    if width(text, size, false) <= room {
        return text.to_owned();
    }
    let mut kept = text.to_owned();
    while kept.pop().is_some() {
        let cut = format!("{kept}…");
        if width(&cut, size, false) <= room {
            return cut;
        }
    }
    String::new()
}
