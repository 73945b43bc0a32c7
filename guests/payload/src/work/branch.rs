//! An interpreter loop: branches that depend on data.

use isobench_abi::{
    Fold64,
    workload::{BRANCH_REGISTERS, BRANCH_STEP, PROGRAM, instruction},
};

use super::{Done, timed};

#[derive(Clone, Copy)]
struct Instruction {
    opcode: u8,
    register: u8,
    immediate: u32,
}

static CODE: [Instruction; PROGRAM] = {
    let mut code = [Instruction {
        opcode: 0,
        register: 0,
        immediate: 0,
    }; PROGRAM];
    let mut at = 0;
    while at < PROGRAM {
        let (opcode, register, immediate) = instruction(at);
        code[at] = Instruction {
            opcode,
            register,
            immediate,
        };
        at += 1;
    }
    code
};

/// Interprets `size` instructions, `reps` times.
pub fn run(size: u64, reps: u64) -> Done {
    let (start, registers, end) = timed(
        (&CODE, BRANCH_REGISTERS, size, reps),
        |(code, mut registers, size, reps)| {
            for _ in 0..reps {
                interpret(code, &mut registers, size);
            }
            registers
        },
    );
    Done {
        start,
        end,
        digest: registers.into_iter().fold(Fold64::EMPTY, Fold64::word),
        isa: 0,
    }
}

fn interpret(code: &[Instruction; PROGRAM], registers: &mut [u64; 4], count: u64) {
    let mut at = 0;
    for _ in 0..count {
        let Instruction {
            opcode,
            register,
            immediate,
        } = code[at % PROGRAM];
        at += 1;
        let own = usize::from(register % 4);
        let other = |distance| registers[(own + distance) % 4];
        let value = registers[own];
        let wide = u64::from(immediate);
        registers[own] = match opcode {
            0 => value.wrapping_add(wide),
            1 => value ^ other(1),
            2 => value.wrapping_mul(wide | 1),
            3 => value.rotate_left(immediate % 64),
            4 => value.wrapping_sub(other(2)),
            5 => {
                let value = value.wrapping_mul(BRANCH_STEP).wrapping_add(wide);
                if value >> 63 == 1 {
                    at = immediate as usize;
                }
                value
            }
            6 => {
                let value = value.wrapping_mul(BRANCH_STEP).wrapping_add(wide);
                if value >> 63 == 0 {
                    at = immediate as usize;
                }
                value
            }
            _ => {
                let swapped = other(3);
                registers[(own + 3) % 4] = value;
                swapped.wrapping_add(1)
            }
        };
    }
}
