//! Counts and times under the names that vLLM gives them, so that gateways and load generators find them; in seconds
//! as the client waits.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::machine::State;

type Labels = Vec<(&'static str, String)>;
type Number = Gauge<f64, AtomicU64>;

/// All metrics of a server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    running: Gauge,
    waiting: Gauge,
    kv_usage: Number,
    lag: Number,
    /// Tokens of prompts that were looked up in the prefix cache.
    pub prefix_queries: Counter,
    /// Of these, tokens that it had.
    pub prefix_hits: Counter,
    /// Tokens of prompts.
    pub prompt_tokens: Counter,
    /// Tokens of answers.
    pub generation_tokens: Counter,
    /// Requests whose answers ended, by `finished_reason`.
    success: Family<Labels, Counter>,
    /// Requests that came, by which retry their client says that they are.
    received: Family<Labels, Counter>,
    /// Requests that were not let in, by what was used up.
    refused: Family<Labels, Counter>,
    /// Requests that clients gave up.
    pub cancelled: Counter,
    /// Seconds to the first token.
    pub first_token: Histogram,
    /// Seconds between tokens.
    pub between_tokens: Histogram,
    /// Seconds from the request to the end of its answer.
    pub whole: Histogram,
    /// Seconds of waiting.
    pub queue: Histogram,
    /// Seconds of computing prompts.
    pub prefill: Histogram,
    /// Seconds from the first token to the last.
    pub decode: Histogram,
}

/// Largest number of a retry that is counted by itself.
const MOST_RETRIES: u8 = 20;

impl Metrics {
    /// Metrics of a model, all at zero.
    pub fn new(model: &str) -> Self {
        let label = ("model_name".into(), model.to_owned().into());
        let mut registry = Registry::with_labels([label].into_iter());
        // 0.1 ms to 14 min, and 10 us to 50 s.
        let seconds = || Histogram::new(exponential_buckets(1e-4, 2.0, 24));
        let steps = || Histogram::new(exponential_buckets(1e-5, 2.0, 23));
        let new = Self {
            running: Gauge::default(),
            waiting: Gauge::default(),
            kv_usage: Number::default(),
            lag: Number::default(),
            prefix_queries: Counter::default(),
            prefix_hits: Counter::default(),
            prompt_tokens: Counter::default(),
            generation_tokens: Counter::default(),
            success: Family::default(),
            received: Family::default(),
            refused: Family::default(),
            cancelled: Counter::default(),
            first_token: seconds(),
            between_tokens: steps(),
            whole: seconds(),
            queue: seconds(),
            prefill: seconds(),
            decode: seconds(),
            registry: Registry::default(),
        };
        let to = &mut registry;
        to.register("vllm:num_requests_running", "Requests that have room", new.running.clone());
        to.register("vllm:num_requests_waiting", "Requests that wait for room", new.waiting.clone());
        to.register("vllm:kv_cache_usage_perc", "Share of the room for keys and values in use", new.kv_usage.clone());
        let prefix = "Tokens of prompts looked up in the prefix cache";
        to.register("vllm:prefix_cache_queries", prefix, new.prefix_queries.clone());
        to.register("vllm:prefix_cache_hits", "Of these, tokens that it had", new.prefix_hits.clone());
        to.register("vllm:prompt_tokens", "Tokens of prompts", new.prompt_tokens.clone());
        to.register("vllm:generation_tokens", "Tokens of answers", new.generation_tokens.clone());
        to.register("vllm:request_success", "Requests whose answers ended", new.success.clone());
        to.register("vllm:time_to_first_token_seconds", "To the first token", new.first_token.clone());
        to.register("vllm:inter_token_latency_seconds", "Between tokens", new.between_tokens.clone());
        to.register("vllm:e2e_request_latency_seconds", "To the end of the answer", new.whole.clone());
        to.register("vllm:request_queue_time_seconds", "Waiting", new.queue.clone());
        to.register("vllm:request_prefill_time_seconds", "Computing the prompt", new.prefill.clone());
        to.register("vllm:request_decode_time_seconds", "From first token to last", new.decode.clone());
        let retry =
            "Requests that came, by the retry that x-stainless-retry-count says (OpenAI's SDKs: 0 is the first try)";
        to.register("wafersim:requests_received", retry, new.received.clone());
        to.register("wafersim:requests_refused", "Requests that were not let in", new.refused.clone());
        to.register("wafersim:requests_cancelled", "Requests that clients gave up", new.cancelled.clone());
        to.register("wafersim:lag_seconds", "How far the simulation is behind the clock", new.lag.clone());
        Self { registry, ..new }
    }

    /// A request came, which is this retry in the words of its client. What no SDK says is `unknown`, as is what is
    /// said beyond `MOST_RETRIES`: a client must not make names at will.
    pub fn received(&self, retry: Option<&str>) {
        let known = retry.and_then(|retry| retry.parse::<u8>().ok()).filter(|retry| *retry <= MOST_RETRIES);
        let retry = known.map_or_else(|| "unknown".to_owned(), |retry| retry.to_string());
        self.received.get_or_create(&vec![("retry", retry)]).inc();
    }

    /// An answer has ended.
    pub fn finished(&self, reason: &'static str) {
        self.success.get_or_create(&vec![("finished_reason", reason.to_owned())]).inc();
    }

    /// A request was not let in.
    pub fn refused(&self, code: &'static str) {
        self.refused.get_or_create(&vec![("code", code.to_owned())]).inc();
    }

    /// All of them as text, with the machine as it stands.
    pub fn text(&self, state: &State) -> String {
        let whole = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.running.set(whole(state.levels.in_service));
        self.waiting.set(whole(state.levels.room));
        self.kv_usage.set(state.used as f64 / state.capacity.max(1) as f64);
        self.lag.set(state.lag);
        let mut text = String::new();
        // Writing to a text does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_told_apart_and_make_no_names_at_will() {
        let metrics = Metrics::new("a-model");
        for retry in [Some("0"), Some("0"), Some("2"), None, Some("200"), Some("-1"), Some("x\"} 1")] {
            metrics.received(retry);
        }
        let mut text = String::new();
        encode(&mut text, &metrics.registry).expect("text");
        for (retry, count) in [("0", 2), ("2", 1), ("unknown", 4)] {
            let line = format!("wafersim:requests_received_total{{model_name=\"a-model\",retry=\"{retry}\"}} {count}");
            assert!(text.contains(&line), "{line}: {text}");
        }
    }

    #[test]
    fn names_are_those_of_vllm() {
        let metrics = Metrics::new("a-model");
        metrics.prompt_tokens.inc_by(5);
        metrics.finished("stop");
        let text = metrics.text(&State::default());
        for line in [
            "vllm:num_requests_running{model_name=\"a-model\"} 0",
            "vllm:prompt_tokens_total{model_name=\"a-model\"} 5",
            "vllm:request_success_total{model_name=\"a-model\",finished_reason=\"stop\"} 1",
            "vllm:time_to_first_token_seconds_count{model_name=\"a-model\"} 0",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
