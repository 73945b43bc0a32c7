//! The report on a terminal: at most 80 columns, readable without colour.

use comfy_table::{Cell, CellAlignment, ColumnConstraint, Table, TableStyle, Width};

use super::figure::Figure;
use super::isolation::Isolation;
use super::ladder::LadderView;
use super::model::{Boundary, Sheet, View};

/// Lays the view out as text.
#[must_use]
pub fn render(view: &View) -> String {
    let mut out = format!("{}\n", view.title);
    for (name, value) in &view.facts {
        out.push_str(&wrap(&format!("{name:>9}  {value}"), 80, 11));
    }
    out.push('\n');
    if let Some(ladder) = &view.ladder {
        // The estimates of every rung's containers are in the files of the run.
        out.push_str(&self::ladder(ladder));
    } else {
        out.push_str(&estimates(view));
    }
    out.push_str(&isolation(&view.isolation));
    let answers = view.glances.iter().filter_map(|g| g.sentence.as_ref());
    let said = answers.chain(&view.findings).map(Figure::as_str);
    for sentence in said.chain(view.notes.iter().map(String::as_str)) {
        out.push_str(&wrap(&format!("• {sentence}"), 80, 2));
    }
    if !view.engines.is_empty() {
        let engines: Vec<&str> = view.engines.iter().map(|e| e.brief.as_str()).collect();
        let line = format!(
            "• Somebody else's programs, with the points in which each differs from container (all in \
             report.html, summary.md and run.json): {}.",
            engines.join(", ")
        );
        out.push_str(&wrap(&line, 80, 2));
    }
    out
}

/// The table, and where starts and teardowns go.
fn estimates(view: &View) -> String {
    let mut out = String::new();
    if !view.groups.is_empty() {
        out.push_str(&table(view));
    }
    for sheet in &view.memory {
        out.push_str(&memory(sheet));
    }
    out.push_str(&boundary(&view.boundary));
    for breakdown in &view.phases {
        let parts: Vec<String> = breakdown
            .phases
            .iter()
            .map(|(name, median)| format!("{name} {median}"))
            .collect();
        let line = format!(
            "{} of {}: {}",
            breakdown.metric,
            breakdown.backend,
            parts.join(", ")
        );
        out.push_str(&wrap(&line, 80, 2));
    }
    if !view.phases.is_empty() {
        out.push('\n');
    }
    out
}

/// Widths of the columns, padding included: 80 in all.
const WIDTHS: [u16; 5] = [10, 13, 13, 22, 22];
/// Of a ladder.
const RUNGS: [u16; 4] = [13, 23, 22, 22];
/// Of its debts.
const DEBTS: [u16; 2] = [36, 24];

fn ladder(view: &LadderView) -> String {
    let mut out = wrap(&view.title, 80, 2);
    for line in &view.legend {
        out.push_str(&wrap(line, 80, 2));
    }
    for table in &view.tables {
        let [added, alone, left_out] = view.columns;
        let head = [table.heading.as_str(), added, alone, left_out];
        let body = table
            .rows
            .iter()
            .map(|row| row.each_ref().map(Figure::as_str));
        out.push('\n');
        out.push_str(&rows(std::iter::once(head).chain(body), RUNGS));
        for line in &table.picture {
            out.push_str(&format!("  {line}\n"));
        }
    }
    if !view.debts.is_empty() {
        out.push('\n');
        out.push_str(&wrap(&view.debts_title, 80, 2));
        let debts = view.debts.iter();
        let debts = debts.map(|(id, more)| [id.as_str(), more.as_str()]);
        out.push_str(&rows(debts, DEBTS));
    }
    out.push('\n');
    for sentence in &view.findings {
        out.push_str(&wrap(&format!("• {sentence}"), 80, 2));
    }
    out
}

fn table(view: &View) -> String {
    let mut out = rows(
        [["", "median", "95 % CI", "× process", "× container"]].into_iter(),
        WIDTHS,
    );
    for group in &view.groups {
        out.push_str(&format!("{} ({})\n", group.heading, group.direction));
        for row in &group.rows {
            let mut cells = [
                row.backend.as_str(),
                row.median.as_str(),
                row.interval.as_str(),
                row.to_process.as_str(),
                row.to_container.as_str(),
            ];
            // A name too long for its column has a line to itself.
            if row.backend.chars().count() >= usize::from(WIDTHS[0]) {
                out.push_str(&format!("{}\n", row.backend));
                cells[0] = "";
            }
            out.push_str(&rows(std::iter::once(cells), WIDTHS));
        }
    }
    out.push('\n');
    out
}

/// A configuration's id, broken where it has parts.
fn broken(id: &str) -> String {
    id.replace(':', "\n:")
        .replace('=', "=\n")
        .replace('+', "\n+")
}

/// Columns beside the names, at most; more configurations make more tables.
const COLUMNS: usize = 4;

/// Each configuration's verdicts.
fn isolation(view: &Isolation) -> String {
    let mut out = String::new();
    for (index, columns) in view.columns.chunks(COLUMNS).enumerate() {
        let first = index * COLUMNS;
        let widths = |n: usize| {
            if n == 0 {
                22
            } else {
                (80 - 22) / columns.len() as u16
            }
        };
        let widths: Vec<u16> = (0..=columns.len()).map(|n| widths(n).min(22)).collect();
        let names: Vec<String> = columns.iter().map(|id| broken(id)).collect();
        let names = names.iter().map(String::as_str);
        let head: Vec<&str> = std::iter::once("isolation").chain(names).collect();
        out.push_str(&lines(&widths, std::iter::once(head)));
        for group in &view.groups {
            out.push_str(&format!("{}\n", group.heading));
            let rows: Vec<(String, &[String])> = group
                .rows
                .iter()
                .map(|(name, cells)| (format!("  {name}"), &cells[first..first + columns.len()]))
                .collect();
            out.push_str(&lines(
                &widths,
                rows.iter().map(|(name, cells)| {
                    let cells = cells.iter().map(String::as_str);
                    std::iter::once(name.as_str()).chain(cells).collect()
                }),
            ));
        }
    }
    for sentence in &view.legend {
        out.push_str(&wrap(sentence, 80, 2));
    }
    if !view.columns.is_empty() {
        out.push('\n');
    }
    out
}

/// Configurations beside each other in a table of crossings.
const ABREAST: usize = 3;
/// Widths of its columns, padding included.
const CROSSINGS: [u16; 4] = [17, 21, 21, 21];

/// Widths of a balance sheet's columns, padding included.
const SHEET: [u16; 4] = [14, 22, 22, 22];

fn memory(sheet: &Sheet) -> String {
    let mut out = "memory of one more idle instance, and where it went\n".to_owned();
    let head = sheet.backends.iter().map(String::as_str);
    let head: Vec<&str> = std::iter::once("").chain(head).collect();
    let body = sheet.rows.iter().map(|(name, cells)| {
        let cells = cells.iter().map(Figure::as_str);
        std::iter::once(name.as_str()).chain(cells).collect()
    });
    let all = std::iter::once(head).chain(body);
    out.push_str(&lines(&SHEET[..=sheet.backends.len()], all));
    out.push('\n');
    out
}

/// What crosses each payload's boundary.
fn boundary(view: &Boundary) -> String {
    let mut out = String::new();
    for (index, columns) in view.columns.chunks(ABREAST).enumerate() {
        let first = index * ABREAST;
        let head = std::iter::once("crossings").chain(columns.iter().map(String::as_str));
        let body = view.rows.iter().map(|(task, cells)| {
            let cells = cells[first..first + columns.len()].iter();
            std::iter::once(task.as_str())
                .chain(cells.map(String::as_str))
                .collect()
        });
        let all = std::iter::once(head.collect()).chain(body);
        out.push_str(&lines(&CROSSINGS[..=columns.len()], all));
    }
    if !view.columns.is_empty() {
        out.push_str(&wrap(view.legend, 80, 2));
        out.push('\n');
    }
    out
}

fn rows<'a, const N: usize>(rows: impl Iterator<Item = [&'a str; N]>, widths: [u16; N]) -> String {
    lines(&widths, rows.map(Vec::from))
}

/// Rows without lines between them, the first column to the left, all others to the right.
fn lines<'a>(widths: &[u16], rows: impl Iterator<Item = Vec<&'a str>>) -> String {
    let mut table = Table::new();
    table.load_style(TableStyle::new());
    for row in rows {
        table.add_row(row.into_iter().map(Cell::new));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        // A column's width includes its padding: one blank on the left of all but the first.
        column.set_padding((u16::from(index > 0), 0));
        column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(widths[index])));
        if index > 0 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    format!("{}\n", table.trim_fmt())
}

/// Breaks a line at blanks so that it fits `width` columns; later lines are indented. A word longer
/// than a line, as paths are, is broken behind a slash, or anywhere if it has none.
#[must_use]
pub fn wrap(text: &str, width: usize, indent: usize) -> String {
    let mut out = String::new();
    let mut column = 0;
    let lead = text.chars().take_while(|c| *c == ' ').count();
    out.push_str(&" ".repeat(lead));
    column += lead;
    let mut fresh = true;
    for word in text.trim_start().split(' ') {
        let length = word.chars().count();
        if !fresh && column + 1 + length > width {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else if !fresh {
            out.push(' ');
            column += 1;
        }
        let mut rest = word;
        loop {
            let room = width.saturating_sub(column).max(1);
            let Some((end, _)) = rest.char_indices().nth(room) else {
                break;
            };
            let end = rest[..end].rfind('/').map_or(end, |slash| slash + 1);
            out.push_str(&rest[..end]);
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            column = indent;
            rest = &rest[end..];
        }
        out.push_str(rest);
        column += rest.chars().count();
        fresh = false;
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_asked_and_nothing_is_lost() {
        let path = format!("/sys/{}/x", "é".repeat(100));
        for text in [
            "short",
            &path,
            &format!("a {path} b"),
            &format!("  lead {path}"),
            "",
        ] {
            let lines = wrap(text, 40, 3);
            assert!(lines.lines().all(|l| l.chars().count() <= 40), "{lines}");
            let bare = |t: &str| t.replace([' ', '\n'], "");
            assert_eq!(bare(&lines), bare(text));
        }
        let broken = wrap("at /first/second/third", 16, 2);
        assert_eq!(broken, "at\n  /first/second/\n  third\n");
    }
}
