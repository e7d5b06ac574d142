//! Where elements lie in lists of them, and which vector or head they belong to.

/// Neighbours of a list that belong to one vector of `width` elements.
pub(super) struct Group<'t> {
    /// Number of the vector.
    pub(super) number: u32,
    /// Its elements here, counted from its first.
    pub(super) elements: &'t [u32],
    /// Where they begin in the list.
    pub(super) start: usize,
    /// The element of the list that is the vector's first.
    pub(super) first: u32,
}

impl<'t> Group<'t> {
    pub(super) fn all(inner: &'t [u32], width: u32) -> impl Iterator<Item = Self> {
        let width = width.max(1);
        let mut start = 0;
        std::iter::from_fn(move || {
            let rest = inner.get(start..)?;
            let number = rest.first()? / width;
            let first = number * width;
            let length = rest.iter().take_while(|element| (first..first + width).contains(element)).count();
            let group = Self { number, elements: rest.get(..length)?, start, first };
            start += length;
            Some(group)
        })
    }

    /// Where its number stands in a list.
    pub(super) fn place(&self, numbers: impl IntoIterator<Item = u32>) -> Result<usize, String> {
        let found = numbers.into_iter().position(|number| number == self.number);
        found.ok_or_else(|| not_here(self.number))
    }

    /// Its part of a row.
    pub(super) fn of<'v>(&self, row: &'v [f32]) -> &'v [f32] {
        row.get(self.start..self.start + self.elements.len()).unwrap_or(&[])
    }

    /// Its part of a row, to be changed.
    pub(super) fn of_mut<'v>(&self, row: &'v mut [f32]) -> &'v mut [f32] {
        row.get_mut(self.start..self.start + self.elements.len()).unwrap_or(&mut [])
    }
}

/// Elements that come in groups of neighbours with one quotient: (quotient, places), in order.
pub(super) fn by_quotient(inner: &[u32], divisor: u32) -> Vec<(u32, Vec<usize>)> {
    let mut groups: Vec<(u32, Vec<usize>)> = Vec::new();
    for group in Group::all(inner, divisor) {
        let places = group.start..group.start + group.elements.len();
        match groups.iter_mut().find(|(known, _)| *known == group.number) {
            Some((_, known)) => known.extend(places),
            None => groups.push((group.number, places.collect())),
        }
    }
    groups
}

/// Where the elements `wanted` lie among those `held`.
pub(super) fn places(held: &[u32], wanted: &[u32]) -> Result<Vec<usize>, String> {
    if held == wanted {
        return Ok((0..held.len()).collect());
    }
    let mut sorted: Option<Vec<(u32, usize)>> = None;
    let mut last = 0;
    let place = |element: &u32| {
        // Nearly always it is the last one once more, or the one behind it.
        let near = [last, last + 1].into_iter().find(|at| held.get(*at) == Some(element));
        let found = near.or_else(|| {
            let sorted = sorted.get_or_insert_with(|| {
                let mut sorted: Vec<(u32, usize)> = held.iter().copied().zip(0..).collect();
                sorted.sort_unstable();
                sorted
            });
            let at = sorted.binary_search_by_key(element, |(held, _)| *held);
            at.ok().and_then(|at| sorted.get(at)).map(|(_, place)| *place)
        });
        last = found.ok_or_else(|| not_here(*element))?;
        Ok(last)
    };
    wanted.iter().map(place).collect()
}

/// Places that are looked up head by head: most heads want what the one before them has wanted.
#[derive(Default)]
pub(super) struct Remembered {
    wanted: Vec<u32>,
    found: Vec<usize>,
}

impl Remembered {
    pub(super) fn places(
        &mut self,
        held: &[u32],
        wanted: impl Iterator<Item = u32> + Clone,
    ) -> Result<&[usize], String> {
        if !self.wanted.iter().copied().eq(wanted.clone()) {
            self.wanted.clear();
            self.wanted.extend(wanted);
            self.found = places(held, &self.wanted)?;
        }
        Ok(&self.found)
    }
}

/// That an element is missing.
pub(super) fn not_here(element: u32) -> String {
    format!("element {element} is wanted where it does not lie")
}
