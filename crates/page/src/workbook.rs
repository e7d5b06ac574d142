//! A document as a spreadsheet: a sheet of figures, one for each table, and one that reckons how many machines serve so
//! many users and what they cost, with formulas that stay alive.

use rust_xlsxwriter::{
    Color, DocProperties, ExcelDateTime, Format, FormatBorder, Formula, Workbook, Worksheet, XlsxError,
};
use serde_json::Value;

use crate::document::{Cell, Document, Part, Table};
use crate::error::PageError;
use crate::text::{symbol, titled};

/// Longest name of a sheet.
const LONGEST_NAME: usize = 31;
/// Longest text of a cell.
const LONGEST_TEXT: usize = 32_767;
/// Widest column, in pixels.
const WIDEST: u32 = 520;

/// A document as the bytes of an `.xlsx` file. The same document gives the same bytes.
///
/// # Errors
/// Where a table has more rows or columns than a sheet can hold.
pub fn xlsx(document: &Document) -> Result<Vec<u8>, PageError> {
    workbook(document).map_err(|error| PageError::form("a spreadsheet", &error))
}

struct Styles {
    title: Format,
    heading: Format,
    column: Format,
    number: Format,
    input: Format,
    soft: Format,
}

fn workbook(document: &Document) -> Result<Vec<u8>, XlsxError> {
    let styles = Styles {
        title: Format::new().set_bold().set_font_size(14),
        heading: Format::new().set_bold().set_font_size(12),
        column: Format::new()
            .set_bold()
            .set_background_color(Color::RGB(0x00DD_E6F0))
            .set_border_bottom(FormatBorder::Thin),
        number: Format::new().set_num_format("#,##0.######"),
        input: Format::new().set_background_color(Color::RGB(0x00FF_F2CC)).set_border(FormatBorder::Thin),
        soft: Format::new().set_text_wrap().set_font_color(Color::RGB(0x0057_606A)),
    };
    let mut workbook = Workbook::new();
    // The time of writing would make other bytes of the same document.
    let created = ExcelDateTime::from_ymd(2000, 1, 1)?;
    workbook.set_properties(&DocProperties::new().set_title(&document.title).set_creation_datetime(&created));
    let mut names = Vec::new();
    figures(workbook.add_worksheet().set_name(named("Figures", &mut names))?, document, &styles)?;
    let parts = document.sections.iter().flat_map(|section| &section.parts);
    for part in parts {
        if let Part::Table(shown) = part {
            table(workbook.add_worksheet().set_name(named(&shown.name, &mut names))?, shown, &styles)?;
        }
    }
    if !document.machines.is_empty() {
        machines(workbook.add_worksheet().set_name(named("Machines", &mut names))?, document, &styles)?;
    }
    workbook.save_to_buffer()
}

/// A name that a sheet may have and no other has.
fn named(name: &str, taken: &mut Vec<String>) -> String {
    let kept: String = name.chars().map(|letter| if "[]:*?/\\'".contains(letter) { ' ' } else { letter }).collect();
    let kept = if kept.trim().is_empty() { "Table" } else { kept.trim() };
    let mut found: String = kept.chars().take(LONGEST_NAME).collect();
    let mut number = 2;
    while taken.iter().any(|known: &String| known.eq_ignore_ascii_case(&found)) {
        let ending = format!(" {number}");
        found = kept.chars().take(LONGEST_NAME - ending.len()).chain(ending.chars()).collect();
        number += 1;
    }
    taken.push(found.clone());
    found
}

fn short(text: &str) -> String {
    text.chars().take(LONGEST_TEXT).collect()
}

fn write(sheet: &mut Worksheet, (row, column): (u32, u16), cell: &Cell, styles: &Styles) -> Result<(), XlsxError> {
    match cell {
        Cell::Empty => {}
        Cell::Value { value: Value::Number(number), .. } => {
            let number = number.as_f64().unwrap_or(f64::NAN);
            sheet.write_number_with_format(row, column, number, &styles.number)?;
        }
        Cell::Value { value: Value::Bool(is), .. } => {
            sheet.write_boolean(row, column, *is)?;
        }
        other => {
            sheet.write_string(row, column, short(&other.text()))?;
        }
    }
    Ok(())
}

/// The verdict and all figures: label, value in full, unit.
fn figures(sheet: &mut Worksheet, document: &Document, styles: &Styles) -> Result<(), XlsxError> {
    sheet.write_string_with_format(0, 0, short(&document.title), &styles.title)?;
    sheet.merge_range(1, 0, 1, 3, &short(&document.verdict), &styles.soft)?;
    sheet.set_row_height(1, 16.0 * (1.0 + (document.verdict.len() / 90) as f64))?;
    let mut row = 3;
    for section in &document.sections {
        let mut is_first = true;
        for (label, cell) in
            section.parts.iter().flat_map(|part| if let Part::Figures(all) = part { &**all } else { &[] })
        {
            if is_first {
                sheet.write_string_with_format(row, 0, short(&section.heading), &styles.heading)?;
                row += 1;
                is_first = false;
            }
            sheet.write_string(row, 0, short(label))?;
            write(sheet, (row, 1), cell, styles)?;
            sheet.write_string(row, 2, symbol(cell))?;
            row += 1;
        }
        row += u32::from(!is_first);
    }
    sheet.set_column_width(0, 34)?.set_column_width(1, 24)?.set_column_width(2, 10)?.set_column_width(3, 40)?;
    Ok(())
}

fn table(sheet: &mut Worksheet, table: &Table, styles: &Styles) -> Result<(), XlsxError> {
    for (column, title) in (0u16..).zip(&table.columns) {
        let title = titled(&title.title, title.unit.symbol());
        sheet.write_string_with_format(0, column, short(&title), &styles.column)?;
    }
    for (row, cells) in (1u32..).zip(&table.rows) {
        for (column, cell) in (0u16..).zip(cells) {
            write(sheet, (row, column), cell, styles)?;
        }
    }
    sheet.set_freeze_panes(1, 0)?;
    let (rows, columns) = (table.rows.len() as u32, table.columns.len().saturating_sub(1) as u16);
    sheet.autofilter(0, 0, rows, columns)?;
    sheet.set_autofit_max_width(WIDEST).autofit();
    Ok(())
}

/// Labels, values and remarks of what a planner fills in; `B2` to `B5`.
const INPUTS: [(&str, &str); 4] = [
    ("Users to serve", "who are all there at the same time"),
    ("Spare machines", "beside those that serve"),
    ("Dollars a wafer-hour", "not known here where it is 0: fill in"),
    ("Part of the time in use", "from 0 to 1"),
];

/// Rows of machines begin here, from 0; their titles stand above.
const FIRST: u32 = 7;

/// A column that is reckoned: its title, its formula in a row, its value.
struct Reckoned {
    title: &'static str,
    formula: fn(u32) -> String,
    value: fn(Row) -> f64,
}

/// What a row's formulas say before anything is filled in, so that a reader without formulas has their values.
#[derive(Clone, Copy)]
struct Row {
    asked: f64,
    users: f64,
    speed: f64,
    wafers: f64,
    spare: f64,
    price: f64,
    in_use: f64,
}

impl Row {
    fn machines(self) -> f64 {
        if self.users > 0.0 { (self.asked / self.users).ceil() + self.spare } else { 0.0 }
    }

    fn dollars_an_hour(self) -> f64 {
        self.wafers * self.machines() * self.price
    }

    fn dollars_a_million(self) -> f64 {
        let tokens = self.asked * self.speed * self.in_use * 3600.0;
        if tokens > 0.0 { self.dollars_an_hour() / tokens * 1e6 } else { 0.0 }
    }
}

const RECKONED: [Reckoned; 5] = [
    Reckoned {
        title: "machines",
        formula: |row| format!("=IF(B{row}>0,ROUNDUP($B$2/B{row},0)+$B$3,0)"),
        value: Row::machines,
    },
    Reckoned { title: "wafers", formula: |row| format!("=E{row}*F{row}"), value: |row| row.wafers * row.machines() },
    Reckoned {
        title: "tok/s to these users",
        formula: |row| format!("=$B$2*C{row}"),
        value: |row| row.asked * row.speed,
    },
    Reckoned { title: "dollars an hour", formula: |row| format!("=G{row}*$B$4"), value: Row::dollars_an_hour },
    Reckoned {
        title: "dollars a million tokens",
        formula: |row| format!("=IF(H{row}*$B$5>0,I{row}/(H{row}*$B$5*3600)*1000000,0)"),
        value: Row::dollars_a_million,
    },
];

fn machines(sheet: &mut Worksheet, document: &Document, styles: &Styles) -> Result<(), XlsxError> {
    let Document { machines, planned, .. } = document;
    let number = |cell: &Cell| match cell {
        Cell::Value { value, .. } => value.as_f64().unwrap_or(0.0),
        _ => 0.0,
    };
    let known = |cell: &Cell, otherwise: f64| if cell.is_empty() { otherwise } else { number(cell) };
    let most = machines.iter().map(|machine| number(&machine.users)).fold(1.0, f64::max);
    let asked = known(&planned.users, most);
    let [spare, price, in_use] = [known(&planned.spare, 0.0), known(&planned.price, 0.0), known(&planned.in_use, 1.0)];
    let title = "How many machines, and what they cost: yellow cells are to be filled in";
    sheet.write_string_with_format(0, 0, title, &styles.title)?;
    for ((row, (label, remark)), value) in (1u32..).zip(INPUTS).zip([asked, spare, price, in_use]) {
        sheet.write_string(row, 0, label)?;
        sheet.write_number_with_format(row, 1, value, &styles.input)?;
        sheet.write_string(row, 2, remark)?;
    }
    let given = ["machine", "users", "tok/s of each", "tok/s of the machine", "wafers of a machine"];
    let titles = given.into_iter().chain(RECKONED.iter().map(|reckoned| reckoned.title));
    for (column, title) in (0u16..).zip(titles) {
        sheet.write_string_with_format(FIRST - 1, column, title, &styles.column)?;
    }
    for (row, machine) in (FIRST..).zip(machines) {
        sheet.write_string(row, 0, short(&machine.name))?;
        for (column, cell) in (1u16..).zip([&machine.users, &machine.speed, &machine.total, &machine.wafers]) {
            write(sheet, (row, column), cell, styles)?;
        }
        let values = Row {
            asked,
            users: number(&machine.users),
            speed: number(&machine.speed),
            wafers: number(&machine.wafers),
            spare,
            price,
            in_use,
        };
        for (column, reckoned) in (5u16..).zip(&RECKONED) {
            let formula = Formula::new((reckoned.formula)(row + 1)).set_result((reckoned.value)(values).to_string());
            sheet.write_formula_with_format(row, column, formula, &styles.number)?;
        }
    }
    sheet.set_column_width(0, 34)?;
    for column in 1..10 {
        sheet.set_column_width(column, 18)?;
    }
    Ok(())
}
