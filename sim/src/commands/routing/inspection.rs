//! The statistics of a trace as text, JSON and CSV.

use wafersim::report::number::{plural, whole};
use wafersim::routing::Counts;
use wafersim::routing::statistics::{BATCHES, GROUPS, LayerStatistics, ROOMS, Statistics};

use crate::failure::Failure;
use crate::table::Table;

/// The word for the means over layers.
const MEAN: &str = "mean";

const DEFINITIONS: &str = "\
max/mean: choices of the busiest expert over the mean; Zipf: slope over the more popular half; top
20 %: part of the choices that the most popular fifth takes; before: part of a token's experts that
the same user's token before had; chance: what independent draws would share; any, in a row:
distinct experts of so many tokens drawn at random, or following each other; groups: busiest of so
many contiguous groups over the mean; LRU: part of the choices found in a cache for so many experts;
users: correlation of popularity between users; -: the trace cannot tell.
";

/// For people.
pub fn text(said: &Statistics) -> String {
    let header = &said.header;
    let mut text = format!(
        "{}: {} of {}, {} of {} experts in {}\n",
        header.model,
        plural(header.tokens, "token"),
        plural(said.users, "user"),
        whole(u64::from(header.top_k)),
        whole(u64::from(header.experts)),
        plural(u64::from(header.layers), "layer"),
    );
    if !header.note.is_empty() {
        text.push_str(&format!("{}\n", header.note));
    }
    text.push('\n');
    let mut popularity = Table::new(
        ["layer", "max/mean", "Gini", "entropy", "Zipf", "top 20 %", "users"]
            .map(str::to_owned)
            .into_iter()
            .chain(GROUPS.map(|groups| format!("{groups} groups"))),
    );
    let mut reuse = Table::new(
        ["layer", "before", "chance"]
            .map(str::to_owned)
            .into_iter()
            .chain(ROOMS.map(|room| format!("LRU {room}")))
            .chain(BATCHES.map(|batch| format!("any {batch}")))
            .chain(BATCHES.map(|batch| format!("in a row {batch}"))),
    );
    for (name, layer) in named(said) {
        let LayerStatistics { max_over_mean, gini, entropy, zipf_exponent, top_20_percent_share, .. } = layer;
        let mut row = vec![name.clone(), format!("{max_over_mean:.1}")];
        row.extend([gini, entropy, zipf_exponent, top_20_percent_share].map(|value| format!("{value:.2}")));
        row.push(known(layer.user_correlation, 2));
        row.extend(layer.group_imbalance.map(|value| known(value, 2)));
        popularity.row(row);
        let mut row = vec![name, known(layer.neighbour_overlap, 3), format!("{:.3}", layer.independent_overlap)];
        row.extend(layer.lru_hit_rate.map(|value| known(value, 2)));
        row.extend(layer.distinct_random.map(|value| format!("{value:.1}")));
        row.extend(layer.distinct_successive.map(|value| known(value, 1)));
        reuse.row(row);
    }
    format!("{text}{}\n{}\n{DEFINITIONS}", popularity.text(), reuse.text())
}

/// For programs.
pub fn json(said: &Statistics) -> Result<String, Failure> {
    crate::table::json(said)
}

/// One line for each layer, the means last.
pub fn csv(said: &Statistics) -> String {
    let groups = GROUPS.map(|groups| format!("imbalance_{groups}_groups"));
    let rooms = ROOMS.map(|room| format!("lru_{room}"));
    let random = BATCHES.map(|batch| format!("distinct_random_{batch}"));
    let successive = BATCHES.map(|batch| format!("distinct_successive_{batch}"));
    let first = [
        "layer",
        "max_over_mean",
        "gini",
        "entropy",
        "zipf_exponent",
        "top_20_percent_share",
        "neighbour_overlap",
        "independent_overlap",
        "user_correlation",
    ];
    let mut lines = vec![
        first
            .map(str::to_owned)
            .into_iter()
            .chain(groups)
            .chain(rooms)
            .chain(random)
            .chain(successive)
            .collect::<Vec<_>>(),
    ];
    for (name, layer) in named(said) {
        let number = |value: f64| format!("{value:.6}");
        let known = |value: Option<f64>| value.map_or_else(String::new, number);
        let mut line = vec![name];
        line.extend(
            [layer.max_over_mean, layer.gini, layer.entropy, layer.zipf_exponent, layer.top_20_percent_share]
                .map(number),
        );
        line.extend([known(layer.neighbour_overlap), number(layer.independent_overlap), known(layer.user_correlation)]);
        line.extend(layer.group_imbalance.map(known));
        line.extend(layer.lru_hit_rate.map(known));
        line.extend(layer.distinct_random.map(number));
        line.extend(layer.distinct_successive.map(known));
        lines.push(line);
    }
    lines.iter().map(|line| line.join(",") + "\n").collect()
}

fn named(said: &Statistics) -> impl Iterator<Item = (String, &LayerStatistics)> {
    let layers = said.layers.iter().enumerate().map(|(index, layer)| (index.to_string(), layer));
    layers.chain(std::iter::once((MEAN.to_owned(), &said.mean)))
}

fn known(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.digits$}"))
}

const OF_COUNTS: &str = "\
max/mean, Gini, entropy, Zipf, top 20 %, groups: as of a trace. Counts do not say which experts went
together in a token, which followed each other, nor which user's they were: overlap of neighbours,
reuse, distinct experts of a batch and correlation of users are not known.
";

/// What is known of counts, for people.
pub fn counts_text(counts: &Counts, file: &str) -> String {
    let layers = counts.layers.len() as u64;
    let mut text = format!(
        "{file}: choices of {} experts in {}\n{}\n\n",
        whole(u64::from(counts.experts)),
        plural(layers, "layer"),
        counts.note
    );
    let first = ["layer", "choices", "never", "max/mean", "Gini", "entropy", "Zipf", "top 20 %"].map(str::to_owned);
    let mut table = Table::new(first.into_iter().chain(GROUPS.map(|groups| format!("{groups} groups"))));
    for (layer, said) in counts.statistics().iter().enumerate() {
        let mut row = vec![layer.to_string(), whole(said.choices), whole(said.never)];
        row.push(format!("{:.1}", said.max_over_mean));
        let figures = [said.gini, said.entropy, said.zipf_exponent, said.top_20_percent_share];
        row.extend(figures.map(|value| format!("{value:.2}")));
        row.extend(said.group_imbalance.map(|value| known(value, 2)));
        table.row(row);
    }
    text.push_str(&format!("{}\n{OF_COUNTS}", table.text()));
    text
}

/// The same for programs: what is known, and in `not_known` what is not.
pub fn counts_json(counts: &Counts) -> Result<String, Failure> {
    crate::table::json(&serde_json::json!({
        "experts": counts.experts,
        "note": counts.note,
        "layers": counts.statistics(),
        "not_known": [
            "neighbour_overlap", "independent_overlap", "distinct_random", "distinct_successive", "lru_hit_rate",
            "user_correlation",
        ],
    }))
}

/// One line for each layer.
pub fn counts_csv(counts: &Counts) -> String {
    let groups = GROUPS.map(|groups| format!("imbalance_{groups}_groups")).join(",");
    let mut text =
        format!("layer,choices,never,max_over_mean,gini,entropy,zipf_exponent,top_20_percent_share,{groups}\n");
    for (layer, said) in counts.statistics().iter().enumerate() {
        let figures = [said.max_over_mean, said.gini, said.entropy, said.zipf_exponent, said.top_20_percent_share];
        let mut line = vec![layer.to_string(), said.choices.to_string(), said.never.to_string()];
        line.extend(figures.map(|value| format!("{value:.6}")));
        line.extend(said.group_imbalance.map(|value| value.map_or_else(String::new, |value| format!("{value:.6}"))));
        text.push_str(&format!("{}\n", line.join(",")));
    }
    text
}
