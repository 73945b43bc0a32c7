//! The report as Markdown, for a pull request or a job summary.

use std::fmt::Write;

use super::model::{Sheet, View};

/// Lays the view out as Markdown.
#[must_use]
pub fn render(view: &View) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_view(&mut out, view);
    out
}

fn write_view(out: &mut String, view: &View) -> std::fmt::Result {
    writeln!(out, "# {}\n", escape(&view.title))?;
    for sentence in view.findings.iter().chain(&view.notes) {
        writeln!(out, "- {}", escape(sentence))?;
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
    for sheet in &view.memory {
        write_sheet(out, sheet)?;
    }
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
    writeln!(out)?;
    for (name, value) in &view.facts {
        writeln!(out, "- {name}: {}", escape(value))?;
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
fn escape(text: &str) -> String {
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
