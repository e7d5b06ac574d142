//! A model as kinds of layers and tables, and what each of its items needs in a slot of some size: all that the search
//! has to know. It chooses nothing.

use crate::arrangement::Arrangement;
use crate::blueprint::{LayerBlueprint, TableBlueprint};
use crate::choices::{Choices, LayerChoices};
use crate::item::{Item, TablePart};
use crate::kinds::Kinds;
use crate::ledger::ByteCounts;
use crate::packing::{Limit, Need, first_fit};
use crate::request::{Request, Settings};

/// A model as the search sees it: kinds of layers and tables.
#[derive(Debug)]
pub(crate) struct ModelBlueprint<'a> {
    pub kinds: Vec<LayerBlueprint<'a>>,
    /// Index into `kinds` for each layer.
    pub kind_of_layer: Vec<usize>,
    pub embedding: Option<TableBlueprint>,
    pub head: TableBlueprint,
}

impl<'a> ModelBlueprint<'a> {
    /// Layers of one kind with the same choices are of one kind here.
    pub fn new(known: &Kinds<'a>, settings: &Settings, request: &Request<'_>) -> Self {
        let (model, precision) = (known.model(), &settings.precision);
        let for_all = request.for_all();
        let blueprint = |kind: usize, choices: LayerChoices| {
            let (layer, weights) = known.layer(kind, precision, choices.wide);
            LayerBlueprint { layer, hidden: model.hidden, weights, choices }
        };
        let of_kinds = |choices: &[LayerChoices]| {
            let of_kind = |kind: usize| blueprint(kind, choices.get(kind).copied().unwrap_or(for_all));
            ((0..known.firsts().len()).map(of_kind).collect(), known.of_layer().to_vec())
        };
        let (kinds, kind_of_layer) = match request.layers {
            Choices::ForAll => of_kinds(&[]),
            Choices::OfKinds(choices) => of_kinds(choices),
            Choices::OfLayers(choices) => {
                let mut kinds: Vec<LayerBlueprint<'a>> = Vec::new();
                // The kind of the model's layers that each of these is of.
                let mut of_model: Vec<usize> = Vec::new();
                let mut kind_of_layer = Vec::with_capacity(model.layers.len());
                for (index, of_layer) in known.of_layer().iter().enumerate() {
                    let chosen = choices.get(index).unwrap_or(&for_all);
                    let is_same = |(kind, blueprint): (&usize, &LayerBlueprint<'_>)| {
                        kind == of_layer && blueprint.choices == *chosen
                    };
                    let found = of_model.iter().zip(&kinds).position(is_same);
                    kind_of_layer.push(found.unwrap_or(kinds.len()));
                    if found.is_none() {
                        kinds.push(blueprint(*of_layer, *chosen));
                        of_model.push(*of_layer);
                    }
                }
                (kinds, kind_of_layer)
            }
        };
        let embedding = TableBlueprint::embedding(model, precision, settings.wide);
        Self { kinds, kind_of_layer, embedding, head: TableBlueprint::head(model, precision, settings.wide) }
    }

    /// Bytes of all matrices and of the KV cache, without replication.
    pub fn bytes(&self, settings: &Settings) -> u128 {
        let kinds: Vec<u64> = self.kinds.iter().map(|kind| kind.bytes(settings)).collect();
        let layers = self.kind_of_layer.iter().map(|kind| u128::from(kinds[*kind]));
        let embedding = self.embedding.map_or(0, |embedding| u128::from(embedding.bytes()));
        layers.sum::<u128>() + embedding + u128::from(self.head.bytes())
    }

    /// Layers of the model.
    pub fn layers(&self) -> u64 {
        self.kind_of_layer.len() as u64
    }

    /// Items when no table is cut.
    pub fn fewest_items(&self) -> u64 {
        self.kind_of_layer.len() as u64 + 1 + u64::from(self.embedding.is_some())
    }

    /// Bytes of an item in the worst processing element of a region.
    pub fn load(&self, item: &Item, settings: &Settings, region: (u64, u64)) -> ByteCounts {
        match item {
            Item::Layer(layer) => {
                let kind = self.kind_of_layer.get(*layer as usize).and_then(|kind| self.kinds.get(*kind));
                kind.map_or_else(ByteCounts::default, |kind| kind.load(settings, region))
            }
            Item::LmHead(part) => self.head.load(settings, region, part),
            Item::Embedding(part) => {
                self.embedding.map_or_else(ByteCounts::default, |table| table.load(settings, region, part))
            }
        }
    }
}

/// What every item needs in a slot of some size.
#[derive(Debug)]
pub(crate) struct Evaluation {
    pub arrangement: Arrangement,
    /// Columns and rows of a slot.
    pub region: (u64, u64),
    pub items: Vec<Item>,
    /// Bytes that each item needs.
    pub needs: Vec<Need>,
}

impl Evaluation {
    pub fn new(blueprint: &ModelBlueprint<'_>, settings: &Settings, arrangement: Arrangement) -> Self {
        let region = settings.division.region(arrangement, &settings.machine);
        let kinds: Vec<Need> = blueprint.kinds.iter().map(|kind| Need::of(&kind.load(settings, region), 1)).collect();
        let mut evaluation = Self { arrangement, region, items: Vec::new(), needs: Vec::new() };
        if let Some(embedding) = &blueprint.embedding {
            evaluation.push_table(embedding, settings, Item::Embedding);
        }
        for (layer, kind) in blueprint.kind_of_layer.iter().enumerate() {
            evaluation.items.push(Item::Layer(layer as u64));
            evaluation.needs.push(kinds[*kind]);
        }
        evaluation.push_table(&blueprint.head, settings, Item::LmHead);
        evaluation
    }

    fn push_table(&mut self, table: &TableBlueprint, settings: &Settings, item: fn(TablePart) -> Item) {
        let (parts, load) = table.cut(settings, self.region);
        for part in 0..parts {
            self.items.push(item(table.part(part, parts)));
            self.needs.push(Need::of(&load, 0));
        }
    }

    pub const fn area(&self) -> u64 {
        self.region.0 * self.region.1
    }

    pub const fn perimeter(&self) -> u64 {
        self.region.0 + self.region.1
    }

    pub fn sharing(&self, groups: &[usize]) -> Sharing {
        let mut rest = self.items.as_slice();
        let mut sharing = Sharing { layers_with_company: 0, layers_in_fullest: 0 };
        for size in groups {
            let (group, after) = rest.split_at((*size).min(rest.len()));
            rest = after;
            let layers = group.iter().filter(|item| matches!(item, Item::Layer(_))).count();
            sharing.layers_in_fullest = sharing.layers_in_fullest.max(layers);
            if *size > 1 {
                sharing.layers_with_company += layers;
            }
        }
        sharing
    }

    /// The items of the fullest slot when slots hold at most `limit` bytes a processing element.
    pub fn fullest_slot(&self, limit: u64) -> String {
        let mut first = 0;
        let mut fullest = (0, 0, 0);
        for size in first_fit(&self.needs, Limit::bytes(limit)).unwrap_or_default() {
            let group = &self.needs[first..first + size];
            let bytes = group.iter().copied().reduce(|sum, need| sum.with(&need)).map_or(0, |need| need.sum());
            if bytes > fullest.0 {
                fullest = (bytes, first, size);
            }
            first += size;
        }
        let (_, first, size) = fullest;
        let names = match (self.items.get(first), self.items.get(first + size.max(1) - 1)) {
            (Some(one), _) if size <= 1 => one.to_string(),
            (Some(first), Some(last)) => format!("{first} to {last}"),
            _ => "the model".into(),
        };
        format!("{names} on a slot of {} x {}", self.region.0, self.region.1)
    }
}

/// How much the layers share slots: less is better, the first field first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sharing {
    /// Layers that are not alone in their slot.
    layers_with_company: usize,
    /// Layers in the slot that holds most.
    layers_in_fullest: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sharing_counts_layers_with_company_first() {
        let part = TablePart { part: 0, parts: 1, first_entry: 0, entries: 9 };
        let layers = (0..5).map(Item::Layer);
        let items: Vec<Item> = [Item::Embedding(part)].into_iter().chain(layers).chain([Item::LmHead(part)]).collect();
        let arrangement = Arrangement { across: 1, down: 1 };
        let needs = vec![Need { lasting: 4, passing: 1, layers: 1 }; items.len()];
        let evaluation = Evaluation { arrangement, region: (30, 20), items, needs };
        let sharing = |groups: &[usize]| {
            let sharing = evaluation.sharing(groups);
            (sharing.layers_with_company, sharing.layers_in_fullest)
        };
        assert_eq!(sharing(&[1; 7]), (0, 1));
        assert_eq!(sharing(&[2, 1, 1, 1, 2]), (2, 1));
        assert_eq!(sharing(&[1, 3, 2, 1]), (5, 3));
        assert!(evaluation.sharing(&[2, 1, 1, 1, 2]) < evaluation.sharing(&[1, 2, 2, 1, 1]));
        assert_eq!(evaluation.fullest_slot(13), "embedding to layer 1 on a slot of 30 x 20");
        assert_eq!(evaluation.fullest_slot(5), "embedding on a slot of 30 x 20");
    }
}
