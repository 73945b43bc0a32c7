//! The guardian: one small process beside this harness that removes what the harness leaves if it is
//! killed (the program and what it does: `guardian/`).
//!
//! A program of its own, started once before the first trial, and not a fork of the harness: it has
//! no memory, descriptor, session or working directory in common with it, so that neither what the
//! harness measures nor whatever kills the harness (the out-of-memory killer ends all who share
//! memory) reaches it. It waits for the end of a pipe and costs a trial nothing.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use isobench_guardian::{Harness, Owner, Place};

use crate::backend::Limitation;
use crate::sys::pidfd::Exit;
use crate::sys::program::{Arguments, Descriptors, Grants, Op, Program};
use crate::sys::spawn::{Stack, ignored_signals, spawn};
use crate::sys::{fd, pidfd, spawn};
use crate::trial::{Failure, PhaseLog};

/// The program, built by build.rs.
const IMAGE: &[u8] = include_bytes!(env!("ISOBENCH_GUARDIAN"));

/// A running guardian.
struct Guardian {
    harness: Harness,
    /// Its end is the message that the harness is dead.
    pipe: File,
    places: Vec<Place>,
}

/// The guardian of this process, once one is needed.
static GUARDIAN: Mutex<Option<Guardian>> = Mutex::new(None);

/// To be called before anything is made at this place that outlives a process: removes what dead
/// harnesses left there, and sees to it that this one leaves nothing even if it is killed.
///
/// # Errors
/// No guardian can be had: what this harness leaves if it is killed stays until the next one starts.
/// Dead harnesses' leftovers have been removed all the same.
pub(crate) fn watch(place: &Place) -> Result<(), Limitation> {
    let mut guardian = GUARDIAN.lock().unwrap_or_else(PoisonError::into_inner);
    let harness = match Harness::current() {
        Ok(harness) => harness,
        Err(cause) => {
            if let Ok(observer) = Owner::current() {
                sweep(place, observer);
            }
            return Err(limitation(&cause));
        }
    };
    // A fork of a harness is another harness; the pipe tells its guardian nothing.
    if guardian.as_ref().is_some_and(|g| !g.harness.is_current()) {
        *guardian = None;
    }
    let known = guardian.as_ref().map_or(&[][..], |g| &g.places);
    if known.contains(place) {
        return Ok(());
    }
    sweep(place, harness.owner);
    let mut places = known.to_vec();
    places.push(place.clone());
    // One that somebody has killed is replaced, and told all places.
    if let Some(running) = guardian.as_mut()
        && tell(&mut running.pipe, place).is_ok()
    {
        running.places = places;
        return Ok(());
    }
    *guardian = None;
    let mut pipe = start(harness).map_err(|cause| limitation(&cause))?;
    for place in &places {
        tell(&mut pipe, place).map_err(|cause| limitation(&cause))?;
    }
    *guardian = Some(Guardian {
        harness,
        pipe,
        places,
    });
    Ok(())
}

/// Removes what harnesses left there that are no more.
fn sweep(place: &Place, observer: Owner) {
    /// How long the kernel may call a group busy, or show a process, after that was killed.
    const BUSY: Duration = Duration::from_secs(2);
    let end = Instant::now() + BUSY;
    let swept = loop {
        let swept = place.sweep(|owner| owner.is_gone(observer));
        for what in &swept.removed {
            tracing::info!(%what, "left by a dead harness, removed");
        }
        let stays = |(_, error): &(String, io::Error)| error.kind() != io::ErrorKind::ResourceBusy;
        // What is ended last may have made something anew: until nothing is found that will go.
        if swept.removed.is_empty() && swept.left.iter().all(stays) || Instant::now() > end {
            break swept;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    for (what, error) in swept.left {
        tracing::warn!(%what, %error, "left by a dead harness, stays");
    }
}

fn tell(pipe: &mut File, place: &Place) -> io::Result<()> {
    let mut record = place.to_record();
    record.push(0);
    pipe.write_all(&record)
}

/// Starts the program, and returns the pipe when it has become nobody's child.
fn start(harness: Harness) -> io::Result<File> {
    let image = fd::sealed_memory(c"guardian", IMAGE)?;
    let (stdin, pipe) = fd::pipe()?;
    let null = fd::null()?;
    let own = pidfd::own()?;
    let mut program = Program::new();
    program.push("signals", Op::Signals(ignored_signals()));
    // Not in the way of Ctrl-C, and of no terminal.
    program.push("setsid", Op::NewSession);
    program.push("chdir", Op::Chdir(c"/".into()));
    program.push("stdio", Op::Stdio);
    program.push("close_range", Op::CloseOnExec);
    program.push("execve", Op::ExecImage);
    let descriptors = Descriptors {
        stdin: stdin.as_fd(),
        stdout: null.as_fd(),
        stderr: null.as_fd(),
        harness: own.as_fd(),
        image: Some(image.as_fd()),
        grants: Grants::default(),
    };
    let parent = spawn(
        &mut Stack::new()?,
        spawn::Place::default(),
        &program,
        descriptors,
        &Arguments::new(&["isobench-guardian", &harness.to_argument()]),
        &mut PhaseLog::new(),
    )
    .map_err(|failure| match failure {
        Failure::Setup { cause, .. } => cause,
        other => io::Error::other(other),
    })?;
    match pidfd::reap(parent.pidfd.as_fd())? {
        Exit::Status(0) => Ok(File::from(pipe)),
        other => Err(io::Error::other(format!("the guardian ended: {other:?}"))),
    }
}

fn limitation(cause: &io::Error) -> Limitation {
    let why = crate::backend::launcher::refusal("no guardian can be started", cause);
    Limitation {
        mechanism: "guardian",
        reason: format!(
            "{}; what a killed isobench leaves stays until the next one starts",
            why.reason
        ),
        remedy: why.remedy,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Process ids of guardians of this process.
    fn guardians() -> Vec<i32> {
        let start = format!("isobench-guardian\0{}-", std::process::id());
        let pids = fs::read_dir("/proc").unwrap().flatten();
        pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| {
                let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                command.starts_with(start.as_bytes())
            })
            .collect()
    }

    fn status(pid: i32, field: &str) -> String {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix(field));
        line.unwrap_or_default()
            .trim_start_matches(':')
            .trim()
            .to_owned()
    }

    fn eventually(what: &str, condition: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(10);
        while !condition() {
            assert!(Instant::now() < end, "{what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// One for all places, and it has nothing of its harness: no descriptor but the pipe, another
    /// session and parent, no working directory of its own, deaf to what ends the harness politely.
    #[test]
    fn a_guardian_stands_apart_and_is_replaced_when_killed() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [first, second] = folders.each_ref().map(|f| Place::Folders(f.path().into()));
        watch(&first).unwrap();
        watch(&first).unwrap();
        let [guardian] = guardians()[..] else {
            panic!("{:?}", guardians());
        };
        let folder = format!("/proc/{guardian}");
        // HUP, INT, QUIT and TERM.
        let polite = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14;
        eventually("deaf", || {
            let ignored = u64::from_str_radix(&status(guardian, "SigIgn"), 16);
            ignored.is_ok_and(|set| set & polite == polite)
        });
        let mut descriptors: Vec<_> = fs::read_dir(format!("{folder}/fd"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        descriptors.sort();
        assert_eq!(descriptors, ["0", "1", "2"]);
        assert_eq!(
            fs::read_link(format!("{folder}/cwd")).unwrap().to_str(),
            Some("/")
        );
        assert_ne!(status(guardian, "PPid"), std::process::id().to_string());
        assert_ne!(
            nix::unistd::getsid(Some(nix::unistd::Pid::from_raw(guardian))),
            nix::unistd::getsid(None)
        );

        let kill = nix::sys::signal::Signal::SIGKILL;
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(guardian), kill).unwrap();
        // A zombie's pipe is closed; a moment before it still takes what it is told.
        eventually("dead", || {
            let state = status(guardian, "State");
            state.is_empty() || state.starts_with('Z')
        });
        watch(&second).unwrap();
        assert_eq!(guardians().len(), 1);
        let known = GUARDIAN.lock().unwrap().as_ref().unwrap().places.clone();
        assert!(known.contains(&first) && known.contains(&second));
    }
}
