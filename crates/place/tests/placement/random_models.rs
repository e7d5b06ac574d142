//! Small random models on small random machines: every processing element is looked at.

use crate::invariants::{check_by_enumeration, placed};
use proptest::prelude::*;
use wafersim_place::{Fill, KvLayoutChoice, Machine, PlaceError, Request, place};
use wafersim_spec::model::{
    Attention, FeedForward, Gating, GroupedAttention, HeadValues, Indexer, LatentAttention, Layer, LinearAttention,
    Moe, Reach, Selection,
};
use wafersim_spec::scenario::{ExpertPlacement, WaferCount};
use wafersim_spec::{Bytes, DataType, Model, Precision};

fn any_attention() -> impl Strategy<Value = Attention> {
    let reach = prop_oneof![Just(Reach::Full), (1_u64..9).prop_map(Reach::Window), (1_u64..9).prop_map(Reach::Chunk)];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let grouped = (1_u64..4, 1_u64..4, 1_u64..9, flags, reach).prop_map(|(kv_heads, group, head_dim, flags, reach)| {
        let (qkv_bias, output_bias, qk_norm, sinks, output_gate) = flags;
        let heads = kv_heads * group;
        let rotary_dim = 0;
        Attention::Grouped(GroupedAttention {
            heads,
            kv_heads,
            head_dim,
            qkv_bias,
            output_bias,
            qk_norm: wafersim_spec::model::QkNorm::of_heads(qk_norm),
            sinks,
            output_gate,
            head_gate: false,
            rotary_dim,
            reach,
            query_rank: None,
            values: HeadValues::Plain,
        })
    });
    let indexer = proptest::option::of((1_u64..5, 0_u64..4, 1_u64..9));
    let latent = (1_u64..5, proptest::option::of(1_u64..9), 1_u64..9, 1_u64..5, 1_u64..5, 1_u64..5, indexer);
    let latent = latent.prop_map(|(heads, query_rank, kv_rank, nope_dim, rope_dim, value_dim, indexer)| {
        // Its queries come from compressed ones.
        let indexer = indexer.filter(|_| query_rank.is_some()).map(|(heads, more, top_k)| Indexer {
            heads,
            head_dim: rope_dim + more,
            top_k,
            interleaved: false,
        });
        Attention::Latent(LatentAttention { heads, query_rank, kv_rank, nope_dim, rope_dim, value_dim, indexer })
    });
    let linear = (1_u64..5, 1_u64..4, 1_u64..9, 1_u64..9, 1_u64..5);
    let linear = linear.prop_map(|(key_heads, group, key_dim, value_dim, kernel)| {
        let value_heads = key_heads * group;
        Attention::Linear(LinearAttention { key_heads, value_heads, key_dim, value_dim, kernel })
    });
    prop_oneof![3 => grouped, 1 => latent, 1 => linear]
}

fn any_feed_forward() -> impl Strategy<Value = FeedForward> {
    let dense = (1_u64..30, any::<bool>()).prop_map(|(width, bias)| FeedForward::Dense { width, bias });
    let moe = (1_u64..12, 1_u64..4, 1_u64..12, 0_u64..9, any::<bool>(), any::<bool>(), any::<bool>());
    let moe = moe.prop_map(|(experts, top_k, width, shared_width, shared_gate, expert_bias, router_bias)| {
        let top_k = top_k.min(experts);
        FeedForward::Moe(Moe {
            experts,
            top_k,
            width,
            shared_width,
            shared_gate,
            expert_bias,
            router_bias,
            selection: Selection::softmax(true),
            gating: Gating::Silu,
        })
    });
    prop_oneof![dense, moe]
}

fn any_model() -> impl Strategy<Value = Model> {
    let layer = (any_attention(), any_feed_forward(), 1_u64..5).prop_map(|(attention, feed_forward, norms)| Layer {
        attention,
        feed_forward,
        norms,
    });
    let layers = (proptest::collection::vec(layer, 1..4), 1_usize..4).prop_map(|(kinds, times)| {
        (0..kinds.len() * times).map(|index| kinds[index % kinds.len()].clone()).collect::<Vec<_>>()
    });
    (1_u64..24, 1_u64..90, any::<bool>(), layers).prop_map(|(hidden, vocabulary, tied_embeddings, layers)| Model {
        name: "random".into(),
        family: "random".into(),
        hidden,
        vocabulary,
        max_positions: 64,
        tied_embeddings,
        layers,
        next_token_layers: 0,
        norm_epsilon: 1e-6,
        rope_theta: 1e4,
        centred_gains: false,
        notes: Vec::new(),
        checkpoint: None,
    })
}

fn any_machine() -> impl Strategy<Value = Machine> {
    (1_u64..24, 1_u64..24, 100_u64..3000).prop_map(|(columns, rows, free)| Machine {
        columns,
        rows,
        memory: Bytes(free + 50),
        free_memory: Bytes(free),
    })
}

fn any_type() -> impl Strategy<Value = DataType> {
    proptest::sample::select(DataType::ALL.to_vec())
}

#[derive(Debug, Clone)]
struct Ways {
    precision: Precision,
    users: u64,
    context: u64,
    micro_batch: u64,
    experts: ExpertPlacement,
    fill: Fill,
    kv_layout: KvLayoutChoice,
}

fn any_ways() -> impl Strategy<Value = Ways> {
    let precision = (any_type(), any_type(), any_type());
    (precision, 1_u64..4, 1_u64..40, 1_u64..3, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |((weights, small_weights, kv_cache), users, context, micro_batch, clustered, tight, whole)| Ways {
            precision: Precision {
                weights,
                small_weights,
                kv_cache,
                activations: DataType::Fp16,
                ..Precision::default()
            },
            users,
            context,
            micro_batch,
            experts: if clustered { ExpertPlacement::Clustered } else { ExpertPlacement::Spread },
            fill: if tight { Fill::Tight } else { Fill::Slot },
            kv_layout: if whole { KvLayoutChoice::WholeBlock } else { KvLayoutChoice::Balanced },
        },
    )
}

fn request<'a>(model: &'a Model, machine: Machine, ways: &Ways) -> Request<'a> {
    let Ways { precision, users, context, micro_batch, experts, fill, kv_layout } = ways.clone();
    Request { precision, users, context, micro_batch, experts, fill, kv_layout, ..Request::new(model, machine) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_ledger_is_exact_and_its_worst_is_a_bound(model in any_model(), machine in any_machine(), ways in any_ways()) {
        if let Some(placement) = placed(&request(&model, machine, &ways)) {
            check_by_enumeration(&placement);
        }
    }

    #[test]
    fn the_fewest_wafers_are_the_fewest(model in any_model(), machine in any_machine(), ways in any_ways(), more in 0_u32..5) {
        let auto = request(&model, machine, &ways);
        let exactly = |wafers| Request { wafers: WaferCount::Exactly(wafers), ..auto.clone() };
        match place(&auto) {
            Ok(placement) => {
                let fewest = placement.wafers;
                prop_assert!(placed(&exactly(fewest + more)).is_some());
                if fewest > 1 {
                    let refused = place(&exactly(fewest - 1));
                    let is_right = matches!(
                        &refused,
                        Err(PlaceError::DoesNotFit { needed_wafers, shortfall_bytes_per_pe, .. })
                            if *needed_wafers == fewest && *shortfall_bytes_per_pe > Bytes::ZERO
                    );
                    prop_assert!(is_right, "{refused:?}");
                }
            }
            Err(error) => {
                let is_too_large = matches!(error, PlaceError::LayerTooLarge { shortfall_bytes_per_pe, .. } if shortfall_bytes_per_pe > Bytes::ZERO);
                prop_assert!(is_too_large);
                prop_assert_eq!(place(&exactly(7)), place(&auto));
            }
        }
    }
}
