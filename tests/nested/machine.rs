//! A machine as a child that does not outlive this test, whatever ends it.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use crate::kit::Kit;
use crate::report::tail;
use crate::steps::{self, Bed};

/// What the kernel is told: its log, without a line for each call that is refused, goes to the first
/// serial port, a panic ends the machine, and `/init` is this test binary with the arguments behind `--`.
fn command_line(bed: &Bed) -> String {
    let choice = env::var(steps::CHOICE).unwrap_or_default();
    let full = if steps::full() { "1" } else { "" };
    let of = env::var(steps::KILLS_OF)
        .map_or_else(|_| String::new(), |of| format!("{}={of} ", steps::KILLS_OF));
    format!(
        "console=ttyS0 panic=-1 mitigations=off audit=0 ISOBENCH_TEST_INNER=init {}={} {}={choice} {}={full} \
         {of}-- --exact inner_is_process_1 --nocapture",
        steps::BED,
        bed.name,
        steps::CHOICE,
        steps::FULL
    )
}

/// A running machine. Dropping it kills it.
pub struct Machine {
    process: Child,
    lines: Receiver<String>,
    console: PathBuf,
}

impl Machine {
    pub fn start(kit: &Kit, bed: &Bed, image: &Path, folder: &Path) -> Self {
        let console = folder.join("console");
        // The host's kernel ends it with this thread, even if that is killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        let told = command_line(bed);
        kit.kernel.add_to(&mut command, image, &console, &told);
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("setpriv, of util-linux, starts it");
        let output = BufReader::new(process.stdout.take().unwrap());
        let (send, lines) = channel();
        thread::spawn(move || {
            for line in output.split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line)
                    .trim_end_matches('\r')
                    .to_owned();
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            process,
            lines,
            console,
        }
    }

    /// The next line from the second serial port; `None` when it has ended or nothing comes in
    /// this time.
    pub fn line(&self, within: Duration) -> Option<String> {
        self.lines.recv_timeout(within).ok()
    }

    /// The last lines of the kernel's log.
    pub fn console_tail(&self) -> String {
        let bytes = fs::read(&self.console).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        tail(&text, 40)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
