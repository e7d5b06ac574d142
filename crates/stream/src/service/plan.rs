//! A plan: what an organisation may ask for in a minute, an hour and a day, how much is reserved for an answer before
//! it is made, and what tokens cost. Plans are TOML files; those of `sim/scenarios/service/` are built in.
//!
//! What is published of services on wafers is in each file with its evidence. Whether a reservation comes back when an
//! answer is shorter is not published; it is a setting.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wafersim_spec::SpecError;

use crate::error::StreamError;
use crate::time::Time;

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counted {
    /// Requests that were let in.
    Requests,
    /// Tokens of prompts and answers; of prompts those in the cache too, unless the plan says otherwise.
    Tokens,
    /// Tokens without those that the cache had.
    UncachedTokens,
}

impl Counted {
    /// As in names of headers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::UncachedTokens => "uncached-tokens",
        }
    }
}

/// The time of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// 60 s.
    Minute,
    /// 3,600 s.
    Hour,
    /// 86,400 s.
    Day,
}

impl Window {
    /// Its length.
    pub const fn time(self) -> Time {
        const SECOND: u64 = 1_000_000_000_000;
        match self {
            Self::Minute => Time(60 * SECOND),
            Self::Hour => Time(3600 * SECOND),
            Self::Day => Time(86_400 * SECOND),
        }
    }

    /// As in names of headers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

/// So much of something in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// Of what.
    pub counted: Counted,
    /// In which time.
    pub window: Window,
    /// How much.
    pub quota: u64,
}

/// Dollars per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Of prompts.
    pub input: f64,
    /// Of what of prompts was in the cache; as others where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached: Option<f64>,
    /// Of answers.
    pub output: f64,
}

/// A plan, checked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServicePlan {
    /// Its name.
    pub name: String,
    /// Its limits, in the order of the file: requests, tokens, uncached tokens; minute, hour, day.
    pub limits: Vec<Limit>,
    /// Longest request, prompt and answer, in tokens; the machine's where left out.
    pub context: Option<u32>,
    /// Longest answer in tokens.
    pub answer: Option<u32>,
    /// Tokens that are reserved where a client names no largest answer.
    pub usual_reserve: u32,
    /// Tokens that are reserved for an answer at most.
    pub largest_reserve: u32,
    /// Whether what was reserved and not used comes back when the answer ends.
    pub refund: bool,
    /// Whether tokens of a prompt that the cache has count as others.
    pub counts_cached: bool,
    /// Requests that may wait for room before more are refused.
    pub queue: Option<u64>,
    /// Simulated seconds that a request may wait for room.
    pub deadline: Option<f64>,
    /// Seconds that a block of the cache lives which nobody uses.
    pub cache_life: Option<f64>,
    /// What tokens cost.
    pub price: Option<Price>,
    /// Dollars a month.
    pub monthly: Option<f64>,
    /// What each figure rests on, by the name of its field.
    pub evidence: BTreeMap<String, String>,
}

/// What a user wrote.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ServicePlanFile {
    name: Option<String>,
    requests: LimitsFile,
    tokens: LimitsFile,
    uncached_tokens: LimitsFile,
    context: Option<u32>,
    answer: Option<u32>,
    usual_reserve: Option<u32>,
    largest_reserve: Option<u32>,
    refund: Option<bool>,
    counts_cached: Option<bool>,
    queue: Option<u64>,
    deadline: Option<f64>,
    cache_life: Option<f64>,
    price: Option<Price>,
    monthly: Option<f64>,
    evidence: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsFile {
    minute: Option<u64>,
    hour: Option<u64>,
    day: Option<u64>,
}

/// Reserved at admission where the client names nothing, and the most that is: a client's maintainer on what the
/// vendor told him (September 2026).
const USUAL_RESERVE: u32 = 16_384;
/// Most of a limit: what a bucket can count without losing a token.
const MOST: u64 = 1_000_000_000_000;

/// Plans that are built in, by name.
const BUILT_IN: [(&str, &str); 10] = [
    ("none", include_str!("../../scenarios/service/none.toml")),
    ("coding", include_str!("../../scenarios/service/coding.toml")),
    ("coding-glm", include_str!("../../scenarios/service/coding-glm.toml")),
    ("free", include_str!("../../scenarios/service/free.toml")),
    ("free-coder", include_str!("../../scenarios/service/free-coder.toml")),
    ("free-glm", include_str!("../../scenarios/service/free-glm.toml")),
    ("free-gpt-oss", include_str!("../../scenarios/service/free-gpt-oss.toml")),
    ("developer", include_str!("../../scenarios/service/developer.toml")),
    ("developer-glm", include_str!("../../scenarios/service/developer-glm.toml")),
    ("developer-gpt-oss", include_str!("../../scenarios/service/developer-gpt-oss.toml")),
];

impl ServicePlan {
    /// Names of the plans that are built in.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// A plan that is built in.
    ///
    /// # Errors
    /// Where there is none of that name; with the names that there are.
    pub fn built_in(name: &str) -> Result<Self, StreamError> {
        let found = BUILT_IN.iter().find(|(known, _)| *known == name);
        let Some((_, text)) = found else {
            let names: Vec<&str> = Self::names().collect();
            return Err(StreamError::Setting {
                file: "plan".into(),
                field: "name".into(),
                problem: format!("there is no plan '{name}'"),
                allowed: format!("{}; or a TOML file, with .toml or a / in its name", names.join(", ")),
            });
        };
        Self::parse(text, name)
    }

    /// The plan that a TOML text describes. `file` is its name in messages.
    ///
    /// # Errors
    /// Where the text is no TOML, names a key that does not exist, or gives a value outside its range.
    pub fn parse(text: &str, file: &str) -> Result<Self, StreamError> {
        let read: ServicePlanFile = toml::from_str(text).map_err(|error| SpecError::Syntax {
            file: file.into(),
            detail: error.to_string().trim_end().to_owned(),
        })?;
        let refuse = |field: &str, problem: String, allowed: String| StreamError::Setting {
            file: file.into(),
            field: field.into(),
            problem,
            allowed,
        };
        let mut limits = Vec::new();
        let tables = [
            (Counted::Requests, "requests", &read.requests),
            (Counted::Tokens, "tokens", &read.tokens),
            (Counted::UncachedTokens, "uncached_tokens", &read.uncached_tokens),
        ];
        for (counted, name, table) in tables {
            for (window, quota) in
                [(Window::Minute, table.minute), (Window::Hour, table.hour), (Window::Day, table.day)]
            {
                let Some(quota) = quota else { continue };
                if !(1..=MOST).contains(&quota) {
                    let field = format!("{name}.{}", window.name());
                    return Err(refuse(&field, format!("is {quota}"), format!("a whole number from 1 to {MOST}")));
                }
                limits.push(Limit { counted, window, quota });
            }
        }
        let tokens = |field: &str, value: Option<u32>| match value {
            Some(0) => Err(refuse(field, "is 0".into(), "at least 1 token".into())),
            value => Ok(value),
        };
        let seconds = |field: &str, value: Option<f64>| match value {
            Some(value) if !(value > 0.0 && value <= 1e6) => {
                Err(refuse(field, format!("is {value}"), "a number above 0, up to 1000000 seconds".into()))
            }
            value => Ok(value),
        };
        let dollars = read.price.iter().flat_map(|price| {
            [
                Some(("price.input", price.input)),
                price.cached.map(|cached| ("price.cached", cached)),
                Some(("price.output", price.output)),
            ]
        });
        for (field, value) in dollars.flatten().chain(read.monthly.map(|value| ("monthly", value))) {
            if !(0.0..=1e6).contains(&value) {
                return Err(refuse(field, format!("is {value}"), "dollars from 0 to 1000000".into()));
            }
        }
        let usual_reserve = read.usual_reserve.unwrap_or(USUAL_RESERVE);
        Ok(Self {
            name: read.name.unwrap_or_else(|| file.to_owned()),
            limits,
            context: tokens("context", read.context)?,
            answer: tokens("answer", read.answer)?,
            usual_reserve,
            largest_reserve: read.largest_reserve.unwrap_or(USUAL_RESERVE).max(usual_reserve),
            refund: read.refund.unwrap_or(true),
            counts_cached: read.counts_cached.unwrap_or(true),
            queue: read.queue,
            deadline: seconds("deadline", read.deadline)?,
            cache_life: seconds("cache_life", read.cache_life)?,
            price: read.price,
            monthly: read.monthly,
            evidence: read.evidence,
        })
    }

    /// Tokens that are reserved for the answer of a request that names `most` as its largest.
    pub fn reserve(&self, most: Option<u32>) -> u32 {
        most.unwrap_or(self.usual_reserve).min(self.largest_reserve)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_of_a_built_in_plan_has_its_evidence() {
        for name in ServicePlan::names() {
            let plan = ServicePlan::built_in(name).expect("built in");
            assert_eq!(plan.name, name);
            let given = plan.limits.iter().map(|limit| limit.counted.name().to_owned());
            let others = [
                ("context", plan.context.is_some()),
                ("answer", plan.answer.is_some()),
                ("cache_life", plan.cache_life.is_some()),
                ("price", plan.price.is_some()),
                ("monthly", plan.monthly.is_some()),
            ];
            let others = others.into_iter().filter(|(_, is_given)| *is_given).map(|(field, _)| field.to_owned());
            for field in given.chain(others) {
                assert!(plan.evidence.contains_key(&field), "{name}: {field}");
            }
        }
    }

    #[test]
    fn wrong_plans_are_refused_by_field() {
        let said = |text: &str| ServicePlan::parse(text, "p.toml").expect_err("refused").to_string();
        assert_eq!(
            said("tokens = { minute = 0 }"),
            "p.toml: field 'tokens.minute': is 0; allowed: a whole number from 1 to 1000000000000"
        );
        assert!(said("token = { minute = 1 }").contains("unknown field `token`"));
        assert!(said("deadline = -1.0").contains("field 'deadline': is -1"));
        let unknown = ServicePlan::built_in("goldd").expect_err("no such plan").to_string();
        assert!(unknown.contains("no plan 'goldd'") && unknown.contains("coding"), "{unknown}");
    }

    #[test]
    fn an_answer_reserves_what_the_client_names_up_to_a_limit() {
        let plan = ServicePlan::built_in("coding").expect("built in");
        assert_eq!([None, Some(200), Some(64_000)].map(|most| plan.reserve(most)), [16_384, 200, 16_384]);
    }
}
