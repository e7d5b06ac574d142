//! What is on a page, before it is written in any form: sections of figures, tables, charts and pictures. Every number
//! is a place in the JSON ([`Data`]): none is written down a second time.

use serde_json::{Map, Value};

use crate::unit::Unit;

/// What a command has to say.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Title of the page.
    pub title: String,
    /// What it comes to, in a sentence or two.
    pub verdict: String,
    /// Whether that is good news.
    pub tone: Tone,
    /// Its parts.
    pub sections: Vec<Section>,
    /// Where the numbers are from.
    pub data: Data,
    /// Machines that may be bought several times over; a spreadsheet reckons with them.
    pub machines: Vec<Machine>,
    /// What the sheet of machines begins with; empty cells where nothing is known.
    pub planned: Planned,
}

/// Whether a verdict is good news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// What was asked for is reached.
    Good,
    /// It is not.
    Bad,
    /// Nothing was asked for that could be reached.
    Neutral,
}

/// The JSON of a result as its command writes it, and that of others beside it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Data {
    /// The result.
    pub main: Value,
    /// Others with their names, which hold no colon.
    pub beside: Vec<(&'static str, Value)>,
}

impl Data {
    /// The value at a place: a JSON pointer into the result (`/profiles/best`), or into another (`frontier:/rows/0`).
    pub fn at(&self, place: &str) -> Option<&Value> {
        match place.split_once(':') {
            Some((name, pointer)) if !place.starts_with('/') => {
                let (_, value) = self.beside.iter().find(|(known, _)| *known == name)?;
                value.pointer(pointer)
            }
            _ => self.main.pointer(place),
        }
    }

    /// The words at a place; none where there are none.
    pub fn words(&self, place: &str) -> Option<&str> {
        self.at(place)?.as_str()
    }

    /// The number at a place.
    pub fn number(&self, place: &str) -> Option<f64> {
        self.at(place)?.as_f64()
    }

    /// How many items the list at a place has; 0 where there is none.
    pub fn items(&self, place: &str) -> usize {
        self.at(place).and_then(Value::as_array).map_or(0, Vec::len)
    }

    /// The fields of the object at a place, in their order.
    pub fn fields(&self, place: &str) -> Vec<String> {
        self.at(place).and_then(Value::as_object).map_or_else(Vec::new, |object| object.keys().cloned().collect())
    }
}

/// A part of a page with a heading.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// Its anchor: letters, digits and dashes.
    pub id: String,
    /// Its heading.
    pub heading: String,
    /// Sentences below the heading.
    pub words: Vec<String>,
    /// What it shows.
    pub parts: Vec<Part>,
}

impl Section {
    /// A section without parts.
    pub fn new(id: &str, heading: &str) -> Self {
        Self { id: id.into(), heading: heading.into(), words: Vec::new(), parts: Vec::new() }
    }

    /// With a sentence.
    #[must_use]
    pub fn say(mut self, words: impl Into<String>) -> Self {
        self.words.push(words.into());
        self
    }

    /// With a part, where there is one.
    #[must_use]
    pub fn show(mut self, part: Option<Part>) -> Self {
        self.parts.extend(part);
        self
    }
}

/// What a section shows.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Labels with values.
    Figures(Vec<(String, Cell)>),
    /// Rows and columns.
    Table(Table),
    /// A chart.
    Chart(Chart),
    /// A picture that is drawn already.
    Picture(Picture),
    /// Lines as they are.
    Lines(String),
}

/// A picture as SVG.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// What it shows, for who does not see it.
    pub description: String,
    /// An `svg` element without scripts.
    pub svg: String,
}

/// A value with its place, or words.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Nothing.
    Empty,
    /// Words that are no value of the JSON.
    Words(String),
    /// A value of the JSON.
    Value {
        /// Where it stands.
        at: String,
        /// The value.
        value: Value,
        /// What it counts.
        unit: Unit,
    },
}

impl Cell {
    /// The value at a place; empty where there is none, or nothing in it.
    pub fn at(data: &Data, place: impl Into<String>, unit: Unit) -> Self {
        let at = place.into();
        match data.at(&at) {
            None | Some(Value::Null) => Self::Empty,
            Some(Value::String(words)) if words.is_empty() => Self::Empty,
            Some(Value::Array(items)) if items.is_empty() => Self::Empty,
            Some(Value::Object(fields)) if fields.is_empty() => Self::Empty,
            Some(value) => Self::Value { value: value.clone(), at, unit },
        }
    }

    /// A number that stands in no JSON, for a cell that a reader may fill in otherwise.
    pub fn reckoned(number: f64) -> Self {
        serde_json::Number::from_f64(number).map_or(Self::Empty, |number| Self::Value {
            value: Value::Number(number),
            at: String::new(),
            unit: Unit::Plain,
        })
    }

    /// What is read.
    pub fn text(&self) -> String {
        match self {
            Self::Empty => String::new(),
            Self::Words(words) => words.clone(),
            Self::Value { value, unit, .. } => unit.text(value),
        }
    }

    /// Whether nothing is there.
    pub const fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// Whether it is a number.
    pub const fn is_number(&self) -> bool {
        matches!(self, Self::Value { value: Value::Number(_), .. })
    }
}

/// Rows and columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Short name; of a sheet, for one.
    pub name: String,
    /// What it shows.
    pub caption: String,
    /// The columns.
    pub columns: Vec<Column>,
    /// The rows, as long as the columns.
    pub rows: Vec<Vec<Cell>>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its title.
    pub title: String,
    /// Name of the field that it shows, where each row shows the same one.
    pub field: String,
    /// What its numbers count.
    pub unit: Unit,
}

impl Column {
    /// A column of a field.
    pub fn of(title: &str, field: &str) -> Self {
        let last = field.rsplit('/').next().unwrap_or(field);
        Self { title: title.into(), field: field.into(), unit: Unit::of_field(last) }
    }

    /// The same with another unit than its field's name says.
    #[must_use]
    pub fn counting(self, unit: Unit) -> Self {
        Self { unit, ..self }
    }
}

impl Table {
    /// A row for each item of a list: the fields of each that the columns name. Columns in which nothing stands are
    /// left out; nothing where no row is.
    pub fn of_list(data: &Data, place: &str, name: &str, caption: &str, columns: Vec<Column>) -> Option<Self> {
        let row = |index: usize| -> Vec<Cell> {
            columns
                .iter()
                .map(|column| Cell::at(data, format!("{place}/{index}/{}", column.field), column.unit))
                .collect()
        };
        let rows: Vec<Vec<Cell>> = (0..data.items(place)).map(row).collect();
        Self { name: name.into(), caption: caption.into(), columns, rows }.without_empty_columns()
    }

    /// Without columns in which nothing stands; nothing where no cell is left.
    pub fn without_empty_columns(self) -> Option<Self> {
        let used = |index: usize| self.rows.iter().any(|row| row.get(index).is_some_and(|cell| !cell.is_empty()));
        let used: Vec<bool> = (0..self.columns.len()).map(used).collect();
        let kept = |index: usize| used.get(index).copied().unwrap_or(false);
        let rows = self
            .rows
            .into_iter()
            .map(|row| row.into_iter().enumerate().filter(|(index, _)| kept(*index)).map(|(_, cell)| cell).collect());
        let columns = self.columns.into_iter().enumerate().filter(|(index, _)| kept(*index)).map(|(_, column)| column);
        let (columns, rows): (Vec<Column>, Vec<Vec<Cell>>) = (columns.collect(), rows.collect());
        (!columns.is_empty() && !rows.is_empty()).then_some(Self { columns, rows, ..self })
    }
}

/// A chart: a Vega-Lite specification and the records that it draws.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// Its title.
    pub title: String,
    /// What can be seen, for who does not see it.
    pub description: String,
    /// The records.
    pub records: Vec<Record>,
    /// The specification without data, sizes and colors of a theme.
    pub spec: Value,
}

/// What a mark of a chart is drawn from: words by name, and numbers with their places in the JSON. The place of the
/// number `x` stands under `x at`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Record(pub Map<String, Value>);

impl Record {
    /// A record without fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// With words, or a number that is counted here.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.into(), value.into());
        self
    }

    /// With the number at a place; nothing where there is none.
    pub fn at(mut self, data: &Data, name: &str, place: impl Into<String>) -> Option<Self> {
        let place = place.into();
        let value = data.at(&place).filter(|value| value.is_number())?;
        self.0.insert(name.into(), value.clone());
        self.0.insert(format!("{name} at"), place.into());
        Some(self)
    }
}

/// What is known of machines that are planned, before a reader fills in something else.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// Users to serve.
    pub users: Cell,
    /// Machines in reserve.
    pub spare: Cell,
    /// Dollars a wafer-hour.
    pub price: Cell,
    /// Part of the time in which the load is there.
    pub in_use: Cell,
}

impl Planned {
    /// With what a wafer costs an hour, in dollars, and the part of the time in which the load is there.
    pub fn priced(usd_per_wafer_hour: f64, in_use: f64) -> Self {
        let [price, in_use] = [usd_per_wafer_hour, in_use].map(Cell::reckoned);
        Self { price, in_use, ..Self::default() }
    }
}

impl Default for Planned {
    fn default() -> Self {
        Self { users: Cell::Empty, spare: Cell::Empty, price: Cell::Empty, in_use: Cell::Empty }
    }
}

/// A machine that serves so many users.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    /// What tells it from the others.
    pub name: String,
    /// Its wafers.
    pub wafers: Cell,
    /// Users whom it serves.
    pub users: Cell,
    /// Tokens per second of each.
    pub speed: Cell,
    /// Tokens per second of all of them.
    pub total: Cell,
}
