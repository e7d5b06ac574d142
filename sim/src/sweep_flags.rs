//! `--sweep PATH=VALUES`: settings that take several values, in all combinations.

use clap::Args;
use wafersim::answer::plan::{Axes, Base, Swept};
use wafersim::mapping::Mapping;
use wafersim::spec::Scenario;
use wafersim::spec::scenario::{Kind, SETTINGS, without_suffix};
use wafersim::stream::scenario::settings as stream_settings;

use crate::failure::Failure;
use crate::files;
use crate::layers::{Layers, set};

const FLAG: &str = "--sweep";

/// Most combinations.
const MOST: usize = 1_000_000;

/// The setting that is no setting of a scenario.
pub const MAPPING: &str = "mapping";

/// What is swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Settings of a scenario.
    Scenario,
    /// Settings of a scenario of a stream; those of a scenario lie in its table `machine`.
    Stream,
}

/// How values of a setting are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    /// Whole numbers, also with a suffix.
    Whole,
    /// Names, which may be paths.
    Name,
    /// Anything else.
    Other,
}

impl Of {
    fn written(self, path: &str) -> Written {
        let of_scenario = |path: &str| match SETTINGS.iter().find(|known| known.path == path).map(|known| known.kind) {
            Some(Kind::Whole(..)) => Written::Whole,
            Some(Kind::Name) => Written::Name,
            _ => Written::Other,
        };
        match (self, path.strip_prefix("machine.")) {
            _ if path == MAPPING => Written::Name,
            (Self::Scenario, _) => of_scenario(path),
            (Self::Stream, Some(of_machine)) => of_scenario(of_machine),
            (Self::Stream, None) => {
                match stream_settings().iter().find(|known| known.path == path).map(|known| known.allowed.as_str()) {
                    Some("a whole number") => Written::Whole,
                    Some("a text") => Written::Name,
                    _ => Written::Other,
                }
            }
        }
    }
}

/// Flags of sweeps.
#[derive(Debug, Args)]
pub struct SweepFlags {
    /// A setting (see `simctl settings`) or `mapping` with its values: a list (wafers=16,21,26), or a range
    /// (context=8k..128k*2, wafer.link.latency=1..5+0.5). Settings of streams are called as with --set
    /// (load.users=1..64*2, machine.wafers=16,21). May be repeated: all combinations, the last one fastest.
    #[arg(long = "sweep", value_name = "PATH=LIST|FROM..TO[+STEP|*FACTOR]")]
    sweeps: Vec<String>,
}

/// A setting with its values.
#[derive(Debug, Clone, PartialEq)]
struct Sweep {
    path: String,
    values: Vec<String>,
}

impl SweepFlags {
    /// Whether anything is swept.
    pub const fn is_given(&self) -> bool {
        !self.sweeps.is_empty()
    }

    /// As they were given.
    pub fn texts(&self) -> &[String] {
        &self.sweeps
    }

    /// Whether a setting is swept.
    pub fn sweeps(&self, path: &str) -> bool {
        self.sweeps.iter().any(|text| text.split('=').next().map(str::trim) == Some(path))
    }

    /// Whether all combinations have one wafer with one price.
    pub fn keeps_prices(&self) -> bool {
        let moves = |path: &str| path == "wafer" || path.starts_with("wafer.system.");
        !self.sweeps.iter().any(|text| text.split('=').next().map(str::trim).is_some_and(moves))
    }

    /// Refuses to sweep what has a list of its own.
    pub fn check_beside(&self, mut listed: impl Iterator<Item = &'static str>) -> Result<(), Failure> {
        match listed.find(|path| self.sweeps(path)) {
            Some(path) => {
                Err(wrong(format!("sweeps '{path}', for which there is a list too"), "one of the two".into()))
            }
            None => Ok(()),
        }
    }

    /// All combinations. `axes` says which grid is computed for a scenario.
    pub fn bases(
        &self,
        layers: &Layers,
        axes: impl Fn(&Layers, &Scenario) -> Result<Axes, Failure>,
    ) -> Result<Vec<Base>, Failure> {
        self.combinations(Of::Scenario)?.into_iter().map(|swept| base(swept, layers, &axes)).collect()
    }

    /// The values of all combinations, the last setting fastest.
    pub fn combinations(&self, of: Of) -> Result<Vec<Vec<Swept>>, Failure> {
        let sweeps = self.sweeps.iter().map(|text| Sweep::parse(text, of)).collect::<Result<Vec<_>, _>>()?;
        for (place, sweep) in sweeps.iter().enumerate() {
            if sweeps.iter().take(place).any(|other| other.path == sweep.path) {
                return Err(wrong(format!("sweeps '{}' twice", sweep.path), "each setting once".into()));
            }
        }
        let count = sweeps.iter().try_fold(1_usize, |product, sweep| product.checked_mul(sweep.values.len()));
        if count.is_none_or(|count| count > MOST) {
            return Err(wrong("makes too many combinations".into(), format!("at most {MOST}")));
        }
        let mut combinations: Vec<Vec<Swept>> = vec![Vec::new()];
        for Sweep { path, values } in &sweeps {
            let longer = combinations.iter().flat_map(|known| {
                values.iter().map(|value| {
                    let swept = Swept { path: path.clone(), value: value.clone() };
                    known.iter().cloned().chain([swept]).collect()
                })
            });
            combinations = longer.collect();
        }
        Ok(combinations)
    }
}

/// A combination in words: `load.users=8, machine.wafers=24`.
pub fn in_words(swept: &[Swept]) -> String {
    swept.iter().map(|one| format!("{}={}", one.path, one.value)).collect::<Vec<_>>().join(", ")
}

/// What a combination of values asks.
fn base(
    swept: Vec<Swept>,
    layers: &Layers,
    axes: &impl Fn(&Layers, &Scenario) -> Result<Axes, Failure>,
) -> Result<Base, Failure> {
    let mut layers = layers.clone();
    let mut mapping = None;
    for Swept { path, value } in &swept {
        if path == MAPPING {
            files::reads_named(FLAG, value)?;
            mapping = Some(Mapping::from_name_or_path(value)?);
        } else {
            set(&mut layers.sets, &format!("{FLAG} {path}"), path, value)?;
        }
    }
    let scenario = layers.check()?;
    let axes = axes(&layers, &scenario)?;
    Ok(Base { swept, scenario, mapping, axes })
}

impl Sweep {
    fn parse(text: &str, of: Of) -> Result<Self, Failure> {
        let parts = text.split_once('=').map(|(path, values)| (path.trim(), values.trim()));
        let (path, list) = parts.filter(|(path, values)| !path.is_empty() && !values.is_empty()).ok_or_else(|| {
            wrong(format!("is '{text}'"), "a setting and its values, for example users=1,8 or users=1..64*2".into())
        })?;
        let written = of.written(path);
        let values = match list.split_once("..") {
            // Names may be paths.
            Some((from, to)) if written != Written::Name => range(text, from, to)?,
            _ => list.split(',').map(|value| value.trim().to_owned()).collect(),
        };
        let plain = |value: String| if written == Written::Whole { without_suffix(&value).into_owned() } else { value };
        Ok(Self { path: path.to_owned(), values: values.into_iter().map(plain).collect() })
    }
}

/// The values of `FROM..TO`, `FROM..TO+STEP` or `FROM..TO*FACTOR`, both ends included where they are met.
fn range(text: &str, from: &str, rest: &str) -> Result<Vec<String>, Failure> {
    let allowed = "numbers with FROM at most TO, a STEP above 0 or a FACTOR above 1 with FROM above 0";
    let refuse = || wrong(format!("is '{text}'"), allowed.into());
    let number = |text: &str| {
        let number = without_suffix(text.trim()).parse::<f64>().ok();
        number.filter(|number| number.is_finite()).ok_or_else(refuse)
    };
    // The sign of an exponent stands behind its e.
    let mut marks = rest
        .char_indices()
        .filter(|(place, mark)| *mark == '*' || (*mark == '+' && *place > 0 && !rest[..*place].ends_with(['e', 'E'])));
    let (to, step) = match marks.next_back() {
        Some((place, mark)) => (&rest[..place], Some((mark, number(&rest[place + 1..])?))),
        None => (rest, None),
    };
    let (from, to) = (number(from)?, number(to)?);
    let (mark, step) = step.unwrap_or(('+', 1.0));
    let grows = if mark == '*' { step > 1.0 && from > 0.0 } else { step > 0.0 };
    if from > to || !grows {
        return Err(refuse());
    }
    let mut values = Vec::new();
    loop {
        let place = values.len();
        // Each from the first, so that rounding does not add up.
        let value = if mark == '*' { from * step.powi(place as i32) } else { from + step * place as f64 };
        // A last value that rounding has put a hair beyond the end is the end.
        if value > to * (1.0 + 1e-12) {
            return Ok(values);
        }
        if place >= MOST {
            return Err(wrong(format!("is '{text}'"), format!("at most {MOST} values")));
        }
        values.push(rounded(value).to_string());
    }
}

/// Without what rounding has left at the end: twelve digits.
fn rounded(value: f64) -> f64 {
    format!("{value:.12e}").parse().unwrap_or(value)
}

fn wrong(problem: String, allowed: String) -> Failure {
    Failure::Flag { flag: FLAG.into(), problem, allowed }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<String> {
        Sweep::parse(text, Of::Scenario).unwrap().values
    }

    #[test]
    fn lists_and_ranges() {
        assert_eq!(values("wafers=16, auto,21"), ["16", "auto", "21"]);
        assert_eq!(values("users=1..64*4"), ["1", "4", "16", "64"]);
        assert_eq!(values("context=8k..32k*2"), ["8192", "16384", "32768"]);
        assert_eq!(values("users=3..5"), ["3", "4", "5"]);
        assert_eq!(values("wafer.link.latency=0.1..0.5+0.1"), ["0.1", "0.2", "0.3", "0.4", "0.5"]);
        assert_eq!(values("target=1e3..2e+3+500"), ["1000", "1500", "2000"]);
        assert_eq!(values("model=../a.json,b"), ["../a.json", "b"]);
    }

    #[test]
    fn settings_of_streams_are_written_as_those_of_their_machines() {
        let values = |text: &str| Sweep::parse(text, Of::Stream).unwrap().values;
        assert_eq!(values("machine.context=8k..32k*2"), ["8192", "16384", "32768"]);
        assert_eq!(values("load.common=16k,32k"), ["16384", "32768"]);
        assert_eq!(values("machine.model=../a.json,b"), ["../a.json", "b"]);
        assert_eq!(values("service.plan=none,../plans/a.toml"), ["none", "../plans/a.toml"]);
        assert_eq!(values("load.think=0.5..1.5+0.5"), ["0.5", "1", "1.5"]);
        assert_eq!(values("machine.wafer_parameters.link.latency=1,5"), ["1", "5"]);
    }

    #[test]
    fn what_is_no_sweep_is_refused() {
        for text in
            ["users", "=1", "users=", "users=5..1", "users=1..5+0", "users=0..8*2", "users=1..8*1", "users=a..b"]
        {
            assert!(Sweep::parse(text, Of::Scenario).is_err(), "{text}");
        }
        let twice = SweepFlags { sweeps: vec!["users=1,2".into(), "users=3".into()] };
        let axes = |_: &Layers, scenario: &Scenario| Ok(Axes::of(scenario));
        assert!(twice.bases(&Layers::default(), axes).is_err());
    }

    #[test]
    fn all_combinations_the_last_fastest() {
        let flags = SweepFlags { sweeps: vec!["users=1,2".into(), "wafer.link.latency=1,2".into()] };
        let bases = flags.bases(&Layers::default(), |_, scenario| Ok(Axes::of(scenario))).unwrap();
        let asked: Vec<_> =
            bases.iter().map(|base| (base.scenario.users, base.scenario.wafer_overrides[0].1)).collect();
        assert_eq!(asked, [(1, 1.0), (1, 2.0), (2, 1.0), (2, 2.0)]);
        assert!(bases.iter().all(|base| base.axes.users == [base.scenario.users]));
    }
}
