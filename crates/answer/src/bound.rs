//! What no mapping beats, for a question.

use wafersim_bound::{Bound, Load, bound};
use wafersim_spec::scenario::WaferCount;

use crate::question::Question;

/// The bound of a question: of its model, wafer and load, whatever its mapping says. A draft costs nothing there.
pub fn no_mapping_beats(question: &Question) -> Bound {
    let scenario = &question.scenario;
    let load = Load {
        context: scenario.context,
        users: scenario.users,
        precision: scenario.precision,
        wafers: match scenario.wafers {
            WaferCount::Auto => None,
            WaferCount::Exactly(wafers) => Some(wafers),
        },
        tokens: 1 + u64::from(scenario.speculation.draft_length),
        accepted: scenario.speculation.tokens_per_step(),
        clock: question.clock(),
    };
    bound(&question.model, &question.wafer, &load)
}
