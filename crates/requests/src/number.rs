//! Numbers and dates of traces, as whole picoseconds: no digit of a time is lost.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::settings::TimeUnit;

/// Picoseconds of a nanosecond.
const NANOSECOND: i128 = 1000;

/// Powers of ten that fit.
const POWERS: [i128; 39] = {
    let mut powers = [1; 39];
    let mut at = 1;
    while at < 39 {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

/// A decimal number times 10^`places`, to the nearest whole number; nothing where it is none, or does not fit.
pub(crate) fn decimal(text: &[u8], places: i32) -> Option<i128> {
    let text = text.trim_ascii();
    let (negative, digits) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        (b'+', rest) => (false, rest),
        _ => (false, text),
    };
    let (mut mantissa, mut fraction, mut seen, mut exponent) = (0u64, 0i32, 0usize, 0i32);
    let mut point = false;
    for (at, byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                seen += 1;
                if seen > 18 {
                    return by_float(text, places);
                }
                mantissa = mantissa * 10 + u64::from(byte - b'0');
                fraction += i32::from(point);
            }
            b'.' if !point => point = true,
            b'e' | b'E' if seen > 0 => {
                exponent = std::str::from_utf8(digits.get(at + 1..)?).ok()?.parse().ok()?;
                break;
            }
            _ => return None,
        }
    }
    if seen == 0 {
        return None;
    }
    let shift = places.checked_sub(fraction)?.checked_add(exponent)?;
    let power = POWERS.get(shift.unsigned_abs() as usize);
    let value = match (shift >= 0, power) {
        // Usual numbers: a product of two words, below 10^36.
        (true, Some(power)) if shift <= 18 => (u128::from(mantissa) * u128::from(*power as u64)) as i128,
        (true, power) => i128::from(mantissa).checked_mul(*power?)?,
        (false, Some(by)) => (i128::from(mantissa) + by / 2) / by,
        (false, None) => 0,
    };
    Some(if negative { -value } else { value })
}

/// Numbers of many digits: to the precision of a double.
fn by_float(text: &[u8], places: i32) -> Option<i128> {
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let scaled = (value * 10f64.powi(places)).round();
    (scaled.abs() < 1e36).then_some(scaled as i128)
}

/// A double times 10^`places`: of the decimal numbers that it may stand for, the shortest is meant.
pub(crate) fn from_float(value: f64, places: i32) -> Option<i128> {
    (value.abs() < 1e24).then(|| decimal(value.to_string().as_bytes(), places)).flatten()
}

/// A whole number of tokens. `16.0` is one; with `cuts`, so is what is left of `16.7`.
pub(crate) fn whole(text: &[u8], cuts: bool) -> Option<u64> {
    let text = text.trim_ascii();
    let mut value = 0u64;
    for (index, byte) in text.iter().enumerate() {
        match byte {
            // Below 10^18 nothing overflows.
            b'0'..=b'9' if index < 18 => value = value * 10 + u64::from(byte - b'0'),
            b'0'..=b'9' => value = value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?,
            b'.' if index > 0 => {
                let rest = text.get(index + 1..)?;
                let allowed = |digit: &u8| if cuts { digit.is_ascii_digit() } else { *digit == b'0' };
                return rest.iter().all(allowed).then_some(value);
            }
            _ => return None,
        }
    }
    (!text.is_empty()).then_some(value)
}

/// Reads times of one file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clock {
    /// The minute of the last date, as written with the zone after the seconds, and its picoseconds since 1970: dates
    /// of a trace follow each other, so that most share it.
    minute: Vec<u8>,
    zone: Vec<u8>,
    start: i128,
}

/// Letters of a date up to its seconds: `2023-11-16 18:15:`.
const MINUTE: usize = 17;

impl Clock {
    /// A time in picoseconds.
    pub(crate) fn time(&mut self, text: &[u8], unit: TimeUnit) -> Option<i128> {
        match unit {
            TimeUnit::Date => self.date(text.trim_ascii()),
            _ => decimal(text, unit.places()),
        }
    }

    fn date(&mut self, text: &[u8]) -> Option<i128> {
        let (minute, rest) = text.split_at_checked(MINUTE)?;
        let seconds = rest.iter().position(|byte| !(byte.is_ascii_digit() || *byte == b'.')).unwrap_or(rest.len());
        let (seconds, zone) = rest.split_at(seconds);
        let plain = seconds.len() >= 2 && seconds.get(2).is_none_or(|byte| *byte == b'.') && seconds < b"60".as_slice();
        if plain && minute == self.minute && zone == self.zone {
            return Some(self.start + decimal(seconds, 12)?);
        }
        let at = date(std::str::from_utf8(text).ok()?)?;
        if plain {
            self.start = at - decimal(seconds, 12)?;
            self.minute = minute.to_vec();
            self.zone = zone.to_vec();
        }
        Some(at)
    }
}

/// A date in picoseconds since 1970; without a zone it is taken for UTC.
fn date(text: &str) -> Option<i128> {
    // Names of zones that have no sign.
    let named = ["UTC", "GMT"].iter().find_map(|zone| text.strip_suffix(zone)).map(str::trim_end);
    if let Some(plain) = named {
        return Some(
            plain.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp().as_nanosecond() * NANOSECOND,
        );
    }
    let at: Timestamp = match text.parse() {
        Ok(at) => at,
        Err(_) => text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp(),
    };
    Some(at.as_nanosecond() * NANOSECOND)
}

/// A time as a file of this unit would write it, for people.
pub(crate) fn written(picoseconds: i128, unit: TimeUnit) -> String {
    if unit == TimeUnit::Date {
        let nanoseconds = picoseconds / NANOSECOND;
        let since = i64::try_from(nanoseconds / 1_000_000_000).unwrap_or(i64::MAX);
        let rest = (nanoseconds % 1_000_000_000) as i32;
        let at = Timestamp::UNIX_EPOCH.checked_add(SignedDuration::new(since, rest));
        return at.map_or_else(|_| "a date out of range".into(), |at| at.to_string());
    }
    format!("{} {}", plain(picoseconds, unit.places()), unit.name())
}

/// Picoseconds with the point `places` before the end, without zeros behind it: what [`decimal`] reads.
pub(crate) fn plain(picoseconds: i128, places: i32) -> String {
    let one = 10i128.pow(places.unsigned_abs());
    let sign = if picoseconds < 0 { "-" } else { "" };
    let (units, rest) = (picoseconds.abs() / one, picoseconds.abs() % one);
    let fraction = format!("{rest:0>width$}", width = places.unsigned_abs() as usize);
    let fraction = fraction.trim_end_matches('0');
    if rest == 0 { format!("{sign}{units}") } else { format!("{sign}{units}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_lose_no_digit() {
        for (text, places, value) in [
            ("0", 12, Some(0)),
            ("19440000.0", 12, Some(19_440_000_000_000_000_000)),
            ("-1.5", 3, Some(-1500)),
            ("+2.", 0, Some(2)),
            (".5", 1, Some(5)),
            ("1.25e3", 3, Some(1_250_000)),
            ("0.0005", 3, Some(1)),
            ("1e300", 12, None),
            ("1e-300", 12, Some(0)),
            ("", 3, None),
            (".", 3, None),
            ("NaN", 3, None),
            ("1.2.3", 3, None),
            ("0x10", 3, None),
            ("1e", 3, None),
        ] {
            assert_eq!(decimal(text.as_bytes(), places), value, "{text}");
        }
        assert_eq!(plain(4_314_579_000_000, 12), "4.314579");
        assert_eq!(plain(-1_500, 3), "-1.5");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let mut clock = Clock::default();
        let mut at = |text: &str| clock.time(text.as_bytes(), TimeUnit::Date);
        let second = 1_000_000_000_000;
        assert_eq!(
            at("2023-11-16 18:15:46.6805900").unwrap() - at("2023-11-16 18:15:46").unwrap(),
            second * 6_805_900 / 10_000_000
        );
        assert_eq!(at("2024-03-01 00:00:00.0").unwrap() - at("2024-02-29 23:59:59.9").unwrap(), second / 10);
        assert_eq!(at("2024-05-12 02:00:00+02:00"), at("2024-05-12 00:00:00.000000+00:00"));
        assert_eq!(at("2024-05-12T00:00:00Z"), at("2024-05-12 00:00:00"));
        for text in [
            "",
            "2023-11-16",
            "2023-02-29 00:00:00",
            "2023-13-01 00:00:00",
            "2023-11-16 24:00:00.0",
            "2023-11-16 18:15:99",
            "2023-11-16 1:2:3.x",
            "2023-04-31 10:00:00+00:00",
        ] {
            assert_eq!(at(text), None, "{text}");
        }
    }

    #[test]
    fn whole_numbers_may_have_a_point() {
        assert_eq!((whole(b"16", false), whole(b" 16.0 ", false), whole(b"16.5", false)), (Some(16), Some(16), None));
        assert_eq!((whole(b"16.7", true), whole(b"-1", true), whole(b"", true)), (Some(16), None, None));
        assert_eq!(whole(b"99999999999999999999", false), None);
    }
}
