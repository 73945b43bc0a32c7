//! A container made, broken and limited, seen from inside the launcher.

use super::*;
use crate::sys::program::{Op, Program};

/// Tests that count what is left must not run beside others that make groups.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// Every step of the set-up is made to fail once: the failure names its phase and errno, and
/// neither the child nor its group stays.
#[test]
fn a_failure_at_any_step_is_rolled_back() {
    let _alone = ALONE.lock();
    let mut container = match Container::new(Options::default()) {
        Ok(container) => container,
        Err(why) => {
            println!("skipped: a_failure_at_any_step_is_rolled_back: {why}");
            return;
        }
    };
    let whole = setup::compose(&container.parts.setup).unwrap();
    let before = leaves(&container);
    for fails in 0..whole.steps().len() {
        let mut program = Program::new();
        for (at, step) in whole.steps().iter().enumerate() {
            if at == fails {
                program.push("injected", Op::Chdir(c"/nowhere".into()));
            }
            program.push(step.phase, step.op.clone());
        }
        container.launcher = Launcher::new(program, None).unwrap();
        let failure = container.trial(&probe()).unwrap_err();
        let Failure::Setup { phase, cause } = failure else {
            panic!("{failure}");
        };
        assert_eq!(phase, "injected");
        // Behind the seccomp filter the call is not refused but ends the child.
        let last = fails + 1 == whole.steps().len();
        let errno = (!last).then_some(libc::ENOENT);
        assert_eq!(cause.raw_os_error(), errno, "{cause}");
    }
    assert_eq!(leaves(&container), before);
}

/// On version 2 the child is born into its group, and is the only one there.
#[test]
fn a_v2_group_is_entered_by_birth() {
    let _alone = ALONE.lock();
    let (Ok(mut container), Some(groups)) = (
        Container::new(Options::default()),
        Groups::v2_without_limits(),
    ) else {
        println!("skipped: a_v2_group_is_entered_by_birth: no container or no v2 group here");
        return;
    };
    container.groups = Some(groups);
    container.parts.setup.mechanisms = Mechanisms::DEFAULT;
    container.launcher = launcher(&container.parts.setup).unwrap();
    let mut launch = probe();
    launch.task.workload = Workload::Idle;
    let arguments = Arguments::new(&launch.task.argv());
    let (mut belongings, mut child) = container
        .start(&launch, &arguments, true, &mut PhaseLog::new())
        .unwrap();
    child
        .until_waiting(Deadline::after(launch.deadline), 0)
        .unwrap();
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", child.pid())).unwrap();
    let v2 = groups.lines().find(|line| line.starts_with("0::")).unwrap();
    let own = format!("isobench-{}-", std::process::id());
    assert!(v2.contains(&own), "{groups}");
    child.finish_held(launch.deadline).unwrap();
    belongings.remove().unwrap();
    assert_eq!(leaves(&container), 0);
}

/// A group with less time than its payload wants says so; the default has more than one can use.
#[test]
fn a_limit_on_processor_time_bites_and_is_told() {
    let _alone = ALONE.lock();
    let options = Options::parse("with=cpu").unwrap();
    let mut container = match Container::new(options) {
        Ok(container) => container,
        Err(why) => {
            println!("skipped: a_limit_on_processor_time_bites_and_is_told: {why}");
            return;
        }
    };
    let mut launch = probe();
    launch.task.workload = Workload::Sha256;
    launch.task.size = 1 << 20;
    launch.task.reps = 50;
    // A tenth of an emulated processor is very little.
    launch.deadline = std::time::Duration::from_secs(120);
    let mut throttled = || {
        let seen = container.trial(&launch).unwrap();
        assert!(seen.teardown.iter().any(|p| p.name == "cgroup_read"));
        seen.throttled.unwrap()
    };
    assert_eq!(throttled(), crate::metric::Nanos(0));
    // A tenth of one processor.
    container.groups.as_mut().unwrap().throttle(10_000);
    let mut throttled = || container.trial(&launch).unwrap().throttled.unwrap();
    assert!(throttled() > crate::metric::Nanos(0));
    assert_eq!(leaves(&container), 0);
}

/// A working directory left on the host's root, which nothing can reach any more, ends the
/// launch (CVE-2024-21626). Without the check nobody would notice.
#[test]
fn a_working_directory_outside_the_root_is_refused() {
    let _alone = ALONE.lock();
    let mut container = match Container::new(Options::default()) {
        Ok(container) => container,
        Err(why) => {
            println!("skipped: a_working_directory_outside_the_root_is_refused: {why}");
            return;
        }
    };
    let whole = setup::compose(&container.parts.setup).unwrap();
    let is_return = |op: &Op| matches!(op, Op::Chdir(path) if **path == *c"/");
    let mut astray = |checked: bool| {
        let mut program = Program::new();
        for step in whole.steps() {
            match &step.op {
                // After pivot_root the old root lies above the new one.
                Op::UnmountOldRoot => {
                    program.push("astray", Op::Chdir(c"..".into()));
                    program.push(step.phase, step.op.clone());
                }
                op if is_return(op) => {}
                Op::AtRoot if !checked => {}
                op => program.push(step.phase, op.clone()),
            }
        }
        container.launcher = Launcher::new(program, None).unwrap();
        container.trial(&probe())
    };
    let failure = astray(true).unwrap_err();
    assert_eq!(failure.errno(), Some(libc::ENOTDIR), "{failure}");
    assert!(failure.to_string().starts_with("working_directory: "));
    let unchecked = astray(false);
    unchecked.unwrap();
}

fn leaves(container: &Container) -> usize {
    let own = format!("isobench-{}-", std::process::id());
    let names = container.groups.iter().flat_map(Groups::entries);
    names.filter(|name| name.starts_with(&own)).count()
}
