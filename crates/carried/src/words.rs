//! Numbers as the words that wavelets carry: one fp32, or two values of 16 bits, the first in the lower half.

use half::{bf16, f16};
use wafersim_program::ReduceOperator;
use wafersim_spec::DataType;
use wafersim_values::interpreter::{Rounding, combine};

/// Values in a word.
pub(crate) const fn values_of(rounding: Rounding) -> usize {
    match rounding {
        Rounding::Fp32 => 1,
        Rounding::Fp16 | Rounding::Bf16 => 2,
    }
}

/// The format of what a buffer of a type carries.
pub(crate) const fn format(data_type: DataType) -> Rounding {
    Rounding::of(data_type)
}

fn pack(rounding: Rounding, values: &[f32]) -> u32 {
    let half = |at: usize| {
        values.get(at).map_or(0, |value| match rounding {
            Rounding::Bf16 => bf16::from_f32(*value).to_bits(),
            _ => f16::from_f32(*value).to_bits(),
        })
    };
    match rounding {
        Rounding::Fp32 => values.first().map_or(0, |value| value.to_bits()),
        _ => u32::from(half(0)) | u32::from(half(1)) << 16,
    }
}

fn unpack(rounding: Rounding, word: u32) -> [f32; 2] {
    let (low, high) = (word as u16, (word >> 16) as u16);
    match rounding {
        Rounding::Fp32 => [f32::from_bits(word), 0.0],
        Rounding::Fp16 => [f16::from_bits(low).to_f32(), f16::from_bits(high).to_f32()],
        Rounding::Bf16 => [bf16::from_bits(low).to_f32(), bf16::from_bits(high).to_f32()],
    }
}

/// The words of some values.
pub(crate) fn words_of(rounding: Rounding, values: impl Iterator<Item = f32>) -> Vec<u32> {
    let values: Vec<f32> = values.collect();
    values.chunks(values_of(rounding)).map(|values| pack(rounding, values)).collect()
}

/// The first `count` values of some words; fewer where there are fewer words.
pub(crate) fn values_in(rounding: Rounding, words: &[u32], count: usize) -> Vec<f32> {
    let each = values_of(rounding);
    words.iter().flat_map(|word| unpack(rounding, *word).into_iter().take(each)).take(count).collect()
}

/// A partial result that words are combined with as they pass.
#[derive(Debug, Clone)]
pub(crate) struct Partial {
    pub(crate) words: Vec<u32>,
    operator: ReduceOperator,
    rounding: Rounding,
    /// Of a pair in two words: whether the arrived value has won, or only its number will tell.
    won: Won,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Won {
    Own,
    Arrived,
    Equal,
}

impl Partial {
    pub(crate) const fn new(words: Vec<u32>, operator: ReduceOperator, rounding: Rounding) -> Self {
        Self { words, operator, rounding, won: Won::Own }
    }

    /// Combines the word number `index` with what arrives; gives the result, which stays here too. Words beyond the own
    /// ones fill the longest payload up, and pass.
    pub(crate) fn meet(&mut self, index: usize, arrived: u32) -> u32 {
        let Some(own) = self.words.get_mut(index) else { return arrived };
        if self.operator == ReduceOperator::ArgMax && self.rounding == Rounding::Fp32 {
            let (mine, other) = (f32::from_bits(*own), f32::from_bits(arrived));
            let takes = if index.is_multiple_of(2) {
                self.won = match (other > mine, other == mine) {
                    (true, _) => Won::Arrived,
                    (_, true) => Won::Equal,
                    _ => Won::Own,
                };
                self.won == Won::Arrived
            } else {
                self.won == Won::Arrived || (self.won == Won::Equal && other < mine)
            };
            if takes {
                *own = arrived;
            }
            return *own;
        }
        let each = values_of(self.rounding);
        let (mut mine, other) = (unpack(self.rounding, *own), unpack(self.rounding, arrived));
        combine(self.operator, self.rounding, &mut mine[..each], &other[..each]);
        *own = pack(self.rounding, &mine[..each]);
        *own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_hold_what_they_are_given() {
        let values = [1.5, -0.0, 65504.0, f32::NEG_INFINITY, 2.0_f32.powi(-14)];
        for rounding in [Rounding::Fp32, Rounding::Fp16, Rounding::Bf16] {
            let rounded: Vec<f32> = values.iter().map(|value| rounding.round(*value)).collect();
            let words = words_of(rounding, rounded.iter().copied());
            assert_eq!(words.len(), if rounding == Rounding::Fp32 { 5 } else { 3 });
            let back = values_in(rounding, &words, values.len());
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&back), bits(&rounded), "{rounding:?}");
        }
    }

    #[test]
    fn of_equal_values_the_smaller_number_wins_word_by_word() {
        for (own, arrived, wanted) in [
            ([3.0, 7.0], [3.0, 5.0], [3.0, 5.0]),
            ([3.0, 4.0], [3.0, 5.0], [3.0, 4.0]),
            ([2.0, 1.0], [3.0, 9.0], [3.0, 9.0]),
        ] {
            for rounding in [Rounding::Fp32, Rounding::Fp16] {
                let mut partial = Partial::new(words_of(rounding, own.into_iter()), ReduceOperator::ArgMax, rounding);
                let arrived = words_of(rounding, arrived.into_iter());
                let sent: Vec<u32> = (0..).zip(&arrived).map(|(index, word)| partial.meet(index, *word)).collect();
                assert_eq!(values_in(rounding, &sent, 2), wanted);
                assert_eq!(sent, partial.words);
            }
        }
    }
}
