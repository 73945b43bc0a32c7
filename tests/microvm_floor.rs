//! `microvm` against its floor: starts interleaved in one process, the ratio of medians with an
//! interval. Prints and never fails on a number: `cargo test --release --test microvm_floor --
//! --ignored --nocapture`.

#[path = "../benches/floor/microvm.rs"]
mod floor;

#[test]
#[ignore = "a measurement: minutes of quiet machine, release build"]
fn floor_only() {
    let mut f = floor::Floor::new(0x2_8000).unwrap();
    for _ in 0..5 {
        println!("{:?}", f.start().unwrap());
    }
}
