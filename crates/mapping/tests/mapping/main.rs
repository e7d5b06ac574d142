//! Recipes and resolved mappings: read, printed, resolved, refused.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;
mod decisions;
mod drawn;
mod files;
mod own;
mod pinned;
mod resolving;
