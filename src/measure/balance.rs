//! From memory records to slopes and balance sheets. Pure arithmetic.
//!
//! Of every quantity `q` that is read at each count of instances, a round gives the Theil–Sen slope
//! of `q` over the count, and the rounds give the median of their slopes with its exact interval.
//! Each line of a sheet is estimated so, by itself:
//!
//! ```text
//!   total    = − slope(free + stock + file)        what is gone from what was left over
//!   part     = slope(account)                      anon, shmem, slab, …
//!   kvm      = slope(charge − Σ kernel accounts)   of a virtual machine: see below
//!   residual = slope(− free − stock − file − Σ accounts − kvm)
//! ```
//!
//! KVM keeps pages that no account of the host names: a stock for page tables of the guest,
//! `kvm_run`, an APIC page. They are charged to the control group of the VMM, which is the
//! harness's own; what that charge exceeds the named accounts by is `kvm`. The charge is counted
//! apart from free pages, so the residual still checks one against the other. Version 2 says what
//! of the charge is named; on version 1 the host's accounts stand in, which may be more than was
//! charged, never less but for objects in slabs that were there before.
//!
//! The residual is read off the same instants as the parts, so that what the rest of the host does
//! meanwhile is in both and cancels: it is known better than total or parts. Medians do not add up
//! to the last byte; the sheet shows each line as it was estimated.

use std::collections::BTreeMap;

use crate::host::accounts::Accounts;
use crate::metric::Bytes;
use crate::stats::quantile::{median, median_ci};
use crate::stats::{Sample, slope};
use crate::store::document::{MemoryBalance, MemoryLine, MemoryPart};
use crate::store::record::{MemoryRecord, Record};

/// Level of every interval.
const LEVEL: f64 = 0.95;

/// One count of instances, with the host's accounts at that moment.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The whole of what was read.
    pub record: &'a MemoryRecord,
    /// The host's accounts among it.
    pub accounts: Accounts,
}

/// The steps of one round, by increasing count.
pub type Round<'a> = Vec<Step<'a>>;

/// The rounds of a configuration that have no failure, by number.
#[must_use]
pub fn rounds<'a>(records: &'a [Record], id: &str) -> BTreeMap<u32, Round<'a>> {
    let mut rounds: BTreeMap<u32, Option<Round<'a>>> = BTreeMap::new();
    for record in records {
        if let Record::Memory(record) = record
            && record.backend == id
        {
            let steps = rounds
                .entry(record.round)
                .or_insert_with(|| Some(Vec::new()));
            match (record.accounts, steps.as_mut()) {
                (Some(accounts), Some(steps)) => steps.push(Step { record, accounts }),
                // One step without a number spoils its round.
                _ => *steps = None,
            }
        }
    }
    let whole = |(number, steps): (u32, Option<Round<'a>>)| Some((number, steps?));
    rounds.into_iter().filter_map(whole).collect()
}

/// Total: what one more instance takes from what is left over.
#[must_use]
pub fn marginal(round: &Round<'_>) -> Option<f64> {
    slope_of(round, used).map(|line| line.slope)
}

/// Numbers of instances with the memory that is gone since the first of their round, every round.
#[must_use]
pub fn growth(records: &[Record], id: &str) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    for round in rounds(records, id).into_values() {
        let Some(first) = round.first().map(used) else {
            continue;
        };
        points.extend(round.iter().map(|step| {
            let at = f64::from(step.record.instances);
            (at, (used(step) - first) as f64)
        }));
    }
    points
}

/// What one more instance goes into, account by account, and what is in none.
#[must_use]
pub fn accounts(round: &Round<'_>) -> Vec<(&'static str, f64)> {
    let Some(first) = round.first() else {
        return Vec::new();
    };
    let names = first.accounts.uses();
    let of = names.iter().enumerate().filter_map(|(index, (name, _))| {
        let value = |step: &Step<'_>| step.accounts.uses()[index].1.map(|bytes| bytes.0);
        let all = round.iter().all(|step| value(step).is_some());
        let line = all.then(|| slope_of(round, |step| value(step).unwrap_or(0)))??;
        Some((*name, line.slope))
    });
    let rest = slope_of(round, |step| used(step) - named(step));
    let rest = rest.map(|line| ("in no account", line.slope));
    of.chain(rest).collect()
}

/// The kernel's accounts.
#[must_use]
pub fn kernel(round: &Round<'_>) -> Option<f64> {
    slope_of(round, named_kernel).map(|line| line.slope)
}

/// Mean PSS of the instances looked at.
#[must_use]
pub fn pss(round: &Round<'_>) -> Option<f64> {
    mean(&round.last()?.record.pss)
}

/// Mean private memory of the instances looked at.
#[must_use]
pub fn private(round: &Round<'_>) -> Option<f64> {
    mean(&round.last()?.record.private)
}

/// The balance sheet of a configuration; `None` where no round gives a slope.
#[must_use]
pub fn sheet(records: &[Record], id: &str) -> Option<MemoryBalance> {
    let rounds: Vec<Round<'_>> = rounds(records, id).into_values().collect();
    let last = rounds.last()?.last()?.record;
    let total = line(&rounds, used)?;
    // A line of its own only where every step has it.
    let complete = |value: &dyn Fn(&Step<'_>) -> Option<i64>| {
        let all = rounds.iter().flatten().all(|step| value(step).is_some());
        all.then(|| line(&rounds, |step| value(step).unwrap_or(0)))?
    };
    let kvm = complete(&kvm);
    // What is no part of the sheet is no part of the residual either.
    let in_kvm = |step: &Step<'_>| kvm.and_then(|_| self::kvm(step)).unwrap_or(0);
    let residual = line(&rounds, |step| used(step) - named(step) - in_kvm(step))?;
    let part = |account: &str, growth| {
        let account = account.to_owned();
        Some(MemoryPart {
            account,
            growth: growth?,
        })
    };
    let names = rounds.first()?.first()?.accounts.uses();
    let parts = names.iter().enumerate().filter_map(|(index, (name, _))| {
        let of_step = |step: &Step<'_>| Some(step.accounts.uses()[index].1?.0);
        part(name, complete(&of_step))
    });
    let seen = |value: fn(&MemoryRecord) -> &Vec<Bytes>| {
        let means = rounds
            .iter()
            .filter_map(|round| mean(value(round.last()?.record)));
        let means = Sample::new(means.collect::<Vec<_>>()).ok()?;
        Some(median(&means))
    };
    Some(MemoryBalance {
        backend: id.to_owned(),
        counts: rounds
            .last()?
            .iter()
            .map(|step| step.record.instances)
            .collect(),
        rounds: rounds.len() as u64,
        residual_share: share(residual.bytes, total.bytes),
        total,
        parts: parts.chain(part("kvm", kvm)).collect(),
        residual,
        pss: seen(|r| &r.pss),
        private: seen(|r| &r.private),
        charged: complete(&|step| Some(step.record.charged?.0)),
        cgroup_usage: seen(|r| &r.cgroup_usage),
        cgroup_kernel: seen(|r| &r.cgroup_kernel),
        guest_given: last.guest_given.map(|bytes| bytes.0 as f64),
        limited_by: rounds
            .iter()
            .find_map(|round| round.last()?.record.limited_by.clone()),
    })
}

/// A share of the total, none of nothing.
fn share(residual: f64, total: f64) -> Option<f64> {
    let share = residual / total;
    (total > 0.0 && share.is_finite()).then_some(share)
}

/// Memory that is not left over, up to a constant.
fn used(step: &Step<'_>) -> i64 {
    -step.accounts.left().0
}

/// Memory that an account names.
fn named(step: &Step<'_>) -> i64 {
    let kept = step.accounts.uses().into_iter();
    kept.filter_map(|(_, bytes)| bytes).map(|b| b.0).sum()
}

/// Kernel memory that an account names.
fn named_kernel(step: &Step<'_>) -> i64 {
    named(step) - step.accounts.anon.0 - step.accounts.shmem.0
}

/// Kernel memory of virtual machines that the harness's group is charged with and no account names.
fn kvm(step: &Step<'_>) -> Option<i64> {
    step.record.guest_given?;
    let named = match step.record.charged_named {
        Some(named) => named.0,
        None => named_kernel(step),
    };
    Some(step.record.charged?.0 - named)
}

/// Theil–Sen, so that one disturbed reading does not decide.
fn slope_of(round: &Round<'_>, value: impl Fn(&Step<'_>) -> i64) -> Option<slope::Line> {
    // Relative to the first, so that no precision is lost in large numbers.
    let first = value(round.first()?);
    let points: Vec<(f64, f64)> = round
        .iter()
        .map(|step| {
            let at = f64::from(step.record.instances);
            (at, (value(step) - first) as f64)
        })
        .collect();
    slope::theil_sen(&points, LEVEL).ok()
}

/// Median of the rounds' slopes with its interval. Too few rounds for one: the interval of the only
/// round's slope, or none.
fn line(rounds: &[Round<'_>], value: impl Fn(&Step<'_>) -> i64) -> Option<MemoryLine> {
    let slopes: Vec<slope::Line> = rounds
        .iter()
        .filter_map(|round| slope_of(round, &value))
        .collect();
    if let [only] = slopes[..] {
        return Some(MemoryLine {
            bytes: only.slope,
            ci95: Some([only.interval.low, only.interval.high]),
        });
    }
    let sample = Sample::new(slopes.iter().map(|line| line.slope).collect::<Vec<_>>()).ok()?;
    Some(MemoryLine {
        bytes: median(&sample),
        ci95: median_ci(&sample, LEVEL).map(|ci| [ci.low, ci.high]),
    })
}

fn mean(values: &[Bytes]) -> Option<f64> {
    let sum: f64 = values.iter().map(|bytes| bytes.0 as f64).sum();
    (!values.is_empty()).then(|| sum / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host on which an instance takes 40 KiB anon, 20 KiB slab and 4 KiB that no account names,
    /// while somebody else takes and gives back `noise`.
    fn round(number: u32, noise: [i64; 7]) -> Vec<Record> {
        let step = |(at, noise): (u32, i64)| {
            let instances = 16 + 8 * at;
            let n = i64::from(instances) << 10;
            Record::Memory(Box::new(MemoryRecord {
                backend: "process".to_owned(),
                round: number,
                instances,
                accounts: Some(Accounts {
                    free: Bytes((1 << 34) - 64 * n - noise),
                    stock: Bytes(n),
                    file: Bytes((1 << 30) - n),
                    anon: Bytes(40 * n + noise),
                    slab: Bytes(20 * n),
                    ..Accounts::default()
                }),
                charged: None,
                charged_named: None,
                pss: vec![Bytes(30 << 10), Bytes(32 << 10)],
                private: vec![Bytes(28 << 10)],
                cgroup_usage: Vec::new(),
                cgroup_kernel: Vec::new(),
                guest_given: None,
                limited_by: None,
                failure: None,
            }))
        };
        (0..7).zip(noise).map(step).collect()
    }

    #[test]
    fn what_no_account_names_is_found_beside_a_noisy_neighbour() {
        let mut records = Vec::new();
        for number in 0..6 {
            records.extend(round(
                number,
                [0, 9 << 20, 1, -5 << 20, 0, 7 << 20, 3 << 20],
            ));
        }
        let sheet = sheet(&records, "process").unwrap();
        assert_eq!(sheet.residual.bytes, 4096.0);
        assert_eq!(sheet.residual.ci95, Some([4096.0, 4096.0]));
        let slab = sheet.parts.iter().find(|p| p.account == "slab").unwrap();
        assert_eq!(slab.growth.bytes, 20.0 * 1024.0);
        assert_eq!(sheet.counts, [16, 24, 32, 40, 48, 56, 64]);
        assert_eq!((sheet.rounds, sheet.pss), (6, Some(31.0 * 1024.0)));
        assert_eq!(sheet.cgroup_usage, None);
    }

    #[test]
    fn a_quiet_host_balances_exactly() {
        let records = round(0, [0; 7]);
        let sheet = sheet(&records, "process").unwrap();
        assert_eq!(sheet.total.bytes, 64.0 * 1024.0);
        let parts: f64 = sheet.parts.iter().map(|p| p.growth.bytes).sum();
        assert_eq!(parts + sheet.residual.bytes, sheet.total.bytes);
        assert_eq!(sheet.residual_share, Some(1.0 / 16.0));
        // One round: the interval is that of its slope.
        assert_eq!(sheet.total.ci95, Some([65_536.0, 65_536.0]));
        let steps = rounds(&records, "process").remove(&0).unwrap();
        assert_eq!(marginal(&steps), Some(65_536.0));
        assert_eq!(kernel(&steps), Some(20_480.0));
    }

    #[test]
    fn what_a_virtual_machine_is_charged_beyond_the_accounts_is_kvm() {
        let mut records = round(0, [0; 7]);
        for record in &mut records {
            let Record::Memory(step) = record else {
                continue;
            };
            let n = i64::from(step.instances) << 10;
            step.guest_given = Some(Bytes(152 << 10));
            // 3 of the 4 KiB that no account names.
            step.charged = Some(Bytes((20 + 3) * n));
        }
        let sheet = |records: &[Record]| sheet(records, "process").unwrap();
        let on_v1 = sheet(&records);
        assert_eq!(on_v1.parts.last().unwrap().account, "kvm");
        assert_eq!(on_v1.parts.last().unwrap().growth.bytes, 3072.0);
        assert_eq!(on_v1.residual.bytes, 1024.0);
        assert_eq!(on_v1.charged.unwrap().bytes, 23.0 * 1024.0);
        for record in &mut records {
            if let Record::Memory(step) = record {
                step.charged_named = Some(Bytes(i64::from(step.instances) * (21 << 10)));
            }
        }
        assert_eq!(sheet(&records).residual.bytes, 2048.0);
        // One reading without a charge: the line is left out, not guessed.
        if let Record::Memory(step) = &mut records[2] {
            step.charged = None;
        }
        let without = sheet(&records);
        assert_eq!((without.residual.bytes, without.charged), (4096.0, None));
    }

    #[test]
    fn nothing_gives_no_sheet() {
        assert_eq!(sheet(&[], "process"), None);
        assert_eq!(sheet(&round(0, [0; 7])[..4], "process"), None);
        assert_eq!(share(1.0, 0.0), None);
        let mut failed = round(0, [0; 7]);
        if let Record::Memory(step) = &mut failed[3] {
            step.accounts = None;
            step.failure = Some(crate::store::record::FailureRecord {
                kind: "timeout".to_owned(),
                message: "too slow".to_owned(),
            });
        }
        assert_eq!(sheet(&failed, "process"), None);
    }
}
