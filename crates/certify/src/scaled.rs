//! The decisions of a mapping for a region and a model that are smaller: what is one, all or a rule stays so, numbers
//! shrink with what they are numbers of.
//!
//! The sizes of a tree's groups shrink as powers: a tree of two levels about the root of a line stays one, and a chain
//! a chain.

use std::collections::BTreeMap;

use wafersim_mapping::recipe::ReductionRecipes;
use wafersim_mapping::{
    Experts, Groups, KvMapping, KvRecipe, LayerMapping, LineKind, OPERATORS, Recipe, RectangleRecipe, Reduction,
    RegionSize, Root, Stored, Tree, Width,
};
use wafersim_program::collective;
use wafersim_spec::Size;
use wafersim_spec::model::{Attention, FeedForward, Layer};
use wafersim_spec::scenario::ExpertPlacement;

/// A layer as it is, how it is mapped, and the small one.
#[derive(Debug, Clone, Copy)]
pub struct Pair<'a> {
    /// The layer of the model.
    pub layer: &'a Layer,
    /// Its decisions.
    pub mapping: &'a LayerMapping,
    /// The small layer.
    pub small: &'a Layer,
}

/// The region of a small layer: of about the shape of the large one, and with lines for trees of three levels.
pub fn small_region(region: RegionSize) -> RegionSize {
    /// Processing elements, and the shortest and the longest line.
    const ELEMENTS: f64 = 360.0;
    const LINES: (f64, f64) = (12.0, 30.0);
    let shape = region.columns.max(1) as f64 / region.rows.max(1) as f64;
    let columns = (ELEMENTS * shape).sqrt().clamp(LINES.0, LINES.1).round();
    let rows = (ELEMENTS / columns).clamp(LINES.0, LINES.1).round();
    RegionSize { columns: (columns as u64).min(region.columns), rows: (rows as u64).min(region.rows) }
}

/// The recipe for small layers on a region: the decisions of `pair`, which every kind of layer shares but for its
/// splits.
pub fn scaled(recipe: &Recipe, pair: &Pair<'_>, to: RegionSize) -> Recipe {
    let from = pair.mapping.region;
    Recipe {
        name: format!("{}, scaled", recipe.name),
        micro_batch: Size::Auto,
        division: Default::default(),
        reductions: reductions(&recipe.reductions, pair, to),
        kv: kv(&recipe.kv, pair, to),
        experts: experts(&recipe.experts, pair),
        stored: stored(pair.mapping),
        rectangles: recipe.rectangles.iter().map(|(part, area)| (part.clone(), rectangle(area, from, to))).collect(),
        ..recipe.clone()
    }
}

/// A number of something of which there are now `to` in place of `from`: at least 1, and more than 1 where it was.
fn share(number: u64, from: u64, to: u64) -> u64 {
    let least = if number > 1 { 2 } else { 1 };
    let wanted = (number as f64 * to as f64 / from.max(1) as f64).round() as u64;
    wanted.max(least).min(to.max(1))
}

/// A factor of a line of `from` for one of `to`: the same power of it.
fn power(factor: u64, from: u64, to: u64) -> u64 {
    if factor <= 1 || from <= 1 || to <= 1 {
        return 1.min(to);
    }
    let exponent = (factor as f64).ln() / (from as f64).ln();
    ((to as f64).powf(exponent).round() as u64).clamp(2, to)
}

/// Sizes near these that give a tree on a line: not every length has a member for the root of its last group.
fn written(sizes: Vec<u64>, to: u64) -> Vec<u64> {
    /// Sizes that are tried, as far from the wanted one.
    const NEAR: [i64; 5] = [0, -1, 1, -2, 2];
    let levels = |sizes: &[u64]| Tree { groups: Groups::Sizes(sizes.to_vec()), root: Root::Middle }.sizes(to);
    let wanted = levels(&sizes).len();
    let tries = NEAR.len().pow(sizes.len().min(4) as u32);
    let near = |number: usize| -> Vec<u64> {
        let mut left = number;
        let mut moved = |size: &u64| {
            let by = NEAR[left % NEAR.len()];
            left /= NEAR.len();
            size.saturating_add_signed(by).max(2)
        };
        sizes.iter().map(&mut moved).collect()
    };
    let fits = |sizes: &Vec<u64>| {
        let all = levels(sizes);
        all.len() == wanted && collective::Tree::of_sizes(to, &all).is_ok()
    };
    (0..tries).map(near).find(fits).unwrap_or(sizes)
}

fn tree(tree: &Tree, from: u64, to: u64) -> Tree {
    let groups = match &tree.groups {
        Groups::SquareRoot => Groups::SquareRoot,
        Groups::Count(count) => Groups::Count(power(*count, from, to)),
        Groups::Sizes(sizes) => Groups::Sizes(written(sizes.iter().map(|size| power(*size, from, to)).collect(), to)),
    };
    let root = match tree.root {
        Root::Middle => Root::Middle,
        Root::Index(index) => Root::Index(index.saturating_mul(to) / from.max(1)),
    };
    Tree { groups, root }
}

fn reduction(reduction: &Reduction, from: u64, to: u64) -> Reduction {
    match reduction {
        Reduction::Tree(known) => Reduction::Tree(tree(known, from, to)),
        Reduction::Chain { root } => {
            let Tree { root, .. } = tree(&Tree { groups: Groups::SquareRoot, root: *root }, from, to);
            Reduction::Chain { root }
        }
        Reduction::ReduceScatter | Reduction::Own(_) => reduction.clone(),
        Reduction::SplitRoots { roots, tree: known } => {
            Reduction::SplitRoots { roots: power(*roots, from, to), tree: tree(known, from, to) }
        }
    }
}

fn reductions(recipe: &ReductionRecipes, pair: &Pair<'_>, to: RegionSize) -> ReductionRecipes {
    let from = pair.mapping.region;
    let columns = |region: RegionSize, layer: &Layer| (region.columns / kv_heads(layer).max(1)).max(1);
    let part = (pair.mapping.kv.columns_per_head, columns(to, pair.small));
    let own = |(name, known): (&String, &Reduction)| {
        let line = OPERATORS.iter().find(|operator| operator.name == name).and_then(|operator| operator.line);
        let (from, to) = match line {
            Some(LineKind::X) => (from.columns, to.columns),
            Some(LineKind::Y) => (from.rows, to.rows),
            _ => part,
        };
        (name.clone(), reduction(known, from, to))
    };
    ReductionRecipes {
        x: reduction(&recipe.x, from.columns, to.columns),
        y: reduction(&recipe.y, from.rows, to.rows),
        parts: reduction(&recipe.parts, part.0, part.1),
        operators: recipe.operators.iter().map(own).collect::<BTreeMap<_, _>>(),
    }
}

/// Heads with keys and values of their own.
const fn kv_heads(layer: &Layer) -> u64 {
    match &layer.attention {
        Attention::Grouped(grouped) => grouped.kv_heads,
        Attention::Latent(_) => 1,
        Attention::Linear(linear) => linear.key_heads,
    }
}

/// Query heads that share keys and values.
const fn queries_per_head(layer: &Layer) -> u64 {
    match &layer.attention {
        Attention::Grouped(grouped) => match grouped.heads.checked_div(grouped.kv_heads) {
            Some(each) => each,
            None => 1,
        },
        Attention::Latent(latent) => latent.heads,
        Attention::Linear(linear) => linear.group(),
    }
}

/// One, all of something, or a part of it.
fn size(number: u64, from: u64, to: u64) -> Size {
    match number {
        all if all >= from && all > 1 => Size::Share(10_000),
        part => Size::Exactly(share(part, from, to)),
    }
}

fn kv(recipe: &KvRecipe, pair: &Pair<'_>, to: RegionSize) -> KvRecipe {
    if matches!(pair.layer.attention, Attention::Linear(_)) {
        return *recipe;
    }
    let KvMapping { columns_per_head, dimension_split, sequence_split, head_copies, append, .. } = pair.mapping.kv;
    let of_copy = (columns_per_head / head_copies.max(1)).max(1);
    let copies = share(head_copies, queries_per_head(pair.layer), queries_per_head(pair.small));
    let now = (to.columns / kv_heads(pair.small).max(1) / copies.max(1)).max(1);
    // As much of the sequence as columns are left for: most splits, and what a number would say on no other region.
    let fills = (dimension_split + 1).saturating_mul(sequence_split) > of_copy
        || dimension_split.saturating_mul(sequence_split + 1) > of_copy;
    KvRecipe {
        heads_per_block: Size::Auto,
        head_copies: Size::Exactly(copies),
        dimension_split: size(dimension_split, of_copy, now),
        sequence_split: if sequence_split > 1 && fills { Size::Auto } else { size(sequence_split, of_copy, now) },
        append,
    }
}

fn experts(recipe: &Experts, pair: &Pair<'_>) -> Experts {
    let (FeedForward::Moe(large), FeedForward::Moe(small)) = (&pair.layer.feed_forward, &pair.small.feed_forward)
    else {
        return recipe.clone();
    };
    let fewer = |known: Size| match known {
        Size::Exactly(number) => Size::Exactly(share(number, large.experts, small.experts)),
        other => other,
    };
    match recipe {
        Experts::Strategy { strategy, sharing, spare } => {
            Experts::Strategy { strategy: *strategy, sharing: fewer(*sharing), spare: fewer(*spare) }
        }
        Experts::Own(own) => Experts::Own(own.clone().sharing(fewer(own.sharing)).spare(fewer(own.spare))),
        // What a file says is of other experts.
        Experts::File { .. } => Experts::of(ExpertPlacement::Clustered),
    }
}

/// Wide what is wide.
fn stored(mapping: &LayerMapping) -> Stored {
    let roles = mapping.stored.keys().map(|role| (*role, Width::Wide)).collect();
    Stored { default: Width::Checkpoint, roles }
}

fn rectangle(area: &RectangleRecipe, from: RegionSize, to: RegionSize) -> RectangleRecipe {
    let along = |start: Size, length: Size, from: u64, to: u64| {
        let first = match start {
            Size::Exactly(number) => Size::Exactly((number * to / from.max(1)).clamp(1, to.saturating_sub(1).max(1))),
            other => other,
        };
        let left = to.saturating_sub(first.of(to).unwrap_or(0)).max(1);
        let length = match length {
            Size::Exactly(number) => Size::Exactly(share(number, from, to).min(left)),
            other => other,
        };
        (first, length)
    };
    let (x, columns) = along(area.x, area.columns, from.columns, to.columns);
    let (y, rows) = along(area.y, area.rows, from.rows, to.rows);
    RectangleRecipe { x, y, columns, rows }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_shrink_with_what_they_are_of() {
        assert_eq!([share(1, 94, 12), share(3, 94, 12), share(94, 94, 12)], [1, 2, 12]);
        // Two levels of about the square root, in as many groups.
        assert_eq!([power(27, 755, 25), power(28, 755, 25), power(755, 755, 25), power(2, 755, 25)], [5, 5, 25, 2]);
        assert_eq!(
            [size(1, 94, 12), size(94, 94, 12), size(8, 94, 12)],
            [Size::Exactly(1), Size::Share(10_000), Size::Exactly(2)]
        );
    }

    #[test]
    fn regions_keep_their_shape() {
        let of = |columns, rows| small_region(RegionSize { columns, rows });
        assert_eq!(of(755, 292), RegionSize { columns: 30, rows: 12 });
        assert_eq!(of(300, 300), RegionSize { columns: 19, rows: 19 });
        assert_eq!(of(8, 900), RegionSize { columns: 8, rows: 30 });
    }
}
