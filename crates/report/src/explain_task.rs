//! Time and cost of a finished task, service by service, for people and programs.

use serde::Serialize;
use wafersim_stream::explain::task::{GUESSED, SERVICES, TasksDone};
use wafersim_stream::load::{TaskSettings, task_guesses};

use crate::error::ReportError;
use crate::grid::{Grid, Side};
use crate::json::pretty;
use crate::number::{NOTHING, duration, figure, share, whole};
use crate::paragraph::{heading, labelled};

/// A service, with what it made of the tasks at each side of what is not known.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServiceTasks {
    /// Its name.
    pub service: String,
    /// Everything that is not known is against the user.
    pub low: TasksDone,
    /// As the scenario, or the service's figures, say.
    pub expected: TasksDone,
    /// Everything is for the user.
    pub high: TasksDone,
}

/// What was asked of all services.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared<'a> {
    /// The tasks.
    pub tasks: TaskSettings,
    /// Services, wafers first.
    pub services: &'a [ServiceTasks],
}

impl ServiceTasks {
    const fn sides(&self) -> [&TasksDone; 3] {
        [&self.low, &self.expected, &self.high]
    }
}

/// For people.
pub fn text(compared: &Compared<'_>) -> String {
    let mut page = heading("Time to a finished task");
    page.push_str(&by_side(compared, "mean, from the task to the end of its tests", |done| {
        done.tasks.time.map(|time| duration(time.mean))
    }));
    page.push_str(&heading("The same for each finished task, with what unfinished ones took"));
    page.push_str(&by_side(compared, "all time over finished tasks", |done| {
        done.tasks.seconds_per_finished.map(duration)
    }));
    page.push_str(&heading("Dollars for each finished task, at the price per token"));
    page.push_str(&by_side(compared, "tokens of unfinished ones too", |done| {
        done.usd_per_finished.map(|dollars| format!("${dollars:.2}"))
    }));
    page.push_str(&heading("Expected, in the mean of a task"));
    page.push_str(&means(compared));
    page.push_str(&notes(compared));
    page
}

fn by_side(compared: &Compared<'_>, what: &'static str, value: impl Fn(&TasksDone) -> Option<String>) -> String {
    let columns = ["low", "expected", "high"].map(|title| (title, Side::Right));
    let mut grid = Grid::new([(what, Side::Left)].into_iter().chain(columns));
    for service in compared.services {
        let values = service.sides().map(|done| value(done).unwrap_or_else(|| NOTHING.to_owned()));
        grid.row([service.service.clone()].into_iter().chain(values));
    }
    grid.text()
}

fn means(compared: &Compared<'_>) -> String {
    let titles = ["finished", "attempts", "calls", "the service", "tools", "tests", "quota", "tok/s seen"];
    let columns = titles.map(|title| (title, Side::Right));
    let mut grid = Grid::new([("service", Side::Left)].into_iter().chain(columns));
    for service in compared.services {
        let TasksDone { tasks, clients, .. } = &service.expected;
        let mean = |value: Option<f64>| value.map_or_else(|| NOTHING.to_owned(), figure);
        let (parts, shares) = (tasks.shares, &clients.shares);
        let quota = (shares.quota + shares.retries) / shares.sum().max(1e-12);
        grid.row([
            service.service.clone(),
            share(tasks.finished as f64 / tasks.ended().max(1) as f64),
            mean(tasks.attempts),
            mean(tasks.calls),
            duration(parts.service),
            duration(parts.tools),
            duration(parts.checks),
            share(quota),
            mean(clients.seen_speed_overall),
        ]);
    }
    grid.text()
}

fn notes(compared: &Compared<'_>) -> String {
    let tasks = &compared.tasks;
    let ended = compared.services.first().map_or(0, |service| service.expected.tasks.ended());
    let mut page = labelled(
        "tasks",
        &format!(
            "{}, drawn alike for every service, each with its own steps and success: a first context of {} tokens, {} \
             new tokens a call and {} of an answer in the median, {} steps an attempt, up to {} attempts",
            whole(ended),
            whole(tasks.prefix.median.into()),
            whole(tasks.append.median.into()),
            whole(tasks.output.median.into()),
            figure(tasks.steps),
            tasks.attempts,
        ),
    );
    let words = "quota: share of a request's time that goes in waiting for it; tok/s seen: tokens of answers over all the \
                 time from wanting them to their end";
    page.push_str(&labelled("columns", words));
    let guesses: Vec<String> = task_guesses()
        .iter()
        .filter(|guess| guess.setting != "load.success")
        .filter_map(|guess| {
            Some(format!("{} {} ({} to {})", guess.setting, tasks.value(guess)?, guess.low, guess.high))
        })
        .collect();
    page.push_str(&labelled("guessed", &format!("{}; {GUESSED}", guesses.join(", "))));
    for service in &SERVICES {
        page.push_str(&labelled(service.name, service.evidence));
    }
    page
}

/// For programs.
///
/// # Errors
/// None that a run can cause.
pub fn json(compared: &Compared<'_>) -> Result<String, ReportError> {
    pretty(compared)
}
