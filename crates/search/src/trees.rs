//! Reductions worth trying on a line: trees of two levels whose root is near the middle.
//!
//! The way to the root and back counts twice for every element of a payload, so a root off the centre costs hops on
//! both; chains cost a stage for each member. Which of the good ones is best, the judge says.

use wafersim_mapping::{Groups, Reduction, Root, Tree};
use wafersim_program::collective;

/// Trees of a line that are tried, at most.
const MOST_TREES: usize = 16;

/// A stage in hops, about: 10.25 cycles against 2 on WSE-3. Only for the order in which trees are tried.
const STAGE_IN_HOPS: f64 = 5.0;

/// Trees for lines of `length`, the most promising first. Of two levels: a third saves few stages (1 % of a layer) and
/// takes four colors more on its axis, of 24 for everything.
pub fn trees(length: u64) -> Vec<Reduction> {
    let mut ranked: Vec<(f64, Vec<u64>)> = Vec::new();
    for lowest in 2..=length / 2 {
        let sizes = vec![lowest, length.div_ceil(lowest)];
        if collective::Tree::of_sizes(length, &sizes).is_err() {
            continue;
        }
        let root = tree_of(&sizes).root(length);
        let stages: u64 = sizes.iter().map(|size| size / 2).sum();
        let far = root.max(length.saturating_sub(root + 1));
        ranked.push((2.0 * far as f64 + STAGE_IN_HOPS * stages as f64, sizes));
    }
    ranked.sort_by(|one, other| one.0.total_cmp(&other.0));
    ranked.truncate(MOST_TREES);
    let trees = ranked.into_iter().map(|(_, sizes)| Reduction::Tree(tree_of(&sizes)));
    std::iter::once(Reduction::PUBLISHED).chain(trees).collect()
}

fn tree_of(sizes: &[u64]) -> Tree {
    // What is left above the last size is one level more.
    let below = &sizes[..sizes.len().saturating_sub(1)];
    Tree { groups: Groups::Sizes(below.to_vec()), root: Root::Middle }
}

/// The tree of a reduction along a whole line.
fn tree_under(reduction: &Reduction) -> Tree {
    match reduction {
        Reduction::Tree(tree) | Reduction::SplitRoots { tree, .. } => tree.clone(),
        Reduction::Chain { .. } | Reduction::ReduceScatter | Reduction::Own(_) => Tree::PUBLISHED,
    }
}

/// The same tree with several roots.
pub fn split_roots(usual: &Reduction) -> Vec<Reduction> {
    [2, 4, 8, 16].map(|roots| Reduction::SplitRoots { roots, tree: tree_under(usual) }).to_vec()
}

/// Reductions of short lines.
pub fn of_parts() -> Vec<Reduction> {
    vec![Reduction::PUBLISHED, Reduction::Chain { root: Root::Middle }, Reduction::ReduceScatter]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_written_as_they_say_and_end_near_the_middle() {
        for length in [2, 5, 94, 292, 585, 755] {
            let trees = trees(length);
            assert!(!trees.is_empty(), "{length}");
            for tree in &trees {
                let Reduction::Tree(tree) = tree else { panic!("{tree:?}") };
                let sizes = tree.sizes(length);
                assert!(collective::Tree::of_sizes(length, &sizes).is_ok(), "{length}: {sizes:?}");
            }
            let Reduction::Tree(first) = &trees[0] else { panic!() };
            // The published tree of a few members ends in their last group, whose middle may be the last of all.
            let off = if length < 8 { length / 2 } else { length / 8 + 1 };
            assert!(first.root(length).abs_diff(length / 2) <= off, "{length}: {first:?}");
        }
    }
}
