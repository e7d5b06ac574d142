//! How sums travel along a line of processing elements, and where they end. Plain data; `program::collective` writes
//! the program side.
//!
//! WaferLLM's (OSDI 2025) is a tree of two levels with about sqrt(line) groups, whose root is the middle member of the
//! middle group. Reduce-scatter with all-gather, split roots and deeper trees have been published by nobody for a
//! wafer.

use std::collections::BTreeMap;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wafersim_program::Region;
use wafersim_program::collective;

use crate::areas;
use crate::collective::Collective;
use crate::kv::KvMapping;
use crate::layer::RegionSize;
use crate::operator::{LineKind, operator_named};
use crate::own::Own;
use crate::recipe::ReductionRecipes;

/// Members of the longest line that a file may speak of.
const LONGEST_LINE: u64 = 1 << 16;

/// How the members of a line are grouped.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Groups {
    /// Two levels, about the square root of the line's length groups (published). Written `"square_root"`.
    SquareRoot,
    /// Two levels, so many groups, at most one for each member. Written as a number.
    Count(u64),
    /// The members of a group on each level, the lowest first; what is left above the last is one level more. Written
    /// as a list.
    Sizes(Vec<u64>),
}

/// Where a sum ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Root {
    /// The middle member (index count / 2) of every group on every level (published). Written `"middle"`.
    Middle,
    /// This member of the line, from 0; each group ends at the member that stands in it as this one does in its own.
    /// Written as a number.
    Index(u64),
}

/// A tree of chains.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tree {
    /// How members are grouped.
    pub groups: Groups,
    /// Where it ends.
    pub root: Root,
}

impl Tree {
    /// The published tree.
    pub const PUBLISHED: Self = Self { groups: Groups::SquareRoot, root: Root::Middle };

    /// Members of a group on each level of a line of `length`, the lowest first: their product is at least the length.
    /// Levels of one member are left out; a line of one member has no level.
    pub fn sizes(&self, length: u64) -> Vec<u64> {
        let two_level = |groups: u64| {
            let mut sizes = collective::two_level_sizes(length, groups).to_vec();
            sizes.retain(|size| *size > 1);
            sizes
        };
        match &self.groups {
            Groups::SquareRoot => two_level(collective::default_groups(length)),
            Groups::Count(count) => two_level(*count),
            Groups::Sizes(sizes) => {
                let mut left = length.max(1);
                let mut levels = Vec::with_capacity(sizes.len() + 1);
                for size in sizes {
                    let size = (*size).clamp(1, left);
                    if size > 1 {
                        levels.push(size);
                    }
                    left = left.div_ceil(size);
                }
                if left > 1 {
                    levels.push(left);
                }
                levels
            }
        }
    }

    /// The index of the root on a line of `length`.
    pub fn root(&self, length: u64) -> u64 {
        match self.root {
            Root::Index(index) => index.min(length.max(1) - 1),
            Root::Middle => middle(&self.sizes(length), length),
        }
    }

    /// The same with every number for a line of `length`.
    #[must_use]
    pub fn on(&self, length: u64) -> Self {
        let sizes = self.sizes(length);
        let root = match self.root {
            Root::Index(index) => index.min(length.max(1) - 1),
            Root::Middle => middle(&sizes, length),
        };
        Self { groups: Groups::Sizes(sizes), root: Root::Index(root) }
    }
}

/// The middle member of the middle group on every level of a line of `length`.
fn middle(sizes: &[u64], length: u64) -> u64 {
    let (root, _) = sizes.iter().fold((0, 1), |(root, stride), size| (root + size / 2 * stride, stride * size));
    root.min(length.max(1) - 1)
}

/// How the sum of a line is formed, so that every member has it at the end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// A tree of chains to one root, which multicasts. `{ kind = "tree", groups = .., root = .. }`
    Tree(Tree),
    /// One chain from both ends to the root, which multicasts. `{ kind = "chain", root = .. }`
    Chain {
        /// Where it ends.
        root: Root,
    },
    /// Reduce-scatter and all-gather: each member sums a piece of the payload. `{ kind = "reduce_scatter" }`
    ReduceScatter,
    /// A tree for each of `roots` neighbouring roots, each with its part of the payload.
    /// `{ kind = "split_roots", roots = .., groups = .., root = .. }`
    SplitRoots {
        /// Number of roots.
        roots: u64,
        /// The tree; `root` is the middle one of the roots.
        tree: Tree,
    },
    /// An all-reduce from outside. `{ kind = "own", id = .. }`
    Own(Own<dyn Collective>),
}

impl Reduction {
    /// The published reduction.
    pub const PUBLISHED: Self = Self::Tree(Tree::PUBLISHED);

    /// What it says that no line of `length` has: in words, with what would be allowed.
    pub(crate) fn beyond(&self, length: u64) -> Option<String> {
        let (groups, root, roots) = match self {
            Self::Tree(tree) => (Some(&tree.groups), Some(tree.root), None),
            Self::Chain { root } => (None, Some(*root), None),
            Self::ReduceScatter | Self::Own(_) => (None, None, None),
            Self::SplitRoots { roots, tree } => (Some(&tree.groups), Some(tree.root), Some(*roots)),
        };
        let last = length.max(1) - 1;
        if let Some(Root::Index(index)) = root.filter(|root| matches!(root, Root::Index(index) if *index > last)) {
            return Some(format!("root is {index}; allowed: \"middle\", or 0 to {last} on a line of {length}"));
        }
        let sizes: &[u64] = match groups {
            Some(Groups::Count(count)) => std::slice::from_ref(count),
            Some(Groups::Sizes(sizes)) => sizes,
            Some(Groups::SquareRoot) | None => &[],
        };
        let large = sizes.iter().chain(roots.as_ref()).find(|size| **size > length.max(1))?;
        Some(format!("groups or roots of {large}; allowed: up to {length}, the members of the line"))
    }

    /// The same with every number for a line of `length`.
    #[must_use]
    pub fn on(&self, length: u64) -> Self {
        match self {
            Self::Tree(tree) => Self::Tree(tree.on(length)),
            Self::Chain { root: Root::Middle } => Self::Chain { root: Root::Index(length / 2) },
            Self::Chain { root: Root::Index(index) } => {
                Self::Chain { root: Root::Index((*index).min(length.max(1) - 1)) }
            }
            Self::ReduceScatter | Self::Own(_) => self.clone(),
            Self::SplitRoots { roots, tree } => {
                Self::SplitRoots { roots: (*roots).clamp(1, length.max(1)), tree: tree.on(length) }
            }
        }
    }
}

/// The reductions of one kind of layer, with numbers for the lines of one length.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reductions {
    /// Along the rows of the region.
    pub x: Reduction,
    /// Along the columns of the region.
    pub y: Reduction,
    /// Over all columns of a head, whether of queries or of keys: a rule.
    pub head: Reduction,
    /// Over the columns that share a head's width.
    pub width: Reduction,
    /// Over the groups of columns that share the sequence.
    pub sequence: Reduction,
    /// Along the rows of an expert's rectangle: a rule.
    pub cell_x: Reduction,
    /// Along the columns of an expert's rectangle: a rule.
    pub cell_y: Reduction,
    /// Of single operators, along their own line (see [`crate::OPERATORS`]); absent: as above.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub operators: BTreeMap<String, Reduction>,
}

impl Reductions {
    /// The same for every line.
    pub fn all(reduction: &Reduction) -> Self {
        let of = || reduction.clone();
        Self {
            x: of(),
            y: of(),
            head: of(),
            width: of(),
            sequence: of(),
            cell_x: of(),
            cell_y: of(),
            operators: BTreeMap::new(),
        }
    }

    /// Those of a recipe with numbers for the lines of a layer. Lines that come in several lengths (the columns of a
    /// query head and of a KV head, rectangles of experts) keep their rule, which gives the numbers for any length.
    pub(crate) fn resolved(
        recipe: &ReductionRecipes,
        region: RegionSize,
        kv: &KvMapping,
        rectangles: &BTreeMap<String, Region>,
    ) -> Self {
        let mut operators: BTreeMap<String, Reduction> = BTreeMap::new();
        let in_rectangles =
            rectangles.keys().filter_map(|part| areas::part_named(part)).flat_map(|part| part.operators);
        let named = recipe.operators.keys().map(String::as_str).chain(in_rectangles.copied());
        for operator in named.filter_map(operator_named) {
            let (own, rectangle) =
                (recipe.operators.get(operator.name), areas::rectangle_of(rectangles, operator.name));
            let (columns, rows) =
                rectangle.map_or((region.columns, region.rows), |rectangle| (rectangle.columns, rectangle.rows));
            let (usual, length) = match operator.line {
                None => continue,
                // In the region, or in the rectangles of the experts: the rule holds for both.
                Some(LineKind::X) if areas::is_of_experts(operator.name) => (&recipe.x, None),
                Some(LineKind::Y) if areas::is_of_experts(operator.name) => (&recipe.y, None),
                Some(LineKind::X) => (&recipe.x, Some(columns)),
                Some(LineKind::Y) => (&recipe.y, Some(rows)),
                Some(LineKind::Width) => (&recipe.parts, Some(kv.dimension_split)),
                Some(LineKind::Sequence) => (&recipe.parts, Some(kv.sequence_split)),
                Some(LineKind::Head | LineKind::CellX | LineKind::CellY) => (&recipe.parts, None),
            };
            let chosen = own.unwrap_or(usual);
            operators.insert(operator.name.into(), length.map_or_else(|| chosen.clone(), |length| chosen.on(length)));
        }
        // The columns of a head are the whole line where there is one head: then the rule for whole lines holds.
        let part = |length: u64| if length >= region.columns { recipe.x.on(length) } else { recipe.parts.on(length) };
        // One place holds a head's width then, and neighbours share the sequence: parts of a line with a stride of one.
        let sequence = match (&recipe.x, kv.sequence_split) {
            (Reduction::SplitRoots { .. }, _) => recipe.parts.on(kv.sequence_split),
            (_, length) => part(length),
        };
        Self {
            x: recipe.x.on(region.columns),
            y: recipe.y.on(region.rows),
            head: recipe.parts.clone(),
            width: part(kv.dimension_split),
            sequence,
            cell_x: recipe.parts.clone(),
            cell_y: recipe.parts.clone(),
            operators,
        }
    }

    /// The reduction of a kind of line.
    pub const fn along(&self, line: LineKind) -> &Reduction {
        match line {
            LineKind::X => &self.x,
            LineKind::Y => &self.y,
            LineKind::Head => &self.head,
            LineKind::Width => &self.width,
            LineKind::Sequence => &self.sequence,
            LineKind::CellX => &self.cell_x,
            LineKind::CellY => &self.cell_y,
        }
    }

    /// The reduction of an operator along a line.
    pub fn of(&self, operator: &str, line: LineKind) -> &Reduction {
        if self.operators.is_empty() {
            return self.along(line);
        }
        let own = operator_named(operator).and_then(|operator| operator.line);
        // A product may read along either axis of its rectangle, or of that of its experts.
        let is_own = own.is_some_and(|own| own == line || own.is_whole() && line.is_of_rectangle());
        let chosen = if is_own { self.operators.get(operator) } else { None };
        chosen.unwrap_or_else(|| self.along(line))
    }
}

/// A reduction as written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    groups: Option<Groups>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    root: Option<Root>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    roots: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Tree,
    Chain,
    ReduceScatter,
    SplitRoots,
    Own,
}

impl From<&Reduction> for Written {
    fn from(reduction: &Reduction) -> Self {
        let alone = |kind| Self { kind, groups: None, root: None, roots: None, id: None };
        let of = |kind, tree: &Tree| Self { groups: Some(tree.groups.clone()), root: Some(tree.root), ..alone(kind) };
        match reduction {
            Reduction::Tree(tree) => of(Kind::Tree, tree),
            Reduction::Chain { root } => Self { root: Some(*root), ..alone(Kind::Chain) },
            Reduction::ReduceScatter => alone(Kind::ReduceScatter),
            Reduction::SplitRoots { roots, tree } => Self { roots: Some(*roots), ..of(Kind::SplitRoots, tree) },
            Reduction::Own(own) => Self { id: Some(own.id().to_owned()), ..alone(Kind::Own) },
        }
    }
}

impl TryFrom<Written> for Reduction {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written { kind, groups, root, roots, id } = written;
        let refuse = |kind: &str, has: &str, allowed: &str| Err(format!("a {kind} has no '{has}'; allowed: {allowed}"));
        if let Some(roots) = roots.filter(|roots| !(1..=LONGEST_LINE).contains(roots)) {
            return Err(format!("'roots' is {roots}; allowed: a whole number from 1 to {LONGEST_LINE}"));
        }
        let root_or_middle = root.unwrap_or(Root::Middle);
        let tree = Tree { groups: groups.clone().unwrap_or(Groups::SquareRoot), root: root_or_middle };
        if id.is_some() && !matches!(kind, Kind::Own) {
            return Err("'id' is of kind 'own'; allowed for the others: groups, root, roots".into());
        }
        match (kind, groups, root, roots) {
            (Kind::Own, None, None, None) => match id {
                Some(id) => Ok(Self::Own(Own::named(id))),
                None => Err("an own reduction needs an 'id'; allowed: that of the code".into()),
            },
            (Kind::Own, ..) => Err("an own reduction has an 'id' alone; allowed: nothing else beside kind".into()),
            (Kind::Tree, _, _, None) => Ok(Self::Tree(tree)),
            (Kind::Tree, _, _, Some(_)) => refuse("tree", "roots", "groups, root"),
            (Kind::Chain, None, _, None) => Ok(Self::Chain { root: root_or_middle }),
            (Kind::Chain, Some(_), _, _) => refuse("chain", "groups", "root"),
            (Kind::Chain, _, _, Some(_)) => refuse("chain", "roots", "root"),
            (Kind::ReduceScatter, None, None, None) => Ok(Self::ReduceScatter),
            (Kind::ReduceScatter, Some(_), _, _) => refuse("reduce_scatter", "groups", "nothing but kind"),
            (Kind::ReduceScatter, _, Some(_), _) => refuse("reduce_scatter", "root", "nothing but kind"),
            (Kind::ReduceScatter, _, _, Some(_)) => refuse("reduce_scatter", "roots", "nothing but kind"),
            (Kind::SplitRoots, _, _, Some(roots)) => Ok(Self::SplitRoots { roots, tree }),
            (Kind::SplitRoots, _, _, None) => Err("split_roots needs 'roots'; allowed: a whole number from 1".into()),
        }
    }
}

impl Serialize for Reduction {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Written::from(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Reduction {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(Written::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// A word, a number or a list.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Choice {
    Number(u64),
    Word(String),
    List(Vec<u64>),
    Other(toml::Value),
}

impl Serialize for Groups {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::SquareRoot => serializer.serialize_str("square_root"),
            Self::Count(count) => serializer.serialize_u64(*count),
            Self::Sizes(sizes) => sizes.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Groups {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const ALLOWED: &str = "allowed: \"square_root\", a number of groups from 1 to 65536, or a list of \
                               group sizes from 2 to 65536, lowest level first";
        match Choice::deserialize(deserializer)? {
            Choice::Word(word) if word == "square_root" => Ok(Self::SquareRoot),
            Choice::Number(count) if (1..=LONGEST_LINE).contains(&count) => Ok(Self::Count(count)),
            Choice::List(sizes) if sizes.iter().all(|size| (2..=LONGEST_LINE).contains(size)) => Ok(Self::Sizes(sizes)),
            other => Err(D::Error::custom(format!("groups are {}; {ALLOWED}", text_of(&other)))),
        }
    }
}

impl Serialize for Root {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Middle => serializer.serialize_str("middle"),
            Self::Index(index) => serializer.serialize_u64(*index),
        }
    }
}

impl<'de> Deserialize<'de> for Root {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Choice::deserialize(deserializer)? {
            Choice::Word(word) if word == "middle" => Ok(Self::Middle),
            Choice::Number(index) if index < LONGEST_LINE => Ok(Self::Index(index)),
            other => Err(D::Error::custom(format!(
                "root is {}; allowed: \"middle\", or the index of a member of the line, from 0 to 65535",
                text_of(&other)
            ))),
        }
    }
}

fn text_of(choice: &Choice) -> String {
    match choice {
        Choice::Number(number) => number.to_string(),
        Choice::Word(word) => format!("\"{word}\""),
        Choice::List(list) => format!("{list:?}"),
        Choice::Other(value) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_tree_has_the_geometry_of_the_language() {
        for length in 1..800 {
            let two = collective::Tree::two_level(length, collective::default_groups(length));
            let expected: Vec<u64> = two.levels().iter().map(|level| level.members).filter(|size| *size > 1).collect();
            let tree = Tree::PUBLISHED.on(length);
            let root = Root::Index(two.root(0));
            assert_eq!((tree.groups.clone(), tree.root), (Groups::Sizes(expected), root), "{length}");
            assert_eq!(tree.on(length), tree);
        }
    }

    #[test]
    fn levels_cover_the_line() {
        let tree = |groups| Tree { groups, root: Root::Middle };
        assert_eq!(tree(Groups::Sizes(vec![8, 4])).sizes(288), [8, 4, 9]);
        assert_eq!(tree(Groups::Sizes(vec![8, 4, 9])).sizes(288), [8, 4, 9]);
        assert_eq!(tree(Groups::Sizes(vec![8, 4, 9])).sizes(20), [8, 3]);
        assert_eq!(tree(Groups::Count(13)).sizes(288), [23, 13]);
        assert_eq!(tree(Groups::Count(1000)).sizes(7), [7]);
        assert_eq!(tree(Groups::SquareRoot).sizes(1), Vec::<u64>::new());
    }

    #[test]
    fn what_has_no_effect_is_refused() {
        #[derive(Debug, Deserialize)]
        struct File {
            #[allow(dead_code)]
            x: Reduction,
        }
        for (text, part) in [
            ("{ kind = \"chain\", groups = 3 }", "a chain has no 'groups'; allowed: root"),
            ("{ kind = \"reduce_scatter\", root = 3 }", "a reduce_scatter has no 'root'"),
            ("{ kind = \"tree\", roots = 3 }", "a tree has no 'roots'"),
            ("{ kind = \"split_roots\" }", "needs 'roots'"),
            ("{ kind = \"split_roots\", roots = 0 }", "'roots' is 0"),
            ("{ kind = \"tree\", groups = -3 }", "groups are -3; allowed: \"square_root\""),
            ("{ kind = \"tree\", groups = [4, 1] }", "groups are [4, 1]"),
            ("{ kind = \"tree\", root = \"center\" }", "root is \"center\"; allowed: \"middle\""),
            ("{ kind = \"tree\", root = 4294967296 }", "root is 4294967296; allowed: \"middle\""),
            ("{ kind = \"tree\", groups = 4294967296 }", "groups are 4294967296; allowed: \"square_root\""),
            ("{ kind = \"tree\", groups = [2, 4294967296] }", "groups are [2, 4294967296]"),
            ("{ kind = \"split_roots\", roots = 4294967296 }", "'roots' is 4294967296"),
            ("{ kind = \"star\" }", "star"),
            ("{ kind = \"tree\", shape = 1 }", "shape"),
        ] {
            let error = toml::from_str::<File>(&format!("x = {text}")).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
