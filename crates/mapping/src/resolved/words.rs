//! How runs of layers, parts of tables, regions and slots are written in a resolved mapping: as words on one line, read
//! back only where the same words come out again.

use std::fmt;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wafersim_program::Region;

use super::{Parts, ResolvedSlot, Run};

impl fmt::Display for Run {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            1 => write!(formatter, "{}", self.first),
            count => write!(formatter, "{}-{}", self.first, self.first.saturating_add(count).saturating_sub(1)),
        }
    }
}

impl FromStr for Run {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let numbers = first.parse::<u64>().ok().zip(last.parse::<u64>().ok());
        let run = numbers.and_then(|(first, last)| {
            let count = last.checked_sub(first)?.checked_add(1)?;
            Some(Self { first, count })
        });
        run.filter(|run| run.to_string() == text)
            .ok_or_else(|| format!("'{text}' is no run of numbers; allowed: \"3\" or \"0-10\""))
    }
}

impl fmt::Display for Parts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} of {}", Run { first: self.first, count: self.count }, self.of)
    }
}

impl FromStr for Parts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (run, of) = text.split_once(" of ")?;
            let Run { first, count } = run.parse().ok()?;
            Some(Self { first, count, of: of.parse().ok()? })
        };
        read()
            .filter(|parts: &Self| parts.to_string() == text)
            .ok_or_else(|| format!("'{text}' is no part of a table; allowed: \"0 of 1\" or \"0-2 of 4\""))
    }
}

/// Serialises as words.
macro_rules! as_words {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    )*};
}
as_words!(Run, Parts);

fn of(region: &Region) -> String {
    format!("{} x {} at ({}, {})", region.columns, region.rows, region.x, region.y)
}

pub(super) fn serialize<S: Serializer>(region: &Region, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&of(region))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Region, D::Error> {
    let text = String::deserialize(deserializer)?;
    let read = || {
        let (size, place) = text.strip_suffix(')')?.split_once(" at (")?;
        let ((columns, rows), (x, y)) = (size.split_once(" x ")?, place.split_once(", ")?);
        let number = |text: &str| text.parse::<u64>().ok();
        Some(Region { x: number(x)?, y: number(y)?, columns: number(columns)?, rows: number(rows)? })
    };
    let known = read().filter(|region| of(region) == text);
    known.ok_or_else(|| {
        D::Error::custom(format!(
            "'{text}' is no region; allowed: columns x rows at (x, y), as \"755 x 288 at (0, 292)\""
        ))
    })
}

impl fmt::Display for ResolvedSlot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            self.embedding.map(|parts| format!("embedding {parts}")),
            self.layers.map(|run| format!("layers {run}")),
            self.lm_head.map(|parts| format!("lm_head {parts}")),
        ];
        let held = all.into_iter().flatten().collect::<Vec<_>>().join(", ");
        write!(formatter, "{held} on {} of wafer {}", of(&self.region), self.wafer)
    }
}
