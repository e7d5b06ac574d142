//! What services on wafers were seen to do, as a table; and how far along they are to what the best programs would do.
//!
//! A record is a speed for each user, or the time of a prompt. What it is compared with is asked by `wafersim-answer`
//! (`answer::production`): this module reads the table, says how a record is to be asked about, and sums up what came
//! out. Nothing is fitted to a record.
//!
//! One configuration follows from a record by rule: the context is prompt plus answer where both are known, else 1,024
//! tokens; weights have the type that was claimed, else 16 bit; wafers are the fewest that hold the model.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use wafersim_spec::DataType;

use crate::measurements::{NAME, TableError, is_no_name, measured_value, rows};
use crate::validate::Skipped;

/// The records that are built in: `benches/measurements/production.csv`.
pub const BUILTIN_PRODUCTION: &str = include_str!("../measurements/production.csv");

/// What they come to with the built-in models: `benches/measurements/realised.csv`. A test makes it again.
pub const BUILTIN_REALISED: &str = include_str!("../measurements/realised.csv");

const COLUMNS: &str = "id,model,metric,value,context_or_prompt,weights,speculative,evidence,source";

/// The context of a record that does not say how long it was.
pub const UNKNOWN_CONTEXT: u64 = 1024;

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Metric {
    /// Output tokens a second for each user.
    #[serde(rename = "tok_s_user")]
    Speed,
    /// The time of a prompt in ms, without queue and network, and without what a service spends besides.
    #[serde(rename = "ttft_ms")]
    Prompt,
}

/// Whether a service drafted tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Drafts {
    /// It did not.
    No,
    /// It did.
    Yes,
    /// Nobody has said.
    Unknown,
}

impl Drafts {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Yes => "yes",
            Self::Unknown => "unknown",
        }
    }
}

/// Who saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// The service's own clock, in an answer of its interface.
    Server,
    /// Somebody independent.
    Independent,
    /// The vendor says so.
    Vendor,
    /// A user, from outside: network, queue and prompt may be in it.
    User,
}

impl Seen {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Independent => "independent",
            Self::Vendor => "vendor's claim",
            Self::User => "user",
        }
    }
}

/// A record.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Unique name.
    pub id: String,
    /// The model in the words of the table.
    pub model: String,
    /// What was measured.
    pub metric: Metric,
    /// Its value.
    pub value: f64,
    /// Tokens of the prompt, where they are known.
    pub prompt: Option<u64>,
    /// Tokens of the answer, where they are known.
    pub answer: Option<u64>,
    /// Data type of weights, where one was claimed.
    pub weights: Option<DataType>,
    /// Whether one was claimed that is not known here.
    pub has_other_weights: bool,
    /// Whether tokens were drafted.
    pub drafts: Drafts,
    /// Who saw it.
    pub seen: Seen,
    /// How it was measured, in the words of the table.
    pub evidence: String,
    /// Where it is written.
    pub source: String,
}

impl Record {
    /// Tokens in the user's cache.
    pub fn context(&self) -> u64 {
        match (self.prompt, self.answer) {
            (Some(prompt), answer) => prompt + answer.unwrap_or(0),
            (None, _) => UNKNOWN_CONTEXT,
        }
    }

    /// Why there is nothing to compare it with, if so.
    fn problem(&self) -> Option<&'static str> {
        match self.metric {
            _ if self.has_other_weights => Some("its weights are in a format that is not known here"),
            Metric::Prompt if self.seen == Seen::User => Some("its time has the network in it"),
            Metric::Prompt if self.prompt.is_none() => {
                Some("the length of its prompt is not known, or its time has an answer's first part in it")
            }
            _ => None,
        }
    }
}

/// A table of records.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ProductionTable {
    /// Speeds and prompt times, in the order of the table.
    pub records: Vec<Record>,
    /// Those of them that nothing can be compared with.
    pub skipped: Vec<Skipped>,
    /// Rows of other kinds: prices, limits, accepted lengths.
    pub others: usize,
}

#[derive(Deserialize)]
struct Row {
    id: String,
    model: String,
    metric: String,
    value: String,
    context_or_prompt: String,
    weights: String,
    speculative: String,
    evidence: String,
    source: String,
    #[serde(default)]
    notes: String,
}

/// Reads a table. `file` is named in errors.
///
/// # Errors
/// Where a column is missing, a value is no number or out of range, or an id stands twice.
pub fn read_production(text: &str, file: &str) -> Result<ProductionTable, TableError> {
    let mut table = ProductionTable::default();
    let mut seen = BTreeSet::new();
    for (line, row) in rows::<Row>(text, file, COLUMNS)? {
        let wrong = |field, value: &str, allowed| TableError::Field {
            file: file.into(),
            line,
            field,
            value: value.into(),
            allowed,
        };
        for (field, name) in [("id", &row.id), ("model", &row.model)] {
            if is_no_name(name) {
                return Err(wrong(field, name, NAME));
            }
        }
        if !seen.insert(row.id.clone()) {
            return Err(wrong("id", &row.id, "a name that no other row has"));
        }
        let metric = match row.metric.as_str() {
            "tok_s_user" => Metric::Speed,
            "ttft_ms" => Metric::Prompt,
            "accept_len" | "limit" | "price" => {
                table.others += 1;
                continue;
            }
            _ => {
                let allowed = "tok_s_user, ttft_ms; and what is not compared: accept_len, limit, price";
                return Err(wrong("metric", &row.metric, allowed));
            }
        };
        let value = measured_value(&row.value).map_err(|allowed| wrong("value", &row.value, allowed))?;
        let lengths = Lengths::of(&row.context_or_prompt)
            .ok_or_else(|| wrong("context_or_prompt", &row.context_or_prompt, LENGTHS))?;
        let record = row.record(metric, value, lengths);
        match record.problem() {
            Some(why) => table.skipped.push(Skipped { id: record.id, why: why.into() }),
            None => table.records.push(record),
        }
    }
    if table.records.is_empty() && table.skipped.is_empty() && table.others == 0 {
        return Err(TableError::Empty { file: file.into() });
    }
    Ok(table)
}

impl Row {
    fn record(self, metric: Metric, value: f64, Lengths { prompt, answer }: Lengths) -> Record {
        let length = self.context_or_prompt.as_str();
        let is_of_server = ["completion_time", "prompt_time"].iter().any(|field| self.notes.contains(field));
        let is_from_outside = [length, self.notes.as_str()].iter().any(|text| text.contains("client"));
        let seen = match self.evidence.as_str() {
            _ if is_of_server => Seen::Server,
            _ if is_from_outside => Seen::User,
            "independent" => Seen::Independent,
            "vendor-claim" => Seen::Vendor,
            _ => Seen::User,
        };
        let first = |text: &str| {
            let word = text.split(|letter: char| !letter.is_ascii_alphanumeric()).next();
            word.map(str::to_ascii_lowercase).unwrap_or_default()
        };
        let drafts = match first(&self.speculative).as_str() {
            "no" => Drafts::No,
            "yes" => Drafts::Yes,
            _ => Drafts::Unknown,
        };
        let claimed = first(&self.weights);
        let weights = claimed.parse().ok();
        let says_nothing = ["", "unknown", "not"].contains(&claimed.as_str());
        Record {
            id: self.id,
            model: self.model,
            metric,
            value,
            prompt,
            answer,
            has_other_weights: weights.is_none() && !says_nothing,
            weights,
            drafts,
            seen,
            evidence: self.evidence,
            source: self.source,
        }
    }
}

/// Most tokens of a prompt or an answer.
const MOST_TOKENS: f64 = (1 << 24) as f64;

const LENGTHS: &str = "words, with lengths as in 'prompt 12, 10 out' where they are known, or the prompt's alone: 1 to \
                       16777216, 100k is 100000";

/// What the column of lengths says in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Lengths {
    prompt: Option<u64>,
    answer: Option<u64>,
}

impl Lengths {
    /// Numbers behind `prompt` and before `out`, or a single number; nothing where such a number is none.
    fn of(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split([' ', ',', ';']).filter(|word| !word.is_empty()).collect();
        if let [alone] = words[..]
            && is_number(alone)
        {
            return Some(Self { prompt: Some(tokens(alone)?), answer: None });
        }
        let mut lengths = Self::default();
        for (at, word) in words.iter().enumerate() {
            match *word {
                "prompt" if lengths.prompt.is_none() => lengths.prompt = Some(tokens(words.get(at + 1)?)?),
                "out" if lengths.answer.is_none() => {
                    let before = at.checked_sub(1).map(|before| words[before]).filter(|word| is_number(word));
                    lengths.answer = before.map(tokens).map_or(Some(None), |answer| answer.map(Some))?;
                }
                _ => {}
            }
        }
        Some(lengths)
    }
}

/// Whether a word is meant as a number.
fn is_number(word: &str) -> bool {
    word.trim_start_matches(['-', '+', '.']).starts_with(|letter: char| letter.is_ascii_digit())
}

/// So many tokens: digits, with k for thousands and M for millions.
fn tokens(word: &str) -> Option<u64> {
    let (digits, scale) = match word.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1e3),
        None => word.strip_suffix(['m', 'M']).map_or((word, 1.0), |digits| (digits, 1e6)),
    };
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let tokens = digits.parse::<f64>().ok().filter(|_| is_plain)? * scale;
    (tokens.fract() == 0.0 && (1.0..=MOST_TOKENS).contains(&tokens)).then_some(tokens as u64)
}

/// What the model says of a record: tokens a second for each user, or ms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figures {
    /// The published programs.
    pub published: f64,
    /// The best that were found.
    pub best: f64,
    /// The best on ideal hardware.
    pub ideal: f64,
    /// What no mapping beats; for a prompt a pass of its last token.
    pub no_mapping_beats: f64,
    /// Measured over best. Of speeds, less than 1 is slower than best; of times, more than 1.
    pub ratio_to_best: f64,
}

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lies {
    /// Slower than the published programs.
    SlowerThanPublished,
    /// Between published and best.
    PublishedToBest,
    /// Between best and ideal.
    BestToIdeal,
    /// Faster than ideal, which bounds nothing.
    FasterThanIdeal,
    /// Faster than any mapping can be: by the model's reckoning it cannot have been so.
    FasterThanAnyMapping,
}

impl Lies {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SlowerThanPublished => "slower than published",
            Self::PublishedToBest => "published to best",
            Self::BestToIdeal => "best to ideal",
            Self::FasterThanIdeal => "faster than ideal",
            Self::FasterThanAnyMapping => "faster than any mapping",
        }
    }

    /// Where a measured value lies among the figures.
    pub fn of(metric: Metric, measured: f64, figures: &Figures) -> Self {
        let faster = |than: f64| match metric {
            Metric::Speed => measured > than,
            Metric::Prompt => measured < than,
        };
        match figures {
            _ if faster(figures.no_mapping_beats) => Self::FasterThanAnyMapping,
            _ if faster(figures.ideal) => Self::FasterThanIdeal,
            _ if faster(figures.best) => Self::BestToIdeal,
            _ if faster(figures.published) => Self::PublishedToBest,
            _ => Self::SlowerThanPublished,
        }
    }
}

/// The same with a draft of an acceptance that somebody measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WithDraft {
    /// Tokens of a draft.
    pub draft_length: u32,
    /// Name of the acceptance.
    pub acceptance: String,
    /// What the model says then.
    #[serde(flatten)]
    pub figures: Figures,
    /// Where the record lies then.
    pub lies: Lies,
}

/// A record beside what the model says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// Name of the record.
    pub id: String,
    /// What was measured.
    pub metric: Metric,
    /// Its value.
    pub measured: f64,
    /// What the model says, without drafts.
    #[serde(flatten)]
    pub figures: Figures,
    /// Where the record lies.
    pub lies: Lies,
    /// The same with a draft, where the service is known to make some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with_draft: Option<WithDraft>,
    /// Name of the built-in model that was asked about.
    pub model: String,
    /// Wafers: the fewest that hold it.
    pub wafers: u32,
    /// Tokens in the user's cache.
    pub context: u64,
    /// Tokens of the prompt.
    pub prompt: u64,
    /// Data type of weights.
    pub weights: DataType,
    /// Whether the service drafted tokens.
    pub drafts: Drafts,
    /// Who saw it.
    pub seen: Seen,
    /// How it was measured.
    pub evidence: String,
    /// Where it is written.
    pub source: String,
}

impl Compared {
    /// Measured over best, as the service works: with its draft where it is known to make some.
    fn fraction(&self) -> f64 {
        self.with_draft.as_ref().map_or(self.figures.ratio_to_best, |draft| draft.figures.ratio_to_best)
    }

    /// Whether it counts among what services have reached: a speed that is the machine's own. What users see from
    /// outside has queues and the network in it.
    fn counts(&self) -> bool {
        self.metric == Metric::Speed && self.seen != Seen::User
    }
}

/// What services have made of the best that was found: measured speed over best.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Realised {
    /// Services that draft, that do not, or of which it is not known.
    pub drafts: Drafts,
    /// Records.
    pub records: usize,
    /// Models that they are of.
    pub models: usize,
    /// The least.
    pub low: f64,
    /// Half of the records are above.
    pub median: f64,
    /// The most.
    pub high: f64,
}

/// Fewer records than this say nothing of services in general.
pub const FEWEST_RECORDS: usize = 5;

/// What services have made of the best that was found, by whether they draft; nothing of a kind with fewer than
/// [`FEWEST_RECORDS`].
pub fn realised(records: &[Compared]) -> Vec<Realised> {
    let of = |drafts: Drafts| {
        let counted = || records.iter().filter(|record| record.counts() && record.drafts == drafts);
        let models = counted().map(|record| record.model.as_str()).collect::<BTreeSet<&str>>().len();
        let mut fractions: Vec<f64> = counted().map(Compared::fraction).collect();
        fractions.sort_by(|one, other| one.partial_cmp(other).unwrap_or(Ordering::Equal));
        let (low, high) = (*fractions.first()?, *fractions.last()?);
        let middle = fractions.len() / 2;
        let median = match fractions.len() % 2 {
            1 => fractions[middle],
            _ => (fractions[middle - 1] + fractions[middle]) / 2.0,
        };
        let records = fractions.len();
        (records >= FEWEST_RECORDS).then_some(Realised { drafts, records, models, low, median, high })
    };
    [Drafts::No, Drafts::Yes, Drafts::Unknown].into_iter().filter_map(of).collect()
}

/// What services have made of the best that was found, as shipped: [`BUILTIN_REALISED`].
pub fn builtin_realised() -> &'static [Realised] {
    static SHIPPED: OnceLock<Vec<Realised>> = OnceLock::new();
    SHIPPED.get_or_init(|| {
        // A test reads it: it is such a table.
        let rows = csv::Reader::from_reader(BUILTIN_REALISED.as_bytes()).into_deserialize();
        rows.collect::<Result<_, _>>().unwrap_or_default()
    })
}

/// All records beside what the model says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Production {
    /// In the order of the table.
    pub records: Vec<Compared>,
    /// Records that could not be compared.
    pub skipped: Vec<Skipped>,
    /// Rows of other kinds: prices, limits, accepted lengths.
    pub others: usize,
    /// What services have made of the best that was found.
    pub realised: Vec<Realised>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "id,model,metric,value,context_or_prompt,weights,speculative,evidence,source,notes\n";

    #[test]
    fn records_say_how_they_are_asked_about() {
        let rows = "a,Qwen3-32B,tok_s_user,1301,\"prompt 543, 1500 out\",unknown,unknown,user-report,x,completion_time 1 s\n\
                    b,Llama-3.1-8B,tok_s_user,1800,AA,fp16 (launch),\"no (before)\",independent,x,\n\
                    c,Llama-3.1-8B,ttft_ms,470,short,,,user-report,x,\"client, network included\"\n\
                    d,x,price,1/2,,,,vendor-claim,x,\n\
                    e,y,tok_s_user,100,not stated,not stated,yes,vendor-claim,x,\n";
        let table = read_production(&format!("{HEADER}{rows}"), "t").unwrap();
        let [a, b, e] = table.records.as_slice() else { panic!("{table:?}") };
        assert_eq!(
            (a.context(), a.prompt, a.answer, a.weights, a.seen),
            (2043, Some(543), Some(1500), None, Seen::Server)
        );
        assert_eq!((b.context(), b.weights, b.drafts), (UNKNOWN_CONTEXT, Some(DataType::Fp16), Drafts::No));
        assert_eq!((b.seen, e.seen, e.drafts, e.weights), (Seen::Independent, Seen::Vendor, Drafts::Yes, None));
        assert_eq!((table.skipped.len(), table.others), (1, 1));
    }

    #[test]
    fn values_that_nothing_has_are_refused() {
        for value in ["0", "-3", "1e-300", "inf", "many", "1e40"] {
            let row = format!("{HEADER}a,Qwen3-32B,tok_s_user,{value},AA,fp16,no,independent,x,\n");
            let error = read_production(&row, "t.csv").unwrap_err().to_string();
            assert!(error.starts_with("t.csv: line 2: field 'value'"), "{error}");
        }
        let missing = read_production("id,model\na,b\n", "t.csv").unwrap_err().to_string();
        assert!(missing.contains(COLUMNS), "{missing}");
    }

    #[test]
    fn the_built_in_tables_are_readable() {
        let table = read_production(BUILTIN_PRODUCTION, "production.csv").unwrap();
        assert!(table.records.len() >= 20, "{}", table.records.len());
        assert!(table.records.iter().all(|record| !record.source.is_empty()));
        assert_eq!(builtin_realised().len(), BUILTIN_REALISED.lines().count() - 1);
        for class in builtin_realised() {
            assert!(class.records >= FEWEST_RECORDS && class.low <= class.median && class.median <= class.high);
        }
    }
}
