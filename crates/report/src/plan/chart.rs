//! A plan as a chart: speed of each user against tokens of all users.

use wafersim_answer::plan::{Plan, PlanRow};
use wafersim_picture::Chart;
use wafersim_picture::chart::{Frontier, MOST_SERIES, Scale, Sweep, SweepPoint, frontier};

use super::columns::Columns;
use crate::number::{figure, whole};

/// A curve for each group of rows that differ in their users alone, as many as a chart has colors for; nothing where no
/// row fits.
pub fn chart(plan: &Plan) -> Option<Chart> {
    let columns = Columns::of(plan);
    let contexts_vary = plan.rows.windows(2).any(|pair| pair[0].context != pair[1].context);
    let mut sweeps: Vec<Sweep> = Vec::new();
    let mut left_out = 0;
    for row in &plan.rows {
        let (Some(total), Some(per_user)) = (row.tokens_per_second_total, row.tokens_per_second_per_user) else {
            continue;
        };
        let point = SweepPoint { load: whole(row.users), total, per_user };
        let name = name(&columns, row, contexts_vary);
        if let Some(sweep) = sweeps.iter_mut().find(|sweep| sweep.name == name) {
            sweep.points.push(point);
        } else if sweeps.len() < MOST_SERIES {
            sweeps.push(Sweep { name, points: vec![point], knee: None });
        } else {
            left_out += 1;
        }
    }
    if sweeps.is_empty() {
        return None;
    }
    let mut caption = vec!["Labels are users; the line is the target.".to_owned()];
    if left_out > 0 {
        caption.push(format!("{left_out} rows of further groups are left out; the table has them."));
    }
    Some(frontier(&Frontier {
        title: format!("{} on {}, target {} tok/s for each user", plan.model, plan.wafer, figure(plan.target)),
        caption,
        sweeps,
        target: Some(plan.target),
        throughput: Scale::Logarithmic,
        speed: Scale::Linear,
    }))
}

fn name(columns: &Columns, row: &PlanRow, contexts_vary: bool) -> String {
    let mut words = columns.of_row(row);
    if contexts_vary {
        words.push(format!("context {}", whole(row.context)));
    }
    if words.is_empty() { format!("profile {}", row.profile) } else { words.join(", ") }
}
