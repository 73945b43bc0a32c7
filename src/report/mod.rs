//! Reports: one view model, several renderers that do no arithmetic.

pub mod balance;
pub mod boundary;
pub mod chart;
pub mod compare;
pub mod csv;
pub mod draw;
pub mod explain;
pub mod export;
mod facts;
pub mod figure;
pub mod files;
pub mod findings;
pub mod format;
pub mod glance;
pub mod history;
pub mod html;
pub mod isolation;
pub mod ladder;
pub mod markdown;
pub mod model;
pub mod noise;
pub mod pictures;
pub mod selftest;
pub mod stack;
pub mod terminal;
pub mod together;
