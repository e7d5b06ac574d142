//! The native half of the Python package `wafersim`: text and numbers in, JSON text and Arrow columns out.
//!
//! What Python users see (dataclasses, keyword arguments) is in `wafersim/*.py`; here is only what needs Rust. Every
//! computation runs on a thread of its own while the interpreter is free, and Ctrl-C ends the waiting for it; searches,
//! tables and sizes then end too, after the piece that they are at.

mod columns;
mod computing;
mod load;
mod question;

use pyo3::create_exception;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use wafersim::answer::AnswerError;
use wafersim::answer::plan::PlanRow;
use wafersim::answer::rows::Rows;
use wafersim::check::measurements::{BUILTIN_MEASUREMENTS, read_table};
use wafersim::check::validate::validate;
use wafersim::decide;
use wafersim::decide::goal::Asked as Levers;
use wafersim::report;
use wafersim::spec::model::builtin;
use wafersim::spec::wafer::BUILTIN_WAFERS;
use wafersim::spec::{Model, Wafer};
use wafersim::stream::run::{Files, Prepared};

use crate::columns::PlanTable;
use crate::computing::computed;
use crate::load::{Loaded, System};
use crate::question::{Asked, Lists};

create_exception!(wafersim, WafersimError, PyValueError, "Wrong input: the message says what, and what is allowed.");

/// Anything that says what is wrong, as an exception.
fn wrong(error: impl std::fmt::Display) -> PyErr {
    WafersimError::new_err(error.to_string())
}

/// One answer as JSON, and in words.
#[pyfunction]
fn answer(py: Python<'_>, asked: Asked) -> PyResult<(String, String)> {
    let (question, ranges) = (asked.question()?, asked.ranges()?);
    computed(py, None, move |counted| {
        let question = question.stopped_by(counted.stop());
        let answer = wafersim::answer::answer_with(&question, ranges, &|_, _| {}).map_err(wrong)?;
        Ok((report::answer::json(&answer).map_err(wrong)?, report::answer::text(&answer, &question.wafer)))
    })
}

/// Why a table ended: an answer that there is not, or nobody who waits for it.
enum Ended {
    Answer(AnswerError),
    Left,
}

impl From<AnswerError> for Ended {
    fn from(error: AnswerError) -> Self {
        Self::Answer(error)
    }
}

/// A table of answers.
#[pyfunction]
#[pyo3(signature = (asked, lists, progress=None))]
fn plan(py: Python<'_>, asked: Asked, lists: Lists, progress: Option<Py<PyAny>>) -> PyResult<PlanTable> {
    let (question, ranges) = (asked.question()?, asked.ranges()?);
    let axes = lists.axes(&question.scenario)?;
    computed(py, progress, move |counted| {
        let question = question.stopped_by(counted.stop());
        counted.at(0, axes.points() as u64);
        let finished = |_: usize, _: &PlanRow| {
            counted.one_more();
            if counted.is_left() { Err(Ended::Left) } else { Ok(()) }
        };
        match wafersim::answer::plan::plan(&question, &axes, ranges, &Rows::none_known(&finished)) {
            Ok(plan) => Ok(PlanTable::new(plan)),
            Err(Ended::Answer(error)) => Err(wrong(error)),
            Err(Ended::Left) => Err(wrong("nobody waits for the table")),
        }
    })
}

/// The best mapping found, as a recipe in TOML, and the wafers that it takes.
#[pyfunction]
fn search(py: Python<'_>, asked: Asked) -> PyResult<Option<(String, u32)>> {
    let question = asked.question()?;
    computed(py, None, move |counted| {
        let question = question.stopped_by(counted.stop());
        Ok(question.searched().map(|found| (found.recipe.to_toml(), found.wafers)))
    })
}

/// A mapping by name, or as TOML, with every number for a question.
#[pyfunction]
fn resolve(py: Python<'_>, asked: Asked) -> PyResult<String> {
    let question = asked.question()?;
    computed(py, None, move |_| {
        wafersim::answer::resolved_mapping(&question).map(|resolved| resolved.to_toml()).map_err(wrong)
    })
}

/// A run of a load, from the text of a stream scenario that names no trace; JSON, and in words.
#[pyfunction]
#[pyo3(signature = (loaded, progress=None))]
fn stream(py: Python<'_>, loaded: Loaded, progress: Option<Py<PyAny>>) -> PyResult<(String, String)> {
    let scenario = loaded.checked(loaded.file()?)?;
    let question = loaded.question(scenario.machine.clone())?;
    let (mapping, search) = (loaded.mapping()?, question::effort(loaded.search.as_deref())?);
    computed(py, progress, move |counted| {
        let question = question.with_mapping(mapping).searching(search).stopped_by(counted.stop());
        let machine = Prepared::asking(question, scenario, Files::default()).and_then(Prepared::place);
        let point = machine.map_err(wrong)?.point("", |progress| match progress.requests {
            Some(all) => counted.at(progress.finished, all),
            // In milliseconds of simulated time.
            None => counted.at(progress.now.0 / 1_000_000_000, progress.end.0 / 1_000_000_000),
        });
        Ok((report::stream::json(&point).map_err(wrong)?, report::stream::text(&point)))
    })
}

/// What must be true for a target; JSON, and in words.
#[pyfunction]
#[pyo3(signature = (asked, vary, fix, progress=None))]
fn goal(
    py: Python<'_>,
    asked: Asked,
    vary: Vec<String>,
    fix: Vec<String>,
    progress: Option<Py<PyAny>>,
) -> PyResult<(String, String)> {
    let question = asked.question()?;
    computed(py, progress, move |counted| {
        let question = question.stopped_by(counted.stop());
        let levers = Levers { vary, fix };
        let found = decide::goal::goal(&question, &levers, &|done, all| counted.at(done, all)).map_err(wrong)?;
        Ok((report::goal::json(&found).map_err(wrong)?, report::goal::text(&found)))
    })
}

/// How many machines a load needs; JSON, and in words.
#[pyfunction]
fn size(py: Python<'_>, loaded: Loaded, system: System) -> PyResult<(String, String)> {
    let mut load = loaded.to_size(&system)?;
    computed(py, None, move |counted| {
        load.stop = counted.stop();
        let found = decide::size::size(&load, &|_| ()).map_err(wrong)?;
        Ok((report::size::json(&found).map_err(wrong)?, report::size::text(&found)))
    })
}

/// Every row of the built-in measurements, predicted; JSON, and in words.
#[pyfunction]
fn validation(py: Python<'_>) -> PyResult<(String, String)> {
    computed(py, None, move |_| {
        let rows = read_table(BUILTIN_MEASUREMENTS, "built-in measurements").map_err(wrong)?;
        let wafers = BUILTIN_WAFERS.iter().map(|name| Ok(((*name).to_owned(), Wafer::builtin(name)?)));
        let wafers = wafers.collect::<Result<_, wafersim::spec::SpecError>>().map_err(wrong)?;
        let found = validate(&rows, &wafers);
        Ok((report::validation::json(&found).map_err(wrong)?, report::validation::text(&found)))
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
        Some(name) => {
            let model = question::model(name)?;
            vec![(model.name.clone(), Ok(model))]
        }
        None => builtin::names().map(|name| (name.to_owned(), Model::builtin(name))).collect(),
    };
    report::model::list_json(&models).map_err(wrong)
}

/// All parameters of a wafer by its name, file or text; JSON.
#[pyfunction]
fn wafer(name: &str) -> PyResult<String> {
    report::wafer::json(&question::wafer(name)?).map_err(wrong)
}

/// The built-in wafers, or one by its name or file; JSON.
#[pyfunction]
#[pyo3(signature = (name=None))]
fn wafers(name: Option<&str>) -> PyResult<String> {
    let names = name.map_or_else(|| BUILTIN_WAFERS.to_vec(), |name| vec![name]);
    let wafers = names.into_iter().map(question::wafer).collect::<PyResult<Vec<_>>>()?;
    report::wafer::list_json(&wafers).map_err(wrong)
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
        wrap_pyfunction!(goal, module)?,
        wrap_pyfunction!(size, module)?,
        wrap_pyfunction!(validation, module)?,
        wrap_pyfunction!(wafer_map, module)?,
        wrap_pyfunction!(models, module)?,
        wrap_pyfunction!(wafer, module)?,
        wrap_pyfunction!(wafers, module)?,
        wrap_pyfunction!(settings, module)?,
    ] {
        module.add_function(function)?;
    }
    Ok(())
}
