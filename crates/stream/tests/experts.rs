//! What do experts take that tokens want together, or apart?
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use wafersim_answer::{Pipeline, Question};
use wafersim_spec::Scenario;
use wafersim_spec::scenario::{ExpertPlacement, Profile, RoutingModel};
use wafersim_stream::Time;
use wafersim_stream::experts::{ExpertDelay, ExpertSource, ExpertTimes, Popularity, RoutedLayer};

/// Every token wants the same experts, or each its own.
#[derive(Debug)]
struct Made {
    together: bool,
    token: u32,
}

impl ExpertSource for Made {
    fn choose(&mut self, _user: u32, layer: RoutedLayer, chosen: &mut Vec<u32>) {
        let RoutedLayer { experts, top_k, .. } = layer;
        let first = if self.together { 0 } else { self.token * top_k as u32 };
        self.token += 1;
        chosen.clear();
        chosen.extend((0..top_k as u32).map(|index| (first + index) % experts as u32));
    }
}

fn pipeline(placement: ExpertPlacement) -> Pipeline {
    let scenario = Scenario { placement, profile: Profile::Best, users: 64, context: 2048, ..Scenario::default() };
    Pipeline::new(Question::load(scenario).unwrap(), Some(4)).unwrap()
}

/// (time lost, all that stations take longer than expected) for four tokens.
fn four(pipeline: &Pipeline, together: bool) -> (Time, i64) {
    let mut longer = Vec::new();
    let mut times = ExpertTimes::new(pipeline, Box::new(Made { together, token: 0 }));
    let lost = times.draw(&[0, 1, 2, 3], 1, &mut longer);
    assert_eq!(longer.len(), pipeline.stations().len());
    (lost, longer.iter().sum())
}

#[test]
fn in_rectangles_tokens_that_want_the_same_experts_wait() {
    let pipeline = pipeline(ExpertPlacement::Clustered);
    let ((lost_together, together), (lost_apart, apart)) = (four(&pipeline, true), four(&pipeline, false));
    assert!(lost_together > Time::ZERO && together > apart);
    assert_eq!(lost_apart, Time::ZERO);
}

#[test]
fn spread_experts_cost_more_when_tokens_want_different_ones() {
    let pipeline = pipeline(ExpertPlacement::Spread);
    let ((lost_together, together), (lost_apart, apart)) = (four(&pipeline, true), four(&pipeline, false));
    assert!(lost_apart > Time::ZERO && apart > together);
    assert_eq!(lost_together, Time::ZERO);
}

fn layer(layer: u64, experts: u64) -> RoutedLayer {
    RoutedLayer { layer, index: layer as u32, experts, top_k: 8 }
}

#[test]
fn popularity_draws_different_experts_as_often_as_the_routing_says() {
    let mut source = Popularity::new(RoutingModel::Skewed, 1);
    let (mut chosen, mut counts) = (Vec::new(), vec![0u32; 160]);
    for _ in 0..20_000 {
        source.choose(0, layer(3, 160), &mut chosen);
        assert_eq!(chosen.len(), 8);
        chosen.iter().for_each(|expert| counts[*expert as usize] += 1);
        chosen.sort_unstable();
        chosen.dedup();
        assert_eq!(chosen.len(), 8);
    }
    counts.sort_unstable_by(|one, other| other.cmp(one));
    // Drawn without replacement the busiest is wanted less often than by its popularity, and far more often than the
    // mean.
    let busiest = f64::from(counts[0]) / 1000.0;
    assert!((5.0..12.0).contains(&busiest), "{busiest} times the mean");
    // Fewer experts than a token wants: all of them.
    source.choose(0, layer(4, 3), &mut chosen);
    chosen.sort_unstable();
    assert_eq!(chosen, [0, 1, 2]);
}
