//! The recipes that are built in: every file of `models/mapping`.

use wafersim_spec::SpecError;
use wafersim_spec::error::nearest_name;

use crate::error::MappingError;
use crate::recipe::Recipe;

/// Name and text of each.
const RECIPES: [(&str, &str); 6] = [
    ("published", include_str!("../models/mapping/published.toml")),
    ("best", include_str!("../models/mapping/best.toml")),
    ("static-routes", include_str!("../models/mapping/static-routes.toml")),
    ("interleaved", include_str!("../models/mapping/interleaved.toml")),
    ("deep-trees", include_str!("../models/mapping/deep-trees.toml")),
    ("many-users", include_str!("../models/mapping/many-users.toml")),
];

/// The names, in the order in which they are listed.
pub fn names() -> impl Iterator<Item = &'static str> {
    RECIPES.iter().map(|(name, _)| *name)
}

/// The text of a built-in recipe.
pub fn text(name: &str) -> Option<&'static str> {
    RECIPES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

impl Recipe {
    /// A built-in recipe.
    ///
    /// # Errors
    /// Where no built-in has this name; the nearest is suggested.
    pub fn builtin(name: &str) -> Result<Self, MappingError> {
        recipe(name)
    }

    /// The published recipe.
    pub fn published() -> Self {
        // What a recipe leaves out is as published: a test holds the two together.
        Self { name: "published".into(), ..Self::default() }
    }
}

pub(crate) fn recipe(name: &str) -> Result<Recipe, MappingError> {
    let text = text(name).ok_or_else(|| unknown(name))?;
    Recipe::parse(text, &format!("built-in mapping '{name}'"))
}

fn unknown(name: &str) -> MappingError {
    let allowed = names().collect::<Vec<_>>().join(", ");
    MappingError::Spec(SpecError::UnknownName {
        kind: "mapping",
        name: name.into(),
        nearest: nearest_name(name, names()),
        allowed: format!("built in are {allowed}; or give the path of a .toml file"),
    })
}
