//! A size that fits any model and machine: a number, a part of whatever it is a size of, or the program's choice.

use std::fmt;
use std::str::FromStr;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Hundredths of a per cent in a whole.
const WHOLE: u64 = 10_000;

/// A size. Written `"auto"`, `12`, `"50%"` or `"/4"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Size {
    /// The program chooses.
    #[default]
    Auto,
    /// So many; at least 1.
    Exactly(u64),
    /// A part of the whole, in hundredths of a per cent from 1 to 10,000; rounded down, at least 1.
    Share(u16),
    /// The whole divided by a number from 1; rounded down, at least 1.
    Divisor(u64),
}

impl Size {
    /// What may be written.
    pub const ALLOWED: &str =
        "\"auto\", a whole number from 1, a share as \"50%\" (0.01% to 100%), or a divisor as \"/4\"";

    /// The number, where something of `whole` is measured; `None` where the program chooses.
    pub fn of(self, whole: u64) -> Option<u64> {
        match self {
            Self::Auto => None,
            Self::Exactly(size) => Some(size),
            Self::Share(share) => {
                let part = u128::from(whole) * u128::from(share) / u128::from(WHOLE);
                Some(u64::try_from(part).unwrap_or(u64::MAX).max(1))
            }
            Self::Divisor(divisor) => Some((whole / divisor.max(1)).max(1)),
        }
    }

    /// The same for who reads numbers where whole numbers come as such.
    fn exactly(size: u64) -> Result<Self, SizeError> {
        // TOML has no whole numbers above this.
        let allowed = size > 0 && i64::try_from(size).is_ok();
        if allowed { Ok(Self::Exactly(size)) } else { Err(SizeError(size.to_string())) }
    }
}

/// Text that is no [`Size`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no size; allowed: {allowed}", allowed = Size::ALLOWED)]
pub struct SizeError(pub String);

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.pad("auto"),
            Self::Exactly(size) => size.fmt(formatter),
            Self::Share(share) => match (share / 100, share % 100) {
                (whole, 0) => formatter.pad(&format!("{whole}%")),
                (whole, part) if part % 10 == 0 => formatter.pad(&format!("{whole}.{}%", part / 10)),
                (whole, part) => formatter.pad(&format!("{whole}.{part:02}%")),
            },
            Self::Divisor(divisor) => formatter.pad(&format!("/{divisor}")),
        }
    }
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let refuse = || SizeError(text.into());
        if text == "auto" {
            return Ok(Self::Auto);
        }
        if let Some(divisor) = text.strip_prefix('/') {
            let allowed = |divisor: &u64| *divisor > 0;
            return number(divisor).filter(allowed).map(Self::Divisor).ok_or_else(refuse);
        }
        let Some(share) = text.strip_suffix('%') else {
            return number(text).ok_or_else(refuse).and_then(Self::exactly);
        };
        let (whole, part) = share.split_once('.').unwrap_or((share, "0"));
        let scale = match part.len() {
            1 => 10,
            2 => 1,
            _ => return Err(refuse()),
        };
        let hundredths =
            number(whole).zip(number(part)).and_then(|(whole, part)| whole.checked_mul(100)?.checked_add(part * scale));
        let share = hundredths.filter(|share| (1..=WHOLE).contains(share)).and_then(|share| u16::try_from(share).ok());
        share.map(Self::Share).ok_or_else(refuse)
    }
}

/// Digits alone: no sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|digit| digit.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Exactly(size) => serializer.serialize_u64(*size),
            other => serializer.collect_str(other),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SizeVisitor;
        impl Visitor<'_> for SizeVisitor {
            type Value = Size;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(Size::ALLOWED)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: Error>(self, size: u64) -> Result<Size, E> {
                Size::exactly(size).map_err(E::custom)
            }

            fn visit_i64<E: Error>(self, size: i64) -> Result<Size, E> {
                let size = u64::try_from(size).map_err(|_| E::custom(SizeError(size.to_string())))?;
                self.visit_u64(size)
            }
        }
        deserializer.deserialize_any(SizeVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_they_are_printed() {
        for text in ["auto", "12", "50%", "12.5%", "0.01%", "33.33%", "100%", "/4", "/1"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
        assert_eq!("50.0%".parse::<Size>().unwrap(), Size::Share(5000));
        for text in ["", "0", "-3", "+3", "/0", "/", "0%", "100.01%", "1.234%", "%", ".5%", "4/", "half", "1e3"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn parts_are_rounded_down_and_never_nothing() {
        assert_eq!(Size::Auto.of(755), None);
        assert_eq!(Size::Exactly(900).of(755), Some(900));
        assert_eq!(Size::Share(5000).of(755), Some(377));
        assert_eq!(Size::Divisor(4).of(755), Some(188));
        assert_eq!(Size::Divisor(4).of(3), Some(1));
        assert_eq!(Size::Share(1).of(3), Some(1));
        assert_eq!(Size::Share(10_000).of(u64::MAX), Some(u64::MAX));
    }
}
