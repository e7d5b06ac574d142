//! Lines of numbers: llama.cpp's traces, and matrices of counts.

use std::collections::BTreeMap;

use super::{Found, Imported, KNOWN, Shape, shortened, whole_counts};
use crate::counts::Counts;
use crate::error::RoutingError;

const PAIRS: &str = "llama.cpp layer,expert";
const INDEXED: &str = "llama.cpp phase,token,layer,rank,expert";
const MATRIX: &str = "a matrix of counts [layer][expert]";

pub fn imported(text: &str, shape: &Shape) -> Result<Imported, RoutingError> {
    let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let Some((_, first)) = lines.clone().next() else {
        return Err(RoutingError::import("an empty file", format!("known are {KNOWN}")));
    };
    let titles: Vec<String> = cells(first).map(|cell| cell.trim_matches('"').to_ascii_lowercase()).collect();
    let is_header = titles.iter().any(|cell| cell.parse::<f64>().is_err());
    let place = |names: &[&str]| titles.iter().position(|title| names.contains(&title.as_str()));
    if !is_header {
        return match titles.len() {
            2 => pairs(lines, (0, 1), shape),
            3.. => matrix(lines),
            _ => Err(RoutingError::import("lines of one number", format!("known are {KNOWN}"))),
        };
    }
    lines.next();
    let (layer, expert) = (place(&["layer", "layer_id"]), place(&["expert", "expert_id", "expert_ids"]));
    match (layer, expert, place(&["token"]), place(&["count"])) {
        (Some(layer), Some(expert), Some(token), _) => {
            let columns = Columns { phase: place(&["phase"]), token, layer, rank: place(&["rank"]), expert };
            indexed(lines, &columns, shape)
        }
        (Some(layer), Some(expert), None, Some(count)) => counted(lines, (layer, expert, count), shape),
        (Some(layer), Some(expert), None, None) => pairs(lines, (layer, expert), shape),
        _ => Err(RoutingError::import(
            "a table",
            format!(
                "columns {}; allowed: layer and expert, phase,token,layer,rank,expert, or a matrix without titles",
                shortened(first)
            ),
        )),
    }
}

fn cells(line: &str) -> impl Iterator<Item = &str> {
    line.split([',', ';', '\t']).map(str::trim)
}

/// A whole number of a line's cell.
fn number(line: u64, cells: &[&str], place: usize, format: &'static str) -> Result<u64, RoutingError> {
    let cell = cells.get(place).copied().unwrap_or("");
    cell.parse()
        .map_err(|_| RoutingError::import(format, format!("line {line}: '{}' is no whole number", shortened(cell))))
}

/// Most layers and experts that a line may name, so that a typing error does not fill the memory.
const MOST: u64 = 65_535;

struct Table {
    format: &'static str,
    rows: BTreeMap<u64, BTreeMap<u64, u64>>,
}

impl Table {
    fn add(&mut self, line: u64, (layer, expert): (u64, u64), count: u64) -> Result<(), RoutingError> {
        if layer > MOST || expert > MOST {
            let reason = format!("line {line}: layer {layer}, expert {expert}; allowed: 0 to {MOST}");
            return Err(RoutingError::import(self.format, reason));
        }
        let sum = self.rows.entry(layer).or_default().entry(expert).or_default();
        *sum = sum.saturating_add(count);
        Ok(())
    }

    fn counts(self, shape: &Shape) -> Result<Imported, RoutingError> {
        let least = self.rows.values().flat_map(BTreeMap::keys).max().map_or(0, |most| most + 1);
        let experts = shape.experts.map_or(least, u64::from);
        if least > experts {
            let reason = format!("expert {}; allowed: 0 to {} of the model", least - 1, experts.saturating_sub(1));
            return Err(RoutingError::import(self.format, reason));
        }
        let row = |counts: &BTreeMap<u64, u64>| {
            (0..experts).map(|expert| counts.get(&expert).copied().unwrap_or(0)).collect()
        };
        let mut counts = Counts::new(self.rows.values().map(row).collect(), self.format)?;
        if shape.experts.is_none() {
            counts
                .note
                .push_str(&format!("; {experts} experts, as high as the ids go (--model says how many there are)"));
        }
        Ok(Imported::Counts(counts))
    }
}

type Lines<'a> = (u64, &'a str);

/// A choice in each line; several, parted by blanks, in a cell of `expert_ids`.
fn pairs<'a>(
    lines: impl Iterator<Item = Lines<'a>>,
    (layer, expert): (usize, usize),
    shape: &Shape,
) -> Result<Imported, RoutingError> {
    let mut table = Table { format: PAIRS, rows: BTreeMap::new() };
    for (line, text) in lines {
        let cells: Vec<&str> = cells(text).collect();
        let layer = number(line, &cells, layer, PAIRS)?;
        let several = cells.get(expert).copied().unwrap_or("");
        for (place, _) in several.split_whitespace().enumerate() {
            let ids: Vec<&str> = several.split_whitespace().collect();
            table.add(line, (layer, number(line, &ids, place, PAIRS)?), 1)?;
        }
        if several.is_empty() {
            number(line, &cells, expert, PAIRS)?;
        }
    }
    table.counts(shape)
}

fn counted<'a>(
    lines: impl Iterator<Item = Lines<'a>>,
    (layer, expert, count): (usize, usize, usize),
    shape: &Shape,
) -> Result<Imported, RoutingError> {
    const FORMAT: &str = "a table of layer, expert and count";
    let mut table = Table { format: FORMAT, rows: BTreeMap::new() };
    for (line, text) in lines {
        let cells: Vec<&str> = cells(text).collect();
        let of = |place| number(line, &cells, place, FORMAT);
        table.add(line, (of(layer)?, of(expert)?), of(count)?)?;
    }
    table.counts(shape)
}

fn matrix<'a>(lines: impl Iterator<Item = Lines<'a>>) -> Result<Imported, RoutingError> {
    let row = |(line, text): Lines<'a>| {
        let number = |cell: &str| {
            let wrong = || RoutingError::import(MATRIX, format!("line {line}: '{}' is no number", shortened(cell)));
            cell.parse::<f64>().map_err(|_| wrong())
        };
        cells(text).filter(|cell| !cell.is_empty()).map(number).collect::<Result<Vec<f64>, _>>()
    };
    whole_counts(lines.map(row).collect::<Result<_, _>>()?, MATRIX)
}

/// Rank and expert of the choices of a token, by layer.
type RankedLayers = BTreeMap<u64, Vec<(u64, u64)>>;

struct Columns {
    phase: Option<usize>,
    token: usize,
    layer: usize,
    rank: Option<usize>,
    expert: usize,
}

/// Prompt and answer count their tokens apart: the prompt comes first.
fn indexed<'a>(
    lines: impl Iterator<Item = Lines<'a>>,
    columns: &Columns,
    shape: &Shape,
) -> Result<Imported, RoutingError> {
    let mut phases: Vec<&str> = Vec::new();
    let mut tokens: BTreeMap<(usize, u64), RankedLayers> = BTreeMap::new();
    for (line, text) in lines {
        let cells: Vec<&str> = cells(text).collect();
        let of = |place| number(line, &cells, place, INDEXED);
        let phase = columns.phase.and_then(|place| cells.get(place).copied()).unwrap_or("");
        let phase = phases.iter().position(|known| *known == phase).unwrap_or_else(|| {
            phases.push(phase);
            phases.len() - 1
        });
        let rank = columns.rank.map_or(Ok(0), of)?;
        let layers = tokens.entry((phase, of(columns.token)?)).or_default();
        layers.entry(of(columns.layer)?).or_default().push((rank, of(columns.expert)?));
    }
    let mut by_token = Vec::with_capacity(tokens.len());
    for layers in tokens.into_values() {
        let ordered = layers.into_values().map(|mut ranked| {
            ranked.sort_by_key(|(rank, _)| *rank);
            ranked.into_iter().map(|(_, expert)| expert).collect()
        });
        by_token.push(ordered.collect());
    }
    Found { format: INDEXED, tokens: by_token }.trace(shape)
}
