//! A plain table of short cells: the first column to the left, the others to the right; and a value as JSON.

use serde::Serialize;

use crate::failure::Failure;

/// A table of short cells.
#[derive(Debug, Clone)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(titles: impl IntoIterator<Item = String>) -> Self {
        Self { rows: vec![titles.into_iter().collect()] }
    }

    /// Appends a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The text: columns two blanks apart, a rule below the titles, indented by two. Titles of two words stand in two
    /// lines where the column is narrower.
    pub fn text(&self) -> String {
        let Some((titles, rows)) = self.rows.split_first() else { return String::new() };
        let widest = |index: usize| {
            let words = titles.get(index).into_iter().flat_map(|title| title.rsplitn(2, ' '));
            let cells = rows.iter().filter_map(|row| row.get(index)).map(String::as_str);
            words.chain(cells).map(|text| text.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..titles.len()).map(widest).collect();
        let line = |cells: &[&str]| {
            let padded = cells.iter().zip(&widths).enumerate().map(|(index, (cell, &width))| match index {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            format!("  {}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
        };
        let split = |title: &'_ str, width: usize| match title.rsplit_once(' ') {
            Some((first, last)) if title.chars().count() > width => (first.to_owned(), last.to_owned()),
            _ => (String::new(), title.to_owned()),
        };
        let halves: Vec<(String, String)> =
            titles.iter().zip(&widths).map(|(title, width)| split(title, *width)).collect();
        let mut text = String::new();
        if halves.iter().any(|(first, _)| !first.is_empty()) {
            text.push_str(&line(&halves.iter().map(|(first, _)| first.as_str()).collect::<Vec<_>>()));
        }
        text.push_str(&line(&halves.iter().map(|(_, last)| last.as_str()).collect::<Vec<_>>()));
        let rule = widths.iter().sum::<usize>() + 2 * widths.len();
        text.push_str(&format!("{}\n", "-".repeat(rule)));
        for row in rows {
            text.push_str(&line(&row.iter().map(String::as_str).collect::<Vec<_>>()));
        }
        text
    }
}

/// A value as indented JSON.
pub fn json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value)
        .map(|text| text + "\n")
        .map_err(|error| Failure::Write { file: "JSON".into(), reason: error.to_string() })
}
