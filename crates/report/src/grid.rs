//! A table of texts, and its two forms: plain text and Markdown.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, Table, TableStyle};

use crate::paragraph::page_width;

/// Longest cell of a first or numeric column that is never broken over lines.
const LONGEST_NAME: usize = 44;
/// The same of any other column.
const LONGEST_WORD: usize = 15;

/// Where the cells of a column stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table of texts. Rows shorter than the header are filled with empty cells.
#[derive(Debug, Clone, Default)]
pub(crate) struct Grid {
    columns: Vec<(String, Side)>,
    rows: Vec<Vec<String>>,
}

impl Grid {
    /// A table without rows.
    pub fn new<T: Into<String>>(columns: impl IntoIterator<Item = (T, Side)>) -> Self {
        Self { columns: columns.into_iter().map(|(title, side)| (title.into(), side)).collect(), rows: Vec::new() }
    }

    /// Appends a row.
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Removes the column of that title.
    pub fn remove(&mut self, title: &str) {
        let Some(index) = self.columns.iter().position(|(known, _)| known == title) else { return };
        self.columns.remove(index);
        for row in &mut self.rows {
            if index < row.len() {
                row.remove(index);
            }
        }
    }

    /// Whether the text is wider than the page where no cell is broken over lines.
    pub fn is_too_wide(&self) -> bool {
        let title = |index: usize| self.columns.get(index).map_or(0, |(title, _)| title.chars().count());
        let widths = (0..self.columns.len()).map(|index| self.content_width(index).max(title(index)) + 2);
        widths.sum::<usize>() > page_width()
    }

    fn content_width(&self, index: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(index));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    }

    /// As plain text of at most 100 columns, indented by two.
    pub fn text(&self) -> String {
        let mut table = Table::new();
        table.load_style(TableStyle::new().header_separator(LineStyle::none().fill('-').junction('-')));
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(page_width() as u16);
        table.set_header(self.columns.iter().map(|(title, _)| title.as_str()));
        for row in &self.rows {
            table.add_row(row);
        }
        for (index, (_, side)) in self.columns.iter().enumerate() {
            // Only sentences are broken over lines; names and numbers stay whole.
            let longest = if index == 0 || *side == Side::Right { LONGEST_NAME } else { LONGEST_WORD };
            let is_whole = self.content_width(index) <= longest;
            if let Some(column) = table.column_mut(index) {
                if is_whole {
                    column.set_constraint(ColumnConstraint::ContentWidth);
                }
                // With the blank that the style puts between columns, two blanks.
                column.set_padding(if index == 0 { (2, 0) } else { (1, 0) });
                column.set_cell_alignment(match side {
                    Side::Left => CellAlignment::Left,
                    Side::Right => CellAlignment::Right,
                });
            }
        }
        table.trim_fmt() + "\n"
    }

    /// As a Markdown table.
    pub fn markdown(&self) -> String {
        let line = |cells: &mut dyn Iterator<Item = String>| format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "));
        let mut text = line(&mut self.columns.iter().map(|(title, _)| escaped(title)));
        let rule = |side: &Side| if *side == Side::Left { "---" } else { "--:" };
        text.push_str(&line(&mut self.columns.iter().map(|(_, side)| rule(side).to_owned())));
        for row in &self.rows {
            let cells =
                (0..self.columns.len()).map(|index| row.get(index).map_or_else(String::new, |cell| escaped(cell)));
            text.push_str(&line(&mut { cells }));
        }
        text
    }
}

/// A cell's text without what would end the cell.
fn escaped(cell: &str) -> String {
    cell.replace('|', "\\|").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Grid {
        let mut grid = Grid::new([("what", Side::Left), ("how much", Side::Right)]);
        grid.row(["a | b", "1,000"]);
        grid.row(["c"]);
        grid
    }

    #[test]
    fn text_is_aligned() {
        assert_eq!(example().text(), "  what   how much\n-----------------\n  a | b     1,000\n  c\n");
    }

    #[test]
    fn columns_can_be_removed_until_it_fits() {
        let mut grid = Grid::new([("a", Side::Left), ("wide", Side::Right)]);
        grid.row(["x".repeat(95), "1".into()]);
        assert!(grid.is_too_wide());
        grid.remove("wide");
        assert!(!grid.is_too_wide());
        assert_eq!(grid.markdown(), format!("| a |\n| --- |\n| {} |\n", "x".repeat(95)));
    }

    #[test]
    fn markdown_is_escaped() {
        assert_eq!(example().markdown(), "| what | how much |\n| --- | --: |\n| a \\| b | 1,000 |\n| c |  |\n");
    }

    #[test]
    fn long_cells_are_wrapped_to_the_page() {
        let mut grid = Grid::new([("what", Side::Left), ("why", Side::Left)]);
        grid.row(["x".to_owned(), "because of it ".repeat(30)]);
        assert!(grid.text().lines().all(|line| line.len() <= page_width()));
    }
}
