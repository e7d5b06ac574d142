//! Every setting of a stream's scenario outside of its machine: path, what is allowed, what it means. A test holds the
//! list to the fields that files may have.

/// A setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamSetting {
    /// Path in the file and for `--set`.
    pub path: &'static str,
    /// What is allowed, in words.
    pub allowed: &'static str,
    /// What it means, with its unit and what counts where it is left out.
    pub meaning: &'static str,
}

const fn setting(path: &'static str, allowed: &'static str, meaning: &'static str) -> StreamSetting {
    StreamSetting { path, allowed, meaning }
}

const LENGTH: &str = "{ median = N, spread = S }, 1 to 16777216 tokens, 0 to 5";
const TOKENS: &str = "a whole number of tokens";
const SECONDS: &str = "a number from 0 to 1e6";
const ONE_UP: &str = "a whole number from 1";
const YES_NO: &str = "true, false";

/// All of them, table by table. Those of `[machine]` are the settings of other scenarios, with `machine.` before them.
pub const STREAM_SETTINGS: [StreamSetting; 71] = [
    setting("service.policy", "first_come, prefill_first, decode_first, chunked", "who goes next; chunked"),
    setting("service.budget", ONE_UP, "tokens of a round of the policy chunked; 512"),
    setting("service.micro_batch", ONE_UP, "users of a decoding pass at most; what is fastest"),
    setting("service.chunk", ONE_UP, "tokens of a chunk of a prompt at most; what is fastest"),
    setting("service.prompts", "soonest, least_work", "by what the way of a prompt is chosen; soonest"),
    setting("service.prefill", YES_NO, "whether prompts are computed on the wafers; true"),
    setting("service.admission", "whole, growing", "how room for keys and values is given; whole"),
    setting("service.prefix_cache", YES_NO, "whether equal prefixes are kept; false"),
    setting("service.host_memory_gb", "a number from 0 to 1e6", "host memory for blocks without a place, GB; 0"),
    setting("service.host_bandwidth", "a number from 0.001 to 1e6", "from the host, GB/s; the wafer's link"),
    setting("service.experts", "expected, sampled", "which experts tokens want; expected"),
    setting("service.plan", "a built-in plan, or a TOML file", "quotas; no service in between"),
    setting("service.replicas", "a whole number from 1 to 256", "machines behind a balancer; 1"),
    setting("service.balancer", "least_loaded, round_robin, sticky, prefix", "where a request goes; least_loaded"),
    setting("service.outages", "[{ replica = N, from = S, to = S }]", "when a machine is away, seconds; never"),
    setting("routing.trace", "a routing trace", "where the experts come from"),
    setting("routing.generator", YES_NO, "whether experts are drawn by the generator; false"),
    setting("routing.work", "mixed, coding", "generator: what users work on; coding"),
    setting("routing.kinds_of_work", "a whole number from 1 to 1024", "generator: kinds with other hot experts; 1"),
    setting("load.kind", "closed, open, sessions, tasks, trace", "who asks; closed"),
    setting("load.users", "a whole number from 1 to 1000000", "users, or agents; 1"),
    setting("load.think", SECONDS, "mean seconds to think; 0, of agents 30"),
    setting("load.rate", "a number from 1e-6 to 1e6", "open: requests a second; 1"),
    setting("load.variation", "a number from 0 to 100", "open: coefficient of variation between requests; 1"),
    setting("load.prompt", LENGTH, "closed, open: prompts; 1024"),
    setting("load.output", LENGTH, "answers; 256, of agents 214, of tasks 320"),
    setting("load.prefix", LENGTH, "agents: tokens at a session's beginning; 118656, of tasks 12400"),
    setting("load.longest", TOKENS, "agents: tokens at which a session ends; the longest request"),
    setting("load.common", TOKENS, "agents: tokens that all sessions begin with; 16384, of tasks 10000"),
    setting("load.append", LENGTH, "agents: new tokens of a step; 875, of tasks 1000"),
    setting("load.steps", "a number from 1 to 1e6", "agents: mean steps of a request, or an attempt; 8.8, 27"),
    setting("load.tool", SECONDS, "agents: factor on tool times; 1"),
    setting("load.tool_shortest", "a number from 1e-6 to 0.1", "agents: seconds of the shortest tool; 0.005"),
    setting("load.tool_longest", "a number from 192 to 1e6", "agents: seconds of the longest tool; 600"),
    setting("load.side", "{ when, prompt, output, delay }", "sessions: a small request beside; none"),
    setting("load.subagents", "{ share, count, steps, prompt, append, output }", "sessions: work in parallel; none"),
    setting("load.summary", TOKENS, "sessions: of the summary of one that is too long; 0, none is asked for"),
    setting("load.planning", "a number from 0 to 1000", "tasks: mean calls of planning; 3"),
    setting("load.plan", TOKENS, "tasks: tokens of the plan; 800"),
    setting("load.repeat", "a number from 0 to 0.99", "tasks: probability that a step is repeated; 0.1"),
    setting("load.check", SECONDS, "tasks: seconds of the tests of an attempt; 20"),
    setting("load.success", "a number from 0 to 1", "tasks: probability that an attempt succeeds; 0.624"),
    setting("load.attempts", "a whole number from 1 to 1000", "tasks: attempts at most; 3"),
    setting("load.repair", "a number from 0 to 100", "tasks: steps of a further attempt, in parts of the first; 0.5"),
    setting("load.tasks", ONE_UP, "tasks: how many in all; no end"),
    setting("load.file", "a trace of requests", "trace: its file"),
    setting("load.format", "see docs/src/request-traces.md", "trace: how it is written; by its content"),
    setting("load.columns", "a table of names", "trace: names of columns or keys"),
    setting("load.time_unit", "s, ms, us, ns, date", "trace: unit of its times"),
    setting("load.origin", "a time as the trace has it", "trace: what counts as 0; the first request"),
    setting("load.block", TOKENS, "trace: tokens of a hashed block"),
    setting("load.history", "as the trace has it", "trace: what prompts of later turns count; the whole"),
    setting("load.sort", YES_NO, "trace: whether it is put in order of time; false"),
    setting(
        "load.characters_per_token",
        "a number from 0.1 to 100",
        "trace: characters of a token, where it has texts",
    ),
    setting("load.speed", "a number from 0.001 to 1000", "trace: how many times as fast as recorded; 1"),
    setting("load.requests", ONE_UP, "most requests; no end"),
    setting("load.day", "24 numbers from 0 to 1000", "factors on what is asked, hour by hour; 1"),
    setting("load.starts", "a number from 0 to 24", "with load.day: the hour at which the run begins; 0"),
    setting("clients.profile", "a preset of docs/src/service.md", "how clients retry; openai-sdk"),
    setting("clients.max_tokens", ONE_UP, "tokens of an answer that they ask for at most; the preset's"),
    setting("clients.layers", "[{ retries, backoff, header }]", "layers of retries; the preset's"),
    setting("clients.organisations", ONE_UP, "accounts that users are dealt to; 1"),
    setting("clients.network", "a number from 0 to 1000", "seconds of a round trip; 0.05"),
    setting("clients.host", "a number from 0 to 1000", "seconds that the service's host adds; 0.004"),
    setting("clients.patience", SECONDS, "seconds until a user gives up what is refused; never"),
    setting("clients.deadline", "a number from 0.001 to 1e6", "seconds until a client hangs up and retries; never"),
    setting("run.warm_up", SECONDS, "seconds before the window; 0"),
    setting("run.window", "a number from 1e-6 to 1e6", "seconds of the window; 60"),
    setting("run.requests", ONE_UP, "requests after whose end the run ends"),
    setting("run.seed", "a whole number from 0", "seed of all random streams; 1"),
    setting("machine", "see the settings of other scenarios", "model, wafer, wafers, context, users, profile, ..."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::StreamFile;

    /// What a file may have, as its own errors say it.
    fn fields_of(table: &str) -> Vec<String> {
        let text = if table.is_empty() { "zzz = 1".to_owned() } else { format!("[{table}]\nzzz = 1") };
        let error = StreamFile::parse(&text, "test").expect_err("no such field").to_string();
        let (_, listed) = error.split_once("expected ").expect("a list of fields");
        listed.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn every_field_of_a_file_is_listed() {
        let tables = fields_of("");
        assert!(tables.len() >= 6, "{tables:?}");
        let mut all = vec!["machine".to_owned()];
        for table in tables.iter().filter(|table| *table != "machine") {
            all.extend(fields_of(table).into_iter().map(|field| format!("{table}.{field}")));
        }
        all.sort();
        let mut listed: Vec<&str> = STREAM_SETTINGS.iter().map(|setting| setting.path).collect();
        listed.sort_unstable();
        assert_eq!(listed, all);
    }
}
