//! Round numbers along an axis.

/// Steps of 1, 2 or 5 times a power of ten from `low` to `high`, about `wanted` of them; the ends only where they are
/// round.
pub fn ticks(low: f64, high: f64, wanted: usize) -> Vec<f64> {
    let span = high - low;
    if !(span.is_finite() && span > 0.0) {
        return vec![low];
    }
    let step = round_step(span / wanted.max(1) as f64);
    let first = (low / step - 1e-9).ceil();
    let last = (high / step + 1e-9).floor();
    (0..=(last - first).max(0.0) as u64).map(|index| (first + index as f64) * step).collect()
}

/// The smallest of 1, 2 or 5 times a power of ten that is not below `least`.
pub fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= least * (1.0 - 1e-9))
        .unwrap_or(power * 10.0)
}

/// A number of a scale whose steps are `step`: as many digits after the point as tell them apart, from a million on
/// with an exponent.
pub fn label(value: f64, step: f64) -> String {
    if value.abs() >= 1e6 || (value != 0.0 && step < 1e-4) {
        return format!("{value:.1e}");
    }
    let digits = (-(step.abs().max(1e-4).log10() + 1e-9).floor()).clamp(0.0, 4.0) as usize;
    let text = format!("{value:.digits$}");
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(whole, part)| (whole, Some(part)));
    let mut parted = String::new();
    for (index, digit) in whole.chars().enumerate() {
        let left = whole.len() - index;
        if index > usize::from(whole.starts_with('-')) && left.is_multiple_of(3) && digit.is_ascii_digit() {
            parted.push(',');
        }
        parted.push(digit);
    }
    match fraction {
        Some(part) => format!("{parted}.{part}"),
        None => parted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks(0.0, 11.0, 6), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(380.0, 759.0, 4), [400.0, 500.0, 600.0, 700.0]);
        assert_eq!(ticks(0.0, 0.0, 4), [0.0]);
        assert_eq!(ticks(0.0, f64::NAN, 4).len(), 1);
        assert!(ticks(0.0, 0.37, 5).iter().all(|tick| (0.0..=0.37).contains(tick)));
    }

    #[test]
    fn labels_tell_steps_apart() {
        for (value, step, text) in [
            (0.0, 1.0, "0"),
            (12_000.0, 2000.0, "12,000"),
            (0.25, 0.05, "0.25"),
            (2.5, 0.5, "2.5"),
            (3e7, 1e7, "3.0e7"),
            (-200.0, 100.0, "-200"),
            (-2000.0, 100.0, "-2,000"),
        ] {
            assert_eq!(label(value, step), text);
        }
    }
}
