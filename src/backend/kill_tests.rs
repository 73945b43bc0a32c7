//! kill -9 of the harness at each phase of a trial: nothing is left a second later.
//!
//! ```text
//!   the test          killer: process 1 of its own world          harness, one per kill
//!   ────────          ──────────────────────────────────          ─────────────────────
//!   unshare ────────► starts a harness ─────────────────────────► opens the backend, one trial
//!                     waits ◄──────────────────────────────────── stops at the phase
//!                     SIGKILL ──────────────────────────────────► ✗
//!                     reaps, looks, until all is as before
//! ```
//! Every other kill hits a harness that has been let go a moment before, and so lands somewhere in
//! the phase or behind it. A VMM that is a process of its own is an ordinary one, which nobody can stop
//! at its phases: there the harness is killed as long after `execve` as they begin in a trial.
//! `ISOBENCH_KILLS` says how often each phase is tried; the default is small. `ISOBENCH_KILLS_OF` names
//! the configurations to try, comma separated; the default is all.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use super::jailed::Jailed;
use super::launcher::probe;
use super::microvm::MicroVm;
use super::{Backend, Configuration, MicroVmKind, Unavailable, open};
use crate::measure::clock::Clock;
use crate::trial::pause;
use crate::workload::Workload;

use world::World;

#[allow(dead_code)] // Other tests use the rest.
#[path = "../../tests/stage/world.rs"]
mod world;

/// What a test binary started by a test shall be; its value names configuration and phase.
const INNER: &str = "ISOBENCH_TEST_INNER";
const HARNESS: &str = "backend::kill_tests::inner_harness";
/// What a harness says whose trial had no such phase, at least none of its own.
const MISSED: u8 = 2;
/// The last phase that the harness has before a VMM process.
const BEFORE_VMM: &str = "execve";
/// The VMM is a process of its own.
const JAILED: Configuration = Configuration::MicroVm(MicroVmKind::Jailed);
/// The phase of an instance that idles.
const HELD: &str = "held";
/// What is not gone by then is left behind. How long it took is printed: a second is the aim on a host
/// that has nothing else to do.
const LIMIT: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);

fn inner() -> Option<String> {
    std::env::var(INNER).ok()
}

/// As [`open`]. This test cannot be a VMM process: the command that is built beside it can.
fn opened(configuration: &Configuration) -> Result<Box<dyn Backend>, Unavailable> {
    if *configuration != JAILED {
        return open(configuration);
    }
    let own = std::env::current_exe().unwrap();
    // TARGET/PROFILE/deps/isobench-…
    let built = own.ancestors().nth(2).unwrap().join("isobench");
    let command = std::env::var_os("ISOBENCH_BIN").map_or(built, PathBuf::from);
    let vm = Jailed::with_executable(MicroVm::new()?, &command)?;
    Ok(Box::new(vm.checked()?))
}

/// Not a test of its own: the harness that is killed. "CONFIGURATION PHASE", or the configuration
/// alone to be told its phases.
#[test]
fn inner_harness() {
    let Some(asked) = inner() else { return };
    let Some((configuration, phase)) = asked.split_once(' ') else {
        return;
    };
    let mut backend = opened(&configuration.parse().unwrap()).unwrap();
    // Copies, since the child's standard descriptors are replaced.
    let copy = |fd: std::os::fd::BorrowedFd<'_>| File::from(fd.try_clone_to_owned().unwrap());
    let reached = copy(std::io::stdout().as_fd());
    let mut go = copy(std::io::stdin().as_fd());
    match phase {
        "?" => {
            let clock = Clock::calibrate(Duration::from_millis(20)).unwrap();
            let seen = backend.trial(&probe()).unwrap();
            for phase in seen.phases.iter().chain(&seen.teardown) {
                let begins = clock.between(seen.instants.t0, phase.start).0;
                println!("\nphase {} {begins}", phase.name);
            }
        }
        HELD => {
            let mut launch = probe();
            launch.task.workload = Workload::Idle;
            let _held = backend.hold(&launch).unwrap();
            (&reached).write_all(&[pause::REACHED]).unwrap();
            let _ = go.read(&mut [0]);
        }
        phase => {
            pause::arm(phase, reached.try_clone().unwrap(), go.try_clone().unwrap());
            let _ = backend.trial(&probe());
            (&reached).write_all(&[MISSED]).unwrap();
        }
    }
    // Until killed, or until nobody is there to kill it.
    let _ = go.read_to_end(&mut Vec::new());
}

/// A harness that has reached its phase, and the pipe that holds it there.
struct Harness {
    process: Child,
    go: ChildStdin,
}

impl Harness {
    fn start(configuration: &Configuration, phase: &str) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", HARNESS, "--nocapture"])
            .env(INNER, format!("{configuration} {phase}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// One that has reached this phase; `None` if the phase is not the harness's.
    fn at(configuration: &Configuration, phase: &str) -> Option<Self> {
        let mut process = Self::start(configuration, phase);
        let go = process.stdin.take().unwrap();
        let mut said = process.stdout.take().unwrap();
        let mut byte = [0];
        while ![pause::REACHED, MISSED].contains(&byte[0]) {
            let n = said.read(&mut byte).unwrap();
            assert_eq!(n, 1, "{configuration} ended before {phase}");
        }
        let harness = Self { process, go };
        if byte[0] == MISSED {
            harness.kill();
            return None;
        }
        Some(harness)
    }

    /// Lets it go on for this long.
    fn go_on(&mut self, moment: Duration) {
        self.go.write_all(&[0]).unwrap();
        let moment = Instant::now() + moment;
        while Instant::now() < moment {}
    }

    /// SIGKILL; the instant before it.
    fn kill(mut self) -> Instant {
        let now = Instant::now();
        self.process.kill().unwrap();
        // A child that is held before it has asked to die with its parent goes on now, as it would
        // have without the stop.
        drop(self.go);
        now
    }
}

/// The phases of a trial, and when they begin after t0.
fn phases(configuration: &Configuration) -> Vec<(String, Duration)> {
    let mut process = Harness::start(configuration, "?");
    drop(process.stdin.take());
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let names = lines.map_while(Result::ok);
    let names = names.filter_map(|line| {
        let (name, begins) = line.strip_prefix("phase ")?.split_once(' ')?;
        let begins = Duration::from_nanos(begins.parse().unwrap());
        Some((name.to_owned(), begins))
    });
    let mut names: Vec<_> = names.collect();
    assert!(process.wait().unwrap().success());
    names.push((HELD.to_owned(), Duration::ZERO));
    names
}

/// Waits until the world is as before; how long that took since the kill.
fn until_clean(before: &World, killed: Instant, what: &str) -> Duration {
    loop {
        world::reap();
        let left = World::look().difference(before);
        let passed = killed.elapsed();
        if left.is_empty() {
            return passed;
        }
        assert!(passed < LIMIT, "{what}: left after {passed:?}: {left:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Kills at every phase of these configurations, in this world.
fn kill_everywhere(configurations: &[&str]) {
    let kills = std::env::var("ISOBENCH_KILLS").map_or(2, |text| text.parse().unwrap());
    let only = std::env::var("ISOBENCH_KILLS_OF").ok();
    let wanted = |name: &str| {
        only.as_ref()
            .is_none_or(|only| only.split(',').any(|one| one == name))
    };
    for name in configurations.iter().filter(|name| wanted(name)) {
        let configuration: Configuration = name.parse().unwrap();
        if let Err(why) = opened(&configuration) {
            println!("skipped: kill -9 of {configuration}: {why}");
            continue;
        }
        // By the line above the killer is a harness as well, and has its guardian from now on.
        let before = World::look();
        let phases = phases(&configuration);
        until_clean(&before, Instant::now(), "an ordinary end");
        let mut longest = (Duration::ZERO, String::new());
        let mut late = 0;
        let mut elsewhere = 0;
        let jailed = configuration == JAILED;
        let before_vmm = phases.iter().find(|(name, _)| name == BEFORE_VMM);
        for (phase, begins) in &phases {
            let mut first = Harness::at(&configuration, phase);
            let stops = first.is_some();
            if !stops {
                elsewhere += 1;
                until_clean(&before, Instant::now(), "a look for a phase");
            }
            for round in 0..kills {
                let stop = if stops { phase } else { BEFORE_VMM };
                let harness = first.take();
                let mut harness =
                    harness.unwrap_or_else(|| Harness::at(&configuration, stop).unwrap());
                if !stops {
                    let (_, earlier) = before_vmm.unwrap();
                    harness.go_on(begins.saturating_sub(*earlier));
                }
                if phase == HELD && (name.starts_with("container:with") || jailed) {
                    // What is looked for below can be seen.
                    let there = World::look().difference(&before).join("\n");
                    let mut expected = vec!["process ", "namespace pid:", "namespace net:"];
                    if !jailed {
                        expected.push("group /");
                    }
                    if name.contains("veth") {
                        expected.push("link ib");
                    }
                    if name.contains("rootfs=") {
                        expected.push("folder isobench-");
                    }
                    for what in expected {
                        assert!(there.contains(what), "no {what}: {there}");
                    }
                }
                if round % 2 == 1 {
                    harness.go_on(Duration::from_micros(37 * round % 600));
                }
                let killed = harness.kill();
                let what = format!("{configuration}, {phase}, kill {round}");
                let passed = until_clean(&before, killed, &what);
                late += u32::from(passed > SECOND);
                if passed > longest.0 {
                    longest = (passed, format!("{phase}, kill {round}"));
                }
            }
        }
        assert_eq!(elsewhere > 0, jailed, "{configuration}: {phases:?}");
        println!(
            "kill -9: {configuration}: {} phases ({elsewhere} in another process, by time), {kills} \
             kills each: nothing left, at the latest {} ms after ({}), {late} later than a second",
            phases.len(),
            longest.0.as_millis(),
            longest.1,
        );
    }
}

#[test]
fn a_killed_container_leaves_nothing_at_any_phase() {
    let test = "backend::kill_tests::a_killed_container_leaves_nothing_at_any_phase";
    match inner() {
        None => world::enter(test, (INNER, "killer")),
        Some(_) => kill_everywhere(&[
            "container",
            "container:with=user+time",
            "container:only=cgroup",
            "container:with=cpu+veth:rootfs=overlay",
            "container:with=user+veth:rootfs=bind",
        ]),
    }
}

#[test]
fn a_killed_process_leaves_nothing_at_any_phase() {
    let test = "backend::kill_tests::a_killed_process_leaves_nothing_at_any_phase";
    match inner() {
        None => world::enter(test, (INNER, "killer")),
        Some(_) => kill_everywhere(&["process", "container:none"]),
    }
}

#[test]
fn a_killed_micro_vm_leaves_nothing_at_any_phase() {
    let test = "backend::kill_tests::a_killed_micro_vm_leaves_nothing_at_any_phase";
    match inner() {
        None => world::enter(test, (INNER, "killer")),
        Some(_) => kill_everywhere(&["microvm", "microvm:snapshot", "microvm:pool"]),
    }
}

/// The VMM is then a process, with namespaces of its own.
#[test]
fn a_killed_jailed_micro_vm_leaves_nothing_at_any_phase() {
    let test = "backend::kill_tests::a_killed_jailed_micro_vm_leaves_nothing_at_any_phase";
    match inner() {
        None => world::enter(test, (INNER, "killer")),
        Some(_) => kill_everywhere(&["microvm:jailed"]),
    }
}

/// If the guardian is killed first, groups stay until the next start. Neither touches what is not
/// a dead harness's: groups of a living one, of another pid namespace, of nobody. That a living process
/// has a dead one's id by now is no protection.
#[test]
fn if_the_guardian_dies_too_the_next_start_sweeps() {
    let test = "backend::kill_tests::if_the_guardian_dies_too_the_next_start_sweeps";
    if inner().is_none() {
        return world::enter(test, (INNER, "killer"));
    }
    let configuration: Configuration = "container:only=cgroup".parse().unwrap();
    if let Err(why) = open(&configuration) {
        println!("skipped: {test}: {why}");
        return;
    }
    let before = World::look();
    let harness = Harness::at(&configuration, HELD).unwrap();
    let made = World::look();
    let groups: Vec<_> = made.groups().difference(before.groups()).collect();
    let first = groups.first().unwrap();
    let parent = std::path::Path::new(first).parent().unwrap();
    let mut parts = first.rsplit('-').skip(1);
    let (start, namespace) = (parts.next().unwrap(), parts.next().unwrap());
    // Process 1 is this one: its last 18 bits of field 22 of /proc/PID/stat.
    let stat = std::fs::read_to_string("/proc/1/stat").unwrap();
    let mut fields = stat.rsplit(')').next().unwrap().split_whitespace();
    let own = fields.nth(19).unwrap().parse::<u64>().unwrap() % (1 << 18);
    // Of an earlier process 1.
    let reused = format!("isobench-1-{namespace}-{}-0", own ^ 1);
    std::fs::create_dir(parent.join(&reused)).unwrap();
    let foreign = [
        format!("isobench-1-{namespace}-{own}-0"),
        format!("isobench-{}-1-{start}-0", harness.process.id()),
        format!("isobench-{}", harness.process.id()),
    ];
    for name in &foreign {
        std::fs::create_dir(parent.join(name)).unwrap();
    }
    let pid = made.processes().iter().find(|pid| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let start = format!("isobench-guardian\0{}-", harness.process.id());
        command.starts_with(start.as_bytes())
    });
    let pid = pid.unwrap().parse().unwrap();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    harness.kill();
    let end = Instant::now() + LIMIT;
    while World::look().processes() != before.processes() {
        world::reap();
        assert!(Instant::now() < end, "{:?}", World::look());
    }
    assert!(groups.iter().all(|g| World::look().groups().contains(*g)));

    let mut next = Harness::start(&configuration, "?");
    drop(next.stdin.take());
    let mut said = next.stdout.take().unwrap();
    said.read_to_end(&mut Vec::new()).unwrap();
    assert!(next.wait().unwrap().success());
    let left = World::look();
    assert!(!parent.join(&reused).exists(), "its owner is dead");
    for name in &foreign {
        let path = parent.join(name);
        assert!(path.is_dir(), "{name} is not ours");
        std::fs::remove_dir(path).unwrap();
    }
    assert!(
        !groups.iter().any(|g| left.groups().contains(*g)),
        "{left:?}"
    );
}
