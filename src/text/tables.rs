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
    // What follows a table directly stands apart from it.
    let follow = |out: &mut String, text: &str, first: bool| {
        let text = if first { text } else { text.trim_start_matches(['\n', '\r']) };
        if !out.is_empty() && !text.is_empty() {
            out.push_str(if mode == MarkdownTables::Code { "\n" } else { "\n\n" });
        }
        out.push_str(text);
    };
    for (place, table) in tables(text) {
        let before = &text[done..place.start];
        follow(&mut out, before, done == 0);
        let within = container(before);
        let table = if mode == MarkdownTables::Code { table.aligned() } else { table.listed() };
        // What a table stands behind is set off by a blank line; white space alone is dropped.
        if within.is_none() {
            out.truncate(out.trim_end().len());
            if !out.is_empty() && !table.is_empty() {
                out.push_str("\n\n");
            }
        }
        match within {
            Some(begin) => out.push_str(&table.replace('\n', &format!("\n{begin}"))),
            None => out.push_str(&table),
        }
        done = place.end;
    }
    follow(&mut out, &text[done..], done == 0);
    out
}

/// How the lines of a quote or list item go on whose first line `before` ends with.
fn container(before: &str) -> Option<String> {
    let line = before.rsplit('\n').next().filter(|line| !line.trim().is_empty())?;
    let marks = |c: char| " \t>-*+.)".contains(c) || c.is_ascii_digit();
    line.chars().all(marks).then(|| line.chars().map(|c| if c == '>' { '>' } else { ' ' }).collect())
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

/// One cell: as written, without what makes it bold, and what of it is seen.
#[derive(Default)]
struct Cell {
    source: String,
    plain: String,
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
    let (mut inside, mut row, mut cell) = (false, Vec::new(), None::<(Range<usize>, String)>);
    // Places of the stars of bold text in the cell.
    let mut stars: Vec<usize> = Vec::new();
    for (event, place) in
        Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH).into_offset_iter()
    {
        match event {
            Event::Start(Tag::Table(_)) => {
                inside = true;
                found.push((place, Table::default()));
            }
            Event::End(TagEnd::Table) => inside = false,
            Event::Start(Tag::TableCell) => {
                stars.clear();
                cell = Some((place, String::new()));
            }
            Event::Start(Tag::Strong) => stars.extend([place.start, place.end - 2]),
            Event::End(TagEnd::TableCell) => {
                if let Some((place, seen)) = cell.take() {
                    stars.sort_unstable();
                    let (mut plain, mut at) = (String::new(), place.start);
                    for &star in &stars {
                        plain.push_str(text.get(at..star).unwrap_or_default());
                        at = star + 2;
                    }
                    plain.push_str(text.get(at..place.end).unwrap_or_default());
                    let cell = |source: &str| {
                        let source = source.trim().trim_start_matches('|').trim_end_matches('|').trim();
                        source.replace("\\|", "|")
                    };
                    row.push(Cell { source: cell(&text[place]), plain: cell(&plain), seen: seen.trim().to_owned() });
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
            Event::Text(seen) | Event::Code(seen) | Event::InlineHtml(seen) if inside => {
                if let Some((_, text)) = &mut cell {
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
    fn listed(&self) -> String {
        let label = self.head.len() > 1;
        let mut blocks = Vec::new();
        for row in &self.rows {
            let mut lines = Vec::new();
            if let Some(first) = row.first().filter(|cell| label && !cell.seen.is_empty()) {
                lines.push(format!("**{}**", first.plain));
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
        blocks.join("\n\n")
    }

    /// Aligned columns in a fence.
    fn aligned(&self) -> String {
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
        lines.join("\n")
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
    fn cells_keep_what_they_say() {
        let table = "| A | B |\n|---|---|\n| **a** b **c** | `x\\|y` |\n| <b> | 2 |";
        assert_eq!(convert(table, MarkdownTables::Bullets), "**a b c**\n• B: `x|y`\n\n**<b>**\n• B: 2");
    }

    #[test]
    fn text_between_tables_stands_apart() {
        let table = "| A |\n|---|\n| 1 |\n";
        let got = convert(&format!("{table}- x\n\n{table}"), MarkdownTables::Bullets);
        assert_eq!(got, "• A: 1\n\n- x\n\n• A: 1");
    }

    #[test]
    fn a_table_stays_in_its_quote() {
        let got = convert("> | A | B |\n> |---|---|\n> | 1 | 2 |", MarkdownTables::Code);
        assert_eq!(got, "> ```\n> | A | B |\n> | --- | --- |\n> | 1 | 2 |\n> ```");
    }

    #[test]
    fn what_is_no_table_stays() {
        for text in ["a | b", "```\n| A | B |\n|---|---|\n```", "x\n---|---\n"] {
            assert_eq!(convert(text, MarkdownTables::Bullets), text);
        }
    }
}
