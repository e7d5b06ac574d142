//! Weight streaming: one wafer computes layer after layer, and the weights of each come from memory outside while the
//! one before is computed. This is how the vendor trains models that no wafer holds (its documentation, "Weight
//! Streaming Execution"; docs/src/sources.md#cerebras-documentation); for answers it is what one wafer could do in
//! place of many.
//!
//! ```text
//! time of a pass = max(compute, weights / bandwidth)
//! ```
//! since the two go on at the same time, a layer apart. In a pass every user moves on by one token, so that the weights
//! are paid for once for all users: the more there are, the better, up to those whose keys and values the wafer holds.
//! What a pass must move is between two numbers: only the matrices that its users' tokens use (somebody outside would
//! have to know which experts those will be), or all of them, as the vendor does it. Keys and values stay on the wafer.
//! Compute is the way of a token through the layers as placed on many wafers, without links: at least once, at most
//! once for each user, one after the other. No program was written for it, so it is a guess with these two ends.

use serde::Serialize;
use wafersim_answer::{Answer, Question};
use wafersim_graph::{OperatorGraph, PassLoad};
use wafersim_spec::Cycles;
use wafersim_spec::wafer::{Key, RateSet};

use crate::error::DecideError;
use crate::money::Ranged;

/// What one wafer does whose weights are streamed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct WeightStreaming {
    /// GB/s of the way to the weights.
    pub bandwidth_gb_s: f64,
    /// Bytes of all weights but the input embedding, of which a pass reads a row a token.
    pub weight_bytes: u64,
    /// Users whose keys and values one wafer holds at the context, beside two layers of weights.
    pub most_users: u64,
    /// Tokens a second of each user on the answer's wafers, which hold their weights.
    pub resident_tokens_per_second_per_user: f64,
    /// The answer's wafers.
    pub resident_wafers: u32,
    /// Users for whom moving and computing would take as long, by the least compute: above the most, the wafer always
    /// waits for weights.
    pub balanced_users: f64,
    /// GB/s at which one user would be as fast as on the answer's wafers, were compute no slower than there.
    pub bandwidth_for_resident_gb_s: f64,
    /// Passes of so many users.
    pub passes: Vec<Pass>,
}

/// A pass of so many users.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Pass {
    /// Users.
    pub users: u64,
    /// Bytes of the matrices that their tokens use.
    pub used_bytes: u64,
    /// Seconds in which weights arrive: the used ones at the low end, all of them as assumed and at the high end.
    pub streaming_s: Ranged,
    /// Seconds of compute.
    pub compute_s: Ranged,
    /// Seconds of the pass.
    pub pass_s: Ranged,
    /// Tokens a second of each user.
    pub tokens_per_second_per_user: Ranged,
    /// Tokens a second of all of them.
    pub tokens_per_second: Ranged,
}

/// One wafer in place of the answer's.
///
/// # Errors
/// Where the bandwidth is no number above 0, or the model has no graph of operators.
pub fn weight_streaming(
    question: &Question,
    answer: &Answer,
    bandwidth_gb_s: Option<f64>,
) -> Result<WeightStreaming, DecideError> {
    let (model, wafer, scenario) = (&question.model, &question.wafer, &question.scenario);
    let bandwidth_gb_s = bandwidth_gb_s.unwrap_or_else(|| wafer.value(Key::LinkBandwidth, RateSet::Silicon));
    if !(bandwidth_gb_s.is_finite() && bandwidth_gb_s > 0.0) {
        return Err(DecideError::Value {
            what: "the bandwidth of weight streaming".into(),
            value: bandwidth_gb_s.to_string(),
            allowed: "a number of GB/s above 0".into(),
        });
    }
    let precision = &scenario.precision;
    let of_layers = |layer: &wafersim_spec::model::Layer| -> u64 {
        layer.tensors(model.hidden).iter().map(|tensor| tensor.bytes(precision).0).sum()
    };
    let layers: Vec<u64> = model.layers.iter().map(of_layers).collect();
    let weight_bytes = layers.iter().sum::<u64>() + model.lm_head().bytes(precision).0;
    let cache = model.kv_bytes_per_token(precision).0.saturating_mul(scenario.context).max(1)
        + model.state_bytes_per_user(precision).0;
    // One layer is computed while the next arrives.
    let two_layers = layers.iter().copied().max().unwrap_or(0).saturating_mul(2);
    let memory = wafer.free_bytes().0.saturating_mul(wafer.columns()).saturating_mul(wafer.rows());
    let most_users = memory.saturating_sub(two_layers) / cache;
    let per_second = bandwidth_gb_s * 1e9;
    let way = way_without_links(question, answer);
    let mut counts = vec![1, scenario.users, most_users];
    counts.retain(|users| (1..=most_users).contains(users));
    counts.sort_unstable();
    counts.dedup();
    let mut passes = Vec::with_capacity(counts.len());
    for users in counts {
        let graph = OperatorGraph::of_model(model, PassLoad::decode(users, scenario.context), precision)?;
        let used = graph.weight_bytes_read().0.min(weight_bytes);
        passes.push(Pass::of(users, [used, weight_bytes], per_second, way));
    }
    let all = weight_bytes as f64 / per_second;
    Ok(WeightStreaming {
        bandwidth_gb_s,
        weight_bytes,
        most_users,
        resident_tokens_per_second_per_user: answer.tokens_per_second_per_user,
        resident_wafers: answer.wafers,
        balanced_users: all / way,
        bandwidth_for_resident_gb_s: weight_bytes as f64 * answer.tokens_per_second_per_user * 1e-9,
        passes,
    })
}

/// Seconds of a token's way through the answer's wafers, without those on links between them.
fn way_without_links(question: &Question, answer: &Answer) -> f64 {
    let on_wafers = answer.breakdown.iter().filter(|row| row.operator != LINKS);
    Cycles(on_wafers.map(|row| row.cycles).sum()).seconds(question.clock())
}

/// What a breakdown calls links between wafers.
const LINKS: &str = "between wafers";

impl Pass {
    fn of(users: u64, [used, all]: [u64; 2], per_second: f64, way: f64) -> Self {
        let streaming_s = Ranged { low: used as f64 / per_second, ..Ranged::known(all as f64 / per_second) };
        let compute_s = Ranged { low: way, ..Ranged::known(way * users as f64) };
        let pass_s = Ranged::of(|end| streaming_s.at(end).max(compute_s.at(end)));
        let speed = Ranged::of(|end| 1.0 / pass_s.at(end.other()));
        Self {
            users,
            used_bytes: used,
            streaming_s,
            compute_s,
            pass_s,
            tokens_per_second_per_user: speed,
            tokens_per_second: speed.times(users as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use wafersim_answer::answer_without_ranges;
    use wafersim_spec::{Model, Scenario, Wafer};

    use super::*;

    fn streamed(bandwidth: f64) -> (Answer, WeightStreaming) {
        let scenario = Scenario { context: 4096, prompt: 4096, users: 2, ..Scenario::default() };
        let model = Model::builtin("llama-3.1-8b").unwrap();
        let question = Question::new(scenario, model, Wafer::builtin("wse3").unwrap()).unwrap();
        let answer = answer_without_ranges(&question).unwrap();
        let streamed = weight_streaming(&question, &answer, Some(bandwidth)).unwrap();
        (answer, streamed)
    }

    #[test]
    fn a_pass_is_as_long_as_the_longer_of_the_two() {
        let (answer, slow) = streamed(150.0);
        // 8.03 billion parameters, without the input embedding, one byte each (norms and the like two).
        assert!((slow.weight_bytes as f64 / 7.5e9 - 1.0).abs() < 0.05, "{}", slow.weight_bytes);
        let one = slow.passes[0];
        assert!((one.pass_s.value - slow.weight_bytes as f64 / 150e9).abs() < 1e-12, "links decide");
        assert!(one.tokens_per_second_per_user.high < answer.tokens_per_second_per_user);
        assert!((one.compute_s.value / (answer.time_per_output_token_us * 1e-6) - 1.0).abs() < 0.01, "one wafer");
        let (_, quick) = streamed(1e9);
        assert!((quick.passes[0].pass_s.value - quick.passes[0].compute_s.value).abs() < 1e-15, "compute decides");
        assert!(quick.balanced_users < 1.0 && slow.balanced_users > 1.0);
    }

    #[test]
    fn more_users_share_the_weights() {
        let (_, streamed) = streamed(150.0);
        let [one, .., all] = streamed.passes.as_slice() else { panic!("{streamed:?}") };
        assert_eq!((one.users, all.users), (1, streamed.most_users));
        assert!(all.tokens_per_second.value > one.tokens_per_second.value);
        for pass in &streamed.passes {
            let ends = [pass.pass_s.low, pass.pass_s.value, pass.pass_s.high];
            assert!(ends.is_sorted() && pass.used_bytes <= streamed.weight_bytes, "{pass:?}");
        }
    }

    #[test]
    fn a_bandwidth_is_a_number_above_0() {
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let question = Question::load(Scenario::default()).unwrap();
            let answer = answer_without_ranges(&question).unwrap();
            assert!(weight_streaming(&question, &answer, Some(wrong)).is_err(), "{wrong}");
        }
    }
}
