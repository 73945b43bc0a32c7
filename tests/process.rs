//! Backend `process`, through the library.

use std::time::Duration;

use isobench::backend::Backend;
use isobench::backend::process::Process;
use isobench::trial::Launch;
use isobench::workload::{Task, Workload};

fn noop() -> Launch {
    Launch {
        task: Task {
            workload: Workload::Noop,
            size: 0,
            reps: 1,
        },
        deadline: Duration::from_secs(5),
    }
}

#[test]
fn instants_are_in_order_and_phases_fill_the_start() {
    let mut process = Process::new().unwrap();
    for _ in 0..20 {
        let seen = process.trial(&noop()).unwrap();
        let i = seen.instants;
        let order = [i.t0, i.t1, i.t2, i.t4, i.t5];
        assert!(order.is_sorted(), "{i:?}");
        assert!(i.t1 <= i.t3 && i.t3 <= i.t4, "{i:?}");
        let names: Vec<_> = seen.phases.iter().map(|p| p.name).collect();
        for wanted in ["pipe", "clone3", "stdio", "execve"] {
            assert!(names.contains(&wanted), "{names:?}");
        }
        let mut edge = i.t0;
        let mut sum = 0;
        for phase in &seen.phases {
            assert!(edge <= phase.start && phase.start <= phase.end, "{seen:?}");
            edge = phase.end;
            sum += phase.end - phase.start;
        }
        assert!(edge <= i.t1 && sum <= i.t1 - i.t0, "{seen:?}");
    }
}
