//! The native half of the Python package `wafersim`: text and numbers in, JSON text and Arrow columns out.
//!
//! What Python users see (dataclasses, keyword arguments) is in `wafersim/*.py`; here is only what needs Rust. Every
//! computation runs on a thread of its own while the interpreter is free, and Ctrl-C ends the waiting for it; the thread
//! then ends its piece of work unheard.

mod columns;
mod computing;
mod question;

use pyo3::create_exception;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use wafersim::check::measurements::{BUILTIN_MEASUREMENTS, read_table};
use wafersim::check::validate::validate;
use wafersim::spec::model::builtin;
use wafersim::spec::wafer::BUILTIN_WAFERS;
use wafersim::spec::{Model, Wafer};
use wafersim::report;
use wafersim::stream::run::{Files, Prepared};
use wafersim::stream::scenario::StreamFile;

use crate::columns::PlanTable;
use crate::computing::computed;
use crate::question::{Asked, Lists};

create_exception!(wafersim, WafersimError, PyValueError, "Wrong input: the message says what, and what is allowed.");

/// Anything that says what is wrong, as an exception.
fn wrong(error: impl std::fmt::Display) -> PyErr {
    WafersimError::new_err(error.to_string())
}

/// One answer as JSON.
#[pyfunction]
fn answer(py: Python<'_>, asked: Asked) -> PyResult<String> {
    let (question, ranges) = (asked.question()?, asked.ranges()?);
    computed(py, None, move |_| {
        let answer = wafersim::answer::answer_with(&question, ranges, &|_, _| {}).map_err(wrong)?;
        report::answer::json(&answer).map_err(wrong)
    })
}

/// A table of answers.
#[pyfunction]
#[pyo3(signature = (asked, lists, progress=None))]
fn plan(py: Python<'_>, asked: Asked, lists: Lists, progress: Option<Py<PyAny>>) -> PyResult<PlanTable> {
    let (question, ranges) = (asked.question()?, asked.ranges()?);
    let axes = lists.axes(&question.scenario)?;
    computed(py, progress.map(|progress| (progress, axes.points())), move |done| {
        let finished = |_: usize, _: &wafersim::answer::plan::PlanRow| {
            done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok::<(), wafersim::answer::AnswerError>(())
        };
        let rows = wafersim::answer::rows::Rows::none_known(&finished);
        let plan = wafersim::answer::plan::plan(&question, &axes, ranges, &rows).map_err(wrong)?;
        Ok(PlanTable::new(plan))
    })
}

/// The best mapping found, as a recipe in TOML, and the wafers that it takes.
#[pyfunction]
fn search(py: Python<'_>, asked: Asked) -> PyResult<Option<(String, u32)>> {
    let question = asked.question()?;
    computed(py, None, move |_| Ok(question.searched().map(|found| (found.recipe.to_toml(), found.wafers))))
}

/// A mapping by name, or as TOML, with every number for a question.
#[pyfunction]
fn resolve(py: Python<'_>, asked: Asked) -> PyResult<String> {
    let question = asked.question()?;
    computed(py, None, move |_| {
        wafersim::answer::resolved_mapping(&question).map(|resolved| resolved.to_toml()).map_err(wrong)
    })
}

/// A run of a load, from the text of a stream scenario that names no trace; JSON.
#[pyfunction]
fn stream(py: Python<'_>, scenario: String, sets: Vec<(String, String)>, search: Option<String>) -> PyResult<String> {
    let mut file = StreamFile::parse(&scenario, "scenario").map_err(wrong)?;
    for (path, value) in &sets {
        file = file.with("set", path, value).map_err(wrong)?;
    }
    let scenario = file.check("scenario").map_err(wrong)?;
    let search = question::effort(search.as_deref())?;
    computed(py, None, move |_| {
        let files = Files { requests: None, routing: None, mapping: None, search };
        let machine = Prepared::new(scenario, files).and_then(Prepared::place).map_err(wrong)?;
        report::stream::json(&machine.point("", |_| {})).map_err(wrong)
    })
}

/// Every row of the built-in measurements, predicted; JSON.
#[pyfunction]
fn validation(py: Python<'_>) -> PyResult<String> {
    computed(py, None, move |_| {
        let rows = read_table(BUILTIN_MEASUREMENTS, "built-in measurements").map_err(wrong)?;
        let wafers = BUILTIN_WAFERS.iter().map(|name| Ok(((*name).to_owned(), Wafer::builtin(name)?)));
        let wafers = wafers.collect::<Result<_, wafersim::spec::SpecError>>().map_err(wrong)?;
        report::validation::json(&validate(&rows, &wafers)).map_err(wrong)
    })
}

/// A map of the wafers of a question: what lives where, as SVG.
#[pyfunction]
fn wafer_map(py: Python<'_>, asked: Asked, title: String) -> PyResult<String> {
    let question = asked.question()?;
    computed(py, None, move |_| {
        let placement = wafersim::answer::chosen_placement(&question).map_err(wrong)?;
        let map = report::wafer_map::of_placement(&placement, title, Vec::new());
        wafersim::picture::wafer_map_svg(&map).map_err(wrong)
    })
}

/// The built-in models, or one by its name or file; JSON.
#[pyfunction]
#[pyo3(signature = (name=None))]
fn models(name: Option<&str>) -> PyResult<String> {
    let models: Vec<report::model::Named> = match name {
        Some(name) => vec![(name.to_owned(), Ok(Model::from_name_or_path(name).map_err(wrong)?))],
        None => builtin::names().map(|name| (name.to_owned(), Model::builtin(name))).collect(),
    };
    report::model::list_json(&models).map_err(wrong)
}

/// The built-in wafers, or one by its name or file; JSON.
#[pyfunction]
#[pyo3(signature = (name=None))]
fn wafers(name: Option<&str>) -> PyResult<String> {
    let names = name.map_or_else(|| BUILTIN_WAFERS.to_vec(), |name| vec![name]);
    let wafers = names.into_iter().map(Wafer::from_name_or_path).collect::<Result<Vec<_>, _>>();
    report::wafer::list_json(&wafers.map_err(wrong)?).map_err(wrong)
}

/// Everything that can be set; JSON.
#[pyfunction]
fn settings() -> PyResult<String> {
    report::setting::json().map_err(wrong)
}

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("WafersimError", module.py().get_type::<WafersimError>())?;
    module.add_class::<PlanTable>()?;
    for function in [
        wrap_pyfunction!(answer, module)?,
        wrap_pyfunction!(plan, module)?,
        wrap_pyfunction!(search, module)?,
        wrap_pyfunction!(resolve, module)?,
        wrap_pyfunction!(stream, module)?,
        wrap_pyfunction!(validation, module)?,
        wrap_pyfunction!(wafer_map, module)?,
        wrap_pyfunction!(models, module)?,
        wrap_pyfunction!(wafers, module)?,
        wrap_pyfunction!(settings, module)?,
    ] {
        module.add_function(function)?;
    }
    Ok(())
}
