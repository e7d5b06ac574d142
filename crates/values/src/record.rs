//! What a run has computed: tensors by the names that the reference files use, and the generated tokens.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::ValuesError;
use crate::tensors::Tensors;

/// A tensor of a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Recorded {
    /// Sizes of its dimensions.
    pub shape: Vec<usize>,
    /// Its elements, row by row.
    pub values: Vec<f64>,
}

/// What a run has computed. Names: `prefill.` or `decode.`, then for tensors of a layer `layerN.`, then the kind. Rows
/// are tokens, caches are `[KV head, token, dimension]`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Record {
    /// The prompt.
    pub prompt: Vec<u64>,
    /// The generated tokens: the first follows from the prompt, each decode step takes one in.
    pub generated: Vec<u64>,
    /// The tensors.
    pub tensors: BTreeMap<String, Recorded>,
    /// Names of tensors that no program of the run forms as such: a fusion leaves them out.
    pub not_formed: BTreeSet<String>,
}

impl Record {
    /// Appends a row to a table.
    pub fn push_row(&mut self, name: String, row: impl IntoIterator<Item = f64>) {
        let table = self.tensors.entry(name).or_default();
        let before = table.values.len();
        table.values.extend(row);
        let width = table.values.len() - before;
        table.shape = vec![table.shape.first().copied().unwrap_or(0) + 1, width];
    }

    /// The record of a reference file.
    ///
    /// # Errors
    /// Where `prompt_ids` or `generated_ids` are missing or no token numbers.
    pub fn of_reference(tensors: &Tensors, file: &str) -> Result<Self, ValuesError> {
        let ids = |name: &str| {
            let refuse =
                |problem: &str| ValuesError::File { file: file.into(), problem: format!("'{name}' {problem}") };
            let tensor = tensors.get(name).ok_or_else(|| refuse("is missing"))?;
            let ids = tensor.values().into_iter().map(|id| {
                if id >= 0.0 && id.fract() == 0.0 && id < 4e9 {
                    Ok(id as u64)
                } else {
                    Err(refuse("holds no token numbers"))
                }
            });
            ids.collect::<Result<Vec<u64>, ValuesError>>()
        };
        let mut record = Self { prompt: ids("prompt_ids")?, generated: ids("generated_ids")?, ..Self::default() };
        for name in tensors.names().filter(|name| name.starts_with("prefill.") || name.starts_with("decode.")) {
            if let Some(tensor) = tensors.get(name) {
                let recorded = Recorded { shape: tensor.shape.to_vec(), values: tensor.values() };
                record.tensors.insert(name.to_owned(), recorded);
            }
        }
        Ok(record)
    }
}
