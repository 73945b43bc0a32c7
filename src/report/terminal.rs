//! The report on a terminal: at most 80 columns, readable without colour.

use comfy_table::{Cell, CellAlignment, ColumnConstraint, Table, TableStyle, Width};

use super::model::{Sheet, View};

/// Lays the view out as text.
#[must_use]
pub fn render(view: &View) -> String {
    let mut out = format!("{}\n", view.title);
    for (name, value) in &view.facts {
        out.push_str(&wrap(&format!("{name:>9}  {value}"), 80, 11));
    }
    out.push('\n');
    out.push_str(&table(view));
    for sheet in &view.memory {
        out.push_str(&memory(sheet));
    }
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
    for sentence in view.findings.iter().chain(&view.notes) {
        out.push_str(&wrap(&format!("• {sentence}"), 80, 2));
    }
    out
}

/// Widths of the columns, padding included: 80 in all.
const WIDTHS: [u16; 5] = [10, 13, 14, 21, 22];

fn table(view: &View) -> String {
    let mut out = rows([["", "median", "95 % interval", "× process", "× container"]].into_iter());
    for group in &view.groups {
        out.push_str(&format!("{} ({})\n", group.heading, group.direction));
        out.push_str(&rows(group.rows.iter().map(|row| {
            [
                &row.backend,
                &row.median,
                &row.interval,
                &row.to_process,
                &row.to_container,
            ]
            .map(String::as_str)
        })));
    }
    out.push('\n');
    out
}

/// Widths of a balance sheet's columns, padding included.
const SHEET: [u16; 4] = [14, 22, 22, 22];

fn memory(sheet: &Sheet) -> String {
    let mut out = "memory of one more idle instance, and where it went\n".to_owned();
    let line = |first: &'_ str, cells: &[String]| -> Vec<String> {
        std::iter::once(first.to_owned())
            .chain(cells.iter().cloned())
            .collect()
    };
    let mut lines = vec![line("", &sheet.backends)];
    lines.extend(sheet.rows.iter().map(|(name, cells)| line(name, cells)));
    let borrowed = lines.iter().map(|l| l.iter().map(String::as_str).collect());
    out.push_str(&aligned(borrowed, &SHEET));
    out.push('\n');
    out
}

/// Rows without lines between them, the first column to the left, numbers to the right.
fn rows<'a>(rows: impl Iterator<Item = [&'a str; 5]>) -> String {
    aligned(rows.map(|row| row.to_vec()), &WIDTHS)
}

fn aligned<'a>(rows: impl Iterator<Item = Vec<&'a str>>, widths: &[u16]) -> String {
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

/// Breaks a line at blanks so that it fits `width` columns; later lines are indented.
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
        out.push_str(word);
        column += length;
        fresh = false;
    }
    out.push('\n');
    out
}
