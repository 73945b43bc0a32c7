//! How wide text is, by the font that pictures are drawn with.

use std::sync::OnceLock;

use ab_glyph::{Font, FontRef};

use crate::report::draw::font::{BOLD, REGULAR};

/// How much wider than that the font of a reader's browser may be, where a page's charts use it.
pub const WIDER: f64 = 1.14;

/// Width of a letter as a share of the body's height. Where the font cannot be read, which its test
/// rules out, a typical one.
fn advance(letter: char, bold: bool) -> f64 {
    static FONTS: OnceLock<[Option<FontRef<'static>>; 2]> = OnceLock::new();
    let fonts = FONTS.get_or_init(|| [REGULAR, BOLD].map(|b| FontRef::try_from_slice(b).ok()));
    fonts[usize::from(bold)].as_ref().map_or(0.56, |font| {
        let em = font.units_per_em().unwrap_or(2048.0);
        f64::from(font.h_advance_unscaled(font.glyph_id(letter)) / em)
    })
}

/// Width in units of a line of text whose body is `size` units high.
#[must_use]
pub fn width(text: &str, size: f64, bold: bool) -> f64 {
    text.chars()
        .map(|letter| advance(letter, bold))
        .sum::<f64>()
        * size
}

/// Text that fits `room` units also in a wider font, its end cut and marked where it does not. A number whose
/// digits or unit would be cut off is left out.
#[must_use]
pub fn fitted(text: &str, size: f64, room: f64) -> String {
    let room = room / WIDER;
    if width(text, size, false) <= room {
        return text.to_owned();
    }
    let mut left = room - advance('…', false) * size;
    let mut kept = String::new();
    for letter in text.chars() {
        left -= advance(letter, false) * size;
        if left < 0.0 {
            break;
        }
        kept.push(letter);
    }
    let number = |letter: char| letter.is_ascii_digit() || letter == '.';
    let whole = kept.trim_end().trim_end_matches(number).trim_end();
    kept.truncate(whole.len());
    if kept.is_empty() {
        return kept;
    }
    kept.push('…');
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_fits_and_says_so() {
        let text = "a name that is far too long for its column";
        let cut = fitted(text, 13.0, 120.0);
        assert!(cut.ends_with('…') && width(&cut, 13.0, false) <= 120.0);
        assert!(text.starts_with(cut.trim_end_matches('…')));
        let times = "clone3 640 µs · loopback 72.6 µs";
        for room in 1..=200 {
            let cut = fitted(times, 13.0, f64::from(room));
            let number = |letter: char| letter.is_ascii_digit() || letter == '.';
            let last = cut
                .strip_suffix('…')
                .and_then(|kept| kept.split(' ').next_back());
            assert!(!last.is_some_and(|last| last.chars().all(number)), "{cut}");
        }
        assert_eq!(fitted("short", 13.0, 120.0), "short");
        assert_eq!(fitted("short", 13.0, 1.0), "");
    }
}
