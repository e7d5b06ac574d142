//! What of a mapping's decisions the small model has as well, and what is smaller there: found by looking at both, not
//! promised.

use wafersim_mapping::{LayerMapping, LineKind, OPERATORS, Reduction, RegionSize, Tree};
use wafersim_spec::model::{Attention, FeedForward, Layer};

/// A kind of layer, mapped at full size and small.
pub struct Both<'a> {
    /// The layer of the model, and the small one.
    pub layers: [&'a Layer; 2],
    /// Their mappings.
    pub mappings: [&'a LayerMapping; 2],
}

/// The two lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// What is the same in both.
    pub identical: Vec<String>,
    /// What is smaller, or another.
    pub scaled: Vec<String>,
}

impl Kept {
    /// Compares every kind of layer.
    pub fn new(all: &[Both<'_>]) -> Self {
        let mut kept = Self::default();
        for both in all {
            kept.decisions(both);
            kept.collectives(both);
            kept.splits(both);
            kept.experts(both);
        }
        kept
    }

    fn add(&mut self, same: bool, what: impl Into<String>, other: impl FnOnce() -> String) {
        let what = what.into();
        let (list, line) = if same { (&mut self.identical, what) } else { (&mut self.scaled, other()) };
        if !list.contains(&line) {
            list.push(line);
        }
    }

    fn decisions(&mut self, both: &Both<'_>) {
        let [large, small] = both.mappings;
        self.add(true, "the writer of programs, its layouts and relayouts", String::new);
        self.add(large.rewrites == small.rewrites, "rewrites", || "rewrites: others".into());
        self.add(large.routes == small.routes, "whether routes change", || "routes: others".into());
        self.add(large.overlap == small.overlap, "order: what runs at the same time", || "order: another".into());
        let parts = |mapping: &LayerMapping| mapping.rectangles.keys().cloned().collect::<Vec<_>>().join(", ");
        if !large.rectangles.is_empty() {
            let what = format!("rectangles of their own for {}", parts(large));
            self.add(parts(large) == parts(small), what, || format!("rectangles: {}", parts(small)));
        }
        let roles = |mapping: &LayerMapping| mapping.stored.keys().copied().collect::<Vec<_>>();
        let what = "which matrices are stored wide";
        self.add(roles(large) == roles(small), what, || format!("stored wide: {:?}", roles(small)));
        self.add(false, "", || format!("region: {} for {}", small.region, large.region));
    }

    fn collectives(&mut self, both: &Both<'_>) {
        let [large, small] = both.mappings;
        let (mut same, mut others) = (true, Vec::new());
        for line in [LineKind::X, LineKind::Y, LineKind::Width, LineKind::Sequence] {
            let of = |mapping: &LayerMapping| form(mapping.reductions.along(line), length(mapping, line));
            if of(large) != of(small) {
                same = false;
                others.push(format!("{} for {} along {line}", of(small), of(large)));
            }
        }
        for operator in OPERATORS {
            let Some(line) = operator.line else { continue };
            let of = |mapping: &LayerMapping| {
                let known = mapping.reductions.operators.get(operator.name)?;
                let rectangle = mapping.rectangles.iter().find(|(part, _)| operator.name.starts_with(part.as_str()));
                let whole = length(mapping, line);
                let length = rectangle.map_or(whole, |(_, rectangle)| match line {
                    LineKind::X => rectangle.columns,
                    LineKind::Y => rectangle.rows,
                    _ => whole,
                });
                Some(form(known, length))
            };
            let [one, other] = [of(large), of(small)];
            if one != other {
                same = false;
                let words = |form: Option<String>| form.unwrap_or_else(|| "the usual one".into());
                others.push(format!("{} for {} in {}", words(other), words(one), operator.name));
            }
        }
        self.add(same, "collectives: kind and number of levels on every line", || {
            format!("collectives: {}", others.join(", "))
        });
        self.add(false, "", || "collectives: how many members a group has".into());
    }

    fn splits(&mut self, both: &Both<'_>) {
        if let [Attention::Linear(_), _] = both.layers.map(|layer| &layer.attention) {
            return;
        }
        let [large, small] = both.mappings.map(|mapping| mapping.kv);
        let some = |number: u64, whole: u64| match number {
            0 | 1 => "one",
            all if all >= whole => "all",
            _ => "some",
        };
        let of_copy = |kv: &wafersim_mapping::KvMapping| (kv.columns_per_head / kv.head_copies.max(1)).max(1);
        for (what, of) in [
            ("split of a head's width", [large, small].map(|kv| (kv.dimension_split, of_copy(&kv)))),
            ("split of the sequence over columns", [large, small].map(|kv| (kv.sequence_split, of_copy(&kv)))),
            ("copies of keys and values", [large, small].map(|kv| (kv.head_copies, kv.columns_per_head))),
        ] {
            let [one, other] = of;
            self.add(some(one.0, one.1) == some(other.0, other.1), format!("{what}: {}", some(one.0, one.1)), || {
                format!("{what}: {} for {}", other.0, one.0)
            });
            if one.0 != other.0 && some(one.0, one.1) == some(other.0, other.1) {
                self.add(false, "", || format!("{what}: {} for {}", other.0, one.0));
            }
        }
        self.add(large.append == small.append, "where new keys and values go", || "append: another".into());
    }

    fn experts(&mut self, both: &Both<'_>) {
        let [Some(large), Some(small)] = both.mappings.map(|mapping| mapping.experts.as_ref()) else { return };
        let same = large.strategy == small.strategy && large.is_spread() == small.is_spread();
        let name = large.strategy.map_or_else(|| "by a file".to_owned(), |strategy| strategy.to_string());
        self.add(same, format!("experts: {name}"), || format!("experts: {name} at full size alone"));
        if let [FeedForward::Moe(one), FeedForward::Moe(other)] = both.layers.map(|layer| &layer.feed_forward) {
            self.add(false, "", || {
                format!("experts: {} of {} chosen, for {} of {}", other.top_k, other.experts, one.top_k, one.experts)
            });
        }
    }
}

/// Members of a line of a layer.
const fn length(mapping: &LayerMapping, line: LineKind) -> u64 {
    let RegionSize { columns, rows } = mapping.region;
    match line {
        LineKind::X => columns,
        LineKind::Y => rows,
        LineKind::Width => mapping.kv.dimension_split,
        LineKind::Sequence => mapping.kv.sequence_split,
        LineKind::Head | LineKind::CellX | LineKind::CellY => mapping.kv.columns_per_head,
    }
}

/// Kind and number of levels.
fn form(reduction: &Reduction, length: u64) -> String {
    let levels = |tree: &Tree| tree.sizes(length).len();
    match reduction {
        _ if length <= 1 => "nothing".into(),
        Reduction::Tree(tree) => format!("a tree of {} levels", levels(tree)),
        Reduction::Chain { .. } => "a chain".into(),
        Reduction::ReduceScatter => "a reduce-scatter".into(),
        Reduction::Own(own) => format!("the own collective '{}'", own.id()),
        Reduction::SplitRoots { tree, .. } => format!("split roots on a tree of {} levels", levels(tree)),
    }
}
