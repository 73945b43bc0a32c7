//! What makes a trial a measurement.
#![allow(clippy::unwrap_used)] // a test states its expectations

use isobench::trial::{Launch, Observation};
use isobench::workload::answers::known_answer;
use isobench::workload::payload;

/// The right answer, from the embedded payload's very bytes, and instants in order.
pub fn right(launch: &Launch, seen: &Observation) {
    let answer = known_answer(&launch.task).unwrap();
    let report = seen.report;
    assert_eq!((report.digest, report.units), (answer.digest, answer.units));
    assert_eq!(report.image, payload::image_fold().unwrap());
    let i = seen.instants;
    let order = [i.t0, i.t1, i.t2, i.t3, i.t4, i.t5];
    assert!(order.windows(2).all(|p| p[1] - p[0] > 0), "{order:?}");
}
