//! The two random streams of a run: the same numbers as BookSim2 draws from the same seed.
//!
//! Both are Knuth's lagged-Fibonacci generators with lags 100 and 37, of which 100 of every 1009 numbers are used (The
//! Art of Computer Programming, volume 2, 3rd edition, section 3.6; `ran_array` subtracts integers modulo 2^30,
//! `ranf_array` adds fractions modulo 1). The fractions are multiples of 2^-52, so integers modulo 2^52 hold them
//! exactly. BookSim2 tests every source in every cycle with a fraction and draws destinations from the integers
//! (`random_utils.hpp`, `injection.cpp`). Drawing the same numbers makes runs comparable packet by packet: what is left
//! between the two simulators is the model, not the noise.

const LONG_LAG: usize = 100;
const SHORT_LAG: usize = 37;
const QUALITY: usize = 1009;
const SEPARATION: u32 = 70;

/// Seeds above this would repeat the streams of smaller ones.
pub(crate) const LARGEST_SEED: u64 = (1 << 30) - 1;

/// One way to combine two numbers of the past: what distinguishes the two generators.
trait Recurrence {
    const BITS: u32;
    /// Modulo 2^64: higher bits than [`Self::BITS`] do not matter, and are cut off when a number is used.
    fn combine(far: u64, near: u64) -> u64;
    /// First words of the table that a seed is spread over.
    fn bootstrap(seed: u64) -> [u64; LONG_LAG];
}

#[derive(Debug, Clone)]
struct Difference;

impl Recurrence for Difference {
    const BITS: u32 = 30;

    #[inline]
    fn combine(far: u64, near: u64) -> u64 {
        far.wrapping_sub(near)
    }

    fn bootstrap(seed: u64) -> [u64; LONG_LAG] {
        let modulus = 1 << Self::BITS;
        let shifted = (seed + 2) & (modulus - 2);
        doubled(shifted, modulus)
    }
}

/// Numbers each of which is twice the one before, cyclically, and the second one odd.
fn doubled(first: u64, modulus: u64) -> [u64; LONG_LAG] {
    let (mut table, mut shifted) = ([0; LONG_LAG], first);
    for word in &mut table {
        *word = shifted;
        shifted <<= 1;
        if shifted >= modulus {
            shifted -= modulus - 2;
        }
    }
    table[1] += 1;
    table
}

#[derive(Debug, Clone)]
struct Sum;

impl Recurrence for Sum {
    const BITS: u32 = 52;

    #[inline]
    fn combine(far: u64, near: u64) -> u64 {
        far.wrapping_add(near)
    }

    fn bootstrap(seed: u64) -> [u64; LONG_LAG] {
        let modulus = 1 << Self::BITS;
        let shifted = 2 * (seed + 2);
        doubled(shifted, modulus)
    }
}

/// A generator: its last 1009 + 100 numbers, of which the first 100 are given out.
#[derive(Debug, Clone)]
struct Lagged<R> {
    numbers: Vec<u64>,
    used: usize,
    recurrence: std::marker::PhantomData<R>,
}

impl<R: Recurrence> Lagged<R> {
    fn new(seed: u64) -> Self {
        let seed = seed & LARGEST_SEED;
        let mut table = [0; 2 * LONG_LAG];
        table[..LONG_LAG].copy_from_slice(&R::bootstrap(seed));
        let mut bits = seed;
        let mut left = SEPARATION - 1;
        while left > 0 {
            for j in (1..LONG_LAG).rev() {
                table[2 * j] = table[j];
                table[2 * j - 1] = 0;
            }
            for j in (LONG_LAG..2 * LONG_LAG - 1).rev() {
                table[j - (LONG_LAG - SHORT_LAG)] = R::combine(table[j - (LONG_LAG - SHORT_LAG)], table[j]);
                table[j - LONG_LAG] = R::combine(table[j - LONG_LAG], table[j]);
            }
            if bits & 1 == 1 {
                table.copy_within(0..LONG_LAG, 1);
                table[0] = table[LONG_LAG];
                table[SHORT_LAG] = R::combine(table[SHORT_LAG], table[LONG_LAG]);
            }
            if bits == 0 {
                left -= 1;
            }
            bits >>= 1;
        }
        let mut numbers = vec![0; QUALITY + LONG_LAG];
        for j in 0..LONG_LAG {
            numbers[QUALITY + (j + LONG_LAG - SHORT_LAG) % LONG_LAG] = table[j];
        }
        let mut generator = Self { numbers, used: LONG_LAG, recurrence: std::marker::PhantomData };
        for _ in 0..10 {
            generator.advance(2 * LONG_LAG - 1);
        }
        generator.used = LONG_LAG;
        generator
    }

    /// Makes the next `count` numbers, and 100 more from which to go on.
    fn advance(&mut self, count: usize) {
        self.numbers.copy_within(QUALITY.., 0);
        let end = count + LONG_LAG;
        let mut start = LONG_LAG;
        while start + SHORT_LAG <= end {
            // Lengths that the compiler knows: this loop makes ten numbers for each that is used.
            let (past, coming) = self.numbers.split_at_mut(start);
            let (far, _) = past[start - LONG_LAG..].split_at(SHORT_LAG);
            let near = &past[start - SHORT_LAG..];
            for ((number, far), near) in coming[..SHORT_LAG].iter_mut().zip(far).zip(near) {
                *number = R::combine(*far, *near);
            }
            start += SHORT_LAG;
        }
        for index in start..end {
            self.numbers[index] = R::combine(self.numbers[index - LONG_LAG], self.numbers[index - SHORT_LAG]);
        }
        self.numbers.copy_within(count..end, QUALITY);
        self.used = 0;
    }

    #[inline]
    fn next(&mut self) -> u64 {
        if self.used == LONG_LAG {
            self.advance(QUALITY);
        }
        let number = self.numbers[self.used];
        self.used += 1;
        number & ((1 << R::BITS) - 1)
    }
}

/// Which sources create a packet: one fraction per source and cycle.
#[derive(Debug, Clone)]
pub(crate) struct Arrivals {
    generator: Lagged<Sum>,
    below: u64,
}

impl Arrivals {
    /// Sources that create `rate` packets a cycle, 0 to 1.
    pub(crate) fn new(seed: u64, rate: f64) -> Self {
        Self { generator: Lagged::new(seed), below: (rate * (1_u64 << Sum::BITS) as f64).ceil() as u64 }
    }

    /// Whether the next source creates a packet.
    #[inline]
    pub(crate) fn next(&mut self) -> bool {
        self.generator.next() < self.below
    }

    /// The next `count` sources, up to 64: bit i is set where source i creates a packet.
    #[inline]
    pub(crate) fn next_word(&mut self, count: usize) -> u64 {
        let mut word = 0;
        let mut done = 0;
        while done < count {
            if self.generator.used == LONG_LAG {
                self.generator.advance(QUALITY);
            }
            let used = self.generator.used;
            let length = (LONG_LAG - used).min(count - done);
            for (bit, &number) in self.generator.numbers[used..used + length].iter().enumerate() {
                word |= u64::from(number & ((1 << Sum::BITS) - 1) < self.below) << (done + bit);
            }
            self.generator.used += length;
            done += length;
        }
        word
    }
}

/// Where packets go: integers.
#[derive(Debug, Clone)]
pub(crate) struct Destinations {
    generator: Lagged<Difference>,
}

impl Destinations {
    pub(crate) fn new(seed: u64) -> Self {
        Self { generator: Lagged::new(seed) }
    }

    /// A number from 0 to `bound` - 1, as BookSim2 takes it: the remainder of 30 random bits.
    #[inline]
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        (self.generator.next() % u64::from(bound.max(1))) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check values that Knuth gives with his programs.
    #[test]
    fn the_streams_are_knuths() {
        let mut integers = Lagged::<Difference>::new(310_952);
        for _ in 0..2010 {
            integers.advance(QUALITY);
        }
        assert_eq!(integers.next(), 995_235_265);

        let mut fractions = Lagged::<Sum>::new(310_952);
        for _ in 0..2010 {
            fractions.advance(QUALITY);
        }
        let first = fractions.next() as f64 / (1_u64 << 52) as f64;
        assert!((first - 0.364_105_143_775_696_8).abs() < 1e-16, "{first}");
    }

    #[test]
    fn words_are_the_same_draws_as_single_ones() {
        let (mut one, mut many) = (Arrivals::new(7, 0.3), Arrivals::new(7, 0.3));
        for count in [64, 1, 63, 64, 17, 64, 64, 5] {
            let word = many.next_word(count);
            for bit in 0..count {
                assert_eq!(one.next(), word >> bit & 1 == 1);
            }
        }
    }

    #[test]
    fn rates_of_nothing_and_everything() {
        assert_eq!(Arrivals::new(1, 0.0).next_word(64), 0);
        assert_eq!(Arrivals::new(1, 1.0).next_word(64), u64::MAX);
    }
}
