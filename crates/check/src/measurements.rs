//! The table of measurements, built in or given: CSV with the columns of `benches/measurements/wse.csv`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use wafersim_spec::wafer::RateSet;

/// The measurements that are built in: `benches/measurements/wse.csv`.
pub const BUILTIN_MEASUREMENTS: &str = include_str!("../measurements/wse.csv");

/// The smallest value that can have been measured, in any unit of a table: less than any rate or time of a kernel, and
/// far from where an error relative to it is no number any more.
const SMALLEST: f64 = 1e-3;
/// The largest.
const LARGEST: f64 = 1e15;

const COLUMNS: &str = "id,device,kernel,grid_x,grid_y,params,metric,value,unit,evidence,source";

/// A measured value as it is written, or what would be allowed.
pub(crate) fn measured_value(text: &str) -> Result<f64, &'static str> {
    let value = text.parse::<f64>().ok().filter(|value| (SMALLEST..=LARGEST).contains(value));
    value.ok_or("a number from 0.001 to 1e15")
}

/// Most letters of a name: of a row, a machine, a kernel, a model.
const LONGEST_NAME: usize = 200;

/// Whether a name is none, or too long for a table.
pub(crate) fn is_no_name(name: &str) -> bool {
    name.trim().is_empty() || name.chars().count() > LONGEST_NAME
}

/// What a field with a name may hold.
pub(crate) const NAME: &str = "a name of at most 200 letters";

/// The unit of a metric's values, where the metric is known, and what may be written.
fn unit_of(metric: &str) -> Option<(&'static str, &'static str)> {
    match metric {
        "cycles" | "cycles_per_layer" | "cycles_per_step" | "cycles_per_wavelet" | "completion_cycles" => {
            Some(("cycles", "cycles, the unit of this metric"))
        }
        "elements_per_cycle" => Some(("elem/cycle", "elem/cycle, the unit of this metric")),
        _ => None,
    }
}

/// One measured value.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// Unique name.
    pub id: String,
    /// Machine: name of a wafer.
    pub device: String,
    /// Kernel.
    pub kernel: String,
    /// Columns of the grid.
    pub grid_x: u64,
    /// Rows of the grid.
    pub grid_y: u64,
    /// What the kernel was run with.
    pub parameters: BTreeMap<String, String>,
    /// What was measured: `cycles`, `cycles_per_layer`, `elements_per_cycle`, ...
    pub metric: String,
    /// The value; from 0.001 to 1e15.
    pub value: f64,
    /// Its unit.
    pub unit: String,
    /// How it was measured, in the words of the table.
    pub evidence: String,
    /// Line in the file.
    pub line: u64,
}

impl Measurement {
    /// Rows from the vendor's simulator are judged with the simulator's rates, all others with the chip's.
    pub fn rate_set(&self) -> RateSet {
        if self.evidence.starts_with("vendor-sim") { RateSet::VendorSimulator } else { RateSet::Silicon }
    }
}

/// What is wrong with a table.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TableError {
    /// No CSV, or not with the columns that are needed.
    #[error("{file}: {reason}; expected the columns {columns}")]
    Format {
        /// The file.
        file: String,
        /// What the reader said, with the line.
        reason: String,
        /// Columns that are needed.
        columns: &'static str,
    },
    /// A field of a row is wrong.
    #[error("{file}: line {line}: field '{field}' is '{value}'; allowed: {allowed}")]
    Field {
        /// The file.
        file: String,
        /// Line, from 1.
        line: u64,
        /// Column of the table.
        field: &'static str,
        /// What is written.
        value: String,
        /// What would be accepted.
        allowed: &'static str,
    },
    /// No rows at all.
    #[error("{file}: holds no measurements; expected at least one row below the header")]
    Empty {
        /// The file.
        file: String,
    },
}

#[derive(Deserialize)]
struct Row {
    id: String,
    device: String,
    kernel: String,
    grid_x: String,
    grid_y: String,
    params: String,
    metric: String,
    value: String,
    unit: String,
    evidence: String,
}

/// The rows of a table, each with its line. `columns` are those that it must have.
pub(crate) fn rows<Row: DeserializeOwned>(
    text: &str,
    file: &str,
    columns: &'static str,
) -> Result<Vec<(u64, Row)>, TableError> {
    if let Some(line) = open_quote(text) {
        let reason = format!("line {line}: a quote is opened and never closed");
        return Err(TableError::Format { file: file.into(), reason, columns });
    }
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let format = |error: csv::Error| TableError::Format { file: file.into(), reason: error.to_string(), columns };
    let headers = reader.headers().map_err(format)?.clone();
    let row = |record: Result<csv::StringRecord, csv::Error>| {
        let record = record.map_err(format)?;
        let line = record.position().map_or(0, csv::Position::line);
        Ok((line, record.deserialize(Some(&headers)).map_err(format)?))
    };
    reader.records().map(row).collect()
}

/// The line of a quote that is opened at the beginning of a field and not closed.
fn open_quote(text: &str) -> Option<usize> {
    let (mut line, mut open, mut is_start) = (1, None, true);
    for byte in text.bytes() {
        // A quote that is written twice closes and opens again.
        match (byte, open) {
            (b'"', Some(_)) => (open, is_start) = (None, true),
            (b'"', None) if is_start => open = Some(line),
            (_, None) => is_start = matches!(byte, b',' | b'\n' | b'\r'),
            (_, Some(_)) => {}
        }
        line += usize::from(byte == b'\n');
    }
    open
}

/// Reads a table. `file` is named in errors.
///
/// # Errors
/// Where a column is missing, a number is no number or out of range, or an id stands twice.
pub fn read_table(text: &str, file: &str) -> Result<Vec<Measurement>, TableError> {
    let mut measurements: Vec<Measurement> = Vec::new();
    let mut seen = BTreeMap::new();
    for (line, row) in rows::<Row>(text, file, COLUMNS)? {
        let wrong = |field, value: &str, allowed| TableError::Field {
            file: file.into(),
            line,
            field,
            value: value.into(),
            allowed,
        };
        let grid = |field, text: &str| match text.parse::<u64>() {
            Ok(side) if (1..=4096).contains(&side) => Ok(side),
            _ => Err(wrong(field, text, "a whole number from 1 to 4096")),
        };
        let value = measured_value(&row.value).map_err(|allowed| wrong("value", &row.value, allowed))?;
        for (field, name) in
            [("id", &row.id), ("device", &row.device), ("kernel", &row.kernel), ("metric", &row.metric)]
        {
            if is_no_name(name) {
                return Err(wrong(field, name, NAME));
            }
        }
        // What stands behind it in brackets says how it was counted.
        let unit = row.unit.split('(').next().unwrap_or("").trim();
        if let Some((_, allowed)) = unit_of(&row.metric).filter(|(known, _)| unit != *known) {
            return Err(wrong("unit", &row.unit, allowed));
        }
        let mut parameters = BTreeMap::new();
        for pair in row.params.split(';').filter(|pair| !pair.trim().is_empty()) {
            let (key, setting) =
                pair.split_once('=').ok_or_else(|| wrong("params", pair, "key=value pairs, separated by ';'"))?;
            parameters.insert(key.trim().to_owned(), setting.trim().to_owned());
        }
        if seen.insert(row.id.clone(), line).is_some() {
            return Err(wrong("id", &row.id, "a name that no other row has"));
        }
        measurements.push(Measurement {
            grid_x: grid("grid_x", &row.grid_x)?,
            grid_y: grid("grid_y", &row.grid_y)?,
            id: row.id,
            device: row.device,
            kernel: row.kernel,
            parameters,
            metric: row.metric,
            value,
            unit: row.unit,
            evidence: row.evidence,
            line,
        });
    }
    if measurements.is_empty() { Err(TableError::Empty { file: file.into() }) } else { Ok(measurements) }
}
