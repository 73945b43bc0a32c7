//! The one font of all pictures, embedded: no picture depends on what fonts a host has.

use plotters::style::{FontStyle, register_font};

/// Roboto Regular (see README.md beside it).
pub const REGULAR: &[u8] = include_bytes!("Roboto-Regular.ttf");
/// Roboto Bold.
pub const BOLD: &[u8] = include_bytes!("Roboto-Bold.ttf");
/// The name by which our pictures ask for it.
pub const NAME: &str = "Roboto, sans-serif";
/// The name by which criterion's ask for one.
const CRITERION: &str = "sans-serif";

/// The embedded font cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the embedded font cannot be read")]
pub struct Unreadable;

/// Makes the font known to plotters. Without it every picture is an error: with plotters' feature
/// `ab_glyph` no font of the host is looked for. (Whoever draws with plotters in the same build has to call
/// this first; the benches do, for criterion's plots.)
///
/// # Errors
/// [`Unreadable`].
pub fn register() -> Result<(), Unreadable> {
    for name in [NAME, CRITERION] {
        register_font(name, FontStyle::Normal, REGULAR).map_err(|_| Unreadable)?;
        register_font(name, FontStyle::Bold, BOLD).map_err(|_| Unreadable)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ab_glyph::{Font, FontRef};

    use super::*;

    #[test]
    fn the_font_has_every_sign_that_reports_use() {
        register().unwrap();
        for bytes in [REGULAR, BOLD] {
            let font = FontRef::try_from_slice(bytes).unwrap();
            for sign in "aZ09 µ×±–·†≠‹›≤…%/[]()−".chars() {
                assert_ne!(font.glyph_id(sign).0, 0, "{sign:?}");
            }
        }
    }
}
