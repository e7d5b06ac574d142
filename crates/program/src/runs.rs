//! Lists of indices as runs of neighbours: what a place holds of a dimension is a few of them, however long it is.

/// Neighbouring indices, from the first to before the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// The first.
    pub first: u64,
    /// The one behind the last.
    pub end: u64,
}

impl Run {
    /// A run from an index to before another; of nothing where that is not behind it.
    pub const fn new(first: u64, end: u64) -> Self {
        Self { first, end: if end > first { end } else { first } }
    }

    /// How many indices.
    pub const fn length(self) -> u64 {
        self.end - self.first
    }

    /// So many further on.
    #[must_use]
    pub const fn after(self, distance: u64) -> Self {
        Self { first: self.first + distance, end: self.end + distance }
    }

    /// What two runs have in common.
    #[must_use]
    pub fn common(self, other: Self) -> Self {
        let first = self.first.max(other.first);
        Self::new(first, self.end.min(other.end))
    }
}

/// A list of indices in their order, as runs that are not empty; one never goes on where the one before it ends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Runs(Vec<Run>);

impl Runs {
    /// `0..size`.
    pub fn whole(size: u64) -> Self {
        [Run::new(0, size)].into_iter().collect()
    }

    /// Runs in their order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Run> + ExactSizeIterator + '_ {
        self.0.iter().copied()
    }

    /// How many indices.
    pub fn length(&self) -> u64 {
        self.iter().map(Run::length).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a run behind the others.
    pub fn push(&mut self, run: Run) {
        match self.0.last_mut() {
            _ if run.length() == 0 => {}
            Some(last) if last.end == run.first => last.end = run.end,
            _ => self.0.push(run),
        }
    }

    /// All indices, one by one.
    pub fn indices(&self) -> impl Iterator<Item = u64> + '_ {
        self.iter().flat_map(|run| run.first..run.end)
    }

    /// Of this list the indices at some positions, in the order of the positions.
    #[must_use]
    pub fn at(&self, positions: &Self) -> Self {
        let mut found = Self::default();
        for wanted in positions.iter() {
            let mut start = 0;
            for run in self.iter() {
                let here = Run::new(start, start + run.length()).common(wanted);
                if here.length() > 0 {
                    found.push(Run::new(run.first + here.first - start, run.first + here.end - start));
                }
                start += run.length();
            }
        }
        found
    }

    /// The first so many indices.
    #[must_use]
    pub fn leading(&self, count: u64) -> Self {
        self.at(&Self::whole(count))
    }

    /// Those of this list, in its order, that another one has too.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        let mut others = other.0.clone();
        others.sort_unstable();
        let mut found = Self::default();
        for run in self.iter() {
            let mut from = run.first;
            for other in &others {
                let here = Run::new(from, run.end).common(*other);
                if here.length() > 0 {
                    found.push(here);
                    from = here.end;
                }
            }
        }
        found
    }
}

impl FromIterator<Run> for Runs {
    fn from_iter<I: IntoIterator<Item = Run>>(runs: I) -> Self {
        let mut all = Self::default();
        runs.into_iter().for_each(|run| all.push(run));
        all
    }
}

impl FromIterator<u64> for Runs {
    fn from_iter<I: IntoIterator<Item = u64>>(indices: I) -> Self {
        indices.into_iter().map(|index| Run::new(index, index + 1)).collect()
    }
}

/// Part `part` of a dimension that is shared out evenly: `q part .. q (part + 1)`, and one of the last `size mod parts`
/// elements for each of the first parts.
pub fn even_runs(size: u64, parts: u64, part: u64) -> Runs {
    let parts = parts.max(1);
    if part >= parts {
        return Runs::default();
    }
    let (each, rest) = (size / parts, size % parts);
    let own = Run::new(each * part, each * (part + 1));
    let left_over = Run::new(each * parts + part, each * parts + part + u64::from(part < rest));
    [own, left_over].into_iter().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lists_as_runs_are_the_lists(
            list in prop::collection::vec(0u64..20, 0..24),
            other in prop::collection::vec(0u64..20, 0..24),
        ) {
            let (runs, others): (Runs, Runs) = (list.iter().copied().collect(), other.iter().copied().collect());
            prop_assert_eq!(runs.indices().collect::<Vec<_>>(), list.clone());
            prop_assert_eq!(runs.length(), list.len() as u64);
            let at: Vec<u64> = other.iter().filter_map(|at| list.get(*at as usize).copied()).collect();
            prop_assert_eq!(runs.at(&others).indices().collect::<Vec<_>>(), at);
            let common: Vec<u64> = list.iter().copied().filter(|index| other.contains(index)).collect();
            prop_assert_eq!(runs.common(&others).indices().collect::<Vec<_>>(), common);
        }
    }
}
