//! Runs on disk: one directory a run, `trials.jsonl` appended as trials happen, `run.json` written
//! whole or not at all.

pub mod document;
pub mod folder;
pub mod record;
