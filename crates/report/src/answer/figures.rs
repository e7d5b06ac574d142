//! The figures that are asked for most, one a line.

use wafersim_answer::{Answer, Considered, LoadAsRun, Verified};
use wafersim_spec::Wafer;
use wafersim_spec::scenario::Acceptance;

use crate::certificate;
use crate::number::{count, duration, figure, plural, users, whole};
use crate::paragraph::{heading, labelled};
use crate::prefill;

pub(super) fn text(answer: &Answer, wafer: &Wafer) -> String {
    let mut text = heading(&format!("Answer (profile {})", answer.profile));
    let mut line = |label: &str, words: String| text.push_str(&labelled(label, &words));
    line(
        "each user",
        format!(
            "{} tok/s, {} per output token",
            figure(answer.tokens_per_second_per_user),
            duration(answer.time_per_output_token_us * 1e-6)
        ),
    );
    line("all users", all_users_line(answer));
    line(
        "first token",
        format!(
            "after {}, for a prompt of {} on an idle machine",
            duration(answer.time_to_first_token_ms * 1e-3),
            plural(answer.load.prompt, "token")
        ),
    );
    if let Some(prefill) = &answer.prefill {
        line("prompts", prefill::parts(prefill));
    }
    line("wafers", wafers_line(answer, wafer));
    if let Some(words) = considered_line(answer) {
        line("compared", words);
    }
    line("users", users_line(answer));
    if let Some(words) = fewer_line(answer) {
        line("fewer at once", words);
    }
    line("model", model_line(answer));
    if let Some(source) = &answer.load.precision_source {
        line("stored as", source.clone());
    }
    if !answer.load.model_notes.is_empty() {
        line("taken as", answer.load.model_notes.join("; "));
    }
    line("pipeline", pipeline_line(answer));
    if let Some(words) = speculation_line(&answer.load) {
        line("speculation", words);
    }
    line("certificate", certificate::state(&answer.certificate));
    text
}

fn wafers_line(answer: &Answer, wafer: &Wafer) -> String {
    let idle = answer.wafers.saturating_sub(answer.load.wafers_used);
    let idle =
        if idle > 0 { format!("; {idle} of them idle, which is faster than longer ways") } else { String::new() };
    let prompts = match (&answer.prefill, answer.wafers_in_all) {
        (Some(prefill), Some(all)) if prefill.wafers > 0 => {
            format!("; {} more for prompts, {} in all", whole(u64::from(prefill.wafers)), whole(u64::from(all)))
        }
        _ => String::new(),
    };
    format!("{} x {}, {}{idle}{prompts}", whole(u64::from(answer.wafers)), answer.wafer, wafer.title)
}

/// Speeds on the numbers of wafers that were compared.
fn considered_line(answer: &Answer) -> Option<String> {
    let one = |one: &Considered| format!("{}: {}", one.wafers, figure(one.tokens_per_second_per_user));
    let all: Vec<String> = answer.considered.iter().map(one).collect();
    let further = answer.considered_up_to.map_or_else(String::new, |most| format!("; none faster up to {most}"));
    (all.len() > 1).then(|| format!("tok/s: {}{further}", all.join(", ")))
}

/// What all users get, and what as many as fill the pipeline would get.
fn all_users_line(answer: &Answer) -> String {
    let now = format!("{} tok/s", figure(answer.tokens_per_second_total));
    let Some(said) = answer.profiles.get(&answer.profile) else { return now };
    let filling = said.full_pipeline_users;
    if filling <= answer.users {
        return now;
    }
    let speed = figure(said.full_pipeline_tokens_per_second);
    let room = if answer.max_users < filling { ", but their KV cache does not fit" } else { "" };
    format!("{now}; {} would fill the pipeline: {speed} tok/s{room}", plural(filling, "user"))
}

fn users_line(answer: &Answer) -> String {
    format!(
        "{} with {} in the KV cache each; full speed to {}, room for {}",
        whole(answer.users),
        plural(answer.context, "token"),
        users(answer.users_at_full_speed),
        users(answer.max_users)
    )
}

/// What fewer users at once would make, where that is more.
fn fewer_line(answer: &Answer) -> Option<String> {
    let fewer = answer.fewer_at_once.as_ref()?;
    let turns = fewer.tokens_per_second_total / answer.users as f64;
    Some(format!(
        "{} at once, the others waiting for their turn: {} tok/s in all, {} each while served, {} each in the mean",
        whole(fewer.users),
        figure(fewer.tokens_per_second_total),
        figure(fewer.tokens_per_second_per_user),
        figure(turns)
    ))
}

fn model_line(answer: &Answer) -> String {
    let precision = &answer.load.precision;
    format!(
        "{} parameters, {} active; weights {}, KV cache {} ({} a token), activations {}",
        count(answer.parameters.total),
        count(answer.parameters.active),
        precision,
        precision.kv_cache.name(),
        answer.kv_bytes_per_token,
        precision.activations.name()
    )
}

fn pipeline_line(answer: &Answer) -> String {
    let load = &answer.load;
    let mut words = format!(
        "{}, {} micro-batch{} of {} in flight",
        plural(load.stages, "stage"),
        whole(load.in_flight),
        if load.in_flight == 1 { "" } else { "es" },
        plural(load.micro_batch, "user"),
    );
    // In a model without experts a token uses every parameter.
    if answer.parameters.active < answer.parameters.total {
        words.push_str(&format!("; experts {}, routing {}", load.placement, load.routing));
    }
    if !load.extensions.is_empty() {
        words.push_str(&format!("; from outside: {}", load.extensions.join(", ")));
    }
    words
}

/// How drafts are verified, what they yield, and whether they pay.
fn speculation_line(load: &LoadAsRun) -> Option<String> {
    let (verified, gain) = (load.verification?, load.draft_gain?);
    let asked = &load.speculation;
    let way = match verified {
        Verified::MicroBatch => "in one pass, as a micro-batch",
        Verified::Stream => "one after the other, as a stream",
    };
    let accepted = match (asked.accepted_length, &asked.acceptance) {
        (Some(length), _) => format!("mean accepted length {length}"),
        (None, Acceptance::Preset(preset)) => format!("acceptance of {} ({})", preset.measured, preset.source),
        (None, acceptance) => format!("acceptance {acceptance}"),
    };
    let maker = asked.draft_model.as_ref().map(|model| format!(" by {model}")).unwrap_or_default();
    let verdict = if gain < 1.0 {
        format!("the draft costs more than it gives: {} times the speed without it", figure(gain))
    } else {
        format!("{} times the speed without a draft", figure(gain))
    };
    Some(format!(
        "a draft of {}{maker} takes {} and is verified {way}; {accepted}: {} tokens a step; {verdict}",
        asked.draft_length,
        duration(load.draft_time_us.unwrap_or(0.0) * 1e-6),
        figure(load.tokens_per_step),
    ))
}
