//! Where the routed experts of a layer live: the decision, and every number of it.

use std::collections::BTreeMap;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wafersim_place::experts::strategies::Strategy;
use wafersim_spec::Size;
use wafersim_spec::scenario::ExpertPlacement;

use crate::own::Own;

/// The decision of a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Experts {
    /// By a strategy. `strategy = ..` with `sharing` and `spare`
    Strategy {
        /// The strategy.
        strategy: ExpertPlacement,
        /// Experts that share a rectangle; parts are of the experts of a layer. `auto`: one for clustered experts, for
        /// others as many as a token chooses. Spread experts share the whole region.
        sharing: Size,
        /// Copies that a rectangle has room for beyond those; parts are of the experts that share it. `auto`: one. Only
        /// for strategies that make copies.
        spare: Size,
    },
    /// As a file says. `file = ..`
    File {
        /// Its path, as written; seen from the folder of the recipe.
        file: String,
        /// What it says. `None` until it has been read.
        dealt: Option<Dealt>,
    },
    /// By a strategy from outside. `own = ..` with `sharing` and `spare`
    Own(OwnExperts),
}

/// Routed experts dealt to rectangles by a strategy from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnExperts {
    /// The strategy.
    pub strategy: Own<dyn Strategy>,
    /// Experts that share a rectangle; parts are of the experts of a layer. `auto`: one.
    pub sharing: Size,
    /// Copies that a rectangle has room for beyond those, for strategies that make copies; parts are of the experts
    /// that share it. `auto`: one.
    pub spare: Size,
}

impl OwnExperts {
    /// A strategy with everything else open.
    pub fn new(strategy: impl Strategy + 'static) -> Self {
        Self { strategy: Own::strategy(strategy), sharing: Size::Auto, spare: Size::Auto }
    }

    /// The same with so many experts in a rectangle.
    #[must_use]
    pub fn sharing(self, sharing: Size) -> Self {
        Self { sharing, ..self }
    }

    /// The same with room for so many copies more.
    #[must_use]
    pub fn spare(self, spare: Size) -> Self {
        Self { spare, ..self }
    }

    /// Whether experts may be in more than one rectangle.
    pub fn makes_copies(&self) -> bool {
        self.strategy.code().is_some_and(|strategy| strategy.makes_copies())
    }
}

/// What a file of assignments says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dealt {
    /// Rectangles side by side.
    pub across: u64,
    /// Rectangles one below the other. They are counted west to east, then north to south.
    pub down: u64,
    /// For each expert the rectangles that hold it, in every layer with experts.
    pub homes: Vec<Vec<u16>>,
    /// The same for single layers, by their number in the model from 0, in place of `homes`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub layers: BTreeMap<String, Vec<Vec<u16>>>,
}

impl Dealt {
    /// The rectangles of the experts of a layer.
    pub fn homes_in(&self, layer: u64) -> &[Vec<u16>] {
        self.layers.get(&layer.to_string()).unwrap_or(&self.homes)
    }
}

impl Default for Experts {
    fn default() -> Self {
        Self::of(ExpertPlacement::Spread)
    }
}

impl Experts {
    /// A strategy with everything else open.
    pub const fn of(strategy: ExpertPlacement) -> Self {
        Self::Strategy { strategy, sharing: Size::Auto, spare: Size::Auto }
    }
}

/// Whether a strategy puts experts into more than one rectangle.
pub const fn makes_copies(strategy: ExpertPlacement) -> bool {
    matches!(strategy, ExpertPlacement::Replicated | ExpertPlacement::Annealed)
}

/// The decision as written.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    strategy: Option<ExpertPlacement>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    own: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sharing: Option<Size>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spare: Option<Size>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

impl Serialize for Experts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = match self {
            Self::Strategy { strategy, sharing, spare } => Written {
                strategy: Some(*strategy),
                sharing: (*strategy != ExpertPlacement::Spread).then_some(*sharing),
                spare: makes_copies(*strategy).then_some(*spare),
                ..Written::default()
            },
            Self::File { file, .. } => Written { file: Some(file.clone()), ..Written::default() },
            Self::Own(own) => Written {
                own: Some(own.strategy.id().to_owned()),
                sharing: Some(own.sharing),
                spare: Some(own.spare),
                ..Written::default()
            },
        };
        written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Experts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Written { strategy, own, sharing, spare, file } = Written::deserialize(deserializer)?;
        let refuse = |problem: String| Err(D::Error::custom(problem));
        if let (Some(own), None, None) = (&own, strategy, &file) {
            let strategy = Own::named(own);
            let (sharing, spare) = (sharing.unwrap_or_default(), spare.unwrap_or_default());
            return Ok(Self::Own(OwnExperts { strategy, sharing, spare }));
        }
        if let (Some(own), Some(strategy)) = (&own, strategy) {
            return refuse(format!(
                "'{strategy}' and '{own}' are two strategies; allowed: one of 'strategy' and 'own'"
            ));
        }
        if let Some(file) = file {
            return match (own, strategy, sharing, spare) {
                (None, None, None, None) => Ok(Self::File { file, dealt: None }),
                _ => refuse("a file of assignments decides everything; allowed beside 'file': nothing".into()),
            };
        }
        let strategy = strategy.unwrap_or(ExpertPlacement::Spread);
        if strategy == ExpertPlacement::Spread && sharing.is_some() {
            return refuse(
                "spread experts share the whole region; 'sharing' is allowed for the other strategies".into(),
            );
        }
        if spare.is_some() && !makes_copies(strategy) {
            return refuse(format!(
                "strategy '{strategy}' makes no copies; 'spare' is allowed for 'replicated' and 'annealed'"
            ));
        }
        Ok(Self::Strategy { strategy, sharing: sharing.unwrap_or_default(), spare: spare.unwrap_or_default() })
    }
}

/// The experts of one kind of layer, every number.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpertMapping {
    /// Who has chosen; absent: a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<ExpertPlacement>,
    /// Rectangles side by side that the region is cut into. 1 x 1: every expert over the whole region.
    pub across: u64,
    /// Rectangles one below the other. Rectangles are counted west to east, then north to south.
    pub down: u64,
    /// Experts that each rectangle has room for.
    pub room: u64,
    /// For each expert the rectangles that hold it. Empty: expert `e` lives in rectangle `e mod (across * down)`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub homes: Vec<Vec<u16>>,
}

impl ExpertMapping {
    /// All `experts` over the whole region.
    pub const fn spread(experts: u64) -> Self {
        Self { strategy: Some(ExpertPlacement::Spread), across: 1, down: 1, room: experts, homes: Vec::new() }
    }

    /// Rectangles.
    pub const fn cells(&self) -> u64 {
        self.across.saturating_mul(self.down)
    }

    /// Whether every expert lies over the whole region.
    pub const fn is_spread(&self) -> bool {
        self.cells() == 1
    }

    /// The rectangles that hold an expert.
    pub fn homes_of(&self, expert: u64) -> Vec<u64> {
        let listed = usize::try_from(expert).ok().and_then(|expert| self.homes.get(expert));
        match listed {
            Some(homes) => homes.iter().copied().map(u64::from).collect(),
            None => vec![expert % self.cells().max(1)],
        }
    }
}

impl Dealt {
    /// What is wrong with it: the field, what is there and what would be allowed.
    pub(crate) fn wrong(&self) -> Option<(&'static str, String, String)> {
        let cells = self.across.saturating_mul(self.down);
        if cells == 0 || cells > 1 << 16 {
            let problem = format!("{} x {} rectangles", self.across, self.down);
            return Some(("across", problem, "1 to 65,536 rectangles".into()));
        }
        if let Some(layer) = self.layers.keys().find(|layer| layer.parse::<u32>().is_err()) {
            return Some(("layers", format!("'{layer}' is no layer"), "numbers of layers from 0".into()));
        }
        for homes in std::iter::once(&self.homes).chain(self.layers.values()) {
            for (expert, held) in homes.iter().enumerate() {
                let twice = held.iter().enumerate().any(|(at, cell)| held[..at].contains(cell));
                if held.is_empty() || twice || held.iter().any(|cell| u64::from(*cell) >= cells) {
                    let problem = format!("expert {expert} is in {held:?}");
                    let allowed = format!("one or more different rectangles from 0 to {}", cells - 1);
                    return Some(("homes", problem, allowed));
                }
            }
        }
        None
    }
}

/// Experts in the fullest of `cells` rectangles, copies included.
pub(crate) fn fullest(homes: &[Vec<u16>], cells: u64) -> u64 {
    let cells = usize::try_from(cells).unwrap_or(usize::MAX).min(usize::from(u16::MAX) + 1);
    let mut held = vec![0_u64; cells];
    for home in homes.iter().flatten() {
        if let Some(count) = held.get_mut(usize::from(*home)) {
            *count += 1;
        }
    }
    held.into_iter().max().unwrap_or(0)
}
