//! The three profiles side by side, and what no mapping beats.

use wafersim_answer::{Answer, ProfileAnswer, Services, Unbeaten};
use wafersim_cost::Cause;

use crate::grid::{Grid, Side};
use crate::number::{NOTHING, duration, figure, share, whole};
use crate::paragraph::{heading, wrapped};
use crate::production::{fractions, kind};

pub(super) fn text(answer: &Answer) -> String {
    let profiles = &answer.profiles;
    let bounds = [&profiles.no_mapping_beats, &profiles.no_mapping_beats_at_measured_rate];
    let names = profiles.keys().map(ToString::to_string);
    let names = names.chain(["no mapping beats".into(), "at measured rate".into()]).map(|name| (name, Side::Right));
    let mut grid = Grid::new(std::iter::once((String::new(), Side::Left)).chain(names));
    let mut row = |label: &str, cell: &dyn Fn(&ProfileAnswer) -> String, bound: &dyn Fn(&Unbeaten) -> String| {
        let cells = profiles.values().map(cell).chain(bounds.into_iter().map(bound));
        grid.row(std::iter::once(label.to_owned()).chain(cells));
    };
    let yes = |reached: bool| if reached { "yes" } else { "no" }.to_owned();
    let nothing = |_: &Unbeaten| NOTHING.to_owned();
    row("tok/s each user", &|said| figure(said.tokens_per_second_per_user), &|said| {
        figure(said.tokens_per_second_per_user)
    });
    row("tok/s all users", &|said| figure(said.tokens_per_second_total), &|said| figure(said.tokens_per_second_total));
    row("reaches the target", &|said| yes(said.reaches_target), &|said| yes(said.reaches_target));
    row("per output token", &|said| duration(said.time_per_output_token_us * 1e-6), &|said| {
        duration(said.time_per_output_token_us * 1e-6)
    });
    row("first token", &|said| duration(said.time_to_first_token_ms * 1e-3), &nothing);
    row("one pass", &|said| duration(said.latency_us * 1e-6), &|said| duration(said.latency_us * 1e-6));
    row("slowest stage", &|said| duration(said.slowest_stage_us * 1e-6), &nothing);
    row("users at full speed", &|said| whole(said.users_at_full_speed), &nothing);
    row("full pipeline: users", &|said| whole(said.full_pipeline_users), &nothing);
    row("full pipeline: tok/s", &|said| figure(said.full_pipeline_tokens_per_second), &nothing);
    for cause in Cause::ALL {
        let part = |said: &ProfileAnswer| {
            let all: f64 = said.causes.values().sum();
            let own = said.causes.get(cause.key()).copied().unwrap_or(0.0);
            share(if all > 0.0 { own / all } else { 0.0 })
        };
        row(&format!("of a pass: {}", cause.name()), &part, &nothing);
    }
    heading("Profiles") + &grid.text() + &answer.services.as_ref().map_or_else(String::new, services)
}

/// What services of this kind have made of the best that was found.
fn services(services: &Services) -> String {
    let Services { of_best, low_tokens_per_second_per_user: low, high_tokens_per_second_per_user: high, .. } = services;
    wrapped(
        "  ",
        &format!(
            "Services {} have made {}: {} to {} tok/s here.",
            kind(of_best),
            fractions(of_best),
            figure(*low),
            figure(*high)
        ),
    )
}
