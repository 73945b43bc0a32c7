//! Several runs side by side: the views of each, laid into one. Every configuration bears the letter of
//! its run behind its name; nothing is computed across runs (that is `isobench compare`).

use super::chart::{Chart, Data};
use super::figure::Figure;
use super::isolation::Isolation;
use super::model::{Badge, Boundary, View};
use super::noise::{Level, Verdict};
use super::notes::Engine;
use crate::store::document::Run;

/// Letters for that many runs.
pub const MOST: usize = 26;

/// The letter of a run.
#[must_use]
pub fn letter(index: usize) -> char {
    char::from(b'A' + u8::try_from(index % MOST).unwrap_or(0))
}

/// A configuration of a run.
fn named(id: &str, letter: char) -> String {
    format!("{id} [{letter}]")
}

/// Lays views of runs beside each other, in their order.
#[must_use]
pub fn together(parts: Vec<(&Run, View)>) -> View {
    let notes = differences(&parts);
    let day = |run: &Run| run.started.split('T').next().unwrap_or_default().to_owned();
    let labels: Vec<String> = parts
        .iter()
        .enumerate()
        .map(|(index, (run, _))| {
            format!(
                "{}: {}, {} ({})",
                letter(index),
                run.host.cpu,
                day(run),
                run.id
            )
        })
        .collect();
    let mut whole = View {
        heading: format!("{} runs side by side", parts.len()),
        title: labels.join("; "),
        badges: vec![Badge {
            class: "plain",
            text: "nothing is computed across runs; isobench compare does that".to_owned(),
        }],
        glances: Vec::new(),
        noise: Verdict {
            level: Level::Quiet,
            word: "quiet",
            reasons: Vec::new(),
        },
        charts: Vec::new(),
        missing: Vec::new(),
        sources: Vec::new(),
        facts: Vec::new(),
        groups: Vec::new(),
        memory: Vec::new(),
        boundary: Boundary {
            columns: Vec::new(),
            rows: Vec::new(),
            details: Vec::new(),
            legend: "",
        },
        phases: Vec::new(),
        ladder: None,
        isolation: Isolation::default(),
        findings: Vec::new(),
        notes,
        engines: Vec::new(),
    };
    for (index, (_, view)) in parts.into_iter().enumerate() {
        add(&mut whole, view, (index, letter(index)));
    }
    // Runs of one configuration next to each other.
    let order: Vec<String> = whole.glances.iter().map(|g| bare(&g.backend)).collect();
    let place = |id: &str| order.iter().position(|known| *known == bare(id));
    whole.glances.sort_by_key(|g| place(&g.backend));
    for group in &mut whole.groups {
        group.rows.sort_by_key(|row| place(&row.backend));
    }
    for chart in &mut whole.charts {
        match &mut chart.data {
            Data::Timeline(data) => data.rows.sort_by_key(|row| place(&row.backend)),
            Data::Distribution(data) => data.rows.sort_by_key(|row| place(&row.backend)),
            Data::Bars(data) => data.rows.sort_by_key(|row| place(&row.backend)),
            Data::Slope(data) => data.rows.sort_by_key(|row| place(&row.backend)),
            Data::Forest(data) => {
                for group in &mut data.groups {
                    group.rows.sort_by_key(|row| place(&row.backend));
                }
            }
            Data::Waterfall(_) | Data::Trend(_) => {}
        }
    }
    whole
}

/// The configuration without its letter.
fn bare(id: &str) -> String {
    id.split(" [").next().unwrap_or(id).to_owned()
}

/// What speaks against laying these runs beside each other.
fn differences(parts: &[(&Run, View)]) -> Vec<String> {
    let mut notes = Vec::new();
    let mut differ = |what: &str, of: &dyn Fn(&Run) -> String| {
        let values: Vec<String> = parts.iter().map(|(run, _)| of(run)).collect();
        if values.iter().any(|value| *value != values[0]) {
            let each = values.iter().enumerate();
            let each: Vec<String> = each
                .map(|(index, value)| format!("{} {value}", letter(index)))
                .collect();
            notes.push(format!("The runs differ in {what}: {}.", each.join("; ")));
        }
    };
    differ("their payload (not the same bytes)", &|run| {
        run.payload.sha256.chars().take(12).collect()
    });
    differ("KVM", &|run| run.host.kvm.clone());
    differ("CPU", &|run| {
        format!("{}, {} CPUs", run.host.cpu, run.host.cpus)
    });
    differ("kernel", &|run| run.host.kernel.clone());
    differ("profile", &|run| run.profile.clone());
    differ("tool", &|run| {
        format!("{} ({})", run.tool.version, run.tool.commit)
    });
    notes
}

fn add(whole: &mut View, view: View, (index, letter): (usize, char)) {
    let of = |text: &str| format!("{letter}: {text}");
    if view.noise.level as u8 > whole.noise.level as u8 {
        (whole.noise.level, whole.noise.word) = (view.noise.level, view.noise.word);
    }
    let reasons = view.noise.reasons.into_iter();
    let marked = |mut figure: Figure| {
        figure.text = of(&figure.text);
        figure
    };
    whole.noise.reasons.extend(reasons.map(marked));
    whole.findings.extend(view.findings.into_iter().map(marked));
    whole.notes.extend(view.notes.iter().map(|note| of(note)));
    whole
        .engines
        .extend(view.engines.into_iter().map(|engine| Engine {
            sentence: of(&engine.sentence),
            brief: of(&engine.brief),
        }));
    let facts = view.facts.into_iter();
    whole
        .facts
        .extend(facts.map(|(name, value)| (format!("{letter} {name}"), value)));
    for mut glance in view.glances {
        glance.backend = named(&glance.backend, letter);
        glance.sentence = glance.sentence.map(marked);
        whole.glances.push(glance);
    }
    for mut missing in view.missing {
        missing.backend = named(&missing.backend, letter);
        whole.missing.push(missing);
    }
    for mut group in view.groups {
        for row in &mut group.rows {
            row.backend = named(&row.backend, letter);
        }
        match whole.groups.iter_mut().find(|g| g.heading == group.heading) {
            Some(known) => known.rows.append(&mut group.rows),
            None => whole.groups.push(group),
        }
    }
    for mut sheet in view.memory {
        for id in &mut sheet.backends {
            *id = named(id, letter);
        }
        whole.memory.push(sheet);
    }
    for mut breakdown in view.phases {
        breakdown.backend = named(&breakdown.backend, letter);
        whole.phases.push(breakdown);
    }
    isolation(&mut whole.isolation, view.isolation, letter);
    boundary(&mut whole.boundary, view.boundary, letter);
    for chart in view.charts {
        self::chart(&mut whole.charts, chart, (index, letter));
    }
    if let Some(ladder) = view.ladder {
        // Its tables are in the run's own report; its pictures and sentences are here.
        let findings = ladder.findings.iter();
        whole
            .findings
            .extend(findings.map(|text| Figure::words(of(text))));
    }
}

fn isolation(whole: &mut Isolation, part: Isolation, letter: char) {
    let ids = part.columns.iter().map(|id| named(id, letter));
    if whole.groups.is_empty() {
        whole.columns = ids.collect();
        (whole.groups, whole.legend) = (part.groups, part.legend);
        return;
    }
    whole.columns.extend(ids);
    for line in part.legend {
        if !whole.legend.contains(&line) {
            whole.legend.push(line);
        }
    }
    let width = whole.columns.len();
    for group in &mut whole.groups {
        let other = part.groups.iter().find(|g| g.heading == group.heading);
        for (name, cells) in &mut group.rows {
            let row = other.and_then(|g| g.rows.iter().find(|(other, _)| other == name));
            cells.extend(row.map_or_else(Vec::new, |(_, cells)| cells.clone()));
            cells.resize(width, "–".to_owned());
        }
    }
}

fn boundary(whole: &mut Boundary, part: Boundary, letter: char) {
    whole.legend = part.legend;
    let before = whole.columns.len();
    whole
        .columns
        .extend(part.columns.iter().map(|id| named(id, letter)));
    let width = whole.columns.len();
    for (task, cells) in part.rows {
        let known = whole.rows.iter().position(|(known, _)| *known == task);
        let place = known.unwrap_or_else(|| {
            whole.rows.push((task, vec!["–".to_owned(); before]));
            whole.rows.len() - 1
        });
        if let Some((_, row)) = whole.rows.get_mut(place) {
            row.extend(cells);
        }
    }
    for (_, row) in &mut whole.rows {
        row.resize(width, "–".to_owned());
    }
    let details = part.details.into_iter();
    whole
        .details
        .extend(details.map(|[task, id, words]| [task, named(&id, letter), words]));
}

/// A chart joins the one of the same name; a ladder's stays one for each run.
fn chart(whole: &mut Vec<Chart>, mut chart: Chart, (index, letter): (usize, char)) {
    match &mut chart.data {
        Data::Timeline(data) => {
            data.rows
                .iter_mut()
                .for_each(|row| row.backend = named(&row.backend, letter));
        }
        Data::Distribution(data) => {
            data.rows
                .iter_mut()
                .for_each(|row| row.backend = named(&row.backend, letter));
        }
        Data::Slope(data) => {
            data.rows
                .iter_mut()
                .for_each(|row| row.backend = named(&row.backend, letter));
        }
        Data::Bars(data) => {
            data.rows
                .iter_mut()
                .for_each(|row| row.backend = named(&row.backend, letter));
        }
        Data::Forest(data) => {
            let rows = data.groups.iter_mut().flat_map(|group| &mut group.rows);
            rows.for_each(|row| {
                row.backend = named(&row.backend, letter);
                row.form = u8::try_from(index % 4).unwrap_or(0);
            });
        }
        Data::Waterfall(_) | Data::Trend(_) => {
            chart.name = format!("{}-{}", chart.name, letter.to_ascii_lowercase());
            chart.title = format!("{letter}: {}", chart.title);
        }
    }
    let Some(known) = whole.iter_mut().find(|known| known.name == chart.name) else {
        chart.alt = format!("{letter}: {}", chart.alt);
        whole.push(chart);
        return;
    };
    known.alt = format!("{} {letter}: {}", known.alt, chart.alt);
    match (&mut known.data, chart.data) {
        (Data::Timeline(known), Data::Timeline(more)) => known.rows.extend(more.rows),
        (Data::Distribution(known), Data::Distribution(more)) => known.rows.extend(more.rows),
        (Data::Slope(known), Data::Slope(more)) => known.rows.extend(more.rows),
        (Data::Bars(known), Data::Bars(more)) => {
            for mut row in more.rows {
                for (account, _) in &mut row.parts {
                    let Some(name) = more.accounts.get(*account) else {
                        continue;
                    };
                    let place = known.accounts.iter().position(|known| known.0 == name.0);
                    *account = place.unwrap_or_else(|| {
                        known.accounts.push(name.clone());
                        known.accounts.len() - 1
                    });
                }
                known.rows.push(row);
            }
        }
        (Data::Forest(known), Data::Forest(more)) => {
            for mut group in more.groups {
                match known.groups.iter_mut().find(|g| g.heading == group.heading) {
                    Some(same) => same.rows.append(&mut group.rows),
                    None => known.groups.push(group),
                }
            }
        }
        _ => {}
    }
}
