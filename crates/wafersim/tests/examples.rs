//! Every example runs, and shows what it says. Each is a module here: nothing has to be found among built programs.

macro_rules! examples {
    ($($path:literal $name:ident)*) => {
        $(
            #[allow(dead_code, reason = "an example has a main of its own")]
            #[path = $path]
            mod $name;
        )*
    };
}

examples! {
    "../examples/answer.rs" answer
    "../examples/collective.rs" collective
    "../examples/outside/src/main.rs" outside
    "../examples/own_mapping.rs" own_mapping
    "../examples/own_objective.rs" own_objective
    "../examples/own_placement.rs" own_placement
    "../examples/own_wafer.rs" own_wafer
    "../examples/routing_trace.rs" routing_trace
    "../examples/stream.rs" stream
    "../examples/sweep.rs" sweep
}

#[test]
fn an_answer_adds_up() {
    let answer = answer::run().unwrap();
    let shares: f64 = answer.breakdown.iter().map(|row| row.share).sum();
    assert!((shares - 1.0).abs() < 1e-9, "{shares}");
    assert_eq!(answer.verdict.state.is_reached(), answer.tokens_per_second_per_user >= 1000.0);
}

#[test]
fn a_collective_of_ones_own_is_read_by_cost_and_fabric_and_changes_the_answer() {
    let (fabric_over_closed_form, [best, mine]) = collective::run().unwrap();
    assert!((fabric_over_closed_form - 1.0).abs() < 0.05, "{fabric_over_closed_form}");
    assert_eq!(
        (best.load.extensions.len(), mine.load.extensions.as_slice()),
        (0, &["collective: even tree of 6".to_owned()][..])
    );
    assert_ne!(best.tokens_per_second_per_user.to_bits(), mine.tokens_per_second_per_user.to_bits());
    assert_ne!(best.provenance.input_hash, mine.provenance.input_hash);
}

/// `.ci/run` compiles it as the crate that it is.
#[test]
fn the_crate_outside_the_workspace_changes_what_it_gives() {
    outside::main().unwrap();
}

#[test]
fn a_mapping_of_ones_own_changes_the_answer() {
    let [best, mine] = own_mapping::run().unwrap();
    assert!(best > 0.0 && mine > 0.0 && (best - mine).abs() > 1.0, "{best} {mine}");
}

#[test]
fn an_objective_and_a_move_of_ones_own_lead_a_search() {
    let [without, with] = own_objective::run().unwrap();
    assert!(with < without, "our move proposes what nobody else does: {with} {without}");
}

#[test]
fn a_placement_of_ones_own_changes_the_answer() {
    let [linear, own] = own_placement::run().unwrap();
    assert_eq!((linear.load.placement.as_str(), own.load.placement.as_str()), ("linear", "back-and-forth"));
    assert!(own.tokens_per_second_per_user > linear.tokens_per_second_per_user, "hot experts lie apart");
    assert_ne!(linear.provenance.input_hash, own.provenance.input_hash);
}

#[test]
fn a_wafer_of_ones_own_changes_the_answer() {
    let [usual, large, fast] = own_wafer::run().unwrap();
    assert!(large.wafers < usual.wafers, "{} {}", large.wafers, usual.wafers);
    let faster = fast.tokens_per_second_per_user / large.tokens_per_second_per_user;
    // On one wafer there are no links, which do not follow the clock.
    assert!((faster / (1.4 / 1.1) - 1.0).abs() < 1e-9, "{faster}");
}

#[test]
fn dealing_in_turn_spreads_no_worse_than_chance() {
    let [neighbours, in_turn] = routing_trace::run().unwrap();
    // 64 pairs on 16 rectangles: 4 each where all is even, all 64 in one at worst.
    assert!((4.0..=64.0).contains(&neighbours) && (4.0..=64.0).contains(&in_turn), "{neighbours} {in_turn}");
}

#[test]
fn a_policy_of_ones_own_changes_a_run() {
    let [usual, mine] = stream::run().unwrap();
    assert_eq!(mine.machine.extensions, ["policy: turns of 16"]);
    assert_ne!(usual.outcome.totals, mine.outcome.totals);
    assert_ne!(usual.provenance.input_hash, mine.provenance.input_hash);
}

#[test]
fn slower_links_and_more_users_are_never_faster() {
    let rows = sweep::run().unwrap();
    assert_eq!(rows.len(), 6);
    for row in &rows {
        let mut better = rows.iter().filter(|other| other.latency <= row.latency && other.users <= row.users);
        assert!(better.all(|other| other.speed >= row.speed), "{} us, {} users", row.latency, row.users);
    }
}
