//! Drawers: scenes on paper. They place shapes and compute nothing about runs.

pub mod font;
pub mod inline;
pub mod picture;
