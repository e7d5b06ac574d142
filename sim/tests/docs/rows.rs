//! Tables whose rows are commands. Over such a table stands what all rows have in common:
//!
//! ```text
//! <!-- rows: simctl run ROW; line tok/s each user; bold from 2000 -->
//! ```
//!
//! and each row ends with what it puts in place of `ROW`, as `<!-- --clock 0.85 -->`. Its cells under right-aligned
//! headings are those of the line of the output. A row may name another line, or the number in it that is wanted:
//! `<!-- --profile COLUMN; line range; value 1 -->` runs one command for each column, with its heading in place of
//! `COLUMN`. Under `times` stands the quotient of a row and the one above; `<!-- all -->` is that of the last and the
//! first. Tables that are `only written` are not looked at by the tests, since they take long.

use std::collections::BTreeMap;

const BEGIN: &str = "<!-- rows: ";

/// Runs commands, each once.
pub struct Commands<'r> {
    run: &'r dyn Fn(&str) -> String,
    known: BTreeMap<String, String>,
}

impl<'r> Commands<'r> {
    /// Commands that `run` runs.
    pub fn new(run: &'r dyn Fn(&str) -> String) -> Self {
        Self { run, known: BTreeMap::new() }
    }

    fn output(&mut self, command: &str) -> &str {
        let output = || (self.run)(command);
        self.known.entry(command.to_owned()).or_insert_with(output)
    }
}

/// What is asked of the output of a command: of a table, or of a row.
#[derive(Clone, Default)]
struct Spec {
    command: String,
    line: String,
    value: Option<usize>,
    bold_from: Option<f64>,
    only_written: bool,
}

impl Spec {
    /// What the comment of a table or a row says, with `self` for what it leaves out.
    fn with(&self, text: &str) -> Self {
        let mut parts = text.split("; ").map(str::trim);
        let row = parts.next().unwrap_or_default();
        let command = if self.command.is_empty() { row.to_owned() } else { self.command.replace("ROW", row) };
        let mut spec = Self { command: command.trim_end().to_owned(), ..self.clone() };
        for part in parts {
            match part.split_once(' ') {
                Some(("line", line)) => spec.line = line.to_owned(),
                Some(("value", value)) => spec.value = value.parse().ok(),
                Some(("bold", from)) => spec.bold_from = from.strip_prefix("from ").and_then(|from| from.parse().ok()),
                Some(("only", "written")) => spec.only_written = true,
                _ => panic!("a table of rows says '{part}'"),
            }
        }
        spec
    }
}

/// A page with its tables of rows as the commands say now, and how many tables there are.
pub fn filled(page: &str, is_writing: bool, commands: &mut Commands<'_>) -> (String, usize) {
    let (mut fresh, mut tables) = (String::with_capacity(page.len()), 0);
    let mut table: Option<Table> = None;
    for line in page.split_inclusive('\n') {
        let text = line.trim_end_matches('\n');
        if let Some(spec) = text.strip_prefix(BEGIN).and_then(|text| text.strip_suffix(" -->")) {
            tables += 1;
            table = Some(Table::new(Spec::default().with(spec)));
        } else if text.starts_with('|')
            && let Some(table) = table.as_mut().filter(|table| is_writing || !table.spec.only_written)
        {
            fresh.push_str(&table.row(text, commands));
            fresh.push('\n');
            continue;
        } else if !text.is_empty() {
            table = None;
        }
        fresh.push_str(line);
    }
    (fresh, tables)
}

struct Table {
    spec: Spec,
    headings: Vec<String>,
    is_figure: Vec<bool>,
    /// The figures of the rows so far, those in the first column that has any.
    firsts: Vec<f64>,
}

impl Table {
    const fn new(spec: Spec) -> Self {
        Self { spec, headings: Vec::new(), is_figure: Vec::new(), firsts: Vec::new() }
    }

    fn row(&mut self, text: &str, commands: &mut Commands<'_>) -> String {
        let mut cells: Vec<String> = text.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
        if self.headings.is_empty() {
            self.headings = cells;
            return text.to_owned();
        }
        if self.is_figure.is_empty() {
            self.is_figure = cells.iter().map(|cell| cell.starts_with("--") && cell.ends_with(':')).collect();
            return text.to_owned();
        }
        let last = cells.pop().unwrap_or_default();
        let (_, comment) = last.split_once("<!--").unwrap_or_else(|| panic!("a row without a command: {text}"));
        let comment = comment.trim_end_matches("-->").trim().to_owned();
        cells.push(String::new());
        let columns: Vec<usize> = (0..cells.len()).filter(|column| self.is_figure[*column]).collect();
        let times = columns.iter().copied().find(|column| self.headings[*column] == "times");
        let figures: Vec<usize> = columns.into_iter().filter(|column| Some(*column) != times).collect();
        if comment == "all" {
            if let (Some(times), [first, .., last]) = (times, self.firsts.as_slice()) {
                cells[times] = format!("**{:.2}**", last / first);
            }
        } else {
            let spec = self.spec.with(&comment);
            for (index, column) in figures.iter().enumerate() {
                let heading = self.headings[*column].trim_matches('`');
                let output = commands.output(&spec.command.replace("COLUMN", heading));
                let found = figure(output, &spec, index);
                let found = found.unwrap_or_else(|| panic!("`{}` prints no '{}'", spec.command, spec.line));
                let number = number(&found);
                if index == 0 {
                    self.firsts.extend(number);
                }
                let is_bold = number.zip(spec.bold_from).is_some_and(|(number, from)| number >= from);
                cells[*column] = if is_bold { format!("**{found}**") } else { found };
            }
            if let (Some(times), [.., before, now]) = (times, self.firsts.as_slice()) {
                cells[times] = format!("{:.2}", now / before);
            }
        }
        let mut row = String::from("|");
        for (column, cell) in cells.iter().enumerate() {
            let comment = if column + 1 < cells.len() { String::new() } else { format!("<!-- {comment} -->") };
            let words = [cell.as_str(), &comment].into_iter().flat_map(str::split_whitespace);
            words.for_each(|word| row.extend([" ", word]));
            row.push_str(" |");
        }
        row
    }
}

/// The figure of a column: a cell of the line, or one of its numbers.
fn figure(output: &str, spec: &Spec, column: usize) -> Option<String> {
    let lines = output.lines().filter_map(|line| line.trim_start().strip_prefix(&spec.line));
    let line = lines.into_iter().find(|line| line.starts_with("  "))?;
    match spec.value {
        Some(value) => line.split_whitespace().filter(|word| number(word).is_some()).nth(value - 1).map(str::to_owned),
        None => line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).nth(column).map(str::to_owned),
    }
}

fn number(text: &str) -> Option<f64> {
    text.replace(',', "").parse().ok()
}

#[test]
fn rows_are_filled() {
    let run = |command: &str| match command {
        "simctl run --clock 2" => "\n  speed   1,200  2,400\n".to_owned(),
        other => format!("  speed   600  900\n  range   {} to 7 tok/s\n", if other.ends_with("b") { 5 } else { 3 }),
    };
    let page = "<!-- rows: simctl run ROW; line speed; bold from 2000 -->\n\n| x | `a` | b |\n|---|--:|--:|\n\
                | as it is | | <!-- --> |\n| clock | 1 | 1 <!-- --clock 2 --> |\n\
                | low | | <!-- --at COLUMN; line range; value 1 --> |\n\ntext | 1 |\n";
    let wanted = "<!-- rows: simctl run ROW; line speed; bold from 2000 -->\n\n| x | `a` | b |\n|---|--:|--:|\n\
                  | as it is | 600 | 900 <!-- --> |\n| clock | 1,200 | **2,400** <!-- --clock 2 --> |\n\
                  | low | 3 | 5 <!-- --at COLUMN; line range; value 1 --> |\n\ntext | 1 |\n";
    assert_eq!(filled(page, false, &mut Commands::new(&run)), (wanted.to_owned(), 1));
}
