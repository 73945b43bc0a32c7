//! The charts of a run: what each shows, from the run's document and samples.

use super::chart::bars::{self, Bars};
use super::chart::distribution::{self, Distribution, thinned};
use super::chart::forest::{self, Forest};
use super::chart::scene::Ink;
use super::chart::slope::{self, Slopes};
use super::chart::timeline::{self, Segment, Timeline, Words};
use super::chart::{Chart, Data, Shown};
use super::format;
use super::ladder_pictures::waterfalls;
use crate::measure::samples::{Samples, Series};
use crate::metric::{Better, Unit};
use crate::store::document::{MetricResult, Run};

/// Samples of one series that a picture can show, at most. More are thinned to evenly spaced ranks.
const MOST: usize = 2_000;

/// Every chart of a run. Without samples (only a `run.json` was kept) those that show each are missing.
#[must_use]
pub fn charts(run: &Run, samples: Option<&Samples>) -> Vec<Chart> {
    if let Some(ladder) = &run.ladder {
        return waterfalls(&run.metrics, ladder);
    }
    let ids: Vec<&str> = run.backends.iter().map(|b| b.id.as_str()).collect();
    let mut charts = Vec::new();
    charts.extend(timelines(run));
    charts
        .extend(samples.map_or_else(Vec::new, |samples| distributions(run, samples.series(&ids))));
    charts.extend(samples.and_then(|samples| slopes(run, samples, &ids)));
    charts.extend(sheets(run));
    charts.extend(throughput(run));
    charts
}

pub(super) fn shown(value: f64, ci95: Option<[f64; 2]>, unit: Unit) -> Shown {
    Shown {
        value,
        text: format::quantity(value, unit),
        ci95,
    }
}

/// A name that a file may have.
pub(super) fn file_name(text: &str) -> String {
    let keep = |c: char| {
        if c.is_ascii_alphanumeric() || c == '.' {
            c
        } else {
            '-'
        }
    };
    text.chars().map(keep).collect()
}

/// Phases of `startup` and of `teardown`.
fn timelines(run: &Run) -> Vec<Chart> {
    let of = |(metric, title, axis, what): (&str, &str, &str, &str)| {
        let phased = run.metrics.iter().filter(|m| {
            m.metric == metric
                && !m.phases.is_empty()
                && m.workload.split('@').next() == Some("noop")
        });
        let rows: Vec<timeline::Row> = phased.map(timeline_row).collect();
        if rows.is_empty() {
            return None;
        }
        let alt: Vec<String> = rows
            .iter()
            .map(|row| format!("{} {} ({})", row.backend, row.total.text, row.why.text))
            .collect();
        Some(Chart {
            name: metric.to_owned(),
            title: title.to_owned(),
            caption: format!(
                "Each bar is {what}, its segments the median of each phase in the order in which \
                 they happen; the upright and the number are the median of the whole, which the medians of its parts \
                 do not add up to exactly. Colour is the kind of work."
            ),
            alt: format!("{title}: {}.", alt.join("; ")),
            data: Data::Timeline(Timeline {
                axis: axis.to_owned(),
                rows,
            }),
        })
    };
    let all = [
        (
            "startup",
            "Where each start goes",
            "time after the first system call made for the trial (t0)",
            "the time from the first system call made for a trial (t0) to the payload's first \
             instruction (t1)",
        ),
        (
            "teardown",
            "Where each clean-up goes",
            "time after the observed exit (t4)",
            "the time from the observed exit (t4) until nothing of the trial is left (t5)",
        ),
    ];
    all.into_iter().filter_map(of).collect()
}

fn timeline_row(metric: &MetricResult) -> timeline::Row {
    let mut from = 0.0;
    let mut segments = Vec::new();
    for phase in &metric.phases {
        // Nothing is drawn of what is not there; an unaccounted rest can be below 0.
        let length = phase.median.max(0.0);
        segments.push(Segment {
            name: phase.name.clone(),
            from,
            length: shown(phase.median, None, Unit::Nanoseconds),
        });
        from += length;
    }
    let mut largest: Vec<&Segment> = segments.iter().filter(|s| s.length.value > 0.0).collect();
    largest.sort_by(|a, b| b.length.value.total_cmp(&a.length.value));
    largest.truncate(4);
    let words: Vec<String> = largest
        .iter()
        .map(|s| format!("{} {}", s.name, s.length.text))
        .collect();
    timeline::Row {
        backend: metric.backend.clone(),
        total: shown(metric.median, metric.ci95, metric.unit),
        why: Words {
            text: words.join(" · "),
            values: largest.iter().map(|s| s.length.value).collect(),
        },
        segments,
    }
}

fn distributions(run: &Run, mut series: Vec<Series>) -> Vec<Chart> {
    // In the order of the estimates: starts first.
    series.sort_by_key(|one| {
        let is_same = |m: &MetricResult| m.workload == one.workload && m.metric == one.metric.name;
        run.metrics.iter().position(is_same)
    });
    let mut charts: Vec<Chart> = Vec::new();
    let mut last: Option<Distribution> = None;
    for one in series {
        let Some(estimate) = run.metrics.iter().find(|m| {
            m.backend == one.backend && m.workload == one.workload && m.metric == one.metric.name
        }) else {
            continue;
        };
        let n = one.values.len();
        let row = distribution::Row {
            backend: one.backend,
            median: shown(estimate.median, estimate.ci95, estimate.unit),
            samples: thinned(&one.values, MOST),
            n: n as u64,
        };
        match &mut last {
            Some(known) if known.workload == one.workload && known.metric == one.metric.name => {
                known.rows.push(row);
            }
            _ => {
                let next = Distribution {
                    workload: one.workload,
                    metric: one.metric.name.to_owned(),
                    unit: one.metric.unit,
                    rows: vec![row],
                };
                charts.extend(last.replace(next).map(distribution_chart));
            }
        }
    }
    charts.extend(last.map(distribution_chart));
    charts
}

fn distribution_chart(distribution: Distribution) -> Chart {
    let (workload, metric) = (distribution.workload.clone(), distribution.metric.clone());
    let alt: Vec<String> = distribution
        .rows
        .iter()
        .map(|row| {
            format!(
                "{} median {} of {} samples",
                row.backend, row.median.text, row.n
            )
        })
        .collect();
    Chart {
        name: format!("distribution-{}-{metric}", file_name(&workload)),
        title: format!("{metric} of {workload}, every sample"),
        caption: format!(
            "Every sample is a dot (where there are more than {MOST}, or than a page has room for, \
             evenly spaced ranks of them with the smallest and the largest); a dot's height in its \
             strip means nothing. The line is the share of samples up \
             to each value (ECDF), from the strip's foot to its head; the upright the median, the \
             band around it its 95 % interval."
        ),
        alt: format!("{metric} of {workload}: {}.", alt.join("; ")),
        data: Data::Distribution(distribution),
    }
}

fn slopes(run: &Run, samples: &Samples, ids: &[&str]) -> Option<Chart> {
    let mut rows = Vec::new();
    for growth in samples.growth(ids) {
        let Some(sheet) = run.memory.iter().find(|m| m.backend == growth.backend) else {
            continue;
        };
        let (Some(first), Some(last)) = (sheet.counts.first(), sheet.counts.last()) else {
            continue;
        };
        rows.push(slope::Row {
            each: shown(sheet.total.bytes, sheet.total.ci95, Unit::Bytes),
            counts: [f64::from(*first), f64::from(*last)],
            points: growth.points,
            backend: growth.backend,
        });
    }
    if rows.is_empty() {
        return None;
    }
    let each: Vec<String> = rows
        .iter()
        .map(|row| format!("{} {}", row.backend, row.each.text))
        .collect();
    Some(Chart {
        name: "memory-slope".to_owned(),
        title: "What one more idle instance takes".to_owned(),
        caption:
            "Dots: memory that is gone from what the host has left over, since the first count \
                  of each round. The line's slope is the estimate: the median of the rounds' \
                  Theil–Sen slopes."
                .to_owned(),
        alt: format!("Memory of one more idle instance: {}.", each.join("; ")),
        data: Data::Slope(Slopes { rows }),
    })
}

/// Accounts in the order of the stack, with a colour each.
const ACCOUNTS: [(&str, &str, Ink); 9] = [
    ("anon", "user, private", Ink::Kind(1)),
    ("shmem", "tmpfs, shared", Ink::Kind(2)),
    ("slab", "slab", Ink::Kind(3)),
    ("page_tables", "page tables", Ink::Kind(4)),
    ("vmalloc", "stacks/vmalloc", Ink::Kind(0)),
    ("percpu", "percpu", Ink::Kind(6)),
    ("sec_page_tables", "KVM's tables", Ink::Series(7)),
    ("kvm", "KVM, other", Ink::Kind(5)),
    ("residual", "in no account", Ink::Kind(7)),
];

fn sheets(run: &Run) -> Option<Chart> {
    if run.memory.is_empty() {
        return None;
    }
    let growth = |place: usize, sheet: &crate::store::document::MemoryBalance| {
        let name = ACCOUNTS[place].0;
        let line = match name {
            "residual" => Some(sheet.residual),
            name => sheet
                .parts
                .iter()
                .find(|p| p.account == name)
                .map(|p| p.growth),
        };
        line.filter(|line| line.bytes != 0.0)
    };
    let used: Vec<usize> = (0..ACCOUNTS.len())
        .filter(|place| {
            run.memory
                .iter()
                .any(|sheet| growth(*place, sheet).is_some())
        })
        .collect();
    let row = |sheet: &crate::store::document::MemoryBalance| {
        let part = |(index, place): (usize, &usize)| {
            let line = growth(*place, sheet)?;
            Some((index, shown(line.bytes, line.ci95, Unit::Bytes)))
        };
        bars::Row {
            backend: sheet.backend.clone(),
            total: shown(sheet.total.bytes, sheet.total.ci95, Unit::Bytes),
            parts: used.iter().enumerate().filter_map(part).collect(),
        }
    };
    let rows: Vec<bars::Row> = run.memory.iter().map(row).collect();
    let name = |place: &usize| (ACCOUNTS[*place].1.to_owned(), ACCOUNTS[*place].2);
    let accounts: Vec<(String, Ink)> = used.iter().map(name).collect();
    let alt: Vec<String> = rows
        .iter()
        .map(|row| {
            let parts = row.parts.iter().map(|(account, growth)| {
                let name = accounts.get(*account).map_or("", |(name, _)| name);
                format!("{name} {}", growth.text)
            });
            let parts: Vec<String> = parts.collect();
            format!("{} {} ({})", row.backend, row.total.text, parts.join(", "))
        })
        .collect();
    Some(Chart {
        name: "memory-balance".to_owned(),
        title: "Where the memory of one more instance is".to_owned(),
        caption: "Each line of the balance sheet is estimated by itself, so that a stack need not \
                  end at the whole to the last byte; what shrinks is drawn to the left of 0."
            .to_owned(),
        alt: format!(
            "Memory of one more idle instance by account: {}.",
            alt.join("; ")
        ),
        data: Data::Bars(Bars { accounts, rows }),
    })
}

/// Ratios to `process` of everything that is work: rates, latencies, first touches.
fn throughput(run: &Run) -> Option<Chart> {
    let is_work =
        |metric: &str| matches!(metric, "bandwidth" | "flops" | "ops" | "latency" | "pages");
    let mut groups: Vec<forest::Group> = Vec::new();
    for ratio in run
        .ratios
        .iter()
        .filter(|r| r.reference == "process" && is_work(&r.metric))
    {
        let Some(metric) = run
            .metrics
            .iter()
            .find(|m| m.workload == ratio.workload && m.metric == ratio.metric)
        else {
            continue;
        };
        let row = forest::Row {
            backend: ratio.backend.clone(),
            form: 0,
            ratio: Shown {
                value: ratio.ratio,
                text: format::ratio_with_interval(ratio.ratio, ratio.ci95),
                ci95: ratio.ci95,
            },
        };
        let is_rate = metric.better == Better::Higher;
        let kind = if is_rate {
            "a rate: more is better"
        } else {
            "a time: less is better"
        };
        let heading = format!("{} · {} ({kind})", ratio.workload, ratio.metric);
        match groups.iter_mut().find(|g| g.heading == heading) {
            Some(group) => group.rows.push(row),
            None => groups.push(forest::Group {
                workload: ratio.workload.clone(),
                heading,
                is_rate,
                rows: vec![row],
            }),
        }
    }
    if groups.is_empty() {
        return None;
    }
    let alt: Vec<String> = groups
        .iter()
        .flat_map(|group| {
            let told = |row: &forest::Row| {
                format!("{} {} {}", group.workload, row.backend, row.ratio.text)
            };
            group.rows.iter().map(told)
        })
        .collect();
    Some(Chart {
        name: "throughput".to_owned(),
        title: "The same work, against a bare process".to_owned(),
        caption: "Ratios inside blocks, with their 95 % intervals: an interval that has 1 in it is no \
                  difference seen. Rates are placed upside down, so that slower is on the right for \
                  all; the numbers are the ratios as they are stored."
            .to_owned(),
        alt: format!("Ratios to process: {}.", alt.join("; ")),
        data: Data::Forest(Forest {
            reference: "process".to_owned(),
            worse: "slower",
            better: "faster",
            groups,
        }),
    })
}
