//! Values along an axis: its ends, its ticks, and where a value stands.

use super::Scale;
use crate::axis::{label, round_step, ticks};

/// An axis with ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Ruler {
    scale: Scale,
    low: f64,
    high: f64,
    /// Ticks with numbers, and those without.
    pub numbers: Vec<(f64, String)>,
    pub between: Vec<f64>,
}

impl Ruler {
    /// The axis of values, with about `wanted` numbers. Linear axes begin at 0 where no value is below; the ends of all
    /// axes are round.
    pub fn new(scale: Scale, values: impl Iterator<Item = f64>, wanted: usize) -> Self {
        let (low, high) =
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        match scale {
            Scale::Linear => Self::linear(low, high, wanted),
            Scale::Logarithmic => Self::logarithmic(low, high, wanted),
        }
    }

    fn linear(low: f64, high: f64, wanted: usize) -> Self {
        let (low, high) = (low.min(0.0), high.max(0.0));
        // What is all but 0 has no scale of its own.
        let high = if high - low > 1e-100 { high } else { low + 1.0 };
        let step = round_step((high - low) / wanted.max(1) as f64);
        let (low, high) = ((low / step + 1e-9).floor() * step, (high / step - 1e-9).ceil() * step);
        let numbers = ticks(low, high, wanted).into_iter().map(|value| (value, label(value, step))).collect();
        Self { scale: Scale::Linear, low, high, numbers, between: Vec::new() }
    }

    fn logarithmic(low: f64, high: f64, wanted: usize) -> Self {
        let steps = |digits: &'static [f64]| {
            let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
            (first..=last).flat_map(move |power| digits.iter().map(move |digit| digit * 10f64.powi(power)))
        };
        let fine: Vec<f64> = steps(&[1.0, 2.0, 5.0]).collect();
        let inner_low = fine.iter().copied().filter(|tick| *tick <= low * (1.0 + 1e-9)).fold(0.0, f64::max);
        let inner_high = fine.iter().copied().filter(|tick| *tick >= high * (1.0 - 1e-9)).fold(f64::INFINITY, f64::min);
        // A single value stands in the middle of its steps.
        let (start, end) = if inner_high > inner_low * 1.5 { (inner_low, inner_high) } else { (low / 2.0, high * 2.0) };
        let inside = |tick: &f64| (start * (1.0 - 1e-9)..=end * (1.0 + 1e-9)).contains(tick);
        let all: Vec<f64> = fine.into_iter().filter(inside).collect();
        let powers: Vec<f64> = steps(&[1.0]).filter(inside).collect();
        // Numbers at 1, 2, 5; at powers of ten where those are too many; at every second, third... power in the end.
        let numbered: Vec<f64> = if all.len() <= wanted.max(3) + 2 || powers.len() < 2 {
            all.clone()
        } else {
            let every = powers.len().div_ceil(wanted.max(2));
            powers.iter().copied().step_by(every).collect()
        };
        let between = all.into_iter().filter(|tick| !numbered.contains(tick)).collect();
        let numbers = numbered.into_iter().map(|value| (value, label(value, value.min(1.0)))).collect();
        Self { scale: Scale::Logarithmic, low: start, high: end, numbers, between }
    }

    /// Where a value stands: 0 at the low end, 1 at the high end.
    pub fn part(&self, value: f64) -> f64 {
        let part = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Logarithmic => (value / self.low).log10() / (self.high / self.low).log10(),
        };
        part.clamp(0.0, 1.0)
    }

    /// The value at a part of the axis.
    pub fn value(&self, part: f64) -> f64 {
        match self.scale {
            Scale::Linear => self.low + part * (self.high - self.low),
            Scale::Logarithmic => self.low * (self.high / self.low).powf(part),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(scale: Scale, values: &[f64]) -> Vec<String> {
        Ruler::new(scale, values.iter().copied(), 6).numbers.into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn ticks_are_round_and_reach_beyond_the_values() {
        assert_eq!(numbers(Scale::Linear, &[120.0, 980.0]), ["0", "200", "400", "600", "800", "1,000"]);
        assert_eq!(numbers(Scale::Linear, &[-3.0, 4.0]), ["-4", "-2", "0", "2", "4"]);
        assert_eq!(numbers(Scale::Logarithmic, &[130.0, 1900.0]), ["100", "200", "500", "1,000", "2,000"]);
        assert_eq!(numbers(Scale::Logarithmic, &[0.02, 900.0]), ["0.1", "1", "10", "100", "1,000"]);
        assert_eq!(numbers(Scale::Linear, &[0.0]), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
    }

    #[test]
    fn parts_and_values_are_inverse() {
        for scale in [Scale::Linear, Scale::Logarithmic] {
            let ruler = Ruler::new(scale, [3.0, 700.0].into_iter(), 5);
            for value in [3.0, 42.0, 699.0] {
                assert!((ruler.value(ruler.part(value)) / value - 1.0).abs() < 1e-9);
            }
            assert!(ruler.part(3.0) >= 0.0 && ruler.part(700.0) <= 1.0);
        }
    }
}
