//! QEMU as a child that does not outlive this test, whatever ends it.

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
/// serial port, a panic ends QEMU, and `/init` is
/// this test binary with the arguments behind `--`.
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

/// SVM; and the promise of an invariant counter, which TCG does not make by itself
/// (`TCG_APM_FEATURES` in QEMU's `target/i386/cpu.c` is 0), hence the force. It is true: RDTSC is served
/// from the host's counter (`cpu_get_ticks`), and where that is not invariant nothing runs on the host
/// either.
///
/// One of them: with two (a thread each), the kernel inside locked up in three of a dozen runs on
/// QEMU 7.2, once while it booted.
const CPU: &str = "max,+svm,+invtsc,x-force-features=on";

/// A running machine. Dropping it kills it.
pub struct Machine {
    qemu: Child,
    lines: Receiver<String>,
    console: PathBuf,
}

impl Machine {
    pub fn start(kit: &Kit, bed: &Bed, image: &Path, folder: &Path) -> Self {
        let console = folder.join("console");
        // The kernel ends QEMU with this thread, even if that is killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(&kit.qemu);
        command.args(["-accel", "tcg", "-cpu", CPU, "-smp", "1", "-m", "1G"]);
        command.args(["-nodefaults", "-no-reboot", "-display", "none"]);
        command.arg("-kernel").arg(&kit.kernel);
        command.arg("-initrd").arg(image);
        command.arg("-append").arg(command_line(bed));
        command
            .arg("-serial")
            .arg(format!("file:{}", console.display()));
        command.args(["-serial", "stdio"]);
        let mut qemu = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("setpriv, of util-linux, starts QEMU");
        let output = BufReader::new(qemu.stdout.take().unwrap());
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
            qemu,
            lines,
            console,
        }
    }

    /// The next line from the second serial port; `None` when QEMU has ended or nothing comes in
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
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}
