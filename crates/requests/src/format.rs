//! The formats as data: which keys a file has by which it is known, what each key means, the unit of its times, the
//! block of its hashes. A new format of the usual kind is one more row of `PRESETS`, and its name in [`Format`].
//!
//! Sources: the formats' own documentation and code, listed in `docs/src/request-traces.md`.

use serde::{Deserialize, Serialize};

use crate::settings::TimeUnit;

/// The names of formats in `load.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// What the content says.
    #[default]
    Auto,
    /// `arrival_s,prompt_tokens,output_tokens`, and what [`crate::write`] writes.
    Plain,
    /// Azure LLM inference 2023 and 2024, LMM 2025.
    Azure,
    /// Mooncake FAST '25, and as AIPerf and Dynamo extend it.
    Mooncake,
    /// BurstGPT, 6 and 8 columns.
    BurstGpt,
    /// Qwen-Bailian usage traces.
    Bailian,
    /// TraceLab, CSV and JSON Lines.
    TraceLab,
    /// LLMServingSim: flat, agentic, and its measured runs.
    LlmServingSim,
    /// Vidur.
    Vidur,
    /// splitwise-sim.
    Splitwise,
    /// ServeGen chunks: a model of load.
    ServeGen,
    /// AIPerf: texts and turns, besides Mooncake's rows.
    AiPerf,
    /// Conversations of texts.
    ShareGpt,
}

impl Format {
    /// All names, as in settings.
    pub const NAMES: [&'static str; 13] = [
        "auto",
        "plain",
        "azure",
        "mooncake",
        "burstgpt",
        "bailian",
        "tracelab",
        "llmservingsim",
        "vidur",
        "splitwise",
        "servegen",
        "aiperf",
        "sharegpt",
    ];

    /// As in settings.
    pub const fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// What a key or column means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// When the request comes.
    Arrival,
    /// Tokens of the prompt.
    Prompt,
    /// Tokens of the answer.
    Output,
    /// Name of the session.
    Session,
    /// Hashes of the prompt's blocks.
    Hashes,
    /// Tokens of such a block, where the row says it.
    Block,
    /// Wait after the answer before it in the session.
    Delay,
    /// Wait after its own answer.
    WaitAfter,
    /// Tokens of the prompt that were there before.
    Kept,
    /// Tokens of the prompt that are new; with those kept, all of it.
    Appended,
    /// Place in the session.
    Turn,
    /// Number of the row, and of the row that it continues.
    Chat,
    /// See [`Role::Chat`].
    Parent,
    /// List of calls, each with tokens and the wait after it.
    Calls,
    /// List of events with dates, of which the request's begin and end are taken.
    Events,
    /// Text of the prompt.
    Text,
    /// List of messages of a conversation.
    Talk,
    /// List of turns, each with a text.
    Turns,
    /// Tells that rows wait for each other in ways that are not read.
    Graph,
}

impl Role {
    /// What a column is of, in words.
    pub(crate) const fn what(self) -> &'static str {
        match self {
            Self::Arrival => "times",
            Self::Prompt => "the tokens of prompts",
            Self::Output => "the tokens of answers",
            Self::Session => "sessions",
            Self::Hashes => "hashes",
            Self::Block => "the tokens of hashed blocks",
            Self::Delay | Self::WaitAfter => "waits",
            Self::Kept => "the tokens that are kept",
            Self::Appended => "the tokens that are added",
            Self::Turn => "the places in sessions",
            Self::Chat | Self::Parent => "conversations",
            Self::Calls | Self::Turns | Self::Graph => "calls",
            Self::Events => "events",
            Self::Text | Self::Talk => "texts",
        }
    }
}

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Columns with a header.
    Csv,
    /// Objects: a line each, over lines, or in an array.
    Json,
    /// ServeGen's chunks: six fields without a header.
    ServeGen,
}

/// In which order rows stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// In order of time: read as they come.
    Time,
    /// In any: collected, then put in order of time.
    Any,
    /// Rows of a session in any order too: by session, then by turn.
    Sessions,
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Preset {
    /// Under which names it is asked for; the first is its own.
    pub(crate) formats: &'static [Format],
    /// As it is called in messages.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Keys that are all there.
    pub(crate) signs: &'static [&'static str],
    /// Keys of which one is there, where there are any.
    pub(crate) one_of: &'static [&'static str],
    /// A text that stands in the first rows, where the keys do not tell.
    pub(crate) holds: &'static str,
    /// What keys mean; several names of one meaning are alternatives.
    pub(crate) columns: &'static [(Role, &'static str)],
    pub(crate) unit: TimeUnit,
    /// Tokens of a hashed block; 0 where there are no hashes.
    pub(crate) block: u32,
    /// Whether a last block that is not full may be without a hash.
    pub(crate) floors: bool,
    pub(crate) order: Order,
    /// Whether fractions of tokens are cut off, as the format's own reader does.
    pub(crate) cuts: bool,
}

use Role::{
    Appended, Arrival, Block, Calls, Chat, Delay, Events, Graph, Hashes, Kept, Output, Parent, Prompt, Session, Talk,
    Text, Turn, Turns, WaitAfter,
};

const PRESET: Preset = Preset {
    formats: &[],
    name: "",
    kind: Kind::Csv,
    signs: &[],
    one_of: &[],
    holds: "",
    columns: &[],
    unit: TimeUnit::S,
    block: 0,
    floors: false,
    order: Order::Time,
    cuts: false,
};

const AZURE: &[(Role, &str)] = &[(Arrival, "TIMESTAMP"), (Prompt, "ContextTokens"), (Output, "GeneratedTokens")];
const BURST: &[(Role, &str)] =
    &[(Arrival, "Timestamp"), (Prompt, "Request tokens"), (Output, "Response tokens"), (Session, "Session ID")];
const VIDUR: &[(Role, &str)] =
    &[(Arrival, "arrived_at"), (Prompt, "num_prefill_tokens"), (Output, "num_decode_tokens")];
const MOONCAKE: &[(Role, &str)] = &[
    (Arrival, "timestamp"),
    (Arrival, "created_time"),
    (Prompt, "input_length"),
    (Prompt, "input_tokens"),
    (Output, "output_length"),
    (Output, "output_tokens"),
    (Hashes, "hash_ids"),
    (Session, "session_id"),
    (Delay, "delay"),
    (Delay, "delay_ms"),
    (Graph, "wait_for"),
    (Graph, "tool_wait_ms"),
    (Graph, "branches"),
    (Text, "text_input"),
    // The whole prompt; how long the answer is, output_length says.
    (Text, "messages"),
];
const SERVING: &[(Role, &str)] = &[
    (Arrival, "arrival_time_ns"),
    (Prompt, "input_toks"),
    (Output, "output_toks"),
    (Session, "session_id"),
    (Calls, "sub_requests"),
];
const AIPERF: &[(Role, &str)] = &[
    (Arrival, "timestamp"),
    (Prompt, "input_length"),
    (Output, "output_length"),
    (Hashes, "hash_ids"),
    (Session, "session_id"),
    (Delay, "delay"),
    (Text, "text_input"),
    (Text, "text"),
    (Text, "texts"),
    (Text, "messages"),
    (Turns, "turns"),
];
const CONVERSATION: &[(Role, &str)] =
    &[(Session, "id"), (Talk, "conversations"), (Talk, "conversation"), (Talk, "messages"), (Talk, "items")];
/// Names of both are those of Mooncake's rows.
const BOTH: &[Format] = &[Format::Mooncake, Format::AiPerf];

/// The table. Of rows that fit, the first is taken.
pub(crate) const PRESETS: &[Preset] = &[
    Preset {
        formats: &[Format::Azure],
        name: "Azure LMM inference 2025",
        signs: &["TIMESTAMP", "ContextTokens", "GeneratedTokens", "NumImages"],
        columns: AZURE,
        unit: TimeUnit::Date,
        ..PRESET
    },
    Preset {
        formats: &[Format::Azure],
        name: "Azure LLM inference 2024",
        signs: &["TIMESTAMP", "ContextTokens", "GeneratedTokens"],
        holds: "+00:00",
        columns: AZURE,
        unit: TimeUnit::Date,
        ..PRESET
    },
    Preset {
        formats: &[Format::Azure],
        name: "Azure LLM inference 2023",
        signs: &["TIMESTAMP", "ContextTokens", "GeneratedTokens"],
        columns: AZURE,
        unit: TimeUnit::Date,
        ..PRESET
    },
    Preset {
        formats: &[Format::BurstGpt],
        name: "BurstGPT with sessions",
        signs: &["Timestamp", "Request tokens", "Response tokens", "Session ID"],
        columns: BURST,
        ..PRESET
    },
    Preset {
        formats: &[Format::BurstGpt],
        name: "BurstGPT",
        signs: &["Timestamp", "Request tokens", "Response tokens"],
        columns: BURST,
        ..PRESET
    },
    Preset {
        formats: &[Format::TraceLab],
        name: "TraceLab (CSV)",
        signs: &["round_idx", "prefix_len", "input_len", "output_len", "tool_wait_after_ms"],
        columns: &[
            (Arrival, "arrival_time"),
            (Session, "session_id"),
            (Session, "id"),
            (Turn, "round_idx"),
            (Kept, "prefix_len"),
            (Appended, "input_len"),
            (Output, "output_len"),
            (WaitAfter, "tool_wait_after_ms"),
        ],
        unit: TimeUnit::Ms,
        order: Order::Sessions,
        ..PRESET
    },
    Preset {
        formats: &[Format::Vidur],
        name: "Vidur",
        signs: &["arrived_at", "num_prefill_tokens", "num_decode_tokens"],
        columns: VIDUR,
        cuts: true,
        ..PRESET
    },
    Preset {
        formats: &[Format::Vidur],
        name: "Vidur, lengths only",
        signs: &["num_prefill_tokens", "num_decode_tokens"],
        columns: VIDUR,
        cuts: true,
        ..PRESET
    },
    Preset {
        formats: &[Format::Splitwise],
        name: "splitwise-sim",
        signs: &["arrival_timestamp", "prompt_size", "token_size"],
        columns: &[(Arrival, "arrival_timestamp"), (Prompt, "prompt_size"), (Output, "token_size")],
        ..PRESET
    },
    Preset {
        formats: &[Format::Plain],
        name: "plain CSV",
        signs: &["prompt_tokens", "output_tokens"],
        one_of: &["arrival_s", "delay_s"],
        columns: &[
            (Arrival, "arrival_s"),
            (Prompt, "prompt_tokens"),
            (Output, "output_tokens"),
            (Session, "session"),
            (Delay, "delay_s"),
            (Kept, "kept_tokens"),
            (Block, "block_tokens"),
            (Hashes, "hash_ids"),
        ],
        block: 512,
        floors: true,
        ..PRESET
    },
    Preset { formats: &[Format::ServeGen], name: "ServeGen chunk", kind: Kind::ServeGen, ..PRESET },
    Preset {
        formats: &[Format::LlmServingSim],
        name: "LLMServingSim, agentic",
        kind: Kind::Json,
        signs: &["sub_requests"],
        columns: SERVING,
        unit: TimeUnit::Ns,
        order: Order::Any,
        ..PRESET
    },
    Preset {
        formats: &[Format::LlmServingSim],
        name: "LLMServingSim",
        kind: Kind::Json,
        signs: &["input_toks", "output_toks", "arrival_time_ns"],
        columns: SERVING,
        unit: TimeUnit::Ns,
        order: Order::Any,
        ..PRESET
    },
    Preset {
        formats: &[Format::LlmServingSim],
        name: "LLMServingSim, a measured run",
        kind: Kind::Json,
        signs: &["input_toks", "output_toks", "arrival_time"],
        columns: &[(Arrival, "arrival_time"), (Prompt, "input_toks"), (Output, "output_toks")],
        order: Order::Any,
        ..PRESET
    },
    Preset {
        formats: &[Format::Bailian],
        name: "Qwen-Bailian",
        kind: Kind::Json,
        signs: &["chat_id", "timestamp", "input_length", "output_length"],
        columns: &[
            (Arrival, "timestamp"),
            (Prompt, "input_length"),
            (Output, "output_length"),
            (Hashes, "hash_ids"),
            (Chat, "chat_id"),
            (Parent, "parent_chat_id"),
        ],
        block: 16,
        floors: true,
        ..PRESET
    },
    Preset {
        formats: &[Format::TraceLab],
        name: "TraceLab (JSON Lines)",
        kind: Kind::Json,
        signs: &["newly_append_tokens", "timing_events"],
        columns: &[
            (Events, "timing_events"),
            (Session, "session_id"),
            (Turn, "round_index"),
            (Kept, "prefix_tokens"),
            (Appended, "newly_append_tokens"),
            (Output, "output_tokens"),
        ],
        unit: TimeUnit::Date,
        order: Order::Sessions,
        ..PRESET
    },
    Preset {
        formats: BOTH,
        name: "Mooncake with sessions or delays (AIPerf, Dynamo)",
        kind: Kind::Json,
        one_of: &["session_id", "delay", "delay_ms", "created_time"],
        signs: &["input_length"],
        columns: MOONCAKE,
        unit: TimeUnit::Ms,
        block: 512,
        ..PRESET
    },
    Preset {
        formats: BOTH,
        name: "Mooncake with sessions or delays (AIPerf, Dynamo)",
        kind: Kind::Json,
        signs: &["input_tokens", "output_tokens"],
        one_of: &["session_id", "delay", "delay_ms", "created_time", "timestamp"],
        columns: MOONCAKE,
        unit: TimeUnit::Ms,
        block: 512,
        ..PRESET
    },
    Preset {
        formats: BOTH,
        name: "Mooncake",
        kind: Kind::Json,
        signs: &["timestamp", "input_length", "output_length", "hash_ids"],
        columns: MOONCAKE,
        unit: TimeUnit::Ms,
        block: 512,
        ..PRESET
    },
    Preset {
        formats: BOTH,
        name: "Mooncake without hashes",
        kind: Kind::Json,
        signs: &["timestamp", "input_length", "output_length"],
        columns: MOONCAKE,
        unit: TimeUnit::Ms,
        block: 512,
        ..PRESET
    },
    Preset {
        formats: BOTH,
        name: "Mooncake without times",
        kind: Kind::Json,
        signs: &["input_length", "output_length"],
        columns: MOONCAKE,
        unit: TimeUnit::Ms,
        block: 512,
        ..PRESET
    },
    Preset {
        formats: &[Format::AiPerf],
        name: "AIPerf, texts or turns",
        kind: Kind::Json,
        one_of: &["text_input", "text", "texts", "turns"],
        columns: AIPERF,
        unit: TimeUnit::Ms,
        block: 512,
        ..PRESET
    },
    Preset {
        formats: &[Format::AiPerf],
        name: "AIPerf, messages",
        kind: Kind::Json,
        signs: &["messages", "output_length"],
        columns: AIPERF,
        unit: TimeUnit::Ms,
        block: 512,
        ..PRESET
    },
    Preset {
        formats: &[Format::ShareGpt],
        name: "ShareGPT conversations",
        kind: Kind::Json,
        one_of: &["conversations", "conversation", "messages", "items"],
        columns: CONVERSATION,
        ..PRESET
    },
];

/// A trace whose columns a user has named.
pub(crate) const NAMED: Preset = Preset { name: "columns of load.columns", floors: true, block: 512, ..PRESET };

/// What looks like a trace and is another thing: keys that are all there, what it is, how to get a trace from it.
pub(crate) const FOREIGN: &[(&[&str], &str, &str)] = &[
    (
        &["wait_for"],
        "Dynamo's agentic trace (a graph of calls)",
        "each agent's calls as turns of one session_id, with delay in ms after the answer before",
    ),
    (&["requests", "block_size"], "a Weka (AgentX) conversation, which does not say when conversations come", WEKA),
    (&["t", "in", "out"], "requests of a Weka (AgentX) conversation, which does not say when conversations come", WEKA),
    (&["trajectory"], "a SWE-agent trajectory, which has texts and no times", TEXTS),
    (&["type", "payload"], "a Codex rollout", "its normalised form, TraceLab's JSON Lines"),
    (&["payloads"], "AIPerf's inputs of whole API requests, which have texts and no lengths", TEXTS),
    (&["payload"], "a list of whole API requests, which have texts and no lengths", TEXTS),
    (&["captureData"], "a SageMaker data capture, which has texts and no lengths", TEXTS),
    (&["prompt"], "a data set of prompts (vLLM, GuideLLM), which has texts and no lengths", TEXTS),
    (&["routed_experts"], "a vLLM dump of routed experts, no requests", ROUTING),
    (&["prompt_routed_experts"], "a vLLM dump of routed experts, no requests", ROUTING),
    (&["logical_count"], "an SGLang expert distribution, no requests", ROUTING),
    (&["top_indices", "layer"], "a Megatron router trace, no requests", ROUTING),
    (&["layer", "expert"], "a llama.cpp trace of experts, no requests", ROUTING),
    (&["architectures"], "a model's config.json, no requests", "a trace of requests"),
    (&["ph", "ts"], "a Perfetto trace, no requests", "a trace of requests"),
];

const WEKA: &str = "plain CSV with a time for each conversation: arrival_s,prompt_tokens,output_tokens,session,delay_s";
const TEXTS: &str = "lengths, counted by a tokenizer: plain CSV with arrival_s,prompt_tokens,output_tokens";
const ROUTING: &str = "a trace of requests (experts are for simctl routing)";
