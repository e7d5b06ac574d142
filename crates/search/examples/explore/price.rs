//! What a mapping takes: programs are written and read in closed form.

use wafersim_cost::{ProgramCost, Rates, cost};
use wafersim_lower::{EndRequest, ExpertLoad, LayerRequest, LowerError, Routed, Scope, decode_layer};
use wafersim_mapping::{Inputs, LayerMapping, Mapped};
use wafersim_place::TableLayout;
use wafersim_program::Program;
use wafersim_search::{Judge, Judged};
use wafersim_spec::Precision;
use wafersim_spec::model::{FeedForward, Layer};
use wafersim_spec::wafer::{Key, RateSet};

use super::pass::{Between, Pass};

/// What prices mappings.
#[derive(Debug, Clone)]
pub struct Pricer<'a> {
    /// Model, wafer, load.
    pub inputs: Inputs<'a>,
    /// Rates.
    pub rates: Rates,
}

/// A priced mapping.
#[derive(Debug, Clone)]
pub struct Priced {
    /// Layers by layout.
    pub layouts: Vec<ProgramCost>,
    /// The pass.
    pub pass: Pass,
}

impl Judge for Pricer<'_> {
    fn judge(&self, mapped: &Mapped) -> Option<Judged> {
        let priced = self.price(mapped).ok()?;
        if !self.fits_memory(mapped) {
            return None;
        }
        Some(Judged { time: priced.pass.latency.total().0, tie: priced.pass.slowest.0 })
    }
    fn fits_in_routers(&self, mapped: &Mapped) -> bool {
        mapped
            .placement
            .layouts
            .iter()
            .zip(&mapped.layers)
            .all(|(layout, mapping)| self.colors(layout, mapping).is_some_and(|c| c <= 24))
    }
}

impl Pricer<'_> {
    /// Physical colors of a layer.
    pub fn colors(&self, layout: &wafersim_place::LayerLayout, mapping: &LayerMapping) -> Option<u32> {
        let program = self.program(&layout.layer, mapping).ok()?;
        if program.color_count() > 29 {
            return None;
        }
        if program.color_count() <= 24 {
            return Some(program.color_count());
        }
        let lowered =
            wafersim_fabric::circuit::lower_names(&program, self.inputs.wafer, RateSet::Silicon, &|_| 0.0).ok()?;
        Some(wafersim_fabric::circuit::colors::count(&lowered).given.physical)
    }
    /// Colors of a layer in words.
    pub fn colors_of(&self, layout: &wafersim_place::LayerLayout, mapping: &LayerMapping) -> String {
        let Ok(program) = self.program(&layout.layer, mapping) else { return "not written".into() };
        let at = std::time::Instant::now();
        match wafersim_fabric::circuit::lower_names(&program, self.inputs.wafer, RateSet::Silicon, &|_| 0.0) {
            Err(e) => format!("{e}"),
            Ok(lowered) => {
                let took = at.elapsed();
                let count = wafersim_fabric::circuit::colors::count(&lowered);
                format!(
                    "lower_names {took:?} names {} busiest {:?} physical {} rerouted {}",
                    count.given.names,
                    count.busiest,
                    count.given.physical,
                    count.rerouted.len()
                )
            }
        }
    }
    /// What the programs keep fits.
    pub fn fits_memory(&self, mapped: &Mapped) -> bool {
        let limit = mapped.placement.ledger.limit.0;
        let peaks: Vec<u64> = (0..mapped.placement.layouts.len()).map(|layout| self.peak(mapped, layout)).collect();
        mapped.placement.slots.iter().enumerate().all(|(index, slot)| {
            let Some(ledger) = mapped.placement.ledger.slots.get(index) else { return true };
            let lasting = ledger.worst_pe.lasting().0 + ledger.worst_pe.code_and_runtime.0;
            let peak = slot
                .items
                .iter()
                .filter_map(|item| match item {
                    wafersim_place::Item::Layer(layer) => mapped.placement.layout_index(*layer as usize),
                    _ => None,
                })
                .map(|layout| peaks[layout])
                .max()
                .unwrap_or(0);
            lasting + peak <= limit
        })
    }
    pub fn peak(&self, mapped: &Mapped, layout: usize) -> u64 {
        let program = self.program(&mapped.placement.layouts[layout].layer, &mapped.layers[layout]);
        program.map_or(0, |program| program.peak(|name| name.starts_with("kv."), |name| name == "residual").bytes.0)
    }
    /// The program of a layer.
    ///
    /// # Errors
    /// Where it cannot be written so.
    pub fn program(&self, layer: &Layer, mapping: &LayerMapping) -> Result<Program, LowerError> {
        let load = match &layer.feed_forward {
            FeedForward::Dense { .. } => ExpertLoad::spread(1, 1),
            FeedForward::Moe(moe) => ExpertLoad::spread(moe.top_k, moe.top_k),
        };
        decode_layer(&LayerRequest {
            layer,
            hidden: self.inputs.model.hidden,
            norm_epsilon: self.inputs.model.norm_epsilon,
            mapping,
            precision: self.inputs.load.precision,
            tokens: 1,
            users: 1,
            context: self.inputs.load.context,
            routed: Routed::Expected(load),
            scope: Scope::Model,
            queue: self.inputs.wafer.value(Key::InputQueue, RateSet::Silicon) as u64,
        })
    }

    fn table(&self, table: &TableLayout, mapping: &LayerMapping) -> Program {
        let load = &self.inputs.load;
        let precision = Precision { weights: table.matrix.data_type, ..load.precision };
        let request = EndRequest {
            hidden: self.inputs.model.hidden,
            vocabulary: table.part.entries,
            norm_epsilon: self.inputs.model.norm_epsilon,
            mapping,
            precision,
        };
        if table.is_head { wafersim_lower::lm_head(&request, 1) } else { wafersim_lower::embedding(&request, &[0]) }
    }

    /// A mapping.
    ///
    /// # Errors
    /// Where a layer cannot be written so.
    pub fn price(&self, mapped: &Mapped) -> Result<Priced, LowerError> {
        let placement = &mapped.placement;
        let layouts = placement.layouts.iter().zip(&mapped.layers);
        let layouts: Vec<ProgramCost> = layouts
            .map(|(layout, mapping)| Ok(cost(&self.program(&layout.layer, mapping)?, &self.rates)))
            .collect::<Result<_, LowerError>>()?;
        let tables = placement.tables.iter().zip(&mapped.tables);
        let tables: Vec<ProgramCost> =
            tables.map(|(table, mapping)| cost(&self.table(table, mapping), &self.rates)).collect();
        let between = Between {
            rates: &self.rates,
            wafer: self.inputs.wafer,
            hidden: self.inputs.model.hidden,
            activations: self.inputs.load.precision.activations,
            tokens: 1,
        };
        let pass = Pass::new(placement, &layouts, &tables, between);
        Ok(Priced { layouts, pass })
    }
}
