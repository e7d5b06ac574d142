//! The rows of a plan as Arrow columns, handed over without copies by the C stream interface.

use std::sync::Arc;

use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, RecordBatchIterator, StringArray, UInt64Array};
use arrow_schema::ArrowError;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use wafersim::answer::plan::{Plan, PlanRow};
use wafersim::report;

use crate::wrong;

/// A table of answers. `pyarrow.table`, `polars.from_arrow` and `pandas` take it as it is.
#[pyclass(frozen, module = "wafersim")]
pub struct PlanTable {
    plan: Plan,
}

impl PlanTable {
    /// The table of a plan.
    pub const fn new(plan: Plan) -> Self {
        Self { plan }
    }

    fn batch(&self) -> Result<RecordBatch, ArrowError> {
        let rows = &self.plan.rows;
        let words = |value: &dyn Fn(&PlanRow) -> String| -> ArrayRef {
            Arc::new(rows.iter().map(|row| Some(value(row))).collect::<StringArray>())
        };
        let whole = |value: &dyn Fn(&PlanRow) -> Option<u64>| -> ArrayRef {
            Arc::new(rows.iter().map(value).collect::<UInt64Array>())
        };
        let real = |value: &dyn Fn(&PlanRow) -> Option<f64>| -> ArrayRef {
            Arc::new(rows.iter().map(value).collect::<Float64Array>())
        };
        let truth = |value: &dyn Fn(&PlanRow) -> bool| -> ArrayRef {
            Arc::new(rows.iter().map(|row| Some(value(row))).collect::<BooleanArray>())
        };
        RecordBatch::try_from_iter([
            ("users", whole(&|row| Some(row.users))),
            ("context", whole(&|row| Some(row.context))),
            ("wafers_asked", words(&|row| row.wafers_asked.to_string())),
            ("placement", words(&|row| row.placement.to_string())),
            ("weights", words(&|row| row.weights.to_string())),
            ("kv_cache", words(&|row| row.kv_cache.to_string())),
            ("profile", words(&|row| row.profile.to_string())),
            ("fits", truth(&|row| row.fits)),
            ("wafers", whole(&|row| row.wafers.map(u64::from))),
            ("tokens_per_second_per_user", real(&|row| row.tokens_per_second_per_user)),
            ("tokens_per_second_total", real(&|row| row.tokens_per_second_total)),
            ("time_per_output_token_us", real(&|row| row.time_per_output_token_us)),
            ("time_to_first_token_ms", real(&|row| row.time_to_first_token_ms)),
            ("users_at_full_speed", whole(&|row| row.users_at_full_speed)),
            ("max_users", whole(&|row| row.max_users)),
            ("no_mapping_beats", real(&|row| row.no_mapping_beats)),
            ("no_mapping_beats_at_measured_rate", real(&|row| row.no_mapping_beats_at_measured_rate)),
            ("reaches_target", truth(&|row| row.reaches_target)),
            ("limit", words(&|row| row.limit.clone())),
        ])
    }
}

#[pymethods]
impl PlanTable {
    fn __len__(&self) -> usize {
        self.plan.rows.len()
    }

    /// Model of the table.
    #[getter]
    fn model(&self) -> &str {
        &self.plan.model
    }

    /// Wafer of the table.
    #[getter]
    fn wafer(&self) -> &str {
        &self.plan.wafer
    }

    /// The table as `simctl plan` prints it.
    fn text(&self) -> String {
        report::plan::text(&self.plan)
    }

    /// The table as `simctl plan --format json` writes it, without what was asked.
    fn json(&self) -> PyResult<String> {
        report::plan::json(&self.plan).map_err(wrong)
    }

    /// The table as CSV.
    fn csv(&self) -> PyResult<String> {
        report::plan::csv(&self.plan).map_err(wrong)
    }

    /// The columns, for whoever reads Arrow's C stream interface.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        // The interface lets a producer leave the wish aside.
        drop(requested_schema);
        let batch = self.batch().map_err(wrong)?;
        let schema = batch.schema();
        let stream = FFI_ArrowArrayStream::new(Box::new(RecordBatchIterator::new([Ok(batch)], schema)));
        PyCapsule::new_with_value(py, stream, c"arrow_array_stream")
    }
}
