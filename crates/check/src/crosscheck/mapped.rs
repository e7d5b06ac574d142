//! The layers of a cross-check as a mapping says.

use wafersim_lower::{ExpertLoad, LayerRequest, PlaceLoad, Routed, Scope, decode_layer, prefill_layer};
use wafersim_mapping::{Inputs, Load, Recipe, RegionSize, on_region};
use wafersim_program::Program;
use wafersim_spec::model::Layer;
use wafersim_spec::scenario::{ExpertPlacement, RoutingModel, WaferCount};
use wafersim_spec::wafer::Key;
use wafersim_spec::{DataType, Model, Precision, Wafer};

use super::Grid;
use super::kernels::{CACHED_PER_ROW, EXPERTS, TOP_K};

/// All in 16 bit.
const PRECISION: Precision = Precision {
    weights: DataType::Fp16,
    small_weights: DataType::Fp16,
    kv_cache: DataType::Fp16,
    activations: DataType::Fp16,
    roles: wafersim_spec::RoleTypes::NONE,
};

/// A layer on a grid.
pub struct CheckedLayer {
    /// The layer.
    pub layer: Layer,
    /// Width of the residual stream.
    pub hidden: u64,
    /// The grid.
    pub grid: Grid,
    /// Whether a prompt with one token for each row goes through, or one decoding token.
    pub prefill: bool,
    /// Whether experts lie in rectangles.
    pub clustered: bool,
}

impl CheckedLayer {
    /// Its program as a recipe says, or why there is none.
    pub fn program(&self, wafer: &Wafer, recipe: &Recipe) -> Result<Program, String> {
        let Grid { columns, rows } = self.grid;
        let mut recipe = recipe.clone();
        recipe.pin_experts(if self.clustered { ExpertPlacement::Clustered } else { ExpertPlacement::Spread });
        let mut model = Model::builtin("llama-3.1-8b").map_err(|error| error.to_string())?;
        (model.hidden, model.layers) = (self.hidden, vec![self.layer.clone()]);
        let (tokens, context) = if self.prefill { (rows, rows) } else { (1, CACHED_PER_ROW * rows) };
        let load = Load {
            wafers: WaferCount::Auto,
            users: 1,
            context,
            tokens_per_step: 1,
            precision: PRECISION,
            routing: RoutingModel::Uniform,
        };
        let inputs = Inputs::new(&model, wafer, load);
        let mappings = on_region(&recipe, inputs, RegionSize { columns, rows }).map_err(|error| error.to_string())?;
        let mapping = mappings.first().ok_or("no layer")?;
        let (pairs, one) = (tokens * TOP_K, PlaceLoad { pairs: 1, distinct: 1, tokens: 1 });
        let spread = ExpertLoad::spread(pairs, pairs.min(EXPERTS));
        let routed = if self.clustered { ExpertLoad { busiest: one, column: one, ..spread } } else { spread };
        let request = LayerRequest {
            layer: &self.layer,
            hidden: self.hidden,
            norm_epsilon: 1e-6,
            mapping,
            precision: PRECISION,
            tokens,
            users: 1,
            context,
            routed: Routed::Expected(routed),
            scope: Scope::Model,
            queue: wafer.figure(Key::InputQueue).value as u64,
        };
        let program = if self.prefill { prefill_layer(&request, u64::MAX) } else { decode_layer(&request) };
        program.map_err(|error| error.to_string())
    }
}
