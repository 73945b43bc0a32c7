//! Runs on disk: one directory a run, `trials.jsonl` appended as trials happen, `run.json` written
//! whole or not at all.

pub mod baseline;
pub mod criterion;
pub mod document;
pub mod folder;
pub mod history;
pub mod read;
pub mod read_error;
pub mod read_trials;
pub mod record;

mod check_run;
mod check_told;
mod check_trial;
