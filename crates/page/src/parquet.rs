//! The largest table of a document as Parquet: a column of numbers, of truths or of words for each of its columns, all
//! of which may be empty. Only with the feature `parquet`: it takes long to compile.

use crate::document::Document;
use crate::error::PageError;

/// Whether this build writes Parquet.
pub const IS_THERE: bool = cfg!(feature = "parquet");

/// The bytes of a `.parquet` file. The same document gives the same bytes.
///
/// # Errors
/// Where there is no table, or this build has no Parquet.
#[cfg(not(feature = "parquet"))]
pub fn bytes(_: &Document) -> Result<Vec<u8>, PageError> {
    Err(PageError::form("Parquet", &"this build has none (feature `parquet`)"))
}

#[cfg(feature = "parquet")]
pub use written::bytes;

#[cfg(feature = "parquet")]
mod written {
    use std::sync::Arc;

    use parquet::basic::{LogicalType, Repetition, Type as Physical};
    use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
    use parquet::errors::ParquetError;
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::types::Type;
    use serde_json::Value;

    use super::{Document, PageError};
    use crate::document::{Cell, Column, Part, Table};
    use crate::text::{largest_table, symbol, titled};

    /// The bytes of a `.parquet` file. The same document gives the same bytes. Where there is no table, the figures
    /// with their labels.
    ///
    /// # Errors
    /// None that a document can cause.
    pub fn bytes(document: &Document) -> Result<Vec<u8>, PageError> {
        let written = match largest_table(document) {
            Some(table) => of_table(table),
            None => of_table(&figures(document)),
        };
        written.map_err(|error| PageError::form("Parquet", &error))
    }

    /// All figures as a table.
    fn figures(document: &Document) -> Table {
        let parts = document.sections.iter().flat_map(|section| &section.parts);
        let all = parts.filter_map(|part| if let Part::Figures(figures) = part { Some(figures) } else { None });
        let row = |(label, cell): &(String, Cell)| {
            vec![Cell::Words(label.clone()), cell.clone(), Cell::Words(symbol(cell).into())]
        };
        let rows = all.flatten().map(row).collect();
        let columns = ["figure", "value", "unit"].map(|title| Column::of(title, title)).to_vec();
        Table { name: "Figures".into(), caption: String::new(), columns, rows }
    }

    /// What stands in a column; nothing in an empty cell.
    enum Values {
        Whole(Vec<Option<i64>>),
        Real(Vec<Option<f64>>),
        Truth(Vec<Option<bool>>),
        Words(Vec<Option<String>>),
    }

    /// The narrowest type that all cells of a column have.
    fn values(table: &Table, index: usize) -> Values {
        let cells = || table.rows.iter().map(|row| row.get(index));
        let value = |cell: Option<&Cell>| match cell {
            Some(Cell::Value { value, .. }) => Some(value.clone()),
            Some(Cell::Words(words)) => Some(Value::from(words.as_str())),
            Some(Cell::Empty) | None => None,
        };
        let all: Vec<Option<Value>> = cells().map(value).collect();
        let each = |is: fn(&Value) -> bool| all.iter().flatten().all(is);
        if each(Value::is_i64) {
            Values::Whole(all.iter().map(|value| value.as_ref()?.as_i64()).collect())
        } else if each(Value::is_number) {
            Values::Real(all.iter().map(|value| value.as_ref()?.as_f64()).collect())
        } else if each(Value::is_boolean) {
            Values::Truth(all.iter().map(|value| value.as_ref()?.as_bool()).collect())
        } else {
            let words = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            Values::Words(all.iter().map(|value| value.as_ref().map(words)).collect())
        }
    }

    /// Names as titles with their units, each once.
    fn names(table: &Table) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for (index, column) in table.columns.iter().enumerate() {
            let title = titled(&column.title, column.unit.symbol());
            let is_new = !title.is_empty() && !names.contains(&title);
            names.push(if is_new { title } else { format!("{title} {index}").trim().to_owned() });
        }
        names
    }

    fn field(name: &str, values: &Values) -> Result<Arc<Type>, ParquetError> {
        let (physical, logical) = match values {
            Values::Whole(_) => (Physical::INT64, None),
            Values::Real(_) => (Physical::DOUBLE, None),
            Values::Truth(_) => (Physical::BOOLEAN, None),
            Values::Words(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        let builder = Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL);
        builder.with_logical_type(logical).build().map(Arc::new)
    }

    fn of_table(table: &Table) -> Result<Vec<u8>, ParquetError> {
        let columns: Vec<Values> = (0..table.columns.len()).map(|index| values(table, index)).collect();
        let fields =
            names(table).iter().zip(&columns).map(|(name, values)| field(name, values)).collect::<Result<_, _>>()?;
        let schema = Arc::new(Type::group_type_builder("table").with_fields(fields).build()?);
        let mut written = Vec::new();
        let mut file = SerializedFileWriter::new(&mut written, schema, Arc::new(WriterProperties::builder().build()))?;
        let mut group = file.next_row_group()?;
        for values in &columns {
            let Some(mut column) = group.next_column()? else { break };
            match values {
                Values::Whole(all) => {
                    let (there, levels) = parted(all);
                    column.typed::<Int64Type>().write_batch(&there, Some(&levels), None)?;
                }
                Values::Real(all) => {
                    let (there, levels) = parted(all);
                    column.typed::<DoubleType>().write_batch(&there, Some(&levels), None)?;
                }
                Values::Truth(all) => {
                    let (there, levels) = parted(all);
                    column.typed::<BoolType>().write_batch(&there, Some(&levels), None)?;
                }
                Values::Words(all) => {
                    let (there, levels) = parted(all);
                    let there: Vec<ByteArray> = there.iter().map(|words| ByteArray::from(words.as_str())).collect();
                    column.typed::<ByteArrayType>().write_batch(&there, Some(&levels), None)?;
                }
            }
            column.close()?;
        }
        group.close()?;
        file.close()?;
        Ok(written)
    }

    /// What is there, and for each place whether something is.
    fn parted<T: Clone>(all: &[Option<T>]) -> (Vec<T>, Vec<i16>) {
        (all.iter().flatten().cloned().collect(), all.iter().map(|value| i16::from(value.is_some())).collect())
    }
}
