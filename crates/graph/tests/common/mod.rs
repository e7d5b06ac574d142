//! The built-in models that are modelled, read once for all tests of a file.

use std::sync::LazyLock;

use wafersim_spec::Model;

/// Every built-in model except the families that `wafersim-spec` refuses.
pub static MODELS: LazyLock<Vec<Model>> = LazyLock::new(|| {
    let models: Vec<Model> =
        wafersim_spec::model::builtin::names().filter_map(|name| Model::builtin(name).ok()).collect();
    assert!(models.len() >= 25, "only {} built-in models can be read", models.len());
    models
});
