//! What GPUs do for a load, and what they cost: rows that were measured, or simulated by a published tool.
//!
//! Simulated rows are 0.7 to 2.3 times as fast as tuned servers were measured to be, mostly faster
//! (docs/src/cost.md): speeds are a band from what a row says down to half of it, unless it was measured.

use serde::{Deserialize, Serialize};

use crate::error::DecideError;
use crate::money::{Ranged, per_kwh, per_million};

const ROWS: &str = include_str!("../measurements/gpu.csv");
const PRICES: &str = include_str!("../measurements/gpu_prices.csv");

/// By how much a simulated row may be too fast.
pub const OPTIMISM: f64 = 2.0;

/// A server with a load.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct GpuRow {
    /// Its number in the table.
    pub id: String,
    /// The model.
    pub model: String,
    /// Its GPUs.
    pub system: String,
    /// How many.
    pub gpus: u32,
    /// Data types.
    pub precision: String,
    /// Software.
    pub engine: String,
    /// Users at the same time.
    pub users: u64,
    /// Tokens of each one's prompt.
    pub context: u64,
    /// Tokens a second of each user.
    pub tokens_per_second_per_user: f64,
    /// Tokens a second of all.
    pub tokens_per_second_total: f64,
    /// Whether somebody measured it; a published tool has simulated it where not.
    pub measured: bool,
    /// Where from.
    pub source: String,
}

#[derive(Deserialize)]
struct Written {
    id: String,
    model: String,
    system: String,
    gpus: String,
    precision: String,
    engine: String,
    batch: String,
    context_in: String,
    tok_s_user: Option<f64>,
    tok_s_total: Option<f64>,
    evidence: String,
    source: String,
}

/// What a GPU costs an hour, and what it draws.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GpuPrice {
    /// The GPU, as the systems' names begin.
    pub gpu: String,
    /// What the facility draws for each, in kW.
    pub kw: f64,
    /// USD an hour for a large owner.
    pub hyperscaler: f64,
    /// For a small one.
    pub neocloud: f64,
    /// Rented for three years.
    pub rental: f64,
    /// Rented by the hour.
    pub on_demand: Option<f64>,
    /// Who says so.
    pub evidence: String,
    /// Where.
    pub source: String,
}

impl GpuPrice {
    /// USD an hour from what a large owner pays to the price by the hour; in the middle, rented for three years.
    pub fn per_hour(&self) -> Ranged {
        let all = [self.hyperscaler, self.neocloud, self.rental, self.on_demand.unwrap_or(self.rental)];
        let (low, high) =
            all.iter().fold((f64::MAX, 0.0_f64), |(low, high), price| (low.min(*price), high.max(*price)));
        Ranged { low, value: self.rental, high }
    }
}

/// The prices of all GPUs that are known.
///
/// # Errors
/// None that a user can cause: the table is built in.
pub fn prices() -> Result<Vec<GpuPrice>, DecideError> {
    read(PRICES, "gpu_prices.csv")
}

/// The rows of a model that say how many users there were and how long their prompts: others say nothing of one user.
///
/// # Errors
/// None that a user can cause: the table is built in.
pub fn rows_of(model: &str) -> Result<Vec<GpuRow>, DecideError> {
    let written: Vec<Written> = read(ROWS, "gpu.csv")?;
    Ok(written.into_iter().filter(|row| row.model == model).filter_map(Written::row).collect())
}

fn read<T: for<'de> Deserialize<'de>>(text: &str, table: &'static str) -> Result<Vec<T>, DecideError> {
    let rows = csv::Reader::from_reader(text.as_bytes()).into_deserialize();
    rows.collect::<Result<_, csv::Error>>().map_err(|error| DecideError::Table { table, reason: error.to_string() })
}

impl Written {
    fn row(self) -> Option<GpuRow> {
        Some(GpuRow {
            users: self.batch.parse().ok()?,
            context: self.context_in.parse().ok()?,
            gpus: self.gpus.parse().ok()?,
            tokens_per_second_per_user: self.tok_s_user?,
            tokens_per_second_total: self.tok_s_total?,
            measured: self.evidence == "measured",
            id: self.id,
            model: self.model,
            system: self.system,
            precision: self.precision,
            engine: self.engine,
            source: self.source,
        })
    }
}

/// A row with its price, as a band.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct GpuOffer {
    /// The row.
    #[serde(flatten)]
    pub row: GpuRow,
    /// Tokens a second of each user.
    pub speed: Ranged,
    /// USD an hour of the server.
    pub usd_per_hour: Ranged,
    /// USD for a million tokens.
    pub usd_per_million: Ranged,
    /// Tokens of a kWh.
    pub tokens_per_kwh: Ranged,
}

impl GpuOffer {
    fn of(row: GpuRow, prices: &[GpuPrice], occupancy: f64) -> Option<Self> {
        let price = prices.iter().filter(|price| row.system.starts_with(&price.gpu));
        // GB200 is no B200.
        let price = price.max_by_key(|price| price.gpu.len())?;
        let usd_per_hour = price.per_hour().times(f64::from(row.gpus));
        let slow = if row.measured { 1.0 } else { OPTIMISM };
        let band = |value: f64| Ranged { low: value / slow, value, high: value };
        let total = band(row.tokens_per_second_total);
        let kw = price.kw * f64::from(row.gpus);
        Some(Self {
            speed: band(row.tokens_per_second_per_user),
            usd_per_million: Ranged::of(|end| per_million(usd_per_hour.at(end), total.at(end.other()), occupancy)),
            tokens_per_kwh: Ranged::of(|end| per_kwh(total.at(end), kw, occupancy)),
            usd_per_hour,
            row,
        })
    }
}

/// What GPUs offer beside a machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct GpuComparison {
    /// Tokens of the prompts of these rows: the nearest to what was asked for.
    pub context: u64,
    /// The fastest for a user, whatever it costs.
    pub fastest: GpuOffer,
    /// The cheapest for a token, however slow.
    pub cheapest: GpuOffer,
    /// The cheapest among those that are as fast as the machine; nothing where none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_equal_speed: Option<GpuOffer>,
    /// The fastest among those that give as many tokens for as much money; nothing where none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_equal_cost: Option<EqualCost>,
}

/// Servers for as much money.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct EqualCost {
    /// How many the money buys.
    pub servers: u64,
    /// The tokens a second that all of them give.
    pub tokens_per_second_total: f64,
    /// One of them.
    pub each: GpuOffer,
}

/// A machine to compare GPUs with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Beside<'a> {
    /// The model.
    pub model: &'a str,
    /// Tokens of each user's context.
    pub context: u64,
    /// Tokens a second of each user.
    pub speed: f64,
    /// Tokens a second of all.
    pub total: f64,
    /// USD an hour.
    pub usd_per_hour: f64,
    /// Part of the time in which the load is there.
    pub occupancy: f64,
}

/// What GPUs offer beside a machine; nothing where no row of the model is known at a context within a factor of two.
///
/// # Errors
/// None that a user can cause: the tables are built in.
pub fn compare(beside: Beside<'_>) -> Result<Option<GpuComparison>, DecideError> {
    let prices = prices()?;
    let rows = rows_of(beside.model)?;
    let far = |row: &GpuRow| (row.context as f64 / beside.context.max(1) as f64).ln().abs();
    let Some(nearest) = rows.iter().map(far).min_by(f64::total_cmp).filter(|far| *far <= 2_f64.ln()) else {
        return Ok(None);
    };
    let near = rows.into_iter().filter(|row| far(row) <= nearest + 0.1);
    let offers: Vec<GpuOffer> = near.filter_map(|row| GpuOffer::of(row, &prices, beside.occupancy)).collect();
    let best = |worth: &dyn Fn(&GpuOffer) -> f64, among: &dyn Fn(&GpuOffer) -> bool| {
        let among = offers.iter().filter(|offer| among(offer));
        among.max_by(|one, other| worth(one).total_cmp(&worth(other))).cloned()
    };
    let (speed, price) = (|offer: &GpuOffer| offer.speed.value, |offer: &GpuOffer| -offer.usd_per_million.value);
    let servers = |offer: &GpuOffer| (beside.usd_per_hour / offer.usd_per_hour.value).floor();
    let gives_as_much = |offer: &GpuOffer| servers(offer) * offer.row.tokens_per_second_total >= beside.total;
    let (Some(fastest), Some(cheapest)) = (best(&speed, &|_| true), best(&price, &|_| true)) else {
        return Ok(None);
    };
    let at_equal_cost = best(&speed, &gives_as_much).map(|each| EqualCost {
        servers: servers(&each) as u64,
        tokens_per_second_total: servers(&each) * each.row.tokens_per_second_total,
        each,
    });
    Ok(Some(GpuComparison {
        context: fastest.row.context,
        at_equal_speed: best(&price, &|offer| offer.speed.high >= beside.speed),
        at_equal_cost,
        fastest,
        cheapest,
    }))
}
