//! Recipes and resolved mappings: read, printed, resolved, refused.

mod common;
mod decisions;
mod drawn;
mod files;
mod resolving;
