//! The machine: a mesh of processing elements, described by a TOML file in which every parameter carries value, unit,
//! low, high, evidence and source.
//!
//! Which parameters exist is declared once, in [`parameters`]; reading a file, `--set`, sensitivity runs and the
//! reference table in the docs all come from that declaration. Nothing here is wired to one vendor.

pub mod parameters;
mod read;

use serde::{Serialize, Serializer};

use crate::error::{SpecError, nearest_name};
use crate::units::{Bytes, Hertz};
pub use parameters::{DECLARATIONS, Declaration, Key, OF_TIME, SYSTEM, TIMED};
pub use read::{BUILTIN_WAFERS, builtin_text};

/// How well a figure is known. Ordered from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// Measured on a real machine.
    Silicon,
    /// Measured in the vendor's fabric simulator.
    VendorSim,
    /// From the vendor's documentation.
    VendorDoc,
    /// From a paper.
    Paper,
    /// Fitted or derived from the above.
    Inferred,
    /// Nobody has published it.
    Guess,
}

impl Evidence {
    /// The word in files and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Silicon => "silicon",
            Self::VendorSim => "vendor-sim",
            Self::VendorDoc => "vendor-doc",
            Self::Paper => "paper",
            Self::Inferred => "inferred",
            Self::Guess => "guess",
        }
    }
}

/// Which of the two machines is asked about: the chip, or the vendor's simulator of it. Their rates differ
/// (fp16 copy on WSE-3: 4.82 against 8.0 elements per cycle), so measurements of each are held to its own set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RateSet {
    /// The chip itself.
    Silicon,
    /// The vendor's fabric simulator.
    VendorSimulator,
}

/// A value with its range and where it comes from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// The value used.
    pub value: f64,
    /// The smallest value that is still credible.
    pub low: f64,
    /// The largest value that is still credible.
    pub high: f64,
    /// How well it is known.
    pub evidence: Evidence,
    /// Where it was published, or what it was fitted to.
    pub source: String,
}

/// A wafer. Values of this type have been checked against [`DECLARATIONS`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Wafer {
    /// Short name, for example `wse3`.
    pub name: String,
    /// Name for people, for example `Cerebras WSE-3 (CS-3)`.
    pub title: String,
    #[serde(serialize_with = "of_time")]
    silicon: Vec<Figure>,
    #[serde(serialize_with = "of_time_simulated")]
    simulator: Vec<Option<Figure>>,
}

/// What a system costs and draws is no part of what an answer of time depends on: see [`Wafer::system`]. Faults are,
/// where there are any.
fn of_time<S: Serializer>(figures: &[Figure], serializer: S) -> Result<S::Ok, S::Error> {
    let faults = figures.get(Key::FaultyPes as usize).filter(|faults| faults.value > 0.0);
    serializer.collect_seq(figures.iter().take(OF_TIME).chain(faults))
}

/// The same of the vendor's simulator, which has no faults of its own.
fn of_time_simulated<S: Serializer>(figures: &[Option<Figure>], serializer: S) -> Result<S::Ok, S::Error> {
    figures.get(..OF_TIME).unwrap_or(figures).serialize(serializer)
}

impl Wafer {
    /// The figure of a parameter on the chip.
    pub fn figure(&self, key: Key) -> &Figure {
        &self.silicon[key as usize]
    }

    /// The figure of a parameter in a rate set: the simulator's own where the file gives one, else the chip's.
    pub fn figure_in(&self, key: Key, rates: RateSet) -> &Figure {
        match (rates, &self.simulator[key as usize]) {
            (RateSet::VendorSimulator, Some(figure)) => figure,
            _ => self.figure(key),
        }
    }

    /// The value of a parameter in a rate set.
    pub fn value(&self, key: Key, rates: RateSet) -> f64 {
        self.figure_in(key, rates).value
    }

    /// The figures of the table `system`, in the order of [`SYSTEM`]. The JSON of a wafer, and so every hash of it,
    /// leaves them out.
    pub fn system(&self) -> &[Figure] {
        self.silicon.get(OF_TIME..OF_TIME + SYSTEM.len()).unwrap_or_default()
    }

    /// Columns of processing elements that a program may use: the usable ones without those that faults take.
    pub fn columns(&self) -> u64 {
        self.working().0
    }

    /// Rows of processing elements that a program may use, without those that faults take.
    pub fn rows(&self) -> u64 {
        self.working().1
    }

    /// Columns and rows that are left where every fault takes a row, or a column where that leaves more: of so many,
    /// the largest rectangle is the one that is nearest to a square.
    fn working(&self) -> (u64, u64) {
        let whole = |key: Key| self.figure(key).value as u64;
        let (columns, rows, faults) = (whole(Key::UsableColumns), whole(Key::UsableRows), whole(Key::FaultyPes));
        let out_of_rows = (faults + rows).saturating_sub(columns).div_ceil(2).min(faults);
        (columns.saturating_sub(faults - out_of_rows).max(1), rows.saturating_sub(out_of_rows).max(1))
    }

    /// SRAM of one processing element.
    pub fn memory_bytes(&self) -> Bytes {
        Bytes(self.figure(Key::MemoryBytes).value as u64)
    }

    /// SRAM of one processing element that is free for data after code and runtime.
    pub fn free_bytes(&self) -> Bytes {
        Bytes(self.figure(Key::FreeBytes).value as u64)
    }

    /// The nominal clock.
    pub fn clock(&self) -> Hertz {
        Hertz::from_gigahertz(self.figure(Key::ClockGigahertz).value)
    }

    /// Replaces the value of a parameter, in both rate sets; low and high widen to include it. `path` is
    /// `group.name`, as in the file.
    ///
    /// # Errors
    /// Where the path does not exist (the nearest is suggested) or the value is outside what is declared.
    pub fn set(&mut self, path: &str, value: f64) -> Result<(), SpecError> {
        self.set_all(&[(path.to_owned(), value)])
    }

    /// The same of a parameter that the compiler knows.
    ///
    /// # Errors
    /// Where the value is outside what is declared.
    pub fn set_key(&mut self, key: Key, value: f64) -> Result<(), SpecError> {
        let declared = DECLARATIONS.iter().find(|declared| declared.key == key);
        self.set(declared.map_or("", |declared| declared.path), value)
    }

    /// Replaces several values, as [`Wafer::set`] one; relations between parameters are checked when all are set.
    ///
    /// # Errors
    /// As [`Wafer::set`]; nothing is changed then.
    pub fn set_all(&mut self, changes: &[(String, f64)]) -> Result<(), SpecError> {
        let mut changed = self.clone();
        for (path, value) in changes {
            changed.replace(path, *value)?;
        }
        changed.check()?;
        *self = changed;
        Ok(())
    }

    fn replace(&mut self, path: &str, value: f64) -> Result<(), SpecError> {
        let declaration =
            DECLARATIONS.iter().find(|declared| declared.path == path).ok_or_else(|| SpecError::UnknownName {
                kind: "wafer parameter",
                name: path.into(),
                nearest: nearest_name(path, DECLARATIONS.iter().map(|declared| declared.path)),
                allowed: "see the wafer file for the names of its parameters".into(),
            })?;
        declaration.check(value).map_err(|problem| SpecError::Field {
            file: format!("wafer '{}'", self.name),
            field: path.into(),
            problem,
            allowed: declaration.allowed(),
        })?;
        let index = declaration.key as usize;
        for figure in [Some(&mut self.silicon[index]), self.simulator[index].as_mut()].into_iter().flatten() {
            figure.value = value;
            figure.low = figure.low.min(value);
            figure.high = figure.high.max(value);
            if !figure.source.starts_with("set by the user") {
                figure.source = format!("set by the user (the file says: {})", figure.source);
            }
        }
        Ok(())
    }

    /// The same wafer with every parameter replaced by `choose(declaration, figure)`, for sensitivity runs. Values are
    /// kept inside what is declared.
    #[must_use]
    pub fn map_values(&self, mut choose: impl FnMut(&Declaration, &Figure) -> f64) -> Self {
        let mut changed = self.clone();
        for declaration in DECLARATIONS {
            let index = declaration.key as usize;
            for figure in [Some(&mut changed.silicon[index]), changed.simulator[index].as_mut()].into_iter().flatten() {
                figure.value = choose(declaration, figure).clamp(declaration.smallest, declaration.largest);
            }
        }
        changed
    }

    /// Relations between parameters that no single range can express.
    fn check(&self) -> Result<(), SpecError> {
        for (small, large) in [
            (Key::UsableColumns, Key::Columns),
            (Key::UsableRows, Key::Rows),
            (Key::FreeBytes, Key::MemoryBytes),
            (Key::SystemFloor, Key::SystemPower),
        ] {
            let (inner, outer) = (self.figure(small).value, self.figure(large).value);
            if inner > outer {
                let name = |key: Key| DECLARATIONS[key as usize].path;
                return Err(SpecError::Field {
                    file: format!("wafer '{}'", self.name),
                    field: name(small).into(),
                    problem: format!("{inner} is more than {} = {outer}", name(large)),
                    allowed: format!("at most {outer}"),
                });
            }
        }
        let value = |key: Key| self.figure(key).value;
        let most = value(Key::UsableColumns) + value(Key::UsableRows) - 2.0;
        let faults = value(Key::FaultyPes);
        if faults > most {
            return Err(SpecError::Field {
                file: format!("wafer '{}'", self.name),
                field: DECLARATIONS[Key::FaultyPes as usize].path.into(),
                problem: format!("{faults} faults leave no processing element"),
                allowed: format!("at most {most}"),
            });
        }
        Ok(())
    }
}
