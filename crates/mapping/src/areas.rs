//! Rectangles of parts of a layer: from shares to numbers, whether they lie inside, and what they take of the memory.

use std::collections::BTreeMap;

use wafersim_graph::layer::{LayerGraph, LayerLoad, Rewrite, Rewrites};
use wafersim_place::{Item, LayerLayout, PlacedMatrix, most_elements};
use wafersim_program::Region;
use wafersim_spec::model::{Attention, FeedForward, Layer, Role};
use wafersim_spec::{Bytes, Size};

use crate::error::MappingError;
use crate::layer::RegionSize;
use crate::mapped::Mapped;
use crate::operator::OPERATORS;
use crate::recipe::{Recipe, RectangleRecipe};

/// A part of a layer that may work in a rectangle of its own: its name in a mapping, and its operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Its name: that of its operator, or what its operators' names begin with.
    pub name: &'static str,
    /// Its operators.
    pub operators: &'static [&'static str],
}

/// Keys and values, where they are made beside the queries.
const KEY_VALUE: &str = "attention.key_value";

/// The routed experts, where they are spread over the rectangle.
const EXPERTS: &str = "experts";

/// Parts that may have a rectangle of their own. All others work where the cache, its heads or the whole stream lie;
/// where experts in rectangles lie is said in `[experts]`.
pub const PARTS: &[Part] = &[
    Part { name: "attention.norm", operators: &["attention.norm"] },
    Part { name: "attention.query_key_value", operators: &["attention.query_key_value"] },
    Part { name: KEY_VALUE, operators: &[KEY_VALUE] },
    Part { name: "feed_forward.norm", operators: &["feed_forward.norm"] },
    Part { name: "feed_forward", operators: &["feed_forward.gate_up", "feed_forward.activation", "feed_forward.down"] },
    Part { name: "router", operators: &["router"] },
    Part { name: EXPERTS, operators: &["experts.gate_up", "experts.activation", "experts.down"] },
    Part {
        name: "shared_expert",
        operators: &["shared_expert.gate_up", "shared_expert.activation", "shared_expert.down"],
    },
];

/// The part with a name.
pub fn part_named(name: &str) -> Option<&'static Part> {
    PARTS.iter().find(|part| part.name == name)
}

/// The rectangle of an operator among those of parts.
pub(crate) fn rectangle_of<'r, R>(rectangles: &'r BTreeMap<String, R>, operator: &str) -> Option<&'r R> {
    let part = PARTS.iter().find(|part| part.operators.contains(&operator))?;
    rectangles.get(part.name)
}

/// The operators of a layer that a mapping may name.
pub fn operators_of(layer: &Layer) -> Vec<&'static str> {
    let graph = LayerGraph::new(layer, 1, LayerLoad { tokens: 1, context: 1 });
    let has_experts = matches!(layer.feed_forward, FeedForward::Moe(_));
    let is_grouped = matches!(layer.attention, Attention::Grouped(_));
    let names = OPERATORS.iter().map(|operator| operator.name);
    let moves = |name: &str| has_experts && matches!(name, "experts.dispatch" | "experts.combine");
    let beside = |name: &str| is_grouped && name == KEY_VALUE;
    names.filter(|name| graph.operator(name).is_some() || moves(name) || beside(name)).collect()
}

/// Operators of routed experts: where they work is for the rectangles of the experts to say.
const OF_EXPERTS: [&str; 5] =
    ["experts.dispatch", "experts.gate_up", "experts.activation", "experts.down", "experts.combine"];

/// Whether an operator is one of routed experts.
pub(crate) fn is_of_experts(operator: &str) -> bool {
    OF_EXPERTS.contains(&operator)
}

/// Why a part of a layer cannot have a rectangle of its own under the other decisions, where it cannot: what would be
/// allowed.
pub(crate) fn refused(part: &str, layer: &Layer, rewrites: Rewrites, is_spread: bool) -> Option<&'static str> {
    let has = |rewrite| rewrites.has(rewrite);
    match part {
        EXPERTS if !is_spread => Some("none: experts in rectangles lie where [experts] says; or spread experts"),
        "shared_expert" | EXPERTS if has(Rewrite::SharedExpertBeside) => {
            Some("none with shared_expert_beside, which has both in one product; or not that rewrite")
        }
        "router" | "attention.query_key_value" | "feed_forward.norm" if has(Rewrite::EarlyRouter) => {
            Some("none with early_router, whose logits ride with attention; or not that rewrite")
        }
        "attention.query_key_value" if !matches!(layer.attention, Attention::Grouped(_)) => {
            Some("none: only queries, keys and values of grouped heads have one")
        }
        _ => None,
    }
}

/// The rectangles of the parts that a layer has, in its region. `is_spread`: whether its experts are.
pub(crate) fn resolved(
    recipe: &Recipe,
    layer: &Layer,
    region: RegionSize,
    is_spread: bool,
) -> Result<BTreeMap<String, Region>, MappingError> {
    if recipe.rectangles.is_empty() {
        return Ok(BTreeMap::new());
    }
    let operators = operators_of(layer);
    let refuse = |part: &str, value: String, allowed: String| {
        let (mapping, field) = (recipe.name.clone(), format!("rectangles.\"{part}\""));
        Err(MappingError::Decision { mapping, field, value, allowed })
    };
    let mut rectangles = BTreeMap::new();
    let of_layer = |name: &str| part_named(name).is_some_and(|part| operators.contains(&part.operators[0]));
    for (part, area) in recipe.rectangles.iter().filter(|(name, _)| of_layer(name)) {
        if let Some(allowed) = refused(part, layer, recipe.rewrites, is_spread) {
            return refuse(part, "given".into(), allowed.into());
        }
        let rectangle = inside(area, region);
        let fits = |from: u64, size: u64, whole: u64| from.saturating_add(size) <= whole && size > 0;
        if !fits(rectangle.x, rectangle.columns, region.columns) || !fits(rectangle.y, rectangle.rows, region.rows) {
            let Region { x, y, columns, rows } = rectangle;
            let value = format!("{columns} x {rows} at ({x}, {y})");
            return refuse(part, value, format!("a rectangle in a region of {} x {}", region.columns, region.rows));
        }
        rectangles.insert(part.clone(), rectangle);
    }
    Ok(rectangles)
}

fn inside(area: &RectangleRecipe, region: RegionSize) -> Region {
    let along = |from: Size, size: Size, whole: u64| {
        let from = from.of(whole).unwrap_or(0);
        (from, size.of(whole).unwrap_or_else(|| whole.saturating_sub(from)))
    };
    let ((x, columns), (y, rows)) =
        (along(area.x, area.columns, region.columns), along(area.y, area.rows, region.rows));
    Region { x, y, columns, rows }
}

/// The operator that reads the matrices of a role.
const fn operator_of(role: Role) -> Option<&'static str> {
    match role {
        Role::Query
        | Role::Key
        | Role::Value
        | Role::OutputGate
        | Role::WriteStrength
        | Role::Decay
        | Role::QueryDown
        | Role::IndexKey
        | Role::IndexWeight
        | Role::KvDown => Some("attention.query_key_value"),
        Role::QueryUp | Role::IndexQuery => Some("attention.query_up"),
        Role::KvUp => Some("attention.absorbed_key"),
        Role::Output => Some("attention.output"),
        Role::Router => Some("router"),
        Role::Gate | Role::Up => Some("feed_forward.gate_up"),
        Role::Down => Some("feed_forward.down"),
        Role::SharedGate | Role::SharedUp | Role::SharedOutputGate => Some("shared_expert.gate_up"),
        Role::SharedDown => Some("shared_expert.down"),
        Role::ExpertGate | Role::ExpertUp => Some("experts.gate_up"),
        Role::ExpertDown => Some("experts.down"),
        Role::Embedding
        | Role::AttentionNorm
        | Role::AttentionInnerNorm
        | Role::Convolution
        | Role::DecayRate
        | Role::IndexNorm
        | Role::Sinks
        | Role::FeedForwardNorm
        | Role::FinalNorm
        | Role::LmHead => None,
    }
}

/// The same where keys and values may be made by themselves.
fn operator_in(rectangles: &BTreeMap<String, Region>, role: Role) -> Option<&'static str> {
    match role {
        Role::Key | Role::Value if rectangles.contains_key(KEY_VALUE) => Some(KEY_VALUE),
        other => operator_of(other),
    }
}

/// Bytes of a matrix in the worst processing element of a rectangle.
fn bytes_in(matrix: &PlacedMatrix, columns: u64, rows: u64) -> Bytes {
    let (x, y) = matrix.orientation.along(matrix.inputs, matrix.outputs);
    matrix.data_type.storage(most_elements(x, y, matrix.copies, columns, rows))
}

/// Bytes that rectangles add to the worst processing element of a layer.
fn more_bytes(layout: &LayerLayout, rectangles: &BTreeMap<String, Region>) -> Bytes {
    let moved: Vec<(Region, &PlacedMatrix)> = layout
        .matrices
        .iter()
        .filter_map(|matrix| Some((*rectangle_of(rectangles, operator_in(rectangles, matrix.role)?)?, matrix)))
        .collect();
    let before: Bytes = moved.iter().map(|(_, matrix)| bytes_in(matrix, layout.columns, layout.rows)).sum();
    // The worst processing element of each piece that the rectangles' edges cut out.
    let edges = |along: fn(&Region) -> u64| moved.iter().map(|(rectangle, _)| along(rectangle)).collect::<Vec<u64>>();
    let (columns, rows) = (edges(|rectangle| rectangle.x), edges(|rectangle| rectangle.y));
    let pieces = columns.iter().flat_map(|x| rows.iter().map(move |y| (*x, *y)));
    let held = pieces.map(|(x, y)| {
        let covers = |rectangle: &Region| {
            (rectangle.x..rectangle.x + rectangle.columns).contains(&x)
                && (rectangle.y..rectangle.y + rectangle.rows).contains(&y)
        };
        let here = moved.iter().filter(|(rectangle, _)| covers(rectangle));
        here.map(|(rectangle, matrix)| bytes_in(matrix, rectangle.columns, rectangle.rows)).sum::<Bytes>()
    });
    held.max().unwrap_or(Bytes::ZERO).saturating_sub(before)
}

impl Mapped {
    /// Bytes that rectangles add to the worst processing element of each slot; nothing where there are none.
    pub fn rectangle_bytes(&self) -> Option<Vec<Bytes>> {
        if self.layers.iter().all(|mapping| mapping.rectangles.is_empty()) {
            return None;
        }
        let placement = &self.placement;
        let layouts = placement.layouts.iter().zip(&self.layers);
        let more: Vec<Bytes> = layouts.map(|(layout, mapping)| more_bytes(layout, &mapping.rectangles)).collect();
        let of_item = |item: &Item| match item {
            Item::Layer(layer) => placement.layout_index(*layer as usize).and_then(|layout| more.get(layout)).copied(),
            Item::Embedding(_) | Item::LmHead(_) => None,
        };
        Some(placement.slots.iter().map(|slot| slot.items.iter().filter_map(of_item).sum()).collect())
    }
}

/// Whether the matrices of operators in rectangles of their own fit beside everything else.
pub(crate) fn check(mapped: &Mapped, recipe: &Recipe) -> Result<(), MappingError> {
    let Some(more) = mapped.rectangle_bytes() else { return Ok(()) };
    for (ledger, needed) in mapped.placement.ledger.slots.iter().zip(more) {
        if needed > ledger.spare {
            return Err(MappingError::Decision {
                mapping: recipe.name.clone(),
                field: "rectangles".into(),
                value: format!("{} bytes more in the worst processing element of slot {}", needed.0, ledger.slot),
                allowed: format!("the {} bytes that it has to spare: larger rectangles, or fewer", ledger.spare.0),
            });
        }
    }
    Ok(())
}
