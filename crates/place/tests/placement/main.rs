//! Tests of whole placements: the built-in models, small random ones, and the invariants that all of them keep.

mod builtin_models;
mod chosen;
mod invariants;
mod random_models;
