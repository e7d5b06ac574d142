//! Running text: broken at spaces to fit the page.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Columns of a page, where nothing else is said.
const WIDTH: usize = 100;

/// How people see a text, which is no part of what it says: the one thing here that is set from outside.
static COLUMNS: AtomicUsize = AtomicUsize::new(WIDTH);

/// Lays out every text from now on for so many columns; 100 where nothing is said.
pub fn set_page_width(columns: usize) {
    COLUMNS.store(columns, Ordering::Relaxed);
}

/// Columns of a page.
pub(crate) fn page_width() -> usize {
    COLUMNS.load(Ordering::Relaxed)
}

/// The text in lines of at most [`page_width`] columns, with a line end after each; the first line starts with `first`, all
/// others with as many spaces. A word longer than a line stays whole.
pub(crate) fn wrapped(first: &str, text: &str) -> String {
    let indent = " ".repeat(first.chars().count());
    let mut lines = String::new();
    let width = page_width();
    let mut line = first.to_owned();
    let mut is_empty = true;
    for word in text.split_whitespace() {
        let length = line.chars().count() + usize::from(!is_empty) + word.chars().count();
        if !is_empty && length > width {
            lines.push_str(line.trim_end());
            lines.push('\n');
            line = indent.clone();
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    lines.push_str(line.trim_end());
    lines.push('\n');
    lines
}

/// `label` in a column of its own, then the text.
pub(crate) fn labelled(label: &str, text: &str) -> String {
    wrapped(&format!("  {label:<20} "), text)
}

/// A heading with a line under it, an empty line before.
pub(crate) fn heading(text: &str) -> String {
    format!("\n{text}\n{}\n", "-".repeat(text.chars().count()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_the_page() {
        let text = "word ".repeat(100);
        let page = wrapped("  label  ", &text);
        assert!(page.lines().all(|line| line.chars().count() <= WIDTH), "{page}");
        assert_eq!(page.matches("word").count(), 100);
        assert!(page.lines().skip(1).all(|line| line.starts_with("         word")));
        assert_eq!(wrapped("  ", &"x".repeat(150)), format!("  {}\n", "x".repeat(150)));
        assert_eq!(wrapped("a", ""), "a\n");
    }
}
