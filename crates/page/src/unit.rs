//! How a number of the JSON is shown: in which unit it stands there, and which words it becomes.

use serde_json::Value;
use wafersim_report::number::{NOTHING, duration, figure, share, thousandths, users, whole};

/// What a value of the JSON counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Nothing in particular: whole numbers as they are, others with four digits, words as they stand.
    Plain,
    /// A name, or a number that is one (`2026`): as it stands.
    Verbatim,
    /// Users, where a number beyond all machines means that nothing limits them.
    Users,
    /// Tokens per second.
    Speed,
    /// Thousandths of a token per second: all three digits are shown, so that sums hold to the last.
    Millispeed,
    /// A part of 1, shown in per cent.
    Share,
    /// Hundredths.
    Percent,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// Microseconds.
    Microseconds,
    /// Bytes.
    Bytes,
    /// Gigahertz.
    Gigahertz,
}

impl Unit {
    /// What the last part of a field's name says of its unit.
    pub fn of_field(field: &str) -> Self {
        let ends = |ending: &str| field == ending || field.strip_suffix(ending).is_some_and(|rest| rest.ends_with('_'));
        match field {
            "max_users" | "users_at_full_speed" => Self::Users,
            "share" | "utilization" => Self::Share,
            _ if field.contains("bytes") => Self::Bytes,
            _ if field.contains("tokens_per_second") => Self::Speed,
            _ if ends("us") => Self::Microseconds,
            _ if ends("ms") => Self::Milliseconds,
            _ if ends("s") || ends("seconds") => Self::Seconds,
            _ if ends("percent") => Self::Percent,
            _ if ends("ghz") => Self::Gigahertz,
            _ if ends("share") || ends("utilization") => Self::Share,
            _ if ends("hash") || ends("version") || ends("build") => Self::Verbatim,
            _ => Self::Plain,
        }
    }

    /// The words for a value in this unit.
    pub fn text(self, value: &Value) -> String {
        let number = match value {
            Value::Null => return NOTHING.into(),
            Value::Bool(true) => return "yes".into(),
            Value::Bool(false) => return "no".into(),
            Value::String(text) => return text.clone(),
            Value::Array(items) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
                return items.iter().map(|item| self.text(item)).collect::<Vec<_>>().join(", ");
            }
            Value::Array(_) | Value::Object(_) => return value.to_string(),
            Value::Number(number) => number,
        };
        let (exact, value) = (number.as_u64(), number.as_f64().unwrap_or(f64::NAN));
        match self {
            Self::Verbatim => number.to_string(),
            Self::Plain => exact.map_or_else(|| figure(value), whole),
            Self::Speed => figure(value),
            Self::Millispeed => number.as_i64().map_or_else(|| figure(value * 1e-3), thousandths),
            Self::Users => exact.map_or_else(|| figure(value), users),
            Self::Share => share(value),
            Self::Percent => share(value / 100.0),
            Self::Seconds => duration(value),
            Self::Milliseconds => duration(value * 1e-3),
            Self::Microseconds => duration(value * 1e-6),
            Self::Bytes => exact.map_or_else(|| figure(value), bytes),
            Self::Gigahertz => format!("{number} GHz"),
        }
    }

    /// What stands behind the title of a column of bare numbers; nothing where the title says it.
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Plain | Self::Verbatim | Self::Users => "",
            Self::Speed => "tok/s",
            Self::Millispeed => "tok/s / 1,000",
            Self::Share => "part of 1",
            Self::Percent => "%",
            Self::Seconds => "s",
            Self::Milliseconds => "ms",
            Self::Microseconds => "us",
            Self::Bytes => "bytes",
            Self::Gigahertz => "GHz",
        }
    }

    /// Its name in the page, by which a script reads the words back.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Verbatim => "verbatim",
            Self::Users => "users",
            Self::Speed => "speed",
            Self::Millispeed => "millispeed",
            Self::Share => "share",
            Self::Percent => "percent",
            Self::Seconds => "s",
            Self::Milliseconds => "ms",
            Self::Microseconds => "us",
            Self::Bytes => "bytes",
            Self::Gigahertz => "ghz",
        }
    }
}

/// Bytes in the unit that fits: `48.00 KiB`.
fn bytes(count: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let fitting = UNITS.into_iter().find(|(_, bits)| count >= 1 << bits);
    fitting.map_or_else(
        || format!("{} B", whole(count)),
        |(unit, bits)| format!("{:.2} {unit}", count as f64 / (1u64 << bits) as f64),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_fields_name_says_its_unit() {
        for (field, value, text) in [
            ("time_per_output_token_us", json!(270.04), "270.0 us"),
            ("time_to_first_token_ms", json!(4500.0), "4.500 s"),
            ("first_token_s", json!(0.5), "500.0 ms"),
            ("tokens_per_second_per_user", json!(3704.2), "3,704"),
            ("kv_bytes_per_token", json!(131_072), "128.00 KiB"),
            ("share", json!(0.25), "25 %"),
            ("mape_percent", json!(1.6), "1.6 %"),
            ("max_users", json!(47), "47"),
            ("clock_ghz", json!(1.1), "1.1 GHz"),
            ("input_hash", json!("00ff"), "00ff"),
            ("users", json!(4), "4"),
            ("draws", json!(1.5), "1.500"),
            ("reaches_target", json!(true), "yes"),
            ("fits", json!(null), "-"),
            ("status", json!("ok"), "ok"),
            ("users_and_wafers", json!([1, 2]), "1, 2"),
        ] {
            assert_eq!(Unit::of_field(field).text(&value), text, "{field}");
        }
    }
}
