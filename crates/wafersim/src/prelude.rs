//! What most programs need: `use wafersim::prelude::*`.

pub use wafersim_answer::plan::{Axes, Plan, PlanRow, plan};
pub use wafersim_answer::{Answer, AnswerError, Question, answer, answer_without_ranges};
#[cfg(feature = "fabric")]
#[cfg_attr(docsrs, doc(cfg(feature = "fabric")))]
pub use wafersim_check::validate::{Validation, validate};
pub use wafersim_cost::{Cause, Cost, ProgramCost, Rates, View, cost};
#[cfg(feature = "operator-graph")]
#[cfg_attr(docsrs, doc(cfg(feature = "operator-graph")))]
pub use wafersim_graph::OperatorGraph;
pub use wafersim_graph::PassLoad;
pub use wafersim_place::{Machine, PlaceError, Placement, Request, place};
pub use wafersim_program::{Axis, Math, Node, Operation, Program, ReduceOperator, Region, Work, collective};
pub use wafersim_spec::scenario::{ExpertPlacement, Profile, RoutingModel, Speculation, WaferCount};
pub use wafersim_spec::wafer::{Evidence, RateSet};
pub use wafersim_spec::{Bytes, Cycles, DataType, Hertz, Model, Precision, Scenario, ScenarioFile, SpecError, Wafer};
