//! Figures for people: four significant digits, units that fit the size, thousands apart.

/// What stands in a table where there is no number.
pub const NOTHING: &str = "-";

/// Four significant digits: `461.2`, `1,052`, `33,640`. From 1e12 and below 1e-4 with an exponent. What is no number
/// is a dash.
///
/// ```
/// use wafersim_report::number::figure;
/// assert_eq!([figure(461.189), figure(33_639.2), figure(0.0)], ["461.2", "33,640", "0"]);
/// ```
pub fn figure(value: f64) -> String {
    significant(value, 4)
}

/// So many significant digits, at least one.
pub fn significant(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return NOTHING.into();
    }
    if value == 0.0 {
        return "0".into();
    }
    let digits = digits.max(1);
    // Rounding first: 999.96 becomes 1000, with the exponent of 1000.
    let scientific = format!("{:.*e}", digits - 1, value.abs());
    let exponent = scientific.split_once('e').and_then(|(_, text)| text.parse::<i32>().ok()).unwrap_or(0);
    let rounded = scientific.parse::<f64>().unwrap_or(value.abs());
    let sign = if value < 0.0 { "-" } else { "" };
    let after_point = digits as i32 - 1 - exponent;
    let text = match exponent {
        12.. | ..-4 => scientific,
        _ if after_point <= 0 => whole(rounded as u64),
        _ => format!("{rounded:.*}", after_point as usize),
    };
    format!("{sign}{text}")
}

/// A whole number, thousands apart: `32,768`.
pub fn whole(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Thousandths as a number: `-1,234.567`.
pub fn thousandths(value: i64) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let size = value.unsigned_abs();
    format!("{sign}{}.{:03}", whole(size / 1000), size % 1000)
}

/// Users that fit, where [`wafersim_place::UNLIMITED`] means that nothing limits them.
pub fn users(count: u64) -> String {
    if count >= wafersim_place::UNLIMITED { "unlimited".into() } else { whole(count) }
}

/// A part of a whole in per cent: `41 %`, `4.5 %`, `0.3 %`.
pub fn share(part: f64) -> String {
    let percent = part * 100.0;
    if percent.abs() >= 9.95 { format!("{percent:.0} %") } else { format!("{percent:.1} %") }
}

/// A duration in the unit that fits it: `312.4 us`, `2.168 ms`, `30.72 min`.
pub fn duration(seconds: f64) -> String {
    const UNITS: [(f64, f64, &str); 6] = [
        (1e-6, 1e-9, "ns"),
        (1e-3, 1e-6, "us"),
        (1.0, 1e-3, "ms"),
        (120.0, 1.0, "s"),
        (7200.0, 60.0, "min"),
        (172_800.0, 3600.0, "h"),
    ];
    if !seconds.is_finite() {
        return NOTHING.into();
    }
    let fitting = UNITS.into_iter().find(|(below, _, _)| seconds.abs() < *below);
    let (size, unit) = fitting.map_or((86_400.0, "days"), |(_, size, unit)| (size, unit));
    format!("{} {unit}", figure(seconds / size))
}

/// A large count in words: `480.2 billion`.
pub fn count(value: u64) -> String {
    const NAMES: [(f64, &str); 3] = [(1e12, "trillion"), (1e9, "billion"), (1e6, "million")];
    let value_or_more = NAMES.into_iter().find(|(size, _)| value as f64 >= *size);
    value_or_more.map_or_else(|| whole(value), |(size, name)| format!("{} {name}", figure(value as f64 / size)))
}

/// `1 wafer`, `16 wafers`.
pub fn plural(count: u64, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{} {thing}s", whole(count)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_four_digits() {
        for (value, text) in [
            (0.0, "0"),
            (461.189, "461.2"),
            (999.96, "1,000"),
            (1052.1, "1,052"),
            (33_639.2, "33,640"),
            (2.0, "2.000"),
            (0.012_345_6, "0.01235"),
            (0.000_012_345_6, "1.235e-5"),
            (-77.04, "-77.04"),
            (9.9999e11, "1.000e12"),
            (f64::MAX, "1.798e308"),
            (f64::NAN, "-"),
            (f64::INFINITY, "-"),
        ] {
            assert_eq!(figure(value), text, "{value}");
        }
        assert_eq!(significant(1234.0, 1), "1,000");
        assert_eq!(significant(1234.0, 0), "1,000");
    }

    #[test]
    fn units_fit_the_size() {
        for (seconds, text) in [
            (2.168e-3, "2.168 ms"),
            (951e-6, "951.0 us"),
            (3e-9, "3.000 ns"),
            (1.0, "1.000 s"),
            (119.0, "119.0 s"),
            (1843.0, "30.72 min"),
            (86_400.0, "24.00 h"),
            (1e9, "11,570 days"),
        ] {
            assert_eq!(duration(seconds), text);
        }
        assert_eq!([share(0.4123), share(0.0451), share(0.0999), share(1.0)], ["41 %", "4.5 %", "10 %", "100 %"]);
        assert_eq!([count(480_154_875_392), count(999_999)], ["480.2 billion", "999,999"]);
        assert_eq!(
            [whole(0), whole(999), whole(1000), whole(u64::MAX)],
            ["0", "999", "1,000", "18,446,744,073,709,551,615"]
        );
        assert_eq!([users(212), users(wafersim_place::UNLIMITED)], ["212", "unlimited"]);
        assert_eq!([plural(1, "wafer"), plural(1600, "wafer")], ["1 wafer", "1,600 wafers"]);
    }
}
