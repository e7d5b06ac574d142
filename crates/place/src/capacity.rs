//! What the spare bytes of a placement hold: more users, longer contexts, prompts. Weights stay where they are; the KV
//! layout of each layer may change.

use crate::arithmetic::largest_that;
use crate::item::Item;
use crate::layout::TableLayout;
use crate::ledger::ByteCounts;
use crate::placement::Placement;
use crate::request::Settings;

/// Beyond any sensible answer: where nothing limits users or context, this is returned.
pub const UNLIMITED: u64 = 1 << 40;

/// The largest prefill that is considered, in tokens.
const LARGEST_PREFILL: u64 = 8192;

impl Placement {
    /// Most users with `context` tokens each whose KV cache fits, 0 where not even one does; [`UNLIMITED`] at most.
    pub fn max_users(&self, context: u64) -> u64 {
        let slots = self.different_slots();
        let fits = |users| self.fits(&slots, &Settings { users, context, ..self.settings });
        largest_that(UNLIMITED, fits).unwrap_or(0)
    }

    /// The longest context, in tokens, that `users` users can have at the same time; [`UNLIMITED`] where every layer
    /// looks back a limited way only and that much fits.
    pub fn max_context(&self, users: u64) -> u64 {
        let slots = self.different_slots();
        let fits = |context| self.fits(&slots, &Settings { users, context, ..self.settings });
        largest_that(UNLIMITED, fits).unwrap_or(0)
    }

    /// The largest power of two of prompt tokens, at most 8192, whose prefill fits beside weights and caches; a slot
    /// works on one thing at a time, so the activations and buffers of decode are free meanwhile. 1 where not
    /// even a few fit: then a prompt is worked off token by token, with the buffers of decode.
    pub fn prefill_chunk_tokens(&self) -> u64 {
        let fits = |tokens: u64| {
            self.slots.iter().zip(&self.ledger.slots).all(|(slot, ledger)| {
                slot.items.iter().all(|item| match item {
                    Item::Layer(layer) => self.layer(*layer as usize).is_none_or(|layout| {
                        layout.prefill_bytes(&self.settings, tokens) <= ledger.spare + ledger.worst_pe.passing()
                    }),
                    Item::Embedding(_) | Item::LmHead(_) => true,
                })
            })
        };
        let mut tokens = LARGEST_PREFILL;
        while tokens > 1 && !fits(tokens) {
            tokens /= 2;
        }
        tokens
    }

    /// Slots with different contents: the layouts of their layers, and the bytes of their tables.
    fn different_slots(&self) -> Vec<(Vec<usize>, ByteCounts)> {
        let mut different: Vec<(Vec<usize>, ByteCounts)> = Vec::new();
        for (index, slot) in self.slots.iter().enumerate() {
            let layers = slot.items.iter().filter_map(|item| match item {
                Item::Layer(layer) => self.layout_index(*layer as usize),
                Item::Embedding(_) | Item::LmHead(_) => None,
            });
            let tables = self.tables.iter().filter(|table| table.slot == index);
            let tables = tables.map(|table: &TableLayout| table.worst_pe);
            let content = (layers.collect(), tables.reduce(|sum, table| sum.with(&table)).unwrap_or_default());
            if !different.contains(&content) {
                different.push(content);
            }
        }
        different
    }

    fn fits(&self, slots: &[(Vec<usize>, ByteCounts)], settings: &Settings) -> bool {
        let layouts: Vec<ByteCounts> = self.layouts.iter().map(|layout| layout.in_use(settings).1).collect();
        slots.iter().all(|(layers, tables)| {
            let needs = layers.iter().filter_map(|layout| layouts.get(*layout));
            needs.fold(*tables, |sum, need| sum.with(need)).sum() <= settings.machine.free_memory
        })
    }
}
