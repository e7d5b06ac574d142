//! The page of what an answer costs: everything that it says, and a sheet that reckons machines and money anew from
//! what a planner fills in.

use crate::document::{Cell, Data, Document, Machine, Planned};
use crate::generic::{self, Heading};
use crate::unit::Unit;

/// The document: `data.main` is the JSON of a cost.
pub fn document(heading: Heading, data: Data) -> Document {
    let mut document = generic::document(heading, data);
    let data = &document.data;
    let cell = |place: &str| Cell::at(data, place, Unit::Plain);
    let numbers = ["/users", "/wafers", "/load/systems", "/load/tokens_per_second_per_user"].map(|at| data.number(at));
    let [Some(users), Some(wafers), Some(systems), Some(speed)] = numbers else { return document };
    let machine = Machine {
        name: "as answered".into(),
        wafers: cell("/wafers"),
        users: cell("/users"),
        speed: cell("/load/tokens_per_second_per_user"),
        total: Cell::reckoned(users * speed),
    };
    let planned = Planned {
        users: Cell::reckoned(users * (systems / wafers.max(1.0)).round()),
        spare: Cell::Empty,
        price: cell("/system/total/value"),
        in_use: cell("/economics/occupancy/value"),
    };
    (document.machines, document.planned) = (vec![machine], planned);
    document
}
