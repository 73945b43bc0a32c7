//! Text and the stored numbers that it renders, side by side.

use std::fmt;

/// A piece of text with the numbers of `run.json` (or `trials.jsonl`) that stand behind it, unrounded,
/// so that every renderer can hand them on and a test can look each of them up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figure {
    /// What is read.
    pub text: String,
    /// What it was made of, the one to sort by first.
    pub values: Vec<f64>,
}

impl Figure {
    /// Text with the numbers behind it.
    #[must_use]
    pub fn new(text: impl Into<String>, values: impl Into<Vec<f64>>) -> Self {
        Self {
            text: text.into(),
            values: values.into(),
        }
    }

    /// Text that renders no number.
    #[must_use]
    pub fn words(text: impl Into<String>) -> Self {
        Self::new(text, Vec::new())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
