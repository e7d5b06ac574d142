//! The lists of `plan`: what was asked, from flags, `--set` and the scenario file, else the usual loads.

use clap::Args;
use wafersim::answer::plan::Axes;
use wafersim::spec::scenario::{CONTEXT_BEYOND_POSITIONS, ExpertPlacement, Profile, WaferCount};
use wafersim::spec::{DataType, Model, Scenario, ScenarioFile};

use crate::choice::{self, ALL};
use crate::failure::Failure;
use crate::layers::{Layers, set};

const USUAL_USERS: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];
const USUAL_CONTEXTS: [u64; 3] = [8 << 10, 32 << 10, 128 << 10];
/// Most points of one plan.
const MOST_POINTS: usize = 1_000_000;

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
    /// Whose kernels are assumed, a list or `all` [default: waferllm].
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = choice::profiles_or_all())]
    profile: Vec<String>,
    /// Where the routed experts live, a list or `all` [default: spread].
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = choice::placements_or_all())]
    placement: Vec<String>,
}

impl AxisFlags {
    /// The lists of a plan for `model`. `scenario` is what all layers say together.
    pub fn axes(&self, layers: &Layers, scenario: &Scenario, model: &Model) -> Result<Axes, Failure> {
        let list = |flag, path, items: &[String]| Axis { flag, path, layers }.given(items);
        let users = list("--users", "users", &self.users)?;
        let contexts = list("--context", "context", &self.context)?;
        let wafers = list("--wafers", "wafers", &self.wafers)?;
        let weights = list("--weights", "precision.weights", &self.weights)?;
        let profiles = list("--profile", "profile", &with_all(&self.profile, Profile::NAMES))?;
        let placements = list("--placement", "placement", &with_all(&self.placement, ExpertPlacement::NAMES))?;
        let axes = Axes {
            users: values(&users, |file| file.users, || USUAL_USERS.to_vec()),
            contexts: values(&contexts, |file| file.context, || usual_contexts(model)),
            wafers: values(&wafers, |file| file.wafers, || vec![WaferCount::Auto]),
            weights: values(&weights, |file| file.precision.weights, || vec![scenario.precision.weights]),
            profiles: values(&profiles, |file| file.profile, || vec![scenario.profile]),
            placements: values(&placements, |file| file.placement, || vec![scenario.placement]),
        };
        let points = axes.points();
        if points > MOST_POINTS {
            return Err(Failure::Flag {
                flag: "plan".into(),
                problem: format!("the lists make {points} points"),
                allowed: format!("at most {MOST_POINTS} points: give shorter lists, or several plans"),
            });
        }
        Ok(axes)
    }
}

/// One list: its flag, and the setting that it is a list of.
struct Axis<'a> {
    flag: &'static str,
    path: &'static str,
    layers: &'a Layers,
}

impl Axis<'_> {
    /// A scenario file for each value: those of `--set`, else of the flag, else of the scenario file.
    fn given(&self, items: &[String]) -> Result<Vec<ScenarioFile>, Failure> {
        let is_set = self.layers.sets != ScenarioFile::default();
        let flagged: Result<Vec<ScenarioFile>, Failure> = items
            .iter()
            .map(|item| {
                let mut file = ScenarioFile::default();
                set(&mut file, self.flag, self.path, item).map(|()| file)
            })
            .collect();
        let mut layers = Vec::new();
        if is_set {
            layers.push(self.layers.sets.clone());
        }
        layers.extend(flagged?);
        layers.push(self.layers.file.clone());
        Ok(layers)
    }
}
