//! The longest path through a program whose processing elements follow each their own order.
//!
//! A step begins when every processing element of its rectangle has finished what the program gave it before; steps on
//! rectangles that do not meet run at the same time. Data moves between rectangles only in steps that cover both, so no
//! other dependency is needed. The path is found event by event: for each step the event before it that ended last
//! among those whose rectangles it meets. Where all steps cover the whole region, that is the sum of the steps.

use wafersim_program::{Node, Program, Region};

use crate::cause::Cost;
use crate::rates::Rates;
use crate::reading::{Core, OperatorCosts, ProgramCost, follow};

/// A step, or a loop or group of steps that belong together.
struct Event {
    operator: usize,
    /// What it takes.
    own: Cost,
    /// When it ends, in cycles.
    end: f64,
    /// The event that it waited for.
    before: Option<usize>,
    /// What its cores did last.
    core: Core,
}

/// About as many as an operator has.
const EVENTS_OF_AN_OPERATOR: usize = 4;

/// Which event each rectangle waits for; later entries lie over earlier ones.
#[derive(Default)]
struct Front {
    rectangles: Vec<(Region, usize)>,
}

impl Front {
    /// The event that ended last among those that a rectangle waits for; the later one of two that end together.
    fn before(&self, region: Region, events: &[Event]) -> Option<usize> {
        let meeting = self.rectangles.iter().filter(|(known, _)| known.meets(&region)).map(|(_, event)| *event);
        meeting.max_by(|a, b| events[*a].end.total_cmp(&events[*b].end).then(a.cmp(b)))
    }

    fn put(&mut self, region: Region, event: usize) {
        self.rectangles.retain(|(known, _)| !region.covers(known));
        self.rectangles.push((region, event));
    }
}

/// Reads a program as its longest path. The operators hold what lies on the path, so that they add up to the whole.
pub(crate) fn longest_path(program: &Program, rates: &Rates) -> ProgramCost {
    let mut names = OperatorCosts::with_capacity(program.body.len());
    let mut events: Vec<Event> = Vec::with_capacity(EVENTS_OF_AN_OPERATOR * program.body.len());
    let mut front = Front::default();
    for node in &program.body {
        let (operator, body) = match node {
            Node::Operator { name, body } => (names.index(name.clone()), body.as_slice()),
            other => (names.index("other".into()), std::slice::from_ref(other)),
        };
        each_flat(body, &mut |node| {
            let Some(region) = node.region() else { return };
            let before = front.before(region, &events);
            let mut core = before.map_or(Core::Waited, |event| events[event].core);
            let own = follow(node, program, rates, &mut core);
            let start = before.map_or(0.0, |event| events[event].end);
            events.push(Event { operator, own, end: start + own.total().0, before, core });
            front.put(region, events.len() - 1);
        });
    }
    let last = (0..events.len()).max_by(|a, b| events[*a].end.total_cmp(&events[*b].end).then(b.cmp(a)));
    let mut at = last;
    while let Some(event) = at.and_then(|at| events.get(at)) {
        names.add(event.operator, event.own);
        at = event.before;
    }
    names.finish(program.color_count())
}

/// Calls `each` for the nodes of a body, sequences opened.
fn each_flat(body: &[Node], each: &mut impl FnMut(&Node)) {
    for node in body {
        match node {
            Node::Sequence(inner) | Node::Operator { body: inner, .. } => each_flat(inner, each),
            other => each(other),
        }
    }
}
