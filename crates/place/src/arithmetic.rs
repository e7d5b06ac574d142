//! The few sums that several files share: division with all edge cases, and the dealing of a total in proportion.
//! It owns no concept of placement.

/// `number / parts`, rounded up; no parts count as one.
pub(crate) const fn divide_up(number: u64, parts: u64) -> u64 {
    number.div_ceil(if parts == 0 { 1 } else { parts })
}

/// `total * before / whole`, rounded down: what the elements `0..before` of `whole` get when `total` is dealt in
/// proportion. Differences of it add up to `total` exactly, whatever the pieces are.
pub(crate) const fn dealt(total: u64, before: u64, whole: u64) -> u64 {
    if whole == 0 {
        return 0;
    }
    narrow(total as u128 * before as u128 / whole as u128)
}

/// `total * part / whole`, rounded up: the most that a piece of `part` elements can be dealt.
pub(crate) const fn dealt_at_most(total: u64, part: u64, whole: u64) -> u64 {
    if whole == 0 {
        return 0;
    }
    narrow((total as u128 * part as u128).div_ceil(whole as u128))
}

/// The value, or the largest `u64` where it is larger.
pub(crate) const fn narrow(value: u128) -> u64 {
    if value > u64::MAX as u128 { u64::MAX } else { value as u64 }
}

/// The largest value in `0..=limit` for which `holds` is true, where `holds` is true up to some value and false above.
/// `None` where it is false for 0 already.
pub(crate) fn largest_that(limit: u64, mut holds: impl FnMut(u64) -> bool) -> Option<u64> {
    if !holds(0) {
        return None;
    }
    if holds(limit) {
        return Some(limit);
    }
    // Invariant: holds(low), not holds(high). Doubling first keeps the cost low where the answer is small.
    let (mut low, mut high) = (0, limit);
    let mut step = 1;
    while step < limit && holds(step) {
        low = step;
        step = step.saturating_mul(2);
    }
    high = high.min(step);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_is_found_wherever_it_is() {
        for limit in 0..20 {
            for answer in 0..=limit {
                assert_eq!(largest_that(limit, |value| value <= answer), Some(answer), "{answer} of {limit}");
            }
        }
        assert_eq!(largest_that(9, |_| false), None);
        assert_eq!(largest_that(u64::MAX, |_| true), Some(u64::MAX));
    }

    #[test]
    fn what_is_dealt_adds_up() {
        let pieces = [3, 0, 1, 7, 2];
        let mut before = 0;
        let mut sum = 0;
        for piece in pieces {
            let share = dealt(29, before + piece, 13) - dealt(29, before, 13);
            assert!(share <= dealt_at_most(29, piece, 13));
            sum += share;
            before += piece;
        }
        assert_eq!(sum, 29);
        assert_eq!(dealt(u64::MAX, u64::MAX, 1), u64::MAX);
    }
}
