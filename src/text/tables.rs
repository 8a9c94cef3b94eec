//! Tables in Markdown, which WhatsApp cannot show, as lists or aligned text (behaviour.md 12.3). Markdown in, Markdown out.

use std::ops::Range;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::config::model::MarkdownTables;

/// `text` with its tables turned into what `mode` says. A text without tables comes back as it is.
pub fn convert(text: &str, mode: MarkdownTables) -> String {
    // Without a bar there is no table.
    if mode == MarkdownTables::Off || !text.contains('|') {
        return text.to_owned();
    }
    let text = &table_after_text(text);
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for (place, table) in tables(text) {
        let before = text[done..place.start].trim_end();
        // What a table stands behind is set off by a blank line; white space alone is dropped.
        out.push_str(before);
        if !out.is_empty() {
            out.truncate(out.trim_end().len());
            out.push_str("\n\n");
        }
        match mode {
            MarkdownTables::Code => table.aligned(&mut out),
            _ => table.listed(&mut out),
        }
        done = place.end;
    }
    let after = text[done..].trim_start_matches(['\n', '\r']);
    if done == 0 {
        out.push_str(&text[done..]);
    } else if !after.is_empty() {
        out.push_str(if mode == MarkdownTables::Code { "\n" } else { "\n\n" });
        out.push_str(after);
    }
    out
}

/// A table that follows a line of text directly is one all the same: the parser wants a blank line there.
fn table_after_text(text: &str) -> String {
    let lines: Vec<&str> = text.split('\n').collect();
    let ruler = |line: &str| {
        let line = line.trim();
        line.contains('-') && line.contains('|') && line.chars().all(|c| matches!(c, '|' | '-' | ':' | ' '))
    };
    let mut out = String::with_capacity(text.len() + 8);
    let mut fenced = false;
    for (at, line) in lines.iter().enumerate() {
        fenced ^= line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~");
        let head = !fenced && line.contains('|') && lines.get(at + 1).is_some_and(|next| ruler(next)) && !ruler(line);
        if head && at > 0 && !lines[at - 1].trim().is_empty() && !lines[at - 1].contains('|') {
            out.push('\n');
        }
        out.push_str(line);
        if at + 1 < lines.len() {
            out.push('\n');
        }
    }
    out
}

/// One cell: as written, and what of it is seen.
#[derive(Default)]
struct Cell {
    source: String,
    seen: String,
}

impl Cell {
    /// Width in UTF-16 units.
    fn width(&self) -> usize {
        self.seen.encode_utf16().count()
    }
}

#[derive(Default)]
struct Table {
    head: Vec<Cell>,
    rows: Vec<Vec<Cell>>,
}

fn tables(text: &str) -> Vec<(Range<usize>, Table)> {
    let mut found: Vec<(Range<usize>, Table)> = Vec::new();
    let (mut inside, mut row, mut cell) = (false, Vec::new(), None::<(usize, usize, String)>);
    for (event, place) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
        match event {
            Event::Start(Tag::Table(_)) => {
                inside = true;
                found.push((place, Table::default()));
            }
            Event::End(TagEnd::Table) => inside = false,
            Event::Start(Tag::TableCell) => cell = Some((place.start, place.end, String::new())),
            Event::End(TagEnd::TableCell) => {
                if let Some((start, end, seen)) = cell.take() {
                    let source = text[start..end].trim().trim_start_matches('|').trim_end_matches('|').trim();
                    row.push(Cell { source: source.to_owned(), seen: seen.trim().to_owned() });
                }
            }
            Event::End(TagEnd::TableHead) => {
                if let Some((_, table)) = found.last_mut() {
                    table.head = std::mem::take(&mut row);
                }
            }
            Event::End(TagEnd::TableRow) => {
                if let Some((_, table)) = found.last_mut() {
                    table.rows.push(std::mem::take(&mut row));
                }
            }
            Event::Text(seen) | Event::Code(seen) if inside => {
                if let Some((.., text)) = &mut cell {
                    text.push_str(&seen);
                }
            }
            _ => {}
        }
    }
    found
}

impl Table {
    /// A list: each row under its first cell, the others as "header: cell".
    fn listed(&self, out: &mut String) {
        let label = self.head.len() > 1;
        let mut blocks = Vec::new();
        for row in &self.rows {
            let mut lines = Vec::new();
            if let Some(first) = row.first().filter(|cell| label && !cell.seen.is_empty()) {
                // A cell that is bold already would come out with four stars.
                let bold = first.source.starts_with("**") && first.source.ends_with("**") && first.source.len() > 4;
                lines.push(if bold { first.source.clone() } else { format!("**{}**", first.source) });
            }
            for (at, cell) in row.iter().enumerate().skip(usize::from(label)) {
                if cell.seen.is_empty() {
                    continue;
                }
                let head = self.head.get(at).filter(|head| !head.seen.is_empty());
                lines.push(match head {
                    Some(head) => format!("• {}: {}", head.source, cell.source),
                    None if label => format!("• Column {at}: {}", cell.source),
                    None => format!("• {}", cell.source),
                });
            }
            if !lines.is_empty() {
                blocks.push(lines.join("\n"));
            }
        }
        out.push_str(&blocks.join("\n\n"));
    }

    /// Aligned columns in a fence.
    fn aligned(&self, out: &mut String) {
        let columns = self.rows.iter().map(Vec::len).chain([self.head.len()]).max().unwrap_or(0);
        let width = |at: usize| {
            self.rows.iter().chain([&self.head]).filter_map(|row| row.get(at)).map(Cell::width).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let none = Cell::default();
        let line = |row: &[Cell]| {
            let mut text = String::from("|");
            for (at, width) in widths.iter().enumerate() {
                let cell = row.get(at).unwrap_or(&none);
                text.push_str(&format!(" {}{} |", cell.source, " ".repeat(width - cell.width())));
            }
            text
        };
        let ruler: String = widths.iter().map(|width| format!(" {} |", "-".repeat((*width).max(3)))).collect();
        let mut lines = vec!["```".to_owned(), line(&self.head), format!("|{ruler}")];
        lines.extend(self.rows.iter().map(|row| line(row)));
        lines.push("```".to_owned());
        out.push_str(&lines.join("\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_entries() {
        let table = "Prices:\n| Item | Price | Note |\n|---|---|---|\n| Tea | 2 |  |\n| **Cake** | 3 | new |\nSo much.";
        let got = convert(table, MarkdownTables::Bullets);
        assert_eq!(got, "Prices:\n\n**Tea**\n• Price: 2\n\n**Cake**\n• Price: 3\n• Note: new\n\n**So much.**");
        assert_eq!(convert("| A |\n|---|\n| 1 |", MarkdownTables::Bullets), "• A: 1");
    }

    #[test]
    fn what_is_no_table_stays() {
        for text in ["a | b", "```\n| A | B |\n|---|---|\n```", "x\n---|---\n"] {
            assert_eq!(convert(text, MarkdownTables::Bullets), text);
        }
    }
}
