//! The payload's SSE2 matrix product on a CPU that would choose AVX2: the payload's own source,
//! compiled into this test beside a feature check that says no.
#![allow(
    unsafe_code,
    reason = "the payload's source brings its own, each block justified"
)]

use isobench::workload::{Task, Workload, known_answer};

#[path = "../guests/payload/src/work"]
mod work {
    use isobench_abi::Fold64;

    pub struct Done {
        pub start: u64,
        pub end: u64,
        pub digest: Fold64,
        pub isa: u64,
    }

    mod isa {
        pub fn avx2_fma() -> bool {
            false
        }
    }

    fn timed<I, T>(input: I, work: impl FnOnce(I) -> T) -> (u64, T, u64) {
        (1, work(input), 2)
    }

    pub mod matmul;
}

#[test]
fn the_baseline_tile_computes_the_known_answer() {
    for size in [1, 4, 8, 9, 130, 257] {
        let task = Task {
            workload: Workload::Matmul,
            size,
            reps: 2,
        };
        // The payload's heap is page-aligned.
        let mut memory = vec![0u64; task.heap_bytes() as usize / 8 + 512];
        let start = memory.as_ptr().align_offset(4096);
        let done = work::matmul::run(&mut memory[start..], size, task.reps);
        assert_eq!((done.isa, done.start, done.end), (0, 1, 2));
        let answer = known_answer(&task).unwrap();
        assert_eq!(done.digest.finish(), answer.digest, "{size}");
    }
}
