//! The report as Markdown, for a pull request or a job summary.

use std::fmt::Write;

use super::figure::Figure;
use super::ladder::LadderView;
use super::model::{Sheet, View};

/// Largest summary: what a pull request's comment holds (64 KiB), less what a service adds.
const MOST: usize = 62 << 10;

/// Lays the view out as Markdown of less than 64 KiB. Where there is more, whole sections are left out,
/// the least important ones first, and named.
#[must_use]
pub fn render(view: &View) -> String {
    let section = |write: fn(&mut String, &View) -> std::fmt::Result| {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = write(&mut out, view);
        out
    };
    let mut parts = [
        ("findings", 0, section(write_findings)),
        ("the ladder", 1, section(write_ladders)),
        ("metrics", 2, section(write_metrics)),
        ("memory", 3, section(write_memory)),
        ("crossings", 6, section(write_boundary)),
        ("phases", 5, section(write_phases)),
        ("isolation", 4, section(write_isolation)),
        ("host", 0, section(write_facts)),
    ];
    let mut left_out = Vec::new();
    loop {
        let bytes: usize = parts.iter().map(|(_, _, text)| text.len()).sum();
        let mut candidates = parts
            .iter_mut()
            .filter(|(_, rank, text)| *rank > 0 && !text.is_empty());
        let last = candidates.by_ref().max_by_key(|(_, rank, _)| *rank);
        match last {
            Some((name, _, text)) if bytes > MOST => {
                text.clear();
                left_out.push(*name);
            }
            _ => break,
        }
    }
    let mut out: String = parts.iter().map(|(_, _, text)| text.as_str()).collect();
    if !left_out.is_empty() {
        left_out.reverse();
        let names = left_out.join(", ");
        out.push_str(&format!(
            "\nLeft out for size: {names}; see report.html and run.json.\n"
        ));
    }
    // Findings alone can be too many.
    if out.len() > MOST {
        let end = (0..=MOST).rev().find(|end| out.is_char_boundary(*end));
        out.truncate(end.unwrap_or(0));
        out.push_str("\n\nCut off for size; see report.html and run.json.\n");
    }
    out
}

fn write_findings(out: &mut String, view: &View) -> std::fmt::Result {
    writeln!(out, "# {}\n", escape(&view.title))?;
    let answers = view.glances.iter().filter_map(|g| g.sentence.as_ref());
    let said = answers.chain(&view.findings).map(Figure::as_str);
    let engines = view.engines.iter().map(|engine| engine.sentence.as_str());
    let notes = view.notes.iter().map(String::as_str).chain(engines);
    for sentence in said.chain(notes) {
        writeln!(out, "- {}", escape(sentence))?;
    }
    Ok(())
}

fn write_ladders(out: &mut String, view: &View) -> std::fmt::Result {
    view.ladder
        .as_ref()
        .map_or(Ok(()), |ladder| write_ladder(out, ladder))
}

fn write_facts(out: &mut String, view: &View) -> std::fmt::Result {
    writeln!(out)?;
    for (name, value) in &view.facts {
        writeln!(out, "- {name}: {}", escape(value))?;
    }
    Ok(())
}

/// Each configuration's verdicts.
fn write_isolation(out: &mut String, view: &View) -> std::fmt::Result {
    let isolation = &view.isolation;
    if isolation.columns.is_empty() {
        return Ok(());
    }
    let row = |cells: &[String]| {
        cells
            .iter()
            .map(|c| format!(" {} |", escape(c)))
            .collect::<String>()
    };
    writeln!(out, "\n| isolation |{}", row(&isolation.columns))?;
    writeln!(out, "|---|{}", "---|".repeat(isolation.columns.len()))?;
    for group in &isolation.groups {
        let empty = " |".repeat(isolation.columns.len());
        writeln!(out, "| **{}** |{empty}", escape(&group.heading))?;
        for (name, cells) in &group.rows {
            writeln!(out, "| {} |{}", escape(name), row(cells))?;
        }
    }
    writeln!(out)?;
    for sentence in &isolation.legend {
        writeln!(out, "{}", escape(sentence))?;
    }
    Ok(())
}

/// Estimates.
fn write_metrics(out: &mut String, view: &View) -> std::fmt::Result {
    if view.groups.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n| | median | 95 % interval | × process | × container | n |"
    )?;
    writeln!(out, "|---|---:|---:|---:|---:|---:|")?;
    for group in &view.groups {
        writeln!(
            out,
            "| **{}** ({}) | | | | | |",
            escape(&group.heading),
            group.direction
        )?;
        for row in &group.rows {
            writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} |",
                escape(&row.backend),
                row.median,
                row.interval,
                row.to_process,
                row.to_container,
                row.samples
            )?;
        }
    }
    Ok(())
}

fn write_memory(out: &mut String, view: &View) -> std::fmt::Result {
    view.memory
        .iter()
        .try_for_each(|sheet| write_sheet(out, sheet))
}

fn write_boundary(out: &mut String, view: &View) -> std::fmt::Result {
    if !view.boundary.details.is_empty() {
        writeln!(
            out,
            "\nWhat crosses the payload's boundary. {}\n",
            escape(view.boundary.legend)
        )?;
        writeln!(out, "| workload | configuration | counts |\n|---|---|---|")?;
        for detail in &view.boundary.details {
            let cells = detail.each_ref().map(|cell| escape(cell));
            writeln!(out, "| {} |", cells.join(" | "))?;
        }
    }
    Ok(())
}

/// Where starts and teardowns go.
fn write_phases(out: &mut String, view: &View) -> std::fmt::Result {
    for breakdown in &view.phases {
        writeln!(
            out,
            "\n{} of {}\n",
            breakdown.metric,
            escape(&breakdown.backend)
        )?;
        writeln!(out, "| phase | median |\n|---|---:|")?;
        for (name, median) in &breakdown.phases {
            writeln!(out, "| `{name}` | {median} |")?;
        }
    }
    Ok(())
}

fn write_ladder(out: &mut String, ladder: &LadderView) -> std::fmt::Result {
    for sentence in &ladder.findings {
        writeln!(out, "- {}", escape(sentence))?;
    }
    writeln!(out, "\n## {}\n", escape(&ladder.title))?;
    for line in &ladder.legend {
        writeln!(out, "{}\n", escape(line))?;
    }
    for table in &ladder.tables {
        let columns = ladder.columns.join(" | ");
        writeln!(
            out,
            "| {} | {columns} |\n|---|---:|---:|---:|",
            table.heading
        )?;
        for row in &table.rows {
            writeln!(
                out,
                "| {} |",
                row.each_ref().map(|cell| escape(cell.as_str())).join(" | ")
            )?;
        }
        writeln!(out)?;
        if !table.picture.is_empty() {
            writeln!(out, "```\n{}\n```\n", table.picture.join("\n"))?;
        }
    }
    if !ladder.debts.is_empty() {
        writeln!(
            out,
            "{}\n\n| | µs |\n|---|---:|",
            escape(&ladder.debts_title)
        )?;
        for (id, more) in &ladder.debts {
            writeln!(out, "| {} | {} |", escape(id), escape(more.as_str()))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn write_sheet(out: &mut String, sheet: &Sheet) -> std::fmt::Result {
    writeln!(
        out,
        "\nMemory of one more idle instance, and where it went\n"
    )?;
    write!(out, "| |")?;
    for backend in &sheet.backends {
        write!(out, " {} |", escape(backend))?;
    }
    writeln!(out, "\n|---|{}", "---:|".repeat(sheet.backends.len()))?;
    for (name, cells) in &sheet.rows {
        write!(out, "| {} |", escape(name))?;
        for cell in cells {
            write!(out, " {cell} |")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Host facts and reasons come from outside: nothing in them may act as markup.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '<' | '>' | '*' | '_' | '`' | '[' | ']' | '\\' | '#' => {
                out.push('\\');
                out.push(c);
            }
            '\n' | '\r' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
