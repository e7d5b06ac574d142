//! The three profiles side by side.

use wafersim_answer::{Answer, ProfileAnswer};
use wafersim_cost::Cause;

use crate::grid::{Grid, Side};
use crate::number::{duration, figure, share, whole};
use crate::paragraph::heading;

pub(super) fn text(answer: &Answer) -> String {
    let names = answer.profiles.keys().map(|profile| (profile.to_string(), Side::Right));
    let mut grid = Grid::new(std::iter::once((String::new(), Side::Left)).chain(names));
    let mut row = |label: &str, cell: &dyn Fn(&ProfileAnswer) -> String| {
        grid.row(std::iter::once(label.to_owned()).chain(answer.profiles.values().map(cell)));
    };
    row("tok/s each user", &|said| figure(said.tokens_per_second_per_user));
    row("tok/s all users", &|said| figure(said.tokens_per_second_total));
    row("reaches the target", &|said| if said.reaches_target { "yes" } else { "no" }.into());
    row("per output token", &|said| duration(said.time_per_output_token_us * 1e-6));
    row("first token", &|said| duration(said.time_to_first_token_ms * 1e-3));
    row("one pass", &|said| duration(said.latency_us * 1e-6));
    row("slowest stage", &|said| duration(said.slowest_stage_us * 1e-6));
    row("users at full speed", &|said| whole(said.users_at_full_speed));
    row("full pipeline: users", &|said| whole(said.full_pipeline_users));
    row("full pipeline: tok/s", &|said| figure(said.full_pipeline_tokens_per_second));
    for cause in Cause::ALL {
        row(&format!("of a pass: {}", cause.name()), &|said| {
            let all: f64 = said.causes.values().sum();
            let own = said.causes.get(cause.key()).copied().unwrap_or(0.0);
            share(if all > 0.0 { own / all } else { 0.0 })
        });
    }
    heading("Profiles") + &grid.text()
}
