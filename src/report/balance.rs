//! The balance sheets of a run as text in its place.

use super::figure::Figure;
use super::format::{interval, quantity, significant};
use super::model::Sheet;
use crate::metric::Unit;
use crate::store::document::{MemoryBalance, MemoryLine, Run};

/// Configurations side by side: what fits 80 columns.
const ABREAST: usize = 3;
/// A residual beyond this share of the total is pointed out.
const LARGE: f64 = 0.10;

/// The accounts by the names that a reader knows, in the order of the sheet.
const ACCOUNTS: [(&str, &str); 8] = [
    ("anon", "user, private"),
    ("shmem", "tmpfs, shared"),
    ("slab", "slab"),
    ("page_tables", "page tables"),
    ("vmalloc", "stacks/vmalloc"),
    ("percpu", "percpu"),
    ("sec_page_tables", "KVM's tables"),
    ("kvm", "KVM, other"),
];

/// The sheets of a run, a few side by side in each.
pub(super) fn sheets(run: &Run) -> Vec<Sheet> {
    run.memory.chunks(ABREAST).map(side_by_side).collect()
}

fn side_by_side(sheets: &[MemoryBalance]) -> Sheet {
    let row = |name: &str, cell: &dyn Fn(&MemoryBalance) -> Option<Figure>| {
        let cells: Vec<Option<Figure>> = sheets.iter().map(cell).collect();
        // A row that says nothing about anyone is left out.
        cells.iter().any(Option::is_some).then(|| {
            let dash = || Figure::words("–");
            let cells = cells.into_iter().map(|cell| cell.unwrap_or_else(dash));
            (name.to_owned(), cells.collect())
        })
    };
    let mut rows = vec![row("total", &|sheet| Some(line(&sheet.total)))];
    for (account, name) in ACCOUNTS {
        rows.push(row(name, &|sheet| {
            let part = sheet.parts.iter().find(|part| part.account == account)?;
            (part.growth.bytes != 0.0).then(|| line(&part.growth))
        }));
    }
    rows.push(row("residual", &|sheet| Some(line(&sheet.residual))));
    rows.push(row("of the total", &|sheet| {
        let share = sheet.residual_share?;
        Some(Figure::new(
            format!("{} %", significant(share * 100.0)),
            [share],
        ))
    }));
    let size =
        |bytes: Option<f64>| bytes.map(|bytes| Figure::new(quantity(bytes, Unit::Bytes), [bytes]));
    rows.push(row("smaps private", &|sheet| size(sheet.private)));
    rows.push(row("smaps PSS", &|sheet| size(sheet.pss)));
    rows.push(row("own cgroup", &|sheet| size(sheet.cgroup_usage)));
    rows.push(row("of it kernel", &|sheet| size(sheet.cgroup_kernel)));
    rows.push(row("kernel charge", &|sheet| {
        sheet.charged.as_ref().map(line)
    }));
    rows.push(row("guest RAM", &|sheet| size(sheet.guest_given)));
    rows.push(row("instances", &|sheet| {
        let (first, last) = (sheet.counts.first()?, sheet.counts.last()?);
        let values = [f64::from(*first), f64::from(*last), sheet.rounds as f64];
        Some(Figure::new(
            format!("{first} – {last}, {} ×", sheet.rounds),
            values,
        ))
    }));
    Sheet {
        backends: sheets.iter().map(|sheet| sheet.backend.clone()).collect(),
        rows: rows.into_iter().flatten().collect(),
    }
}

fn line(line: &MemoryLine) -> Figure {
    let value = quantity(line.bytes, Unit::Bytes);
    match line.ci95 {
        Some([low, high]) => {
            let ends = interval([low, high], line.bytes, Unit::Bytes).replace(" – ", ", ");
            Figure::new(format!("{value} [{ends}]"), [line.bytes, low, high])
        }
        None => Figure::new(value, [line.bytes]),
    }
}

/// What a reader of the sheets must know.
pub(super) fn notes(run: &Run) -> Vec<String> {
    let mut notes = Vec::new();
    for sheet in &run.memory {
        let id = &sheet.backend;
        if let Some(resource) = &sheet.limited_by {
            notes.push(format!(
                "{id}: fewer idle instances than planned, for lack of {resource}."
            ));
        }
        if let Some(share) = sheet.residual_share.filter(|share| share.abs() > LARGE) {
            let why = if sheet.guest_given.is_some() && sheet.charged.is_none() {
                ": KVM's own pages are in no account, and this process has no control group that \
                 would be charged with them"
            } else {
                ""
            };
            notes.push(format!(
                "{id}: {} % of the memory of one more instance is in no account{why}.",
                significant(share * 100.0)
            ));
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::document::MemoryPart;

    fn sheet(backend: &str) -> MemoryBalance {
        let grown = |bytes: f64| MemoryLine {
            bytes,
            ci95: Some([bytes - 1024.0, bytes + 1024.0]),
        };
        MemoryBalance {
            backend: backend.to_owned(),
            counts: vec![16, 24, 32, 40, 48],
            rounds: 6,
            total: grown(65_536.0),
            parts: vec![MemoryPart {
                account: "anon".to_owned(),
                growth: grown(40_960.0),
            }],
            residual: grown(24_576.0),
            residual_share: Some(0.375),
            pss: None,
            private: Some(40_960.0),
            charged: None,
            cgroup_usage: None,
            cgroup_kernel: None,
            guest_given: None,
            limited_by: None,
        }
    }

    #[test]
    fn rows_that_say_nothing_are_left_out_and_columns_fit() {
        let shown = side_by_side(&[sheet("process"), sheet("container")]);
        let names: Vec<&str> = shown.rows.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "total",
                "user, private",
                "residual",
                "of the total",
                "smaps private",
                "instances"
            ]
        );
        assert_eq!(shown.rows[0].1[1].text, "64.0 KiB [63.0, 65.0]");
        assert!(shown.rows.iter().all(|(_, cells)| cells.len() == 2));
    }
}
