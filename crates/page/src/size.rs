//! The page of a size: everything that it says, and a sheet that reckons machines and money anew from what a planner
//! fills in.

use crate::document::{Cell, Data, Document, Machine, Planned, Tone};
use crate::generic::{self, Heading};
use crate::unit::Unit;

/// The document: `data.main` is the JSON of a size.
pub fn document(heading: Heading, data: Data) -> Document {
    let tone = match data.at("/feasible").and_then(serde_json::Value::as_bool) {
        Some(true) => Tone::Good,
        Some(false) => Tone::Bad,
        None => Tone::Neutral,
    };
    let mut document = generic::document(Heading { tone, ..heading }, data);
    let cell = |place: &str| Cell::at(&document.data, place, Unit::Plain);
    let machine = Machine {
        name: "as sized".into(),
        wafers: cell("/wafers_per_machine"),
        users: cell("/users_per_machine"),
        // All tokens, shared out: a user who thinks gets none meanwhile.
        speed: cell("/mean_tokens_per_second_per_user"),
        total: cell("/tokens_per_second_per_machine"),
    };
    let planned = Planned {
        users: cell("/users"),
        spare: cell("/spares/machines"),
        price: cell("/cost/system/total/value"),
        in_use: cell("/cost/economics/occupancy/value"),
    };
    if !machine.wafers.is_empty() && !machine.users.is_empty() {
        document.machines = vec![machine];
        document.planned = planned;
    }
    document
}
