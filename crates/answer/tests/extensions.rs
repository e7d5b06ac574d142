//! Code from outside changes the answer and its hash, is refused with its id where it breaks its promise, and gives the
//! same bytes for any number of threads.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::sync::Arc;

use wafersim_answer::experts::{Comparison, compare};
use wafersim_answer::map::{MappingTimes, OwnObjective};
use wafersim_answer::plan::{Axes, Plan, plan};
use wafersim_answer::rows::Rows;
use wafersim_answer::{Answer, AnswerError, Effort, Question, answer, answer_without_ranges};
use wafersim_graph::layer::LayerOperation;
use wafersim_graph::{LayerGraph, OwnRewrite};
use wafersim_lower::{BuiltIn, Kernel};
use wafersim_mapping::experts::Dealt;
use wafersim_mapping::{
    Collective, Experts, Lines, Mapping, Own, OwnExperts, Recipe, Reduction, Rewrite, RoutingWeights, dealing,
};
use wafersim_place::experts::annealed::Annealing;
use wafersim_place::experts::assignment::Assignment;
use wafersim_place::experts::demand::Demand;
use wafersim_place::experts::strategies::{Strategy, Task};
use wafersim_program::collective::{Along, Tree, segment_tree_all_reduce};
use wafersim_program::{Action, Node, Program, Step};
use wafersim_spec::model::FeedForward;
use wafersim_spec::scenario::{ExpertPlacement, RoutingModel, WaferCount};
use wafersim_spec::{Model, Scenario, Size, Wafer};

/// A small mixture of experts.
fn model() -> Model {
    let mut model = Model::builtin("qwen3-30b-a3b").unwrap();
    model.layers.truncate(4);
    model
}

fn question(users: u64) -> Question {
    let scenario = Scenario {
        users,
        context: 2048,
        prompt: 256,
        wafers: WaferCount::Exactly(1),
        placement: ExpertPlacement::Linear,
        default_placement: false,
        ..Scenario::default()
    };
    Question::new(scenario, model(), Wafer::builtin("wse3").unwrap()).unwrap()
}

/// Every expert goes where the least is wanted so far, as `hybrid` does; or all into one rectangle.
struct Least {
    valid: bool,
}

impl Strategy for Least {
    fn name(&self) -> &str {
        "least"
    }

    fn assign(&self, task: &Task<'_>) -> Assignment {
        let (mut wanted, mut room) = (vec![0; task.cells], vec![task.room; task.cells]);
        let mut homes = vec![0; task.demand.experts()];
        for expert in task.demand.hottest_first() {
            let open = (0..task.cells).filter(|cell| room[*cell] > 0);
            let cell = open.min_by_key(|cell| wanted[*cell]).unwrap();
            (homes[expert], room[cell]) = (if self.valid { cell } else { 0 }, room[cell] - 1);
            wanted[cell] += task.demand.choices()[expert];
        }
        Assignment::single(task.cells, |expert| homes[expert], homes.len())
    }
}

fn own(valid: bool) -> OwnExperts {
    OwnExperts::new(Least { valid }).sharing(Size::Exactly(8))
}

struct Even;

impl RoutingWeights for Even {
    fn id(&self) -> String {
        "even".into()
    }

    fn weights(&self, experts: u64, _: u64) -> Vec<f64> {
        vec![7.0; experts as usize]
    }
}

fn without_names(answer: &Answer) -> Answer {
    let mut answer = answer.clone();
    (answer.load.placement, answer.load.routing) = Default::default();
    answer.load.extensions.clear();
    answer.provenance.input_hash.clear();
    answer
}

#[test]
fn an_own_placement_that_deals_as_a_built_in_one_gives_its_answer() {
    let mut hybrid = question(16);
    hybrid.scenario.placement = ExpertPlacement::Hybrid;
    let built_in = answer_without_ranges(&hybrid).unwrap();
    let mine = answer_without_ranges(&question(16).with_experts(own(true))).unwrap();
    assert_eq!(without_names(&mine), without_names(&built_in));
    assert_eq!(
        (mine.load.placement.as_str(), mine.load.extensions.as_slice()),
        ("least", &["experts: least".into()][..])
    );
    let linear = answer_without_ranges(&question(16)).unwrap();
    assert_ne!(mine.tokens_per_second_per_user.to_bits(), linear.tokens_per_second_per_user.to_bits());
    assert_ne!(mine.provenance.input_hash, linear.provenance.input_hash);
}

#[test]
fn an_own_placement_works_in_searches_and_tables_and_beside_no_other() {
    let searched = question(4).with_experts(own(true)).searching(Some(Effort::Quick));
    let found = searched.searched().unwrap();
    assert_eq!(found.recipe.own(), [("experts", "least")]);
    let table = |question: &Question, placements: Vec<ExpertPlacement>| {
        let axes = Axes { placements, users: vec![2, 4], ..Axes::of(&question.scenario) };
        plan(question, &axes, Default::default(), &Rows::none_known(&|_, _| Ok::<(), AnswerError>(())))
    };
    let asked = question(4).with_experts(own(true));
    let Plan { rows, .. } = table(&asked, vec![ExpertPlacement::Linear]).unwrap();
    assert!(rows.iter().all(|row| row.extensions == ["experts: least"] && row.fits));
    let alone = answer_without_ranges(&asked).unwrap().tokens_per_second_per_user;
    assert_eq!(rows[1].tokens_per_second_per_user, Some(alone));
    let said = table(&asked, vec![ExpertPlacement::Linear, ExpertPlacement::Spread]).unwrap_err().to_string();
    assert!(said.contains("'least': takes the place of 2 placements"), "{said}");
    let resolved = wafersim_answer::resolved_mapping(&question(4)).unwrap();
    let beside = asked.with_mapping(Some(Mapping::Resolved(Box::new(resolved))));
    assert!(answer_without_ranges(&beside).unwrap_err().to_string().contains("a recipe beside it"));
}

#[test]
fn an_own_placement_that_is_not_valid_is_refused() {
    let said = answer_without_ranges(&question(16).with_experts(own(false))).unwrap_err().to_string();
    assert!(said.contains("experts 'least'") && said.contains("at most 128 to one"), "{said}");
}

#[test]
fn an_own_routing_model_that_says_the_same_gives_the_same() {
    let mut uniform = question(16);
    uniform.scenario.routing = RoutingModel::Uniform;
    let (uniform, skewed) = (answer(&uniform).unwrap(), answer(&question(16)).unwrap());
    let mine = question(16).with_routing(Arc::new(Even)).unwrap();
    let said = answer(&mine).unwrap();
    assert_eq!((said.load.routing.as_str(), mine.own_code()), ("even", vec!["routing: even".to_owned()]));
    assert_eq!(said.profiles[&said.profile], uniform.profiles[&uniform.profile]);
    assert_ne!(said.tokens_per_second_per_user.to_bits(), skewed.tokens_per_second_per_user.to_bits());
    // The other assumption is that of the scenario.
    let alternatives = &said.uncertainty.as_ref().unwrap().toggles;
    let routing = alternatives.iter().find(|alternative| alternative.assumed == "even").unwrap();
    assert_eq!(routing.other, "skewed");
    // Another scenario about the same machine keeps it.
    let again = mine.asking(mine.scenario.clone()).unwrap();
    assert_eq!(again.input_hash(), mine.input_hash());
    assert_ne!(again.input_hash(), question(16).input_hash());
}

#[test]
fn own_code_gives_the_same_bytes_for_any_number_of_threads() {
    let said = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let asked = question(8).with_experts(own(true)).with_routing(Arc::new(Even)).unwrap();
        pool.install(|| serde_json::to_string(&answer_without_ranges(&asked).unwrap()).unwrap())
    };
    assert_eq!(said(1), said(3));
}

/// One of several steps of an operator twice, or a step that leaves the region.
struct Twice {
    leaves: bool,
}

impl Kernel for Twice {
    fn id(&self) -> String {
        format!("twice, leaves: {}", self.leaves)
    }

    fn write(&self, _: &mut Program, built_in: BuiltIn<'_>) -> Result<Option<Vec<Node>>, String> {
        if built_in.operator != "attention.output" || built_in.is_prefill {
            return Ok(None);
        }
        let mut body = built_in.body.to_vec();
        let compute = |node: &&Node| matches!(node, Node::Step(Step { action: Action::Compute(_), .. }));
        let mut again = body.iter().find(compute).cloned().ok_or("nothing is computed here")?;
        if let (Node::Step(step), true) = (&mut again, self.leaves) {
            step.region.columns += 1;
        }
        body.push(again);
        Ok(Some(body))
    }
}

#[test]
fn an_own_kernel_is_in_the_program_of_every_layer() {
    let recipe =
        || Some(Mapping::Recipe(Box::new(Recipe::builtin("waferllm").unwrap_or_else(|_| Recipe::published()))));
    let usual = answer_without_ranges(&question(1).with_mapping(recipe())).unwrap();
    let asked = question(1).with_kernel(Arc::new(Twice { leaves: false })).with_mapping(recipe());
    let mine = answer_without_ranges(&asked).unwrap();
    let cycles = |answer: &Answer, name: &str| answer.breakdown.iter().find(|row| row.operator == name).unwrap().cycles;
    assert!(cycles(&mine, "attention.output") > cycles(&usual, "attention.output"));
    assert!((cycles(&mine, "attention.scores") - cycles(&usual, "attention.scores")).abs() < 1e-6);
    assert_eq!(mine.load.extensions, ["kernel: twice, leaves: false"]);
    let wrong = question(1).with_kernel(Arc::new(Twice { leaves: true })).with_mapping(recipe());
    let said = answer_without_ranges(&wrong).unwrap_err().to_string();
    assert!(said.contains("'twice, leaves: true' for 'attention.output'"), "{said}");
}

/// One chain, but of the LM head.
struct NotForTheHead;

impl Collective for NotForTheHead {
    fn id(&self) -> String {
        "not for the head".into()
    }

    fn all_reduce(&self, program: &mut Program, lines: Lines, along: Along) -> Result<Vec<Node>, String> {
        if program.name == "LM head" {
            return Err("the head is too long".into());
        }
        let tree = Tree::of_sizes(lines.members, &[lines.members]).map_err(|error| error.to_string())?;
        Ok(segment_tree_all_reduce(program, &tree, lines.stride, along))
    }
}

#[test]
fn a_collective_that_refuses_the_lm_head_refuses_the_answer() {
    let mut recipe = Recipe::published();
    recipe.reductions.y = Reduction::Own(Own::collective(NotForTheHead));
    let asked = question(1).with_mapping(Some(Mapping::Recipe(Box::new(recipe))));
    let said = answer_without_ranges(&asked).unwrap_err().to_string();
    assert!(said.contains("the head is too long") && said.contains("final_norm"), "{said}");
}

/// All norms stand before their products.
struct NormsBefore;

impl OwnRewrite for NormsBefore {
    fn id(&self) -> String {
        "norms before".into()
    }

    fn rewrite(&self, layer: &mut LayerGraph) -> Result<(), String> {
        for operator in layer.operators_mut() {
            if let LayerOperation::Norm { riding } = &mut operator.operation {
                *riding = false;
            }
        }
        Ok(())
    }
}

#[test]
fn an_own_rewrite_is_in_every_layer_and_in_the_hash() {
    let best = || Some(Mapping::Recipe(Box::new(Recipe::builtin("best").unwrap())));
    let usual = answer_without_ranges(&question(1).with_mapping(best())).unwrap();
    let asked = question(1).with_mapping(best()).with_rewrite(Arc::new(NormsBefore));
    let mine = answer_without_ranges(&asked).unwrap();
    let cycles = |answer: &Answer, name: &str| answer.breakdown.iter().find(|row| row.operator == name).unwrap().cycles;
    assert!(cycles(&mine, "attention.norm") > cycles(&usual, "attention.norm"));
    assert_eq!(mine.load.extensions, ["rewrite: norms before"]);
    assert_ne!(mine.provenance.input_hash, usual.provenance.input_hash);
    // The ends have no graph: what they do is as before.
    assert!((cycles(&mine, "lm_head") - cycles(&usual, "lm_head")).abs() < 1e-6);
}

/// Gate and up of experts in two operations.
struct Apart;

impl OwnRewrite for Apart {
    fn id(&self) -> String {
        "gate and up apart".into()
    }

    fn rewrite(&self, layer: &mut LayerGraph) -> Result<(), String> {
        for operator in layer.operators_mut() {
            if let LayerOperation::GateUp { interleaved, .. } = &mut operator.operation {
                *interleaved = false;
            }
        }
        Ok(())
    }
}

/// What it does to prompts, the built-in rewrite that is left out does as well.
#[test]
fn an_own_rewrite_reaches_prompts() {
    let best = Recipe::builtin("best").unwrap();
    let by = |recipe: &Recipe| question(1).with_mapping(Some(Mapping::Recipe(Box::new(recipe.clone()))));
    let first = |question: &Question| answer_without_ranges(question).unwrap().time_to_first_token_ms;
    let mine = first(&by(&best).with_rewrite(Arc::new(Apart)));
    assert!(mine > first(&by(&best)));
    let mut without = best.clone();
    without.rewrites = best.rewrites.with(Rewrite::InterleavedGateUp, false);
    assert_eq!(mine.to_bits(), first(&by(&without)).to_bits());
}

/// As few tokens a second as can be.
struct Slow;

impl OwnObjective for Slow {
    fn id(&self) -> String {
        "slow".into()
    }

    fn value(&self, times: &MappingTimes<'_>) -> Option<f64> {
        Some(1.0 / times.seconds_per_token())
    }
}

#[test]
fn an_own_objective_decides_what_an_answer_works_by() {
    let mut dense = Model::builtin("llama-3.1-8b").unwrap();
    dense.layers.truncate(2);
    let scenario =
        Scenario { users: 2, wafers: WaferCount::Exactly(1), context: 2048, prompt: 0, ..Scenario::default() };
    let asked = Question::new(scenario, dense, Wafer::builtin("wse3").unwrap()).unwrap();
    let asked = asked.searching(Some(Effort::Quick));
    let fast = answer_without_ranges(&asked).unwrap();
    let slowest = asked.clone().with_objective(Arc::new(Slow));
    let slow = answer_without_ranges(&slowest).unwrap();
    assert!(slow.tokens_per_second_per_user < 0.7 * fast.tokens_per_second_per_user);
    assert_eq!(slow.load.extensions, ["objective: slow"]);
    let axes = Axes::of(&slowest.scenario);
    let rows = plan(&slowest, &axes, Default::default(), &Rows::none_known(&|_, _| Ok::<(), AnswerError>(()))).unwrap();
    assert_eq!(rows.rows[0].tokens_per_second_per_user, Some(slow.tokens_per_second_per_user));
    // Where nothing is searched, it has no say.
    let given = answer_without_ranges(&slowest.searching(None)).unwrap();
    assert_eq!(given.load.extensions, [""; 0]);
}

#[test]
fn strategies_from_outside_are_compared_with_the_others() {
    let asked = question(8);
    let FeedForward::Moe(moe) = &asked.model.layers[0].feed_forward else { panic!("no experts") };
    let demand = dealing::demand(moe, 8, RoutingModel::Skewed).unwrap();
    let demands: Vec<Demand> = vec![demand; asked.model.layers.len()];
    let compared = |strategies: &[&str], own: &[Arc<dyn Strategy>]| {
        let annealing = Annealing { moves: 10, restarts: 1, seed: 1 };
        let (past, future) = (&demands[..], &demands[..]);
        compare(&asked, &Comparison { batch: 8, past, future, strategies, own, sharing: &[8], annealing })
    };
    let found = compared(&["linear", "hybrid"], &[Arc::new(Least { valid: true })]).unwrap();
    let names: Vec<&str> = found.iter().map(|outcome| &*outcome.strategy).collect();
    assert_eq!(names, ["linear", "hybrid", "least"]);
    assert_eq!(found[2].time_per_output_token_us.to_bits(), found[1].time_per_output_token_us.to_bits());
    let refused = |strategies: &[&str], own: &[Arc<dyn Strategy>]| compared(strategies, own).unwrap_err().to_string();
    assert!(refused(&["linaer"], &[]).contains("strategy 'linaer': is not built in; allowed: spread"));
    assert!(refused(&[], &[Arc::new(Least { valid: false })]).contains("at most 128 to one"));
    assert!(
        refused(&[], &[Arc::new(Least { valid: true }), Arc::new(Least { valid: true })]).contains("id of another")
    );
}

#[test]
fn scenarios_that_mean_nothing_are_refused() {
    let asked = |change: fn(&mut Scenario)| {
        let mut scenario = question(1).scenario;
        change(&mut scenario);
        Question::new(scenario, model(), Wafer::builtin("wse3").unwrap()).map(|_| ()).unwrap_err().to_string()
    };
    assert!(asked(|scenario| scenario.users = 0).contains("users"));
    assert!(asked(|scenario| scenario.context = 0).contains("context"));
    assert!(asked(|scenario| scenario.target = f64::NAN).contains("target"));
    assert!(asked(|scenario| scenario.clock_ghz = Some(0.0)).contains("clock_ghz"));
}

/// A recipe has the name of its file of assignments; what stands in it counts too.
#[test]
fn what_a_file_of_assignments_says_is_in_the_hash() {
    let asked = |down: u64| {
        let homes = (0..128).map(|expert| vec![expert % 16]).collect();
        let dealt = Some(Dealt { across: 16 / down, down, homes, layers: Default::default() });
        let experts = Experts::File { file: "experts.toml".into(), dealt };
        let recipe = Recipe { experts, ..Recipe::default() };
        question(1).with_mapping(Some(Mapping::Recipe(Box::new(recipe)))).input_hash()
    };
    assert_ne!(asked(2), asked(4));
}
