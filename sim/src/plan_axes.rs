//! The lists of `plan`: what was asked, from flags, `--set` and the scenario file, else the usual loads.

use clap::Args;
use wafersim::answer::plan::Axes;
use wafersim::report::number::whole;
use wafersim::spec::scenario::{CONTEXT_BEYOND_POSITIONS, ExpertPlacement, Profile};
use wafersim::spec::{Model, Scenario, ScenarioFile};

use crate::choice::{self, ALL};
use crate::failure::Failure;
use crate::layers::{Layers, set};

const USUAL_USERS: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];
const USUAL_CONTEXTS: [u64; 3] = [8 << 10, 32 << 10, 128 << 10];
/// Most points of one plan.
pub const MOST_POINTS: usize = 1_000_000;

/// The lists.
#[derive(Debug, Args)]
pub struct AxisFlags {
    /// Users served at the same time, a list [default: 1,2,4,8,16,32,64].
    #[arg(long, value_name = "LIST", value_delimiter = ',', allow_negative_numbers = true)]
    users: Vec<String>,
    /// Tokens in each user's KV cache and of the prompt, a list (32k is 32768) [default: 8k,32k,128k].
    #[arg(long, value_name = "LIST", value_delimiter = ',', allow_negative_numbers = true)]
    context: Vec<String>,
    /// Wafers to use, a list of numbers and `auto` [default: auto].
    #[arg(long, value_name = "LIST", value_delimiter = ',', allow_negative_numbers = true)]
    wafers: Vec<String>,
    /// Data types of weights, a list [default: fp8].
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = choice::data_types())]
    weights: Vec<String>,
    /// Data types of the KV cache, a list [default: bf16].
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = choice::data_types())]
    kv: Vec<String>,
    /// Which programs and rates, a list or `all` [default: best].
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = choice::profiles_or_all())]
    profile: Vec<String>,
    /// Where the routed experts live, a list or `all` [default: spread].
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = choice::placements_or_all())]
    placement: Vec<String>,
}

impl AxisFlags {
    /// Whether a list of formats of weights is given.
    pub const fn says_weights(&self) -> bool {
        !self.weights.is_empty()
    }

    /// Settings for which there is a list.
    pub fn listed(&self) -> impl Iterator<Item = &'static str> {
        let lists = [
            ("users", &self.users),
            ("context", &self.context),
            ("wafers", &self.wafers),
            ("precision.weights", &self.weights),
            ("precision.kv_cache", &self.kv),
            ("profile", &self.profile),
            ("placement", &self.placement),
        ];
        lists.into_iter().filter(|(_, list)| !list.is_empty()).map(|(path, _)| path)
    }

    /// The lists of a plan for `model`, usual ones where none are given; without a model the scenario's own values.
    /// `scenario` is what all layers say together.
    pub fn axes(&self, layers: &Layers, scenario: &Scenario, model: Option<&Model>) -> Result<Axes, Failure> {
        let profiles = with_all(&self.profile, Profile::NAMES);
        let placements = with_all(&self.placement, ExpertPlacement::NAMES);
        let list = |flag, path, items| List { layers, flag, path, items };
        let axes = Axes {
            users: list("--users", "users", &self.users)
                .values(|file| file.users, || model.map_or_else(|| vec![scenario.users], |_| USUAL_USERS.to_vec()))?,
            contexts: list("--context", "context", &self.context)
                .values(|file| file.context, || model.map_or_else(|| vec![scenario.context], usual_contexts))?,
            wafers: list("--wafers", "wafers", &self.wafers).values(|file| file.wafers, || vec![scenario.wafers])?,
            weights: list("--weights", "precision.weights", &self.weights)
                .values(|file| file.precision.weights, || vec![scenario.precision.weights])?,
            kv_caches: list("--kv", "precision.kv_cache", &self.kv)
                .values(|file| file.precision.kv_cache, || vec![scenario.precision.kv_cache])?,
            profiles: list("--profile", "profile", &profiles).values(|file| file.profile, || vec![scenario.profile])?,
            placements: list("--placement", "placement", &placements)
                .values(|file| file.placement, || vec![scenario.placement])?,
            prompt: None,
        };
        let points = axes.points();
        if points > MOST_POINTS {
            return Err(Failure::Flag {
                flag: "plan".into(),
                problem: format!("the lists make {} points", whole(points as u64)),
                allowed: format!(
                    "at most {} points; give shorter lists, or make several plans",
                    whole(MOST_POINTS as u64)
                ),
            });
        }
        Ok(axes)
    }
}

/// The values of one flag, and the setting that each is a value of.
struct List<'a> {
    layers: &'a Layers,
    flag: &'static str,
    path: &'static str,
    items: &'a [String],
}

impl List<'_> {
    /// What `--set` says, else the flag's list, else what the scenario file says, else the usual values.
    fn values<T>(
        &self,
        value: impl Fn(&ScenarioFile) -> Option<T>,
        usual: impl FnOnce() -> Vec<T>,
    ) -> Result<Vec<T>, Failure> {
        let mut flagged = Vec::with_capacity(self.items.len());
        for item in self.items {
            let mut file = ScenarioFile::default();
            set(&mut file, self.flag, self.path, item)?;
            flagged.extend(value(&file));
        }
        if let Some(only) = value(&self.layers.sets) {
            return Ok(vec![only]);
        }
        if !flagged.is_empty() {
            return Ok(flagged);
        }
        Ok(value(&self.layers.file).map_or_else(usual, |only| vec![only]))
    }
}

/// `all` written out.
fn with_all(items: &[String], names: &[&str]) -> Vec<String> {
    let mut written_out = Vec::with_capacity(items.len());
    for item in items {
        match item.as_str() {
            ALL => written_out.extend(names.iter().map(|name| (*name).to_owned())),
            name => written_out.push(name.to_owned()),
        }
    }
    written_out
}

/// The usual contexts that the model reaches; its longest one where it reaches none of them.
fn usual_contexts(model: &Model) -> Vec<u64> {
    let longest = model.max_positions.saturating_mul(CONTEXT_BEYOND_POSITIONS);
    let within: Vec<u64> = USUAL_CONTEXTS.into_iter().filter(|context| *context <= longest).collect();
    if within.is_empty() { vec![longest] } else { within }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes(flags: AxisFlags, file: &str, set: &[&str]) -> Result<Axes, Failure> {
        let sets: Vec<String> = set.iter().map(|text| (*text).to_owned()).collect();
        let mut layers = Layers::read(None, &sets)?;
        layers.file = ScenarioFile::parse(file, "test")?;
        flags.axes(&layers, &layers.check()?, Some(&Model::builtin("llama-3-8b")?))
    }

    fn flags(users: &str, profile: &str) -> AxisFlags {
        let list = |text: &str| text.split_terminator(',').map(str::to_owned).collect();
        let none = Vec::new;
        AxisFlags {
            users: list(users),
            profile: list(profile),
            context: none(),
            wafers: none(),
            weights: none(),
            kv: none(),
            placement: none(),
        }
    }

    #[test]
    fn set_wins_over_flags_and_flags_over_the_file() {
        let usual = axes(flags("", ""), "", &[]).unwrap();
        assert_eq!(usual.users, USUAL_USERS);
        assert_eq!(usual.contexts, [8192, 32_768], "llama-3-8b reaches 4 x 8192 positions");
        assert_eq!(axes(flags("", ""), "users = 5", &[]).unwrap().users, [5]);
        assert_eq!(axes(flags("1,2k", ""), "users = 5", &[]).unwrap().users, [1, 2048]);
        assert_eq!(axes(flags("1,2k", ""), "users = 5", &["users=7"]).unwrap().users, [7]);
        assert_eq!(axes(flags("", "all"), "", &[]).unwrap().profiles, Profile::ALL);
    }

    #[test]
    fn lists_that_are_too_long_are_refused() {
        let long = (1..=200_000).map(|users| users.to_string()).collect::<Vec<_>>().join(",");
        let error = axes(flags(&long, "all"), "", &[]).unwrap_err();
        assert!(error.to_string().contains("1,200,000 points"), "{error}");
        assert!(axes(flags("1,,2", ""), "", &[]).is_err());
    }
}
