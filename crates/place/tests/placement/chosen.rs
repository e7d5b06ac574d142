//! What a caller chooses is kept, or refused with numbers.

use proptest::prelude::*;
use wafersim_place::{
    Choices, Division, ExpertChoice, Item, KvLayoutChoice, KvSizes, LayerChoices, Machine, PlaceError, Placement,
    Request, Roles, place,
};
use wafersim_spec::model::Role;
use wafersim_spec::scenario::{ExpertPlacement, WaferCount};
use wafersim_spec::{DataType, Model, Size};

use crate::invariants::{WSE3, placed};

fn layers_of_slots(placement: &Placement) -> Vec<usize> {
    let layers = |items: &[Item]| items.iter().filter(|item| matches!(item, Item::Layer(_))).count();
    placement.slots.iter().map(|slot| layers(&slot.items)).filter(|layers| *layers > 0).collect()
}

fn request(model: &Model) -> Request<'_> {
    Request { context: 1024, ..Request::new(model, WSE3) }
}

#[test]
fn layers_share_slots_as_asked() {
    let model = Model::builtin("qwen3-32b").unwrap();
    // All of the memory is free: with copies of block scales in every tile, the model just fits one wafer then.
    let request = |model| Request { machine: Machine { free_memory: WSE3.memory, ..WSE3 }, ..request(model) };
    let division = Division { layers_per_slot: Size::Exactly(11), ..Division::default() };
    let wafers = WaferCount::Exactly(1);
    let placement = placed(&Request { division, wafers, ..request(&model) }).unwrap();
    assert_eq!(layers_of_slots(&placement), [11, 11, 11, 11, 11, 9]);
    // The fewest slots that do: tables with their neighbours.
    assert_eq!((placement.slots.len(), placement.slots_per_wafer), (6, 6));
    let alone = placed(&Request { wafers, ..request(&model) }).unwrap();
    assert!(alone.arrangement.slot_size(&WSE3) < placement.arrangement.slot_size(&WSE3));
    // More slots, and the tables have their own.
    let division = Division { slots: Size::Exactly(4), ..division };
    let placement = placed(&Request { division, wafers: WaferCount::Exactly(2), ..request(&model) }).unwrap();
    assert_eq!((placement.slots.len(), layers_of_slots(&placement)), (8, vec![11, 11, 11, 11, 11, 9]));
    // A part of the layers; and as few wafers as that takes.
    let division = Division { layers_per_slot: Size::Divisor(16), ..Division::default() };
    let placement = placed(&Request { division, ..request(&model) }).unwrap();
    assert!(layers_of_slots(&placement).iter().all(|layers| *layers == 4));
}

#[test]
fn what_cannot_be_had_says_so_with_numbers() {
    let model = Model::builtin("qwen3-32b").unwrap();
    let refused = |division: Division, wafers| place(&Request { division, wafers, ..request(&model) }).unwrap_err();
    let all = Division { layers_per_slot: Size::Exactly(64), slots: Size::Exactly(2), ..Division::default() };
    for wafers in [WaferCount::Auto, WaferCount::Exactly(3)] {
        let error = refused(all, wafers);
        let PlaceError::Division { short: Some(short), .. } = &error else { panic!("{error}") };
        assert!(short.needed > short.free && short.free == WSE3.free_memory, "{error}");
        assert!(error.to_string().contains("slots = 2, layers_per_slot = 64"), "{error}");
    }
    let prime = Division { slots: Size::Exactly(1_000_003), ..Division::default() };
    assert!(matches!(refused(prime, WaferCount::Auto), PlaceError::Division { short: None, .. }));
    let wide = Division { columns: Size::Exactly(756), ..Division::default() };
    assert!(matches!(refused(wide, WaferCount::Auto), PlaceError::Request { field: "division.columns", .. }));
}

#[test]
fn regions_are_as_large_as_asked() {
    let model = Model::builtin("llama-3.1-8b").unwrap();
    for (columns, rows, expected, arrangement) in [
        (Size::Exactly(250), Size::Exactly(200), (250, 200), (3, 5)),
        (Size::Divisor(4), Size::Share(2000), (188, 234), (4, 5)),
    ] {
        let division = Division { columns, rows, ..Division::default() };
        let placement = placed(&Request { division, wafers: WaferCount::Exactly(3), ..request(&model) }).unwrap();
        assert_eq!((placement.arrangement.across, placement.arrangement.down), arrangement);
        assert!(placement.layouts.iter().all(|layout| (layout.columns, layout.rows) == expected));
    }
}

#[test]
fn copies_of_keys_and_values_share_out_the_query_heads() {
    let model = Model::builtin("qwen3-coder-480b-a35b").unwrap();
    let sizes = KvSizes {
        head_copies: Size::Exactly(4),
        dimension_split: Size::Exactly(6),
        sequence_split: Size::Exactly(3),
        ..KvSizes::default()
    };
    let division = Division { columns: Size::Exactly(755), ..Division::default() };
    let request = Request { context: 8192, wafers: WaferCount::Exactly(16), division, ..request(&model) };
    let once = placed(&Request { kv_layout: KvLayoutChoice::DimensionSplit(6), ..request.clone() }).unwrap();
    let copied = placed(&Request { kv_layout: KvLayoutChoice::Given(sizes), ..request }).unwrap();
    let (one, four) = (&once.layouts[0].kv, &copied.layouts[0].kv);
    assert_eq!((four.head_copies, four.dimension_split, four.sequence_split), (4, 6, 3));
    assert_eq!((one.query_heads_per_pe(), four.query_heads_per_pe()), (12, 3));
    assert!(one.tokens_per_pe(1, 8192) < four.tokens_per_pe(1, 8192));
    assert_eq!(copied.ledger.totals.kv_cache, once.ledger.totals.kv_cache * 4);
}

#[test]
fn what_is_stored_wide_takes_the_bytes_of_wide_weights() {
    let model = Model::builtin("qwen3-30b-a3b").unwrap();
    let wafers = WaferCount::Exactly(4);
    let narrow = Request { wafers, ..request(&model) };
    let wide: Roles = Role::ALL.into_iter().collect();
    let half = placed(&narrow).unwrap();
    // The invariants count the bytes of the checkpoint.
    let stored = place(&Request { wide, ..narrow.clone() }).unwrap();
    let precision = wafersim_spec::Precision { weights: DataType::Fp16, ..narrow.precision };
    let whole = placed(&Request { precision, ..narrow.clone() }).unwrap();
    assert_eq!(stored.ledger.totals, whole.ledger.totals);
    assert_eq!(stored.arrangement, whole.arrangement);
    assert!(half.ledger.totals.weights < whole.ledger.totals.weights);
    // One role alone.
    let down = place(&Request { wide: Roles::NONE.with(Role::ExpertDown), ..narrow }).unwrap();
    let types = |placement: &Placement, role| placement.layouts[0].matrix(role).map(|matrix| matrix.data_type);
    assert_eq!(types(&down, Role::ExpertDown), Some(DataType::Fp16));
    assert_eq!(types(&down, Role::ExpertUp), Some(DataType::Fp8));
}

#[test]
fn layers_may_be_chosen_for_one_by_one() {
    let model = Model::builtin("gpt-oss-120b").unwrap();
    let kv = |split| KvLayoutChoice::Given(KvSizes { dimension_split: Size::Exactly(split), ..KvSizes::default() });
    let choices = |split, placement: ExpertPlacement| LayerChoices {
        kv: kv(split),
        experts: ExpertChoice::from(placement),
        wide: Roles::NONE,
    };
    let kinds = [choices(2, ExpertPlacement::Spread), choices(4, ExpertPlacement::Linear)];
    let layers: Vec<LayerChoices> = (0..36).map(|layer| kinds[layer % 2]).collect();
    let placement = placed(&Request { layers: Choices::OfLayers(&layers), ..request(&model) }).unwrap();
    let of = |layer: usize| {
        let layout = placement.layer(layer).unwrap();
        (layout.kv.dimension_split, layout.experts.as_ref().unwrap().most_in_a_cell())
    };
    // Windowed and full layers alternate; a token chooses 4 of 128 experts.
    assert_eq!((of(0), of(1)), ((2, 128), (4, 4)));
    assert!(placement.max_users(1024) >= 1);
}

fn size() -> impl Strategy<Value = Size> {
    prop_oneof![
        Just(Size::Auto),
        (1_u64..40).prop_map(Size::Exactly),
        (1_u16..=10_000).prop_map(Size::Share),
        (1_u64..40).prop_map(Size::Divisor),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_choice_is_placed_or_refused(
        (slots, columns, rows, layers_per_slot) in (size(), size(), size(), size()),
        (heads_per_block, head_copies, dimension_split, sequence_split) in (size(), size(), size(), size()),
        (sharing, spare) in (size(), 0_u64..4), index in 0_usize..ExpertPlacement::ALL.len(), wafers in 0_u32..4,
    ) {
        let model = Model::builtin("qwen3-30b-a3b").unwrap();
        let sizes = KvSizes { heads_per_block, head_copies, dimension_split, sequence_split };
        let layers = [LayerChoices {
            kv: KvLayoutChoice::Given(sizes),
            experts: ExpertChoice { sharing, spare, ..ExpertPlacement::ALL[index].into() },
            wide: Roles::NONE,
        }; 48];
        let division = Division { slots, columns, rows, layers_per_slot };
        let wafers = if wafers == 0 { WaferCount::Auto } else { WaferCount::Exactly(wafers) };
        let layers = Choices::OfLayers(&layers);
        if let Some(placement) = placed(&Request { division, wafers, layers, ..request(&model) }) {
            let kv = &placement.layouts[0].kv;
            prop_assert!(kv.dimension_split * kv.sequence_split * kv.head_copies <= kv.columns_per_head);
            if let Some(layers) = layers_per_slot.of(48) {
                let all = layers_of_slots(&placement);
                prop_assert!(all[..all.len() - 1].iter().all(|held| *held as u64 == layers.min(48)));
            }
        }
    }
}
