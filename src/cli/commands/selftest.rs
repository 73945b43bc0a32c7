//! `isobench selftest`: is the ruler straight on this host, today?

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::run::{WATCH, random_seed};
use crate::backend::{self, Configuration};
use crate::cli::args::{ListFormat, SelftestArgs};
use crate::cli::error::CliError;
use crate::cli::output::print;
use crate::cli::plan;
use crate::measure::clock::Clock;
use crate::measure::selftest;
use crate::report::selftest::render;
use crate::store::folder::to_pretty_json;
use crate::sys::interrupt;

/// Runs every check and prints what was found.
pub fn selftest(args: &SelftestArgs) -> Result<u8, CliError> {
    let profile = plan::profile(&args.profile)?;
    let seed = plan::seed(args.seed.as_deref(), random_seed())?;
    interrupt::install().map_err(|e| CliError::System(WATCH, e))?;
    let clock = Clock::calibrate(Duration::from_millis(100))?;
    // Every check but the first needs the reference.
    if let Err(why) = backend::open(&Configuration::Process) {
        let reason = format!("process: {} (to fix it: {})", why.reason, why.remedy);
        return Err(CliError::NothingRuns(vec![reason]));
    }
    let bar = progress();
    let mut watch = |next: &str| {
        bar.set_message(next.to_owned());
        bar.tick();
    };
    let report = if args.gate {
        selftest::gate_test::run(profile, seed, &clock, &mut watch)
    } else {
        selftest::run(profile, seed, &clock, &mut watch)
    };
    bar.finish_and_clear();
    let text = match args.format {
        ListFormat::Human => render(&report),
        ListFormat::Json => to_pretty_json(&report),
    };
    print(text)?;
    Ok(report.status())
}

/// Says on a terminal which check runs; drawn between checks only, so that it disturbs none.
pub(super) fn progress() -> ProgressBar {
    let target = if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(None, target);
    if let Ok(style) = ProgressStyle::with_template("{elapsed} {msg} …") {
        bar.set_style(style);
    }
    bar
}
